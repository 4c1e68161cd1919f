//! What stands under a bare pool: whether it can be what a resize needs of it, and the steps that make it so.

use crate::observe::ground::Base;
use crate::plan::Plan;
use crate::plan::refusal::Reasons;
use crate::plan::step::Step;
use crate::units::{Bytes, METADATA_BLOCK, MIB};

/// What one bitmap block of a space map counts, of chunks or of metadata blocks: 2 bits each, in 4 KiB less a header of
/// 16 bytes (linux/drivers/md/persistent-data/dm-space-map-common.h: ENTRIES_PER_BYTE, disk_bitmap_header).
const PER_BITMAP: u64 = (METADATA_BLOCK - 16) * 4;
/// For the trees above the bitmaps, and for what a file system writes of its own.
const RESERVE: u64 = MIB;
/// What ext4 counts as free and gives to no file: 4096 blocks of 4 KiB (linux/fs/ext4/super.c: ext4_set_resv_clusters).
const KEPT: Bytes = Bytes(16 * MIB);

fn more_room(pool: &str) -> String {
    format!("take all that is free: dmtool resize max {pool}; or add a disk: dmtool resize {pool} --add-device DEVICE")
}

/// A device that was made smaller under the pool: the kernel takes no table on it any more, not even the old one, and
/// leaves the pool suspended.
pub fn still_there(what: &str, base: &Base, size: Bytes, name: &str, reasons: &mut Reasons) {
    let present = base.present();
    if present >= size {
        return;
    }
    let reason = format!(
        "The {what} of {name} is {size}, and {} has {present}: it was made smaller under the pool, and a new table \
         would leave the pool suspended.",
        base.name()
    );
    let hint = match base {
        Base::File { device, path, offset, .. } => {
            format!(
                "give it its length back, then look at the pool: truncate --size {} {path} && losetup --set-capacity \
                 /dev/{device} && dmtool check {name}",
                size.0.saturating_add(offset.0)
            )
        }
        _ => format!("give {} its size back, then look at the pool: dmtool check {name}", base.name()),
    };
    reasons.add_with_hint(reason, hint);
}

/// To count what is new the kernel writes its space maps, into blocks that a sparse metadata file may not have. Where
/// the file system cannot give them, the commit fails, and the pool with it.
pub fn room_for_space_maps(base: &Base, size: Bytes, (chunks, blocks): (u64, u64), reasons: &mut Reasons) {
    let Base::File { path, free, allocated, read_only, .. } = base else { return };
    if *read_only {
        reasons.add(format!("The file system of {path} is read-only."));
    }
    let holes = size.0.saturating_sub(allocated.0);
    // Once for the new bitmaps, and once more since nothing is changed in place (dm-transaction-manager.h: shadows).
    let bitmaps = chunks.div_ceil(PER_BITMAP).saturating_add(blocks.div_ceil(PER_BITMAP));
    let needed = Bytes(bitmaps.saturating_mul(2 * METADATA_BLOCK).saturating_add(RESERVE).min(holes));
    if needed.0 > 0 && needed.0.saturating_add(KEPT.0) > free.0 {
        reasons.add_with_hint(
            format!(
                "{path} is sparse: to count what is new the kernel writes up to {needed} of metadata into it, and its \
                 file system has {free} free, {KEPT} of which it may keep to itself. Without that room the pool fails."
            ),
            format!("make room there: df {path}"),
        );
    }
}

/// Makes a device under a pool large enough.
pub fn below((pool, what): (&str, &str), base: &Base, size: Bytes, plan: &mut Plan, reasons: &mut Reasons) {
    match base {
        Base::File { device, path, length, device_size, offset, limit, free, allocated, read_only, deleted } => {
            if *deleted {
                let reason = format!("The {what} file {path} was deleted under the pool.");
                reasons.add_with_hint(reason, "see what mends it: dmtool check");
            }
            if *read_only {
                reasons.add(format!("The file system of {path} is read-only."));
            }
            if let Some(limit) = limit.filter(|limit| *limit < size) {
                reasons.add_with_hint(
                    format!("/dev/{device} has a size limit of {limit}, and the pool's {what} is to have {size}."),
                    format!("attach {path} without --sizelimit while the pool is down; see it: losetup /dev/{device}"),
                );
            }
            let whole = Bytes(size.0.saturating_add(offset.0));
            let missing = Bytes(whole.0.saturating_sub(allocated.0));
            if whole > *length && missing > *free {
                plan.warnings.push(format!(
                    "{path} is sparse: {missing} more would be needed for all of its {whole}, and its file system has \
                     {free} free. When that is full, writes to the pool fail"
                ));
            }
            plan.put(Step::GrowFile { path: path.clone(), size: Bytes(whole.0.max(length.0)) }, *length >= whole);
            plan.put(Step::SetCapacity { device: device.clone() }, *device_size >= size);
        }
        Base::Volume { name, extent, size: now, in_books, free, .. } => {
            let to = size.extents_for(*extent);
            let more = base.takes(size);
            if more > *free {
                reasons.add_with_hint(
                    format!("That needs {more} more in {name}, and {} has {free} free.", name.vg),
                    more_room(pool),
                );
            }
            let (bytes, name) = (to.bytes(*extent), name.clone());
            // LVM, killed between its books and the kernel's table, extends by nothing when it is asked again.
            if *now < size && *in_books >= bytes {
                plan.todo(Step::Refresh { pool: name });
            } else {
                plan.put(Step::ExtendVolume { volume: name, to, bytes, carries: true }, *now >= size);
            }
        }
        Base::Device { name, size: now } if *now < size => {
            reasons.add(format!("/dev/{name} has {now}, and its pool's {what} cannot have {size} on it."));
        }
        Base::Device { .. } => {}
    }
}

/// Both in one group: each may fit there, and both not.
pub fn together(
    pool: &str,
    (data, to): (&Base, Bytes),
    (metadata, metadata_to): (&Base, Bytes),
    reasons: &mut Reasons,
) {
    let (Base::Volume { name, free, .. }, true) = (data, data.shares_room_with(metadata)) else { return };
    let (more, along) = (data.takes(to), metadata.takes(metadata_to));
    let both = Bytes(more.0.saturating_add(along.0));
    // One that does not fit alone says so itself.
    if both > *free && more <= *free && along <= *free {
        reasons.add_with_hint(
            format!("That needs {more} more of data and {along} of metadata, and {} has {free} free.", name.vg),
            more_room(pool),
        );
    }
}
