//! `dmtool repair`: real metadata damaged on purpose, on each kind of pool, with files in volumes that are compared.

use super::kinds::{KINDS, Kind, repair};
use crate::harness::metadata::{Metadata, Part};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// What the repair says of a volume, by its thin id's place in the list.
fn whole(value: &Value) -> Vec<bool> {
    let volumes = value["repair"]["volumes"].as_array().expect("volumes");
    volumes.iter().map(|volume| volume["whole"] == true).collect()
}

fn each_damage(kind: Kind, parts: &[Part]) {
    kind.make();
    kind.down();
    let pool = kind.pool();
    for (at, part) in parts.iter().copied().enumerate() {
        let metadata = kind.metadata();
        metadata.save("/var/lib/dmtool/pristine");
        metadata.damage(part);
        let (status, value) = json(&format!("metadata check {pool}"));
        assert_eq!((status, &value["status"]), (1, &"damaged".into()), "{kind:?} {part:?} {value:#}");
        if at == 0 {
            // Looked at and not touched.
            let damaged = metadata.sum();
            dmtool(&format!("activate {pool}")).assert().failure();
            dmtool(&format!("repair {pool} --dry-run")).assert().success().stdout(contains("thin_repair"));
            dmtool(&format!("repair {pool}")).assert().code(3).stderr(contains("needs a yes"));
            assert_eq!(metadata.sum(), damaged, "{kind:?} {part:?}");
        }
        let (status, value) = repair(kind, "");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{kind:?} {part:?} {value:#}");
        assert_eq!(value["repair"]["stage"], "swapped", "{kind:?} {part:?}");
        let whole = whole(&value);
        assert_eq!(whole.len(), 2, "{value:#}");
        match part {
            Part::Leaf => assert_eq!(whole, [false, true], "{value:#}"),
            Part::DataMap | Part::MetadataMap => assert_eq!(whole, [true, true], "{value:#}"),
            // What the old map had could not be read.
            _ => {}
        }
        kind.up();
        for (volume, whole) in ["a", "b"].into_iter().zip(&whole) {
            // With its superblock alone gone, nothing of a volume is.
            if *whole || part == Part::Superblock {
                kind.assert_whole(volume);
            }
        }
        kind.down();
        if at == 0 {
            // A second run finds everything done.
            assert_eq!(repair(kind, "").1["changed"], false, "{kind:?} {part:?}");
        }
        dmtool(&format!("repair {pool} --accept --yes")).assert().success();
        assert_eq!(sh("ls /var/lib/dmtool/repair"), "", "{kind:?} {part:?}");
        kind.metadata().put_back("/var/lib/dmtool/pristine");
    }
    assert_eq!(json(&format!("repair {pool} --accept --yes")).1["changed"], false);
    if kind == Kind::Lvm {
        assert!(!sh("lvs -a --noheadings -o lv_name vg").contains("meta0"));
    }
    // As it was found is as it is.
    kind.up();
    kind.assert_whole("a");
    kind.assert_whole("b");
    kind.gone();
}

const TREES: [Part; 3] = [Part::Leaf, Part::Maps, Part::Volumes];
const REST: [Part; 3] = [Part::Superblock, Part::DataMap, Part::MetadataMap];

#[test]
fn damaged_trees_of_lvm() {
    in_kernel(|| each_damage(Kind::Lvm, &TREES));
}

#[test]
fn damaged_superblock_and_space_maps_of_lvm() {
    in_kernel(|| each_damage(Kind::Lvm, &REST));
}

#[test]
fn damaged_trees_of_a_loop_pool() {
    in_kernel(|| each_damage(Kind::Loop, &TREES));
}

#[test]
fn damaged_superblock_and_space_maps_of_a_loop_pool() {
    in_kernel(|| each_damage(Kind::Loop, &REST));
}

#[test]
fn damaged_trees_of_a_raw_pool() {
    in_kernel(|| each_damage(Kind::Raw, &TREES));
}

#[test]
fn damaged_superblock_and_space_maps_of_a_raw_pool() {
    in_kernel(|| each_damage(Kind::Raw, &REST));
}

#[test]
fn undone_while_nothing_was_written_and_refused_after_that() {
    in_kernel(|| {
        for kind in [Kind::Lvm, Kind::Raw] {
            kind.make();
            kind.down();
            let pool = kind.pool();
            kind.metadata().damage(Part::Leaf);
            let damaged = kind.metadata().sum();
            dmtool(&format!("repair {pool} --undo --yes")).assert().code(3).stderr(contains("waits to be undone"));
            assert_eq!(repair(kind, "").0, 0);
            let repaired = kind.metadata().sum();
            assert_ne!(repaired, damaged);
            dmtool(&format!("repair {pool} --undo --dry-run")).assert().success();
            let (status, value) = repair(kind, "--undo");
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
            assert_eq!(kind.metadata().sum(), damaged, "{kind:?}");
            // Where the run was killed behind its last step it is run again.
            let (status, value) = repair(kind, "--undo");
            assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
            assert_eq!(kind.metadata().sum(), damaged, "{kind:?}");
            // Its copy is kept, and the next repair has other names.
            assert_eq!(sh("ls /var/lib/dmtool/repair").lines().count(), 1);
            assert_eq!(repair(kind, "").0, 0);
            assert_eq!(kind.metadata().sum(), repaired, "{kind:?}");
            kind.up();
            dmtool(&format!("repair {pool} --undo --yes")).assert().code(3).stderr(contains("is up"));
            // A new chunk is written.
            kind.write_anew("b");
            kind.down();
            let used = kind.metadata().sum();
            dmtool(&format!("repair {pool} --undo --yes"))
                .assert()
                .code(3)
                .stderr(contains("was used since its repair"));
            assert_eq!(kind.metadata().sum(), used);
            let value = json("check").1;
            assert!(value["findings"].to_string().contains("old-metadata-kept"), "{value:#}");
            // Another repair waits until this one is accepted.
            kind.metadata().damage(Part::DataMap);
            dmtool(&format!("repair {pool} --yes")).assert().code(3).stderr(contains("neither accepted nor undone"));
            dmtool(&format!("repair {pool} --accept --yes")).assert().success();
            assert_eq!(repair(kind, "").0, 0);
            kind.up();
            kind.assert_whole("b");
            kind.gone();
        }
    });
}

#[test]
fn refused_before_the_first_write() {
    in_kernel(|| {
        let kind = Kind::Lvm;
        kind.make();
        // A pool that works is left alone, whoever uses it.
        sh("mount /dev/vg/a /run/v");
        assert_eq!(repair(kind, "").1["changed"], false);
        // One that is to be checked is used: by a mount and by a process.
        sh("umount /run/v && vgchange -qq -an vg");
        kind.metadata().mark();
        sh(
            "lvchange -qq -ay --config 'global/thin_check_options=[\"-q\"]' vg/pool && lvchange -qq -ay vg/a vg/b && mount -o ro,noload /dev/vg/a /run/v",
        );
        assert!(sh("dmsetup status vg-pool-tpool").contains("needs_check"));
        let before = print_of("/dev/xvdi");
        sh("sleep 1000 < /dev/vg/b > /dev/null 2>&1 & echo $! > /run/pid");
        for said in ["vg-a is mounted on /run/v", "vg-b is open in some process"] {
            dmtool("repair vg/pool --yes")
                .assert()
                .code(3)
                .stderr(contains(said))
                .stderr(contains("nothing was changed"));
        }
        sh("umount /run/v; kill $(cat /run/pid)");
        wait_until("the volume is closed", || sh("dmsetup info -c --noheadings -o open vg-b") == "0");
        // Tools, and room for the copies.
        sh("mv /usr/sbin/thin_repair /run/");
        dmtool("repair vg/pool --yes")
            .assert()
            .code(3)
            .stderr(contains("thin_repair is not installed"))
            .stderr(contains("apt-get install"));
        sh("mv /run/thin_repair /usr/sbin/");
        sh("mkdir -p /run/small && mount -t tmpfs -o size=1M none /run/small");
        dmtool("repair vg/pool --yes --backup-dir /run/small").assert().code(3).stderr(contains("--backup-dir"));
        dmtool("repair vg/pool --yes --backup-dir /dev/null").assert().code(3).stderr(contains("is no folder"));
        assert_eq!(print_of("/dev/xvdi"), before, "nothing was written");
        sh("vgchange -qq -an vg");
        kind.metadata().damage(Part::Leaf);
        // No room for another volume, and no spare: both are said.
        sh("lvremove -qq -y vg/lvol0_pmspare 2>/dev/null; lvcreate -qq -an -Zn -l 100%FREE -n full vg 2>/dev/null");
        let before = print_of("/dev/xvdi");
        dmtool("repair vg/pool --yes")
            .assert()
            .code(3)
            .stderr(contains("has 0 B free, and it has no spare metadata volume"))
            .stderr(contains("vgextend"));
        assert_eq!(print_of("/dev/xvdi"), before, "nothing was written");
        assert_eq!(sh("ls /var/lib/dmtool"), "lost+found\nsnapshots\nsum-a\nsum-b");
        // Room on tmpfs will do for the copies: the thin tools do not mind.
        sh("lvremove -qq -y vg/full && mount -o remount,size=64M /run/small");
        let (status, value) = repair(kind, "--backup-dir /run/small");
        assert_eq!(status, 0, "{value:#}");
        assert!(sh("ls /run/small").contains("vg-pool.old"));
        kind.up();
        kind.assert_whole("b");
        dmtool("repair vg/pool --accept --yes").assert().success();
        assert_eq!(sh("ls /run/small"), "");
        dmtool("repair vg/nopool --yes").assert().code(3).stderr(contains("there is no pool vg/nopool"));
        dmtool("repair --yes").assert().code(2);
        dmtool("repair vg/pool --accept --undo").assert().code(2);
        sh("umount /run/small");
        kind.gone();
    });
}

#[test]
fn the_spare_volume_serves_where_the_group_is_full() {
    in_kernel(|| {
        let kind = Kind::Lvm;
        kind.make();
        kind.down();
        sh("lvcreate -qq -an -Zn -l 100%FREE -n full vg 2>/dev/null");
        kind.metadata().damage(Part::Leaf);
        let (status, value) = repair(kind, "");
        assert_eq!(status, 0, "{value:#}");
        assert!(value["steps"].to_string().contains("lvconvert --yes --repair"), "{value:#}");
        assert!(sh("lvs --noheadings -o lv_name vg").contains("pool_meta0"));
        kind.up();
        kind.assert_whole("b");
        kind.down();
        let (status, value) = repair(kind, "--undo");
        assert_eq!(status, 0, "{value:#}");
        assert_eq!(json("metadata check vg/pool").1["status"], "damaged");
        assert_eq!(repair(kind, "").0, 0);
        kind.up();
        kind.assert_whole("b");
        dmtool("repair vg/pool --accept --yes").assert().success();
        kind.gone();
    });
}

/// Without a copy nobody knows whether the pool was used since, and the old metadata is not to be given up for that.
#[test]
fn an_undo_without_the_copies_says_that_they_are_gone() {
    in_kernel(|| {
        for kind in [Kind::Lvm, Kind::Raw] {
            kind.make();
            kind.down();
            let pool = kind.pool();
            kind.metadata().damage(Part::Leaf);
            let damaged = kind.metadata().sum();
            assert_eq!(repair(kind, "").0, 0);
            let repaired = kind.metadata().sum();
            for which in ["*", "*.old"] {
                sh(&format!(
                    "mkdir /run/away && mv /var/lib/dmtool/repair/{which} /run/away/ && mv /run/away/*.json /var/lib/dmtool/repair/ || true"
                ));
                dmtool(&format!("repair {pool} --undo --yes")).assert().code(3).stderr(contains("is gone"));
                assert_eq!(kind.metadata().sum(), repaired);
                sh("mv /run/away/* /var/lib/dmtool/repair/ && rmdir /run/away");
            }
            assert_eq!(repair(kind, "--undo").0, 0);
            assert_eq!(kind.metadata().sum(), damaged, "{kind:?}");
            assert_eq!(repair(kind, "").0, 0);
            kind.gone();
        }
    });
}

/// The second question was answered no, and the pool brought up as before.
#[test]
fn a_repair_that_was_given_up_is_forgotten_once_the_pool_is_up_and_whole() {
    in_kernel(|| {
        for kind in [Kind::Lvm, Kind::Loop] {
            kind.make();
            let pool = kind.pool();
            dmtool(&format!("metadata dump {pool} /run/good.xml")).assert().success();
            kind.down();
            let words = format!("metadata restore {pool} /run/good.xml");
            let answers = "(sleep 4; printf 'y\\n'; sleep 25; printf 'n\\n'; sleep 5)";
            let (ok, said, _) =
                try_sh(&format!("{answers} | script -qec '{} {words}' /dev/null", env!("CARGO_BIN_EXE_dmtool")));
            assert!(!ok && said.contains("second part"), "{said}");
            kind.up();
            assert!(json("check").1.to_string().contains("has not come to its end"));
            let said = dmtool(&format!("repair {pool} --yes")).assert().success();
            said.stderr(contains("came to no end").and(contains(".old")));
            assert!(!json("check").1.to_string().contains("has not come to its end"));
            assert_eq!(repair(kind, "").1["changed"], false);
            kind.assert_whole("a");
            sh("rm /run/good.xml");
            kind.gone();
        }
    });
}

/// It is not taken down for a repair that cannot go on then.
#[test]
fn metadata_on_stripes_is_no_reason_to_take_a_pool_down() {
    in_kernel(|| {
        sh(
            "vgcreate -qq vg /dev/xvdi /dev/xvdj && lvcreate -qq -Wn -L 256m -n pool vg && lvcreate -qq -i2 -I64k -L 8m -n meta vg",
        );
        sh(
            "lvconvert -qq --yes --type thin-pool --poolmetadata vg/meta vg/pool && lvcreate -qq -V 64m -n a --thinpool vg/pool",
        );
        sh("vgchange -qq -an vg");
        // LVM shows it read-only.
        sh(
            "lvchange -qq -ay -y vg/pool_tmeta; dmsetup table vg-pool_tmeta > /run/table; lvchange -qq -an -y vg/pool_tmeta; dmsetup create m < /run/table",
        );
        Metadata::of("/dev/mapper/m").mark();
        sh("dmsetup remove --retry m");
        sh("lvchange -qq -ay --config 'global/thin_check_options=[\"-q\"]' vg/pool && lvchange -qq -ay vg/a");
        let before = sh("dmsetup table; dmsetup status vg-pool-tpool");
        assert!(before.contains("needs_check"), "{before}");
        dmtool("repair vg/pool --yes")
            .assert()
            .code(3)
            .stderr(contains("plain stretches").and(contains("dmtool deactivate vg/pool")));
        assert_eq!(sh("dmsetup table; dmsetup status vg-pool-tpool"), before);
        dmtool("deactivate vg/pool").assert().success();
        dmtool("activate vg/pool").assert().success();
        assert!(!sh("dmsetup status vg-pool-tpool").contains("needs_check"));
        sh("vgremove -qq -ff vg");
    });
}

#[test]
fn what_cannot_be_repaired_is_left_as_it_is() {
    in_kernel(|| {
        for kind in [Kind::Lvm, Kind::Loop] {
            kind.make();
            kind.down();
            let pool = kind.pool();
            kind.metadata().damage(Part::All);
            let before = kind.metadata().sum();
            for _ in 0..2 {
                let (status, value) = repair(kind, "");
                assert_eq!((status, &value["error"]["kind"]), (1, &"failed".into()), "{value:#}");
                assert!(value["error"]["causes"].to_string().contains("the pool is untouched"), "{value:#}");
                assert_eq!(kind.metadata().sum(), before, "{kind:?}");
                let copy = value["repair"]["old_metadata"].as_str().expect("the copy").to_owned();
                assert_eq!(Metadata::of(&copy).sum(), before, "the copy is kept");
            }
            dmtool(&format!("repair {pool} --accept --yes")).assert().code(3);
            // Given up, with the copies kept.
            dmtool(&format!("repair {pool} --undo --yes")).assert().success();
            assert_eq!(kind.metadata().sum(), before, "{kind:?}");
            assert!(sh("ls /var/lib/dmtool/repair").contains(".old"), "the copies are kept");
            kind.gone();
        }
    });
}

#[test]
fn a_mark_to_be_checked_is_taken_off() {
    in_kernel(|| {
        for kind in KINDS {
            kind.make();
            kind.down();
            kind.metadata().mark();
            let pool = kind.pool();
            assert_eq!(json(&format!("metadata check {pool}")).1["needs_check"], true);
            // Up as others bring it up, with the mark.
            match kind {
                Kind::Lvm => sh(
                    "lvchange -qq -ay --config 'global/thin_check_options=[\"-q\"]' vg/pool; lvchange -qq -ay vg/a vg/b",
                ),
                Kind::Loop => sh(
                    "cd /var/lib/dmtool/loop && dmsetup create loop --table \"0 614400 thin-pool $(losetup -f --show metadata) $(losetup -f --show data) 128 32768 1 skip_block_zeroing\" && dmsetup create loop-a --table '0 409600 thin /dev/mapper/loop 0'",
                ),
                Kind::Raw => sh(
                    "dmsetup create bare --table '0 614400 thin-pool /dev/mapper/vg-metadata /dev/mapper/vg-data 128 0 1 skip_block_zeroing' && dmsetup create bare-a --table '0 409600 thin /dev/mapper/bare 0'",
                ),
            };
            assert!(sh("dmsetup status --target thin-pool").contains("ro "), "{kind:?}");
            dmtool(&format!("metadata check {pool}")).assert().code(3).stderr(contains("could not look"));
            dmtool(&format!("repair {pool} --dry-run")).assert().success();
            let output = dmtool(&format!("repair {pool} --yes")).output().expect("a repair");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success() && text.contains("the pool is up again"),
                "{kind:?} {text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let device = kind.device("a").replace("/dev/vg/", "/dev/mapper/vg-");
            assert!(text.contains(&format!("e2fsck -f -p {device}")), "{text}");
            let status = sh("dmsetup status --target thin-pool");
            assert!(status.contains(" rw ") && !status.contains("needs_check"), "{kind:?} {status}");
            // The commands are run as they are printed.
            for line in text.lines().filter(|line| line.contains("e2fsck")) {
                sh(line.trim());
            }
            kind.up();
            kind.assert_whole("a");
            assert_eq!(repair(kind, "").1["changed"], false, "{kind:?}");
            kind.gone();
        }
    });
}
