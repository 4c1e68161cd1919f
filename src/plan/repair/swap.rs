//! The new metadata in the place of the old.

use super::super::Plan;
use super::super::activation::components_down;
use super::super::refusal::Reasons;
use super::super::step::Step;
use super::{Facts, known, of_lvm};
use crate::names::LvmName;
use crate::observe::pools::Pool;
use crate::observe::repair::{Home, Repair, Source, Stage};
use crate::units::{Bytes, Extents};

/// Plans the swap, where new metadata is at hand or the swap was cut off.
pub fn swap(pool: &Pool, repair: &Repair, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    plan.question = 2;
    if let (Some(side), Some(name)) = (&pool.lvm, of_lvm(pool)) {
        components_down(side, &name.vg, plan);
    } else if let Some(known) = known(pool, facts)
        && let (Ok(record), Some(standing)) = (&known.record, &known.standing)
    {
        standing.misplaced(record).into_iter().for_each(|why| reasons.add(why));
    }
    steps(pool, repair, facts, plan, reasons);
}

/// The steps of the swap.
pub fn steps(pool: &Pool, repair: &Repair, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let repair = Box::new(repair.clone());
    let is_new = facts.compared().is_some_and(|copies| copies.is_new);
    plan.put(Step::NoteRepair { repair: repair.clone(), stage: Stage::Swapping }, repair.stage == Stage::Swapping);
    match &repair.home {
        Home::Volume { extents, other, .. } => {
            let (Ok(lvm), Some(name)) = (&facts.ground.lvm, of_lvm(pool)) else {
                return reasons.add(format!("LVM could not be asked about {}.", pool.name));
            };
            let volume = LvmName { vg: name.vg.clone(), lv: other.clone() };
            let there = lvm.lv(name.vg.as_str(), other.as_str());
            let side = pool.lvm.as_ref().map(|side| &side.row);
            let free = side.map_or(0, |row| row.vg_free_count);
            let extent = Bytes(side.map_or(0, |row| row.vg_extent_size));
            let size = extents.bytes(extent);
            if there.is_none() && !is_new && free < extents.0 {
                by_spare(
                    &name,
                    lvm.spare(name.vg.as_str()),
                    (size, Extents(free).bytes(extent)),
                    &repair,
                    plan,
                    reasons,
                );
            } else {
                let create = Step::CreateVolume {
                    vg: name.vg.clone(),
                    lv: other.clone(),
                    extents: *extents,
                    devices: Vec::new(),
                };
                plan.put(create, there.is_some() || is_new);
                // After a boot it may be there and down.
                if there.is_some_and(|row| row.lv_active != "active") && !is_new {
                    plan.todo(Step::Activate { pool: volume.clone(), ignore_skip: false });
                }
                plan.put(Step::FillVolume { volume, from: repair.new.clone() }, is_new);
                plan.put(Step::SwapMetadata { pool: name, with: other.clone() }, is_new);
                plan.todo(Step::CompareMetadata { repair: repair.clone(), with: repair.new.clone() });
            }
        }
        Home::Place { place } => {
            let write = Step::WriteMetadata { pool: pool.name.clone(), place: place.clone(), from: repair.new.clone() };
            plan.put(write, is_new);
        }
    }
    plan.todo(Step::NoteRepair { repair, stage: Stage::Swapped });
}

/// Where the group has no room for a second volume, LVM has the spare for this: what it makes of the metadata there is
/// compared with what was shown.
fn by_spare(
    name: &LvmName,
    spare: Bytes,
    (size, free): (Bytes, Bytes),
    repair: &Repair,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let restores = matches!(repair.source, Source::Dump { .. });
    // With a broken superblock LVM would not know the figures to give.
    if spare >= size && !restores && repair.superblock.is_some() {
        plan.todo(Step::RepairBySpare { pool: name.clone() });
        plan.todo(Step::AdoptMetadata { repair: Box::new(repair.clone()) });
        return;
    }
    let spare_says = match spare {
        Bytes(0) => "it has no spare metadata volume".to_owned(),
        spare if spare < size => format!("its spare metadata volume has {spare}"),
        _ => "its spare metadata volume serves no other purpose than lvconvert --repair".to_owned(),
    };
    let why =
        format!("The new metadata needs a volume of {size}, the group {} has {free} free, and {spare_says}.", name.vg);
    reasons.add_with_hint(why, format!("add a disk to the group: vgextend {} DEVICE", name.vg));
}
