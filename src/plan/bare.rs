//! What activation and deactivation do with bare pools: what stands at the places of a record must be what the record
//! speaks of, since the kernel takes any data device for any metadata without a complaint.

use super::refusal::Reasons;
use super::step::Step;
use super::{Plan, Planned};
use crate::names::DmName;
use crate::observe::Looked;
use crate::observe::device::Above;
use crate::observe::metadata::Head;
use crate::observe::pools::{Live, Pool};
use crate::observe::register::{Place, Record, State, Volume, is_a_consumers, is_dockers_own};
use crate::observe::standing::{FileThere, Standing, There};
use crate::observe::thin::Mode;
use std::collections::BTreeSet;

/// A pool of the register, with what stands at its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    pub record: Looked<Record>,
    pub standing: Option<Standing>,
    /// What it would be remembered as, where it is up.
    pub fresh: Option<Looked<Record>>,
}

/// What the register says of a pool, with what stands there; none with a reason where that could not be looked at.
pub fn looked_at<'a>(known: &'a Known, reasons: &mut Reasons) -> Option<(&'a Record, &'a Standing)> {
    match (&known.record, &known.standing) {
        (Ok(record), Some(standing)) => return Some((record, standing)),
        (Err(why), _) => reasons.add(format!("Could not look: {why}.")),
        (Ok(_), None) => reasons.add(format!("Could not look at what {} stands on.", known.name)),
    }
    None
}

/// What else has names and numbers that a pool and its volumes need.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    pub above: &'a [Above],
    /// Of all device-mapper devices.
    pub names: &'a Looked<BTreeSet<String>>,
}

impl Around<'_> {
    /// Whether a volume of the register is up.
    ///
    /// # Errors
    /// Its name or its number is another's, or could not be looked at.
    pub fn is_up(&self, pool: &DmName, volume: &Volume) -> Result<bool, String> {
        let device = volume.device.as_str();
        let on_pool = self.above.iter().filter(|above| above.pool == pool.as_str());
        for above in on_pool {
            match (above.dm_name == device, above.thin_id == Some(volume.thin_id)) {
                (true, true) => return Ok(true),
                (true, false) => {
                    return Err(format!("{device} is there and is another volume than the register says."));
                }
                (false, true) => {
                    return Err(format!("The volume {} is up already, as {}.", volume.name, above.dm_name));
                }
                (false, false) => {}
            }
        }
        self.name_is_free(device).map(|()| false)
    }

    /// # Errors
    /// A device has the name, or that could not be looked at.
    pub fn name_is_free(&self, device: &str) -> Result<(), String> {
        match self.names {
            Ok(names) if names.contains(device) => Err(format!("A device of the name {device} is there already.")),
            Ok(_) => Ok(()),
            Err(why) => Err(format!("Could not look: {why}.")),
        }
    }
}

/// Plans to bring up a pool of the register with its volumes, or says why not.
pub fn bring_up(pool: &Pool, known: &Known, around: Around<'_>, plan: &mut Plan) -> Reasons {
    let mut reasons = Reasons::default();
    let Some((record, standing)) = looked_at(known, &mut reasons) else { return reasons };
    let mut part = Plan::default();
    match &pool.live {
        Some(live) => well(pool, live, standing, &mut reasons),
        None => {
            for why in standing.misfits(record) {
                let file = record.path();
                reasons.add_with_hint(why, format!("see what became of it; the register is {}", file.display()));
            }
            around.name_is_free(record.name.as_str()).unwrap_or_else(|why| reasons.add(why));
        }
    }
    let up = pool.live.is_some();
    for (place, there) in [(&record.metadata, &standing.metadata), (&record.data, &standing.data)] {
        if let (Place::File { path, .. }, Ok(There::File(there))) = (place, there) {
            part.put(Step::Attach { path: path.clone() }, there.loop_device.is_some());
        }
    }
    if !up && matches!(standing.head, Ok(Head::Of(_))) {
        part.todo(Step::CheckMetadata { name: record.name.clone(), place: record.metadata.clone() });
    }
    part.put(Step::MakePool { record: Box::new(record.clone()), length: standing.length(record) }, up);
    for volume in record.volumes.iter().filter(|volume| volume.state == State::Ready) {
        match around.is_up(&record.name, volume) {
            // One that the pool lost does not keep the others down.
            Ok(already) => part.steps.push(Planned {
                step: volume_step(record, volume),
                already,
                part: Some(part_of(record.name.as_str(), &volume.name)),
            }),
            Err(why) => reasons.add(why),
        }
    }
    if reasons.is_empty() {
        plan.steps.append(&mut part.steps);
    }
    reasons
}

/// A volume as a part of the plan, which fails by itself, and with its pool.
fn part_of(pool: &str, volume: &str) -> String {
    format!("{pool}: {volume}")
}

/// Nothing is put on a pool that is another, or cannot take it.
fn well(pool: &Pool, live: &Live, standing: &Standing, reasons: &mut Reasons) {
    let name = &pool.name;
    let failed = live.status.as_ref().is_ok_and(|status| status.mode == Mode::Fail);
    if !standing.carries(live) {
        reasons.add(elsewhere(name, standing));
    } else if live.suspended || failed {
        let state = if failed { "has failed" } else { "is suspended" };
        reasons.add_with_hint(format!("{name} {state}."), format!("see what mends it: dmtool check {name}"));
    }
}

fn elsewhere(name: &str, standing: &Standing) -> String {
    match (&standing.data, &standing.metadata) {
        (Ok(There::Missing), _) | (_, Ok(There::Missing)) => {
            format!("{name} is active, and a file or device that it stands on is not there any more.")
        }
        _ => format!("{name} is active on other devices than the register says."),
    }
}

pub fn volume_step(record: &Record, volume: &Volume) -> Step {
    Step::MakeVolume {
        pool: record.name.clone(),
        device: volume.device.clone(),
        thin_id: volume.thin_id,
        size: volume.size,
    }
}

/// Plans to take down a bare pool, its volumes first and its loop devices last, or says why not: only what will come
/// back is taken down.
pub fn take_down(pool: &Pool, known: Option<&Known>, above: &[&Above], plan: &mut Plan) -> Reasons {
    let mut reasons = Reasons::default();
    let Some(known) = known else {
        let name = &pool.name;
        if is_dockers_own(name) {
            let why = format!("{name} is Docker's own pool, which Docker takes down when it ends.");
            reasons.add_with_hint(why, "stop Docker: systemctl stop docker");
        } else {
            reasons
                .add_with_hint(format!("{name} is in no register, so it could not be brought back."), remember(pool));
        }
        return reasons;
    };
    let Some((record, standing)) = looked_at(known, &mut reasons) else { return reasons };
    if let Some(live) = &pool.live {
        if !standing.carries(live) {
            reasons.add(elsewhere(&pool.name, standing));
        }
        unknown_volumes(pool, record, above, &mut reasons);
        follow(record, known, plan);
    }
    let up = |device: &DmName| above.iter().any(|above| above.dm_name == device.as_str());
    let held = |there: &FileThere| there.loop_device.as_ref().is_some_and(|found| !found.free);
    for volume in record.volumes.iter().rev() {
        plan.put(Step::RemoveDevice { device: volume.device.clone() }, !up(&volume.device));
    }
    plan.put(Step::RemoveDevice { device: record.name.clone() }, pool.live.is_none());
    for (place, there) in [(&record.metadata, &standing.metadata), (&record.data, &standing.data)] {
        if let (Place::File { path, .. }, Ok(There::File(there))) = (place, there)
            && there.loop_device.is_some()
        {
            if pool.live.is_none() && held(there) {
                reasons.add(format!("{path} is in use: something else holds its loop device."));
            }
            plan.todo(Step::Detach { path: path.clone() });
        }
    }
    reasons
}

fn remember(pool: &Pool) -> String {
    format!("have it remembered: dmtool activate {} --remember", pool.name)
}

fn unknown_volumes(pool: &Pool, record: &Record, above: &[&Above], reasons: &mut Reasons) {
    for (device, id) in above.iter().map(|above| (&above.dm_name, above.thin_id)) {
        if is_a_consumers(&record.name, device) {
            let why = format!("{device} stands on {} and is Docker's or containerd's.", pool.name);
            reasons.add_with_hint(why, "stop what uses it");
        } else if !record.volumes.iter().any(|volume| volume.device.as_str() == device && Some(volume.thin_id) == id) {
            let why = format!("{device} stands on {} and is in no register.", pool.name);
            reasons.add_with_hint(why, remember(pool));
        }
    }
}

/// The register follows what became of the pool while it was up; its volumes are what was asked for.
pub fn follow(record: &Record, known: &Known, plan: &mut Plan) {
    match &known.fresh {
        Some(Ok(fresh)) => {
            let fresh = Record { volumes: record.volumes.clone(), ..fresh.clone() };
            if fresh != *record {
                plan.todo(Step::Record { record: Box::new(fresh), made: false });
            }
        }
        // One that has failed says nothing of itself; what was known of it before stays.
        Some(Err(why)) => plan.warnings.push(format!("the register of {} stays as it is: {why}", record.name)),
        None => {}
    }
}
