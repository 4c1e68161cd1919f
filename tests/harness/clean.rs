//! Blank disks before a test and nothing left behind after it, in a guest as on a host.

use super::{host_mode, sh, try_sh};
use std::sync::OnceLock;

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
        sh("rm -rf /run/dmtool-lvm; cp -a /etc/lvm /run/dmtool-lvm");
    }
}

/// Takes down what the test made and fails where it cannot.
pub fn after() {
    try_sh("umount -a -t ext4,xfs,btrfs; swapoff -a");
    // From the top of each stack down. A suspended device would hold its remover for ever.
    for _ in 0..4 {
        for node in above_the_disks() {
            try_sh(&format!(
                "swapoff /dev/{node}; dmsetup resume /dev/{node}; dmsetup remove --force /dev/{node}; losetup -d /dev/{node}; mdadm --stop /dev/{node}"
            ));
        }
    }
    let left = above_the_disks();
    assert!(left.is_empty(), "left on the disks: {left:?}");
    if !host_mode() {
        // Not only what stands on the disks: also what stands on files.
        try_sh("dmsetup remove_all --force; losetup -D");
        sh("test -z \"$(dmsetup ls | grep -v 'No devices found')\"");
        sh("pkill -x dmeventd; while pgrep -x dmeventd >/dev/null; do sleep 0.05; done; true");
        sh("rm -rf /run/lvm /run/lock/lvm /run/dmtool.lock /var/lib/dmtool /etc/lvm; cp -a /run/dmtool-lvm /etc/lvm");
    }
}

/// The kernel names of what stands on the tests' disks, uppermost first.
fn above_the_disks() -> Vec<String> {
    let mut nodes = Vec::new();
    for disk in disks() {
        let (_, listing, _) = try_sh(&format!("lsblk -nro KNAME,TYPE {disk}"));
        nodes.extend(
            listing
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(' '))
                .filter(|(_, kind)| *kind != "part")
                .map(|(name, _)| name.to_owned()),
        );
    }
    nodes.reverse();
    nodes
}
