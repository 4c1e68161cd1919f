//! What `activate` and `deactivate` share: their facts, and how they speak of the pools they mean.

use crate::names::means;
use crate::observe::pools::Pool;
use crate::observe::{Host, device, looked, lvm, pools};
use crate::plan::activation::{Chosen, Facts};

pub fn look(host: &mut Host) -> Facts {
    let active = looked(host.active_pools());
    let above = active.as_ref().map(|active| device::above(active)).unwrap_or_default();
    let lvm = lvm::look(host);
    let pools = pools::joined(active, &lvm);
    Facts { pools, lvm, above }
}

fn meant<'a>(chosen: &Chosen, facts: &'a Facts) -> Vec<&'a Pool> {
    let is_meant = |pool: &&Pool| match chosen {
        Chosen::One(name) => means(name, &pool.name, &pool.dm_names()),
        Chosen::Only | Chosen::All => true,
    };
    facts.pools.iter().flatten().filter(is_meant).collect()
}

/// A line for each pool that was meant.
pub fn sentence(chosen: &Chosen, facts: &Facts, what: &str) -> String {
    let pools = meant(chosen, facts);
    if pools.is_empty() {
        return "no pools here".to_owned();
    }
    let down = |pool: &Pool| if pool.live.is_some() { "is active" } else { "is inactive" };
    let several = pools.len() > 1;
    let line = |pool: &&Pool| format!("{} {}.", pool.name, if several { down(pool) } else { what });
    pools.iter().map(line).collect::<Vec<_>>().join("\n")
}
