//! What is cut off: one command each, with the state it starts from and the way back to that.

use crate::harness::{sh, try_sh};

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
}

/// A volume with bytes whose sum is kept.
pub struct Kept {
    device: &'static str,
    up: &'static str,
    down: &'static str,
}

const SUM: &str = "/var/lib/dmtool/.kept.sum";
const DISK: &str = "/dev/xvdi";

impl Case {
    /// # Errors
    /// The bytes of the volume that was there before are not what they were.
    pub fn bytes(&self) -> Result<(), String> {
        let Some(Kept { device, up, down }) = &self.kept else { return Ok(()) };
        let (ok, sum, wrong) =
            try_sh(&format!("{up} && dd if={device} bs=1M count=8 iflag=direct status=none | md5sum"));
        let wanted = sh(&format!("cat {SUM}"));
        try_sh(&format!("udevadm settle; {down}"));
        if ok && sum == wanted { Ok(()) } else { Err(format!("the bytes of {device} are not what they were: {wrong}")) }
    }
}

const LVM: Option<Kept> = Some(Kept { device: "/dev/vg/kept", up: "true", down: "true" });
const LVM_DOWN: Option<Kept> =
    Some(Kept { device: "/dev/vg/kept", up: "lvchange -qq -ay vg/pool vg/kept", down: "vgchange -qq -an vg" });
const LOOP: Option<Kept> = Some(Kept { device: "/dev/mapper/loop-kept", up: "true", down: "true" });
const BARE: Option<Kept> = Some(Kept { device: "/dev/mapper/bare-kept", up: "true", down: "true" });

fn dmtool(words: &str) {
    sh(&format!("{} {words} --yes < /dev/null", super::kill::DMTOOL));
}

fn fill(device: &str) {
    sh(&format!(
        "head -c 8M /dev/urandom > /run/kept; dd if=/run/kept of={device} bs=1M oflag=direct conv=fsync status=none; mkdir -p /var/lib/dmtool; md5sum < /run/kept > {SUM}; rm /run/kept"
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

pub const CASES: &[Case] = &[
    Case { name: "setup", start: nothing, words: "setup /dev/xvdi --yes", back: setup_gone, kept: None },
    Case {
        name: "setup --two-volumes",
        start: nothing,
        words: "setup /dev/xvdi --two-volumes --yes",
        back: setup_gone,
        kept: None,
    },
    Case {
        name: "setup --loop",
        start: var,
        words: "setup --loop --data 300M --metadata 4M --yes",
        back: loop_gone,
        kept: None,
    },
    Case {
        name: "activate, lvm",
        start: || {
            lvm_pool();
            sh("vgchange -qq -an vg; udevadm settle");
        },
        words: "activate vg/pool",
        back: nothing,
        kept: Some(Kept { device: "/dev/vg/kept", up: "lvchange -qq -ay vg/kept", down: "true" }),
    },
    Case { name: "deactivate, lvm", start: lvm_pool, words: "deactivate vg/pool", back: nothing, kept: LVM_DOWN },
    Case {
        name: "activate, loop",
        start: || {
            loop_pool();
            dmtool("deactivate loop");
        },
        words: "activate loop",
        back: nothing,
        kept: LOOP,
    },
    Case {
        name: "deactivate, loop",
        start: loop_pool,
        words: "deactivate loop",
        back: nothing,
        kept: Some(Kept {
            device: "/dev/mapper/loop-kept",
            up: concat!(env!("CARGO_BIN_EXE_dmtool"), " activate loop"),
            down: concat!(env!("CARGO_BIN_EXE_dmtool"), " deactivate loop"),
        }),
    },
    Case {
        name: "activate, bare",
        start: || {
            bare_pool();
            dmtool("deactivate bare");
        },
        words: "activate bare",
        back: nothing,
        kept: BARE,
    },
    Case { name: "resize, lvm", start: lvm_pool, words: "resize 260M vg/pool --yes", back: lvm_gone, kept: LVM },
    Case {
        name: "resize --metadata, lvm",
        start: lvm_pool,
        words: "resize vg/pool --metadata 12M --yes",
        back: lvm_gone,
        kept: LVM,
    },
    Case { name: "resize, loop", start: loop_pool, words: "resize 400M loop --yes", back: loop_gone, kept: LOOP },
    Case {
        name: "resize --metadata, loop",
        start: loop_pool,
        words: "resize loop --metadata 12M --yes",
        back: loop_gone,
        kept: LOOP,
    },
    Case {
        name: "resize, bare",
        start: bare_pool,
        words: "resize 260M bare --yes",
        back: || {
            dmtool("teardown bare");
            sh("vgs vg >/dev/null 2>&1 && vgremove -qq -ff vg; pvremove -qq -ff /dev/xvdi; udevadm settle");
        },
        kept: BARE,
    },
    Case {
        name: "autoextend",
        start: lvm_pool,
        words: "autoextend vg/pool --threshold 60 --percent 30 --yes",
        back: || {
            sh(
                "lvchange -qq --detachprofile vg/pool; lvchange -qq --refresh vg/pool; rm -f /etc/lvm/profile/vg-pool.profile; udevadm settle",
            );
        },
        kept: LVM,
    },
    Case {
        name: "discards, lvm",
        start: lvm_pool,
        words: "discards vg/pool no_passdown --yes",
        back: || {
            sh("lvchange -qq --discards passdown vg/pool; lvchange -qq --refresh vg/pool; udevadm settle");
        },
        kept: LVM,
    },
    Case {
        name: "discards, loop",
        start: loop_pool,
        words: "discards loop no_passdown --yes",
        back: || dmtool("discards loop passdown"),
        kept: LOOP,
    },
    Case {
        name: "volume create, lvm",
        start: lvm_pool,
        words: "volume create vg/pool web 48M --fs ext4",
        back: || remove("web"),
        kept: LVM,
    },
    Case {
        name: "volume create, loop",
        start: loop_pool,
        words: "volume create loop web 48M --fs ext4",
        back: || dmtool("volume remove loop web"),
        kept: LOOP,
    },
    Case {
        name: "volume snapshot, lvm",
        start: lvm_pool,
        words: "volume snapshot vg/pool kept snap",
        back: || remove("snap"),
        kept: LVM,
    },
    Case {
        name: "volume snapshot, loop",
        start: loop_pool,
        words: "volume snapshot loop kept snap",
        back: || dmtool("volume remove loop snap"),
        kept: LOOP,
    },
    Case {
        name: "volume remove, lvm",
        start: || {
            lvm_pool();
            sh("lvs vg/web >/dev/null 2>&1 || lvcreate -qq -V 48m -T vg/pool -n web 2>/dev/null; udevadm settle");
        },
        words: "volume remove vg/pool web --yes",
        back: nothing,
        kept: LVM,
    },
    Case {
        name: "volume remove, loop",
        start: || {
            loop_pool();
            dmtool("volume create loop web 48M");
        },
        words: "volume remove loop web --yes",
        back: nothing,
        kept: LOOP,
    },
    Case {
        name: "volume orphans, loop",
        start: || {
            loop_pool();
            try_sh("dmsetup message loop 0 'create_thin 900'");
        },
        words: "volume orphans loop --remove --yes",
        back: nothing,
        kept: LOOP,
    },
    Case {
        name: "volume recycle, lvm",
        start: || {
            lvm_pool();
            sh(
                "lvremove -qq -f vg/kept; dmsetup message vg-pool 0 'create_thin 7'; dmsetup message vg-pool 0 'set_transaction_id 0 5' || \
                dmsetup message vg-pool 0 \"set_transaction_id $(dmsetup status vg-pool | cut -d' ' -f4) 5\"",
            );
        },
        words: "volume recycle vg/pool --yes",
        back: lvm_gone,
        kept: None,
    },
    Case {
        name: "volume recycle, loop",
        start: || {
            loop_pool();
            dmtool("volume remove loop kept");
            sh("dmsetup message loop 0 'create_thin 7'; dmsetup message loop 0 'set_transaction_id 0 5'");
        },
        words: "volume recycle loop --yes",
        back: loop_gone,
        kept: None,
    },
    Case {
        name: "configure docker",
        start: lvm_pool,
        words: "configure docker vg/pool --yes",
        back: || {
            sh(
                "rm -rf /etc/docker; mkdir /etc/docker; printf '{\\n  \"debug\": true\\n}\\n' > /etc/docker/daemon.json",
            );
        },
        kept: LVM,
    },
    Case {
        name: "teardown, lvm",
        start: lvm_pool,
        words: "teardown vg/pool --wipe-devices --yes",
        back: nothing,
        kept: None,
    },
    Case { name: "teardown, loop", start: loop_pool, words: "teardown loop --yes", back: nothing, kept: None },
    Case {
        name: "teardown, bare",
        start: bare_pool,
        words: "teardown bare --yes",
        back: || {
            sh("vgs vg >/dev/null 2>&1 && vgremove -qq -ff vg; pvremove -qq -ff /dev/xvdi; udevadm settle");
        },
        kept: None,
    },
];
