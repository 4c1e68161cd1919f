//! What is cut off: one command each, with the state it starts from and the way back to that.

mod list;

use crate::harness::metadata::{Metadata, Part};
use crate::harness::{sh, try_sh};
pub use list::CASES;

/// A command that changes something.
pub struct Case {
    pub name: &'static str,
    /// Makes what the command is to change, or what is missing of that.
    pub start: fn(),
    pub words: &'static str,
    /// Undoes the command, so that `start` finds its state again.
    pub back: fn(),
    /// Brings up the volume that was there before, and takes it down again: its bytes must be what they were.
    pub kept: Option<Kept>,
    /// A script that succeeds where what was made is good in itself.
    pub good: Option<&'static str>,
}

/// A case whose volume is not looked at, or which has none.
const fn case(name: &'static str, start: fn(), words: &'static str, back: fn()) -> Case {
    Case { name, start, words, back, kept: None, good: None }
}

impl Case {
    const fn keeps(self, kept: Kept) -> Case {
        Case { kept: Some(kept), ..self }
    }

    const fn good_if(self, script: &'static str) -> Case {
        Case { good: Some(script), ..self }
    }
}

/// A volume with bytes whose sum is kept.
pub struct Kept {
    device: &'static str,
    up: &'static str,
    down: &'static str,
}

/// With the name of the device behind it.
const SUM: &str = "/var/lib/dmtool/.kept.sum";
const DISK: &str = "/dev/xvdi";

impl Case {
    /// Whether all that it needs is on the one disk and the file system whose power can be cut.
    pub fn on_one_disk(&self) -> bool {
        !self.name.contains("two disks")
    }

    /// Whether its pool stands on the disk, which can be made to fail under it.
    pub fn on_the_disk(&self) -> bool {
        self.on_one_disk() && !["loop", "configure", "metrics"].iter().any(|word| self.name.contains(word))
    }

    /// Whether a host that boots comes up with what the case begins with: device-mapper forgets what it was only told by
    /// message, or was never written down, LVM refuses a pool that is not of its opinion, and brings up all others, after which
    /// no repair is undone.
    pub fn begins_after_a_boot(&self) -> bool {
        let of_lvm = self.name.starts_with("activate --all") && self.name.contains("lvm");
        !of_lvm
            && !["activate --remember", "volume recycle", "repair --undo"].iter().any(|word| self.name.contains(word))
    }

    /// The pool that the case begins with when it is down, and which a boot brings up, or tries to.
    pub fn begins_down(&self) -> Option<&'static str> {
        match self.name {
            "repair, loop" | "repair --accept, loop" | "metadata restore, loop" => Some("loop"),
            "repair, bare" | "metadata restore, bare" => Some("bare"),
            "repair, lvm" | "repair --accept, lvm" | "metadata restore, lvm" | "activate, lvm" => Some("vg/pool"),
            _ => None,
        }
    }

    /// The volume that was there before, where it is up from before the command until after it.
    pub fn up_all_the_time(&self) -> Option<&'static str> {
        let kept = self.kept.as_ref().filter(|kept| kept.up == "true")?;
        (!["activate", "repair"].iter().any(|verb| self.name.starts_with(verb))).then_some(kept.device)
    }

    /// # Errors
    /// The bytes of the volume that was there before are not what they were, or what was made is no good.
    pub fn whole(&self) -> Result<(), String> {
        self.bytes()?;
        let Some(script) = self.good else { return Ok(()) };
        let (ok, said, wrong) = try_sh(script);
        if ok { Ok(()) } else { Err(format!("{script}: {said} {wrong}")) }
    }

    fn bytes(&self) -> Result<(), String> {
        let Some(Kept { device, up, down }) = &self.kept else { return Ok(()) };
        let (ok, sum, wrong) =
            try_sh(&format!("{up} >/dev/null && dd if={device} bs=1M count=8 iflag=direct status=none | md5sum"));
        let wanted = sh(&format!("cat {SUM}{}", device.replace('/', "-")));
        try_sh(&format!("udevadm settle; {down}"));
        if ok && sum == wanted { Ok(()) } else { Err(format!("the bytes of {device} are not what they were: {wrong}")) }
    }
}

const LVM: Kept = Kept { device: "/dev/vg/kept", up: "true", down: "true" };
const LVM_UP: Kept = Kept { device: "/dev/vg/kept", up: "lvchange -qq -ay vg/kept", down: "true" };
const LVM_DOWN: Kept =
    Kept { device: "/dev/vg/kept", up: "lvchange -qq -ay vg/pool vg/kept", down: "vgchange -qq -an vg" };
const LOOP: Kept = Kept { device: "/dev/mapper/loop-kept", up: "true", down: "true" };
const LOOP_DOWN: Kept = Kept {
    device: "/dev/mapper/loop-kept",
    up: concat!(env!("CARGO_BIN_EXE_dmtool"), " activate loop"),
    down: concat!(env!("CARGO_BIN_EXE_dmtool"), " deactivate loop"),
};
const BARE: Kept = Kept { device: "/dev/mapper/bare-kept", up: "true", down: "true" };
const BARE_DOWN: Kept = Kept {
    device: "/dev/mapper/bare-kept",
    up: concat!(env!("CARGO_BIN_EXE_dmtool"), " activate bare"),
    down: concat!(env!("CARGO_BIN_EXE_dmtool"), " deactivate bare"),
};

fn dmtool(words: &str) {
    sh(&format!("{} {words} --yes < /dev/null", super::kill::DMTOOL));
}

fn fill(device: &str) {
    sh(&format!(
        "head -c 8M /dev/urandom > /run/kept; dd if=/run/kept of={device} bs=1M oflag=direct conv=fsync status=none; mkdir -p /var/lib/dmtool; md5sum < /run/kept > {SUM}{}; rm /run/kept",
        device.replace('/', "-")
    ));
}

fn is_there(what: &str) -> bool {
    try_sh(what).0
}

/// vg/pool with the volume kept, up.
fn lvm_pool() {
    if !is_there("lvs vg/kept") {
        sh(&format!(
            "vgcreate -qq -s 1m vg {DISK} && lvcreate -qq --type thin-pool -L 200m --poolmetadatasize 4m -c 64k -n pool vg && \
             lvcreate -qq -V 64m -T vg/pool -n kept 2>/dev/null"
        ));
        fill("/dev/vg/kept");
    }
    if !is_there("test -e /dev/vg/kept") {
        sh("lvchange -qq -ay vg/pool vg/kept; udevadm settle");
    }
}

/// vg/pool without a volume, for consumers that make their own.
fn lvm_empty() {
    if !is_there("lvs vg/pool") {
        sh(&format!(
            "vgcreate -qq -s 1m vg {DISK} && lvcreate -qq --type thin-pool -L 200m --poolmetadatasize 4m -c 64k -n pool vg"
        ));
    }
}

/// vg/pool, down, the space map of its data damaged.
fn lvm_damaged() {
    lvm_pool();
    sh("vgchange -qq -an vg; udevadm settle");
    Metadata::of_lvm("vg", "pool").damage(Part::DataMap);
    sh("sync; echo 3 > /proc/sys/vm/drop_caches");
}

fn lvm_gone() {
    sh(&format!("vgremove -qq -ff vg; pvremove -qq {DISK}; udevadm settle"));
}

/// A file system with the register and the files of pools.
fn var() {
    sh(
        "blkid /dev/xvdf >/dev/null || mkfs.ext4 -q /dev/xvdf; mountpoint -q /var/lib/dmtool || { mkdir -p /var/lib/dmtool && mount /dev/xvdf /var/lib/dmtool; }",
    );
}

/// The pool loop with the volume kept, up.
fn loop_pool() {
    var();
    if !is_there("test -e /var/lib/dmtool/pools/loop.json") {
        dmtool("setup --loop --data 300M --metadata 4M");
        dmtool("volume create loop kept 64M");
        fill("/dev/mapper/loop-kept");
    }
    if !is_there("test -e /dev/mapper/loop-kept") {
        dmtool("activate loop");
    }
}

/// The pool loop, down, the space map of its data damaged.
fn loop_damaged() {
    loop_pool();
    dmtool("deactivate loop");
    Metadata::of("/var/lib/dmtool/loop/metadata").damage(Part::DataMap);
    sh("sync; echo 3 > /proc/sys/vm/drop_caches");
}

/// The pool loop, down, marked by the kernel to be checked.
fn loop_marked() {
    loop_pool();
    dmtool("deactivate loop");
    Metadata::of("/var/lib/dmtool/loop/metadata").mark();
    sh("sync; echo 3 > /proc/sys/vm/drop_caches");
}

fn loop_gone() {
    dmtool("teardown loop");
}

/// The pool bare on two volumes of LVM, with the volume kept, up.
fn bare_pool() {
    var();
    if !is_there("test -e /var/lib/dmtool/pools/bare.json") {
        sh(&format!(
            "vgcreate -qq -s 1m vg {DISK} && lvcreate -qq -L 200m -n data vg && lvcreate -qq -L 4m -n metadata vg && \
             dd if=/dev/zero of=/dev/mapper/vg-metadata bs=4K count=1 oflag=direct status=none && \
             dmsetup create bare --table '0 409600 thin-pool /dev/mapper/vg-metadata /dev/mapper/vg-data 128 0 1 skip_block_zeroing'"
        ));
        dmtool("activate bare --remember");
        dmtool("volume create bare kept 64M");
        fill("/dev/mapper/bare-kept");
    }
    if !is_there("test -e /dev/mapper/bare-kept") {
        dmtool("activate bare");
    }
}

/// The pool bare, down, the space map of its data damaged.
fn bare_damaged() {
    bare_pool();
    dmtool("deactivate bare");
    Metadata::of("/dev/mapper/vg-metadata").damage(Part::DataMap);
    sh("sync; echo 3 > /proc/sys/vm/drop_caches");
}

fn nothing() {}

/// Whatever a setup on the disk made.
fn setup_gone() {
    sh(&format!(
        "vgs docker >/dev/null 2>&1 && vgremove -qq -ff docker; vgs vg-docker >/dev/null 2>&1 && vgremove -qq -ff vg-docker; \
         pvremove -qq -ff {DISK}; wipefs -aq {DISK}; rm -f /etc/lvm/profile/docker-thinpool.profile; udevadm settle"
    ));
}

fn remove(volume: &str) {
    sh(&format!("lvremove -qq -f vg/{volume}; udevadm settle"));
}

fn bare_gone() {
    try_sh(&format!("{} teardown bare --yes < /dev/null", super::kill::DMTOOL));
    sh(&format!("vgs vg >/dev/null 2>&1 && vgremove -qq -ff vg; pvremove -qq -ff {DISK}; udevadm settle"));
}

/// A second disk without anything.
fn second_disk_gone() {
    sh("vgs vg >/dev/null 2>&1 && vgremove -qq -ff vg; vgs docker >/dev/null 2>&1 && vgremove -qq -ff docker; \
        pvremove -qq -ff /dev/xvdj /dev/xvdi; wipefs -aq /dev/xvdj /dev/xvdi; rm -f /etc/lvm/profile/docker-thinpool.profile; \
        udevadm settle");
}

/// What Docker and containerd have of configuration before somebody configures them.
fn configuration() {
    sh("rm -rf /etc/docker/* /etc/containerd/*; mkdir -p /etc/docker /etc/containerd; \
        printf '{\\n  \"debug\": true\\n}\\n' > /etc/docker/daemon.json; \
        printf '# ours\\nversion = 2\\n' > /etc/containerd/config.toml");
}
