//! All verbs, the global flags, and the dispatch.

use crate::commands::{Globals, completions, setup, status};
use crate::exit::Problem;
use crate::report::{Color, Voice};
use clap::{Parser, Subcommand};
use std::time::Duration;

/// Provision and maintain LVM and device-mapper thin pools
#[derive(Debug, Parser)]
#[command(name = "dmtool", version, max_term_width = 80, after_help = AFTER)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    flags: Flags,
}

const AFTER: &str = "\
A SIZE is a number with k, m, g, t or p, all powers of 1024 (200GB is 200 GiB).
A POOL is VG/LV, a device-mapper name, or a path below /dev.

Exit status: 0 done or nothing to do, 1 failed part-way, 2 wrong usage,
3 refused with nothing changed, 130 interrupted.";

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

#[derive(Debug, Subcommand)]
enum Verb {
    Setup(setup::Args),
    Status(status::Args),
    Completions(completions::Args),
}

impl Cli {
    /// How to speak of what this run comes to.
    pub fn voice(&self) -> Voice {
        let Flags { json, quiet, verbose, color, .. } = self.flags;
        Voice { json, quiet, verbose, color }
    }

    /// # Errors
    /// The problem that the run ended with, in JSON already said.
    pub fn run(self) -> Result<(), Problem> {
        let globals = Globals {
            voice: self.voice(),
            dry_run: self.flags.dry_run,
            yes: self.flags.yes,
            lock_limit: Duration::from_secs(u64::from(self.flags.lock_timeout)),
        };
        match self.verb {
            Verb::Setup(args) => setup::run(args, &globals),
            Verb::Status(args) => status::run(&args, &globals),
            Verb::Completions(args) => {
                completions::run(&args);
                Ok(())
            }
        }
    }
}
