//! `dmtool volume list`: the thin volumes that have a name.

use crate::commands::Globals;
use crate::exit::{Kind, Problem};
use crate::observe::{Host, looked, lvm, pools, register, volumes};
use crate::plan::activation::{Chosen, choose};
use crate::report::{json, volumes as report};

/// Show the thin volumes of a pool
///
/// Those that are active, and those that LVM or the register knows. Volumes that nobody has a name for are not seen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool; it may be left out where there is only one
    #[arg(value_name = "POOL")]
    pool: Option<String>,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Problem> {
    let outcome = look(args, globals);
    if globals.voice.json {
        match &outcome {
            Ok(volumes) => globals.voice.json(&json::volumes(volumes)),
            Err(problem) => globals.voice.json(&json::failure(Some("volume list"), problem)),
        }
        return outcome.map(drop);
    }
    globals.voice.answer(&report::list(&outcome?));
    Ok(())
}

fn look(args: &Args, globals: &Globals) -> Result<Vec<volumes::Known>, Problem> {
    let mut host = Host::new(globals.lock_limit);
    let active = looked(host.active_pools());
    let lvm = lvm::look_if_installed(&mut host);
    let pools = pools::all(active, &lvm, &register::read());
    let chosen = Chosen::from_args(args.pool.clone(), false);
    let mut found = Vec::new();
    for pool in choose("volume list", &chosen, &pools, &lvm)? {
        let unseen = |why: &crate::observe::Unseen| {
            let mut problem = Problem::new(Kind::Refused, format!("the volumes of {} cannot be looked at", pool.name));
            problem.causes.push(why.0.clone());
            problem.hint(format!("look at the pool: dmtool check {}", pool.name))
        };
        let lvm = lvm.as_ref().map_err(unseen)?;
        found.extend(volumes::of(pool, lvm).map_err(|why| unseen(&why))?);
    }
    Ok(found)
}
