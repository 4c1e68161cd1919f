//! The plan of `dmtool volume remove`.

use super::{
    Facts, Of, above, bare_volume, changes, is_unmade, lvm_volume, no_dependents, of, stands_still, the_pool,
    told_again,
};
use crate::names::LvmName;
use crate::observe::Looked;
use crate::observe::lvm::LvRow;
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::{Record, State, Volume};
use crate::observe::thin::Discard;
use crate::plan::activation::layer_first;
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::{OfVolume, Step};
use crate::plan::{Plan, Planned};
use crate::units::Bytes;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub struct Request {
    pub pool: String,
    pub volumes: Vec<String>,
    /// What lies below the pool is to be told, also where that is not the rule.
    pub discard: bool,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn remove(request: &Request, facts: &Facts, ids: Option<&Looked<BTreeSet<u64>>>) -> Result<Plan, Refusal> {
    let pool = the_pool("volume remove", &request.pool, facts)?;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    let of = of(pool, facts, &mut reasons);
    let discard = request.discard || hands_on(pool);
    let (mut seen, mut announced): (Vec<String>, Vec<_>) = (Vec::new(), Vec::new());
    for typed in &request.volumes {
        let found = match &of {
            Some(Of::Lvm(name, _)) => lvm_volume(name, typed, facts)
                .map(|found| found.map(|(row, volume)| (volume.dm_name(), Meant::Lvm(name, row, volume)))),
            Some(Of::Register(record)) => bare_volume(record, typed)
                .map(|found| found.map(|volume| (volume.device.to_string(), Meant::Register(record, volume)))),
            None => continue,
        };
        match found {
            Err(why) => reasons.add(why),
            Ok(None) if seen.contains(typed) => {}
            Ok(None) => {
                seen.push(typed.clone());
                unknown(pool, typed, (facts, ids), &mut plan, &mut reasons);
            }
            // Two words may mean one.
            Ok(Some((device, _))) if seen.contains(&device) => {}
            Ok(Some((device, meant))) => {
                stands_still(&device, facts, &mut reasons);
                seen.push(device);
                match meant {
                    Meant::Lvm(name, row, volume) => {
                        lvm((name, pool), (row, volume), discard, facts, &mut plan, &mut reasons);
                    }
                    Meant::Register(record, volume) => {
                        if volume.state == State::Announced {
                            announced.push((record, volume));
                        }
                        bare(record, volume, discard, facts, &mut plan, &mut reasons);
                    }
                }
            }
        }
    }
    forget(&announced, &mut plan);
    if !plan.nothing_to_do() {
        changes(pool, &mut reasons);
        takes_discards(request, pool, &mut reasons);
        // The last of its volumes would take the pool with it.
        if let Some(Of::Lvm(name, _)) = &of {
            layer_first(pool, name, &mut plan);
        }
    }
    reasons.settle(format!("volume remove is refused, nothing was changed in {}", request.pool))?;
    Ok(plan)
}

/// A volume that goes.
enum Meant<'a> {
    Lvm(&'a LvmName, &'a LvRow, LvmName),
    Register(&'a Record, &'a Volume),
}

/// A volume's chunks come back to a pool at once; the file of a loop pool gets smaller only by a discard.
fn hands_on(pool: &Pool) -> bool {
    pool.kind == Kind::Loop && pool.figures().is_some_and(|figures| figures.discard == Discard::Passdown)
}

/// The kernel fails each discard of a volume whose pool ignores them.
fn takes_discards(request: &Request, pool: &Pool, reasons: &mut Reasons) {
    if request.discard && pool.figures().is_some_and(|figures| figures.discard == Discard::Ignore) {
        let name = &pool.name;
        reasons.add_with_hint(
            format!("{name} ignores discards, so what lies below it cannot be told of this one."),
            format!("leave --discard out; or take it down, then: dmtool discards {name} passdown"),
        );
    }
}

/// One that is not there is removed already; what is there and in nobody's books is not taken for it.
fn unknown(
    pool: &Pool,
    typed: &str,
    (facts, ids): (&Facts, Option<&Looked<BTreeSet<u64>>>),
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let name = &pool.name;
    let bare = typed.strip_prefix("/dev/mapper/").unwrap_or(typed);
    let id = typed.strip_prefix("id:").and_then(|id| id.parse::<u64>().ok());
    match (id, ids, above(bare, facts)) {
        (Some(_), Some(Err(why)), _) => reasons.add(format!("Could not look: {why}.")),
        (Some(id), Some(Ok(ids)), _) if ids.contains(&id) => reasons.add_with_hint(
            format!("{typed} is in nobody's books."),
            format!("see what is without an owner: dmtool volume orphans {name}"),
        ),
        (_, _, Some(above)) => {
            let why = format!("{} stands on {} and is in nobody's books.", above.dm_name, above.pool);
            reasons.add_with_hint(why, format!("see what it is: dmtool volume show {} {bare}", above.pool));
        }
        _ => plan.warnings.push(format!("there is no volume {typed} in {name}")),
    }
}

/// Whether something uses its device.
fn in_use(device: &str, (pool, name): (&str, &str), facts: &Facts, reasons: &mut Reasons) {
    match above(device, facts).map(|above| &above.uses) {
        Some(Ok(uses)) => {
            for used in uses {
                reasons.add(format!("{device} {used}."));
                if used.starts_with("is mounted") {
                    reasons.add_hint(format!("unmount it: dmtool volume unmount {pool} {name}"));
                }
            }
        }
        Some(Err(why)) => reasons.add(format!("Whether {device} is in use could not be looked at: {why}.")),
        None => {}
    }
}

fn lvm(
    (pool, seen): (&LvmName, &Pool),
    (row, volume): (&LvRow, LvmName),
    discard: bool,
    facts: &Facts,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    in_use(&volume.dm_name(), (&pool.to_string(), &row.lv_name), facts, reasons);
    no_dependents(row, pool, facts.ground.lvm.as_ref().ok(), reasons);
    let taken_back = told_again(pool, seen, facts);
    // One that its pool never got holds nothing.
    let discard = discard && !is_unmade(row, seen, facts);
    if plan.steps.iter().all(|planned| Some(planned) != taken_back.as_ref()) {
        plan.steps.extend(taken_back);
    }
    if discard {
        let up = row.is_up();
        plan.steps.extend((!up).then(|| activate(volume.clone())));
        plan.todo(Step::Volume(OfVolume::Discard { device: format!("/dev/{volume}") }));
    }
    let holds = format!("the volume {volume} ({})", Bytes(row.lv_size));
    plan.todo(Step::Volume(OfVolume::Remove { volume, holds }));
}

fn activate(volume: LvmName) -> Planned {
    Planned::todo(Step::Volume(OfVolume::Activate { volume }))
}

/// Takes volumes that were only announced out of the register: all at once, and before what takes others out of it.
fn forget(announced: &[(&Record, &Volume)], plan: &mut Plan) {
    let Some((record, _)) = announced.first() else { return };
    let mut after = (*record).clone();
    after.next_thin_id = record.free_id();
    after.volumes.retain(|kept| announced.iter().all(|(_, volume)| volume.device != kept.device));
    plan.steps.insert(0, Planned::todo(Step::Record { record: Box::new(after), made: false }));
}

fn bare(record: &Record, volume: &Volume, discard: bool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    if volume.state == State::Announced {
        // Whose its number is, is not known.
        plan.warnings.push(format!(
            "{} was never complete; whether something is left of it: dmtool volume orphans {}",
            volume.name, record.name
        ));
        return;
    }
    let (pool, device) = (record.name.clone(), volume.device.clone());
    in_use(device.as_str(), (pool.as_str(), &volume.name), facts, reasons);
    match facts.ground.around().is_up(&pool, volume) {
        // One that is down may be gone from the pool by a run that was cut off.
        Ok(up) => {
            if up && discard {
                plan.todo(Step::Volume(OfVolume::Discard { device: format!("/dev/mapper/{device}") }));
            }
            plan.put(Step::RemoveDevice { device: device.clone() }, !up);
        }
        Err(why) => reasons.add(why),
    }
    let holds = format!("the volume {device} ({})", volume.size);
    plan.todo(Step::Volume(OfVolume::Delete { pool, volume: volume.clone(), holds }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::discards::tests::{WELL, pool};

    #[test]
    fn a_discard_that_the_pool_would_fail() {
        let ignores = WELL.replace("discard_passdown", "ignore_discard");
        for (discard, status, refused) in
            [(true, ignores.as_str(), true), (false, &ignores, false), (true, WELL, false)]
        {
            let mut reasons = Reasons::default();
            let request = Request { pool: "p".to_owned(), volumes: Vec::new(), discard };
            takes_discards(&request, &pool("p", status, "0"), &mut reasons);
            let settled = reasons.settle("volume remove is refused".to_owned());
            assert_eq!(settled.is_err(), refused, "{settled:?}");
            let hint = settled.err().and_then(|refusal| refusal.hint);
            assert!(hint.is_none_or(|hint| hint.contains("leave --discard out")));
        }
    }
}
