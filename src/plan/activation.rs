//! The plans of `dmtool activate` and `dmtool deactivate`.

use super::bare::{Around, Known};
use super::refusal::{Reasons, Refusal};
use super::step::{OfVolume, Step};
use super::{Plan, Planned, bare};
use crate::names::{LvmName, VgName, means};
use crate::observe::device::Above;
use crate::observe::left::Left;
use crate::observe::lvm::{LvRow, Lvm, PvRow};
use crate::observe::pools::{Kind, LvmSide, Pool};
use crate::observe::register::Record;
use crate::observe::{Looked, Unseen};
use std::collections::BTreeSet;

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
    /// The bare ones of them, for which LVM need not answer.
    pub bare: Looked<Vec<Pool>>,
    pub lvm: Looked<Lvm>,
    /// For each device that stands on an active pool: its device-mapper name, and what uses it.
    pub above: Vec<Above>,
    /// Of all device-mapper devices.
    pub names: Looked<BTreeSet<String>>,
    /// Who runs and is configured for a pool: its name, and the pool's as it is written there.
    pub running: Vec<(&'static str, String)>,
    /// Who runs, and why the pool that it is configured for cannot be looked at.
    pub hidden: Vec<(&'static str, Unseen)>,
    /// Why nobody knows which of them run.
    pub unseen: Option<Unseen>,
    /// The register, with what stands at its places.
    pub known: Vec<Known>,
    /// What the pool that was named is to be remembered as, where that was asked for.
    pub remembered: Option<Looked<Record>>,
    /// Why Docker's configuration could not be looked at, which may tell of a pool.
    pub unread: Option<Unseen>,
    /// LVM has dmeventd watch what it activates.
    pub watched: bool,
}

impl Facts {
    /// The pools that could be looked at.
    pub fn seen(&self) -> &[Pool] {
        self.pools.as_ref().or(self.bare.as_ref()).map_or(&[], Vec::as_slice)
    }

    pub fn around(&self) -> Around<'_> {
        Around { above: &self.above, names: &self.names }
    }

    /// As [`choose`]; a pool that may be Docker's is not said to be missing where Docker's configuration could not be read.
    ///
    /// # Errors
    /// As [`choose`]'s.
    pub fn choose(&self, verb: &str, chosen: &Chosen) -> Result<Vec<&Pool>, Refusal> {
        choose(verb, chosen, &self.pools, &self.lvm).map_err(|refusal| match (chosen, &self.unread) {
            (Chosen::One(name), Some(why)) => Refusal {
                message: format!("{verb} is refused, nothing was changed"),
                reasons: vec![format!("Whether {name} is a pool of Docker's could not be looked at: {why}.")],
                hint: refusal.hint,
            },
            _ => refusal,
        })
    }

    /// What the register says of a pool, where it is in it.
    pub fn known(&self, pool: &Pool) -> Option<&Known> {
        self.known.iter().find(|known| known.name == pool.name && pool.kind != Kind::Lvm)
    }
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
    let (pools, lvm) = match (pools, lvm) {
        (Ok(pools), Ok(lvm)) => (pools, lvm),
        (Err(why), _) | (_, Err(why)) => {
            return refuse(
                format!("{verb} is refused, nothing was changed"),
                vec![format!("Could not look: {why}.")],
                "look at the pools: dmtool status",
            );
        }
    };
    let lost = |message: String| {
        let disks = lvm.stranded().map(no_group).collect();
        refuse(message, disks, "see whether a pool is on it, and how it comes back: dmtool check")
    };
    let list = || pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", ");
    match chosen {
        Chosen::All => Ok(pools.iter().collect()),
        Chosen::One(name) => match pools.iter().find(|pool| means(name, &pool.name, &pool.dm_names())) {
            Some(pool) => Ok(vec![pool]),
            None if lvm.stranded().next().is_some() => lost(format!("there is no pool {name} on this host")),
            None => {
                refuse(format!("there is no pool {name} on this host"), Vec::new(), "list the pools: dmtool status")
            }
        },
        Chosen::Only => match pools.as_slice() {
            [pool] => Ok(vec![pool]),
            [] if lvm.stranded().next().is_some() => lost("there is no pool on this host".to_owned()),
            [] => refuse("there is no pool on this host".to_owned(), Vec::new(), "make one: dmtool setup DEVICE"),
            _ => refuse(
                format!("{verb} needs a name, since there are several pools: {}", list()),
                Vec::new(),
                if ["activate", "deactivate"].contains(&verb) { "name one, or add --all" } else { "name one" },
            ),
        },
    }
}

fn no_group(row: &PvRow) -> String {
    format!("{} is part of a volume group that LVM cannot find.", row.pv_name)
}

/// Brings pools into the kernel. Those that are there are done already; one that LVM was told to skip is activated
/// only by name.
///
/// # Errors
/// Why nothing is begun.
pub fn activate(chosen: &Chosen, facts: &Facts) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    for pool in to_activate(chosen, facts, &mut plan)? {
        let before = plan.steps.len();
        if let (Some(lvm), Ok(name)) = (&pool.lvm, LvmName::parse(&pool.name)) {
            activate_lvm(chosen, pool, (lvm, &name), facts.watched, &mut plan);
            plan.part_from(before, pool.name.as_str(), chosen);
            continue;
        }
        let brought = match (facts.known(pool), &facts.remembered) {
            (known, Some(remembered)) => remember(pool, known, remembered, &mut plan),
            (Some(known), None) => bare::bring_up(pool, known, facts.around(), &mut plan),
            (None, None) => unknown(pool),
        };
        plan.part_from(before, pool.name.as_str(), chosen);
        if *chosen == Chosen::All {
            plan.left.extend(brought.into_lines());
        } else {
            reasons.merge(brought);
        }
    }
    if let Some(why) = facts.unread.as_ref().filter(|_| *chosen == Chosen::All) {
        plan.left.push(format!("Could not look for a pool of Docker's: {why}."));
    }
    reasons.settle("activate is refused, nothing was changed")?;
    Ok(plan)
}

/// The pools that are meant. One that LVM has nothing to do with comes up while LVM cannot be asked, too: at a boot its lock
/// may be held for longer than anybody waits.
fn to_activate<'a>(chosen: &Chosen, facts: &'a Facts, plan: &mut Plan) -> Result<Vec<&'a Pool>, Refusal> {
    if let (Err(why), Ok(bare)) = (&facts.lvm, &facts.bare) {
        match chosen {
            Chosen::All => {
                plan.left.push(format!("Could not look for pools of LVM: {why}."));
                return Ok(bare.iter().collect());
            }
            Chosen::One(name) => {
                let named: Vec<&Pool> = bare.iter().filter(|pool| means(name, &pool.name, &pool.dm_names())).collect();
                if !named.is_empty() {
                    return Ok(named);
                }
            }
            Chosen::Only => {}
        }
    }
    facts.choose("activate", chosen)
}

impl Plan {
    /// Among all pools, one that fails does not end the others.
    fn part_from(&mut self, first: usize, pool: &str, chosen: &Chosen) {
        if *chosen == Chosen::All {
            for planned in self.steps.iter_mut().skip(first) {
                planned.part.get_or_insert_with(|| pool.to_owned());
            }
        }
    }
}

/// A bare pool that is in no register is listed only while its node is there.
fn unknown(pool: &Pool) -> Reasons {
    let mut reasons = Reasons::default();
    if pool.live.is_none() {
        let name = &pool.name;
        let why = format!("{name} is in no register, and its device is no working pool.");
        reasons.add_with_hint(why, format!("see what mends it: dmtool check {name}"));
    }
    reasons
}

fn remember(pool: &Pool, known: Option<&Known>, remembered: &Looked<Record>, plan: &mut Plan) -> Reasons {
    let mut reasons = Reasons::default();
    let other = match (known.map(|known| (&known.record, &known.standing)), &pool.live) {
        (Some((Ok(_), Some(standing))), Some(live)) => !standing.carries(live),
        (known, _) => known.is_some(),
    };
    match remembered {
        // What it says may be the only trace of another pool.
        Ok(record) if other => reasons.add_with_hint(
            format!("The register has {} already, unreadable or on other devices.", pool.name),
            format!("move that away first: mv {0} {0}.old", record.path().display()),
        ),
        Ok(record) => {
            let same = pool.recorded() == Some(record);
            plan.put(Step::Record { record: Box::new(record.clone()), made: false }, same);
        }
        Err(why) => reasons.add(format!("{} cannot be remembered: {why}.", pool.name)),
    }
    reasons
}

fn activate_lvm(chosen: &Chosen, pool: &Pool, (lvm, name): (&LvmSide, &LvmName), watched: bool, plan: &mut Plan) {
    let skipped = !lvm.row.lv_skip_activation.is_empty();
    let step = |skip| Step::Activate { pool: name.clone(), ignore_skip: skip };
    let left_by_volumes = pool.live.is_some() && skipped && *chosen == Chosen::All;
    if pool.live.as_ref().is_some_and(|live| lvm.is_whole(live)) || left_by_volumes {
        plan.already(step(false));
        // LVM's activation may have been cut off before it told dmeventd.
        if watched && lvm.row.seg_monitor == "not monitored" && !lvm.is_off_on_purpose() {
            plan.todo(Step::Monitor { pool: name.clone() });
        }
        return;
    }
    if skipped && *chosen == Chosen::All {
        plan.warnings.push(format!(
            "{name} is left down: somebody set its flag to skip activation (lvchange --setactivationskip y). To bring \
             it up all the same, name it: dmtool activate {name}"
        ));
        return;
    }
    if skipped {
        plan.warnings.push(format!(
            "{name} carries the flag to skip activation, so it will be down again after the next boot; to take the \
             flag off: lvchange --setactivationskip n {name}"
        ));
    }
    // Under a pool that is there, and be it without a table, they are not by themselves.
    if pool.live.is_none() && pool.broken.is_none() {
        components_down(lvm, &name.vg, plan);
    }
    plan.todo(step(skipped));
}

/// Takes hidden volumes out of the kernel that a killed command left active by themselves: LVM does nothing with a pool
/// that they lock out.
pub fn components_down(lvm: &LvmSide, vg: &VgName, plan: &mut Plan) {
    for lv in &lvm.active_components {
        plan.todo(Step::DeactivateComponent { vg: vg.clone(), lv: lv.clone() });
    }
}

/// Takes pools out of the kernel, their volumes first.
///
/// # Errors
/// Something uses a pool (by name), or it could not be brought back.
pub fn deactivate(chosen: &Chosen, facts: &Facts) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    for pool in choose("deactivate", chosen, &facts.pools, &facts.lvm)? {
        let above: Vec<&Above> = facts.above.iter().filter(|above| above.pool == pool.name).collect();
        for above in &above {
            match &above.uses {
                Ok(uses) => uses.iter().for_each(|used| reasons.add(format!("{} {used}.", above.dm_name))),
                Err(why) => reasons.add(format!("Whether {} is in use could not be looked at: {why}.", above.dm_name)),
            }
        }
        // A consumer holds no device of its pool while it has nothing to do.
        let names = pool.dm_names();
        for (who, wants) in facts.running.iter().filter(|(_, wants)| means(wants, &pool.name, &names)) {
            if pool.live.is_some() {
                let why = format!("{who} runs and is configured for {wants}.");
                reasons.add_with_hint(why, format!("stop it: systemctl stop {}", who.to_lowercase()));
            }
        }
        for (who, why) in facts.hidden.iter().filter(|_| pool.live.is_some()) {
            let why =
                format!("{who} runs, and whether it is configured for {} could not be looked at: {why}.", pool.name);
            reasons.add_with_hint(why, format!("mend that file, or stop it: systemctl stop {}", who.to_lowercase()));
        }
        if let Some(why) = facts.unseen.as_ref().filter(|_| pool.live.is_some()) {
            reasons.add(format!("Whether Docker or containerd runs with {} could not be looked at: {why}.", pool.name));
        }
        match (pool.kind, LvmName::parse(&pool.name)) {
            (Kind::Lvm, Ok(name)) => deactivate_lvm(pool, name, facts, &above, &mut plan, &mut reasons),
            _ => {
                reasons.merge(bare::take_down(pool, facts.known(pool), &above, &mut plan));
            }
        }
    }
    reasons.settle("deactivate is refused, nothing was changed")?;
    Ok(plan)
}

fn deactivate_lvm(pool: &Pool, name: LvmName, facts: &Facts, above: &[&Above], plan: &mut Plan, reasons: &mut Reasons) {
    for above in above.iter().filter(|above| !above.of_lvm) {
        reasons.add_with_hint(
            format!("{} stands on {name} and is not LVM's: Docker's or containerd's, for one.", above.dm_name),
            "stop what uses it, then take it down by its own means",
        );
    }
    let of_pool =
        |row: &&LvRow| row.vg_name == name.vg.as_str() && row.pool_lv == name.lv.as_str() && row.lv_active == "active";
    let rows = facts.lvm.iter().flat_map(|lvm| &lvm.lvs);
    let volumes: Vec<String> = rows.filter(of_pool).map(|row| row.lv_name.clone()).collect();
    let is_down = pool.live.is_none() && pool.broken.is_none();
    if let (true, Some(side)) = (is_down, &pool.lvm) {
        components_down(side, &name.vg, plan);
    }
    // The last of its volumes takes the pool with it.
    if volumes.is_empty() {
        layer_back(pool, &name, plan);
    }
    plan.put(Step::Deactivate { pool: name, volumes }, is_down);
}

/// Has LVM make its layer over a pool that is up by itself, as its volumes bring it up, or as a command leaves it that was
/// cut off taking it down, or bringing it up before it had a table. Without the layer LVM takes the pool for inactive (seen
/// with 2.03.16): to take it down and to refresh it do nothing and succeed, lvextend takes it down, lvremove fails over the
/// parts that are in use.
pub fn layer_back(pool: &Pool, name: &LvmName, plan: &mut Plan) {
    let is_there = pool.live.is_some() || pool.broken.is_some();
    if let Some(side) = pool.lvm.as_ref().filter(|side| is_there && side.row.lv_active != "active") {
        let ignore_skip = !side.row.lv_skip_activation.is_empty();
        plan.todo(Step::Activate { pool: name.clone(), ignore_skip });
    }
}

/// Ends what a change of a pool left that was cut off: it stands still.
pub fn run_on_first(name: &LvmName, left: &Left, plan: &mut Plan) {
    if left.begun {
        let_run_first(name, plan);
    }
}

/// Has a pool, or a volume under one, run on before anything else is done with it.
pub fn let_run_first(name: &LvmName, plan: &mut Plan) {
    plan.steps.insert(0, Planned::todo(Step::Volume(OfVolume::LetRun { volume: name.clone() })));
}

/// As [`run_on_first`]: dmeventd was not told of the pool again.
pub fn watched_at_last(name: &LvmName, side: &LvmSide, left: &Left, plan: &mut Plan) {
    let monitor = Planned::todo(Step::Monitor { pool: name.clone() });
    let is_up = side.row.lv_active == "active";
    let unwatched = is_up && side.is_watched() == Some(false) && side.extends_itself();
    if left.begun && left.watches && unwatched && !plan.steps.contains(&monitor) {
        plan.steps.push(monitor);
    }
}

/// As [`layer_back`], before all that a plan has to do.
pub fn layer_first(pool: &Pool, name: &LvmName, plan: &mut Plan) {
    if !plan.nothing_to_do() {
        let mut first = Plan::default();
        layer_back(pool, name, &mut first);
        plan.steps.splice(0..0, first.steps);
    }
}
