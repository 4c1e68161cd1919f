//! What containerd's devmapper snapshotter has of a pool: POOL.db says which thin id is which device, metadata.db which
//! device is which snapshot.

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
    let mut found = Claims { who: "containerd", recorded: false, claims: Vec::new(), open: None, damaged: Vec::new() };
    let path = Path::new(root_path).join(format!("{pool}.db"));
    let Some(bytes) = bolt::read(&path)? else { return Ok(found) };
    found.recorded = true;
    let of_file = |path: &Path| {
        let path = path.display().to_string();
        move |why: String| Unseen(format!("reading {path}: {why}"))
    };
    let (devices, wrong) = devices(&bytes).map_err(of_file(&path))?;
    found.damaged.extend(wrong.into_iter().map(of_file(&path)));
    let path = Path::new(root_path).join("metadata.db");
    let keys = match bolt::read(&path) {
        Ok(bytes) => bytes.map_or_else(|| Ok(BTreeMap::new()), |bytes| snapshots(&bytes)).map_err(of_file(&path)),
        Err(why) => Err(why),
    };
    let keys = keys.unwrap_or_else(|why| {
        found.damaged.push(why);
        BTreeMap::new()
    });
    found.claims = claims(pool, &devices, &keys);
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

/// The key of each snapshot of metadata.db by its number.
fn snapshots(bytes: &[u8]) -> Result<BTreeMap<u64, String>, String> {
    let mut db = Db::new(bytes)?;
    let mut found = BTreeMap::new();
    for (key, entry) in db.at(&["v1", "snapshots"])?.unwrap_or_default() {
        let Entry::Bucket(bucket) = entry else { continue };
        let key = String::from_utf8_lossy(key).into_owned();
        let fields = db.entries(bucket)?;
        let id = fields.iter().find_map(|(name, field)| match field {
            Entry::Value(bytes) if *name == b"id" => varint(bytes),
            _ => None,
        });
        found.insert(id.ok_or_else(|| format!("snapshot {key} has no number"))?, key);
    }
    Ok(found)
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

fn claims(pool: &str, devices: &[Named], keys: &BTreeMap<u64, String>) -> Vec<Claim> {
    // A snapshot's key is NAMESPACE/NUMBER/NAME, and `ctr` shows the name in one namespace at a time.
    let parts = |key: &'_ str| {
        let (namespace, rest) = key.split_once('/')?;
        Some((namespace.to_owned(), rest.split_once('/')?.1.to_owned()))
    };
    let several =
        keys.values().filter_map(|key| parts(key)).map(|(namespace, _)| namespace).collect::<BTreeSet<_>>().len() > 1;
    let shown = |key: &String| match parts(key) {
        Some((namespace, name)) if several => format!("{namespace}/{name}"),
        Some((_, name)) => name,
        None => key.clone(),
    };
    let ids: BTreeMap<&str, u64> = devices.iter().map(|(name, id, _)| (name.as_str(), *id)).collect();
    let prefix = format!("{pool}-snap-");
    let claim = |(name, id, device): &Named| {
        let key = name.strip_prefix(&prefix).and_then(|number| keys.get(&number.parse().ok()?));
        Claim {
            thin_id: *id,
            owner: Owner {
                kind: OwnerKind::Containerd,
                id: key.unwrap_or(name).clone(),
                names: key.map(shown).into_iter().collect(),
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
