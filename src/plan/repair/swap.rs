//! The new metadata in the place of the old.

use super::super::Plan;
use super::super::activation::components_down;
use super::super::refusal::Reasons;
use super::super::step::Step;
use super::{Facts, is_made_by_lvm, known, of_lvm};
use crate::names::LvmName;
use crate::observe::lvm::Lvm;
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
    let is_new = facts.compared().is_some_and(|copies| copies.is_new);
    let by_lvm = is_made_by_lvm(repair, pool, facts);
    let spare = by_lvm || (!is_new && needs_spare(pool, repair, facts));
    let noted = repair.stage == Stage::Swapping && repair.by_spare == spare;
    let repair = Box::new(Repair { by_spare: spare, ..repair.clone() });
    plan.put(Step::NoteRepair { repair: repair.clone(), stage: Stage::Swapping }, noted);
    match &repair.home {
        Home::Volume { extents, other, .. } => {
            let (Ok(lvm), Some(name)) = (&facts.ground.lvm, of_lvm(pool)) else {
                return reasons.add(format!("LVM could not be asked about {}.", pool.name));
            };
            let volume = LvmName { vg: name.vg.clone(), lv: other.clone() };
            let there = lvm.lv(name.vg.as_str(), other.as_str());
            if spare {
                plan.put(Step::RepairBySpare { pool: name.clone() }, by_lvm);
                plan.todo(Step::AdoptMetadata { repair: repair.clone() });
                if !by_lvm {
                    let superblock = repair.superblock.is_some();
                    let restores = matches!(repair.source, Source::Dump { .. });
                    if let Some((why, hint)) = no_room(pool, *extents, lvm, superblock && !restores) {
                        reasons.add_with_hint(why, hint);
                    }
                }
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

/// Whether the group has no room for a second volume of metadata: LVM has the spare for this, and what it makes of the
/// metadata there is compared with what was shown.
fn needs_spare(pool: &Pool, repair: &Repair, facts: &Facts) -> bool {
    let (Home::Volume { extents, other, .. }, Ok(lvm), Some(side)) = (&repair.home, &facts.ground.lvm, &pool.lvm)
    else {
        return false;
    };
    lvm.lv(&side.row.vg_name, other.as_str()).is_none() && side.row.vg_free_count < extents.0
}

/// Why there is room for new metadata of so many extents neither in the group nor in its spare, and the next command.
/// `known` is whether LVM's own repair would know what to make it of: its superblock, and no dump.
pub fn no_room(pool: &Pool, extents: Extents, lvm: &Lvm, known: bool) -> Option<(String, String)> {
    let row = &pool.lvm.as_ref()?.row;
    let (vg, extent) = (&row.vg_name, Bytes(row.vg_extent_size));
    let (size, spare) = (extents.bytes(extent), lvm.spare(vg));
    if row.vg_free_count >= extents.0 || (spare >= size && known) {
        return None;
    }
    let spare_says = match spare {
        Bytes(0) => "it has no spare metadata volume".to_owned(),
        spare if spare < size => format!("its spare metadata volume has {spare}"),
        _ => "its spare metadata volume serves no other purpose than lvconvert --repair".to_owned(),
    };
    let free = Extents(row.vg_free_count).bytes(extent);
    Some((
        format!("The new metadata needs a volume of {size}, the group {vg} has {free} free, and {spare_says}."),
        format!("add a disk to the group: vgextend {vg} DEVICE"),
    ))
}
