//! What Docker's devicemapper driver has of its pool: a file for each volume, and one for the operation that it began last.

use super::super::{Looked, Unseen, looked};
use super::images::{Images, Use};
use super::{Claim, Claims, Open, Owner, OwnerKind, State, claimed_twice, json, thin_id};
use crate::sys::{block, file};
use crate::units::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What Docker with this folder has of its pool, with the names of images and containers.
///
/// # Errors
/// A folder of Docker's cannot be read.
pub fn docker(root: &str) -> Looked<Claims> {
    let mut found = Claims {
        who: "Docker",
        place: root.to_owned(),
        recorded: false,
        claims: Vec::new(),
        open: Vec::new(),
        damaged: Vec::new(),
    };
    for root in roots(Path::new(root))? {
        let Record { open, volumes, damaged } = record(&root)?;
        found.recorded = true;
        found.open.extend(open);
        found.damaged.extend(damaged);
        let images = Images::look(&root, &mut found.damaged);
        let prefix = device_prefix(&root);
        found.claims.extend(claims(&volumes, &images, prefix.as_deref()));
    }
    found.damaged.extend(claimed_twice(&found.claims));
    Ok(found)
}

/// The folders below which the driver keeps something: with user namespaces that is one called UID.GID.
fn roots(root: &Path) -> Looked<Vec<String>> {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let of_user = |name: &String| name.split_once('.').is_some_and(|(user, group)| is_number(user) && is_number(group));
    let below = looked(block::entries(root))?.into_iter().filter(of_user).map(|name| root.join(name));
    let mut found = Vec::new();
    for folder in std::iter::once(root.to_owned()).chain(below) {
        if looked(file::folder(&folder.join("devicemapper/metadata")))?.is_some() {
            found.push(folder.display().to_string());
        }
    }
    Ok(found)
}

/// A volume, by its own file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The file's name; what comes of it is called so everywhere in Docker.
    pub key: String,
    pub thin_id: u64,
    pub size: Option<Bytes>,
    pub transaction_id: Option<u64>,
    pub deleted: bool,
}

impl Volume {
    /// As Docker abbreviates it.
    pub fn short(&self) -> String {
        self.key.chars().take(12).collect()
    }
}

/// What the driver has written down of its volumes.
#[derive(Debug, Default)]
pub struct Record {
    pub open: Option<Open>,
    pub volumes: Vec<Volume>,
    /// Of what is there and cannot be read.
    pub damaged: Vec<Unseen>,
}

/// Reads what the driver of Docker with this folder has written down.
///
/// # Errors
/// Its folder is there and cannot be read.
pub fn record(root: &str) -> Looked<Record> {
    let driver = Path::new(root).join("devicemapper");
    let folder = driver.join("metadata");
    let mut found = Record::default();
    // Before the volumes: one that is being made is in here until it is among them.
    match json::<TransactionFile>(&folder.join("transaction-metadata")) {
        Ok(file) => found.open = file.map(TransactionFile::open),
        Err(why) => found.damaged.push(why),
    }
    for key in looked(block::entries(&folder))? {
        // What it passes over itself.
        let others = ["deviceset-metadata", "transaction-metadata"].contains(&key.as_str());
        if others || key.starts_with('.') || key.ends_with(".migrated") {
            continue;
        }
        let path = folder.join(&key);
        // A file that is gone by now was of a volume that is.
        match json::<VolumeFile>(&path) {
            Ok(None) if !key.contains('\u{fffd}') => {}
            Ok(None) => found.damaged.push(Unseen(format!("{} has a name that cannot be read", path.display()))),
            Ok(Some(file)) => match thin_id(file.device_id) {
                Ok(id) => found.volumes.push(file.volume(key, id)),
                Err(why) => found.damaged.push(Unseen(format!("reading {}: {why}", path.display()))),
            },
            Err(why) => found.damaged.push(why),
        }
    }
    let old = driver.join("devicemapper/json");
    if looked(file::identity(&old))?.is_some() {
        found.damaged.push(Unseen(format!("{} is a list of volumes that an old Docker kept", old.display())));
    }
    Ok(found)
}

#[derive(Debug, Deserialize)]
struct VolumeFile {
    device_id: Option<u64>,
    size: Option<u64>,
    transaction_id: Option<u64>,
    #[serde(default)]
    deleted: bool,
}

impl VolumeFile {
    fn volume(self, key: String, thin_id: u64) -> Volume {
        let VolumeFile { size, transaction_id, deleted, .. } = self;
        Volume { key, thin_id, size: size.map(Bytes), transaction_id, deleted }
    }
}

#[derive(Debug, Deserialize)]
struct TransactionFile {
    open_transaction_id: u64,
    device_hash: String,
    device_id: u64,
}

impl TransactionFile {
    fn open(self) -> Open {
        let key = if self.device_hash.is_empty() { BASE.to_owned() } else { self.device_hash };
        Open { transaction_id: self.open_transaction_id, thin_id: self.device_id, key }
    }
}

/// The volume that all others begin as snapshots of.
const BASE: &str = "base";

/// What the names of its devices begin with: the driver's folder says it.
fn device_prefix(root: &str) -> Option<String> {
    let path = Path::new(root).join("devicemapper");
    let folder = file::folder(&path).ok()?.filter(|folder| !folder.is_link)?;
    let (major, minor) = block::split_device_number(folder.device);
    Some(format!("docker-{major}:{minor}-{}", folder.inode))
}

fn claims(volumes: &[Volume], images: &Images, prefix: Option<&str>) -> Vec<Claim> {
    let ids: BTreeMap<&str, u64> = volumes.iter().map(|volume| (volume.key.as_str(), volume.thin_id)).collect();
    let claim = |volume: &Volume| {
        let key = &volume.key;
        let used = images.uses.get(key);
        let origin = match used {
            Some(Use::Layer { below, .. } | Use::Init { below, .. } | Use::Container { below, .. }) => {
                ids.get(below.as_deref().unwrap_or(BASE)).copied()
            }
            None => None,
        };
        Claim {
            thin_id: volume.thin_id,
            owner: owner(key, used, images),
            key: key.clone(),
            device: prefix.map(|prefix| format!("{prefix}-{key}")),
            size: volume.size,
            transaction_id: volume.transaction_id,
            origin,
            state: if volume.deleted { State::Leaving } else { State::Used },
        }
    };
    volumes.iter().map(claim).collect()
}

fn owner(key: &str, used: Option<&Use>, images: &Images) -> Owner {
    let container = |id: &str, suffix: &str| Owner {
        kind: OwnerKind::DockerContainer,
        id: id.to_owned(),
        names: images.containers.get(id).map(|name| format!("{name}{suffix}")).into_iter().collect(),
    };
    match used {
        Some(Use::Container { id, .. }) => container(id, ""),
        Some(Use::Init { id, .. }) => container(id, " (init)"),
        Some(Use::Layer { chain, .. }) => {
            Owner { kind: OwnerKind::DockerLayer, id: key.to_owned(), names: images.names_of(chain) }
        }
        None if key == BASE => Owner { kind: OwnerKind::DockerLayer, id: key.to_owned(), names: vec![BASE.to_owned()] },
        // Its layers are away, or it is just being made.
        None => {
            let kind = if key.ends_with("-init") { OwnerKind::DockerContainer } else { OwnerKind::DockerLayer };
            Owner { kind, id: key.to_owned(), names: Vec::new() }
        }
    }
}

#[cfg(test)]
mod tests;
