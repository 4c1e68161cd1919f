//! `dmtool watch`: status and findings, drawn anew every few seconds.

use super::{Globals, apart};
use crate::exit::{Kind, Problem};
use crate::health::{Finding, Thresholds, status};
use crate::observe::pools::Pool;
use crate::observe::survey::{Depth, Survey};
use crate::report::told::Told;
use crate::report::{self, Voice, health, json, page};
use crate::sys::signal::Stop;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Show pools and findings again and again, until Ctrl-C
///
/// On a terminal the screen is drawn anew each time. Elsewhere each look is printed below the last; with --json it is
/// one object a line. Ctrl-C ends it with status 0.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The time between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
}

#[derive(Serialize, Deserialize)]
struct Picture {
    text: String,
    json: Value,
}

/// # Errors
/// Signals cannot be listened to.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Problem> {
    let stop =
        Stop::listen().map_err(|why| Problem::from_error(Kind::Refused, "signals cannot be listened to", &why))?;
    let thresholds = Thresholds::default();
    let voice = globals.voice.settled();
    let tell = |survey: &Survey, findings: &[Finding]| draw(survey, findings, thresholds, voice);
    let mut screen = globals.voice.screen();
    while !stop.asked() {
        let picture = apart::findings(&[], Depth::Quick, globals, thresholds, tell);
        if stop.asked() {
            break;
        }
        let shown =
            if globals.voice.json { globals.voice.json_line(&picture.json) } else { screen.show(&picture.text) };
        if shown.is_err() {
            report::written(shown);
            break;
        }
        let next = Instant::now() + Duration::from_secs(args.interval);
        while Instant::now() < next && !stop.asked() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn draw(survey: &Survey, findings: &[Finding], thresholds: Thresholds, voice: Voice) -> Picture {
    let pools: Vec<Pool> = survey.pools.iter().map(|seen| seen.pool.clone()).collect();
    let mut text = if pools.is_empty() { String::new() } else { page::list(&pools) + "\n\n" };
    text.push_str(&health::text(&Told::of(survey, findings, thresholds), voice));
    Picture { text, json: json::check(survey, findings, status(findings)) }
}
