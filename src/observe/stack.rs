//! What a pool stands on, and what stands on it, floor by floor, from sysfs.

use super::pools::Live;
use super::{Looked, looked};
use crate::names::layer_over;
use crate::sys::{block, file};
use serde::Serialize;
use std::path::Path;

/// Deeper than any sane stack; a ring of devices cannot be made.
const DEPTH: usize = 16;

/// A device and what it stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Floor {
    /// The device-mapper name, or the kernel's.
    pub name: String,
    /// For a loop device, the file behind it.
    pub file: Option<String>,
    pub on: Vec<Floor>,
}

/// The floors under a pool.
///
/// # Errors
/// sysfs cannot be read.
pub fn under(live: &Live) -> Looked<Floor> {
    looked(floor(&block::sysfs(live.major, live.minor), 0))
}

/// The names of what stands right on a pool.
///
/// # Errors
/// sysfs cannot be read.
pub fn above(live: &Live) -> Looked<Vec<String>> {
    let holders = live.holders.as_ref().map_err(Clone::clone)?;
    let name = |holder: &String| looked(name_of(&Path::new("/sys/class/block").join(holder), holder));
    let mut names = holders.iter().map(name).collect::<Looked<Vec<String>>>()?;
    // LVM's own layer over a pool is no volume.
    names.retain(|name| layer_over(&live.dm_name) != Some(name));
    names.sort();
    Ok(names)
}

fn floor(folder: &Path, depth: usize) -> anyhow::Result<Floor> {
    let (major, minor) = block::dev_of(folder)?;
    let kernel = block::kernel_name(major, minor).unwrap_or_else(|| format!("{major}:{minor}"));
    let mut on = Vec::new();
    for below in block::entries(&folder.join("slaves"))? {
        if depth < DEPTH {
            on.push(floor(&folder.join("slaves").join(below), depth + 1)?);
        }
    }
    let file = file::read(&folder.join("loop/backing_file"))?.map(|path| path.trim_end_matches('\n').to_owned());
    Ok(Floor { name: name_of(folder, &kernel)?, file, on })
}

/// The device-mapper name, or the kernel's.
pub(super) fn name_of(folder: &Path, kernel: &str) -> anyhow::Result<String> {
    Ok(file::read(&folder.join("dm/name"))?.map_or_else(|| format!("/dev/{kernel}"), |name| name.trim().to_owned()))
}
