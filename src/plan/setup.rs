//! The plan of `dmtool setup`: a direct-lvm pool on the devices that the operator named.

use super::activation::components_down;
use super::devices::{
    Usable, Wish, blank_extents, check_group, group_step, path_for_lvm, room, unlabel_step, usable, wipe_step,
};
use super::halves::{Halves, amount, metadata_name};
use super::profile::{Asked, profile_step};
use super::refusal::{Reasons, Refusal};
use super::sizing::{self, Layout, Room};
use super::step::Step;
use super::{Plan, Planned, autoextend};
use crate::names::{LvName, LvmName};
use crate::observe::device::Named;
use crate::observe::lvm::{Group, Lvm};
use crate::observe::pools::Pool;
use crate::observe::profile::{Autoextend, NEVER, Slot, low_water_for, near};
use crate::observe::{Dmeventd, Looked};
use crate::units::{Amount, Bytes, Extents};
use std::collections::BTreeSet;

/// Docker's defaults for its own automation of this setup.
pub const DEFAULT: Autoextend = Autoextend { threshold: 80, percent: 20 };
pub const DEFAULT_CHUNK: Bytes = Bytes(512 * 1024);

/// What the operator asked for; absent is "not said": a default for a new pool, no wish for an existing one.
#[derive(Debug, Clone)]
pub struct Request {
    pub pool: LvmName,
    pub data: Amount,
    pub metadata: Amount,
    pub chunk: Option<Bytes>,
    pub threshold: Option<u64>,
    pub percent: Option<u64>,
    pub autoextend: bool,
    pub zero: bool,
    pub wipe: bool,
    /// The group is there and stays what it is: only its free space is used.
    pub adopt: bool,
}

impl Request {
    fn wish(&self) -> Wish<'_> {
        Wish { pool: &self.pool, vg: &self.pool.vg, wipe: self.wipe, grows: false }
    }
}

/// What the machine is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub devices: Vec<Named>,
    /// The device that the metadata shall have for itself.
    pub metadata_device: Option<Named>,
    pub lvm: Looked<Lvm>,
    /// The volumes that stand where a manual setup leaves its two halves, if any, as devices.
    pub halves: Vec<Named>,
    /// The pool of that name as it is now.
    pub pool: Looked<Option<Pool>>,
    /// The profile of the pool's own name.
    pub profile: Looked<Slot>,
    pub dmeventd: Looked<Dmeventd>,
    /// Of all device-mapper devices.
    pub names: Looked<BTreeSet<String>>,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let mut reasons = Reasons::default();
    let message = format!("setup of {} is refused, nothing was changed", request.pool);
    let (lvm, pool, profile) = match (&facts.lvm, &facts.pool, &facts.profile) {
        (Ok(lvm), Ok(pool), Ok(profile)) => (lvm, pool, profile),
        (lvm, pool, profile) => {
            let unseen = [lvm.as_ref().err(), pool.as_ref().err(), profile.as_ref().err()];
            for why in unseen.into_iter().flatten() {
                reasons.add_with_hint(
                    format!("Could not look: {why}."),
                    "a lock goes with its holder, and --lock-timeout SECONDS gives it more time; otherwise see what \
                     LVM says by itself: vgs",
                );
            }
            reasons.settle(message)?;
            return Ok(Plan::default());
        }
    };
    let named: Vec<Named> = facts.devices.iter().chain(&facts.metadata_device).cloned().collect();
    let devices = usable(request.wish(), &named, lvm, &mut reasons);
    let group = lvm.group(&request.pool.vg);
    check_group(request.wish(), &devices, group.as_ref(), &mut reasons);
    if request.adopt && group.is_none() {
        reasons.add_with_hint(
            format!("There is no volume group {}.", request.pool.vg),
            "list the groups: vgs; for a new one, name its disks: dmtool setup DEVICE...",
        );
    }
    let threshold = if request.autoextend { request.threshold } else { Some(NEVER) };
    let asked = Asked { threshold, percent: request.percent };
    let profile_step = profile_step(&request.pool, asked, pool.as_ref(), profile, &mut reasons);
    let mut plan = Plan::default();
    match pool {
        Some(pool) => existing(request, &devices, pool, profile_step, &mut plan, &mut reasons),
        None => {
            let ground =
                Ground { devices: &devices, apart: facts.metadata_device.is_some(), lvm, group: group.as_ref() };
            new(request, &ground, &facts.halves, profile_step.0, &mut plan, &mut reasons);
            strays(&request.pool, lvm, &facts.names, &mut reasons);
        }
    }
    // It is the one that watches what is made here.
    if !plan.nothing_to_do() {
        autoextend::answers(&facts.dmeventd, &mut reasons);
    }
    reasons.settle(message)?;
    Ok(plan)
}

/// Devices with the names that the new pool's will have, which LVM knows nothing of: it would fail over them half-way.
fn strays(pool: &LvmName, lvm: &Lvm, names: &Looked<BTreeSet<String>>, reasons: &mut Reasons) {
    let Ok(names) = names else { return };
    let (vg, lv) = (pool.vg.as_str(), pool.lv.as_str());
    for (volume, device) in [
        (lv.to_owned(), pool.dm_name()),
        (format!("{lv}_tmeta"), format!("{}_tmeta", pool.dm_name())),
        (format!("{lv}_tdata"), format!("{}_tdata", pool.dm_name())),
        (lv.to_owned(), format!("{}-tpool", pool.dm_name())),
    ] {
        if names.contains(&device) && lvm.lv(vg, &volume).is_none() {
            reasons.add_with_hint(
                format!("The device {device} is in the kernel, and LVM knows no volume of that name."),
                format!("a command that failed may have left it; where nobody uses it: dmsetup remove {device}"),
            );
        }
    }
}

/// What a new pool is made on.
struct Ground<'a> {
    devices: &'a [Usable<'a>],
    /// The last of the devices is for the metadata alone.
    apart: bool,
    lvm: &'a Lvm,
    group: Option<&'a Group<'a>>,
}

/// No pool yet: from the blank disk, or from wherever an earlier run or somebody by hand stopped.
fn new(
    request: &Request,
    ground: &Ground<'_>,
    halves: &[Named],
    profile: Planned,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let mut halves = Halves::find(request, ground.lvm, halves, reasons);
    if ground.devices.is_empty() && !request.adopt {
        // They have their own reasons; their size adds nothing.
        return;
    }
    let mut laid_out = layout(request, ground, &halves);
    if let Ok((found, extent)) = &laid_out
        && halves.is_none_of_lvms(found.metadata.bytes(*extent), reasons)
    {
        laid_out = layout(request, ground, &halves);
    }
    let layout = match laid_out {
        Ok(layout) => layout,
        Err(why) => {
            let names: Vec<&str> = ground.devices.iter().map(|(given, _)| *given).collect();
            let on = if names.is_empty() { request.pool.vg.to_string() } else { names.join(", ") };
            reasons.add(format!("{on}: {why}"));
            return;
        }
    };
    for device in ground.devices {
        wipe_step(request.wish(), device, ground.lvm, plan);
        unlabel_step(device, ground.lvm, plan);
    }
    if !request.adopt {
        plan.put(group_step(&request.pool.vg, ground.devices, ground.lvm.other_extents), ground.group.is_some());
    }
    plan.steps.push(profile);
    if halves.none() && !ground.apart {
        plan.todo(create_step(request, layout));
    } else {
        convert_steps(request, ground, &halves, layout, plan);
    }
}

/// Sizes of what is to be made, with the bytes of an extent.
fn layout(request: &Request, ground: &Ground<'_>, halves: &Halves<'_>) -> Result<(Layout, Bytes), String> {
    let (data_devices, metadata_device) = match ground.devices.split_last() {
        Some((last, others)) if ground.apart => (others, Some(last)),
        _ => (ground.devices, None),
    };
    let extent = ground.group.map_or(sizing::EXTENT, |group| group.extent);
    let spare = ground.lvm.spare(request.pool.vg.as_str()).whole_extents(extent);
    // A half that is there keeps its size: it is counted as free and asked for as it is. One that LVM was cut off over
    // never had it.
    let (data, data_there) = match amount(halves.data, request.data, extent) {
        (_, there) if halves.cut_off => (request.data, there),
        asked => asked,
    };
    let (metadata, metadata_there) = amount(halves.metadata, request.metadata, extent);
    let layout = if let Some(metadata_device) = metadata_device {
        let (total, free) = extents_of(data_devices, ground);
        let data_room = Room { extent, total, free: Extents(free.0.saturating_add(data_there)), spare };
        let metadata_free = extents_of(&[*metadata_device], ground).1.0.saturating_add(metadata_there);
        sizing::lay_out_apart(data_room, Extents(metadata_free), data, metadata)
    } else {
        let room = room(data_devices, ground.group, spare);
        let free = Extents(room.free.0.saturating_add(data_there).saturating_add(metadata_there));
        sizing::lay_out(Room { free, ..room }, data, metadata)
    };
    layout.map(|layout| (layout, extent))
}

/// All extents on some of the group's devices, and those of them that are free.
fn extents_of(devices: &[Usable<'_>], ground: &Ground<'_>) -> (Extents, Extents) {
    let extent = ground.group.map_or(sizing::EXTENT, |group| group.extent);
    let (mut total, mut free) = (0_u64, 0_u64);
    for usable in devices {
        let (_, device) = usable;
        let pv = ground.group.and_then(|_| ground.lvm.pv_on(device.major, device.minor));
        let blank = blank_extents(&[*usable], extent).0;
        total = total.saturating_add(pv.map_or(blank, |pv| pv.pv_pe_count));
        let left = pv.map_or(blank, |pv| pv.pv_pe_count.saturating_sub(pv.pv_pe_alloc_count));
        free = free.saturating_add(left);
    }
    (Extents(total), Extents(free))
}

fn convert_steps(
    request: &Request,
    ground: &Ground<'_>,
    halves: &Halves<'_>,
    (layout, extent): (Layout, Bytes),
    plan: &mut Plan,
) {
    let (vg, pool) = (&request.pool.vg, &request.pool);
    let Ok(metadata_lv) = LvName::new(&metadata_name(pool)) else { return };
    let on = |devices: &[Usable<'_>]| devices.iter().map(path_for_lvm).collect::<Vec<_>>();
    let (data_on, metadata_on) = match ground.devices.split_last() {
        Some((last, others)) if ground.apart => (on(others), on(&[*last])),
        _ => (Vec::new(), Vec::new()),
    };
    let volume = |lv: &LvName, extents: Extents, devices: Vec<String>| Step::CreateVolume {
        vg: vg.clone(),
        lv: lv.clone(),
        extents,
        devices,
    };
    plan.put(volume(&pool.lv, layout.data, data_on), halves.data.is_some());
    if halves.cut_off {
        let (to, bytes) = (layout.data, layout.data.bytes(extent));
        plan.todo(Step::ExtendVolume { volume: pool.clone(), to, bytes, carries: false });
    }
    plan.put(volume(&metadata_lv, layout.metadata, metadata_on), halves.metadata.is_some());
    plan.todo(Step::ConvertPool {
        pool: pool.clone(),
        metadata: metadata_lv,
        chunk: request.chunk.unwrap_or(DEFAULT_CHUNK),
        zero: request.zero,
    });
    plan.todo(Step::AttachProfile { pool: pool.clone(), profile: pool.dm_name() });
    plan.todo(Step::Refresh { pool: pool.clone() });
}

fn create_step(request: &Request, (layout, extent): (Layout, Bytes)) -> Step {
    Step::CreatePool {
        pool: request.pool.clone(),
        data: layout.data,
        metadata: layout.metadata.bytes(extent),
        chunk: request.chunk.unwrap_or(DEFAULT_CHUNK),
        zero: request.zero,
        profile: request.pool.dm_name(),
    }
}

/// The pool is there: profile, monitoring and activation are brought to what is asked, its make-up is not touched.
fn existing(
    request: &Request,
    devices: &[Usable<'_>],
    pool: &Pool,
    (profile, wanted): (Planned, Autoextend),
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let Some(lvm) = &pool.lvm else {
        reasons.add(format!("{} exists, but LVM does not know it.", pool.name));
        return;
    };
    let chunk = Bytes(lvm.row.chunk_size);
    if let Some(asked) = request.chunk.filter(|asked| *asked != chunk) {
        reasons.add(format!("{} has chunks of {chunk}, which cannot be changed to {asked}.", pool.name));
    }
    if request.zero && lvm.row.zero.is_empty() {
        reasons.add_with_hint(
            format!("{} does not zero new chunks, and setup does not change that.", pool.name),
            format!("change it by hand: lvchange --zero y {}", pool.name),
        );
    }
    let name = request.pool.dm_name();
    let carried = lvm.row.lv_profile == name;
    if !request.adopt {
        plan.already(group_step(&request.pool.vg, devices, false));
    }
    plan.steps.push(profile);
    plan.already(Step::CreatePool {
        pool: request.pool.clone(),
        data: Extents(lvm.row.lv_size / lvm.row.vg_extent_size.max(1)),
        metadata: lvm.metadata_size,
        chunk,
        zero: !lvm.row.zero.is_empty(),
        profile: name.clone(),
    });
    plan.put(Step::AttachProfile { pool: request.pool.clone(), profile: name }, carried);
    // As activate does with one that is named.
    let activate = Step::Activate { pool: request.pool.clone(), ignore_skip: !lvm.row.lv_skip_activation.is_empty() };
    let Some(live) = &pool.live else {
        if pool.broken.is_none() {
            components_down(lvm, &request.pool.vg, plan);
        }
        plan.todo(activate);
        return;
    };
    if !lvm.is_whole(live) {
        plan.todo(activate);
    }
    let low_water = live.table.as_ref().map(|table| table.low_water);
    let due = low_water_for(live.length.bytes(), chunk, wanted.threshold);
    plan.put(Step::Refresh { pool: request.pool.clone() }, low_water.is_ok_and(|now| near(now, due)));
    plan.put(Step::Monitor { pool: request.pool.clone() }, lvm.monitored());
}

#[cfg(test)]
mod tests;
