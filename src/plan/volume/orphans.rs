//! The plan of `dmtool volume orphans --remove`: thin ids that are in nobody's books, and books of ours that speak of volumes
//! that the pool does not have. What a program might still know of is left alone: all its books must be there, and whole.

use super::changes;
use crate::names::{LvmName, quoted};
use crate::observe::owners::{Claims, OwnerKind};
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::Record;
use crate::observe::volumes::{Inventory, Standing, Volume};
use crate::observe::{Looked, Unseen};
use crate::plan::Plan;
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::{OfVolume, Step};
use crate::units::Bytes;

/// What stands in a pool, and everybody's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub pool: Pool,
    pub inventory: Inventory,
    pub claims: Vec<Looked<Claims>>,
    /// Docker's folder, where it has a record of volumes and is configured for no pool: they may be in any.
    pub strayed: Looked<Option<String>>,
}

/// What has lost its other half.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans<'a> {
    /// In the pool, and in nobody's books.
    pub unowned: Vec<&'a Volume>,
    /// The same, and something has made a device of it.
    pub in_use: Vec<&'a Volume>,
    /// In somebody's books, and not in the pool.
    pub missing: Vec<&'a Volume>,
}

/// Sorts out what is whose.
pub fn orphans(facts: &Facts) -> Orphans<'_> {
    let mut found = Orphans::default();
    let open = facts.claims.iter().flatten().filter_map(|claims| claims.open.as_ref());
    // What Docker is about to make is not in its books yet.
    let begun: Vec<u64> = open.filter(|open| is_open(open.transaction_id, facts)).map(|open| open.thin_id).collect();
    for volume in &facts.inventory.volumes {
        let begun = volume.thin_id.is_some_and(|id| begun.contains(&id));
        match (&volume.owner, &volume.standing) {
            (Some(_), Standing::Missing) => found.missing.push(volume),
            (None, Standing::Inactive) if !begun => found.unowned.push(volume),
            (None, Standing::Active(_) | Standing::Failed(_)) if !begun => found.in_use.push(volume),
            _ => {}
        }
    }
    found
}

/// Whether what Docker began is not at its end; not known of a pool that is down.
fn is_open(transaction_id: u64, facts: &Facts) -> bool {
    facts.pool.figures().is_none_or(|figures| figures.transaction_id < transaction_id)
}

/// # Errors
/// Every reason why nothing is begun.
pub fn remove(facts: &Facts) -> Result<Plan, Refusal> {
    let name = &facts.pool.name;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    let found = orphans(facts);
    for volume in &found.in_use {
        plan.warnings.push(format!(
            "{} is in nobody's books and has a device, so it is left alone; if nobody needs it: dmsetup remove {}",
            volume.name,
            quoted(volume.device().unwrap_or_default())
        ));
    }
    for volume in &found.unowned {
        let (Some(thin_id), Some(live)) = (volume.thin_id, &facts.pool.live) else { continue };
        let mapped = volume.mapped.unwrap_or(Bytes(0));
        let holds = format!("thin id {thin_id} of {name}, in nobody's books ({mapped})");
        plan.todo(Step::Volume(OfVolume::DeleteOrphan { pool: live.dm_name.clone(), thin_id, holds }));
    }
    for volume in &found.missing {
        match forget(volume, facts) {
            Some(step) => plan.todo(Step::Volume(step)),
            None => plan.warnings.push(format!("{name} has no volume {}: {}", volume.name, theirs(volume))),
        }
    }
    if !plan.nothing_to_do() {
        books(facts, &found, &mut reasons);
        changes(&facts.pool, &mut reasons);
    }
    reasons.settle(format!("volume orphans of {name} removes nothing"))?;
    Ok(plan)
}

/// Takes a volume that is gone out of books that are ours to write.
fn forget(volume: &Volume, facts: &Facts) -> Option<OfVolume> {
    let holds = format!("the entry of {}, which is not in the pool", volume.name);
    match volume.owner.as_ref()?.kind {
        OwnerKind::Lvm => {
            let of = LvmName::parse(&facts.pool.name).ok()?;
            let name = LvmName::parse(&format!("{}/{}", of.vg, volume.name)).ok()?;
            Some(OfVolume::Remove { volume: name, holds })
        }
        OwnerKind::Dmtool => {
            let record: &Record = facts.pool.recorded()?;
            let kept = record.volumes.iter().find(|kept| Some(kept.thin_id) == volume.thin_id)?.clone();
            Some(OfVolume::Delete { pool: record.name.clone(), volume: kept, holds })
        }
        OwnerKind::DockerLayer | OwnerKind::DockerContainer | OwnerKind::Containerd => None,
    }
}

/// What to do about a program's entry.
fn theirs(volume: &Volume) -> String {
    let Some(owner) = &volume.owner else { return String::new() };
    let name = owner.names.first().unwrap_or(&owner.id);
    match owner.kind {
        OwnerKind::DockerContainer => format!("have Docker forget it: docker rm {name}"),
        OwnerKind::DockerLayer => format!("have Docker forget the image: docker rmi {name}"),
        _ => format!("have containerd forget it: ctr snapshots --snapshotter devmapper rm {name}"),
    }
}

/// Whether everybody's books are there and whole.
fn books(facts: &Facts, found: &Orphans<'_>, reasons: &mut Reasons) {
    let Pool { name, .. } = &facts.pool;
    if !facts.inventory.complete {
        reasons.add_with_hint(
            format!("Not all volumes of {name} could be seen."),
            format!("see how the pool is: dmtool check {name}"),
        );
    }
    let mut unseen = |why: &Unseen| reasons.add(format!("Whose the volumes are could not be looked at: {why}."));
    if let Some(Err(why)) = &facts.pool.record {
        unseen(why);
    }
    if let Err(why) = &facts.strayed {
        unseen(why);
    }
    let mut recorded = 0;
    for claims in &facts.claims {
        let claims = match claims {
            Ok(claims) => claims,
            Err(why) => {
                unseen(why);
                continue;
            }
        };
        claims.damaged.iter().for_each(&mut unseen);
        recorded += usize::from(claims.recorded);
    }
    for Claims { who, open, recorded, .. } in facts.claims.iter().flatten() {
        if !recorded {
            reasons.add(format!("{who} is configured for {name}, and no record of its volumes is there."));
        }
        if let Some(open) = open.as_ref().filter(|open| is_open(open.transaction_id, facts)) {
            reasons.add_with_hint(
                format!(
                    "{who} has begun transaction {} with the thin id {}, and it is not over.",
                    open.transaction_id, open.thin_id
                ),
                "let Docker finish it: systemctl start docker",
            );
        }
    }
    if let Ok(Some(root)) = &facts.strayed {
        reasons.add_with_hint(
            format!("Docker has a record of volumes in {root} and is configured for no pool: they may be in this one."),
            "name the pool in /etc/docker/daemon.json, or move that folder away",
        );
    }
    if !found.unowned.is_empty() && recorded == 0 {
        strangers(facts, reasons);
    }
}

/// A pool that another program works on, whose books are not known here.
fn strangers(facts: &Facts, reasons: &mut Reasons) {
    let pool = &facts.pool;
    let name = &pool.name;
    let known = pool.lvm.as_ref().and_then(|side| side.row.transaction_id.parse::<u64>().ok());
    let own = pool.figures().map(|figures| figures.transaction_id);
    if let Some((own, known)) = own.zip(known).filter(|(own, known)| own > known) {
        reasons.add(format!(
            "{name} is at transaction {own}, and LVM at {known}: a program makes volumes in it whose books are not known."
        ));
    }
    if pool.kind != Kind::Lvm && pool.record.is_none() {
        reasons.add_with_hint(
            format!("{name} is in no register: whoever made its volumes may have books of his own."),
            format!("have it remembered, with the volumes that are up: dmtool activate {name} --remember"),
        );
    }
}
