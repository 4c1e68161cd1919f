//! The plans of `dmtool activate` and `dmtool deactivate`.

use super::Plan;
use super::refusal::{Reasons, Refusal};
use super::step::Step;
use crate::names::{LvmName, means};
use crate::observe::Looked;
use crate::observe::device::Above;
use crate::observe::lvm::{LvRow, Lvm};
use crate::observe::pools::{Kind, Pool};

/// Which pools are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// By name.
    One(String),
    /// The only one there is.
    Only,
    All,
}

impl Chosen {
    /// The pool that is meant, where it is one.
    pub fn find<'a>(&self, pools: &'a Looked<Vec<Pool>>) -> Option<&'a Pool> {
        let pools = pools.as_ref().ok()?;
        match (self, pools.as_slice()) {
            (Chosen::One(name), _) => pools.iter().find(|pool| means(name, &pool.name, &pool.dm_names())),
            (Chosen::Only | Chosen::All, [pool]) => Some(pool),
            _ => None,
        }
    }

    /// A name, `--all`, or neither.
    pub fn from_args(pool: Option<String>, all: bool) -> Chosen {
        match pool {
            Some(name) => Chosen::One(name),
            None if all => Chosen::All,
            None => Chosen::Only,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub pools: Looked<Vec<Pool>>,
    pub lvm: Looked<Lvm>,
    /// For each device that stands on an active pool: its device-mapper name, and what uses it.
    pub above: Vec<Above>,
}

/// The pools that are meant.
///
/// # Errors
/// They cannot be listed, there is none of that name, or a name is needed.
pub fn choose<'a>(
    verb: &str,
    chosen: &Chosen,
    pools: &'a Looked<Vec<Pool>>,
    lvm: &Looked<Lvm>,
) -> Result<Vec<&'a Pool>, Refusal> {
    let refuse = |message: String, reasons: Vec<String>, hint: &str| {
        Err(Refusal { message, reasons, hint: Some(hint.to_owned()) })
    };
    let pools = match (pools, lvm) {
        (Ok(pools), Ok(_)) => pools,
        (Err(why), _) | (_, Err(why)) => {
            return refuse(
                format!("{verb} is refused, nothing was changed"),
                vec![format!("Could not look: {why}.")],
                "look at the pools: dmtool status",
            );
        }
    };
    let list = || pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", ");
    match chosen {
        Chosen::All => Ok(pools.iter().collect()),
        Chosen::One(name) => match pools.iter().find(|pool| means(name, &pool.name, &pool.dm_names())) {
            Some(pool) => Ok(vec![pool]),
            None => {
                refuse(format!("there is no pool {name} on this host"), Vec::new(), "list the pools: dmtool status")
            }
        },
        Chosen::Only => match pools.as_slice() {
            [pool] => Ok(vec![pool]),
            [] => refuse("there is no pool on this host".to_owned(), Vec::new(), "make one: dmtool setup DEVICE"),
            _ => refuse(
                format!("{verb} needs a name, since there are several pools: {}", list()),
                Vec::new(),
                if verb == "autoextend" { "name one" } else { "name one, or add --all" },
            ),
        },
    }
}

/// Brings pools into the kernel. Those that are there are done already; one that LVM was told to skip is activated
/// only by name.
///
/// # Errors
/// Why nothing is begun.
pub fn activate(chosen: &Chosen, facts: &Facts) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    for pool in choose("activate", chosen, &facts.pools, &facts.lvm)? {
        let (Some(lvm), Ok(name)) = (&pool.lvm, LvmName::parse(&pool.name)) else {
            // A bare pool that is listed is active.
            continue;
        };
        let skipped = !lvm.row.lv_skip_activation.is_empty();
        let step = |skip| Step::Activate { pool: name.clone(), ignore_skip: skip };
        if pool.live.is_some() {
            plan.already(step(false));
            continue;
        }
        if skipped && *chosen == Chosen::All {
            plan.warnings.push(format!(
                "{name} is left down: somebody set its flag to skip activation (lvchange --setactivationskip y). \
                 To bring it up all the same, name it: dmtool activate {name}"
            ));
            continue;
        }
        if skipped {
            plan.warnings.push(format!(
                "{name} carries the flag to skip activation, so it will be down again after the next boot; to take \
                 the flag off: lvchange --setactivationskip n {name}"
            ));
        }
        for lv in &lvm.active_components {
            plan.todo(Step::DeactivateComponent { vg: name.vg.clone(), lv: lv.clone() });
        }
        plan.todo(step(skipped));
    }
    Ok(plan)
}

/// Takes pools of LVM out of the kernel, their volumes first.
///
/// # Errors
/// Something uses a pool (by name), or it is a bare one.
pub fn deactivate(chosen: &Chosen, facts: &Facts) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    for pool in choose("deactivate", chosen, &facts.pools, &facts.lvm)? {
        let (Kind::Lvm, Ok(name)) = (pool.kind, LvmName::parse(&pool.name)) else {
            reasons
                .add(format!("{} is a bare pool, which this version cannot bring back, so it is left up.", pool.name));
            continue;
        };
        let mut volumes = Vec::new();
        for above in facts.above.iter().filter(|above| above.pool == pool.name) {
            match &above.uses {
                Ok(uses) => uses.iter().for_each(|used| reasons.add(format!("{} {used}.", above.dm_name))),
                Err(why) => reasons.add(format!("Whether {} is in use could not be looked at: {why}.", above.dm_name)),
            }
            if !above.of_lvm {
                reasons.add_with_hint(
                    format!("{} stands on {name} and is not LVM's: Docker's or containerd's, for one.", above.dm_name),
                    "stop what uses it, then take it down by its own means",
                );
            }
        }
        if let Ok(lvm) = &facts.lvm {
            let of_pool = |row: &&LvRow| {
                row.vg_name == name.vg.as_str() && row.pool_lv == name.lv.as_str() && row.lv_active == "active"
            };
            volumes.extend(lvm.lvs.iter().filter(of_pool).map(|row| row.lv_name.clone()));
        }
        plan.put(Step::Deactivate { pool: name, volumes }, pool.live.is_none());
    }
    reasons.settle("deactivate is refused, nothing was changed")?;
    Ok(plan)
}
