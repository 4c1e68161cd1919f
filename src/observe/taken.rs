//! The disks that LVM is about to take into a group. It labels them first, marks them as used, and writes the group's
//! metadata last: killed in between, or with the power cut, LVM finds a physical volume "in use" by a group that is nowhere,
//! and refuses it ever after, as it must with a disk of a broken group. That this one was blank is written down before.

use super::lvm::{Lvm, PvRow};
use super::{Looked, Unseen, looked};
use crate::sys::block::{self, Node};
use crate::sys::file;
use crate::units::{Bytes, Sectors};
use serde::{Deserialize, Serialize};
use std::path::Path;

const FORMAT: u64 = 1;
pub const PATH: &str = "/var/lib/dmtool/disks-taken.json";
/// What names the disk itself, whichever slot it is in.
const BY_ID: &str = "/dev/disk/by-id/";
/// Names there that LVM and device-mapper give, which the next owner of a node may have.
const GIVEN: [&str; 3] = ["lvm-pv-uuid-", "dm-name-", "dm-uuid-"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    dmtool: u64,
    /// Of the boot in which it was written.
    boot: String,
    disks: Vec<Disk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub path: String,
    #[serde(rename = "size_bytes")]
    pub size: Bytes,
    pub ids: Vec<String>,
}

impl Disk {
    /// A disk as its node, its size and its other names tell it.
    pub fn new(path: &str, size: Bytes, links: &[String]) -> Disk {
        let is_id = |link: &&String| {
            link.strip_prefix(BY_ID).is_some_and(|name| !GIVEN.iter().any(|given| name.starts_with(given)))
        };
        Disk { path: path.to_owned(), size, ids: links.iter().filter(is_id).cloned().collect() }
    }
}

impl Taken {
    pub fn new(boot: String, disks: Vec<Disk>) -> Taken {
        Taken { dmtool: FORMAT, boot, disks }
    }

    /// The text of its file.
    ///
    /// # Errors
    /// None that it can have.
    pub fn text_of_file(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Whether a disk is one of these. One without a number of its own is known by its node for as long as that is the
    /// same: until the next boot.
    fn covers(&self, disk: &Disk, boot: &str) -> bool {
        self.disks.iter().any(|known| {
            let same_node = known.ids.is_empty() && disk.ids.is_empty() && self.boot == boot && known.path == disk.path;
            known.size == disk.size && (same_node || known.ids.iter().any(|id| disk.ids.contains(id)))
        })
    }
}

/// The disk with this node.
///
/// # Errors
/// It is none, or cannot be looked at.
pub fn disk_at(path: &str) -> Looked<Disk> {
    let Node::Block { path, major, minor } = looked(block::node(path))? else {
        return Err(Unseen(format!("{path} is no block device")));
    };
    let size = Sectors(looked(block::number(&block::sysfs(major, minor).join("size")))?).bytes();
    Ok(Disk::new(&path, size, &super::udev_links(major, minor)))
}

/// The boot that this is.
///
/// # Errors
/// It cannot be read.
pub fn boot() -> Looked<String> {
    let text = looked(file::read(Path::new("/proc/sys/kernel/random/boot_id")))?;
    text.map(|text| text.trim().to_owned()).ok_or_else(|| Unseen("this kernel tells no boot's number".to_owned()))
}

/// Whether a run of ours was cut off while LVM took a disk into a group. What cannot be read tells of none.
pub fn is_begun(disk: &Disk) -> bool {
    let read = || {
        let text = file::read_roots(Path::new(PATH)).ok()??;
        serde_json::from_str::<Taken>(&text).ok().filter(|taken| taken.dmtool == FORMAT)
    };
    read().is_some_and(|taken| boot().is_ok_and(|boot| taken.covers(disk, &boot)))
}

/// Whether it is written down which disks LVM was about to take, and none of them waits for that any more: the run was cut
/// off behind it. Kept, it would tell of a disk of a group that breaks one day that it was blank.
pub fn is_over(lvm: impl FnOnce() -> Looked<Lvm>) -> bool {
    Path::new(PATH).exists() && lvm().is_ok_and(|lvm| !lvm.pvs.iter().any(PvRow::is_stranded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_known_by_its_own_number_or_by_its_node_until_the_next_boot() {
        let links = |names: &[&str]| names.iter().map(|name| format!("{BY_ID}{name}")).collect::<Vec<_>>();
        let disk = |path: &str, gib: u64, names: &[&str]| Disk::new(path, Bytes(gib << 30), &links(names));
        let taken = Taken::new(
            "a".to_owned(),
            vec![disk("/dev/sdb", 4, &["wwn-0x5", "lvm-pv-uuid-x"]), disk("/dev/vdb", 4, &[])],
        );
        assert!(taken.covers(&disk("/dev/sdc", 4, &["wwn-0x5"]), "b"), "in another slot");
        assert!(!taken.covers(&disk("/dev/sdb", 4, &["wwn-0x6", "lvm-pv-uuid-x"]), "a"), "another disk in its slot");
        assert!(!taken.covers(&disk("/dev/sdb", 8, &["wwn-0x5"]), "a"), "another size");
        assert!(taken.covers(&disk("/dev/vdb", 4, &[]), "a"));
        assert!(!taken.covers(&disk("/dev/vdb", 4, &[]), "b"), "after a boot it may be any disk");
        assert!(!taken.covers(&disk("/dev/vdb", 4, &["wwn-0x7"]), "a"));
        let read: Taken = serde_json::from_str(&taken.text_of_file().expect("a text")).expect("read");
        assert_eq!(read, taken);
    }
}
