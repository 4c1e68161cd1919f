//! A pool of each kind with two volumes, for the tests of what befalls its metadata.

use super::register::{no_var, var};
use crate::harness::metadata::Metadata;
use crate::harness::*;
use serde_json::Value;
use std::fs::File;
use std::io::Read;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lvm,
    Loop,
    Raw,
}

pub const KINDS: [Kind; 3] = [Kind::Lvm, Kind::Loop, Kind::Raw];

impl Kind {
    pub fn pool(self) -> &'static str {
        match self {
            Kind::Lvm => "vg/pool",
            Kind::Loop => "loop",
            Kind::Raw => "bare",
        }
    }

    /// The device of a volume.
    pub fn device(self, volume: &str) -> String {
        match self {
            Kind::Lvm => format!("/dev/vg/{volume}"),
            Kind::Loop | Kind::Raw => format!("/dev/mapper/{}-{volume}", self.pool()),
        }
    }

    pub fn metadata(self) -> Metadata {
        match self {
            Kind::Lvm => Metadata::of_lvm("vg", "pool"),
            Kind::Loop => Metadata::of("/var/lib/dmtool/loop/metadata"),
            Kind::Raw => Metadata::of("/dev/mapper/vg-metadata"),
        }
    }

    /// Makes the pool with two volumes, a and b, each with a file system and a file whose sum is kept.
    pub fn make(self) {
        var();
        match self {
            Kind::Lvm => {
                sh(
                    "vgcreate -qq -s 1m vg /dev/xvdi && lvcreate -qq --type thin-pool -L 300m --poolmetadatasize 4m -c 64k -n pool vg",
                );
                sh(
                    "for v in a b; do lvcreate -qq -V 200m -T vg/pool -n $v 2>/dev/null && mkfs.ext4 -q /dev/vg/$v; done",
                );
            }
            Kind::Loop => {
                dmtool("setup --loop --data 300M --metadata 4M --yes").assert().success();
                for volume in ["a", "b"] {
                    dmtool(&format!("volume create loop {volume} 200M --fs ext4")).assert().success();
                }
            }
            Kind::Raw => {
                sh(
                    "vgcreate -qq -s 1m vg /dev/xvdi && lvcreate -qq -L 300m -n data vg && lvcreate -qq -L 4m -n metadata vg",
                );
                sh("dd if=/dev/zero of=/dev/mapper/vg-metadata bs=4K count=1 oflag=direct status=none");
                sh(
                    "dmsetup create bare --table '0 614400 thin-pool /dev/mapper/vg-metadata /dev/mapper/vg-data 128 0 1 skip_block_zeroing'",
                );
                dmtool("activate bare --remember").assert().success();
                for volume in ["a", "b"] {
                    dmtool(&format!("volume create bare {volume} 200M --fs ext4")).assert().success();
                }
            }
        }
        sh("mkdir -p /run/v && rm -f /var/lib/dmtool/sum-*");
        for volume in ["a", "b"] {
            // Written in turns, so that its map has many ranges.
            let device = self.device(volume);
            sh(&format!("mount {device} /run/v && mkdir /run/v/d"));
            write_files();
            sh(&format!("(cd /run/v && cat file d/* | md5sum) > /var/lib/dmtool/sum-{volume} && umount /run/v"));
        }
    }

    pub fn down(self) {
        dmtool(&format!("deactivate {}", self.pool())).assert().success();
    }

    pub fn up(self) {
        dmtool(&format!("activate {}", self.pool())).assert().success();
        if self == Kind::Lvm {
            sh("lvchange -qq -ay vg/a vg/b");
        }
    }

    /// Whether the file in a volume is what it was; nothing is written to look.
    #[track_caller]
    pub fn assert_whole(self, volume: &str) {
        let device = self.device(volume);
        sh(&format!("mount -o ro,noload {device} /run/v"));
        let sum = try_sh("cd /run/v && cat file d/* | md5sum");
        sh("umount /run/v");
        assert_eq!(sum.1, sh(&format!("cat /var/lib/dmtool/sum-{volume}")), "{self:?} {volume}: {}", sum.2);
    }

    /// Writes a chunk that was never written before; where the file system put its own is chance.
    pub fn write_anew(self, volume: &str) {
        let device = self.device(volume);
        let mapped = || sh(&format!("dmsetup status $(readlink -f {device}) | cut -d' ' -f4"));
        let before = mapped();
        for at in (0..3200).rev() {
            sh(&format!("dd if={device} of=/run/chunk bs=64K count=1 skip={at} iflag=direct status=none"));
            sh(&format!("dd if=/run/chunk of={device} bs=64K seek={at} oflag=direct conv=fsync status=none"));
            if mapped() != before {
                return;
            }
        }
        panic!("{device} has every chunk");
    }

    /// Leaves nothing that the next one would stumble over.
    pub fn gone(self) {
        self.down();
        match self {
            Kind::Lvm | Kind::Raw => sh("vgremove -qq -ff vg && pvremove -qq /dev/xvdi"),
            Kind::Loop => String::new(),
        };
        sh("rm -rf /var/lib/dmtool/pools /var/lib/dmtool/repair /var/lib/dmtool/loop");
        no_var();
    }
}

/// A large file and many small ones; a process for each would cost more than what it writes.
fn write_files() {
    let mut random = File::open("/dev/urandom").expect("random bytes");
    let mut bytes = vec![0; 20 << 20];
    random.read_exact(&mut bytes).expect("random bytes");
    std::fs::write("/run/v/file", &bytes).expect("the large file");
    for (number, small) in bytes.rchunks(9 << 10).take(200).enumerate() {
        std::fs::write(format!("/run/v/d/{number}"), small).expect("a small file");
    }
}

pub fn repair(kind: Kind, words: &str) -> (i32, Value) {
    json(&format!("repair {} {words} --yes", kind.pool()))
}
