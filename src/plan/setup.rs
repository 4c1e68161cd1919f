//! The plan of `dmtool setup`: a direct-lvm pool on the devices that the operator named.

use super::devices::{Usable, Wish, check_group, group_step, usable, wipe_step};
use super::profile::{low_water_for, near, profile_step};
use super::refusal::{Reasons, Refusal};
use super::sizing::{self, Layout, Room};
use super::step::Step;
use super::{Plan, Planned};
use crate::names::LvmName;
use crate::observe::Looked;
use crate::observe::device::Named;
use crate::observe::lvm::{Group, Lvm};
use crate::observe::pools::Pool;
use crate::observe::profile::{Autoextend, Profile};
use crate::units::{Amount, Bytes, Extents};

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
}

impl Request {
    fn wish(&self) -> Wish<'_> {
        Wish { pool: &self.pool, vg: &self.pool.vg, wipe: self.wipe }
    }
}

/// What the machine is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub devices: Vec<Named>,
    pub lvm: Looked<Lvm>,
    /// The pool of that name as it is now.
    pub pool: Looked<Option<Pool>>,
    /// The profile of the pool's own name.
    pub profile: Looked<Option<Profile>>,
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
                reasons.add(format!("Could not look: {why}."));
            }
            reasons.settle(message)?;
            return Ok(Plan::default());
        }
    };
    let devices = usable(request.wish(), &facts.devices, lvm, &mut reasons);
    let group = lvm.group(&request.pool.vg);
    check_group(request.wish(), &devices, group.as_ref(), &mut reasons);
    let profile_step = profile_step(request, pool.as_ref(), profile.as_ref(), &mut reasons);
    let mut plan = Plan::default();
    match pool {
        Some(pool) => existing(request, &devices, pool, profile_step, &mut plan, &mut reasons),
        None => new(request, &devices, lvm, group.as_ref(), profile_step, &mut plan, &mut reasons),
    }
    reasons.settle(message)?;
    Ok(plan)
}

/// No pool yet: from the blank disk, or from wherever an earlier run stopped.
fn new(
    request: &Request,
    devices: &[Usable<'_>],
    lvm: &Lvm,
    group: Option<&Group<'_>>,
    (profile, _): (Planned, Autoextend),
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    if let Some(row) = lvm.lv(request.pool.vg.as_str(), request.pool.lv.as_str()) {
        reasons.add(format!("{} exists already and is no thin pool ({}).", request.pool, row.lv_layout));
    }
    let room = match group {
        Some(group) => Room {
            extent: group.extent,
            total: group.extents,
            free: group.free,
            spare: spare_of(lvm, request.pool.vg.as_str()).whole_extents(group.extent),
        },
        None => {
            let extents = devices
                .iter()
                .map(|(_, device)| sizing::extents_on(device.size, device.minimum_io, device.optimal_io).0)
                .sum();
            Room { extent: sizing::EXTENT, total: Extents(extents), free: Extents(extents), spare: Extents(0) }
        }
    };
    if reasons.is_empty() && devices.is_empty() {
        reasons.add("No device was named.");
    }
    let layout = match sizing::lay_out(room, request.data, request.metadata) {
        Ok(layout) => layout,
        Err(why) if devices.is_empty() => {
            // The devices have their own reasons; their size adds nothing.
            let _ = why;
            return;
        }
        Err(why) => {
            let names: Vec<&str> = devices.iter().map(|(given, _)| *given).collect();
            reasons.add(format!("{}: {why}", names.join(", ")));
            return;
        }
    };
    for device in devices {
        wipe_step(request.wish(), device, lvm, plan);
    }
    plan.put(group_step(&request.pool.vg, devices), group.is_some());
    plan.steps.push(profile);
    plan.todo(create_step(request, room, layout));
}

fn create_step(request: &Request, room: Room, layout: Layout) -> Step {
    Step::CreatePool {
        pool: request.pool.clone(),
        data: layout.data,
        metadata: layout.metadata.bytes(room.extent),
        chunk: request.chunk.unwrap_or(DEFAULT_CHUNK),
        zero: request.zero,
        profile: request.pool.dm_name(),
    }
}

/// The size of the group's spare metadata volume.
fn spare_of(lvm: &Lvm, vg: &str) -> Bytes {
    let is_spare = |role: &str| role.split(',').any(|word| word == "spare");
    let spare = lvm.lvs.iter().find(|row| row.vg_name == vg && is_spare(&row.lv_role));
    Bytes(spare.map_or(0, |row| row.lv_size))
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
    plan.already(group_step(&request.pool.vg, devices));
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
    let Some(live) = &pool.live else {
        plan.todo(Step::Activate { pool: request.pool.clone() });
        return;
    };
    let low_water = live.table.as_ref().map(|table| table.low_water);
    let due = low_water_for(live.length.bytes(), chunk, wanted.threshold);
    plan.put(Step::Refresh { pool: request.pool.clone() }, low_water.is_ok_and(|now| near(now, due)));
    plan.put(Step::Monitor { pool: request.pool.clone() }, lvm.monitored());
}

#[cfg(test)]
mod tests;
