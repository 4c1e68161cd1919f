//! The repair of a pool that is up.

use super::super::Plan;
use super::super::activation::{self, Chosen};
use super::super::refusal::Reasons;
use super::super::step::Step;
use super::{Facts, fresh, is_full, missing, swap};
use crate::names::quoted;
use crate::observe::metadata::{self, Verdict};
use crate::observe::pools::Pool;
use crate::observe::repair::{Home, Stage};
use crate::observe::thin::Mode;
use crate::units::Bytes;

/// A pool that is up. One that works is left alone; one that is sick is taken down first, and looked at.
pub fn look(pool: &Pool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    let figures = pool.figures();
    let marked = figures.is_some_and(|figures| figures.needs_check);
    match pool.mode() {
        Some(Mode::Rw) if !marked => match &facts.found {
            Some(Ok(found)) if found.verdict == Verdict::Clean => return left_behind(pool, facts, plan),
            Some(Ok(_)) => {}
            Some(Err(why)) => {
                let why = format!("{name} is up and works; whether its maps are whole could not be looked at: {why}.");
                reasons.add(why);
                return;
            }
            None => return,
        },
        Some(Mode::OutOfDataSpace) if !marked => {
            let why = format!("{name} is full, and nothing is damaged by that: it needs room, no repair.");
            reasons.add_with_hint(why, format!("give it room: dmtool resize max {name}"));
            return;
        }
        Some(Mode::Ro) if !marked && is_full(pool) => {
            let why =
                format!("The metadata of {name} is full, and nothing is damaged by that: it needs room, no repair.");
            reasons.add_with_hint(why, format!("give it room while it is up: dmtool resize {name} --metadata +100%"));
            return;
        }
        _ => {}
    }
    let taken = activation::deactivate(&Chosen::One(name.clone()), &facts.ground);
    if !facts.containers.is_empty() && taken.is_err() {
        reasons.add(format!("Containers that run: {}.", facts.containers.join(", ")));
    }
    match taken {
        Ok(taken) => {
            plan.steps.extend(taken.steps);
            plan.warnings.extend(taken.warnings);
        }
        Err(refusal) => {
            let hint = refusal.hint.unwrap_or_else(|| "stop what uses it".to_owned());
            refusal.reasons.into_iter().for_each(|reason| reasons.add(reason));
            reasons.add_hint(hint);
        }
    }
    missing(facts, &["thin_check", "thin_dump", "thin_repair"], reasons);
    can_go_on(pool, facts, plan, reasons);
    // Blocks that were freed are copied too, so that this is the least that a copy takes.
    fresh::room(facts, figures.map(|figures| figures.metadata_used.bytes()), reasons);
    plan.question = 1;
    plan.todo(Step::Examine { pool: name.clone(), device: fresh::device(pool) });
    if marked && is_full(pool) {
        fresh::grow(pool, facts, None, plan, reasons);
    }
    fresh::bring_back(pool, plan);
    plan.warnings.push(format!(
        "if thin_check finds damage in the metadata of {name}, dmtool shows what can be saved and asks anew"
    ));
}

/// What would end the repair once the pool is down.
fn can_go_on(pool: &Pool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    let (Some(side), Ok(lvm)) = (&pool.lvm, &facts.ground.lvm) else { return };
    if let Err(why) = metadata::stretches(lvm, &side.row.vg_name, &side.row.metadata_lv) {
        reasons.add_with_hint(
            format!("The metadata of {name} could not be looked at while it is down: {why}."),
            format!(
                "where it is only marked to be checked, LVM does that: dmtool deactivate {0}; dmtool activate {0}",
                quoted(name)
            ),
        );
    }
    let extents = side.metadata_size.extents_for(Bytes(side.row.vg_extent_size));
    if let Some((why, hint)) = swap::no_room(pool, extents, lvm, true) {
        plan.warnings
            .push(format!("if it is damaged, {name} stays down until there is room for new metadata. {why} To {hint}"));
    }
}

/// A repair that came to no end, of a pool that somebody has brought up since and that is whole: whether what it runs on is
/// the old metadata or the new, nothing is to be repaired. It is forgotten, but for the copy of the old.
fn left_behind(pool: &Pool, facts: &Facts, plan: &mut Plan) {
    let Ok(Some(left)) = &facts.journal else { return };
    plan.question = 1;
    plan.todo(Step::EndRepair { repair: Box::new(left.clone()), keeps_old: true });
    plan.warnings.push(format!(
        "an earlier repair of {} came to no end, and the pool is up since: that repair is forgotten, and the metadata as it \
         was found then stays in {}",
        pool.name, left.old
    ));
    if let (Home::Volume { other, .. }, Ok(lvm), Some(side)) = (&left.home, &facts.ground.lvm, &pool.lvm)
        && lvm.lv(&side.row.vg_name, other.as_str()).is_some()
    {
        let vg = &side.row.vg_name;
        plan.warnings.push(format!(
            "{vg}/{other} stays, too, with metadata of {} from before or after that repair; once nobody needs it: lvremove \
             {vg}/{other}",
            pool.name
        ));
    }
    if matches!(left.stage, Stage::Swapping | Stage::Undoing) {
        plan.warnings.push(format!(
            "{} may be up on the metadata that was made then: check the file systems of its volumes",
            pool.name
        ));
    }
}
