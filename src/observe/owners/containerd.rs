//! What containerd's devmapper snapshotter has of a pool: POOL.db says which thin id is which device, metadata.db which
//! device is which snapshot. The names of images stand in containerd's own database.

mod images;

use self::images::Images;
use super::super::{Looked, Unseen};
use super::bolt::{self, Db, Entry};
use super::{Claim, Claims, Owner, OwnerKind, State, claimed_twice, thin_id};
use crate::units::Bytes;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the snapshotter with this `root_path` has of the pool with this `pool_name`.
///
/// # Errors
/// Its list of devices is there and cannot be read.
pub fn containerd(root_path: &str, pool: &str) -> Looked<Claims> {
    let path = Path::new(root_path).join(format!("{pool}.db"));
    let Some(devices) = bolt::read(&path)? else {
        let place = path.display().to_string();
        return Ok(Claims { place, recorded: false, ..NOTHING });
    };
    let snapshots = Path::new(root_path).join("metadata.db");
    let snapshots = (&*snapshots, bolt::read(&snapshots));
    // containerd's own database, where the snapshotter's folder is in containerd's.
    let images = Path::new(root_path).with_file_name("io.containerd.metadata.v1.bolt/meta.db");
    of(pool, (&path, &devices), snapshots, (&images, bolt::read(&images)))
}

const NOTHING: Claims = Claims {
    who: "containerd",
    place: String::new(),
    recorded: true,
    claims: Vec::new(),
    open: Vec::new(),
    damaged: Vec::new(),
};

/// A database with its path, where there is one, or why it cannot be read.
type Database<'a> = (&'a Path, Looked<Option<Vec<u8>>>);

/// As [`containerd`], from the bytes of its list of devices, of that of its snapshots, and of containerd's own database.
///
/// # Errors
/// The list of devices cannot be read.
pub fn of(pool: &str, devices: (&Path, &[u8]), snapshots: Database<'_>, images: Database<'_>) -> Looked<Claims> {
    let mut found = Claims { place: devices.0.display().to_string(), ..NOTHING };
    let of_file = |path: &Path| {
        let path = path.display().to_string();
        move |why: String| Unseen(format!("reading {path}: {why}"))
    };
    let (named, wrong) = self::devices(devices.1).map_err(of_file(devices.0))?;
    found.damaged.extend(wrong.into_iter().map(of_file(devices.0)));
    let (path, bytes) = snapshots;
    let snapshots = bytes.and_then(|bytes| {
        bytes.map_or_else(|| Ok(BTreeMap::new()), |bytes| self::snapshots(&bytes)).map_err(of_file(path))
    });
    let (path, bytes) = images;
    let images = bytes.and_then(|bytes| {
        let images = bytes.map_or_else(|| Ok(Images::new()), |bytes| images::images(&bytes));
        images.map_err(|why| of_file(path)(why.to_owned()))
    });
    let mut snapshots = snapshots.map_err(|why| found.damaged.push(why)).unwrap_or_default();
    name(&mut snapshots, &images.map_err(|why| found.damaged.push(why)).unwrap_or_default());
    found.claims = claims(pool, &named, &snapshots);
    found.damaged.extend(claimed_twice(&found.claims));
    Ok(found)
}

/// A device, as the snapshotter writes it down.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Device {
    #[serde(rename = "device_id")]
    thin_id: Option<u64>,
    size: Option<u64>,
    #[serde(default)]
    parent_name: String,
    #[serde(default)]
    state: u64,
}

/// A device's name and thin id beside it.
type Named = (String, u64, Device);

/// The devices of POOL.db, and what is wrong with others.
fn devices(bytes: &[u8]) -> Result<(Vec<Named>, Vec<String>), String> {
    let mut db = Db::new(bytes)?;
    let entries = db.at(&["devices"])?.ok_or("it has no list of devices")?;
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    let mut unclaimed = BTreeSet::new();
    for (number, entry) in db.at(&["device_ids"])?.unwrap_or_default() {
        // What is 2 there failed, and containerd leaves it to the operator; what is 0 it gives to the next device.
        if entry == Entry::Value(&[1]) {
            unclaimed.insert(String::from_utf8_lossy(number).into_owned());
        }
    }
    for (name, entry) in entries {
        let name = String::from_utf8_lossy(name).into_owned();
        match device(&entry) {
            Ok((id, device)) => {
                unclaimed.remove(&id.to_string());
                found.push((name, id, device));
            }
            Err(why) => wrong.push(format!("device {name}: {why}")),
        }
    }
    wrong.extend(unclaimed.into_iter().map(|id| format!("thin id {id} is taken, but by no device")));
    Ok((found, wrong))
}

fn device(entry: &Entry<'_>) -> Result<(u64, Device), String> {
    let Entry::Value(text) = entry else { return Err("it is a bucket".to_owned()) };
    let device: Device = serde_json::from_slice(text).map_err(|why| why.to_string())?;
    Ok((thin_id(device.thin_id)?, device))
}

/// A snapshot, with the names of the images that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Snapshot {
    key: String,
    parent: Option<String>,
    images: Vec<String>,
}

/// The snapshots of metadata.db by their numbers.
fn snapshots(bytes: &[u8]) -> Result<BTreeMap<u64, Snapshot>, String> {
    let mut db = Db::new(bytes)?;
    let mut found = BTreeMap::new();
    for (key, entry) in db.at(&["v1", "snapshots"])?.unwrap_or_default() {
        let Entry::Bucket(bucket) = entry else { continue };
        let key = String::from_utf8_lossy(key).into_owned();
        let fields = db.entries(bucket)?;
        let field = |wanted: &[u8]| match fields.iter().find(|(name, _)| *name == wanted) {
            Some((_, Entry::Value(bytes))) => Some(*bytes),
            _ => None,
        };
        let id = field(b"id").and_then(varint).ok_or_else(|| format!("snapshot {key} has no number"))?;
        let parent = field(b"parent").map(|parent| String::from_utf8_lossy(parent).into_owned());
        found.insert(id, Snapshot { key, parent, images: Vec::new() });
    }
    Ok(found)
}

/// Gives snapshots the names of the images that have them, those first whose last layer a snapshot is.
fn name(snapshots: &mut BTreeMap<u64, Snapshot>, images: &Images) {
    let ids: BTreeMap<String, u64> = snapshots.iter().map(|(id, snapshot)| (snapshot.key.clone(), *id)).collect();
    let parents: BTreeMap<u64, u64> =
        snapshots.iter().filter_map(|(id, snapshot)| Some((*id, *ids.get(snapshot.parent.as_ref()?)?))).collect();
    let of = |snapshot: &Snapshot| images.get(&parts(&snapshot.key)?).cloned();
    let tops: Vec<(u64, Vec<String>)> = snapshots.iter().filter_map(|(id, top)| Some((*id, of(top)?))).collect();
    for (id, names) in &tops {
        snapshots.entry(*id).and_modify(|snapshot| snapshot.images.extend(names.iter().cloned()));
    }
    for (id, names) in tops {
        // No chain is longer than there are snapshots, whatever a damaged file says.
        let below = std::iter::successors(parents.get(&id), |id| parents.get(id)).take(parents.len());
        for below in below {
            let new = |snapshot: &mut Snapshot| {
                let new: Vec<&String> = names.iter().filter(|name| !snapshot.images.contains(name)).collect();
                let new: Vec<String> = new.into_iter().cloned().collect();
                snapshot.images.extend(new);
            };
            snapshots.entry(*below).and_modify(new);
        }
    }
}

/// Namespace and name of a snapshot's key, which is NAMESPACE/NUMBER/NAME; `ctr` shows the name.
fn parts(key: &str) -> Option<(String, String)> {
    let (namespace, rest) = key.split_once('/')?;
    Some((namespace.to_owned(), rest.split_once('/')?.1.to_owned()))
}

/// A number in groups of seven bits, the lowest first, each but the last with the eighth set.
fn varint(bytes: &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for (at, byte) in (0_u32..10).zip(bytes) {
        number |= u64::from(byte & 0x7f).checked_shl(at * 7)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn claims(pool: &str, devices: &[Named], snapshots: &BTreeMap<u64, Snapshot>) -> Vec<Claim> {
    let namespaces: BTreeSet<String> =
        snapshots.values().filter_map(|one| parts(&one.key)).map(|parts| parts.0).collect();
    let shown = |snapshot: &Snapshot| match parts(&snapshot.key) {
        // `ctr` shows one namespace at a time.
        Some((namespace, name)) if namespaces.len() > 1 => format!("{namespace}/{name}"),
        Some((_, name)) => name,
        None => snapshot.key.clone(),
    };
    let names = |snapshot: &Snapshot| snapshot.images.iter().cloned().chain([shown(snapshot)]).collect();
    let ids: BTreeMap<&str, u64> = devices.iter().map(|(name, id, _)| (name.as_str(), *id)).collect();
    let prefix = format!("{pool}-snap-");
    let claim = |(name, id, device): &Named| {
        let snapshot = name.strip_prefix(&prefix).and_then(|number| snapshots.get(&number.parse().ok()?));
        Claim {
            thin_id: *id,
            owner: Owner {
                kind: OwnerKind::Containerd,
                id: snapshot.map_or(name, |snapshot| &snapshot.key).clone(),
                names: snapshot.map(names).unwrap_or_default(),
            },
            key: name.clone(),
            device: Some(name.clone()),
            size: device.size.map(Bytes),
            transaction_id: None,
            origin: ids.get(device.parent_name.as_str()).copied(),
            // The numbers of its states (device_info.go): Removing, Removed, Faulty.
            state: match device.state {
                11 | 12 => State::Leaving,
                13 => State::Faulty,
                _ => State::Used,
            },
        }
    };
    devices.iter().map(claim).collect()
}

#[cfg(test)]
mod tests;
