//! Parse, run, print the error once, exit status.

use dmtool::cli::Cli;
use dmtool::report;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::parse() {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error, Cli::usage_status()),
    };
    let voice = cli.voice();
    match cli.run() {
        Ok(status) => ExitCode::from(status),
        Err(problem) => {
            voice.problem(&problem);
            problem.code()
        }
    }
}
