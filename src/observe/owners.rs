//! Whose a thin id of a pool is, by what the consumers of pools keep on disk: daemons may run or not, and none is asked.
//!
//! Read the ids of a pool before the claims on them: both consumers write a volume down before they make it, or say first
//! that they are about to (Docker, [`Open`]), and forget it after it is gone.

pub mod bolt;
pub mod containerd;
pub mod docker;
mod images;

use super::consumers::{self, Daemons, Snapshotter};
use super::pools::Pool;
use super::register::{LARGEST_ID, is_dockers_own};
use super::{Looked, Unseen, looked};
use crate::names::means;
use crate::sys::plain;
use crate::units::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

pub use containerd::containerd;
pub use docker::docker;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnerKind {
    Lvm,
    DockerLayer,
    DockerContainer,
    Containerd,
    Dmtool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub kind: OwnerKind,
    /// As the consumer's own commands take it, where it has one: a container's or a snapshot's; else the volume's.
    pub id: String,
    /// As the consumer's own commands print them, the one that fits best first; none where it has none.
    pub names: Vec<String>,
}

/// Whether a volume is in use, as its consumer sees it. Whichever it is, the thin id is the consumer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Used,
    /// Given up: the consumer deletes it when it can.
    Leaving,
    /// The consumer failed with it, and leaves it alone.
    Faulty,
}

/// What a consumer says of one thin id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    pub thin_id: u64,
    pub owner: Owner,
    /// What the consumer calls the volume itself: Docker its file, containerd its device.
    pub key: String,
    /// The name that its device has while it is active.
    pub device: Option<String>,
    pub size: Option<Bytes>,
    /// Of the pool, from when it was made on: one more than metadata has of the volume. containerd counts none.
    pub transaction_id: Option<u64>,
    /// The thin id that it was made a snapshot of, where that is still there.
    pub origin: Option<u64>,
    pub state: State,
}

/// The operation that Docker began last. It is over where the pool's transaction id is this one or a higher one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Open {
    pub transaction_id: u64,
    pub thin_id: u64,
    /// The volume's, as [`Claim::key`].
    pub key: String,
}

/// What one consumer has of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    pub who: &'static str,
    /// Where it keeps its record.
    pub place: String,
    /// It keeps a record at all. One that is away with an unmounted disk looks as if there were none.
    pub recorded: bool,
    pub claims: Vec<Claim>,
    /// Of each of its folders.
    pub open: Vec<Open>,
    /// What is there and cannot be read or taken apart: there may be more claims than these, or other names.
    pub damaged: Vec<Unseen>,
}

/// What each consumer that is configured for a pool has of it, or why that could not be looked at.
pub fn of(pool: &Pool) -> Vec<Looked<Claims>> {
    let (name, names) = (&pool.name, pool.dm_names());
    let is_it = |wanted: &str| means(wanted, name, &names);
    let daemons = match Daemons::look() {
        Ok(daemons) => daemons,
        Err(why) => return vec![Err(why)],
    };
    let dockers = || -> Looked<Option<Claims>> {
        let told = || daemons.told().any(is_it);
        let is_dockers = is_dockers_own(name) || consumers::docker_pool()?.is_some_and(|pool| is_it(&pool)) || told();
        if is_dockers { docker(&daemons.docker_root()?).map(Some) } else { Ok(None) }
    };
    let mut found: Vec<Looked<Claims>> = dockers().transpose().into_iter().collect();
    for file in daemons.containerd_files() {
        match consumers::snapshotter(&file) {
            Err(why) => found.push(Err(why)),
            Ok(Snapshotter { pool: Some(pool), root, .. }) if is_it(&pool) => found.push(containerd(&root, &pool)),
            Ok(Snapshotter { root, .. }) => {
                // Its record has the pool's name, also where it is configured for another one by now, or for none.
                let records = names.iter().map(|pool| containerd(&root, pool));
                found.extend(records.filter(|record| record.as_ref().map_or(true, |record| record.recorded)));
            }
        }
    }
    found
}

/// Docker's folder, where it has a record of volumes in a pool and no pool is known to be Docker's.
///
/// # Errors
/// Docker's configuration or its folder cannot be read.
pub fn strayed() -> Looked<Option<String>> {
    let daemons = Daemons::look()?;
    let words = daemons.docker.as_deref().unwrap_or_default();
    let has_one = consumers::docker_pool()?.is_some()
        || consumers::docker_devices()?.is_some()
        || consumers::docker_files()?.is_some()
        || words.iter().any(|word| word.contains("dm.thinpooldev=") || word.contains("dm.datadev="));
    let root = daemons.docker_root()?;
    Ok(if !has_one && docker(&root)?.recorded { Some(root) } else { None })
}

/// More than a consumer has in one of its JSON files: all references of a busy build machine are some megabytes.
const LARGEST: u64 = 32 << 20;

fn thin_id(found: Option<u64>) -> Result<u64, String> {
    match found {
        Some(id) if id <= LARGEST_ID => Ok(id),
        Some(id) => Err(format!("{id} is no thin id")),
        None => Err("it has no thin id".to_owned()),
    }
}

/// A number that two claim is one of which at least one is wrong.
fn claimed_twice(claims: &[Claim]) -> Vec<Unseen> {
    let mut by_id: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for claim in claims {
        by_id.entry(claim.thin_id).or_default().push(&claim.key);
    }
    let twice = by_id.into_iter().filter(|(_, keys)| keys.len() > 1);
    twice.map(|(id, keys)| Unseen(format!("thin id {id} is written down for each of {}", keys.join(", ")))).collect()
}

/// A JSON file; none where there is none.
fn json<T: DeserializeOwned>(path: &Path) -> Looked<Option<T>> {
    let Some(text) = looked(plain::text(path, LARGEST))? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|why| Unseen(format!("reading {}: {why}", path.display())))
}
