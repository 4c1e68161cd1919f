//! `dmtool status`: the pools of this host, whoever made them.

use super::Globals;
use crate::exit::{Kind, Problem};
use crate::names::means;
use crate::observe::pools::{self, Pool};
use crate::observe::{Host, lvm, stack};
use crate::report::{json, page};

/// Show the pools of this host, a line each, or the page of one
///
/// Reads the kernel without a flush; LVM is asked only for the page of one pool, for --json, and where its backups
/// tell of a pool that is not active.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pools by name; none means all
    #[arg(value_name = "POOL")]
    pools: Vec<String>,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Problem> {
    let mut warnings = Vec::new();
    let outcome = look(args, globals, &mut warnings);
    for warning in &warnings {
        globals.voice.warn(warning);
    }
    if globals.voice.json {
        match &outcome {
            Ok(pools) => globals.voice.json(&json::status(pools, &warnings)),
            Err(problem) => globals.voice.json(&json::failure(Some("status"), problem)),
        }
        return outcome.map(drop);
    }
    let pools = outcome?;
    match (pools.as_slice(), args.pools.as_slice()) {
        ([], []) => globals.voice.answer("no pools here"),
        ([pool], [_]) => {
            let stack = pool.live.as_ref().map(|live| (stack::under(live), stack::above(live)));
            globals.voice.answer(&page::page(pool, stack.as_ref()));
        }
        (pools, _) => globals.voice.answer(&page::list(pools)),
    }
    Ok(())
}

fn look(args: &Args, globals: &Globals, warnings: &mut Vec<String>) -> Result<Vec<Pool>, Problem> {
    let refused = |why: anyhow::Error| {
        let problem = Problem::from_error(Kind::Refused, "the pools of this host cannot be looked at", &why);
        if rustix::process::geteuid().is_root() {
            problem.hint("load device-mapper: modprobe dm-mod")
        } else {
            problem.hint("run it as root: sudo dmtool status")
        }
    };
    let mut host = Host::new(globals.lock_limit);
    let active = host.active_pools().map_err(refused)?;
    let one = args.pools.len() == 1;
    let known = |name: &String| active.iter().any(|pool| &pool.name == name);
    let pools = if globals.voice.json || one || !pools::hinted().iter().all(known) {
        match lvm::look(&mut host) {
            Ok(lvm) => {
                warnings.extend(lvm.warnings.iter().cloned());
                pools::join(active, &lvm)
            }
            Err(_) if !lvm::is_installed() => active,
            Err(why) => {
                warnings.push(format!("LVM could not be asked, so inactive pools may be missing: {why}"));
                active
            }
        }
    } else {
        active
    };
    choose(pools, &args.pools)
}

/// The pools that were named, in that order; all where none was.
fn choose(mut pools: Vec<Pool>, names: &[String]) -> Result<Vec<Pool>, Problem> {
    if names.is_empty() {
        return Ok(pools);
    }
    let mut chosen = Vec::new();
    for name in names {
        let Some(at) = pools.iter().position(|pool| means(name, &pool.name, &pool.dm_names())) else {
            if chosen.iter().any(|pool: &Pool| means(name, &pool.name, &pool.dm_names())) {
                continue;
            }
            return Err(Problem::new(Kind::Refused, format!("there is no pool {name} on this host"))
                .hint("list the pools: dmtool status"));
        };
        chosen.push(pools.remove(at));
    }
    Ok(chosen)
}
