//! One block device as setup must know it: what it is, what is on it, and what uses it.

use super::mounts::{self, Mount, unescape};
use super::pools::Pool;
use super::taken::{self, Disk};
use super::{Looked, Unseen, filter, looked};
use crate::names::layer_over;
use crate::sys::blkid;
pub use crate::sys::blkid::Signature;
use crate::sys::block::{self, Node};
use crate::sys::dm::{self, Ask, Control, Entry, LOOK_NAME, OURS, left_by_a_look};
use crate::sys::file;
use crate::units::{Bytes, SECTOR, Sectors};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// A device that the operator named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// As typed.
    pub given: String,
    pub is: Looked<What>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum What {
    Missing,
    /// Something else, in words: "a directory".
    Other(String),
    Device(Box<Device>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// The node itself, behind all symlinks.
    pub path: String,
    pub major: u32,
    pub minor: u32,
    pub size: Bytes,
    pub read_only: bool,
    /// What the kernel prefers data on it to be aligned to, in bytes (0: nothing).
    pub minimum_io: u64,
    pub optimal_io: u64,
    /// Its other names under /dev, by udev.
    pub links: Vec<String>,
    pub uses: Looked<Vec<String>>,
    pub partitions: Looked<Vec<Partition>>,
    pub signatures: Looked<Vec<Signature>>,
    /// The kernel would let us have it for ourselves.
    pub free: Looked<bool>,
    /// A run of ours was cut off while LVM took it into a group.
    pub begun: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    pub path: String,
    pub major: u32,
    pub minor: u32,
    pub size: Bytes,
    pub uses: Vec<String>,
    pub signatures: Looked<Vec<Signature>>,
}

/// Waits until all of these are block devices, or until `limit` is over: then the look at them says which is not.
pub fn wait_for<'a>(devices: impl Iterator<Item = &'a String>, limit: Duration) {
    let deadline = Instant::now() + limit;
    for device in devices {
        while !matches!(block::node(device), Ok(Node::Block { .. })) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Looks until the look is good enough, or until `limit` is over; the last look counts.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> (T, bool)) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let (facts, enough) = look();
        if enough || Instant::now() >= deadline {
            return facts;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// A device that stands right on an active pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Above {
    pub pool: String,
    pub dm_name: String,
    /// Its number in the pool, where it is a thin volume.
    pub thin_id: Option<u64>,
    /// Made by LVM, so that LVM can take it down.
    pub of_lvm: bool,
    pub suspended: bool,
    pub uses: Looked<Vec<String>>,
}

/// How long devices that are open, and nothing tells why, may stay so before somebody is taken to use them.
const MOMENT: Duration = Duration::from_secs(1);

/// What stands on active pools, with what uses it. LVM's own layer over a pool is left out.
pub fn above(pools: &[Pool]) -> Vec<Above> {
    above_within(pools, MOMENT)
}

/// As [`above`], with another time for what is open for a moment only: for all of them together.
pub fn above_within(pools: &[Pool], moment: Duration) -> Vec<Above> {
    let mut deadline = None;
    let usage = looked(Usage::read());
    let mut found = Vec::new();
    for pool in pools {
        let Some(live) = &pool.live else { continue };
        if let Err(why) = &live.holders {
            let (pool, dm_name) = (pool.name.clone(), live.dm_name.clone());
            let uses = Err(why.clone());
            found.push(Above { pool, dm_name, thin_id: None, of_lvm: true, suspended: false, uses });
        }
        for holder in live.holders.iter().flatten() {
            let folder = Path::new("/sys/class/block").join(holder);
            let text = |name: &str| file::read(&folder.join(name)).ok().flatten().unwrap_or_default().trim().to_owned();
            let (dm_name, uuid) = (text("dm/name"), text("dm/uuid"));
            if layer_over(&live.dm_name) == Some(dm_name.as_str()) {
                continue;
            }
            let uses = usage.clone().and_then(|usage| looked(usage.of(&folder, 0)));
            let look = || looked(Control::open().and_then(|control| control.look(&dm_name, Ask::Status)));
            let mut open = look();
            // What is open and neither mounted nor held is open in some process: in udev's, for a moment after each change.
            let is_open = |open: &Looked<dm::Device>| open.as_ref().is_ok_and(|device| device.open_count > 0);
            while uses.as_ref().is_ok_and(Vec::is_empty)
                && is_open(&open)
                && Instant::now() < *deadline.get_or_insert_with(|| Instant::now() + moment)
            {
                filter::wait_for_udev();
                std::thread::sleep(Duration::from_millis(20));
                open = look();
            }
            let suspended = open.as_ref().is_ok_and(|device| device.suspended);
            // Gone by now, and its number may be that of a device that stands elsewhere.
            let stands = block::sysfs(live.major, live.minor).join("holders").join(holder).try_exists();
            if stands.is_ok_and(|there| !there) {
                continue;
            }
            let uses = match (uses, open) {
                _ if text("dm/name") != dm_name => Err(Unseen(format!("{dm_name} has changed meanwhile"))),
                (Ok(uses), Ok(device)) if uses.is_empty() && device.open_count > 0 => {
                    Ok(vec!["is open in some process".to_owned()])
                }
                (Ok(uses), Ok(_)) => Ok(uses),
                (Err(why), _) | (_, Err(why)) => Err(why),
            };
            let (thin_id, uses) = match super::volumes::thin_id(&dm_name) {
                Ok(thin_id) => (thin_id, uses),
                Err(why) => (None, uses.and(Err(why))),
            };
            let of_lvm = uuid.starts_with("LVM-");
            found.push(Above { pool: pool.name.clone(), dm_name, thin_id, of_lvm, suspended, uses });
        }
    }
    found
}

/// The first signature on a device, where the device is there.
pub fn signature(path: &str) -> Option<Looked<Option<String>>> {
    match block::node(path) {
        Ok(Node::Block { path, .. }) => {
            let found = looked(blkid::signatures(&path));
            Some(found.map(|found| found.into_iter().next().map(|signature| signature.kind)))
        }
        Ok(_) => None,
        Err(why) => Some(looked(Err(why))),
    }
}

/// The names of all device-mapper devices. Not among them are nodes of ours that a killed run left without a table:
/// they are made anew.
///
/// # Errors
/// It cannot be asked.
pub fn dm_names() -> Looked<BTreeSet<String>> {
    let control = looked(Control::open())?;
    let left = left_nodes(&control)?;
    let entries = looked(control.list())?.into_iter();
    Ok(entries.map(|entry| entry.name).filter(|name| !left.contains(name)).collect())
}

/// Nodes of ours that a killed run left: without a live table, or such as it looked through.
///
/// # Errors
/// device-mapper cannot be asked.
pub fn left_nodes(control: &Control) -> Looked<Vec<String>> {
    let entries = looked(control.list())?;
    // Without a table a device is not in sysfs, or has no size there.
    let has_size = |minor: u32| {
        let size = block::number(&Path::new("/sys/class/block").join(format!("dm-{minor}/size")));
        size.is_ok_and(|size| size > 0)
    };
    let is_left = |entry: &Entry| {
        let candidate = !has_size(entry.minor) || entry.name.starts_with(LOOK_NAME);
        let look = || control.look(&entry.name, Ask::Table);
        candidate
            && look().is_ok_and(|device| match left_by_a_look(&device) {
                Some(left) => left,
                None => device.uuid.starts_with(OURS) && !device.live_table,
            })
    };
    Ok(entries.into_iter().filter(is_left).map(|entry| entry.name).collect())
}

fn is_of_an_ended_look(name: &str) -> bool {
    let look = Control::open().and_then(|control| control.look(name, Ask::Table));
    look.is_ok_and(|device| left_by_a_look(&device) == Some(true))
}

/// Whether the kernel would let us have a device for ourselves, once what a killed run of ours left is gone: a table that
/// was loaded and not swapped in holds its devices, too.
///
/// # Errors
/// It cannot be looked at.
pub fn is_free(path: &str, (major, minor): (u32, u32)) -> Looked<bool> {
    if looked(block::is_free(path))? {
        return Ok(true);
    }
    let Ok(control) = Control::open() else { return Ok(false) };
    let number = format!("{major}:{minor}");
    let holds = |name: &String| {
        let tables = [Ask::Inactive, Ask::Table].into_iter().filter_map(|which| control.look(name, which).ok());
        let mut targets = tables.flat_map(|device| device.targets);
        targets.any(|target| target.params.split(' ').any(|word| word == number))
    };
    Ok(left_nodes(&control)?.iter().any(holds))
}

/// Looks at a device the operator named.
pub fn look(given: &str) -> Named {
    Named { given: given.to_owned(), is: looked(block::node(given)).and_then(what) }
}

fn what(node: Node) -> Looked<What> {
    match node {
        Node::Missing => Ok(What::Missing),
        Node::Other(words) => Ok(What::Other(words.to_owned())),
        Node::Block { path, major, minor } => device(path, major, minor).map(|device| What::Device(Box::new(device))),
    }
}

fn device(path: String, major: u32, minor: u32) -> Looked<Device> {
    let folder = block::sysfs(major, minor);
    let number = |name: &str| looked(block::number(&folder.join(name)));
    // A partition has no queue of its own.
    let is_partition = folder.join("partition").exists();
    let queue = if is_partition { folder.join("../queue") } else { folder.join("queue") };
    let hint = |name: &str| block::number(&queue.join(name)).unwrap_or(0);
    let usage = looked(Usage::read());
    let (size, links) = (Sectors(number("size")?).bytes(), super::udev_links(major, minor));
    Ok(Device {
        size,
        begun: taken::is_begun(&Disk::new(&path, size, &links)),
        read_only: number("ro")? != 0,
        minimum_io: hint("minimum_io_size"),
        optimal_io: hint("optimal_io_size"),
        links,
        uses: usage.clone().and_then(|usage| looked(usage.of(&folder, 0))),
        partitions: usage.and_then(|usage| looked(partitions(&folder, &usage))),
        signatures: looked(blkid::signatures(&path)),
        free: is_free(&path, (major, minor)),
        path,
        major,
        minor,
    })
}

fn partitions(folder: &Path, usage: &Usage) -> anyhow::Result<Vec<Partition>> {
    let mut found = Vec::new();
    for name in block::entries(folder)? {
        let inner = folder.join(&name);
        if inner.join("partition").exists() {
            let (major, minor) = block::dev_of(&inner)?;
            found.push(Partition {
                major,
                minor,
                size: Bytes(block::number(&inner.join("size"))?.saturating_mul(SECTOR)),
                uses: usage.of(&inner, 0)?,
                signatures: looked(blkid::signatures(&format!("/dev/{name}"))),
                path: format!("/dev/{name}"),
            });
        }
    }
    Ok(found)
}

/// Mounts and swaps of the whole machine.
#[derive(Debug, Clone)]
struct Usage {
    mounts: Vec<((u32, u32), String)>,
    swaps: Vec<(u32, u32)>,
}

impl Usage {
    fn read() -> anyhow::Result<Usage> {
        let swaps = file::read(Path::new("/proc/swaps"))?.unwrap_or_default();
        let mut mounts = Vec::new();
        for Mount { number, source, place, .. } in mounts::read()? {
            mounts.push((number, place.clone()));
            // btrfs and overlayfs show a number of their own; the source then names the device.
            if source.starts_with("/dev/")
                && let Ok(Node::Block { major, minor, .. }) = block::node(&source)
                && (major, minor) != number
            {
                mounts.push(((major, minor), place));
            }
        }
        let swaps = parse_swaps(&swaps)
            .iter()
            .filter_map(|path| match block::node(path) {
                Ok(Node::Block { major, minor, .. }) => Some((major, minor)),
                _ => None,
            })
            .collect();
        Ok(Usage { mounts, swaps })
    }

    /// What uses the device of this folder of sysfs, in words, through everything that stands on it.
    fn of(&self, folder: &Path, depth: usize) -> anyhow::Result<Vec<String>> {
        let number = block::dev_of(folder)?;
        let mut uses: Vec<String> = Vec::new();
        for (_, place) in self.mounts.iter().filter(|(mounted, _)| *mounted == number) {
            uses.push(if place == "/" {
                "holds the root file system of this host".to_owned()
            } else {
                format!("is mounted on {place}")
            });
        }
        if self.swaps.contains(&number) {
            uses.push("is in use as swap".to_owned());
        }
        for holder in block::entries(&folder.join("holders"))? {
            let above = folder.join("holders").join(&holder);
            let name = file::read(&above.join("dm/name"))?.map_or(holder, |name| name.trim().to_owned());
            // It goes before anything is done.
            if name.starts_with(LOOK_NAME) && is_of_an_ended_look(&name) {
                continue;
            }
            let further = if depth < 8 { self.of(&above, depth + 1)? } else { Vec::new() };
            uses.push(match further.first() {
                Some(further) => format!("is held by {name}, which {further}"),
                None => format!("is held by {name}"),
            });
        }
        uses.dedup();
        Ok(uses)
    }
}

/// The device that the file system with this number is mounted from.
pub fn source_of(major: u32, minor: u32) -> Option<String> {
    let mount = mounts::read().ok()?.into_iter().find(|mount| mount.number == (major, minor));
    mount.map(|mount| mount.source).filter(|source| source.starts_with("/dev/"))
}

/// The paths of /proc/swaps.
pub fn parse_swaps(text: &str) -> Vec<String> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swaps() {
        let text =
            "Filename\t\tType\t\tSize\tUsed\tPriority\n/dev/sda2  partition\t1\t0\t-2\n/swap\\040file file 1 0 -3\n";
        assert_eq!(parse_swaps(text), ["/dev/sda2", "/swap file"]);
        assert!(parse_swaps("").is_empty());
    }
}
