//! `dmtool activate`: pools back into the kernel, at every boot.

use super::activation::{is_bare, look_with_dockers, meant, remembered, sentence};
use super::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::pools::{LvmSide, Pool};
use crate::observe::{Host, device, host, pools};
use crate::plan::Plan;
use crate::plan::activation::{Chosen, Facts, activate};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::report::json;
use crate::sys::signal::Stop;
use serde_json::Value;
use std::cell::Cell;
use std::time::Duration;

/// Bring a pool back into the kernel, after a reboot for one
///
/// A pool that is active already is success, so this is safe at every boot. A pool with the flag to skip activation
/// is activated when it is named, and left down by --all.
///
/// Loop pools and bare tables come back from the register, /var/lib/dmtool/pools, with their volumes: their files and
/// devices must be the same ones, and thin_check finds no damage in the metadata. dmtool setup --loop puts its pools
/// there; of others, --remember does while they are up.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool; it may be left out where there is only one
    #[arg(value_name = "POOL", conflicts_with = "all")]
    pool: Option<String>,
    /// Every pool of this host
    #[arg(long)]
    all: bool,
    /// Wait this long for the pool, its disks or its files to appear
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
    /// Put a bare pool that is active into the register, with its volumes, so that it can be brought back
    #[arg(long, conflicts_with = "all")]
    remember: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let limit = Duration::from_secs(u64::from(args.wait));
    let chosen = Chosen::from_args(args.pool, args.all);
    drive(&Activate { chosen, limit: Cell::new(limit), remember: args.remember }, globals)
}

struct Activate {
    chosen: Chosen,
    limit: Cell<Duration>,
    remember: bool,
}

impl Activate {
    /// Whether waiting would bring nothing more: with --all every pool that LVM's backups or the register tell of.
    fn is_all_there(&self, facts: &Facts) -> bool {
        let Ok(pools) = &facts.pools else { return false };
        // Of two disks one may be late.
        let is_partial = |pool: &Pool| pool.live.is_none() && pool.lvm.as_ref().is_some_and(LvmSide::is_partial);
        if meant(&self.chosen, facts).into_iter().any(is_partial) {
            return false;
        }
        let planned = activate(&self.chosen, facts).is_ok_and(|plan| plan.left.is_empty());
        let told = || pools::hinted().iter().all(|name| pools.iter().any(|pool| pool.name == *name));
        planned && if self.chosen == Chosen::All { told() } else { !pools.is_empty() }
    }
}

impl Verb for Activate {
    type Facts = Facts;
    const NAME: &'static str = "activate";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        // With --all what is needed depends on what there is: see plan.
        let named = self.chosen != Chosen::All;
        let needs = Needs { lvm2: named && !is_bare(&self.chosen), thin_check: named, ..Needs::default() };
        preflight::check(Self::NAME, &host::abilities(), needs)
    }

    fn observe(&self, host: &mut Host) -> Facts {
        // Once: what did not come by then does not come for the look that verifies.
        let limit = self.limit.take();
        // What this notes the plan looks at, too.
        let stop = Stop::listen().unwrap_or_default();
        device::until(limit, || {
            let mut facts = look_with_dockers(host, &self.chosen);
            facts.remembered = self.remember.then(|| remembered(&self.chosen, &facts));
            let enough = self.is_all_there(&facts) || stop.asked();
            (facts, enough)
        })
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        let plan = activate(&self.chosen, facts)?;
        if self.chosen == Chosen::All && !plan.nothing_to_do() {
            preflight::check(Self::NAME, &host::abilities(), Needs { thin_check: true, ..Needs::default() })?;
        }
        Ok(plan)
    }

    fn advice(&self, facts: &Facts) -> Vec<String> {
        if self.chosen != Chosen::All {
            return Vec::new();
        }
        let names: Vec<&str> = facts.pools.iter().flatten().map(|pool| pool.name.as_str()).collect();
        let missing = pools::hinted().into_iter().filter(|name| !names.contains(&name.as_str()));
        let told = |name: String| format!("{name}, which LVM's backup tells of, was not found: are its disks there?");
        missing.map(told).collect()
    }

    fn heading(&self) -> String {
        "Activation:".to_owned()
    }

    fn pool(&self, facts: &Facts) -> Value {
        match meant(&self.chosen, facts)[..] {
            [pool] => json::pool(pool),
            _ => Value::Null,
        }
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let what = match (self.remember, changed) {
            (true, true) => "is in the register now, and dmtool activate brings it back",
            (true, false) => "was in the register already, as it is",
            (false, true) => "is active",
            (false, false) => "was active already",
        };
        sentence(&self.chosen, facts, what)
    }
}
