//! Blank disks before a test and nothing left behind after it, in a guest as on a host.

use super::{host_mode, sh, try_sh};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// The folders of /etc that tests write to.
const CONFIGURATION: &str = "lvm docker containerd";

/// The disks that tests may write to. On a host tests/host.sh has made them, with the same names.
pub fn disks() -> &'static [String] {
    static DISKS: OnceLock<Vec<String>> = OnceLock::new();
    DISKS.get_or_init(|| ["f", "g", "h", "i", "j", "k"].iter().map(|letter| format!("/dev/xvd{letter}")).collect())
}

pub fn before() {
    if host_mode() {
        for disk in disks() {
            sh(&format!(
                "blockdev --setrw {disk}; blkdiscard -f {disk} 2>/dev/null || blkdiscard -f -z {disk}; udevadm trigger --settle {disk}"
            ));
        }
    } else {
        sh(&format!(
            "for f in {CONFIGURATION}; do rm -rf /run/dmtool-$f; [ ! -e /etc/$f ] || cp -a /etc/$f /run/dmtool-$f; done; \
             touch /run/dmtool-run; ls -A /run > /run/dmtool-run"
        ));
    }
}

/// Takes down what the test made and fails where it cannot.
pub fn after() {
    try_sh("umount -a -t ext4,xfs,btrfs; swapoff -a");
    // From the top of each stack down.
    for _ in 0..4 {
        for node in above_the_disks() {
            take_down(&node);
        }
    }
    let left = above_the_disks();
    assert!(left.is_empty(), "left on the disks: {left:?}");
    if !host_mode() {
        // Not only what stands on the disks: also what stands on files.
        try_sh("dmsetup remove_all --force; udevadm settle; losetup -D; udevadm settle");
        // A file system with files under loop devices was busy until now. The guest's own are of none of these types.
        try_sh(
            "n=0; while grep -qE '^[^ ]+ [^ ]+ (ext4|xfs|btrfs) ' /proc/mounts && [ $n -lt 100 ]; do \
             losetup -D; umount -a -t ext4,xfs,btrfs; n=$((n + 1)); sleep 0.1; done",
        );
        sh("test -z \"$(dmsetup ls | grep -v 'No devices found')\"");
        sh("pkill -x dmeventd; while pgrep -x dmeventd >/dev/null; do sleep 0.05; done; true");
        // A file that configures Docker for a pool would be in the way of the next test's pool of that name.
        sh(&format!(
            "rm -rf /run/lvm /run/lock/lvm /run/dmtool.lock /var/lib/dmtool; for f in {CONFIGURATION}; do \
             umount -q /etc/$f; rm -rf /etc/$f; [ ! -e /run/dmtool-$f ] || cp -a /run/dmtool-$f /etc/$f; done"
        ));
        // What this test called so another may call otherwise.
        sh("ls -A /run | grep -vxFf /run/dmtool-run | while read -r left; do rm -rf \"/run/$left\"; done");
    }
}

/// The kernel names of what stands on the tests' disks, uppermost first.
fn above_the_disks() -> Vec<String> {
    let mut nodes = Vec::new();
    for disk in disks() {
        let Ok(node) = fs::canonicalize(disk) else { continue };
        above(&node.file_name().expect("a node").to_string_lossy(), &mut nodes);
    }
    nodes.reverse();
    nodes
}

/// What the kernel says holds a device or a partition of it, each below what holds that.
fn above(name: &str, nodes: &mut Vec<String>) {
    let folder = Path::new("/sys/class/block").join(name);
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let parts = entries(&folder).filter(|part| folder.join(part).join("partition").exists());
    let held = entries(&folder.join("holders")).inspect(|holder| {
        let holder = holder.to_string_lossy().into_owned();
        nodes.retain(|node| *node != holder);
        nodes.push(holder);
    });
    let over: Vec<_> = held.chain(parts).collect();
    for name in over {
        above(&name.to_string_lossy(), nodes);
    }
}

/// Takes a device out of the kernel; a suspended one would hold its remover for ever.
fn take_down(node: &str) {
    let kind = node.trim_end_matches(|c: char| c.is_ascii_digit());
    try_sh(&match kind {
        "dm-" => format!("dmsetup resume /dev/{node}; dmsetup remove --force /dev/{node}"),
        "loop" => format!("losetup -d /dev/{node}"),
        _ => format!("mdadm --stop /dev/{node}"),
    });
}
