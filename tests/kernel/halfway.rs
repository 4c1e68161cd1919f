//! Setups that stopped half-way, made with LVM's own commands, and finished by running setup again.

use crate::harness::*;
use crate::matrix::trace::{Tamper, learn, tampered};
use predicates::str::contains;
use std::path::Path;

/// Runs setup on the 4 GiB disk and asserts the end state of an undisturbed run, then that a second run does nothing.
#[track_caller]
fn finished() {
    dmtool("setup /dev/xvdf --yes").assert().success().stdout(contains("docker/thinpool is ready"));
    as_undisturbed();
}

#[track_caller]
fn as_undisturbed() {
    let row = "lvs --noheadings --separator , --units s -o lv_size,lv_metadata_size,chunk_size,lv_profile,seg_monitor,lv_active \
               docker/thinpool";
    assert_eq!(sh(row), "7954432S,81920S,1024S,docker-thinpool,monitored,active");
    assert!(sh("dmsetup table docker-thinpool").contains(" 1024 1553 1 skip_block_zeroing"));
    let (status, value) = json("setup /dev/xvdf");
    assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
}

#[test]
fn physical_volume_only() {
    in_kernel(|| {
        sh("pvcreate -qq /dev/xvdf");
        finished();
    });
}

#[test]
fn group_only() {
    in_kernel(|| {
        sh("vgcreate -qq docker /dev/xvdf");
        finished();
    });
}

#[test]
fn data_volume_only() {
    in_kernel(|| {
        sh("vgcreate -qq docker /dev/xvdf && lvcreate -qq --wipesignatures y -n thinpool docker -l 95%VG");
        finished();
    });
}

#[test]
fn metadata_volume_only() {
    in_kernel(|| {
        sh("vgcreate -qq docker /dev/xvdf && lvcreate -qq --wipesignatures y -n thinpoolmeta docker -l 1%VG");
        finished();
    });
}

#[test]
fn both_volumes_not_converted() {
    in_kernel(|| {
        sh("vgcreate -qq docker /dev/xvdf && lvcreate -qq -n thinpool docker -l 95%VG && \
            lvcreate -qq -n thinpoolmeta docker -l 1%VG");
        let (_, value) = json("setup /dev/xvdf --dry-run");
        let steps = value["steps"].as_array().expect("steps");
        let statuses: Vec<String> = steps.iter().map(|step| format!("{} {}", step["step"], step["status"])).collect();
        let expected = [
            r#""create-volume-group" "already""#,
            r#""write-profile" "planned""#,
            r#""create-volume" "already""#,
            r#""create-volume" "already""#,
            r#""convert-to-pool" "planned""#,
            r#""attach-profile" "planned""#,
            r#""refresh-table" "planned""#,
        ];
        assert_eq!(statuses, expected);
        finished();
    });
}

const BY_HAND: &str = "vgcreate -qq docker /dev/xvdf && lvcreate -qq --type thin-pool -l 971 --poolmetadatasize 40m -c 512k \
                       -Zn -n thinpool docker";
const PROFILE: &str = "cp profiles/thinpool.profile /etc/lvm/profile/docker-thinpool.profile";

#[test]
fn pool_without_a_profile() {
    in_kernel(|| {
        sh(BY_HAND);
        finished();
    });
}

#[test]
fn profile_not_in_the_table() {
    in_kernel(|| {
        sh(&format!("{BY_HAND} && {PROFILE} && lvchange -qq --metadataprofile docker-thinpool docker/thinpool"));
        assert!(sh("dmsetup table docker-thinpool").contains(" 1024 0 1 "));
        finished();
    });
}

#[test]
fn not_monitored() {
    in_kernel(|| {
        sh(&format!("{PROFILE} && {BY_HAND} --metadataprofile docker-thinpool --monitor n"));
        assert_eq!(sh("lvs --noheadings -o seg_monitor docker/thinpool"), "not monitored");
        finished();
    });
}

#[test]
fn inactive() {
    in_kernel(|| {
        sh(&format!("{PROFILE} && {BY_HAND} --metadataprofile docker-thinpool && vgchange -qq -an docker"));
        finished();
    });
}

#[test]
fn killed_after_each_step() {
    in_kernel(|| {
        // The steps of a dry run, of which the first ones are done by hand: what a kill between two leaves.
        let (_, value) = json("setup /dev/xvdf -n");
        let steps: Vec<String> = value["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .map(|step| step["command"].as_str().expect("a command").to_owned())
            .map(|command| if command.starts_with("write") { PROFILE.to_owned() } else { command })
            .collect();
        for done in 1..steps.len() {
            sh(&steps[..done].join(" && "));
            finished();
            sh(
                "vgremove -qq -ff docker; pvremove -qq /dev/xvdf; rm -f /etc/lvm/profile/docker-thinpool.profile; udevadm settle",
            );
        }
    });
}

#[test]
fn killed_at_any_moment() {
    in_kernel(|| {
        for delay in ["0.1", "0.4", "0.6", "0.8", "1.0", "1.2", "1.4", "1.6", "1.8", "2.1"] {
            sh(&format!(
                "timeout -s KILL {delay} {} setup /dev/xvdf --yes >/dev/null 2>&1; udevadm settle; true",
                env!("CARGO_BIN_EXE_dmtool")
            ));
            // The last may have come too late.
            dmtool("setup /dev/xvdf --yes").assert().success();
            as_undisturbed();
            gone();
        }
    });
}

/// LVM has a plain volume of the pool's name while it zeroes what becomes the metadata, and of the size of that.
#[test]
fn what_lvm_zeroes_is_not_the_data() {
    in_kernel(|| {
        let group = || {
            sh("vgcreate -qq docker /dev/xvdf && cp profiles/thinpool.profile /etc/lvm/profile/docker-thinpool.profile")
        };
        // What setup has LVM do.
        let words = "-qq --yes --type thin-pool --extents 971 --poolmetadatasize 40960k --chunksize 512k --zero n \
                     --profile docker-thinpool --name thinpool docker";
        assert!(sh(&format!("{} setup /dev/xvdf --dry-run", env!("CARGO_BIN_EXE_dmtool"))).contains("--extents 971"));
        group();
        let places = learn("lvcreate", words).expect("an undisturbed run");
        let zeroes = places.iter().rposition(|place| place.text.contains("BLKZEROOUT")).expect("zeroes");
        gone();
        let (mut active, mut inactive) = (0, 0);
        for place in places.iter().skip(zeroes).filter(|place| place.call == "ioctl").take(3) {
            group();
            tampered("lvcreate", words, place, Tamper::Signal("KILL")).expect("an end");
            sh("rm -rf /run/lock/lvm; udevadm settle");
            let row = sh("lvs --noheadings --separator , -o segtype,lv_active,lv_profile docker/thinpool");
            active += u32::from(row == "linear,active,docker-thinpool");
            inactive += u32::from(row == "linear,,docker-thinpool");
            finished();
            gone();
        }
        assert!(active > 0, "{active} {inactive}");
        // One that is not active, of another size: nobody knows what is on it.
        group();
        sh("lvcreate -qq --profile docker-thinpool -n thinpool docker -l 5 && lvchange -qq -an docker/thinpool");
        dmtool("setup /dev/xvdf --yes").assert().code(3).stderr(contains("it is not active"));
        // Of that size it is LVM's.
        sh("lvremove -qq -f docker/thinpool && lvcreate -qq --profile docker-thinpool -n thinpool docker -l 10 && \
            lvchange -qq -an docker/thinpool");
        finished();
    });
}

/// Everything of a setup taken away.
fn gone() {
    sh(
        "vgremove -qq -ff docker; pvremove -qq /dev/xvdf; rm -f /etc/lvm/profile/docker-thinpool.profile; udevadm settle",
    );
}

#[test]
fn stopped_by_a_signal_between_two_steps() {
    in_kernel(|| {
        // The lock holds vgcreate until the signal has come: the file is written right before that.
        sh("mkdir -p /run/lock/lvm");
        hold_lock("/run/lock/lvm/V_docker");
        sh(&format!(
            "({} setup /dev/xvdf --yes >/run/said 2>&1; echo $? >/run/status) & \
             until [ -e /var/lib/dmtool/disks-taken.json ] || [ -e /run/status ]; do sleep 0.1; done; sleep 1; \
             pkill -TERM -x dmtool; sleep 1; pkill -x tail; wait",
            env!("CARGO_BIN_EXE_dmtool")
        ));
        let said = sh("cat /run/said");
        assert_eq!(sh("cat /run/status"), "130", "{said}");
        for part in
            ["stopped by a signal between two steps", "done before it: create-volume-group", "run the same command"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(sh("vgs --noheadings -o vg_name,lv_count"), "docker   0");
        dmtool("setup /dev/xvdf --yes").assert().success();
        assert_eq!(sh("lvs --noheadings -o seg_monitor docker/thinpool"), "monitored");
    });
}

#[test]
fn volumes_of_others_in_the_group_are_left_alone() {
    in_kernel(|| {
        sh("vgcreate -qq docker /dev/xvdf && lvcreate -qq -L 256M -n theirs docker && mkfs.ext4 -q /dev/docker/theirs");
        let before = sh("md5sum < /dev/docker/theirs");
        dmtool("setup /dev/xvdf --yes").assert().code(3).stderr(contains("the largest that fits is --data 91%VG"));
        dmtool("setup /dev/xvdf --yes --data 80%VG").assert().success();
        assert_eq!(sh("md5sum < /dev/docker/theirs"), before);
    });
}

#[test]
fn a_volume_with_the_pools_name_and_a_file_system_is_never_touched() {
    in_kernel(|| {
        sh(
            "vgcreate -qq docker /dev/xvdi && lvcreate -qq -L 64M -n thinpool docker && mkfs.ext4 -q /dev/docker/thinpool; sync",
        );
        let before = print_of("/dev/xvdi");
        for words in ["setup /dev/xvdi --yes", "setup /dev/xvdi --yes --wipe"] {
            dmtool(words).assert().code(3).stderr(contains(
                "docker/thinpool exists already and carries a signature: ext4. It is somebody's data.",
            ));
        }
        sh("mount -o ro /dev/docker/thinpool /mnt");
        dmtool("setup /dev/xvdi --yes").assert().code(3).stderr(contains("docker/thinpool is mounted on /mnt."));
        sh("umount /mnt; lvchange -qq -an docker/thinpool");
        dmtool("setup /dev/xvdi --yes").assert().code(3).stderr(contains("could not be looked at: it is not active"));
        sh("lvchange -qq -ay docker/thinpool");
        assert_eq!(sh("blkid -o value -s TYPE /dev/docker/thinpool"), "ext4");
        assert_eq!(print_of("/dev/xvdi").sum(), before.sum());
    });
}

#[test]
fn two_and_three_at_once_make_one_pool() {
    in_kernel(|| {
        let dmtool_path = env!("CARGO_BIN_EXE_dmtool");
        let said = sh(&format!(
            "for i in 1 2 3; do ( {dmtool_path} setup /dev/xvdf --yes >/dev/null 2>&1; echo $? ) & done; wait"
        ));
        assert!(said.lines().all(|status| status == "0" || status == "3"), "{said}");
        assert!(said.lines().any(|status| status == "0"), "{said}");
        assert_eq!(sh("lvs --noheadings -o lv_name,seg_monitor docker"), "thinpool monitored");
    });
}

/// Found by a failed write: killed in vgcreate or vgextend, LVM finds a disk in use by a group that is nowhere.
#[test]
fn a_disk_that_lvm_marked_and_did_not_take() {
    in_kernel(|| {
        let dmtool_path = env!("CARGO_BIN_EXE_dmtool");
        let stranded = || {
            sh("pvs --noheadings -o pv_in_use /dev/xvdj 2>/dev/null || true") == "used"
                && sh("pvs --noheadings -o vg_name /dev/xvdj 2>/dev/null") == "[unknown]"
        };
        // Writes are few: the place is looked for.
        let killed = |command: &str| {
            sh("pgrep -x dmeventd >/dev/null || dmeventd");
            for number in 16..40 {
                try_sh(&format!(
                    "strace -f -qq -o /run/trace -e trace=io_submit -e inject=io_submit:signal=KILL:when={number} {command} >/dev/null 2>&1"
                ));
                sh("rm -rf /run/lock/lvm; udevadm settle");
                if stranded() {
                    return;
                }
                sh(
                    "vgs x >/dev/null 2>&1 && vgremove -qq -ff x; vgs vg >/dev/null 2>&1 && vgreduce -qq vg /dev/xvdj 2>/dev/null; \
                    pvremove -qq -ff -y /dev/xvdj 2>/dev/null; wipefs -qa /dev/xvdj; udevadm settle",
                );
            }
            panic!("no kill of {command} left that");
        };
        killed(&format!("{dmtool_path} setup /dev/xvdj --pool x/y --yes"));
        dmtool("setup /dev/xvdj --pool x/y --yes")
            .assert()
            .success()
            .stdout(contains("pvremove --force --force --yes /dev/xvdj"));
        dmtool("teardown x/y --wipe-devices --yes").assert().success();
        sh(
            "vgcreate -qq -s 1m vg /dev/xvdi && lvcreate -qq --type thin-pool -L 200m --poolmetadatasize 4m -c 64k -n pool vg",
        );
        killed(&format!("{dmtool_path} resize vg/pool --add-device /dev/xvdj --yes"));
        dmtool("resize vg/pool --add-device /dev/xvdj --yes").assert().success();
        assert_eq!(sh("vgs --noheadings -o pv_count,vg_free_count vg | xargs"), "2 0");
        sh("vgremove -qq -ff vg; pvremove -qq /dev/xvdi /dev/xvdj");
        // What somebody else's command left is somebody's disk.
        killed("vgcreate -qq x /dev/xvdj");
        let before = print_of("/dev/xvdj");
        for words in ["setup /dev/xvdj --pool x/y --yes", "setup /dev/xvdj --pool x/y --wipe --yes"] {
            dmtool(words).assert().code(3).stderr(contains("marked by LVM as part of a volume group whose metadata"));
        }
        assert_eq!(print_of("/dev/xvdj"), before);
        sh("pvremove --force --force --yes /dev/xvdj");
        dmtool("setup /dev/xvdj --pool x/y --yes").assert().success();
    });
}

/// Found by a power cut: cut off once LVM had taken the disk, a run left it written down that the disk was blank. Had the
/// group broken later, setup would have made free with its disk.
#[test]
fn a_disk_that_was_taken_is_not_said_to_have_been_blank_for_ever() {
    in_kernel(|| {
        const NOTE: &str = "/var/lib/dmtool/disks-taken.json";
        sh("pgrep -x dmeventd >/dev/null || dmeventd");
        let killed = (1..12).any(|number| {
            try_sh(&format!(
                "strace -f -qq -o /run/trace -e trace=unlink,unlinkat -e inject=unlink,unlinkat:signal=KILL:when={number} \
                 {} setup /dev/xvdj --yes < /dev/null > /dev/null 2>&1",
                env!("CARGO_BIN_EXE_dmtool")
            ));
            sh("udevadm settle");
            try_sh(&format!("test -e {NOTE} && vgs docker")).0
        });
        assert!(killed, "no kill left a group and the note");
        dmtool("setup /dev/xvdj --yes").assert().success();
        assert!(!Path::new(NOTE).exists());
        sh(&format!("cp /etc/hostname {NOTE}"));
        dmtool("setup /dev/xvdj --yes").assert().success().stdout(contains("already"));
        assert!(!Path::new(NOTE).exists(), "where nothing is left to do, too");
    });
}
