//! `dmtool check`: what is wrong with the pools, for people and for monitoring.

use super::apart;
use super::{Globals, usage};
use crate::exit::{Kind, Problem};
use crate::health::{self, Finding, Status, Thresholds};
use crate::observe::survey::{Depth, Survey};
use crate::report::{Voice, health as report, json, nagios};
use crate::sys::signal::Stop;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Say what is wrong with the pools, and the command that mends it
///
/// Looks at the kernel, LVM, dmeventd, and at what the pools stand on, and changes nothing. It never hangs on a sick
/// pool: what does not answer in time is a finding. With --metadata thin_check may take an hour for each pool, and one
/// that is up has a metadata snapshot meanwhile. Exit status, as monitoring plugins have it: 0 ok, 1 warning, 2
/// critical, 3 unknown (and wrong usage).
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
}

/// What a survey came to, in every form that is asked for.
#[derive(Serialize, Deserialize)]
struct Outcome {
    exit: u8,
    text: String,
    nagios: String,
    json: Value,
}

/// The exit status.
pub fn run(args: &Args, globals: &Globals) -> u8 {
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
    let voice = globals.voice.settled();
    let tell = |survey: &Survey, findings: &[Finding]| tell(survey, findings, thresholds, voice);
    let outcome = apart::findings(&args.pools, depth, globals, thresholds, tell);
    if stop.as_ref().is_some_and(Stop::asked) {
        return gave_up(&Problem::new(Kind::Interrupted, "check was interrupted"), args, globals);
    }
    if globals.voice.json {
        globals.voice.json(&outcome.json);
    } else if args.nagios {
        globals.voice.answer(&outcome.nagios);
    } else if !globals.voice.quiet || outcome.exit != 0 {
        globals.voice.picture(&outcome.text);
    }
    outcome.exit
}

/// As monitoring reads it, nobody knows how the pools are.
fn gave_up(problem: &Problem, args: &Args, globals: &Globals) -> u8 {
    if globals.voice.json {
        globals.voice.json(&json::failure(Some("check"), problem));
    } else if args.nagios {
        globals.voice.answer(&format!("DMTOOL UNKNOWN - {}", problem.message));
    }
    globals.voice.problem(problem);
    Status::Unknown.exit()
}

fn tell(survey: &Survey, findings: &[Finding], thresholds: Thresholds, voice: Voice) -> Outcome {
    let status = health::status(findings);
    Outcome {
        exit: status.exit(),
        text: report::text(survey, findings, thresholds, voice),
        nagios: nagios::line(survey, findings, thresholds),
        json: json::check(survey, findings, status),
    }
}
