//! The plan of `dmtool volume orphans --remove`: thin ids that are in nobody's books, and books of ours that speak of volumes
//! that the pool does not have. What a program might still know of is left alone: all its books must be there, and whole.

use super::{changes, last_known_transaction};
use crate::names::{LvmName, quoted};
use crate::observe::owners::{Claims, OwnerKind};
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::Record;
use crate::observe::volumes::{Inventory, Standing, Volume};
use crate::observe::{Looked, Unseen};
use crate::plan::Plan;
use crate::plan::activation::layer_first;
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::{OfVolume, Step};
use crate::plan::teardown::stop;
use crate::units::Bytes;

/// What stands in a pool, and everybody's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub pool: Pool,
    pub inventory: Inventory,
    pub claims: Vec<Looked<Claims>>,
    /// Docker's folder, where it has a record of volumes and is configured for no pool: they may be in any.
    pub strayed: Looked<Option<String>>,
    /// The daemons that run, whatever they are configured for.
    pub at_work: Vec<&'static str>,
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
    let open = facts.claims.iter().flatten().flat_map(|claims| &claims.open);
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

/// Why it cannot be said for sure what is nobody's.
pub fn doubts(facts: &Facts, found: &Orphans<'_>) -> Vec<String> {
    let mut reasons = Reasons::default();
    if !found.unowned.is_empty() || !found.missing.is_empty() {
        books(facts, found, &mut reasons);
    }
    reasons.into_lines()
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
        let Some(transaction_id) = live.figures().map(|figures| figures.transaction_id) else { continue };
        let mapped = volume.mapped.unwrap_or(Bytes(0));
        let holds = format!("thin id {thin_id} of {name}, in nobody's books ({mapped})");
        plan.todo(Step::Volume(OfVolume::DeleteOrphan { pool: live.dm_name.clone(), thin_id, transaction_id, holds }));
    }
    for volume in &found.missing {
        match forget(volume, facts) {
            Some(step) => plan.todo(Step::Volume(step)),
            None => plan.warnings.push(format!("{name} has no volume {}{}", volume.name, theirs(volume))),
        }
    }
    if !facts.inventory.complete {
        reasons.add_with_hint(
            format!("Not all volumes of {name} could be seen."),
            format!("see how the pool is: dmtool check {name}"),
        );
    }
    if !plan.nothing_to_do() || !found.unowned.is_empty() {
        books(facts, &found, &mut reasons);
        changes(&facts.pool, &mut reasons);
        let by_lvm = plan.steps.iter().any(|planned| matches!(planned.step, Step::Volume(OfVolume::Remove { .. })));
        if let (true, Ok(pool)) = (by_lvm, LvmName::parse(name)) {
            layer_first(&facts.pool, &pool, &mut plan);
        }
    }
    if !facts.inventory.complete {
        facts.inventory.warnings.iter().for_each(|why| reasons.add(format!("{why}.")));
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

/// What to do about a program's entry, where its own commands can do something.
fn theirs(volume: &Volume) -> String {
    let Some(owner) = &volume.owner else { return String::new() };
    let by_name = |name: Option<&String>| quoted(name.unwrap_or(&owner.id));
    match owner.kind {
        OwnerKind::DockerContainer if !volume.name.ends_with("-init") => {
            format!("; to have Docker forget it: docker rm {}", by_name(owner.names.first()))
        }
        OwnerKind::DockerLayer if owner.id != "base" => {
            format!("; to have Docker forget the image: docker rmi {}", by_name(owner.names.first()))
        }
        // Its own name comes behind those of its images.
        OwnerKind::Containerd => {
            let name = by_name(owner.names.last());
            format!("; to have containerd forget it: ctr snapshots --snapshotter devmapper rm {name}")
        }
        _ => String::new(),
    }
}

/// Whether everybody's books are there and whole.
fn books(facts: &Facts, found: &Orphans<'_>, reasons: &mut Reasons) {
    let mut unseen = |why: &Unseen| reasons.add(format!("Whose the volumes are could not be looked at: {why}."));
    if let Some(Err(why)) = &facts.pool.record {
        unseen(why);
    }
    if let Err(why) = &facts.strayed {
        unseen(why);
    }
    for claims in &facts.claims {
        match claims {
            Ok(claims) => claims.damaged.iter().for_each(&mut unseen),
            Err(why) => unseen(why),
        }
    }
    for claims in facts.claims.iter().flatten() {
        book(claims, found, facts, reasons);
    }
    if let Ok(Some(root)) = &facts.strayed {
        reasons.add_with_hint(
            format!("Docker has a record of volumes in {root} and is configured for no pool: they may be in this one."),
            "name the pool in /etc/docker/daemon.json, or move that folder away",
        );
    }
    if !found.unowned.is_empty() {
        strangers(facts, reasons);
    }
}

/// Whether what a program has written down is of this pool, and all of it.
fn book(claims: &Claims, found: &Orphans<'_>, facts: &Facts, reasons: &mut Reasons) {
    let (name, Claims { who, place, open, recorded, .. }) = (&facts.pool.name, claims);
    if !recorded {
        return reasons.add(format!("{who} is configured for {name}, and no record of its volumes is in {place}."));
    }
    if claims.claims.is_empty() && !found.unowned.is_empty() {
        reasons.add(format!("{who}'s record in {place} has no volume at all: it may be another one than the pool's."));
    }
    for open in open.iter().filter(|open| is_open(open.transaction_id, facts)) {
        reasons.add_with_hint(
            format!(
                "{who} has begun transaction {} with the thin id {}, and it is not over.",
                open.transaction_id, open.thin_id
            ),
            "let Docker finish it: systemctl start docker",
        );
    }
    // Docker writes each transaction down before the pool counts it.
    let last = open.iter().map(|open| open.transaction_id).max().unwrap_or(0);
    let own = facts.pool.figures().map_or(0, |figures| figures.transaction_id);
    if *who == DOCKER && last < own {
        reasons.add(format!(
            "{name} is at transaction {own}, and Docker's record in {place} ends at {last}: it is of another pool, or older."
        ));
    }
    // containerd gives a number that is free by now to the next one.
    if *who != DOCKER && facts.at_work.contains(who) {
        reasons.add_with_hint(format!("{who} runs and gives numbers out again."), stop(who));
    }
}

const DOCKER: &str = "Docker";

/// A pool that another program works on, whose books are not known here.
fn strangers(facts: &Facts, reasons: &mut Reasons) {
    let pool = &facts.pool;
    let name = &pool.name;
    let recorded = |claims: &Claims| claims.recorded;
    let dockers = facts.claims.iter().flatten().any(|claims| claims.recorded && claims.who == DOCKER);
    let known = last_known_transaction(pool);
    let own = pool.figures().map(|figures| figures.transaction_id);
    if let Some((own, known)) = own.zip(known).filter(|(own, known)| own > known && !dockers) {
        reasons.add(format!(
            "{name} is at transaction {own}, and was at {known} as far as is known here: another program makes volumes in it."
        ));
    }
    let any_books = facts.claims.iter().flatten().any(recorded);
    if let Some(how) = says_nothing(pool, known).filter(|_| !any_books) {
        let device = pool.live.as_ref().map_or(name, |live| &live.dm_name);
        reasons.add_with_hint(
            format!("{name} {how}: whoever made its volumes may have books of his own."),
            format!(
                "for each that nobody needs, as you know yourself: dmsetup message {} 0 'delete ID'",
                quoted(device)
            ),
        );
    }
    let read = facts.claims.iter().flatten().any(|claims| claims.recorded && claims.who != DOCKER);
    let by_name = |volume: &&Volume| volume.owner.as_ref().is_some_and(|owner| owner.kind == OwnerKind::Containerd);
    if let Some(volume) = facts.inventory.volumes.iter().find(by_name).filter(|_| !read) {
        reasons.add(format!("{} is containerd's by its name, and no record of containerd's was found.", volume.name));
    }
}

/// Why LVM's books or the register say nothing of whose a pool's volumes are. Those in which no volume ever was are no
/// witness: the documented way to a pool for containerd is one of LVM's, and its configuration may be any file.
fn says_nothing(pool: &Pool, transaction_id: Option<u64>) -> Option<&'static str> {
    match &pool.record {
        // LVM counts each volume that it makes.
        None if pool.kind == Kind::Lvm => {
            (transaction_id == Some(0)).then_some("is LVM's, which never made a volume in it")
        }
        None => Some("is in no register"),
        // One that was remembered as it was found is known no better than before.
        Some(Ok(record)) if record.remembered => Some("was remembered as somebody else had made it"),
        Some(Ok(record)) if record.volumes.is_empty() && record.next_thin_id == 0 => {
            Some("is dmtool's, which never made a volume in it")
        }
        Some(_) => None,
    }
}
