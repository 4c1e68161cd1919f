//! `dmtool status`: the pools of this host, whoever made them.

use super::{Globals, apart};
use crate::exit::{Kind, Problem};
use crate::health::{Finding, Thresholds};
use crate::observe::pools::{self, Pool};
use crate::observe::survey::{Depth, Survey};
use crate::observe::{Host, greet_dmeventd, lvm, register, stack};
use crate::report::{health as report, json, page};

/// Show the pools of this host, a line each, or the page of one
///
/// Reads the kernel without a flush; LVM is asked only for the page of one pool, for --json, and where its backups
/// tell of a pool that is not active.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pools by name; none means all
    #[arg(value_name = "POOL")]
    pools: Vec<String>,
    /// Only the pools that are not well, each with what to do
    #[arg(short = 'x')]
    sick: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Problem> {
    if args.sick {
        return sick(args, globals);
    }
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

/// What `check` finds, as `zpool status -x` would show it.
fn sick(args: &Args, globals: &Globals) -> Result<(), Problem> {
    let thresholds = Thresholds::default();
    let tell = |survey: &Survey, findings: &[Finding]| {
        let (text, object) = (report::sick(survey, findings), json::sick(survey, findings));
        (text, object, survey.nowhere().next().cloned(), survey.kernel.clone())
    };
    let (text, object, unknown, kernel) = apart::findings(&args.pools, Depth::Quick, globals, thresholds, tell);
    let refusal = match (&kernel, unknown) {
        (Err(why), _) => Some(unlooked(&anyhow::anyhow!("{why}"))),
        (Ok(()), Some(name)) => Some(no_such_pool(&name)),
        (Ok(()), None) => None,
    };
    if let Some(problem) = refusal {
        if globals.voice.json {
            globals.voice.json(&json::failure(Some("status"), &problem));
        }
        return Err(problem);
    }
    if globals.voice.json {
        globals.voice.json(&object);
    } else {
        globals.voice.answer(&text);
    }
    Ok(())
}

fn unlooked(why: &anyhow::Error) -> Problem {
    let problem = Problem::from_error(Kind::Refused, "the pools of this host cannot be looked at", why);
    if rustix::process::geteuid().is_root() {
        problem.hint("load device-mapper: modprobe dm-mod")
    } else {
        problem.hint("run it as root: sudo dmtool status")
    }
}

fn no_such_pool(name: &str) -> Problem {
    Problem::new(Kind::Refused, format!("there is no pool {name} on this host"))
        .hint("list the pools: dmtool status; see whether one is missing: dmtool check")
}

fn look(args: &Args, globals: &Globals, warnings: &mut Vec<String>) -> Result<Vec<Pool>, Problem> {
    let mut host = Host::new(globals.lock_limit);
    let active = host.active_pools().map_err(|why| unlooked(&why))?;
    let one = args.pools.len() == 1;
    let known = |name: &String| active.iter().any(|pool| &pool.name == name);
    let pools = if globals.voice.json || one || !pools::hinted().iter().all(known) {
        host.dmeventd = greet_dmeventd(&active);
        match lvm::look(&mut host) {
            Ok(lvm) => {
                warnings.extend(lvm.warnings.iter().cloned());
                warnings.extend(pools::unread(&lvm).into_iter().map(|group| {
                    let (vg, device, pools) = (group.vg, group.device, group.pools.join(", "));
                    match device {
                        Some(device) => format!(
                            "LVM cannot read the volume group {vg} on {device}, and so does not see {pools}: dmtool check"
                        ),
                        None => format!(
                            "no disk of the volume group {vg} is there, in which LVM's backup has {pools}: dmtool check"
                        ),
                    }
                }));
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
    let pools = match register::read() {
        Ok(register) => pools::with_register(pools, &register),
        Err(why) => {
            warnings.push(format!("the register could not be read, so inactive pools may be missing: {why}"));
            pools
        }
    };
    let (pools, unknown) = pools::choose(pools, &args.pools);
    unknown.first().map_or(Ok(pools), |name| Err(no_such_pool(name)))
}
