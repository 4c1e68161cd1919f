//! The plan of `dmtool volume snapshot`.

use super::{
    Facts, Of, above, again, bare_volume, create_again, is_in, is_unmade, lvm_volume, number_is_free, of, row, takes,
    the_pool, told_again,
};
use crate::names::{DmName, LvName, LvmName};
use crate::observe::pools::Pool;
use crate::observe::register::{LARGEST_ID, Record, State, Volume, is_a_consumers};
use crate::plan::Plan;
use crate::plan::bare::volume_step;
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::{OfVolume, Step, UNFINISHED};

#[derive(Debug, Clone)]
pub struct Request {
    pub pool: String,
    pub origin: String,
    pub name: String,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn snapshot(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let pool = the_pool("volume snapshot", &request.pool, facts)?;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    let of = of(pool, facts, &mut reasons);
    match of {
        Some(Of::Lvm(name, _)) => lvm(request, (&name, pool), facts, &mut plan, &mut reasons),
        Some(Of::Register(record)) => bare(request, record, facts, &mut plan, &mut reasons),
        None => {}
    }
    if !plan.nothing_to_do() {
        takes(pool, &mut reasons);
    }
    reasons.settle(format!("volume snapshot of {} is refused, nothing was changed", request.origin))?;
    Ok(plan)
}

fn missing(request: &Request, reasons: &mut Reasons) {
    let (origin, pool) = (&request.origin, &request.pool);
    reasons.add_with_hint(
        format!("There is no volume {origin} in {pool}."),
        format!("list them: dmtool volume list {pool}"),
    );
}

fn incomplete(request: &Request, again: String, reasons: &mut Reasons) {
    reasons.add_with_hint(format!("{} is not complete: a run that made it was cut off.", request.origin), again);
}

fn lvm(request: &Request, (pool, seen): (&LvmName, &Pool), facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let name = match LvName::new(&request.name) {
        Ok(lv) => LvmName { vg: pool.vg.clone(), lv },
        Err(why) => return reasons.add(format!("{why}.")),
    };
    let (of, origin) = match lvm_volume(pool, &request.origin, facts) {
        Ok(Some(found)) => found,
        Ok(None) => return missing(request, reasons),
        Err(why) => return reasons.add(why),
    };
    if of.has_tag(UNFINISHED) {
        incomplete(request, create_again(&request.pool, &request.origin), reasons);
    }
    let still = above(&origin.dm_name(), facts).is_some_and(|above| above.suspended);
    if facts.stilled.as_ref().is_ok_and(|begun| begun.contains(&origin)) {
        plan.todo(Step::Volume(OfVolume::LetRun { volume: origin.clone() }));
    } else if still {
        reasons.add_with_hint(
            format!("{origin} is suspended."),
            format!("have LVM resume it: lvchange --refresh {origin}"),
        );
    }
    let step = Step::Volume(OfVolume::Snapshot { origin, lv: name.lv.clone() });
    match row(pool, name.lv.as_str(), facts) {
        None => {
            number_is_free(pool, None, seen, facts, reasons);
            plan.steps.extend(told_again(pool, seen, facts));
            plan.todo(step);
        }
        Some(row) if is_in(row, pool) && row.origin == of.lv_name && is_unmade(row, seen, facts) => {
            number_is_free(pool, Some(row), seen, facts, reasons);
            plan.steps.extend(told_again(pool, seen, facts));
            plan.todo(Step::Volume(OfVolume::Forget { volume: name }));
            plan.todo(step);
        }
        Some(row) if is_in(row, pool) && row.origin == of.lv_name => {
            plan.already(step);
            plan.put(Step::Volume(OfVolume::Activate { volume: name }), row.is_up());
        }
        Some(_) => reasons.add(format!("{name} is there already, and is no snapshot of {}.", request.origin)),
    }
}

fn bare(request: &Request, record: &Record, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let (name, pool, around) = (&request.name, record.name.clone(), facts.ground.around());
    let device = match DmName::new(&format!("{pool}-{name}")) {
        Ok(device) => device,
        Err(why) => return reasons.add(format!("{why}.")),
    };
    if is_a_consumers(&pool, device.as_str()) {
        reasons.add(format!("{device} is a name that Docker or containerd gives to its own volumes."));
    }
    let origin = match bare_volume(record, &request.origin) {
        Ok(Some(origin)) if origin.state == State::Ready => origin,
        Ok(Some(origin)) => return incomplete(request, again(record, origin), reasons),
        Ok(None) => return missing(request, reasons),
        Err(why) => return reasons.add(why),
    };
    let up = around.is_up(&pool, origin).unwrap_or_else(|why| {
        reasons.add(why);
        false
    });
    // Cut off between the two, a run of ours left it standing.
    let begun = record.volumes.iter().any(|one| one.state == State::Announced && one.origin == Some(origin.thin_id));
    if above(origin.device.as_str(), facts).is_some_and(|above| above.suspended) {
        if begun {
            plan.todo(Step::Volume(OfVolume::Resume { device: origin.device.clone() }));
        } else {
            let why = format!("{} is suspended, and not by dmtool.", origin.device);
            reasons.add_with_hint(why, format!("let it run: dmsetup resume {}", origin.device));
        }
    }
    let there = record.volumes.iter().find(|volume| volume.name == *name || volume.device == device);
    match there {
        Some(volume) if volume.state != State::Announced => {
            if volume.origin != Some(origin.thin_id) {
                reasons.add(format!("{name} is there already, and is no snapshot of {}.", request.origin));
            }
            match around.is_up(&pool, volume) {
                Ok(up) => plan.put(volume_step(record, volume), up),
                Err(why) => reasons.add(why),
            }
            plan.put(Step::HandOut { pool, device }, volume.state == State::Ready);
        }
        // Whose number an announced one has is not known: it gets another.
        _ => {
            around.name_is_free(device.as_str()).unwrap_or_else(|why| reasons.add(why));
            let thin_id = record.free_id();
            if thin_id > LARGEST_ID {
                reasons.add(format!("{pool} has used all its thin ids."));
            }
            let volume = Volume {
                name: name.clone(),
                device: device.clone(),
                thin_id,
                size: origin.size,
                origin: Some(origin.thin_id),
                state: State::Announced,
                remembered: false,
            };
            let origin = up.then(|| origin.device.clone());
            plan.todo(Step::Volume(OfVolume::SnapThin { pool: pool.clone(), volume, origin }));
            plan.todo(Step::HandOut { pool, device });
        }
    }
}
