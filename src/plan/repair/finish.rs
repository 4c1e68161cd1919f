//! After a repair: the old metadata is given up, or put back.

use super::super::Plan;
use super::super::activation::components_down;
use super::super::refusal::Reasons;
use super::super::step::Step;
use super::{Facts, Request, Wanted, is_as_shown, is_other, of_lvm};
use crate::names::LvmName;
use crate::observe::metadata::Verdict;
use crate::observe::pools::Pool;
use crate::observe::repair::{Home, Repair, Stage};

/// Plans to give the old metadata up.
pub fn accept(pool: &Pool, repair: &Repair, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    if repair.stage != Stage::Swapped {
        let why = format!("The repair of {name} has not come to its end: there is nothing to accept yet.");
        return reasons.add_with_hint(why, format!("go on with it: dmtool repair {name}"));
    }
    plan.question = 1;
    if let Some(volume) = other(pool, repair) {
        let there = facts.ground.lvm.as_ref().is_ok_and(|lvm| lvm.lv(volume.vg.as_str(), volume.lv.as_str()).is_some());
        let what = format!("the old metadata of {name}, which {volume} holds");
        plan.put(Step::RemoveVolume { volume, what }, !there);
    }
    plan.todo(Step::EndRepair { repair: Box::new(repair.clone()), keeps_old: false });
    if pool.live.is_none() {
        plan.warnings.push(format!(
            "{name} has not been up since its repair, or is down again: its file systems are best checked first"
        ));
    }
}

fn other(pool: &Pool, repair: &Repair) -> Option<LvmName> {
    let Home::Volume { other, .. } = &repair.home else { return None };
    Some(LvmName { vg: of_lvm(pool)?.vg, lv: other.clone() })
}

/// Plans to put the old metadata back, while nobody has written to the new.
pub fn undo(pool: &Pool, repair: &Repair, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    if pool.live.is_some() {
        let why = format!("{name} is up: its metadata is swapped only while it is down.");
        return reasons.add_with_hint(why, format!("take it down: dmtool deactivate {name}"));
    }
    let copies = match &facts.copies {
        Some(Ok(copies)) => copies,
        Some(Err(why)) => return reasons.add(format!("Whether {name} was used since could not be looked at: {why}.")),
        None => return reasons.add(format!("Whether {name} was used since was not looked at.")),
    };
    let end = Step::EndRepair { repair: Box::new(repair.clone()), keeps_old: true };
    plan.question = 1;
    if matches!(repair.stage, Stage::Begun | Stage::BackedUp | Stage::Built) {
        // Nothing was put in place.
        return plan.todo(end);
    }
    if !copies.is_known() && !is_as_shown(repair, pool, facts) {
        if let Some(path) = copies.gone.first() {
            let why = format!(
                "Whether {name} was used since cannot be seen: {path} is gone, which it would be compared with."
            );
            let keep = match repair.stage {
                Stage::Swapped => {
                    format!("; or keep the new metadata and remove the old: dmtool repair {name} --accept")
                }
                _ => String::new(),
            };
            return reasons.add_with_hint(why, format!("bring that file back and run this again{keep}"));
        }
        let why =
            format!("{name} was used since its repair: what was written since would be lost with the old metadata.");
        let hint = match repair.stage {
            Stage::Swapped => format!("keep the new metadata: dmtool repair {name} --accept"),
            _ => format!("keep what is there: dmtool repair {name}"),
        };
        return reasons.add_with_hint(why, hint);
    }
    if !copies.is_old && copies.gone.contains(&repair.old) {
        let why = format!("{} is gone, the copy of the old metadata.", repair.old);
        return reasons.add_with_hint(why, "bring that file back and run this again");
    }
    let repair = Box::new(repair.clone());
    plan.put(Step::NoteRepair { repair: repair.clone(), stage: Stage::Undoing }, repair.stage == Stage::Undoing);
    match &repair.home {
        Home::Volume { .. } => back(pool, &repair, copies.is_old, facts, plan, reasons),
        Home::Place { place } => {
            let from = repair.old.clone();
            plan.put(Step::WriteMetadata { pool: name.clone(), place: place.clone(), from }, copies.is_old);
        }
    }
    plan.todo(end);
}

/// Swaps the volumes back, where that was not done.
fn back(pool: &Pool, repair: &Repair, is_old: bool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    let (Some(volume), Some(of_pool), Ok(lvm)) = (other(pool, repair), of_lvm(pool), &facts.ground.lvm) else {
        return reasons.add(format!("LVM could not be asked about {name}."));
    };
    let there = lvm.lv(volume.vg.as_str(), volume.lv.as_str()).is_some();
    if !there && !is_old {
        reasons.add(format!("{volume}, which had the old metadata, is gone; a copy of it is {}.", repair.old));
    }
    if let Some(side) = &pool.lvm {
        components_down(side, &of_pool.vg, plan);
    }
    plan.put(Step::SwapMetadata { pool: of_pool, with: volume.lv.clone() }, is_old);
    plan.todo(Step::CompareMetadata { repair: Box::new(repair.clone()), with: repair.old.clone() });
    let what = format!("the new metadata of {name}, which {volume} holds then");
    plan.put(Step::RemoveVolume { volume, what }, !there);
}

/// A pool that was repaired, and neither accepted nor undone.
pub fn repaired(request: &Request, pool: &Pool, repair: &Repair, facts: &Facts, reasons: &mut Reasons) {
    let name = &pool.name;
    let again = match &request.wanted {
        // What was used since is not what the dump says any more.
        Wanted::Restore(asked) => is_other(asked, repair, facts) || super::is_stale(facts),
        _ => false,
    };
    if let (Wanted::Restore(_), Some(Err(why))) = (&request.wanted, &facts.dump) {
        reasons.add(format!("{why}."));
    }
    if let Some(Err(why)) = &facts.found {
        reasons.add(format!("Could not look at the metadata of {name}: {why}."));
    }
    let verdict = facts.found.as_ref().and_then(|found| found.as_ref().ok()).map(|found| &found.verdict);
    let sick = pool.live.is_some() && pool.figures().is_none_or(|figures| figures.needs_check);
    let damaged = matches!(verdict, Some(Verdict::Damaged(_) | Verdict::Leaked(_)));
    if again || sick || damaged {
        let why =
            format!("{name} keeps the metadata from before an earlier repair, which was neither accepted nor undone.");
        reasons.add_with_hint(
            why,
            format!("accept that repair first: dmtool repair {name} --accept, or go back: dmtool repair {name} --undo"),
        );
    }
}
