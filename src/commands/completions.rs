//! `dmtool completions`: a completion script for a shell.

use crate::cli;
use crate::report;

/// Print the completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    shell: clap_complete::Shell,
}

pub fn run(args: &Args) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "dmtool", &mut script);
    report::raw(&script);
}
