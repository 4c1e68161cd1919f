//! `dmtool metadata`: the map of a pool, looked at, copied out, and put back.

mod check;
mod dump;
mod restore;
pub mod view;

use super::Globals;
use crate::exit::{DONE, Problem};

/// Check, dump and restore the metadata of a pool
///
/// Metadata says where each chunk of each volume lies: without it the data is there and cannot be found. That of a pool
/// that is up is read through a metadata snapshot, which is released afterwards.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Check(check::Args),
    Dump(dump::Args),
    Restore(restore::Args),
}

/// The exit status of a run that ended well.
///
/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<u8, Problem> {
    match args.action {
        Action::Check(args) => check::run(&args, globals),
        Action::Dump(args) => dump::run(&args, globals),
        Action::Restore(args) => restore::run(args, globals).map(|()| DONE),
    }
}
