//! What `dmtool check` must not pass over.

use super::health::{check, findings, found, gone, run, small_pool};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

#[test]
fn the_only_disk_of_a_group_is_not_there() {
    in_kernel(|| {
        let late = "dmsetup create late --table '0 1048576 linear /dev/xvdg 2048' && udevadm settle";
        sh(&format!("{late} && vgcreate -qq vg /dev/mapper/late && lvcreate -qq --type thin-pool -L 64m -n pool vg"));
        assert_eq!(check("")["status"], "ok");
        sh("vgchange -qq -an vg && dmsetup remove --retry late && udevadm settle");
        let hint = found("volume-group-incomplete", "critical");
        assert_eq!(check("vg/pool")["status"], "critical");
        dmtool("check").assert().code(2).stdout(contains("and no disk of"));
        dmtool("status").assert().stderr(contains("no disk of the volume group vg is there"));
        sh(late);
        run(&hint);
        gone("volume-group-incomplete");
        assert!(sh("dmsetup table vg-pool").contains("thin-pool"));
        // One that LVM is told not to look at is there.
        sh(
            "vgchange -qq -an vg; echo 'devices { global_filter = [ \"r|late|\", \"r|xvdg|\", \"r|ubdc|\" ] }' > /etc/lvm/lvmlocal.conf",
        );
        gone("volume-group-incomplete");
        sh("rm /etc/lvm/lvmlocal.conf; vgchange -qq -ay vg");
        // One that was given up leaves no backup.
        sh("vgremove -qq -ff vg && pvremove -qq /dev/mapper/late && dmsetup remove --retry late && udevadm settle");
        assert_eq!(check("")["status"], "ok");
    });
}

#[test]
fn a_pool_that_is_up_and_that_lvm_does_not_know() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        sh("lvcreate -qq -V 64m -n theirs --thinpool docker/thinpool");
        sh(
            "head -c 1M /dev/urandom > /run/bytes && dd if=/run/bytes of=/dev/docker/theirs bs=64K oflag=direct status=none",
        );
        sh("lvchange -qq -an docker/theirs");
        sh(
            "dd if=/dev/xvdi of=/run/label bs=4k count=1 status=none && dd if=/dev/zero of=/dev/xvdi bs=4k count=1 conv=fsync status=none && \
            udevadm trigger --settle /dev/xvdi",
        );
        for words in ["", "docker/thinpool"] {
            let seen = check(words);
            let [finding] = &findings(&seen, "volume-group-incomplete")[..] else { panic!("{seen:#}") };
            assert!(finding["message"].as_str().is_some_and(|said| said.contains("LVM does not know it")), "{seen:#}");
        }
        // Its volumes are LVM's all the same, and nobody's to remove.
        let unknown = "LVM does not know docker/thinpool";
        dmtool("volume orphans docker/thinpool").assert().success().stderr(contains(unknown));
        assert_eq!(json("volume orphans docker/thinpool").1["removable"], false);
        for words in ["volume orphans docker/thinpool --remove --yes", "volume recycle docker/thinpool --yes"] {
            dmtool(words).assert().code(3).stderr(contains(unknown));
        }
        sh("dd if=/run/label of=/dev/xvdi bs=4k count=1 conv=fsync status=none && udevadm trigger --settle /dev/xvdi");
        gone("volume-group-incomplete");
        sh("lvchange -qq -ay docker/theirs");
        assert_eq!(sh("head -c 1M /dev/docker/theirs | md5sum"), sh("md5sum < /run/bytes"));
    });
}

/// What is open in a process is no reason to look at a sick pool for so long that the look is given up.
#[test]
fn a_sick_pool_with_many_open_volumes_is_looked_at_to_the_end() {
    in_kernel(|| {
        small_pool();
        sh(
            "lvchange -qq --errorwhenfull y vg/pool; for n in 1 2 3 4 5 6; do lvcreate -qq -V 16m -T vg/pool -n o$n; sleep 1000 < /dev/vg/o$n >/dev/null 2>&1 & done",
        );
        assert!(!try_sh("dd if=/dev/urandom of=/dev/vg/v bs=64k count=1200 oflag=direct status=none").0);
        let value = check("");
        assert!(findings(&value, "could-not-look").is_empty(), "{value:#}");
        let [full] = &findings(&value, "data-full-error")[..] else { panic!("{value:#}") };
        assert!(
            full["message"].to_string().contains("vg-o6") || full["hint"].to_string().contains("resize"),
            "{full:#}"
        );
        sh("pkill -x sleep");
    });
}

#[test]
fn a_group_that_is_exported() {
    in_kernel(|| {
        small_pool();
        sh("vgchange -qq -an vg && vgexport -qq vg");
        let hint = found("pool-inactive", "critical");
        assert!(hint.starts_with("vgimport vg && "), "{hint}");
        run(&hint);
        gone("pool-inactive");
    });
}

/// Its loop device begins behind the beginning of the file.
#[test]
fn a_file_that_was_cut_off_under_a_loop_device_with_an_offset() {
    in_kernel(|| {
        sh(
            "mkdir -p /run/d && truncate -s 8M /run/d/m && truncate -s 68157440 /run/d/data && losetup /dev/loop6 /run/d/m && losetup -o 1M /dev/loop7 /run/d/data",
        );
        sh("dmsetup create p --table '0 131072 thin-pool /dev/loop6 /dev/loop7 128 0'");
        assert!(findings(&check(""), "data-device-too-small").is_empty());
        sh("truncate -s 64M /run/d/data");
        run(&found("data-device-too-small", "critical"));
        assert_eq!(sh("stat -c %s /run/d/data; blockdev --getsize64 /dev/loop7"), "68157440\n67108864");
        gone("data-device-too-small");
        sh("dmsetup remove --retry p; udevadm settle; losetup -d /dev/loop6 /dev/loop7");
    });
}

#[test]
fn a_volume_and_what_carries_the_pool_is_suspended() {
    in_kernel(|| {
        small_pool();
        for device in ["vg-v", "vg-pool_tdata", "vg-pool_tmeta"] {
            sh(&format!("dmsetup suspend {device}"));
            let hint = found("pool-suspended", "critical");
            assert_eq!(hint, format!("dmsetup resume {device}"));
            run(&hint);
            gone("pool-suspended");
        }
        // As a killed lvextend leaves them.
        sh("dmsetup suspend vg-pool-tpool; dmsetup suspend vg-pool_tdata; dmsetup suspend vg-pool_tmeta");
        let hint = found("pool-suspended", "critical");
        assert_eq!(
            hint,
            "dmsetup resume vg-pool_tdata && dmsetup resume vg-pool_tmeta && dmsetup resume vg-pool-tpool"
        );
        run(&hint);
        gone("pool-suspended");
    });
}

#[test]
fn a_snapshot_of_nobody_knows_whom_is_not_released() {
    in_kernel(|| {
        small_pool();
        sh("dmsetup message vg-pool-tpool 0 reserve_metadata_snap && mkdir -p /var/lib/dmtool/snapshots && \
            echo '{' > /var/lib/dmtool/snapshots/snapshot-vg-pool-tpool.json");
        dmtool("check").assert().code(3).stdout(contains("release_metadata_snap").not());
        sh("rm /var/lib/dmtool/snapshots/*.json");
        let hint = found("metadata-snapshot-held", "warning");
        run(&hint);
        gone("metadata-snapshot-held");
    });
}
