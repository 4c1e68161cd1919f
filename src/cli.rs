//! All verbs, the global flags, and the dispatch.

use crate::commands::{
    Globals, activate, autoextend, check, completions, configure, deactivate, discards, explain, metadata, metrics,
    repair, resize, setup, status, teardown, volume, watch,
};
use crate::exit::{DONE, FAILED, Problem, USAGE};
use crate::health::Status;
use crate::report::{Color, Voice};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use std::ffi::OsString;
use std::time::Duration;

/// The command line, read.
#[derive(Debug)]
pub struct Cli {
    verb: Verb,
    flags: Flags,
}

/// One verb: its name, its line in the help, its arguments (filled in only when it is the one: `status` is run every
/// minute and shall not pay for the others), and how they are read.
struct Entry {
    name: &'static str,
    about: &'static str,
    arguments: fn(Command) -> Command,
    read: fn(&ArgMatches) -> Result<Verb, clap::Error>,
}

const VERBS: [Entry; 17] = [
    Entry {
        name: "setup",
        about: "Make a thin pool on one or more disks",
        arguments: setup::Args::augment_args,
        read: |matches| setup::Args::from_arg_matches(matches).map(Verb::Setup),
    },
    Entry {
        name: "resize",
        about: "Make a pool larger, data or metadata, while it is in use",
        arguments: resize::Args::augment_args,
        read: |matches| resize::Args::from_arg_matches(matches).map(Verb::Resize),
    },
    Entry {
        name: "status",
        about: "Show the pools of this host, a line each, or the page of one",
        arguments: status::Args::augment_args,
        read: |matches| status::Args::from_arg_matches(matches).map(Verb::Status),
    },
    Entry {
        name: "check",
        about: "Say what is wrong with the pools, and the command that mends it",
        arguments: check::Args::augment_args,
        read: |matches| check::Args::from_arg_matches(matches).map(Verb::Check),
    },
    Entry {
        name: "activate",
        about: "Bring a pool back into the kernel, after a reboot for one",
        arguments: activate::Args::augment_args,
        read: |matches| activate::Args::from_arg_matches(matches).map(Verb::Activate),
    },
    Entry {
        name: "deactivate",
        about: "Take a pool and its volumes out of the kernel",
        arguments: deactivate::Args::augment_args,
        read: |matches| deactivate::Args::from_arg_matches(matches).map(Verb::Deactivate),
    },
    Entry {
        name: "autoextend",
        about: "Show or change whether a pool extends itself, when, and by how much",
        arguments: autoextend::Args::augment_args,
        read: |matches| autoextend::Args::from_arg_matches(matches).map(Verb::Autoextend),
    },
    Entry {
        name: "discards",
        about: "Show how far discards go, and change whether a pool hands them on",
        arguments: discards::Args::augment_args,
        read: |matches| discards::Args::from_arg_matches(matches).map(Verb::Discards),
    },
    Entry {
        name: "repair",
        about: "Repair the metadata of a pool, and keep the old until you accept it",
        arguments: repair::Args::augment_args,
        read: |matches| repair::Args::from_arg_matches(matches).map(Verb::Repair),
    },
    Entry {
        name: "volume",
        about: "List and make the thin volumes of a pool",
        arguments: volume::Args::augment_args,
        read: |matches| volume::Args::from_arg_matches(matches).map(Verb::Volume),
    },
    Entry {
        name: "metadata",
        about: "Check, dump and restore the metadata of a pool",
        arguments: metadata::Args::augment_args,
        read: |matches| metadata::Args::from_arg_matches(matches).map(Verb::Metadata),
    },
    Entry {
        name: "configure",
        about: "Put a pool into the configuration of Docker or containerd",
        arguments: configure::Args::augment_args,
        read: |matches| configure::Args::from_arg_matches(matches).map(Verb::Configure),
    },
    Entry {
        name: "teardown",
        about: "Remove a pool for good, with all that is in it",
        arguments: teardown::Args::augment_args,
        read: |matches| teardown::Args::from_arg_matches(matches).map(Verb::Teardown),
    },
    Entry {
        name: "metrics",
        about: "Print figures and findings of all pools in Prometheus' text format",
        arguments: metrics::Args::augment_args,
        read: |matches| metrics::Args::from_arg_matches(matches).map(Verb::Metrics),
    },
    Entry {
        name: "watch",
        about: "Show pools and findings again and again, until Ctrl-C",
        arguments: watch::Args::augment_args,
        read: |matches| watch::Args::from_arg_matches(matches).map(Verb::Watch),
    },
    Entry {
        name: "explain",
        about: "Say what a finding of check means, and what to do about it",
        arguments: explain::Args::augment_args,
        read: |matches| explain::Args::from_arg_matches(matches).map(Verb::Explain),
    },
    Entry {
        name: "completions",
        about: "Print the completion script for a shell",
        arguments: completions::Args::augment_args,
        read: |matches| completions::Args::from_arg_matches(matches).map(Verb::Completions),
    },
];

const AFTER: &str = "\
A SIZE is a number with k, m, g, t or p, all powers of 1024 (200GB is 200 GiB).
A POOL is VG/LV, a device-mapper name, or a path below /dev.

Exit status: 0 done or nothing to do, 1 failed part-way, 2 wrong usage,
3 refused with nothing changed, 130 interrupted. check alone follows the
monitoring plugins: 0 ok, 1 warning, 2 critical, 3 unknown and wrong usage.";

#[derive(Debug, clap::Args)]
struct Flags {
    /// Print the plan, each step with its command, and change nothing
    #[arg(short = 'n', long, global = true, help_heading = "Global options")]
    dry_run: bool,
    /// Ask no questions
    #[arg(short, long, global = true, help_heading = "Global options")]
    yes: bool,
    /// One JSON object on standard output; text goes to standard error
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Say less
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    quiet: bool,
    /// Say more
    #[arg(short, long, global = true, help_heading = "Global options")]
    verbose: bool,
    /// When to use colours; `NO_COLOR` is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Global options")]
    color: Color,
    /// How long to wait for another dmtool or LVM command
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, help_heading = "Global options")]
    lock_timeout: u32,
}

#[derive(Debug)]
enum Verb {
    Setup(setup::Args),
    Resize(resize::Args),
    Status(status::Args),
    Check(check::Args),
    Activate(activate::Args),
    Deactivate(deactivate::Args),
    Autoextend(autoextend::Args),
    Discards(discards::Args),
    Volume(volume::Args),
    Repair(repair::Args),
    Metadata(metadata::Args),
    Configure(configure::Args),
    Teardown(teardown::Args),
    Metrics(metrics::Args),
    Watch(watch::Args),
    Explain(explain::Args),
    Completions(completions::Args),
}

/// The whole command line, as clap has it: for parsing, completions and the manual.
pub fn command() -> Command {
    command_of(VERBS.iter())
}

/// The command line with these verbs alone.
fn command_of<'a>(verbs: impl Iterator<Item = &'a Entry>) -> Command {
    let command = Command::new("dmtool")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Provision and maintain LVM and device-mapper thin pools")
        .max_term_width(80)
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true);
    let verbs = verbs.map(|verb| Command::new(verb.name).about(verb.about).defer(verb.arguments));
    Flags::augment_args(command).subcommands(verbs)
}

/// The first word that is no flag and no flag's value.
fn word_of_verb(words: &[OsString]) -> Option<String> {
    let mut words = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned());
    loop {
        match words.next() {
            Some(word) if word == "--color" || word == "--lock-timeout" => drop(words.next()),
            Some(word) if word.starts_with('-') => {}
            verb => return verb,
        }
    }
}

/// What monitoring reads as a state of pools is told as one; everybody else gets `status`.
fn unknown_for_check(status: u8) -> u8 {
    let words: Vec<OsString> = std::env::args_os().collect();
    if word_of_verb(&words).as_deref() == Some("check") { Status::Unknown.exit() } else { status }
}

impl Cli {
    /// Reads the words of this process.
    ///
    /// # Errors
    /// What clap says of them: wrong usage, or the help or version that was asked for.
    pub fn parse() -> Result<Cli, clap::Error> {
        Cli::of(&std::env::args_os().collect::<Vec<_>>())
    }

    /// As [`Cli::parse`], of these words; the first is the program's name.
    ///
    /// # Errors
    /// As [`Cli::parse`]'s.
    pub fn of(words: &[OsString]) -> Result<Cli, clap::Error> {
        // clap gives each verb its own copy of the global flags, which `status` need not pay for. What is wrong with
        // the words, and the help, are for the whole command to say.
        let word = word_of_verb(words);
        let alone = VERBS.iter().find(|verb| word.as_deref() == Some(verb.name));
        let quick = alone.and_then(|verb| command_of(std::iter::once(verb)).try_get_matches_from(words).ok());
        let matches = match quick {
            Some(matches) => matches,
            None => command().try_get_matches_from(words)?,
        };
        let (name, arguments) =
            matches.subcommand().ok_or_else(|| command().error(ErrorKind::MissingSubcommand, "no verb"))?;
        let verb = VERBS.iter().find(|verb| verb.name == name);
        let verb = verb.ok_or_else(|| command().error(ErrorKind::InvalidSubcommand, "no such verb"))?;
        let verb = (verb.read)(arguments)?;
        // A verb of two words has them at its end.
        let innermost =
            std::iter::successors(Some(arguments), |outer| outer.subcommand().map(|(_, inner)| inner)).last();
        Ok(Cli { flags: Flags::from_arg_matches(innermost.unwrap_or(arguments))?, verb })
    }

    /// The exit status of wrong usage: monitoring reads the one of `check` as it reads its others.
    pub fn usage_status() -> u8 {
        unknown_for_check(USAGE)
    }

    /// The exit status where an answer could not be written: a monitor that hears nothing knows nothing.
    pub fn unsaid_status() -> u8 {
        unknown_for_check(FAILED)
    }

    /// How to speak of what this run comes to.
    pub fn voice(&self) -> Voice {
        let Flags { json, quiet, verbose, color, .. } = self.flags;
        Voice { json, quiet, verbose, color }
    }

    /// Does it; what is handed over is the exit status of a run that ended well.
    ///
    /// # Errors
    /// The problem that the run ended with, in JSON already said.
    pub fn run(self) -> Result<u8, Problem> {
        let globals = Globals {
            voice: self.voice(),
            dry_run: self.flags.dry_run,
            yes: self.flags.yes,
            lock_limit: Duration::from_secs(u64::from(self.flags.lock_timeout)),
        };
        match self.verb {
            Verb::Setup(args) => setup::run(args, &globals)?,
            Verb::Resize(args) => resize::run(args, &globals)?,
            Verb::Status(args) => status::run(&args, &globals)?,
            Verb::Check(args) => return Ok(check::run(&args, &globals)),
            Verb::Activate(args) => activate::run(args, &globals)?,
            Verb::Deactivate(args) => deactivate::run(args, &globals)?,
            Verb::Autoextend(args) => autoextend::run(args, &globals)?,
            Verb::Discards(args) => discards::run(args, &globals)?,
            Verb::Volume(args) => volume::run(args, &globals)?,
            Verb::Repair(args) => repair::run(args, &globals)?,
            Verb::Metadata(args) => return metadata::run(args, &globals),
            Verb::Configure(args) => configure::run(args, &globals)?,
            Verb::Teardown(args) => teardown::run(args, &globals)?,
            Verb::Metrics(args) => metrics::run(&args, &globals)?,
            Verb::Watch(args) => watch::run(&args, &globals)?,
            Verb::Explain(args) => explain::run(&args, &globals)?,
            Verb::Completions(args) => completions::run(&args),
        }
        Ok(DONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_in_the_list_is_the_head_of_the_page() {
        for verb in VERBS {
            let page = (verb.arguments)(Command::new(verb.name));
            assert_eq!(page.get_about().map(ToString::to_string).as_deref(), Some(verb.about), "{}", verb.name);
        }
    }

    #[test]
    fn clap_finds_no_fault() {
        let mut command = command();
        command.build();
        command.debug_assert();
    }
}
