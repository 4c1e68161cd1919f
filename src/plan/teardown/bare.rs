//! Of a loop pool its files, of a bare table what it lies on, and last the register: what is in it says where a run that
//! was cut off goes on.

use super::{Facts, Request};
use crate::names::DmName;
use crate::observe::device::Above;
use crate::observe::metadata::Head;
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::{Place, Record};
use crate::observe::standing::{Standing, There};
use crate::plan::Plan;
use crate::plan::bare::looked_at;
use crate::plan::refusal::Reasons;
use crate::plan::step::{Step, Teardown};

pub fn pool(request: &Request, pool: &Pool, above: &[&Above], facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    let Some(known) = facts.ground.known(pool) else {
        return unknown(request, pool, plan, reasons);
    };
    let Some((record, standing)) = looked_at(known, reasons) else { return };
    if let Some(live) = &pool.live
        && !standing.carries(live)
    {
        let hint = format!("see what became of it; the register is {}", record.path().display());
        reasons.add_with_hint(format!("{name} is active on other devices than the register says."), hint);
    }
    let up = |device: &DmName| above.iter().any(|above| above.dm_name == device.as_str());
    // Those that are up are among the steps already.
    for volume in record.volumes.iter().filter(|volume| !up(&volume.device)) {
        gone(&volume.device, facts, reasons);
        plan.already(Step::RemoveDevice { device: volume.device.clone() });
    }
    if pool.live.is_none() {
        gone(&record.name, facts, reasons);
    }
    plan.put(Step::RemoveDevice { device: record.name.clone() }, pool.live.is_none());
    // The metadata last: it is the proof that the data is the pool's.
    for (place, there) in [(&record.data, &standing.data), (&record.metadata, &standing.metadata)] {
        match there {
            Ok(there) => one_place(request, place, there, (pool, record, standing), plan, reasons),
            Err(why) => reasons.add(format!("Could not look: {why}.")),
        }
    }
    plan.todo(Step::Teardown(Teardown::Forget { record: Box::new(record.clone()) }));
}

/// One in no register: nothing but its node is ours to remove.
fn unknown(request: &Request, pool: &Pool, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    if pool.kind != Kind::Raw || request.wipe || pool.live.is_none() {
        return reasons.add_with_hint(
            format!("{name} is in no register, so a run that is cut off could not be finished."),
            format!("have it remembered: dmtool activate {name} --remember"),
        );
    }
    match DmName::new(name) {
        Ok(device) => plan.todo(Step::RemoveDevice { device }),
        Err(why) => reasons.add(format!("{why}.")),
    }
}

/// What is said to be down must be.
fn gone(device: &DmName, facts: &Facts, reasons: &mut Reasons) {
    match &facts.ground.names {
        Ok(names) if names.contains(device.as_str()) => reasons.add_with_hint(
            format!("A device of the name {device} is there, and is not what the register says."),
            format!("look at it: dmsetup info {device}"),
        ),
        Ok(_) => {}
        Err(why) => reasons.add(format!("Could not look: {why}.")),
    }
}

fn one_place(
    request: &Request,
    place: &Place,
    there: &There,
    (pool, record, standing): (&Pool, &Record, &Standing),
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let path = place.path().to_owned();
    if let Some(why) = Standing::another(place, there) {
        return reasons
            .add_with_hint(why, format!("see what became of it; the register is {}", record.path().display()));
    }
    match (place, there) {
        (Place::File { .. }, There::Missing) => plan.already(Step::Teardown(Teardown::RemoveFile { path })),
        (Place::File { .. }, There::File(file)) => {
            if let Some(device) = &file.loop_device {
                if pool.live.is_none() && !device.free {
                    reasons.add(format!("{path} is in use: something else holds its loop device."));
                }
                plan.todo(Step::Detach { path: path.clone() });
            }
            plan.todo(Step::Teardown(Teardown::RemoveFile { path }));
        }
        (Place::Device { .. }, There::Device(device)) if request.wipe => {
            if pool.live.is_none() && !device.free {
                reasons.add(format!("{path} is in use: something holds it."));
            }
            match &standing.head {
                // Blanked by a run that was cut off, the data before it.
                Ok(Head::Blank) if pool.live.is_none() => plan.already(Step::Teardown(Teardown::BlankEdges { path })),
                _ => {
                    if pool.live.is_none() {
                        standing.misfits(record).into_iter().for_each(|why| reasons.add(why));
                    }
                    plan.todo(Step::Teardown(Teardown::BlankEdges { path }));
                }
            }
        }
        (Place::Device { .. }, There::Missing) => {
            plan.warnings.push(format!("{path} is not there, and stays as it is"));
        }
        _ => {}
    }
}
