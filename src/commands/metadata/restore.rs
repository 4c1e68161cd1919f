//! `dmtool metadata restore`: a dump in the place of a pool's metadata.

use crate::commands::{Globals, repair};
use crate::exit::Problem;
use crate::plan::repair::{Request, Wanted};

/// Put a dump in the place of the metadata of a pool that is down
///
/// New metadata is made of the dump and checked, dmtool shows what each volume had and has mapped, and asks before the new
/// is put in place. The old is kept: dmtool repair POOL --accept gives it up, --undo puts it back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The dump, as dmtool metadata dump wrote it
    #[arg(value_name = "FILE")]
    file: String,
    /// Where the copies of the metadata go
    #[arg(long, value_name = "DIR")]
    backup_dir: Option<String>,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let wanted = Wanted::Restore(args.file);
    repair::restore(Request { pool: args.pool, wanted, backup_dir: args.backup_dir }, globals)
}
