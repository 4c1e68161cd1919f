//! The way of a discard: from the file systems on a pool's volumes through the pool down to what it stands on.

mod layers;

pub use layers::Layer;

use super::mounts::{self, Mount};
use super::pools::Live;
use super::stack::name_of;
use super::thin::{Discard, PoolTable};
use super::{Looked, Unseen, looked, volumes};
use crate::names::layer_over;
use crate::sys::{block, file};
use crate::units::{Bytes, DataBlocks};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Deeper than any sane stack.
const DEPTH: usize = 16;

/// What the kernel says that a device takes (`discard_granularity` and `discard_max_bytes` of its queue).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// The unit of a discard; what is smaller may be left as it is.
    pub granularity: Bytes,
    /// The most at once; 0 where it takes none.
    pub max: Bytes,
}

/// A thin volume that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    pub dm_name: String,
    pub thin_id: u64,
    pub queue: Queue,
    /// Where its file system is mounted.
    pub mounts: Vec<Mount>,
}

impl Volume {
    /// The mount to work on: one that can be written to, where there is one.
    pub fn mount(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| !mount.has("ro")).or(self.mounts.first())
    }
}

/// What stands under a pool, one of the devices or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Floor {
    Device {
        name: String,
        queue: Queue,
    },
    /// Behind the loop device before it; with the mount that it lies on.
    File {
        path: String,
        on: Option<Mount>,
    },
}

/// What came of a trim, measured right before and right after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Trimmed {
    /// What the file system says that it handed on.
    pub handed_on: Bytes,
    /// What its volume has less in the pool.
    pub unmapped: Bytes,
    /// What the pool used before, when all that waited was written.
    pub pool_used: DataBlocks,
}

/// All of it, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    pub volumes: Vec<Volume>,
    /// The pool's own device.
    pub device: String,
    pub queue: Queue,
    pub chunk: Bytes,
    /// What its table asks for.
    pub asked: Discard,
    /// What the kernel does; absent where the pool has failed.
    pub does: Option<Discard>,
    /// The data device, and what that stands on.
    pub below: Vec<Floor>,
}

/// Looks at the way of discards through an active pool.
///
/// # Errors
/// A part of it cannot be looked at.
pub fn chain(live: &Live) -> Looked<Chain> {
    let table = live.table.as_ref().map_err(Clone::clone)?;
    let data = live.data.as_ref().map_err(Clone::clone)?;
    let mounts = mounts::read()?;
    let mut below = Vec::new();
    let data = Path::new("/sys/class/block").join(data.device.replace('/', "!"));
    floors(&data, 0, &mounts, &mut (BTreeSet::new(), &mut below))?;
    Ok(Chain {
        volumes: volumes_on(live, &mounts)?,
        device: live.dm_name.clone(),
        queue: queue(&block::sysfs(live.major, live.minor))?,
        chunk: PoolTable::chunk_bytes(table),
        asked: table.discard(),
        does: live.figures().map(|figures| figures.discard),
        below,
    })
}

fn volumes_on(live: &Live, mounts: &[Mount]) -> Looked<Vec<Volume>> {
    let mut found = Vec::new();
    for holder in live.holders.as_ref().map_err(Clone::clone)? {
        let folder = Path::new("/sys/class/block").join(holder);
        let dm_name = match name_of(&folder, holder) {
            Ok(name) => name,
            // One that went since the pool was looked at.
            Err(_) if folder.try_exists().is_ok_and(|there| !there) => continue,
            Err(why) => return looked(Err(why)),
        };
        // LVM's own layer over a pool stands there too.
        if layer_over(&live.dm_name) == Some(dm_name.as_str()) {
            continue;
        }
        let Some(thin_id) = volumes::thin_id(&dm_name)? else { continue };
        let number = looked(block::dev_of(&folder))?;
        let on_it = |mount: &&Mount| mount.device() == number;
        let mounts = mounts.iter().filter(on_it).cloned().collect();
        found.push(Volume { dm_name, thin_id, queue: queue(&folder)?, mounts });
    }
    found.sort_by_key(|volume| volume.thin_id);
    Ok(found)
}

/// A device and all below it, each once.
fn floors(
    folder: &Path,
    depth: usize,
    mounts: &[Mount],
    found: &mut (BTreeSet<(u32, u32)>, &mut Vec<Floor>),
) -> Looked<()> {
    let (major, minor) = looked(block::dev_of(folder))?;
    if depth >= DEPTH || !found.0.insert((major, minor)) {
        return Ok(());
    }
    let kernel = block::kernel_name(major, minor).unwrap_or_else(|| format!("{major}:{minor}"));
    found.1.push(Floor::Device { name: looked(name_of(folder, &kernel))?, queue: queue(folder)? });
    if let Some(path) = looked(file::read(&folder.join("loop/backing_file")))? {
        let path = path.trim_end_matches('\n').to_owned();
        let on = mounts::of_path(mounts, Path::new(&path)).cloned();
        found.1.push(Floor::File { path, on });
    }
    for below in looked(block::entries(&folder.join("slaves")))? {
        floors(&folder.join("slaves").join(below), depth + 1, mounts, found)?;
    }
    Ok(())
}

fn queue(folder: &Path) -> Looked<Queue> {
    // A partition has no queue of its own.
    let queue: PathBuf = folder.join(if folder.join("partition").exists() { "../queue" } else { "queue" });
    let number = |name: &str| block::number(&queue.join(name)).map(Bytes).map_err(|why| Unseen(format!("{why:#}")));
    Ok(Queue { granularity: number("discard_granularity")?, max: number("discard_max_bytes")? })
}
