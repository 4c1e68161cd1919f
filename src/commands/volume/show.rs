//! `dmtool volume show`: one volume of a pool.

use super::look::{look, the_volume};
use crate::commands::Globals;
use crate::commands::metadata::view::told;
use crate::exit::Problem;
use crate::observe::device;
use crate::plan::activation::Chosen;
use crate::report::{json, volumes as report};

/// Show one thin volume: its number, what it holds, whose it is and what uses it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The volume: its name, or its number as id:7
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Count what it holds alone and what it shares, over all maps of the pool
    #[arg(long)]
    exact: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Problem> {
    const NAME: &str = "volume show";
    let seen = told(NAME, globals, look(NAME, &Chosen::One(args.pool.clone()), args.exact, globals))?;
    for warning in &seen.inventory.warnings {
        globals.voice.warn(warning);
    }
    let volume = told(NAME, globals, the_volume(&seen, &args.volume))?;
    let above = device::above(std::slice::from_ref(&seen.pool));
    let uses = above.into_iter().find(|above| Some(above.dm_name.as_str()) == volume.device()).map(|above| above.uses);
    if globals.voice.json {
        globals.voice.json(&json::volume(&seen.pool, volume, uses.as_ref()));
    } else {
        globals.voice.answer(&report::page(&seen.pool.name, volume, uses.as_ref()));
    }
    Ok(())
}
