//! `dmtool configure`: a pool into the configuration of what uses it.

mod docker;

use super::Globals;
use crate::exit::Problem;

/// Put a pool into Docker's configuration
///
/// Everything else in the file stays as it was. The file is replaced in one step, and a copy of the old one is kept
/// beside it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Docker(docker::Args),
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    match args.action {
        Action::Docker(args) => docker::run(args, globals),
    }
}
