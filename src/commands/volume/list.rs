//! `dmtool volume list`: what is in a pool, and whose.

use super::look::look;
use crate::commands::Globals;
use crate::commands::metadata::view::told;
use crate::exit::Problem;
use crate::plan::activation::Chosen;
use crate::report::{json, volumes as report};

/// Show the thin volumes of a pool, and whose they are
///
/// Each thin device that the pool has, active or not: its number, its size, what is mapped, and whose it is: a volume of
/// LVM, a layer, an image or a container of Docker's, a snapshot of containerd's, or one of the register. Inactive ones
/// are read from the pool's metadata through a metadata snapshot, which is released afterwards.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool; it may be left out where there is only one
    #[arg(value_name = "POOL")]
    pool: Option<String>,
    /// Count what each volume holds alone and what it shares, over all maps of the pool
    #[arg(long)]
    exact: bool,
    /// Sort by this; sizes have the largest first. By exclusive and shared: with --exact
    #[arg(long, value_name = "KEY", value_enum, default_value_t = report::Key::Id)]
    sort: report::Key,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    const NAME: &str = "volume list";
    let exact = args.exact || matches!(args.sort, report::Key::Exclusive | report::Key::Shared);
    let mut seen = told(NAME, globals, look(NAME, &Chosen::from_args(args.pool, false), exact, globals))?;
    report::sort(&mut seen.inventory.volumes, args.sort);
    for warning in &seen.inventory.warnings {
        globals.voice.warn(warning);
    }
    if globals.voice.json {
        globals.voice.json(&json::volumes(&seen.pool, &seen.inventory));
    } else {
        globals.voice.answer(&report::list(&seen.inventory.volumes, exact));
    }
    Ok(())
}
