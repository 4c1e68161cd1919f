//! `dmtool volume trim`: the space of deleted files back into the pool.

use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::discards::{self, Chain};
use crate::observe::pools::{self, Pool};
use crate::observe::{Host, Looked, Unseen, consumers, device, host, looked, lvm, register, volumes};
use crate::plan::Plan;
use crate::plan::activation::Chosen;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::trim::{Facts, Request, Target, plan};
use crate::report::json;
use crate::report::trim::{Outcome, Volume, outcome, text, value};
use crate::sys::trim;
use crate::units::Bytes;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// The kernel commits a pool's metadata every second; what was freed counts from then on.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(3);

/// Give the space of deleted files back to the pool
///
/// The file system of each mounted volume is told to hand on what is free in it (fstrim), after it has written out what
/// waits. Only whole chunks come back to the pool, and of those only the ones that no snapshot shares; how much came
/// back is told, and why it was no more. Volumes that are not mounted, and those of Docker and containerd, are left to
/// their owners.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// Volumes by name, or as id:7; none means all that are mounted
    #[arg(value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let request = Request { pool: args.pool, volumes: args.volumes };
    drive(&Trim { request }, globals)
}

struct Trim {
    request: Request,
}

fn targets(pool: &Pool, lvm: &Looked<lvm::Lvm>, chain: Option<&Looked<Chain>>) -> Looked<Vec<Target>> {
    let mounted = chain.and_then(|chain| chain.as_ref().ok()).map_or(&[][..], |chain| &chain.volumes);
    // A file system on a pool that stands still may hold whoever asks it.
    let runs = pool.live.as_ref().is_some_and(|live| !live.suspended);
    let above = device::above_within(std::slice::from_ref(pool), Duration::ZERO);
    let is_still = |name: &str| above.iter().any(|above| above.dm_name == name && above.suspended);
    let target = |volume: volumes::Volume| {
        let on_it = mounted.iter().find(|on_it| volume.device() == Some(on_it.dm_name.as_str()));
        let mount = on_it.and_then(|volume| volume.mount()).cloned();
        let suspended = volume.device().is_some_and(is_still);
        let asked = mount.as_ref().filter(|_| runs && !suspended);
        let in_use = asked.and_then(|mount| trim::in_use(Path::new(&mount.place)).ok()).map(Bytes);
        let dm_name = volume.device().map(str::to_owned);
        let mapped = volume.mapped.filter(|_| dm_name.is_some());
        Target { name: volume.name, thin_id: volume.thin_id, dm_name, mapped, mount, suspended, in_use }
    };
    let known = volumes::known_by_name(pool, lvm.as_ref().map_err(Clone::clone)?)?;
    Ok(known.into_iter().map(target).collect())
}

impl Trim {
    fn chosen(&self) -> Chosen {
        Chosen::One(self.request.pool.clone())
    }

    fn look(&self, host: &mut Host) -> Facts {
        let active = looked(host.active_pools());
        let lvm = lvm::look_if_installed(host);
        let pools = pools::all(active, &lvm, &register::read());
        let pool = self.chosen().find(&pools).cloned();
        let chain = pool.as_ref().and_then(|pool| pool.live.as_ref()).map(discards::chain);
        let volumes =
            pool.map_or(Err(Unseen("no pool was found".to_owned())), |pool| targets(&pool, &lvm, chain.as_ref()));
        let (consumers, running) = (consumers::consumers(), consumers::running().pools);
        Facts { pools, lvm, consumers, running, chain, volumes, trimmed: host.trimmed.clone() }
    }

    fn outcome(&self, now: &Facts) -> Option<Outcome> {
        outcome(self.chosen().find(&now.pools)?, now)
    }

    /// What is gone from the volumes is back in the pool.
    fn has_come_back(&self, now: &Facts) -> bool {
        let gone = |volumes: &[Volume]| volumes.iter().map(|volume| volume.unmapped.0).fold(0, u64::saturating_add);
        self.outcome(now).is_none_or(|outcome| outcome.returned.0 >= gone(&outcome.volumes))
    }
}

impl Verb for Trim {
    type Facts = Facts;
    const NAME: &'static str = "volume trim";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Facts {
        let deadline = Instant::now() + COMES_BACK_WITHIN;
        loop {
            let facts = self.look(host);
            if facts.trimmed.is_empty() || self.has_come_back(&facts) || Instant::now() >= deadline {
                return facts;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        plan(&self.request, facts)
    }

    fn heading(&self) -> String {
        format!("Trimming on {}:", self.request.pool)
    }

    fn pool(&self, facts: &Facts) -> Value {
        self.chosen().find(&facts.pools).map_or(Value::Null, json::pool)
    }

    fn more(&self, facts: &Facts) -> Option<(&'static str, Value)> {
        Some(("trimmed", value(self.outcome(facts).as_ref())))
    }

    fn success(&self, facts: &Facts, _changed: bool) -> String {
        let chosen = self.chosen();
        chosen.find(&facts.pools).map_or(String::new(), |pool| text(pool, self.outcome(facts).as_ref()))
    }
}
