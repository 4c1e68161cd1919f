//! The rest of setup's options on real devices.

use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

#[test]
fn several_devices() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf /dev/xvdg --yes").assert().success();
        assert_eq!(sh("vgs --noheadings -o pv_count docker"), "2");
        // 2046 extents: 95 % of them are 1943.
        assert_eq!(sh("lvs --noheadings --units m --nosuffix -o lv_size docker/thinpool"), "7772.00");
        let (_, value) = json("status");
        assert_eq!(value["pools"][0]["data_devices"], serde_json::json!(["/dev/xvdf", "/dev/xvdg"]));
        // One of them is enough to mean the group.
        dmtool("setup /dev/xvdf").assert().success().stdout(contains("nothing was changed"));
    });
}

#[test]
fn a_partition() {
    in_kernel(|| {
        sh("parted -s /dev/xvdf mklabel gpt mkpart a 1MiB 2GiB mkpart b 2GiB 100% && udevadm settle");
        let (first, second) = (partition("/dev/xvdf", 1), partition("/dev/xvdf", 2));
        sh(&format!("mkfs.ext4 -q {second}"));
        let theirs = sh(&format!("md5sum < {second}"));
        dmtool(&format!("setup {first} --yes")).assert().success();
        assert_eq!(sh("pvs --noheadings -o pv_name"), first);
        assert_eq!(sh(&format!("md5sum < {second}")), theirs);
    });
}

/// A partition on two paths, LUKS on a RAID 1: two devices right under what is right under the disk, as under a bare pool.
#[test]
fn a_disk_above_a_pair_of_disks() {
    in_kernel(|| {
        sh("modprobe dm-mod; dmsetup create pair --table '0 2097152 striped 2 128 /dev/xvdf 0 /dev/xvdg 0' && \
            dmsetup create above --table '0 2000000 linear /dev/mapper/pair 0'");
        dmtool("setup /dev/mapper/above --yes").assert().success();
        // By its name, which only LVM knows.
        dmtool("deactivate docker/thinpool").assert().success();
        dmtool("activate docker/thinpool").assert().success();
        dmtool("volume create docker/thinpool web 64M").assert().success();
        assert_eq!(sh("lvs --noheadings -o lv_name -S pool_lv=thinpool docker"), "web");
        dmtool("teardown docker/thinpool --yes").assert().success();
    });
}

#[test]
fn symlinks_of_udev_and_of_others() {
    in_kernel(|| {
        let by_path = sh(
            "ls /dev/disk/by-path/* | while read l; do test $(readlink -f $l) = $(readlink -f /dev/xvdf) && echo $l; done | head -n 1",
        );
        dmtool(&format!("setup {by_path} --yes")).assert().success();
        sh("ln -s /dev/xvdg /run/my-disk; ln -s /run/my-disk /dev/other-disk");
        dmtool("setup /dev/other-disk --yes --pool second/pool").assert().success();
        dmtool("setup /run/my-disk --pool second/pool").assert().success().stdout(contains("nothing was changed"));
        assert_eq!(sh("pvs --noheadings -o vg_name | sort | xargs"), "docker second");
        dmtool("setup /dev/xvdh /run/my-disk --yes --pool third/pool").assert().code(3);
        sh("rm /dev/other-disk");
    });
}

#[test]
fn metadata_on_a_disk_of_its_own() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --metadata-device /dev/xvdj --yes").assert().success();
        let on = |lv: &str| sh(&format!("lvs -a --noheadings -o devices docker/{lv}"));
        assert!(on("thinpool_tdata").starts_with("/dev/xvdf("), "{}", on("thinpool_tdata"));
        assert!(on("thinpool_tmeta").starts_with("/dev/xvdj("), "{}", on("thinpool_tmeta"));
        let (_, value) = json("setup /dev/xvdf --metadata-device /dev/xvdj");
        assert_eq!(value["changed"], false);
        assert_eq!(value["pool"]["metadata_devices"], serde_json::json!(["/dev/xvdj"]));
        assert!(sh("dmsetup table docker-thinpool").contains(" 1024 1553 1 "));
        assert_eq!(sh("lvs --noheadings -o seg_monitor docker/thinpool"), "monitored");
    });
}

#[test]
fn a_device_that_appears_later() {
    in_kernel(|| {
        dmtool("setup /run/late --yes").assert().code(3).stderr(contains("/run/late does not exist."));
        sh("(sleep 2; ln -s /dev/xvdf /run/late) >/dev/null 2>&1 &");
        dmtool("setup /run/late --yes --wait 20").assert().success();
        dmtool("setup /run/never --yes --wait 1").assert().code(3).stderr(contains("/run/never does not exist."));
    });
}

#[test]
fn adopting_a_group_with_free_space() {
    in_kernel(|| {
        sh("vgcreate -qq theirs /dev/xvdf && lvcreate -qq -L 1G -n home theirs && mkfs.ext4 -q /dev/theirs/home");
        let before = sh("md5sum < /dev/theirs/home");
        dmtool("setup --adopt theirs --yes").assert().code(3).stderr(contains("the largest that fits is --data 73%VG"));
        dmtool("setup --adopt theirs --yes --data 50%VG").assert().success();
        assert_eq!(sh("lvs --noheadings -o lv_name,seg_monitor theirs | xargs"), "home thinpool monitored");
        assert_eq!(sh("md5sum < /dev/theirs/home"), before);
        dmtool("setup --adopt theirs").assert().success().stdout(contains("nothing was changed"));
        dmtool("setup --adopt nothing --yes").assert().code(3).stderr(contains("There is no volume group nothing."));
        dmtool("setup --adopt theirs --pool docker/thinpool --yes").assert().code(2);
        dmtool("setup --adopt theirs /dev/xvdg --yes").assert().code(2);
    });
}

#[test]
fn a_lock_that_somebody_holds() {
    in_kernel(|| {
        sh("mkdir -p /run/lock/lvm");
        for (lock, said) in [("/run/lock/lvm/P_global", "flock (process "), ("/run/dmtool.lock", "in vain for")] {
            let before = print_of("/dev/xvdi");
            hold_lock(lock);
            dmtool("setup /dev/xvdi --yes --lock-timeout 1").assert().code(3).stderr(contains(said));
            assert_eq!(print_of("/dev/xvdi"), before);
            sh("(sleep 3; pkill -x tail) >/dev/null 2>&1 &");
            dmtool("setup /dev/xvdi --yes --lock-timeout 60").assert().success();
        }
    });
}

#[test]
fn what_the_host_lacks_is_named_with_its_package() {
    in_kernel(|| {
        let hidden = |file: &str, said: &str| {
            sh(&format!("mv {file} {file}.hidden"));
            let before = print_of("/dev/xvdi");
            dmtool("setup /dev/xvdi --yes").assert().code(3).stderr(contains(said));
            assert_eq!(print_of("/dev/xvdi"), before);
            sh(&format!("mv {file}.hidden {file}"));
        };
        hidden("/usr/sbin/thin_check", "apt-get install thin-provisioning-tools");
        let dmeventd = sh("readlink -f $(command -v dmeventd)");
        hidden(&dmeventd, "apt-get install dmeventd");
        hidden("/dev/mapper/control", "modprobe dm-mod");
        let library = sh("ls /lib/*/liblvm2cmd.so.2.03");
        hidden(&library, "apt-get install lvm2");
        sh("rmmod dm_thin_pool");
        let modules = sh("echo /lib/modules/$(uname -r)");
        hidden(&modules, "modprobe dm-thin-pool");
        let (ok, _, said) = try_sh(&format!(
            "setpriv --reuid 65534 --regid 65534 --clear-groups {} setup /dev/xvdi --yes",
            env!("CARGO_BIN_EXE_dmtool")
        ));
        assert!(!ok && said.contains("You are not root."), "{said}");
        dmtool("setup /dev/xvdi --yes").assert().success();
    });
}

#[test]
fn a_device_that_changes_while_the_question_stands() {
    in_kernel(|| {
        let (ok, said, _) = try_sh(&format!(
            "rm -f /run/typed; ({ASKED}; mkfs.ext4 -q /dev/xvdi; udevadm settle; printf 'y\\n') | script -qefc '{} setup /dev/xvdi' /run/typed",
            env!("CARGO_BIN_EXE_dmtool")
        ));
        assert!(!ok && said.contains("something changed while the question stood"), "{said}");
        assert_eq!(sh("blkid -o value -s TYPE /dev/xvdi"), "ext4");
    });
}

#[test]
fn two_volumes_for_a_pool_of_dockers_own() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --two-volumes --yes").assert().success().stdout(
            contains("vg-docker/data and vg-docker/metadata are ready.")
                .and(contains("dm.datadev=/dev/mapper/vg--docker-data"))
                .and(contains("dm.metadatadev=/dev/mapper/vg--docker-metadata")),
        );
        assert_eq!(
            sh("lvs --noheadings --units m --nosuffix -o lv_name,lv_size vg-docker | xargs"),
            "data 3884.00 metadata 40.00"
        );
        let (status, value) = json("setup /dev/xvdf --two-volumes");
        assert_eq!((status, &value["changed"], &value["pool"]), (0, &false.into(), &serde_json::Value::Null));
        // The pool on top, as Docker makes it.
        sh("dmsetup create p --table '0 7954432 thin-pool /dev/vg-docker/metadata /dev/vg-docker/data 128 32768'");
        dmtool("setup /dev/xvdf --two-volumes").assert().success().stdout(contains("nothing was changed"));
        dmtool("status").assert().success().stdout(contains("p     raw   ok"));
        sh("dmsetup remove --retry p");
        dmtool("setup /dev/xvdg --two-volumes --pool other --data 99%VG --metadata 2%VG --yes")
            .assert()
            .code(3)
            .stderr(contains("does not fit"));
        dmtool("setup /dev/xvdg --two-volumes --pool a/b --yes").assert().code(2);
        dmtool("setup /dev/xvdg --two-volumes --zero --yes").assert().code(2);
    });
}

#[test]
fn two_volumes_that_are_somebodys_are_not_handed_to_docker() {
    in_kernel(|| {
        sh("vgcreate -qq vg0 /dev/xvdg && lvcreate -qq --yes -n data -L 200m vg0 && mkfs.ext4 -q /dev/vg0/data");
        let words = "setup /dev/xvdg --two-volumes --pool vg0 --metadata 64M --yes";
        let refused = |volume: &str, what: &str, hint: &str| {
            let before = sh("vgs --noheadings -o vg_seqno vg0; head -c 300M /dev/xvdg | md5sum");
            let said = dmtool(words).assert().code(3).stdout("");
            said.stderr(contains(format!("{volume} exists already and {what}")).and(contains(hint)));
            assert_eq!(sh("vgs --noheadings -o vg_seqno vg0; head -c 300M /dev/xvdg | md5sum"), before);
        };
        refused("vg0/data", "carries a signature: ext4. It is somebody's data.", "lvremove vg0/data");
        sh("mount -o ro /dev/vg0/data /mnt");
        refused("vg0/data", "is mounted on /mnt.", "lvremove vg0/data");
        sh("umount /mnt; lvchange -qq -an vg0/data");
        refused("vg0/data", "carries a signature: ext4. It is somebody's data.", "lvremove vg0/data");
        sh("lvchange -qq -ay vg0/data; wipefs -qa /dev/vg0/data");
        dmtool(words).assert().success();
        // In it something that no signature tells.
        sh(
            "dd if=/dev/urandom of=/dev/vg0/metadata bs=4k count=1 oflag=direct status=none; lvchange -qq -an vg0/metadata",
        );
        refused("vg0/metadata", "holds something that is no metadata of a pool", "thin_check /dev/vg0/metadata");
        sh(
            "lvchange -qq -ay vg0/metadata; dd if=/dev/zero of=/dev/vg0/metadata bs=4k count=1 oflag=direct status=none",
        );
        // A pool's chunks hold what its volumes begin with.
        sh("dmsetup create p --table '0 409600 thin-pool /dev/vg0/metadata /dev/vg0/data 128 0'");
        sh("dmsetup message p 0 'create_thin 0' && dmsetup create t --table '0 204800 thin /dev/mapper/p 0'");
        sh("mkfs.ext4 -q /dev/mapper/t; dmsetup remove --retry t; dmsetup remove --retry p");
        dmtool(words).assert().success().stdout(contains("nothing was changed"));
    });
}
