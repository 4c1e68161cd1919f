//! Parse, run, print the error once, exit status.

use dmtool::cli::Cli;
use dmtool::report;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::parse() {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error),
    };
    let voice = cli.voice();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            voice.problem(&problem);
            problem.code()
        }
    }
}
