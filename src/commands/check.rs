//! `dmtool check`: what is wrong with the pools, for people and for monitoring.

use super::apart;
use super::{Globals, usage};
use crate::exit::{INTERRUPTED, Kind, Problem};
use crate::health::{self, Finding, Status, Thresholds};
use crate::observe::survey::{Depth, Survey};
use crate::report::{Voice, health as report, json, nagios};
use crate::sys::signal::Stop;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Say what is wrong with the pools, and the command that mends it
///
/// Looks at the kernel, LVM, dmeventd, and at what the pools stand on, and changes nothing. It never hangs on a sick
/// pool: what does not answer in time is a finding. Exit status, as monitoring plugins have it: 0 ok, 1 warning, 2
/// critical, 3 unknown (and wrong usage).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pools by name; none means all
    #[arg(value_name = "POOL")]
    pools: Vec<String>,
    /// Have thin_check look at all metadata, however long that takes; that of a pool that is up by a metadata snapshot
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
    let stop = match args.metadata.then(Stop::listen).transpose() {
        Ok(stop) => stop,
        Err(why) => {
            globals.voice.problem(&Problem::from_error(Kind::Refused, "signals cannot be listened to", &why));
            return Status::Unknown.exit();
        }
    };
    let depth = stop.as_ref().map_or(Depth::Quick, Depth::Whole);
    let voice = globals.voice.settled();
    let tell = |survey: &Survey, findings: &[Finding]| tell(survey, findings, thresholds, voice);
    let outcome = apart::findings(&args.pools, depth, globals, thresholds, tell);
    if stop.as_ref().is_some_and(Stop::asked) {
        globals.voice.problem(&Problem::new(Kind::Interrupted, "check was interrupted, nothing was changed"));
        return INTERRUPTED;
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

fn tell(survey: &Survey, findings: &[Finding], thresholds: Thresholds, voice: Voice) -> Outcome {
    let status = health::status(findings);
    Outcome {
        exit: status.exit(),
        text: report::text(survey, findings, thresholds, voice),
        nagios: nagios::line(survey, findings, thresholds),
        json: json::check(survey, findings, status),
    }
}
