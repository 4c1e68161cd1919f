//! Of LVM: the pool or the two volumes, then the group where nothing else is in it, its profile, its disks.

use super::{Facts, Request};
use crate::names::{DmName, LvmName};
use crate::observe::lvm::{Group, LvRow, Lvm};
use crate::observe::metadata::Head;
use crate::observe::pools::Pool;
use crate::observe::profile;
use crate::observe::teardown::{Disk, Edges, FORMAT, Journal};
use crate::plan::refusal::Reasons;
use crate::plan::step::{Step, Teardown};
use crate::plan::{Plan, activation};
use std::collections::BTreeSet;

pub fn pool(request: &Request, name: &LvmName, pool: &Pool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let (Ok(lvm), Some(side)) = (&facts.ground.lvm, &pool.lvm) else {
        return reasons.add(format!("{name} exists, but LVM does not know it."));
    };
    let row = &side.row;
    let of_pool = |row: &&LvRow| row.vg_name == name.vg.as_str() && row.pool_lv == name.lv.as_str();
    let inside: BTreeSet<&str> = lvm.lvs.iter().filter(of_pool).map(|row| row.lv_name.as_str()).collect();
    let mut ours: BTreeSet<String> = inside.iter().map(|lv| (*lv).to_owned()).collect();
    ours.extend([name.lv.to_string(), row.data_lv.clone(), row.metadata_lv.clone()]);
    let holds = match inside.len() {
        0 => format!("{name} and all that is in it"),
        _ => format!("{name} and all that is in it: {}", inside.into_iter().collect::<Vec<_>>().join(", ")),
    };
    activation::layer_back(pool, name, plan);
    whole(request, name, &ours, (vec![name.clone()], holds), facts, plan, reasons);
}

pub fn volumes(
    request: &Request,
    (data, metadata): (&LvmName, &LvmName),
    facts: &Facts,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    on_top(&[data, metadata], facts, plan, reasons);
    dockers(data, metadata, facts, reasons);
    let holds = format!("{data} and {metadata}, and all that Docker has in them");
    let ours = BTreeSet::from([data.lv.to_string(), metadata.lv.to_string()]);
    whole(request, data, &ours, (vec![data.clone(), metadata.clone()], holds), facts, plan, reasons);
}

/// Two volumes of these names may be anybody's: what stands on them says whose.
fn dockers(data: &LvmName, metadata: &LvmName, facts: &Facts, reasons: &mut Reasons) {
    let Some((head, signature)) = &facts.content else { return };
    let down = || format!("if it is, bring both up: lvchange --activate y {data} {metadata}");
    match (head, signature) {
        (Ok(Head::Of(_)), _) | (Ok(Head::Blank), Ok(None)) => {}
        (Ok(Head::Foreign), _) => reasons.add_with_hint(
            format!("{metadata} holds something that is no metadata of a pool, so it is not Docker's."),
            format!("if nobody needs it: lvremove {data} {metadata}"),
        ),
        (Ok(Head::Blank), Ok(Some(found))) => reasons.add_with_hint(
            format!("{data} carries {found}, and {metadata} no pool, so it is not Docker's."),
            format!("if nobody needs it: lvremove {data} {metadata}"),
        ),
        (Err(why), _) | (_, Err(why)) => {
            reasons.add_with_hint(format!("Whether {data} is Docker's could not be looked at: {why}."), down());
        }
    }
}

/// A pool that Docker left on the two volumes, as one that was killed does.
fn on_top(volumes: &[&LvmName], facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let ground = &facts.ground;
    let Ok(lvm) = &ground.lvm else { return };
    let mut below: BTreeSet<&str> = BTreeSet::new();
    for pool in ground.pools.iter().flatten() {
        let table = pool.live.as_ref().and_then(|live| live.table.as_ref().ok());
        let Some(table) = table else { continue };
        let on = [table.data_device.as_str(), table.metadata_device.as_str()];
        if !facts.numbers.iter().any(|(_, number)| on.contains(&number.as_str())) {
            continue;
        }
        below.extend(on);
        if ground.running.iter().any(|(_, wants)| *wants == pool.name) {
            reasons.add_with_hint(
                format!("Docker runs on {}, which lies on the two volumes.", pool.name),
                super::stop("Docker"),
            );
        }
        if facts.ground.known(pool).is_some() {
            let hint = format!("dmtool teardown {}", pool.name);
            reasons.add_with_hint(format!("{} lies on the two volumes, and is in the register.", pool.name), hint);
        }
        super::above(&pool.name, facts, plan, reasons);
        match DmName::new(&pool.name) {
            Ok(device) => plan.todo(Step::RemoveDevice { device }),
            Err(why) => reasons.add(format!("{why}.")),
        }
    }
    // The sixth of its letters says that a volume is open (lvs(8)).
    for volume in volumes {
        let row = lvm.lv(volume.vg.as_str(), volume.lv.as_str());
        let number = facts.numbers.iter().find(|(lv, _)| lv == volume.lv.as_str()).map(|(_, number)| number.as_str());
        let of_pool = number.is_some_and(|number| below.contains(number));
        if !of_pool && row.is_some_and(|row| row.lv_attr.chars().nth(5) == Some('o')) {
            let hint = format!("see what has it: lsblk /dev/{volume}");
            reasons.add_with_hint(format!("{volume} is in use."), hint);
        }
    }
}

/// What is left of a teardown whose pool is gone by now: of its volumes, those that still have their uuid.
pub fn rest(request: &Request, journal: &Journal, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let Ok(lvm) = &facts.ground.lvm else { return };
    let still = |(name, uuid): &&(LvmName, String)| {
        lvm.lv(name.vg.as_str(), name.lv.as_str()).is_some_and(|row| row.lv_uuid == *uuid)
    };
    let left: Vec<LvmName> = journal.volumes.iter().filter(still).map(|(name, _)| name.clone()).collect();
    let ours = left.iter().map(|volume| volume.lv.to_string()).collect();
    let names: Vec<String> = left.iter().map(ToString::to_string).collect();
    let holds = format!("{}, and all that is in it", names.join(" and "));
    whole(request, &journal.pool, &ours, (left, holds), facts, plan, reasons);
}

fn whole(
    request: &Request,
    name: &LvmName,
    ours: &BTreeSet<String>,
    (volumes, holds): (Vec<LvmName>, String),
    facts: &Facts,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let (Ok(lvm), Ok(before)) = (&facts.ground.lvm, &facts.journal) else {
        return reasons.add("What was torn down before could not be looked at.");
    };
    // With its old name there may be another group by now.
    let of_before = |group: &Group<'_>| {
        before.as_ref().is_none_or(|before| {
            !volumes.is_empty() || group.pvs.iter().all(|pv| before.disks.iter().any(|disk| disk.uuid == pv.pv_uuid))
        })
    };
    let group = lvm.group(&name.vg).filter(of_before);
    let ours = with_parts(name, ours, lvm);
    let others = others(name, &ours, lvm);
    let journal = match (&group, before) {
        (Some(group), before) => {
            let mut journal = written(request, name, group, others.is_empty(), reasons);
            let uuid = |volume: &LvmName| lvm.lv(volume.vg.as_str(), volume.lv.as_str()).map(|row| row.lv_uuid.clone());
            journal.volumes = volumes.iter().filter_map(|volume| Some((volume.clone(), uuid(volume)?))).collect();
            if let Some(before) = before.as_ref().filter(|_| volumes.is_empty()) {
                journal.volumes.clone_from(&before.volumes);
            }
            journal
        }
        (None, Some(before)) => before.clone(),
        (None, None) => return,
    };
    if request.wipe && !journal.group_goes && group.is_some() {
        reasons.add_with_hint(
            format!("{} has more in it ({}), so its disks cannot be blank.", name.vg, others.join(", ")),
            "leave --wipe-devices out",
        );
    }
    dependants(name, &ours, lvm, reasons);
    let boxed = Box::new(journal.clone());
    let begin = Step::Teardown(Teardown::Begin { journal: boxed.clone() });
    let mut first = Plan::default();
    first.put(begin, before.as_ref() == Some(&journal));
    first.steps.append(&mut plan.steps);
    plan.steps = first.steps;
    if !volumes.is_empty() {
        plan.todo(Step::Teardown(Teardown::RemoveVolumes { volumes, holds }));
    }
    if journal.group_goes {
        plan.put(Step::Teardown(Teardown::RemoveGroup { vg: name.vg.clone() }), group.is_none());
    }
    remove_profile(name, &ours, facts, lvm, plan, reasons);
    if request.wipe {
        for disk in &journal.disks {
            blank(disk, name, facts, lvm, plan, reasons);
        }
    }
    plan.todo(Step::Teardown(Teardown::End { journal: boxed }));
}

/// With the hidden volumes that ours are made of.
fn with_parts(name: &LvmName, ours: &BTreeSet<String>, lvm: &Lvm) -> BTreeSet<String> {
    let mut all = ours.clone();
    let rows = || lvm.lvs.iter().filter(|row| row.vg_name == name.vg.as_str());
    loop {
        let part = |row: &&LvRow| all.contains(&row.lv_parent) && !all.contains(&row.lv_name);
        let new: Vec<String> = rows().filter(part).map(|row| row.lv_name.clone()).collect();
        if new.is_empty() {
            return all;
        }
        all.extend(new);
    }
}

/// The volumes of the group that are not ours: hidden parts of ours, and the spare, go with them.
fn others(name: &LvmName, ours: &BTreeSet<String>, lvm: &Lvm) -> Vec<String> {
    let rows = lvm.lvs.iter().filter(|row| row.vg_name == name.vg.as_str() && !is_spare(row));
    let found: BTreeSet<&String> = rows.map(|row| &row.lv_name).filter(|lv| !ours.contains(*lv)).collect();
    found.into_iter().cloned().collect()
}

fn is_spare(row: &LvRow) -> bool {
    row.lv_role.split(',').any(|word| word == "spare")
}

/// Snapshots elsewhere, which LVM would remove with what they are of.
fn dependants(name: &LvmName, ours: &BTreeSet<String>, lvm: &Lvm, reasons: &mut Reasons) {
    let depends =
        |row: &&LvRow| row.vg_name == name.vg.as_str() && ours.contains(&row.origin) && !ours.contains(&row.lv_name);
    for row in lvm.lvs.iter().filter(depends) {
        reasons.add_with_hint(
            format!("{}/{} is a snapshot of {}/{}.", row.vg_name, row.lv_name, name.vg, row.origin),
            format!("if nobody needs it: lvremove {}/{}", row.vg_name, row.lv_name),
        );
    }
}

fn written(request: &Request, name: &LvmName, group: &Group<'_>, goes: bool, reasons: &mut Reasons) -> Journal {
    for pv in &group.pvs {
        if !pv.pv_missing.is_empty() {
            reasons.add_with_hint(
                format!("A disk of {} is missing ({}).", name.vg, pv.pv_uuid),
                format!(
                    "bring it back, or give it up with every volume that lies on it, in part or whole: vgreduce \
                     --removemissing --force {}",
                    name.vg
                ),
            );
        }
        if !pv.vg_exported.is_empty() {
            let hint = format!("take it back: vgimport {}", name.vg);
            reasons.add_with_hint(format!("{} is exported.", name.vg), hint);
        }
    }
    Journal {
        dmtool: FORMAT,
        pool: name.clone(),
        volumes: Vec::new(),
        group_goes: goes,
        wipe: request.wipe,
        disks: group.pvs.iter().map(|pv| Disk { path: pv.pv_name.clone(), uuid: pv.pv_uuid.clone() }).collect(),
    }
}

/// The profile that dmtool wrote, where no other volume names it.
fn remove_profile(
    name: &LvmName,
    ours: &BTreeSet<String>,
    facts: &Facts,
    lvm: &Lvm,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let profile = name.dm_name();
    let path = profile::path(&profile);
    let is_ours = |row: &LvRow| row.vg_name == name.vg.as_str() && (ours.contains(&row.lv_name) || is_spare(row));
    // LVM gives it to the spare as well.
    let named = |row: &&LvRow| (row.lv_profile == profile || row.vg_profile == profile) && !is_ours(row);
    match &facts.profile {
        Err(why) => reasons.add(format!("Could not look: {why}.")),
        Ok(None) => {}
        Ok(Some(found)) if !found.others.is_empty() => {
            plan.warnings.push(format!("{} stays: it sets {} too", path.display(), found.others.join(", ")));
        }
        Ok(Some(_)) => match lvm.lvs.iter().find(named) {
            Some(row) => {
                plan.warnings.push(format!("{} stays: {}/{} names it", path.display(), row.vg_name, row.lv_name));
            }
            None => plan.todo(Step::Teardown(Teardown::RemoveProfile { path })),
        },
    }
}

/// A disk of the group: as it is now where the group is still there, or as it was left.
fn blank(disk: &Disk, name: &LvmName, facts: &Facts, lvm: &Lvm, plan: &mut Plan, reasons: &mut Reasons) {
    // Its name may be another since the last boot.
    let row = lvm.pvs.iter().find(|pv| pv.pv_uuid == disk.uuid);
    let found = Disk { path: row.map_or(&disk.path, |pv| &pv.pv_name).clone(), uuid: disk.uuid.clone() };
    let edges = facts.disks.iter().find(|(known, _)| known == disk).map(|(_, edges)| edges);
    let step = |disk| Step::Teardown(Teardown::BlankDisk { disk });
    match (row, edges) {
        (Some(pv), _) if !pv.vg_name.is_empty() && pv.vg_name != name.vg.as_str() => reasons.add_with_hint(
            format!("{} is in the volume group {} by now.", pv.pv_name, pv.vg_name),
            "leave --wipe-devices out",
        ),
        (Some(_), _) | (None, Some(Ok(Edges::Ours))) => plan.todo(step(found)),
        (None, Some(Ok(Edges::Blank))) => plan.already(step(found)),
        (None, Some(Ok(Edges::Other)) | None) => {
            plan.warnings.push(format!("{} is no longer the disk that was torn down, so it is left alone", disk.path));
        }
        (None, Some(Err(why))) => reasons.add_with_hint(
            format!("{} could not be looked at: {why}.", disk.path),
            "where it is gone for good, leave --wipe-devices out",
        ),
    }
}
