//! What activation and deactivation do with bare pools: what stands at the places of a record must be what the record
//! speaks of, since the kernel takes any data device for any metadata without a complaint.

use super::Plan;
use super::refusal::Reasons;
use super::step::Step;
use crate::names::DmName;
use crate::observe::Looked;
use crate::observe::device::Above;
use crate::observe::metadata::Head;
use crate::observe::pools::{Live, Pool};
use crate::observe::register::{Place, Record, Volume, is_a_consumers};
use crate::observe::standing::{Standing, There};
use crate::observe::thin::Mode;

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
fn looked_at<'a>(known: &'a Known, reasons: &mut Reasons) -> Option<(&'a Record, &'a Standing)> {
    match (&known.record, &known.standing) {
        (Ok(record), Some(standing)) => return Some((record, standing)),
        (Err(why), _) => reasons.add(format!("Could not look: {why}.")),
        (Ok(_), None) => reasons.add(format!("Could not look at what {} stands on.", known.name)),
    }
    None
}

/// Plans to bring up a pool of the register with its volumes, or says why not.
pub fn bring_up(pool: &Pool, known: &Known, above: &[Above], plan: &mut Plan) -> Reasons {
    let mut reasons = Reasons::default();
    let Some((record, standing)) = looked_at(known, &mut reasons) else { return reasons };
    match &pool.live {
        Some(live) => well(pool, live, standing, &mut reasons),
        None if pool.broken.is_some() => {
            reasons.add(format!("A device of the name {} is there and is no pool.", pool.name));
        }
        None => {
            for why in standing.misfits(record) {
                let file = record.path();
                reasons.add_with_hint(why, format!("see what became of it; the register is {}", file.display()));
            }
        }
    }
    if !reasons.is_empty() {
        return reasons;
    }
    let up = pool.live.is_some();
    for (place, there) in [(&record.metadata, &standing.metadata), (&record.data, &standing.data)] {
        if let (Place::File { path, .. }, Ok(There::File(there))) = (place, there) {
            plan.put(Step::Attach { path: path.clone() }, there.loop_device.is_some());
        }
    }
    if !up && matches!(standing.head, Ok(Head::Of(_))) {
        plan.todo(Step::CheckMetadata { name: record.name.clone(), place: record.metadata.clone() });
    }
    plan.put(Step::MakePool { record: Box::new(record.clone()), length: standing.length(record) }, up);
    for volume in record.volumes.iter().filter(|volume| !volume.pending) {
        plan.put(volume_step(record, volume), above.iter().any(|above| above.dm_name == volume.device.as_str()));
    }
    reasons
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
        let why = format!("{} is in no register, so it could not be brought back.", pool.name);
        reasons.add_with_hint(why, remember(pool));
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
    for volume in record.volumes.iter().rev() {
        plan.put(Step::RemoveDevice { device: volume.device.clone() }, !up(&volume.device));
    }
    plan.put(Step::RemoveDevice { device: record.name.clone() }, pool.live.is_none());
    for (place, there) in [(&record.metadata, &standing.metadata), (&record.data, &standing.data)] {
        if let (Place::File { path, .. }, Ok(There::File(there))) = (place, there)
            && let Some(found) = &there.loop_device
        {
            plan.todo(Step::Detach { device: found.name.clone(), path: path.clone() });
        }
    }
    reasons
}

fn remember(pool: &Pool) -> String {
    format!("have it remembered: dmtool activate {} --remember", pool.name)
}

fn unknown_volumes(pool: &Pool, record: &Record, above: &[&Above], reasons: &mut Reasons) {
    for device in above.iter().map(|above| &above.dm_name) {
        if is_a_consumers(&record.name, device) {
            let why = format!("{device} stands on {} and is Docker's or containerd's.", pool.name);
            reasons.add_with_hint(why, "stop what uses it");
        } else if !record.volumes.iter().any(|volume| volume.device.as_str() == device) {
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
