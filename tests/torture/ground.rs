//! Everything that a machine keeps over a boot on one file system and one disk, so that both can be cut off together:
//! /var/lib/dmtool, /etc/lvm, /etc/docker and /etc/containerd, and the disk of the pools.

use super::cases::Case;
use crate::harness::{clean, sh, try_sh};

/// The folders of /etc that are kept, beside /var/lib/dmtool.
const FOLDERS: [&str; 3] = ["lvm", "docker", "containerd"];
const VAR: &str = "/var/lib/dmtool";

/// Mounts the file system on this device in all its places; makes it where there is none.
pub fn mount(device: &str) {
    sh(&format!("blkid {device} >/dev/null || mkfs.ext4 -q {device}; mkdir -p {VAR} && mount {device} {VAR}"));
    for folder in FOLDERS {
        sh(&format!(
            "mkdir -p /etc/{folder} {VAR}/.etc; [ -e {VAR}/.etc/{folder} ] || cp -a /etc/{folder} {VAR}/.etc/; mount --bind {VAR}/.etc/{folder} /etc/{folder}"
        ));
    }
}

pub fn unmount() {
    for folder in FOLDERS {
        try_sh(&format!("umount /etc/{folder}"));
    }
    try_sh(&format!("umount {VAR}"));
}

/// What a host does when it comes up: LVM's own activation, and dmtool's unit.
pub fn come_up(case: &Case) {
    let dmtool = super::kill::DMTOOL;
    // The mount point of a case, which a host has on its disk.
    try_sh(&format!("mkdir -p /run/mnt; vgchange -qq -aay; {dmtool} activate --all; udevadm settle"));
    if let Some(pool) = case.begins_down() {
        // LVM brings up all of the group.
        try_sh(&match pool.split_once('/') {
            Some((vg, _)) => format!("vgchange -qq -an {vg}; udevadm settle"),
            None => format!("{dmtool} deactivate {pool} --yes; udevadm settle"),
        });
    }
}

/// Takes everything out of the kernel that stands on pools and disks.
pub fn take_down() {
    // One that watches pools does not end when it is asked to.
    try_sh("umount /run/mnt; pkill -9 -x dmeventd; while pgrep -x dmeventd >/dev/null; do sleep 0.05; done");
    try_sh("rm -rf /run/lvm /run/lock/lvm /run/dmtool.lock");
    // From the top of each stack down; what is suspended would hold its remover for ever.
    sh(
        "for i in 1 2 3 4 5 6 7 8; do left=$(dmsetup info -c --noheadings --separator ' ' -o name,suspended | grep -v -e '^power' -e '^bad' -e '^No devices'); \
        [ -n \"$left\" ] || break; echo \"$left\" | while read name state; do \
        case $state in *uspended) dmsetup resume $name;; esac; dmsetup remove $name; done 2>/dev/null; losetup -D; udevadm settle; done; losetup -D",
    );
}

/// Everything as before the first test: nothing in the kernel, blank disks.
pub fn as_new() {
    // What a trial left that went wrong may be in the way of an orderly end.
    take_down();
    unmount();
    try_sh("umount -a -t ext4,xfs");
    take_down();
    clean::after();
    // Links of a group that a trial left, which LVM takes for something in its way.
    try_sh("find /dev/vg /dev/docker /dev/vg-docker -xtype l -delete; rmdir /dev/vg /dev/docker /dev/vg-docker");
    // Blank to their ends: a case has its disk behind another part.
    sh("rm -f /run/blkid/*; for d in /dev/ubd[b-f]; do blkdiscard -f $d 2>/dev/null || exit 1; done; \
        rm -rf /etc/docker /etc/containerd; udevadm trigger --subsystem-match=block --settle");
    clean::before();
}
