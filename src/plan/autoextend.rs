//! The plan of `dmtool autoextend`: a pool's profile, its live table and its monitoring are brought to what is asked.

use super::Plan;
use super::activation::{Chosen, choose, layer_first, run_on_first};
use super::profile::{Asked, profile_step};
use super::refusal::{Reasons, Refusal};
use super::step::Step;
use crate::names::LvmName;
use crate::observe::Looked;
use crate::observe::left::Left;
use crate::observe::lvm::Lvm;
use crate::observe::pools::{LvmSide, Pool, is_overdue};
use crate::observe::profile::{Autoextend, NEVER, Profile, Slot, low_water_for, near};
use crate::observe::{Dmeventd, WATCH_ANEW};
use crate::units::Bytes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub chosen: Chosen,
    pub threshold: Option<u64>,
    pub percent: Option<u64>,
    pub off: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub pools: Looked<Vec<Pool>>,
    pub lvm: Looked<Lvm>,
    pub dmeventd: Looked<Dmeventd>,
    /// The profile with the pool's own name, and the one that it carries where that is another.
    pub profile: Looked<Slot>,
    pub carried: Looked<Option<Profile>>,
    pub left: Left,
    /// dmeventd was told to try again in this run already.
    pub kicked: bool,
}

/// The threshold that a pool gets which is switched on without one.
const ON: u64 = 80;

/// The pool that is meant, with its name.
///
/// # Errors
/// There is none, a name is needed, or it is no pool of LVM's.
pub fn meant<'a>(
    chosen: &Chosen,
    pools: &'a Looked<Vec<Pool>>,
    lvm: &Looked<Lvm>,
) -> Result<(&'a Pool, &'a LvmSide, LvmName), Refusal> {
    let refuse = |message: String, reason: String, hint: &str| {
        Err(Refusal { message, reasons: vec![reason], hint: Some(hint.to_owned()) })
    };
    let pool = choose("autoextend", chosen, pools, lvm)?.into_iter().next();
    let Some(pool) = pool else {
        return refuse("autoextend has no pool".to_owned(), "There is none on this host.".to_owned(), "dmtool status");
    };
    match (&pool.lvm, LvmName::parse(&pool.name)) {
        (Some(side), Ok(name)) => Ok((pool, side, name)),
        _ => refuse(
            format!("{} cannot extend itself", pool.name),
            "It is a bare device-mapper table; autoextension is LVM's, done by dmeventd.".to_owned(),
            "watch it: dmtool check",
        ),
    }
}

/// Nothing is begun that LVM would wait for dmeventd with, where that does not answer.
pub fn answers(dmeventd: &Looked<Dmeventd>, reasons: &mut Reasons) {
    match dmeventd {
        Ok(Dmeventd::Silent(why)) => reasons.add_with_hint(
            format!("dmeventd does not answer ({why}), and LVM would wait for it."),
            format!("end it, and have LVM start another that watches all: {WATCH_ANEW}"),
        ),
        Ok(Dmeventd::Held(holder)) => reasons.add_with_hint(
            format!("{holder} holds the line to dmeventd, and LVM would wait for it."),
            "see what it waits for; when it has ended, run this again",
        ),
        _ => {}
    }
}

/// # Errors
/// Why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let (pool, side, name) = meant(&request.chosen, &facts.pools, &facts.lvm)?;
    let mut reasons = Reasons::default();
    for why in [facts.profile.as_ref().err(), facts.carried.as_ref().err()].into_iter().flatten() {
        reasons.add(format!("Could not look: {why}."));
    }
    let slot = facts.profile.clone().unwrap_or_default();
    let carried = facts.carried.as_ref().ok().and_then(Option::as_ref);
    if let Some(others) = carried.map(|profile| &profile.others).filter(|others| !others.is_empty()) {
        reasons.add_with_hint(
            format!(
                "{name} carries the profile {}, which also sets {}; a pool carries only one.",
                side.profile().unwrap_or_default(),
                others.join(", ")
            ),
            "edit that profile by hand, then: lvchange --refresh POOL",
        );
    }
    if pool.live.is_some() {
        answers(&facts.dmeventd, &mut reasons);
    }
    let (write, wanted) = profile_step(&name, asked(request, side), Some(pool), &slot, &mut reasons);
    reasons.settle(format!("autoextend of {name} is refused, nothing was changed"))?;
    let mut plan = Plan::default();
    plan.steps.push(write);
    let own = name.dm_name();
    plan.put(Step::AttachProfile { pool: name.clone(), profile: own.clone() }, side.row.lv_profile == own);
    let Some(live) = &pool.live else {
        plan.warnings.push(format!("{name} is down: its kernel table and dmeventd follow when it is activated"));
        return Ok(plan);
    };
    let due = low_water_for(live.length.bytes(), Bytes(side.row.chunk_size), wanted.threshold);
    let fits = live.table.as_ref().is_ok_and(|table| near(table.low_water, due));
    plan.put(Step::Refresh { pool: name.clone() }, fits);
    let watched = side.monitored();
    if request.off {
        plan.put(Step::Unmonitor { pool: name.clone() }, !watched);
        run_on_first(&name, &facts.left, &mut plan);
        layer_first(pool, &name, &mut plan);
        return Ok(plan);
    }
    let kick = watched && !facts.kicked && waits(pool, side, wanted);
    if kick {
        plan.todo(Step::Unmonitor { pool: name.clone() });
    }
    plan.put(Step::Monitor { pool: name.clone() }, watched && !kick);
    run_on_first(&name, &facts.left, &mut plan);
    layer_first(pool, &name, &mut plan);
    Ok(plan)
}

/// What was asked for, with what follows from it.
fn asked(request: &Request, side: &LvmSide) -> Asked {
    if request.off {
        return Asked { threshold: Some(NEVER), percent: None };
    }
    let is_off = side.autoextend.as_ref().is_ok_and(|settings| settings.threshold >= NEVER);
    // To name a step is to want it made.
    let threshold = request.threshold.or((is_off && request.percent.is_some()).then_some(ON));
    Asked { threshold, percent: request.percent }
}

/// An extension is due, there is room for it, and dmeventd has not made it.
pub fn waits(pool: &Pool, side: &LvmSide, settings: Autoextend) -> bool {
    pool.figures().is_some_and(|figures| {
        is_overdue(figures, settings.threshold)
            && settings.percent > 0
            && side.next_step(figures, settings).0 <= side.row.vg_free_count
    })
}
