//! A pool on a bare table: what is underneath grows, then one new table with another length is swapped in.

use super::below::{below, room_for_space_maps, still_there, together};
use super::remember::{announced, caught_up, grown_record, register};
use super::{Facts, Growth, Now, Request, Room, Targets, largest, metadata_for, smaller, take_in, target};
use crate::observe::ground::{Base, Ground};
use crate::plan::activation::let_run_first;
use crate::plan::refusal::Reasons;
use crate::plan::sizing::{LARGEST_METADATA, largest_metadata};
use crate::plan::step::Step;
use crate::plan::{Plan, Planned};
use crate::units::{Bytes, DataBlocks, Extents, LARGEST_DEVICE, METADATA_BLOCK, MIB, SECTOR, Sectors, share_of};

/// A pool, and what it stands on.
struct On<'a> {
    now: &'a Now<'a>,
    data: &'a Base,
    metadata: &'a Base,
}

pub fn plan(
    request: &Request,
    facts: &Facts,
    now: &Now<'_>,
    fixed: Option<Targets>,
    reasons: &mut Reasons,
) -> Option<(Plan, Targets)> {
    let mut plan = Plan::default();
    let mut ground = facts.ground.clone()?;
    if request.adds {
        add(facts, &mut ground, &now.live.dm_name, &mut plan, reasons);
    }
    let on = On::of(request, &ground, now, reasons)?;
    let name = &now.live.dm_name;
    let (data, metadata) = on.targets(request, fixed, &mut plan);
    let (data_now, metadata_now) = (on.data_now(), on.metadata_now());
    on.check(data, metadata, reasons);
    let grown = |base: &Base, size: Bytes, now: Bytes| (size > now).then(|| base.with(size));
    let sizes = (grown(on.metadata, metadata, metadata_now), grown(on.data, data, data_now));
    let record = facts.known.as_ref().and_then(|known| register(known, now, reasons));
    if let Some(before) = record.map(|record| announced(record, sizes)) {
        // Only files are known by their size: a resize that is cut off must not make them strangers.
        let said = record == Some(&before);
        plan.steps.extend((!said).then(|| Planned::todo(Step::Record { record: Box::new(before), made: false })));
    }
    if metadata > metadata_now {
        below((name, "metadata"), on.metadata, metadata, &mut plan, reasons);
    }
    if data > data_now {
        below((name, "data"), on.data, data, &mut plan, reasons);
    }
    // A table keeps the length it has where its pool does not grow: that need not be a multiple of a chunk.
    let to = if data > data_now { Sectors(data.0 / SECTOR) } else { now.live.length };
    let dm_name = now.live.dm_name.clone();
    let swapped = data <= data_now && metadata <= metadata_now;
    plan.put(Step::SwapTable { dm_name, from: now.live.length, to, table: now.table.clone() }, swapped);
    if let (Some(record), Some(known)) = (record, &facts.known) {
        let after = if swapped { caught_up(record, known) } else { Some(grown_record(record, sizes, to)) };
        plan.steps.extend(after.map(|after| Planned::todo(Step::Record { record: Box::new(after), made: false })));
    }
    on.run_on_first(facts, &mut plan);
    Some((plan, Targets { data: Some(data), metadata: Some(metadata), watched: false }))
}

/// Takes devices into the group of the data volume, where the pool's data is on one.
fn add(facts: &Facts, ground: &mut Ground, pool: &str, plan: &mut Plan, reasons: &mut Reasons) {
    let (Ok(Base::Volume { name, .. }), Ok(lvm)) = (&ground.data, &facts.lvm) else {
        reasons.add_with_hint(
            format!("The data of {pool} is on no volume of LVM: a device cannot be added to it."),
            "grow what it stands on, such as the file system of its file",
        );
        return;
    };
    let name = name.clone();
    let blank = take_in(&name, facts, lvm, plan, reasons);
    for base in [&mut ground.data, &mut ground.metadata] {
        if let Ok(Base::Volume { name: volume, total, free, extent, .. }) = base
            && volume.vg == name.vg
        {
            let more = blank.whole_extents(*extent).bytes(*extent);
            (total.0, free.0) = (total.0.saturating_add(more.0), free.0.saturating_add(more.0));
        }
    }
}

impl<'a> On<'a> {
    fn of(request: &Request, ground: &'a Ground, now: &'a Now<'a>, reasons: &mut Reasons) -> Option<On<'a>> {
        let (data, metadata) = match (&ground.data, &ground.metadata) {
            (Ok(data), Ok(metadata)) => (data, metadata),
            (Err(why), _) | (_, Err(why)) => {
                reasons.add(format!("Could not look: {why}."));
                return None;
            }
        };
        for (growth, base) in [(request.data, data), (request.metadata, metadata)] {
            if matches!(growth, Some(Growth::PercentOfGroup(_) | Growth::ByPercentOfFree(_))) && !base.is_volume() {
                reasons.add(format!("{} is in no volume group, so there are no shares of one.", base.name()));
            }
        }
        Some(On { now, data, metadata })
    }

    /// Ends what a change of what is underneath left that was cut off: it stands still, and the pool's writes wait for it.
    fn run_on_first(&self, facts: &Facts, plan: &mut Plan) {
        for base in [self.data, self.metadata] {
            if let Base::Volume { name, .. } = base
                && facts.left.volumes.contains(name)
            {
                let_run_first(name, plan);
            }
        }
    }

    fn chunk(&self) -> Bytes {
        self.now.table.chunk_bytes()
    }

    fn data_now(&self) -> Bytes {
        self.now.figures.data_total.bytes(self.chunk())
    }

    fn metadata_now(&self) -> Bytes {
        self.now.figures.metadata_total.bytes()
    }

    /// Data and metadata as they are asked for.
    fn targets(&self, request: &Request, fixed: Option<Targets>, plan: &mut Plan) -> (Bytes, Bytes) {
        let asked = match (fixed.and_then(|fixed| fixed.metadata), request.metadata) {
            // The kernel takes all of the device that it finds, which may be more than was asked for.
            (Some(bytes), _) => Some(bytes.max(self.metadata_now())),
            (None, growth) => growth.map(|growth| self.metadata_by(growth)),
        };
        let along = |data: Bytes| asked.unwrap_or_else(|| self.metadata_with(data));
        let data = match (fixed.and_then(|fixed| fixed.data), request.data) {
            // Somebody may have grown it further meanwhile.
            (Some(bytes), _) => bytes.max(self.data_now()),
            (None, Some(Growth::Max)) => self.most(&along, asked.unwrap_or(self.metadata_now())),
            (None, Some(growth)) => {
                let chunks = target_on(growth, self.now.figures.data_total.0, self.data, self.chunk().0);
                DataBlocks(chunks).bytes(self.chunk())
            }
            (None, None) => self.data_now(),
        };
        // The kernel counts in whole chunks.
        let chunk = self.chunk().0.max(1);
        let data = DataBlocks(data.0.div_ceil(chunk)).bytes(self.chunk());
        let wanted = along(data);
        // What grows along by itself must not stand in the way of what was asked for.
        if asked.is_none() && wanted > self.metadata_now() && !self.goes_along(data, wanted) {
            plan.warnings.push(format!(
                "the metadata of {} should grow along to {wanted}, and there is no room for that on {}",
                self.now.live.dm_name,
                self.metadata.name()
            ));
            return (data, self.metadata_now());
        }
        (data, wanted)
    }

    /// The most data that there is room for, with the metadata that goes along, or without where that takes all.
    fn most(&self, along: &dyn Fn(Bytes) -> Bytes, alone: Bytes) -> Bytes {
        let present = self.now.figures.data_total.0;
        // What is under the pool may be larger than the pool already.
        let all = self.data.size().0.saturating_add(self.data.room().1.0) / self.chunk().0.max(1);
        let chunks = |fits: &dyn Fn(Bytes) -> bool| {
            largest(present, all.saturating_sub(present), |chunks| fits(DataBlocks(chunks).bytes(self.chunk())))
        };
        let chunks = match chunks(&|data| self.has_room(data, along(data))) {
            none if none == present => chunks(&|data| self.has_room(data, alone)),
            chunks => chunks,
        };
        DataBlocks(chunks).bytes(self.chunk())
    }

    fn metadata_by(&self, growth: Growth) -> Bytes {
        if growth == Growth::Max {
            // What is under the pool may be larger than the pool already.
            let all = self.metadata.size().0.saturating_add(self.metadata.room().1.0);
            return Bytes(all - all % METADATA_BLOCK).min(self.largest_metadata()).max(self.metadata_now());
        }
        let blocks = target_on(growth, self.now.figures.metadata_total.0, self.metadata, METADATA_BLOCK);
        // As much as the device will have: the kernel takes all of it.
        self.metadata.whole(Bytes(blocks.saturating_mul(METADATA_BLOCK)))
    }

    /// In whole extents, where it lies on a volume.
    fn largest_metadata(&self) -> Bytes {
        match self.metadata {
            Base::Volume { extent, .. } => largest_metadata(*extent).bytes(*extent),
            Base::File { .. } | Base::Device { .. } => LARGEST_METADATA,
        }
    }

    /// The metadata that goes with so much data; it stays as it is where the data does.
    fn metadata_with(&self, data: Bytes) -> Bytes {
        let needed = metadata_for(data, self.chunk(), self.now.figures.metadata_used.bytes());
        let needed = self.metadata.whole(Bytes(needed.0.next_multiple_of(MIB))).min(self.largest_metadata());
        if data > self.data_now() { needed.max(self.metadata_now()) } else { self.metadata_now() }
    }

    /// Whether metadata can become so large beside that data. Data on a sparse file takes no room by itself.
    fn goes_along(&self, data: Bytes, metadata: Bytes) -> bool {
        match self.metadata {
            Base::File { free, .. } => self.metadata.takes(metadata) <= *free,
            Base::Volume { .. } | Base::Device { .. } => {
                let beside = self.data.shares_room_with(self.metadata);
                let data = if beside { self.data.takes(data) } else { Bytes(0) };
                data.0.saturating_add(self.metadata.takes(metadata).0) <= self.metadata.room().1.0
            }
        }
    }

    /// Whether there is room for so much of both underneath.
    fn has_room(&self, data: Bytes, metadata: Bytes) -> bool {
        let (data_more, metadata_more) = (self.data.takes(data), self.metadata.takes(metadata));
        let (data_free, metadata_free) = (self.data.room().1, self.metadata.room().1);
        if self.data.shares_room_with(self.metadata) {
            data_more.0.saturating_add(metadata_more.0) <= data_free.0
        } else {
            data_more <= data_free && metadata_more <= metadata_free
        }
    }

    /// Everything that speaks against these sizes.
    fn check(&self, data: Bytes, metadata: Bytes, reasons: &mut Reasons) {
        let name = &self.now.live.dm_name;
        let (data_now, metadata_now) = (self.data_now(), self.metadata_now());
        if data > LARGEST_DEVICE {
            reasons.add(format!("{data} of data are larger than any device can be."));
        }
        if data < data_now {
            smaller(name, data, data_now, reasons);
        }
        if metadata > LARGEST_METADATA && metadata > metadata_now {
            reasons.add(format!("{metadata} of metadata are more than a pool can use ({LARGEST_METADATA})."));
        }
        if metadata < metadata_now {
            smaller(&format!("The metadata of {name}"), metadata, metadata_now, reasons);
        }
        for (what, base, size) in [("data", self.data, data_now), ("metadata", self.metadata, metadata_now)] {
            still_there(what, base, size, name, reasons);
        }
        if data > data_now || metadata > metadata_now {
            let chunks = data.0.saturating_sub(data_now.0) / self.chunk().0.max(1);
            let blocks = metadata.0.saturating_sub(metadata_now.0) / METADATA_BLOCK;
            room_for_space_maps(self.metadata, metadata, (chunks, blocks), reasons);
            together(name, (self.data, data), (self.metadata, metadata), reasons);
        }
    }
}

/// As [`target`] for what stands on a device, in units of the pool; shares of a group are whole extents of it.
fn target_on(growth: Growth, present: u64, base: &Base, unit: u64) -> u64 {
    let (total, free) = base.room();
    let share = |whole: Bytes, percent: u64, extent: Bytes| {
        Extents(share_of(whole.whole_extents(extent).0, percent)).bytes(extent).0 / unit.max(1)
    };
    match (growth, base) {
        (Growth::PercentOfGroup(percent), Base::Volume { extent, .. }) => share(total, percent, *extent),
        (Growth::ByPercentOfFree(percent), Base::Volume { extent, .. }) => {
            present.saturating_add(share(free, percent, *extent))
        }
        _ => target(growth, present, &Room { total: total.0 / unit.max(1), free: free.0 / unit.max(1) }, unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::LvmName;
    use crate::observe::left::Left;
    use crate::observe::lvm::Lvm;
    use crate::observe::pools::Pool;
    use crate::plan::activation::Chosen;
    use crate::plan::discards::tests::pool;

    const MIB_4: Bytes = Bytes(4 * MIB);

    fn volume(lv: &str, size: u64) -> Base {
        Base::Volume {
            name: LvmName::parse(&format!("vg/{lv}")).expect("a name"),
            extent: MIB_4,
            size: Bytes(size * MIB),
            in_books: Bytes(size * MIB),
            total: Bytes(4096 * MIB),
            free: Bytes(1024 * MIB),
        }
    }

    /// With 1 GiB of data in chunks of 64 KiB, and so many MiB of metadata.
    fn of(metadata: u64) -> Pool {
        let blocks = metadata * MIB / METADATA_BLOCK;
        pool("bare", &format!("0 100/{blocks} 10/16384 - rw discard_passdown queue_if_no_space - 1024"), "0")
    }

    fn planned(
        sizes: (Option<Growth>, Option<Growth>),
        pool: Pool,
        ground: Ground,
        fixed: Option<Targets>,
    ) -> Result<(Plan, Targets), Vec<String>> {
        planned_after(Left::default(), sizes, pool, ground, fixed)
    }

    fn planned_after(
        left: Left,
        (size, metadata): (Option<Growth>, Option<Growth>),
        pool: Pool,
        ground: Ground,
        fixed: Option<Targets>,
    ) -> Result<(Plan, Targets), Vec<String>> {
        let request = Request { chosen: Chosen::Only, data: size, metadata, adds: false };
        let facts = Facts {
            pools: Ok(vec![pool]),
            lvm: Ok(Lvm::default()),
            added: Vec::new(),
            ground: Some(ground),
            left,
            known: None,
        };
        super::super::plan(&request, &facts, fixed).map_err(|refusal| refusal.reasons)
    }

    fn on_volumes(metadata: u64) -> Ground {
        Ground { data: Ok(volume("data", 1024)), metadata: Ok(volume("metadata", metadata)) }
    }

    #[test]
    fn metadata_on_a_volume_have_whole_extents() {
        let more = (None, Some(Growth::By(Bytes(5 * MIB))));
        let (plan, targets) = planned(more, of(64), on_volumes(64), None).expect("a plan");
        assert_eq!(targets.metadata, Some(Bytes(72 * MIB)));
        assert!(plan.steps.iter().any(|planned| planned.step.command() == "lvextend --extents 18 vg/metadata"));
        let (plan, _) = planned(more, of(72), on_volumes(72), Some(targets)).expect("a plan");
        assert!(plan.nothing_to_do(), "{plan:?}");
        // What rounds up to what is there is there; what does not would be smaller.
        for (size, there) in [(72, true), (69, true), (68, false)] {
            let to = (None, Some(Growth::To(Bytes(size * MIB))));
            match planned(to, of(72), on_volumes(72), None) {
                Ok((plan, _)) => assert!(there && plan.nothing_to_do(), "{size}: {plan:?}"),
                Err(reasons) => assert!(!there && reasons[0].contains("cannot shrink to 68 MiB"), "{reasons:?}"),
            }
        }
    }

    #[test]
    fn what_lvm_was_cut_off_at_is_finished() {
        let planned = |size, in_books: u64, begun: bool| {
            let mut data = volume("data", 1024);
            if let Base::Volume { in_books: books, free, .. } = &mut data {
                (*books, *free) = (Bytes(in_books * MIB), Bytes(0));
            }
            let ground = Ground { data: Ok(data), metadata: Ok(volume("metadata", 64)) };
            let volumes = if begun { vec![LvmName::parse("vg/data").expect("a name")] } else { Vec::new() };
            let left = Left { volumes, ..Left::default() };
            let (plan, _) = planned_after(left, (Some(size), None), of(64), ground, None).expect("a plan");
            plan.steps
                .iter()
                .filter(|planned| !planned.already)
                .map(|planned| planned.step.command())
                .collect::<Vec<_>>()
        };
        let to = Growth::To(Bytes(2048 * MIB));
        let swap = "dmsetup load bare --table '0 4194304 thin-pool 7:1 7:0 128 0' && dmsetup resume bare";
        let refresh = "lvchange --refresh vg/data";
        assert_eq!(planned(to, 2048, false), [refresh, swap], "killed before it stood still");
        assert_eq!(planned(to, 2048, true), [refresh, refresh, swap]);
        // What LVM took of its group is the pool's, though nothing more is free.
        assert_eq!(planned(Growth::Max, 2048, false), [refresh, swap]);
        assert_eq!(planned(Growth::To(Bytes(1024 * MIB)), 1024, true), [refresh], "it may stand still");
        assert!(planned(Growth::To(Bytes(1024 * MIB)), 1024, false).is_empty());
    }

    #[test]
    fn what_the_kernel_took_beyond_the_target_is_no_shrinking() {
        let ground = |length: u64| {
            let base = |device: &str, size: u64| Base::File {
                device: device.to_owned(),
                path: format!("/srv/{device}"),
                length: Bytes(size * MIB),
                device_size: Bytes(size * MIB),
                offset: Bytes(0),
                limit: None,
                free: Bytes(4096 * MIB),
                allocated: Bytes(size * MIB),
                read_only: false,
                deleted: false,
            };
            Ground { data: Ok(base("loop0", 1024)), metadata: Ok(base("loop1", length)) }
        };
        // A run that was cut off left 80 MiB of file, which the device has from the next look on.
        let fixed = Some(Targets { data: Some(Bytes(1024 * MIB)), metadata: Some(Bytes(69 * MIB)), watched: false });
        for asked in [Growth::To(Bytes(69 * MIB)), Growth::By(Bytes(5 * MIB))] {
            let (plan, _) = planned((None, Some(asked)), of(80), ground(80), fixed).expect("a plan");
            assert!(plan.nothing_to_do(), "{plan:?}");
        }
        // A new table takes all of a metadata device, whatever it is swapped in for.
        let data = (Some(Growth::To(Bytes(1024 * MIB))), None);
        let (plan, _) = planned(data, of(80), ground(80), fixed).expect("a plan");
        assert!(plan.nothing_to_do(), "{plan:?}");
    }
}
