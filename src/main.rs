//! Parse, run, print the error once, exit status.

use dmtool::cli::Cli;
use dmtool::exit::DONE;
use dmtool::observe::snapshot;
use dmtool::report::{self, Voice};
use dmtool::sys::surroundings;
use std::process::ExitCode;

fn main() -> ExitCode {
    surroundings::leave();
    let (voice, status) = match Cli::parse() {
        Ok(cli) => (cli.voice(), run(cli)),
        Err(error) => (Voice::default(), report::usage(&error, Cli::usage_status())),
    };
    for warning in snapshot::unreleased() {
        voice.warn(&warning);
    }
    match report::unwritten() {
        Some(problem) => {
            voice.problem(&problem);
            ExitCode::from(if status == DONE { Cli::unsaid_status() } else { status })
        }
        None => ExitCode::from(status),
    }
}

fn run(cli: Cli) -> u8 {
    let voice = cli.voice();
    cli.run().unwrap_or_else(|problem| {
        voice.problem(&problem);
        problem.status()
    })
}
