//! A pool on a bare table: what is underneath grows, then one new table with another length is swapped in.

use super::{Facts, Growth, Now, Request, Room, Targets, metadata_for, smaller, target};
use crate::observe::ground::Base;
use crate::observe::register::{Place, Record};
use crate::plan::bare::Known;
use crate::plan::refusal::Reasons;
use crate::plan::sizing::LARGEST_METADATA;
use crate::plan::step::Step;
use crate::plan::{Plan, Planned};
use crate::units::{Bytes, DataBlocks, Extents, METADATA_BLOCK, MIB, SECTOR, Sectors};

/// What one bitmap block of a space map counts, of chunks or of metadata blocks: 2 bits each, in 4 KiB less a header of
/// 16 bytes (linux/drivers/md/persistent-data/dm-space-map-common.h: ENTRIES_PER_BYTE, disk_bitmap_header).
const PER_BITMAP: u64 = (METADATA_BLOCK - 16) * 4;
/// For the trees above the bitmaps, and for what a file system writes of its own.
const RESERVE: u64 = MIB;
/// What ext4 counts as free and gives to no file: 4096 blocks of 4 KiB (linux/fs/ext4/super.c: ext4_set_resv_clusters).
const KEPT: Bytes = Bytes(16 * MIB);

pub fn plan(
    request: &Request,
    facts: &Facts,
    now: &Now<'_>,
    fixed: Option<Targets>,
    reasons: &mut Reasons,
) -> Option<(Plan, Targets)> {
    let name = &now.live.dm_name;
    let ground = facts.ground.as_ref()?;
    if request.adds {
        reasons.add_with_hint(
            format!("{name} is a bare table: a device cannot be added to it."),
            "grow what it stands on: vgextend its group, or give its file's file system more room",
        );
    }
    let (data_base, metadata_base) = match (&ground.data, &ground.metadata) {
        (Ok(data), Ok(metadata)) => (data, metadata),
        (Err(why), _) | (_, Err(why)) => {
            reasons.add(format!("Could not look: {why}."));
            return None;
        }
    };
    for (growth, base) in [(request.data, data_base), (request.metadata, metadata_base)] {
        if matches!(growth, Some(Growth::PercentOfGroup(_) | Growth::ByPercentOfFree(_))) && !base.is_volume() {
            reasons.add(format!("{} is in no volume group, so there are no shares of one.", base.name()));
        }
    }
    let chunk = now.table.chunk_bytes();
    let chunks = data_target(request, now, data_base, fixed);
    let data = DataBlocks(chunks).bytes(chunk);
    let (data_now, metadata_now) = (now.figures.data_total.bytes(chunk), now.figures.metadata_total.bytes());
    let metadata = metadata_target(request, now, metadata_base, data, fixed);
    if data < data_now {
        smaller(name, data, data_now, reasons);
    }
    if metadata > LARGEST_METADATA && metadata > metadata_now {
        reasons.add(format!("{metadata} of metadata are more than a pool can use ({LARGEST_METADATA})."));
    }
    if metadata < metadata_now {
        smaller(&format!("The metadata of {name}"), metadata, metadata_now, reasons);
    }
    for (what, base, size) in [("data", data_base, data_now), ("metadata", metadata_base, metadata_now)] {
        still_there(what, base, size, name, reasons);
    }
    if data > data_now || metadata > metadata_now {
        let chunks = chunks.saturating_sub(now.figures.data_total.0);
        let blocks = metadata.0.saturating_sub(metadata_now.0) / METADATA_BLOCK;
        room_for_space_maps(metadata_base, metadata, (chunks, blocks), reasons);
    }
    let mut plan = Plan::default();
    let grown = |base: &Base, size: Bytes, now: Bytes| (size > now).then(|| base.with(size));
    let sizes = (grown(metadata_base, metadata, metadata_now), grown(data_base, data, data_now));
    let record = facts.known.as_ref().and_then(|known| register(known, now, reasons));
    if let Some(before) = record.map(|record| announced(record, sizes)) {
        // Only files are known by their size: a resize that is cut off must not make them strangers.
        let said = record == Some(&before);
        plan.steps.extend((!said).then(|| Planned::todo(Step::Record { record: Box::new(before), made: false })));
    }
    if metadata > metadata_now {
        below("metadata", metadata_base, metadata, &mut plan, reasons);
    }
    if data > data_now {
        below("data", data_base, data, &mut plan, reasons);
    }
    // A table keeps the length it has where its pool does not grow: that need not be a multiple of a chunk.
    let to = if data > data_now { Sectors(data.0 / SECTOR) } else { now.live.length };
    let swap = Step::SwapTable { dm_name: name.clone(), from: now.live.length, to, table: now.table.clone() };
    let swapped = data <= data_now && metadata <= metadata_now;
    plan.put(swap, swapped);
    if let (Some(record), Some(known)) = (record, &facts.known) {
        let after = if swapped { caught_up(record, known) } else { Some(grown_record(record, sizes, to)) };
        plan.steps.extend(after.map(|after| Planned::todo(Step::Record { record: Box::new(after), made: false })));
    }
    Some((plan, Targets { data: Some(data), metadata: Some(metadata) }))
}

/// What the register says of this pool.
fn register<'a>(known: &'a Known, now: &Now<'_>, reasons: &mut Reasons) -> Option<&'a Record> {
    match (&known.record, &known.standing) {
        (Ok(record), Some(standing)) if standing.carries(now.live) => return Some(record),
        (Ok(_), _) => reasons.add_with_hint(
            format!("{} is on other devices than the register says.", known.name),
            format!("have it remembered as it is: dmtool activate {} --remember", known.name),
        ),
        (Err(why), _) => reasons.add(format!("Could not look: {why}.")),
    }
    None
}

/// The sizes that metadata and data are to have underneath, where they grow.
type Sizes = (Option<Bytes>, Option<Bytes>);

/// The record before the first file grows.
fn announced(record: &Record, (metadata, data): Sizes) -> Record {
    let mut before = record.clone();
    for (place, size) in [(&mut before.metadata, metadata), (&mut before.data, data)] {
        if let (Place::File { grows_to, size: now, .. }, Some(size)) = (place, size) {
            *grows_to = Some(size).filter(|size| size > now);
        }
    }
    before
}

/// The record after the swap.
fn grown_record(record: &Record, (metadata, data): Sizes, to: Sectors) -> Record {
    let mut after = record.clone();
    after.table.length = to;
    for (place, grown) in [(&mut after.metadata, metadata), (&mut after.data, data)] {
        let (Place::File { size, .. } | Place::Device { size, .. }) = place;
        *size = grown.map_or(*size, |grown| grown.max(*size));
        if let Place::File { grows_to, .. } = place {
            *grows_to = None;
        }
    }
    after
}

/// The record as the pool is by now, where it missed a change of its table or its sizes. Transactions pass all the
/// time, and are no change.
fn caught_up(record: &Record, known: &Known) -> Option<Record> {
    let fresh = known.fresh.as_ref()?.as_ref().ok()?;
    let fresh = Record { volumes: record.volumes.clone(), ..fresh.clone() };
    let passed = Record { transaction_id: fresh.transaction_id, ..record.clone() };
    (fresh != passed).then_some(fresh)
}

/// As [`target`] for what stands on a device, in units of the pool; shares of a group are whole extents of it.
fn target_on(growth: Growth, present: u64, base: &Base, unit: u64) -> u64 {
    let (total, free) = base.room();
    let share = |whole: Bytes, percent: u64, extent: Bytes| {
        Extents(whole.whole_extents(extent).0 * percent / 100).bytes(extent).0 / unit.max(1)
    };
    match (growth, base) {
        (Growth::PercentOfGroup(percent), Base::Volume { extent, .. }) => share(total, percent, *extent),
        (Growth::ByPercentOfFree(percent), Base::Volume { extent, .. }) => present + share(free, percent, *extent),
        _ => target(growth, present, &Room { total: total.0 / unit.max(1), free: free.0 / unit.max(1) }, unit),
    }
}

/// In chunks: the kernel counts in whole ones.
fn data_target(request: &Request, now: &Now<'_>, base: &Base, fixed: Option<Targets>) -> u64 {
    let chunk = now.table.chunk_bytes();
    let present = now.figures.data_total.0;
    match (fixed.and_then(|fixed| fixed.data), request.data) {
        (Some(bytes), _) => bytes.0.div_ceil(chunk.0.max(1)),
        // What is under the pool may be larger than the pool already.
        (None, Some(Growth::Max)) => ((base.size().0 + base.room().1.0) / chunk.0.max(1)).max(present),
        (None, Some(growth)) => target_on(growth, present, base, chunk.0),
        (None, None) => present,
    }
}

fn metadata_target(request: &Request, now: &Now<'_>, base: &Base, data: Bytes, fixed: Option<Targets>) -> Bytes {
    let present = now.figures.metadata_total;
    let chunk = now.table.chunk_bytes();
    let needed = metadata_for(data, chunk, now.figures.metadata_used.bytes());
    match (fixed.and_then(|fixed| fixed.metadata), request.metadata) {
        (Some(bytes), _) => bytes,
        (None, Some(growth)) => {
            let blocks = target_on(growth, present.0, base, METADATA_BLOCK);
            Bytes(blocks.saturating_mul(METADATA_BLOCK))
        }
        (None, None) if data > now.figures.data_total.bytes(chunk) && needed > present.bytes() => {
            Bytes(needed.0.next_multiple_of(MIB))
        }
        (None, None) => present.bytes(),
    }
}

/// A device that was made smaller under the pool: the kernel takes no table on it any more, not even the old one, and
/// leaves the pool suspended.
fn still_there(what: &str, base: &Base, size: Bytes, name: &str, reasons: &mut Reasons) {
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
                size.0 + offset.0
            )
        }
        _ => format!("give {} its size back, then look at the pool: dmtool check {name}", base.name()),
    };
    reasons.add_with_hint(reason, hint);
}

/// To count what is new the kernel writes its space maps, into blocks that a sparse metadata file may not have. Where
/// the file system cannot give them, the commit fails, and the pool with it.
fn room_for_space_maps(base: &Base, size: Bytes, (chunks, blocks): (u64, u64), reasons: &mut Reasons) {
    let Base::File { path, free, allocated, read_only, .. } = base else { return };
    if *read_only {
        reasons.add(format!("The file system of {path} is read-only."));
    }
    let holes = size.0.saturating_sub(allocated.0);
    // Once for the new bitmaps, and once more since nothing is changed in place (dm-transaction-manager.h: shadows).
    let bitmaps = chunks.div_ceil(PER_BITMAP) + blocks.div_ceil(PER_BITMAP);
    let needed = Bytes(bitmaps.saturating_mul(2 * METADATA_BLOCK).saturating_add(RESERVE).min(holes));
    if needed.0 > 0 && needed.0 + KEPT.0 > free.0 {
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
fn below(what: &str, base: &Base, size: Bytes, plan: &mut Plan, reasons: &mut Reasons) {
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
        Base::Volume { name, extent, size: now, free, .. } => {
            let to = size.extents_for(*extent);
            let more = Extents(to.0.saturating_sub(now.whole_extents(*extent).0)).bytes(*extent);
            if more > *free {
                reasons.add_with_hint(
                    format!("That needs {more} more in {name}, and {} has {free} free.", name.vg),
                    format!("add a disk to the group: vgextend {} DEVICE", name.vg),
                );
            }
            plan.put(Step::ExtendVolume { volume: name.clone(), to, bytes: to.bytes(*extent) }, *now >= size);
        }
        Base::Device { name, size: now } if *now < size => {
            reasons.add(format!("/dev/{name} has {now}, and its pool's {what} cannot have {size} on it."));
        }
        Base::Device { .. } => {}
    }
}
