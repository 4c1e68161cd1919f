//! Of LVM: the pool or the two volumes, then the group where nothing else is in it, its profile, its disks.

use super::{Facts, Request};
use crate::names::{DmName, LvName, LvmName, dm_escape, means};
use crate::observe::lvm::{Group, LvRow, Lvm};
use crate::observe::pools::Pool;
use crate::observe::profile;
use crate::observe::teardown::{Disk, Edges, FORMAT, Journal};
use crate::plan::Plan;
use crate::plan::refusal::Reasons;
use crate::plan::step::{Step, Teardown};
use std::collections::BTreeSet;

/// The volumes `data` and `metadata` of the two-volume layout, where those are meant.
pub fn two_volumes(request: &Request, lvm: &Lvm) -> Option<(LvmName, Option<LvmName>)> {
    let plain = |row: &&LvRow| row.segtype == "linear" && row.pool_lv.is_empty();
    let named = |row: &LvRow| LvmName::parse(&format!("{}/{}", row.vg_name, row.lv_name)).ok();
    let is_it = |row: &&LvRow| {
        let full = format!("{}/{}", row.vg_name, row.lv_name);
        row.lv_name == "data" && plain(row) && means(&request.pool, &full, &[&dm_escape(&row.vg_name, &row.lv_name)])
    };
    let data = lvm.lvs.iter().find(is_it)?;
    let metadata = lvm.lv(&data.vg_name, "metadata").filter(plain).and_then(named);
    Some((named(data)?, metadata))
}

pub fn pool(request: &Request, name: &LvmName, pool: &Pool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let (Ok(lvm), Some(side)) = (&facts.ground.lvm, &pool.lvm) else {
        return reasons.add(format!("{name} exists, but LVM does not know it."));
    };
    let row = &side.row;
    let of_pool = |row: &&LvRow| row.vg_name == name.vg.as_str() && row.pool_lv == name.lv.as_str();
    let inside: BTreeSet<&str> = lvm.lvs.iter().filter(of_pool).map(|row| row.lv_name.as_str()).collect();
    let mut ours = inside.clone();
    ours.extend([name.lv.as_str(), row.data_lv.as_str(), row.metadata_lv.as_str()]);
    let holds = match inside.len() {
        0 => format!("{name} and all that is in it"),
        _ => format!("{name} and all that is in it: {}", inside.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let removal = Teardown::RemoveVolumes { volumes: vec![name.clone()], holds };
    whole(request, name, &ours, Some(removal), facts, plan, reasons);
}

pub fn volumes(request: &Request, data: &LvmName, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let Ok(lvm) = &facts.ground.lvm else { return };
    let metadata = two_volumes(request, lvm).and_then(|(_, metadata)| metadata);
    let mut volumes = vec![data.clone()];
    volumes.extend(metadata);
    on_top(&volumes, facts, plan, reasons);
    let names: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    let holds = format!("{}, and all that Docker has in them", names.join(" and "));
    let ours = volumes.iter().map(|volume| volume.lv.as_str()).collect();
    let removal = Teardown::RemoveVolumes { volumes: volumes.clone(), holds };
    whole(request, data, &ours, Some(removal), facts, plan, reasons);
}

/// A pool that Docker left on the two volumes, as one that was killed does.
fn on_top(volumes: &[LvmName], facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let ground = &facts.ground;
    let Ok(lvm) = &ground.lvm else { return };
    let mut known = false;
    for pool in ground.pools.iter().flatten() {
        let table = pool.live.as_ref().and_then(|live| live.table.as_ref().ok());
        let on_it = table.is_some_and(|table| {
            facts.numbers.iter().any(|number| [&table.data_device, &table.metadata_device].contains(&number))
        });
        if !on_it {
            continue;
        }
        known = true;
        let dockers = ground.running.iter().any(|(_, wants)| *wants == pool.name);
        if dockers {
            reasons.add_with_hint(
                format!("Docker runs on {}, which lies on the two volumes.", pool.name),
                "stop it: systemctl stop docker.socket docker",
            );
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
        if !known && row.is_some_and(|row| row.lv_attr.chars().nth(5) == Some('o')) {
            let hint = format!("see what has it: lsblk /dev/{volume}");
            reasons.add_with_hint(format!("{volume} is in use."), hint);
        }
    }
}

/// What is left of a teardown whose pool is gone by now.
pub fn rest(request: &Request, journal: &Journal, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let ours = BTreeSet::from(["data", "metadata"]);
    let left = facts.ground.lvm.as_ref().ok().and_then(|lvm| {
        // Of the two volumes, the second may be left.
        let row = (journal.pool.lv.as_str() == "data").then(|| lvm.lv(journal.pool.vg.as_str(), "metadata"))??;
        Some(LvmName { vg: journal.pool.vg.clone(), lv: LvName::new(&row.lv_name).ok()? })
    });
    let removal = left.map(|left| Teardown::RemoveVolumes {
        holds: format!("{left}, and all that Docker has in it"),
        volumes: vec![left],
    });
    let ours = if removal.is_some() { ours } else { BTreeSet::new() };
    whole(request, &journal.pool, &ours, removal, facts, plan, reasons);
}

fn whole(
    request: &Request,
    name: &LvmName,
    ours: &BTreeSet<&str>,
    removal: Option<Teardown>,
    facts: &Facts,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let (Ok(lvm), Ok(before)) = (&facts.ground.lvm, &facts.journal) else {
        return reasons.add("What was torn down before could not be looked at.");
    };
    let group = lvm.group(&name.vg);
    let others = others(name, ours, lvm);
    let journal = match (&group, before) {
        (Some(group), _) => written(request, name, group, others.is_empty(), reasons),
        (None, Some(before)) => before.clone(),
        (None, None) => return,
    };
    if request.wipe && !journal.group_goes {
        reasons.add_with_hint(
            format!("{} has more in it ({}), so its disks cannot be blank.", name.vg, others.join(", ")),
            "leave --wipe-devices out",
        );
    }
    let mut steps = Plan::default();
    let boxed = Box::new(journal.clone());
    steps.put(Step::Teardown(Teardown::Begin { journal: boxed.clone() }), before.as_ref() == Some(&journal));
    steps.steps.append(&mut plan.steps);
    plan.steps = steps.steps;
    if let Some(removal) = removal {
        plan.todo(Step::Teardown(removal));
    }
    if journal.group_goes {
        plan.put(Step::Teardown(Teardown::RemoveGroup { vg: name.vg.clone() }), group.is_none());
    }
    remove_profile(name, ours, facts, lvm, plan, reasons);
    if request.wipe {
        for disk in &journal.disks {
            blank(disk, facts, lvm, plan);
        }
    }
    plan.todo(Step::Teardown(Teardown::End { journal: boxed }));
}

/// The volumes of the group that are not ours: hidden parts of ours, and the spare, go with them.
fn others(name: &LvmName, ours: &BTreeSet<&str>, lvm: &Lvm) -> Vec<String> {
    let rows = lvm.lvs.iter().filter(|row| row.vg_name == name.vg.as_str());
    let found: BTreeSet<&str> =
        rows.filter(|row| !is_spare(row)).map(|row| row.lv_name.as_str()).filter(|lv| !ours.contains(lv)).collect();
    found.into_iter().map(str::to_owned).collect()
}

fn is_spare(row: &LvRow) -> bool {
    row.lv_role.split(',').any(|word| word == "spare")
}

fn written(request: &Request, name: &LvmName, group: &Group<'_>, goes: bool, reasons: &mut Reasons) -> Journal {
    for pv in group.pvs.iter().filter(|pv| !pv.pv_missing.is_empty()) {
        reasons.add_with_hint(
            format!("A disk of {} is missing ({}).", name.vg, pv.pv_uuid),
            format!("bring it back, or give it up: vgreduce --removemissing {}", name.vg),
        );
    }
    Journal {
        dmtool: FORMAT,
        pool: name.clone(),
        group_goes: goes,
        wipe: request.wipe,
        disks: group.pvs.iter().map(|pv| Disk { path: pv.pv_name.clone(), uuid: pv.pv_uuid.clone() }).collect(),
    }
}

/// The profile that dmtool wrote, where no other volume names it.
fn remove_profile(
    name: &LvmName,
    ours: &BTreeSet<&str>,
    facts: &Facts,
    lvm: &Lvm,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let profile = name.dm_name();
    let path = profile::path(&profile);
    let is_ours = |row: &LvRow| row.vg_name == name.vg.as_str() && ours.contains(row.lv_name.as_str());
    // LVM gives it to the spare as well.
    let named =
        |row: &&LvRow| (row.lv_profile == profile || row.vg_profile == profile) && !is_ours(row) && !is_spare(row);
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
fn blank(disk: &Disk, facts: &Facts, lvm: &Lvm, plan: &mut Plan) {
    // Its name may be another since the last boot.
    let row = lvm.pvs.iter().find(|pv| pv.pv_uuid == disk.uuid);
    let found = Disk { path: row.map_or(&disk.path, |pv| &pv.pv_name).clone(), uuid: disk.uuid.clone() };
    let edges = facts.disks.iter().find(|(known, _)| known == disk).map(|(_, edges)| edges);
    let step = |disk| Step::Teardown(Teardown::BlankDisk { disk });
    match (row, edges) {
        (Some(_), _) | (None, Some(Ok(Edges::Ours))) => plan.todo(step(found)),
        (None, Some(Ok(Edges::Blank))) => plan.already(step(found)),
        (None, Some(Ok(Edges::Other)) | None) => {
            plan.warnings.push(format!("{} is no longer the disk that was torn down, so it is left alone", disk.path));
        }
        (None, Some(Err(why))) => plan.left.push(format!("{} could not be looked at: {why}.", disk.path)),
    }
}
