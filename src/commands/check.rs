//! `dmtool check`: what is wrong with the pools, for people and for monitoring.

use super::last::{self, Last};
use super::{Globals, apart, usage};
use crate::exit::{Kind, Problem};
use crate::health::{self, Finding, Status, Thresholds};
use crate::observe::survey::{Depth, Survey};
use crate::report::told::Told;
use crate::report::{health as report, json, nagios};
use crate::sys::file;
use crate::sys::signal::Stop;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Say what is wrong with the pools, and the command that mends it
///
/// Looks at the kernel, LVM, dmeventd, and at what the pools stand on, and changes nothing. It never hangs on a sick
/// pool: what does not answer in time is a finding. With --metadata thin_check may take an hour for each pool, and one
/// that is up has a metadata snapshot meanwhile. Exit status, as monitoring plugins have it: 0 ok, 1 warning, 2
/// critical, 3 unknown (and wrong usage).
///
/// Looking takes root. dmtool-check.timer looks every minute and keeps what it finds; anybody has that told by --last,
/// with the status of that look. A look that is not there, is too old, or is not surely one is unknown.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pools by name; none means all
    #[arg(value_name = "POOL")]
    pools: Vec<String>,
    /// Have thin_check look at all metadata; that of a pool that is up by a metadata snapshot
    #[arg(long)]
    metadata: bool,
    /// Use of data or metadata that is a warning, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u64).range(1..=100))]
    warn: u64,
    /// Use of data or metadata that is critical, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=100))]
    crit: u64,
    /// One line with performance data, as Nagios, Icinga and their like read it
    #[arg(long, conflicts_with = "json")]
    nagios: bool,
    /// Replace this file in one step, with JSON on all pools, instead of printing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nagios", "pools"])]
    output: Option<PathBuf>,
    /// Tell what dmtool-check.timer found last; needs no root
    #[arg(long, conflicts_with_all = ["metadata", "warn", "crit", "output"])]
    last: bool,
    /// How old the last look may be
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "last", value_parser = clap::value_parser!(u64).range(1..))]
    max_age: u64,
}

/// What a survey came to.
#[derive(Serialize, Deserialize)]
struct Outcome {
    told: Told,
    json: Value,
}

/// The exit status.
pub fn run(args: &Args, globals: &Globals) -> u8 {
    if args.last {
        return match last::read(&args.pools, args.max_age) {
            Ok(last) => tell_again(&last, args, globals),
            Err(problem) => gave_up(&problem, args, globals),
        };
    }
    let thresholds = Thresholds { warn: args.warn, crit: args.crit };
    if args.warn > args.crit {
        let why = format!("--warn {} is above --crit {}, so there would never be a warning", args.warn, args.crit);
        globals.voice.problem(&usage(globals, "check", why));
        return Status::Unknown.exit();
    }
    let deep = args.metadata && !globals.dry_run;
    if args.metadata && !deep {
        globals
            .voice
            .warn("with --dry-run no metadata is looked at, since that reserves a metadata snapshot of what is up");
    }
    let stop = match deep.then(Stop::listen).transpose() {
        Ok(stop) => stop,
        Err(why) => {
            return gave_up(&Problem::from_error(Kind::Refused, "signals cannot be listened to", &why), args, globals);
        }
    };
    let depth = stop.as_ref().map_or(Depth::Quick, Depth::Whole);
    let made = last::now();
    let tell = |survey: &Survey, findings: &[Finding]| Outcome {
        told: Told::of(survey, findings, thresholds),
        json: json::check(survey, findings, health::status(findings)),
    };
    let outcome = apart::findings(&args.pools, depth, globals, thresholds, tell);
    if stop.as_ref().is_some_and(Stop::asked) {
        return gave_up(&Problem::new(Kind::Interrupted, "check was interrupted"), args, globals);
    }
    let exit = health::status(&outcome.told.findings).exit();
    if let Some(path) = &args.output {
        if globals.dry_run {
            globals.voice.say(&format!("This would replace {}.", path.display()));
        } else if let Err(problem) = keep(path, &outcome.told.kept(&outcome.json, made)) {
            return gave_up(&problem, args, globals);
        }
        if globals.voice.json {
            globals.voice.json(&outcome.json);
        }
        return exit;
    }
    answer(&outcome.told, &outcome.json, None, args, globals);
    exit
}

fn keep(path: &Path, object: &Value) -> Result<(), Problem> {
    file::put(path, &format!("{object:#}\n"), 0o644).map_err(|why| {
        Problem::from_error(Kind::Refused, format!("{} cannot be written", path.display()), &why)
            .hint("name a file in a folder that is there")
    })
}

/// What was found before, in the form that is asked for now.
fn tell_again(last: &Last, args: &Args, globals: &Globals) -> u8 {
    let age = match last.age {
        1 => "looked 1 second ago".to_owned(),
        age => format!("looked {age} seconds ago"),
    };
    answer(&last.told, &last.json, Some(&age), args, globals);
    last.exit()
}

fn answer(told: &Told, object: &Value, age: Option<&str>, args: &Args, globals: &Globals) {
    let voice = globals.voice;
    if voice.json {
        voice.json(object);
    } else if args.nagios {
        voice.answer(&nagios::line(told));
    } else if !voice.quiet || health::status(&told.findings) != Status::Ok {
        let text = report::text(told, voice.settled());
        voice.picture(&age.map_or(text.clone(), |age| format!("{text}\n{age}")));
    }
}

/// As monitoring reads it, nobody knows how the pools are.
fn gave_up(problem: &Problem, args: &Args, globals: &Globals) -> u8 {
    if globals.voice.json {
        globals.voice.json(&json::failure(Some("check"), problem));
    } else if args.nagios {
        globals.voice.answer(&nagios::unknown(&problem.message));
    }
    globals.voice.problem(problem);
    Status::Unknown.exit()
}
