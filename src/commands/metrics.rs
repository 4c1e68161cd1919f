//! `dmtool metrics`: figures and findings for Prometheus.

use super::{Globals, apart};
use crate::exit::{Kind, Problem};
use crate::health::Thresholds;
use crate::observe::survey::Depth;
use crate::report::{json, metrics};
use crate::sys::file;
use serde_json::json;
use std::path::PathBuf;

/// Print figures and findings of all pools in Prometheus' text format
///
/// With --output the file is replaced in one step, for the textfile directory of node_exporter. The exit status says
/// whether the metrics could be written, not whether the pools are well: that is among the metrics.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Replace this file in one step instead of printing
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// # Errors
/// The file cannot be written; it is as it was then, or it is there and not surely on its disk.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Problem> {
    let text = apart::findings(&[], Depth::Quick, globals, Thresholds::default(), metrics::text);
    let outcome = match &args.output {
        Some(path) if globals.dry_run => {
            globals.voice.say(&format!("This would replace {}.", path.display()));
            Ok(())
        }
        Some(path) => file::put(path, &text, 0o644).map_err(|why| {
            let kind = if why.is::<file::Unsettled>() { Kind::Failed } else { Kind::Refused };
            Problem::from_error(kind, format!("{} cannot be written", path.display()), &why)
                .hint("name a file in a folder that is there, such as node_exporter's textfile directory")
        }),
        None if globals.voice.json => Ok(()),
        None => {
            globals.voice.answer(text.trim_end());
            Ok(())
        }
    };
    if globals.voice.json {
        globals.voice.json(&match &outcome {
            Ok(()) => json!({"dmtool": json::FORMAT, "command": "metrics", "output": args.output, "metrics": text}),
            Err(problem) => json::failure(Some("metrics"), problem),
        });
    }
    outcome
}
