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
        sh("vgchange -qq -an vg && dmsetup remove late && udevadm settle");
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
        sh("vgremove -qq -ff vg && pvremove -qq /dev/mapper/late && dmsetup remove late && udevadm settle");
        assert_eq!(check("")["status"], "ok");
    });
}

#[test]
fn a_pool_that_is_up_and_that_lvm_does_not_know() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        sh(
            "dd if=/dev/xvdi of=/run/label bs=4k count=1 status=none && dd if=/dev/zero of=/dev/xvdi bs=4k count=1 conv=fsync status=none && \
            udevadm trigger --settle /dev/xvdi",
        );
        for words in ["", "docker/thinpool"] {
            let seen = check(words);
            let [finding] = &findings(&seen, "volume-group-incomplete")[..] else { panic!("{seen:#}") };
            assert!(finding["message"].as_str().is_some_and(|said| said.contains("LVM does not know it")), "{seen:#}");
        }
        sh("dd if=/run/label of=/dev/xvdi bs=4k count=1 conv=fsync status=none && udevadm trigger --settle /dev/xvdi");
        gone("volume-group-incomplete");
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
