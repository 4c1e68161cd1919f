//! `dmtool activate` and `dmtool deactivate` for pools of LVM.

use crate::harness::*;
use crate::matrix::trace::{Place, Tamper, learn, tampered};
use predicates::prelude::*;
use predicates::str::contains;

fn is_up(pool: &str) -> bool {
    sh(&format!("lvs --noheadings -o lv_active {pool}")) == "active"
}

#[test]
fn down_and_up_again_with_its_volumes() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh("lvcreate -qq -V 1G -T docker/thinpool -n v && mkfs.ext4 -q /dev/docker/v");
        let before = sh("md5sum < /dev/docker/v");
        dmtool("deactivate").assert().success().stdout(contains("docker/thinpool is inactive."));
        assert_eq!(sh("dmsetup ls"), "No devices found");
        dmtool("deactivate docker/thinpool").assert().success().stdout(contains("was inactive already"));
        dmtool("activate docker/thinpool").assert().success().stdout(contains("docker/thinpool is active."));
        assert!(is_up("docker/thinpool"));
        assert_eq!(sh("lvs --noheadings -o seg_monitor docker/thinpool"), "monitored");
        sh("lvchange -qq -ay docker/v");
        assert_eq!(sh("md5sum < /dev/docker/v"), before);
        let (status, value) = json("activate");
        assert_eq!((status, &value["changed"], &value["pool"]["active"]), (0, &false.into(), &true.into()));
    });
}

#[test]
fn after_a_reboot() {
    boots(|machine| {
        machine.boot(|| {
            dmtool("setup /dev/xvdf --yes").assert().success();
            sh("lvcreate -qq -V 64M -T docker/thinpool -n v && echo kept | dd of=/dev/docker/v conv=fsync status=none");
        });
        machine.boot(|| {
            // /etc does not survive here, as it would on a host: only what is on the disks does.
            sh("cp profiles/thinpool.profile /etc/lvm/profile/docker-thinpool.profile");
            assert!(!is_up("docker/thinpool"));
            let (_, value) = json("status");
            assert_eq!(value["pools"][0]["active"], false);
            dmtool("activate").assert().success().stdout(contains("docker/thinpool is active."));
            assert!(sh("dmsetup table docker-thinpool-tpool").contains(" 1024 1553 1 "));
            sh("lvchange -qq -ay docker/v");
            assert_eq!(sh("head -c 4 /dev/docker/v"), "kept");
        });
    });
}

#[test]
fn all_at_every_boot() {
    in_kernel(|| {
        dmtool("activate --all").assert().success().stdout(contains("no pools here"));
        dmtool("setup /dev/xvdf --yes").assert().success();
        dmtool("setup /dev/xvdg --yes --pool second/pool").assert().success();
        for verb in ["activate", "deactivate"] {
            dmtool(verb).assert().code(3).stderr(contains("docker/thinpool, second/pool"));
        }
        sh("vgchange -qq -an docker");
        dmtool("activate --all").assert().success();
        assert!(is_up("docker/thinpool") && is_up("second/pool"));
        dmtool("activate --all -n").assert().success().stdout(contains("(done already)"));
        dmtool("deactivate --all").assert().success();
        assert_eq!(sh("dmsetup ls"), "No devices found");
        dmtool("activate nothing").assert().code(3).stderr(contains("there is no pool nothing"));
    });
}

#[test]
fn one_of_two_disks_that_is_late_is_waited_for() {
    in_kernel(|| {
        let late = "dmsetup create late --table '0 614400 linear /dev/xvdg 2048'";
        sh(&format!("{late} && udevadm settle && vgcreate -qq vg /dev/xvdi /dev/mapper/late"));
        sh(
            "lvcreate -qq --type thin-pool -l 90%FREE -n pool vg && vgchange -qq -an vg && dmsetup remove --retry late && udevadm settle",
        );
        sh(&format!("(sleep 4; {late}) >/dev/null 2>&1 &"));
        dmtool("activate vg/pool --wait 30").assert().success();
        assert!(is_up("vg/pool"));
        sh("vgremove -qq -ff vg");
    });
}

#[test]
fn skip_activation_is_explained() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh("lvchange -qq --setactivationskip y docker/thinpool && vgchange -qq -an docker");
        dmtool("activate --all").assert().success().stderr(contains("flag to skip activation"));
        assert!(!is_up("docker/thinpool"));
        dmtool("activate docker/thinpool")
            .assert()
            .success()
            .stderr(contains("lvchange --setactivationskip n docker/thinpool"));
        assert!(is_up("docker/thinpool"));
    });
}

#[test]
fn a_component_that_stands_in_the_way() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh("vgchange -qq -an docker && lvchange -qq --yes -ay docker/thinpool_tmeta");
        dmtool("activate").assert().success().stdout(contains("lvchange --activate n docker/thinpool_tmeta"));
        assert!(is_up("docker/thinpool"));
    });
}

#[test]
fn not_while_something_uses_it() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh(
            "lvcreate -qq -V 64M -T docker/thinpool -n mounted && mkfs.ext4 -q /dev/docker/mounted && mount /dev/docker/mounted /mnt",
        );
        sh("lvcreate -qq -V 64M -T docker/thinpool -n open && (sleep 1000 < /dev/docker/open >/dev/null 2>&1 &)");
        sh("dmsetup message docker-thinpool-tpool 0 'create_thin 77' && \
            dmsetup create layer --table '0 2048 thin /dev/mapper/docker-thinpool-tpool 77'");
        dmtool("deactivate docker/thinpool").assert().code(3).stderr(
            contains("docker-mounted is mounted on /mnt.")
                .and(contains("docker-open is open in some process."))
                .and(contains("layer stands on docker/thinpool and is not LVM's")),
        );
        assert!(is_up("docker/thinpool") && is_up("docker/mounted"));
        sh(
            "umount /mnt; pkill -x sleep; while pgrep -x sleep >/dev/null; do sleep 0.1; done; dmsetup remove --retry layer",
        );
        dmtool("deactivate docker/thinpool").assert().success();
    });
}

#[test]
fn not_while_whoever_runs_may_be_configured_for_it() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --yes").assert().success();
        sh("mkdir -p /etc/docker && echo '{ \"storage-opts\": [' > /etc/docker/daemon.json");
        dmtool("deactivate").assert().success();
        dmtool("activate").assert().success();
        sh(
            "cp /bin/sleep /run/dockerd && (/run/dockerd 1000 >/dev/null 2>&1 &) && until pgrep -x dockerd >/dev/null; do sleep 0.1; done",
        );
        dmtool("deactivate").assert().code(3).stderr(
            contains("Docker runs, and whether it is configured for docker/thinpool could not be looked at")
                .and(contains("/etc/docker/daemon.json")),
        );
        assert!(is_up("docker/thinpool"));
        sh("echo '{}' > /etc/docker/daemon.json");
        dmtool("deactivate").assert().success();
        sh("pkill -x dockerd");
    });
}

#[test]
fn an_activation_that_was_cut_off_is_finished() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        let (words, tables) = ("-ay docker/thinpool", "dmsetup info -c --noheadings -o name,tables_loaded | sort");
        let (wanted, watched) = (sh(tables), || sh("lvs --noheadings -o seg_monitor docker/thinpool"));
        dmtool("deactivate").assert().success();
        let places = learn("lvchange", words).expect("an undisturbed run");
        // From the first device to the last word to dmeventd: parts without the pool, the pool without a table, LVM's layer
        // over it not there or without one, nobody who watches it.
        let of_tables = ["DM_TABLE_LOAD", "DM_DEV_SUSPEND"];
        let of_tables = |place: &Place| of_tables.iter().any(|call| place.text.contains(call));
        let last = places.iter().rposition(of_tables).expect("a table");
        let mut unwatched = 0;
        for (at, place) in places.iter().enumerate().filter(|(at, place)| *at > last || of_tables(place)) {
            dmtool("deactivate").assert().success();
            tampered("lvchange", words, place, Tamper::Signal("KILL")).expect("an end");
            sh("rm -rf /run/lock/lvm; udevadm settle");
            unwatched += u32::from(sh(tables) == wanted && watched() == "not monitored");
            // Nothing is left behind where it is not wanted any more.
            if at % 3 == 0 {
                dmtool("deactivate").assert().success().stdout(contains("docker/thinpool"));
                assert_eq!(sh("dmsetup ls"), "No devices found", "{place:?}");
            }
            // Setup does it, too.
            let words = if at % 2 == 0 { "activate docker/thinpool" } else { "setup /dev/xvdi --data 60%VG --yes" };
            dmtool(words).assert().success();
            assert_eq!((sh(tables), &*watched()), (wanted.clone(), "monitored"), "{place:?}");
            dmtool(words).assert().success();
        }
        assert!(unwatched > 0);
        // Whoever wants no monitoring at all gets none.
        sh("lvchange -qq --monitor n docker/thinpool; echo 'activation/monitoring=0' > /etc/lvm/lvmlocal.conf");
        dmtool("activate").assert().success().stdout(contains("was active already"));
        assert_ne!(watched(), "monitored");
        sh("rm /etc/lvm/lvmlocal.conf");
        dmtool("activate").assert().success();
        assert_eq!(watched(), "monitored");
    });
}

#[test]
fn a_pool_with_volumes_whose_activation_was_cut_off_is_taken_down() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        // LVM makes its layer only over a pool that had volumes, and that last.
        sh("lvcreate -qq -V 64M -T docker/thinpool -n v");
        dmtool("deactivate").assert().success();
        let words = "-ay docker/thinpool";
        let places = learn("lvchange", words).expect("an undisturbed run");
        let is_one = |place: &&Place| ["DM_DEV_CREATE", "DM_TABLE_LOAD"].iter().any(|call| place.text.contains(call));
        let mut broken = 0;
        for place in places.iter().filter(is_one) {
            dmtool("deactivate").assert().success();
            tampered("lvchange", words, place, Tamper::Signal("KILL")).expect("an end");
            sh("rm -rf /run/lock/lvm; udevadm settle");
            let left = sh("dmsetup info -c --noheadings -o name,tables_loaded | grep tpool || true");
            broken += u32::from(left.contains("None") || left.contains("Inactive"));
            dmtool("deactivate").assert().success();
            assert_eq!(sh("dmsetup ls"), "No devices found", "{place:?}");
        }
        assert!(broken > 0);
        dmtool("activate").assert().success();
    });
}

#[test]
fn a_pool_without_the_layer_of_lvm_is_taken_down_and_away() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        sh("lvcreate -qq -V 64M -T docker/thinpool -n v");
        // As a deactivation leaves it that failed between the two.
        let without = || {
            sh(
                "lvchange -qq -an docker/v docker/w 2>/dev/null; dmsetup remove --retry docker-thinpool; lvchange -an docker/thinpool",
            );
            assert!(sh("dmsetup ls").contains("docker-thinpool-tpool"), "LVM takes it down by itself by now");
        };
        let up_first = contains("lvchange --activate y docker/thinpool");
        without();
        dmtool("deactivate").assert().success().stdout(up_first.clone());
        assert_eq!(sh("dmsetup ls"), "No devices found");
        dmtool("activate").assert().success();
        sh("lvcreate -qq -V 64M -T docker/thinpool -n w");
        without();
        dmtool("volume remove docker/thinpool w v --yes").assert().success().stdout(up_first.clone());
        assert!(is_up("docker/thinpool"));
        sh("lvcreate -qq -V 64M -T docker/thinpool -n v");
        without();
        dmtool("volume recycle docker/thinpool --yes").assert().success().stdout(up_first.clone());
        assert!(is_up("docker/thinpool"));
        assert_eq!(sh("lvs --noheadings --separator , -o thin_count,transaction_id docker/thinpool"), "0,0");
        sh("lvcreate -qq -V 64M -T docker/thinpool -n v");
        without();
        dmtool("teardown docker/thinpool --yes").assert().success().stdout(up_first);
        assert_eq!(sh("dmsetup ls; vgs"), "No devices found");
    });
}

#[test]
fn a_pool_without_the_layer_of_lvm_is_changed_while_it_is_up() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        sh("lvcreate -qq -V 64M -T docker/thinpool -n v");
        let words = [
            "autoextend --threshold 70 --percent 10",
            "discards docker/thinpool no_passdown",
            "resize 70%VG docker/thinpool",
            "resize docker/thinpool --metadata +4M",
        ];
        // The volume alone brought it up, or not even that is there.
        for (at, alone) in ["lvchange -qq -ay docker/v", "true"].into_iter().enumerate() {
            for words in words {
                sh(&format!("lvchange -qq -an docker/v; dmsetup remove --retry docker-thinpool; {alone}"));
                let words = match at {
                    0 => words.to_owned(),
                    _ => words.replace("70", "75").replace("no_", "").replace("+4", "+8"),
                };
                dmtool(&format!("{words} --yes"))
                    .assert()
                    .success()
                    .stdout(contains("lvchange --activate y docker/thinpool"));
                assert!(is_up("docker/thinpool"));
            }
        }
        let table = sh("dmsetup table docker-thinpool-tpool");
        assert!(!table.contains("no_discard_passdown"), "{table}");
        assert_eq!(table.split(' ').nth(1), Some(&*(sh("blockdev --getsz /dev/mapper/docker-thinpool_tdata"))));
    });
}
