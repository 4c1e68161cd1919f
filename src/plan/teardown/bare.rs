//! Of a loop pool its files, of a bare table what it lies on, and last the register: what is in it says where a run that
//! was cut off goes on.

use super::{Facts, Request};
use crate::names::DmName;
use crate::observe::device::Above;
use crate::observe::pools::Pool;
use crate::observe::register::{Place, Record};
use crate::observe::standing::{Standing, There};
use crate::plan::Plan;
use crate::plan::bare::looked_at;
use crate::plan::refusal::Reasons;
use crate::plan::step::{Step, Teardown};

pub fn pool(request: &Request, pool: &Pool, above: &[&Above], facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    let Some(known) = facts.ground.known(pool) else {
        return reasons.add_with_hint(
            format!("{name} is in no register, so a run that is cut off could not be finished."),
            format!("have it remembered: dmtool activate {name} --remember"),
        );
    };
    let Some((record, standing)) = looked_at(known, reasons) else { return };
    if let Some(live) = &pool.live
        && !standing.carries(live)
    {
        reasons.add(format!("{name} is active on other devices than the register says."));
    }
    let up = |device: &DmName| above.iter().any(|above| above.dm_name == device.as_str());
    // Those that are up are among the steps already.
    let down: Vec<&DmName> = record.volumes.iter().map(|volume| &volume.device).filter(|device| !up(device)).collect();
    plan.steps.extend(down.into_iter().map(|device| {
        let mut part = Plan::default();
        part.already(Step::RemoveDevice { device: device.clone() });
        part.steps.remove(0)
    }));
    plan.put(Step::RemoveDevice { device: record.name.clone() }, pool.live.is_none());
    places(request, record, standing, pool.live.is_some(), plan, reasons);
    plan.todo(Step::Teardown(Teardown::Forget { record: Box::new(record.clone()) }));
}

fn places(request: &Request, record: &Record, standing: &Standing, live: bool, plan: &mut Plan, reasons: &mut Reasons) {
    for (place, there) in [(&record.metadata, &standing.metadata), (&record.data, &standing.data)] {
        let path = place.path().to_owned();
        match (place, there) {
            (_, Err(why)) => reasons.add(format!("Could not look: {why}.")),
            (Place::File { .. }, Ok(There::Missing)) => {
                plan.already(Step::Teardown(Teardown::RemoveFile { path }));
            }
            (Place::File { inode, .. }, Ok(There::File(file))) => {
                if inode.is_some_and(|inode| inode != file.inode) {
                    let why = format!("{path} is another file than the register says.");
                    reasons.add_with_hint(why, format!("look at it: ls -li {path}"));
                }
                if let Some(device) = &file.loop_device {
                    if !live && !device.free {
                        reasons.add(format!("{path} is in use: something else holds its loop device."));
                    }
                    plan.todo(Step::Detach { path: path.clone() });
                }
                plan.todo(Step::Teardown(Teardown::RemoveFile { path }));
            }
            (Place::Device { .. }, Ok(There::Device(_))) if request.wipe => {
                plan.todo(Step::Teardown(Teardown::BlankEdges { path }));
            }
            (Place::Device { .. }, Ok(There::Device(_))) => {}
            (Place::Device { .. }, Ok(There::Missing)) => {
                plan.warnings.push(format!("{path} is not there, and stays as it is"));
            }
            (_, Ok(_)) => reasons.add(format!("{path} is not what the register says.")),
        }
    }
    // A device that is another by now would be blanked.
    let devices = matches!((&record.metadata, &record.data), (Place::Device { .. }, Place::Device { .. }));
    if request.wipe && devices && !live {
        standing.misplaced(record).into_iter().for_each(|why| reasons.add(why));
    }
}
