//! The thin volumes of a pool: those that the kernel has, those that metadata knows besides, and whose they are.

mod active;

pub use active::{Active, active_on, parse_volume, thin_id};

use super::lvm::{LvRow, Lvm};
use super::metadata::details::{Detail, Details};
use super::metadata::shares::{self, Shares};
use super::owners::{Claim, Claims, Owner, OwnerKind};
use super::pools::{self, Pool};
use super::register::{self, State};
use super::{Looked, Unseen};
use crate::names::{LvmName, dm_escape};
use crate::sys::signal::Stop;
use crate::units::{Bytes, DataBlocks};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A thin volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// What LVM, the register or its owner calls it; otherwise its device's name, or `id:N`.
    pub name: String,
    /// Absent where LVM or the register knows it and the pool may not.
    pub thin_id: Option<u64>,
    pub standing: Standing,
    /// Absent where nobody tells, as of one that is inactive and nobody's.
    pub size: Option<Bytes>,
    pub mapped: Option<Bytes>,
    /// The end of the last chunk that was written, from the volume's beginning.
    pub highest: Option<Bytes>,
    /// Of the pool, when it was made.
    pub transaction_id: Option<u64>,
    pub shares: Option<Shares>,
    /// The volume that it is a snapshot of.
    pub origin: Option<String>,
    pub owner: Option<Owner>,
}

/// Where a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Standing {
    /// The kernel has it, as this device.
    Active(String),
    /// The kernel has given it up.
    Failed(String),
    Inactive,
    /// Its owner knows it, and the pool does not.
    Missing,
}

impl Volume {
    /// The device-mapper name of its device, where it has one.
    pub fn device(&self) -> Option<&str> {
        match &self.standing {
            Standing::Active(device) | Standing::Failed(device) => Some(device),
            Standing::Inactive | Standing::Missing => None,
        }
    }

    /// Whether the operator may mean it by this: its name, its device, its number, what its owner calls it.
    pub fn is_meant(&self, typed: &str) -> bool {
        let by_id = |id: &str| id.parse().ok().is_some_and(|id: u64| self.thin_id == Some(id));
        match typed.strip_prefix("id:") {
            Some(id) => by_id(id),
            None => {
                let bare = typed.strip_prefix("/dev/mapper/").or(typed.strip_prefix("/dev/")).unwrap_or(typed);
                self.name == typed
                    || self.device() == Some(bare)
                    || self
                        .owner
                        .as_ref()
                        .is_some_and(|owner| owner.id == typed || owner.names.iter().any(|name| name == bare))
            }
        }
    }
}

/// The volumes of a pool, as far as they could be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inventory {
    pub volumes: Vec<Volume>,
    /// Whether those are among them that are inactive and in nobody's books.
    pub complete: bool,
    pub warnings: Vec<String>,
}

/// What metadata says of a pool's volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub volumes: BTreeMap<u64, Detail>,
    /// Of those that are not active.
    pub ends: BTreeMap<u64, DataBlocks>,
    /// Where they were asked for.
    pub shares: Option<Looked<BTreeMap<u64, Shares>>>,
}

/// Reads what metadata says; with `exact`, what each volume holds alone too. None where somebody asked for an end.
///
/// # Errors
/// It cannot be read.
pub fn known((metadata, superblock): (&Path, u64), active: &[Active], exact: Option<&Stop>) -> Looked<Option<Known>> {
    let details = Details::open(metadata, superblock)?;
    let volumes = details.volumes()?;
    let up: BTreeSet<u64> = active.iter().map(|volume| volume.thin_id).collect();
    let ends = if volumes.keys().all(|id| up.contains(id)) {
        BTreeMap::new()
    } else {
        details.ends(&|id| !up.contains(&id))?
    };
    let shares = exact.map(|stop| shares::count(metadata, superblock != 0, stop));
    let shares = match shares {
        Some(Ok(None)) => return Ok(None),
        Some(Ok(Some(shares))) => Some(Ok(shares)),
        Some(Err(why)) => Some(Err(why)),
        None => None,
    };
    Ok(Some(Known { volumes, ends, shares }))
}

/// Whether LVM may know more of a pool's volumes: not where each is claimed by a consumer or up as somebody else's device,
/// and LVM's own backup tells of none in the group. To ask it costs more than all the rest.
pub fn lvm_may_know(pool: &Pool, active: &[Active], known: &Looked<Known>, claims: &[Looked<Claims>]) -> bool {
    let (Ok(known), Ok(name)) = (known, LvmName::parse(&pool.name)) else { return true };
    let up = active.iter().filter(|volume| !volume.of_lvm).map(|volume| volume.thin_id);
    let claimed = claims.iter().flatten().flat_map(|claims| &claims.claims).map(|claim| claim.thin_id);
    let others: BTreeSet<u64> = up.chain(claimed).collect();
    let all = known.volumes.keys().all(|id| others.contains(id));
    !all || active.iter().any(|volume| volume.of_lvm) || !pools::hinted_without_volumes(&name)
}

/// Everything that is said of a pool's volumes.
pub struct Sources<'a> {
    pub pool: &'a Pool,
    pub active: Looked<Vec<Active>>,
    pub known: Looked<Known>,
    /// Absent where the pool is none of LVM's.
    pub lvm: Option<&'a Lvm>,
    pub claims: &'a [Looked<Claims>],
}

/// Puts together what is said of the volumes of a pool: the kernel and its metadata tell which there are, LVM, the register
/// and the consumers whose.
pub fn inventory(sources: Sources<'_>) -> Inventory {
    let mut warnings = Vec::new();
    let mut complete = true;
    let name = &sources.pool.name;
    let mut gone = |what: String, why: &Unseen| {
        complete = false;
        warnings.push(format!("{what}: {why}"));
    };
    let active = sources.active.unwrap_or_else(|why| {
        gone(format!("which volumes of {name} are active could not be looked at"), &why);
        Vec::new()
    });
    let known = match sources.known {
        Ok(known) => Some(known),
        Err(why) => {
            gone(format!("only the active volumes of {name} and those in somebody's books are listed"), &why);
            None
        }
    };
    let shares = match known.as_ref().and_then(|known| known.shares.as_ref()) {
        Some(Ok(shares)) => Some(shares),
        Some(Err(why)) => {
            warnings.push(format!("what the volumes of {name} share could not be counted: {why}"));
            None
        }
        None => None,
    };
    let mut volumes = of_metadata(known.as_ref(), shares, chunk(sources.pool));
    for active in active {
        up(&mut volumes, active);
    }
    let mut rest = Vec::new();
    let mut books = Books { volumes: &mut volumes, rest: &mut rest, seen: known.is_some() };
    for claims in sources.claims {
        match claims {
            Ok(Claims { who, claims, damaged, .. }) => {
                books.consumer(claims);
                let warn = |damaged: &Unseen| format!("what {who} knows of its volumes is not all there: {damaged}");
                warnings.extend(damaged.iter().map(warn));
            }
            Err(why) => warnings.push(format!("whose the volumes of {name} are could not be looked at: {why}")),
        }
    }
    books.snapshots_of_containerd(sources.pool);
    sources.lvm.into_iter().for_each(|lvm| books.lvm(sources.pool, lvm));
    if let Some(warning) = hidden(sources.pool, sources.lvm) {
        complete = false;
        warnings.push(warning);
    }
    match &sources.pool.record {
        Some(Ok(record)) => books.register(record),
        Some(Err(why)) => warnings.push(format!("the register of {name} could not be read: {why}")),
        None => {}
    }
    let mut volumes: Vec<Volume> = volumes.into_values().collect();
    volumes.extend(rest);
    if volumes.iter().any(|volume| volume.owner.is_none()) {
        let away = sources.claims.iter().flatten().filter(|claims| !claims.recorded);
        warnings.extend(away.map(|Claims { who, place, .. }| no_record(who, place, name)));
    }
    Inventory { volumes, complete, warnings }
}

fn no_record(who: &str, place: &str, pool: &str) -> String {
    format!("{who} uses {pool}, and keeps no record of its volumes in {place}")
}

/// A group that is hidden from LVM, by a label that is gone or a filter: its volumes are LVM's all the same.
fn hidden(pool: &Pool, asked: Option<&Lvm>) -> Option<String> {
    let Pool { name, kind, lvm, .. } = pool;
    let is_hidden = *kind == pools::Kind::Lvm && lvm.is_none() && asked.is_some();
    is_hidden.then(|| format!("LVM does not know {name}, and which of its volumes are LVM's could not be looked at"))
}

/// The volumes of a pool that the kernel, LVM or the register knows: without those that only metadata does.
///
/// # Errors
/// device-mapper cannot be asked.
pub fn known_by_name(pool: &Pool, lvm: &Lvm) -> Looked<Vec<Volume>> {
    let active = pool.live.as_ref().map_or_else(|| Ok(Vec::new()), active_on)?;
    let known = Err(Unseen("not asked for".to_owned()));
    Ok(inventory(Sources { pool, active: Ok(active), known, lvm: Some(lvm), claims: &[] }).volumes)
}

fn of_metadata(
    known: Option<&Known>,
    shares: Option<&BTreeMap<u64, Shares>>,
    chunk: Option<Bytes>,
) -> BTreeMap<u64, Volume> {
    let bytes = |chunks: DataBlocks| chunk.map(|chunk| chunks.bytes(chunk));
    let one = |known: &Known, id: u64, detail: Detail| Volume {
        mapped: bytes(detail.mapped),
        transaction_id: Some(detail.transaction_id),
        highest: known.ends.get(&id).copied().and_then(bytes),
        shares: shares.and_then(|shares| shares.get(&id)).copied(),
        ..blank(id, Standing::Inactive)
    };
    let Some(known) = known else { return BTreeMap::new() };
    known.volumes.iter().map(|(id, detail)| (*id, one(known, *id, *detail))).collect()
}

/// What the kernel says of a volume that it has.
fn up(volumes: &mut BTreeMap<u64, Volume>, active: Active) {
    let id = active.thin_id;
    let volume = volumes.entry(id).or_insert_with(|| blank(id, Standing::Inactive));
    volume.name.clone_from(&active.dm_name);
    volume.size = Some(active.size);
    (volume.mapped, volume.highest) = (active.mapped, active.highest);
    let device = active.dm_name;
    volume.standing = if active.mapped.is_some() { Standing::Active(device) } else { Standing::Failed(device) };
}

/// The chunk size of a pool, up or down.
fn chunk(pool: &Pool) -> Option<Bytes> {
    let live = pool.live.as_ref().and_then(pools::Live::chunk);
    let lvm = || pool.lvm.as_ref().map(|side| Bytes(side.row.chunk_size));
    live.or_else(lvm).or_else(|| pool.recorded().map(register::Record::chunk))
}

fn blank(id: u64, standing: Standing) -> Volume {
    Volume {
        name: format!("id:{id}"),
        thin_id: Some(id),
        standing,
        size: None,
        mapped: None,
        highest: None,
        transaction_id: None,
        shares: None,
        origin: None,
        owner: None,
    }
}

/// The volumes of a pool while those who keep books of them are asked.
struct Books<'a> {
    volumes: &'a mut BTreeMap<u64, Volume>,
    /// Those without a number.
    rest: &'a mut Vec<Volume>,
    /// Whether all volumes of the pool were seen, so that one that is not among them is missing.
    seen: bool,
}

impl Books<'_> {
    /// The volume with this number, one that the pool does not have included.
    fn volume(&mut self, id: u64) -> &mut Volume {
        let standing = if self.seen { Standing::Missing } else { Standing::Inactive };
        self.volumes.entry(id).or_insert_with(|| blank(id, standing))
    }

    fn consumer(&mut self, claims: &[Claim]) {
        let name = |id: u64| claims.iter().find(|claim| claim.thin_id == id).map(short);
        for claim in claims {
            let volume = self.volume(claim.thin_id);
            volume.name = short(claim);
            volume.size = volume.size.or(claim.size);
            volume.origin = claim.origin.and_then(name);
            let Owner { kind, id, names } = claim.owner.clone();
            let names = names.into_iter().map(printable).collect();
            volume.owner = Some(Owner { kind, id: printable(id), names });
        }
    }

    /// containerd's devices tell by their names which of its snapshots they are.
    fn snapshots_of_containerd(&mut self, pool: &Pool) {
        let names = pool.dm_names();
        for volume in self.volumes.values_mut().filter(|volume| volume.owner.is_none()) {
            let number = volume.device().and_then(|device| {
                let rest = names.iter().find_map(|name| device.strip_prefix(name.as_str())?.strip_prefix("-snap-"))?;
                rest.parse::<u64>().ok()
            });
            if let Some(number) = number {
                volume.name = format!("snap-{number}");
                volume.owner = Some(Owner { kind: OwnerKind::Containerd, id: number.to_string(), names: Vec::new() });
            }
        }
    }

    fn lvm(&mut self, pool: &Pool, lvm: &Lvm) {
        for row in lvm.lvs.iter().filter(|row| row.segtype == "thin" && is_on(row, pool)) {
            let volume = match row.thin_id.parse() {
                Ok(id) => self.volume(id),
                Err(_) => {
                    self.rest.push(Volume { thin_id: None, ..blank(0, Standing::Inactive) });
                    let Some(last) = self.rest.last_mut() else { continue };
                    last
                }
            };
            // A device of another is not LVM's volume because it has its number.
            let device = dm_escape(&row.vg_name, &row.lv_name);
            if volume.device().is_some_and(|found| found != device) {
                continue;
            }
            volume.name.clone_from(&row.lv_name);
            volume.size = Some(Bytes(row.lv_size));
            volume.origin = Some(row.origin.clone()).filter(|origin| !origin.is_empty());
            let names = vec![format!("{}/{}", row.vg_name, row.lv_name)];
            volume.owner = Some(Owner { kind: OwnerKind::Lvm, id: row.lv_uuid.clone(), names });
        }
    }

    fn register(&mut self, record: &register::Record) {
        let name =
            |id: u64| record.volumes.iter().find(|volume| volume.thin_id == id).map(|volume| volume.name.clone());
        // One that is only announced may have another's number.
        for kept in record.volumes.iter().filter(|volume| volume.state != State::Announced) {
            let volume = self.volume(kept.thin_id);
            volume.name.clone_from(&kept.name);
            volume.size = Some(kept.size);
            volume.origin = kept.origin.and_then(name);
            let owner =
                || Owner { kind: OwnerKind::Dmtool, id: kept.device.to_string(), names: vec![kept.name.clone()] };
            volume.owner = volume.owner.take().or_else(|| Some(owner()));
        }
    }
}

/// What stands in a consumer's file may hold anything.
fn printable(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}") } else { text }
}

/// What a consumer's volume is called here: as Docker abbreviates it, and by containerd's number.
fn short(claim: &Claim) -> String {
    if let Some((_, number)) = claim.key.rsplit_once("-snap-") {
        return printable(format!("snap-{number}"));
    }
    let init = if claim.key.ends_with("-init") { "-init" } else { "" };
    printable(claim.key.chars().take(12).collect::<String>() + init)
}

fn is_on(row: &LvRow, pool: &Pool) -> bool {
    pool.lvm.is_some() && pool.name == format!("{}/{}", row.vg_name, row.pool_lv)
}
