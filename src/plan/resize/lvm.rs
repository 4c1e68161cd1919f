//! A pool of LVM: its group, its metadata, its data, by LVM's own commands.

use super::{Facts, Growth, Now, Request, Room, Targets, largest, metadata_for, smaller, take_in, target};
use crate::names::LvmName;
use crate::observe::lvm::Lvm;
use crate::observe::pools::{LvmSide, is_overdue};
use crate::observe::profile::Autoextend;
use crate::observe::striping::Striping;
use crate::observe::thin::PoolFigures;
use crate::plan::Plan;
use crate::plan::refusal::Reasons;
use crate::plan::sizing::{LARGEST_METADATA, largest_metadata};
use crate::plan::step::Step;
use crate::units::{Bytes, Extents};

/// The pool and its group, in extents.
struct Sizes {
    extent: Bytes,
    data: u64,
    metadata: u64,
    spare: u64,
    /// Of metadata, in bytes.
    used: Bytes,
    chunk: Bytes,
    /// Of the data.
    striping: Striping,
    total: u64,
    free: u64,
}

impl Sizes {
    /// The metadata that goes with so much data; it stays as it is where the data does.
    fn metadata_with(&self, data: u64) -> u64 {
        let needed = metadata_for(Extents(data).bytes(self.extent), self.chunk, self.used).extents_for(self.extent);
        if data > self.data { self.metadata.max(needed.min(largest_metadata(self.extent)).0) } else { self.metadata }
    }

    /// The metadata that is asked for; `max` is no more than LVM can use.
    fn metadata_by(&self, growth: Growth, room: &Room) -> u64 {
        let asked = target(growth, self.metadata, room, self.extent.0);
        if growth == Growth::Max { asked.min(largest_metadata(self.extent).0).max(self.metadata) } else { asked }
    }

    /// What both take of the group. The spare is as large as the largest metadata (lvmthin(7)), made by LVM where there was
    /// none; where it does not fit LVM grows the metadata all the same (seen with 2.03.16), but what it took is missing then
    /// for the data.
    fn cost(&self, data: u64, metadata: u64) -> u64 {
        let grown = data.saturating_sub(self.data);
        let spare = if grown > 0 && metadata > self.metadata { metadata.saturating_sub(self.spare) } else { 0 };
        self.striping.takes(grown).saturating_add(metadata.saturating_sub(self.metadata)).saturating_add(spare)
    }

    fn bytes(&self, extents: u64) -> Bytes {
        Extents(extents).bytes(self.extent)
    }

    fn whole_chunks(&self) -> Bytes {
        let Bytes(data) = self.bytes(self.data);
        Bytes(data - data % self.chunk.0.max(1))
    }

    /// Data and metadata as they are asked for.
    fn targets(&self, request: &Request, fixed: Option<Targets>) -> (u64, u64) {
        let extents = |bytes: Bytes| bytes.extents_for(self.extent).0;
        let room = Room { total: self.total, free: self.free };
        let half = Room { total: self.total, free: self.free / 2 };
        let asked = match (fixed.and_then(|fixed| fixed.metadata), request.metadata) {
            // Somebody may have grown it further meanwhile.
            (Some(bytes), _) => Some(extents(bytes).max(self.metadata)),
            (None, growth) => growth.map(|growth| self.metadata_by(growth, &half)),
        };
        // What grows along by itself must not stand in the way of what was asked for.
        let metadata = |data: u64| {
            asked.unwrap_or_else(|| match self.metadata_with(data) {
                grown if self.cost(data, grown) <= self.free => grown,
                _ => self.metadata,
            })
        };
        let along = |data: u64| asked.unwrap_or_else(|| self.metadata_with(data));
        let data = match (fixed.and_then(|fixed| fixed.data), request.data) {
            (Some(bytes), _) => extents(bytes).max(self.data),
            (None, Some(Growth::Max)) => {
                let most = |goes: &dyn Fn(u64) -> u64| {
                    largest(self.data, self.free, |data| self.cost(data, goes(data)) <= self.free)
                };
                match most(&along) {
                    none if none == self.data => most(&|_| asked.unwrap_or(self.metadata)),
                    data => data,
                }
            }
            // What the pool has in whole chunks is its size, as status says it; LVM's may be a piece of a chunk more.
            (None, Some(Growth::To(bytes))) if (self.whole_chunks()..self.bytes(self.data)).contains(&bytes) => {
                self.data
            }
            // Nor is it smaller than what LVM has rounded up to its stripes.
            (None, Some(Growth::To(bytes)))
                if extents(bytes) < self.data && self.striping.rounded(extents(bytes)) == self.data =>
            {
                self.data
            }
            (None, Some(growth)) => target(growth, self.data, &room, self.extent.0),
            (None, None) => self.data,
        };
        let data = match data.checked_sub(self.data) {
            Some(grown) => self.data.saturating_add(self.striping.rounded(grown)),
            None => data,
        };
        (data, metadata(data))
    }
}

pub fn plan(
    request: &Request,
    facts: &Facts,
    now: &Now<'_>,
    (side, name, lvm): (&LvmSide, &LvmName, &Lvm),
    fixed: Option<Targets>,
    reasons: &mut Reasons,
) -> Option<(Plan, Targets)> {
    let mut plan = Plan::default();
    let blank = take_in(name, facts, lvm, &mut plan, reasons);
    let group = lvm.group(&name.vg)?;
    let extent = Bytes(side.row.vg_extent_size.max(1));
    let added = blank.whole_extents(extent).0;
    let sizes = Sizes {
        extent,
        data: side.row.lv_size / extent.0,
        metadata: side.metadata_size.extents_for(extent).0,
        spare: lvm.spare(name.vg.as_str()).extents_for(extent).0,
        used: now.figures.metadata_used.bytes(),
        chunk: Bytes(side.row.chunk_size),
        striping: side.striping,
        total: group.extents.0.saturating_add(added),
        free: group.free.0.saturating_add(added),
    };
    let (data, metadata) = sizes.targets(request, fixed);
    check(&sizes, name, (data, metadata), reasons);
    let wanted = sizes.metadata_with(data);
    if request.metadata.is_none() && metadata < wanted {
        plan.warnings.push(format!(
            "the metadata of {name} should grow along to {}, and there is no room for it and its spare: add a disk",
            sizes.bytes(wanted)
        ));
    }
    let spare = sizes.spare.max(metadata);
    if metadata > sizes.metadata
        && sizes.cost(data, metadata).saturating_add(spare - sizes.spare) > sizes.free
        && data == sizes.data
    {
        plan.warnings.push(format!(
            "there is no room for the spare metadata volume of {} to grow along to {}, which lvconvert --repair would need",
            name.vg,
            sizes.bytes(spare)
        ));
    }
    // A run that added the disk may have been cut off between taking the pool from dmeventd and giving it back.
    let watched = fixed.map_or(side.monitored() || (request.adds && side.extends_itself()), |fixed| fixed.watched);
    let targets = Targets { data: Some(sizes.bytes(data)), metadata: Some(sizes.bytes(metadata)), watched };
    let keeps_watch = keeps_watch(side, now.figures);
    let grows = metadata > sizes.metadata;
    if grows || request.metadata.is_some() {
        plan.put(Step::ExtendMetadata { pool: name.clone(), to: sizes.bytes(metadata), keeps_watch }, !grows);
    }
    if request.data.is_some() {
        let step = Step::ExtendData { pool: name.clone(), to: Extents(data), bytes: sizes.bytes(data), keeps_watch };
        plan.put(step, data <= sizes.data);
    }
    // A command that was killed between LVM's metadata and the kernel's table leaves the kernel behind.
    let in_kernel = now.figures.data_total.bytes(now.table.chunk_bytes());
    let whole_chunks = side.row.lv_size - side.row.lv_size % now.table.chunk_bytes().0.max(1);
    if in_kernel.0 < whole_chunks {
        plan.todo(Step::Refresh { pool: name.clone() });
    }
    let grown = plan.steps.iter().any(|planned| !planned.already && !matches!(planned.step, Step::ExtendGroup { .. }));
    if blank.0 > 0 && !grown && waits(side, now, sizes.free) {
        plan.todo(Step::Unmonitor { pool: name.clone() });
        plan.todo(Step::Monitor { pool: name.clone() });
    } else if watched && side.is_watched() == Some(false) {
        plan.todo(Step::Monitor { pool: name.clone() });
    }
    Some((plan, targets))
}

/// Whether an extension is due that only room was missing for. dmeventd, which failed to make it, tries less and less
/// often. It forgets its failures when the pool has another size, of data or of metadata, or when it is told of the
/// pool anew; not when the group has room (LVM2/daemons/dmeventd/plugins/thin/dmeventd_thin.c, `known_data_size`).
fn waits(side: &LvmSide, now: &Now<'_>, free: u64) -> bool {
    side.monitored()
        && side.autoextend.as_ref().is_ok_and(|settings| {
            settings.percent > 0
                && is_overdue(now.figures, settings.threshold)
                && side.next_step(now.figures, *settings).0 <= free
        })
}

/// Whether dmeventd goes on watching while LVM extends: to take the pool from it and give it back takes longer than all
/// else, and leaves the pool unwatched where LVM is killed in between. Past the threshold it is given back: dmeventd
/// then forgets its failures and extends at once.
fn keeps_watch(side: &LvmSide, figures: &PoolFigures) -> bool {
    let below = |settings: &Autoextend| !is_overdue(figures, settings.threshold);
    side.monitored() && side.autoextend.as_ref().is_ok_and(below)
}

/// Everything that speaks against these sizes.
fn check(sizes: &Sizes, name: &LvmName, (data, metadata): (u64, u64), reasons: &mut Reasons) {
    if data < sizes.data {
        smaller(&name.to_string(), sizes.bytes(data), sizes.bytes(sizes.data), reasons);
    }
    if metadata < sizes.metadata {
        let whose = format!("The metadata of {name}");
        smaller(&whose, sizes.bytes(metadata), sizes.bytes(sizes.metadata), reasons);
    }
    if sizes.bytes(metadata) > LARGEST_METADATA && metadata > sizes.metadata {
        let metadata = sizes.bytes(metadata);
        reasons.add(format!("{metadata} of metadata are more than LVM can use ({LARGEST_METADATA})."));
    }
    let needed = sizes.cost(data, metadata);
    if needed <= sizes.free {
        return;
    }
    let for_metadata = match needed.saturating_sub(sizes.striping.takes(data.saturating_sub(sizes.data))) {
        0 => String::new(),
        extents => format!(", {} of it for metadata and its spare", sizes.bytes(extents)),
    };
    reasons.add_with_hint(
        format!(
            "That needs {} more{for_metadata}, and {} has {} free.",
            sizes.bytes(needed),
            name.vg,
            sizes.bytes(sizes.free)
        ),
        format!(
            "take all that is free: dmtool resize max {name}; or add a disk: dmtool resize {name} --add-device DEVICE"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::activation::Chosen;

    #[test]
    fn metadata_grows_along_and_never_stands_in_the_way() {
        let request = |data| Request { chosen: Chosen::Only, data: Some(data), metadata: None, adds: false };
        // 95 GiB in chunks of 64 KiB want 380 MiB of metadata and have 96, with a spare of as much.
        let sizes = |free: u64| Sizes {
            extent: Bytes(4 << 20),
            data: 24_320,
            metadata: 24,
            spare: 24,
            used: Bytes(0),
            chunk: Bytes(64 << 10),
            striping: Striping::NONE,
            total: 30_000,
            free,
        };
        assert_eq!(sizes(125).targets(&request(Growth::Max), None), (24_445, 24), "data alone");
        assert_eq!(sizes(1000).targets(&request(Growth::Max), None), (25_170, 99), "less the room for both");
        assert_eq!(sizes(125).targets(&request(Growth::By(Bytes(400 << 20))), None), (24_420, 24));
        assert_eq!(sizes(1000).targets(&request(Growth::By(Bytes(400 << 20))), None), (24_420, 96));
    }

    #[test]
    fn metadata_end_at_what_lvm_can_use() {
        let sizes = |extent: u64, metadata: u64| Sizes {
            extent: Bytes(extent << 20),
            data: 1 << 20 >> extent.trailing_zeros(),
            metadata,
            spare: 0,
            used: Bytes(0),
            chunk: Bytes(64 << 10),
            striping: Striping::NONE,
            total: 1 << 30,
            free: 1 << 29,
        };
        let request = |data, metadata| Request { chosen: Chosen::Only, data, metadata, adds: false };
        let most = request(None, Some(Growth::Max));
        assert_eq!(sizes(4, 24).targets(&most, None).1, 4048, "15.81 GiB");
        assert_eq!(sizes(128, 1).targets(&most, None).1, 126, "rounded down");
        assert_eq!(sizes(128, 200).targets(&most, None).1, 200, "what is there stays");
        // 100 TiB of data in such chunks want more metadata than there can be.
        let data = request(Some(Growth::To(Bytes(100 << 40))), None);
        for (extent, metadata, along) in [(4, 24, 4048), (128, 1, 126), (128, 127, 127)] {
            let sizes = sizes(extent, metadata);
            let targets = sizes.targets(&data, None);
            assert_eq!(targets.1, along, "{extent}");
            let (mut reasons, name) = (Reasons::default(), LvmName::parse("vg/pool").expect("a name"));
            check(&sizes, &name, targets, &mut reasons);
            assert!(reasons.settle("").is_ok(), "{extent}");
        }
    }
}
