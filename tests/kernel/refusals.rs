//! What setup refuses, and that it writes nothing then: exit status, the reason by name, the disk's checksum, and
//! the same command accepted once the disk is blank.

use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

const DISK: &str = "/dev/xvdi";

/// `obstacle` is put in the way, dmtool must refuse for `reason` and write nothing; after `clearing` it must accept.
#[track_caller]
fn refused_until_gone(obstacle: &str, reason: &str, clearing: &str) {
    sh(obstacle);
    sh("udevadm settle");
    let before = print_of(DISK);
    dmtool(&format!("setup {DISK} --yes")).assert().code(3).stdout("").stderr(contains(reason));
    let (status, value) = json(&format!("setup {DISK} --yes"));
    assert_eq!((status, &value["changed"]), (3, &false.into()), "{value:#}");
    assert_eq!(value["error"]["kind"], "refused");
    assert!(value["error"]["causes"].to_string().contains(reason), "{value:#}");
    assert_eq!(print_of(DISK), before);
    sh(clearing);
    sh(&format!("wipefs -qa {DISK}; blockdev --rereadpt {DISK} 2>/dev/null; udevadm settle"));
    dmtool(&format!("setup {DISK} --yes")).assert().success();
    assert_eq!(sh("lvs --noheadings -o lv_name docker"), "thinpool");
}

/// A signature: refused, and with --wipe accepted.
#[track_caller]
fn signature(make: &str, reason: &str) {
    sh(make);
    sh("udevadm settle");
    let before = print_of(DISK);
    dmtool(&format!("setup {DISK} --yes")).assert().code(3).stderr(contains(reason)).stderr(contains("--wipe"));
    assert_eq!(print_of(DISK), before);
    dmtool(&format!("setup {DISK} --wipe --yes")).assert().success();
    assert_eq!(sh("lvs --noheadings -o lv_name docker"), "thinpool");
}

#[test]
fn mounted() {
    in_kernel(|| {
        refused_until_gone(
            "mkfs.ext4 -q /dev/xvdi && mount -o ro /dev/xvdi /mnt",
            "/dev/xvdi is mounted on /mnt.",
            "umount /mnt",
        );
    });
}

#[test]
fn mounted_in_another_namespace() {
    in_kernel(|| {
        refused_until_gone(
            "mkfs.ext4 -q /dev/xvdi; unshare -m sh -c 'mount -o ro /dev/xvdi /mnt; exec sleep 1000' >/dev/null 2>&1 & until pgrep -fx 'sleep 1000' >/dev/null; do sleep 0.1; done",
            "/dev/xvdi is in use: the kernel does not give it to us alone",
            "pkill -x sleep; until wipefs -qa /dev/xvdi 2>/dev/null; do sleep 0.1; done",
        );
    });
}

#[test]
fn root_disk() {
    in_kernel(|| {
        sh("mkfs.ext4 -q /dev/xvdi && mount /dev/xvdi /mnt");
        sh("cd /; for d in $(ls -d */ | grep -v -e mnt -e lost); do mkdir -p /mnt/$d; mount --rbind /$d /mnt/$d; done");
        let (ok, _, said) =
            try_sh(&format!("chroot /mnt {} setup /dev/xvdi --wipe --yes", env!("CARGO_BIN_EXE_dmtool")));
        assert!(!ok && said.contains("/dev/xvdi holds the root file system of this host."), "{said}");
        assert!(sh("blkid -o value -s TYPE /dev/xvdi").contains("ext4"));
        sh("umount -R -l /mnt");
    });
}

#[test]
fn swap() {
    in_kernel(|| {
        refused_until_gone(
            "mkswap -q /dev/xvdi && swapon /dev/xvdi",
            "/dev/xvdi is in use as swap.",
            "swapoff /dev/xvdi",
        );
    });
}

#[test]
fn held() {
    in_kernel(|| {
        refused_until_gone(
            "dmsetup create above --table '0 2048 linear /dev/xvdi 0' && mkfs.ext2 -q /dev/mapper/above && mount -o ro /dev/mapper/above /mnt",
            "/dev/xvdi is held by above, which is mounted on /mnt.",
            "umount /mnt; dmsetup remove --retry above",
        );
    });
}

#[test]
fn partitioned() {
    in_kernel(|| {
        refused_until_gone(
            "parted -s /dev/xvdi mklabel gpt mkpart a 1MiB 100MiB mkpart b 100MiB 200MiB",
            &format!(
                "/dev/xvdi has a partition table (gpt: {} 99 MiB, {} 100 MiB).",
                partition(DISK, 1),
                partition(DISK, 2)
            ),
            "parted -s /dev/xvdi rm 1 rm 2",
        );
    });
}

#[test]
fn a_partition_in_use_is_not_covered_by_wipe() {
    in_kernel(|| {
        let first = partition(DISK, 1);
        sh(&format!(
            "parted -s /dev/xvdi mklabel msdos mkpart primary 1MiB 100MiB && udevadm settle && \
             mkfs.ext4 -q {first} && mount -o ro {first} /mnt"
        ));
        let before = print_of(DISK);
        dmtool("setup /dev/xvdi --wipe --yes")
            .assert()
            .code(3)
            .stderr(contains(format!("{first}, a partition of /dev/xvdi, is mounted on /mnt.")));
        assert_eq!(print_of(DISK), before);
        sh("umount /mnt");
        dmtool("setup /dev/xvdi --wipe --yes").assert().success();
        assert_eq!(sh("lsblk -nro TYPE /dev/xvdi | grep -c part || true"), "0");
    });
}

#[test]
fn ext4() {
    in_kernel(|| signature("mkfs.ext4 -q -L precious /dev/xvdi", "carries a signature: ext4 'precious'."));
}

#[test]
fn xfs() {
    in_kernel(|| signature("mkfs.xfs -q /dev/xvdi", "carries a signature: xfs."));
}

#[test]
fn btrfs() {
    in_kernel(|| signature("mkfs.btrfs -q /dev/xvdi", "carries a signature: btrfs."));
}

#[test]
fn luks() {
    in_kernel(|| {
        signature(
            "echo secret | cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 /dev/xvdi -",
            "carries a signature: crypto_LUKS.",
        );
    });
}

#[test]
fn swap_that_is_off() {
    in_kernel(|| signature("mkswap -q /dev/xvdi", "carries a signature: swap."));
}

#[test]
fn a_label_of_lvm_that_lvm_does_not_know() {
    in_kernel(|| {
        // A damaged checksum: LVM passes it over, and it still is somebody's.
        signature(
            "pvcreate -qq /dev/xvdi && printf 'X' | dd of=/dev/xvdi bs=1 seek=600 conv=notrunc,fsync status=none; \
             pvs /dev/xvdi 2>/dev/null && exit 1; true",
            "carries a signature: LVM2_member.",
        );
    });
}

#[test]
fn held_by_a_raid() {
    in_kernel(|| {
        refused_until_gone(
            "modprobe raid1; mdadm --create /dev/md0 --run --level=1 --metadata=1.2 --raid-devices=2 /dev/xvdi missing >/dev/null 2>&1",
            "/dev/xvdi is held by md0.",
            "mdadm --stop /dev/md0 2>/dev/null; mdadm --zero-superblock /dev/xvdi",
        );
    });
}

#[test]
fn two_signatures_are_both_told_and_both_wiped() {
    in_kernel(|| {
        // A partition table takes the first sector, which ext4 leaves alone.
        sh(
            "mkfs.ext4 -q /dev/xvdi; echo ',100M' | sfdisk -q --wipe never --force /dev/xvdi >/dev/null; udevadm settle",
        );
        dmtool("setup /dev/xvdi --yes")
            .assert()
            .code(3)
            .stderr(contains("/dev/xvdi carries a signature: ext4."))
            .stderr(contains(format!("partition table (dos: {} 100 MiB)", partition(DISK, 1))));
        dmtool("setup /dev/xvdi --wipe --yes").assert().success();
        assert_eq!(sh("blkid -p -o value -s TYPE /dev/xvdi"), "LVM2_member");
    });
}

#[test]
fn a_pv_of_another_group_even_with_wipe() {
    in_kernel(|| {
        sh("vgcreate -qq theirs /dev/xvdi");
        let before = print_of(DISK);
        for words in ["setup /dev/xvdi --yes", "setup /dev/xvdi --yes --wipe"] {
            dmtool(words)
                .assert()
                .code(3)
                .stderr(contains("/dev/xvdi is a physical volume of the volume group theirs"))
                .stderr(contains("dmtool setup --adopt theirs"));
        }
        assert_eq!(print_of(DISK), before);
        sh("vgremove -qq theirs; pvremove -qq /dev/xvdi");
        dmtool("setup /dev/xvdi --yes").assert().success();
    });
}

#[test]
fn wipe_spares_a_member_of_the_group() {
    in_kernel(|| {
        // A leftover of mkswap beside LVM's label, and somebody's volume that is not active just now.
        sh("vgcreate -qq docker /dev/xvdi && lvcreate -qq -L 16M -n theirs docker && \
            mkfs.ext4 -q /dev/docker/theirs && md5sum < /dev/docker/theirs > /run/sum && vgchange -qq -an docker");
        sh(
            "printf '\\001\\000\\000\\000\\377\\000\\000\\000' | dd of=/dev/xvdi bs=1 seek=1024 conv=notrunc status=none; \
            printf SWAPSPACE2 | dd of=/dev/xvdi bs=1 seek=4086 conv=notrunc,fsync status=none",
        );
        assert!(sh("wipefs --noheadings /dev/xvdi").contains("swap"));
        dmtool("setup /dev/xvdi --wipe --yes --data 50%VG").assert().success();
        sh("lvchange -qq -ay docker/theirs");
        assert_eq!(sh("md5sum < /dev/docker/theirs"), sh("cat /run/sum"));
    });
}

#[test]
fn a_partition_of_a_group_that_is_down_is_not_covered_by_wipe() {
    in_kernel(|| {
        let first = partition(DISK, 1);
        sh(&format!(
            "parted -s /dev/xvdi mklabel gpt mkpart a 1MiB 200MiB && udevadm settle && \
             vgcreate -qq theirs {first} && lvcreate -qq --yes -n volume -l 100%FREE theirs && \
             mkfs.ext4 -q /dev/theirs/volume && vgchange -qq -an theirs"
        ));
        let before = print_of(DISK);
        let reason =
            format!("{first}, a partition of /dev/xvdi, is a physical volume of the volume group theirs, which --wipe");
        for options in ["", " --two-volumes", " --pool other/pool --metadata-device /dev/xvdj"] {
            let refused = dmtool(&format!("setup /dev/xvdi --wipe --yes{options}")).assert().code(3);
            refused.stderr(contains(reason.as_str()).and(contains("dmtool setup --adopt theirs")));
        }
        assert_eq!(print_of(DISK), before);
        sh("vgchange -qq -ay theirs");
        sh("e2fsck -fn /dev/theirs/volume >/dev/null 2>&1");
        sh("vgremove -qq --yes theirs");
        dmtool("setup /dev/xvdi --wipe --yes").assert().success();
    });
}

#[test]
fn read_only() {
    in_kernel(|| {
        refused_until_gone("blockdev --setro /dev/xvdi", "/dev/xvdi is read-only.", "blockdev --setrw /dev/xvdi");
    });
}

#[test]
fn too_small() {
    in_kernel(|| {
        sh("parted -s /dev/xvdi mklabel gpt mkpart a 1MiB 9MiB && udevadm settle");
        let before = print_of(DISK);
        dmtool(&format!("setup {} --yes", partition(DISK, 1)))
            .assert()
            .code(3)
            .stderr(contains("too small for a pool"));
        assert_eq!(print_of(DISK), before);
    });
}

#[test]
fn no_room_for_the_spare_names_what_fits() {
    in_kernel(|| {
        let before = print_of(DISK);
        dmtool("setup /dev/xvdi --yes --data 99%VG --metadata 2%VG")
            .assert()
            .code(3)
            .stderr(contains("the largest that fits is --data 96%VG"));
        dmtool("setup /dev/xvdf --yes --data 99%VG")
            .assert()
            .code(3)
            .stderr(contains("the largest that fits is --data 98%VG"));
        dmtool("setup /dev/xvdi --yes --metadata 6%VG").assert().code(3).stderr(contains("the largest that fits is"));
        assert_eq!(print_of(DISK), before);
        dmtool("setup /dev/xvdi --yes --data 96%VG --metadata 2%VG").assert().success();
    });
}

#[test]
fn no_block_device() {
    in_kernel(|| {
        sh("ln -sf loop-a /dev/loop-b; ln -sf loop-b /dev/loop-a; truncate -s 1G /run/file");
        for (path, reason) in [
            ("/dev/nothing", "/dev/nothing does not exist."),
            ("/etc", "/etc is a directory, not a block device."),
            ("/dev/null", "/dev/null is a character device, not a block device."),
            ("/run/file", "/run/file is a file, not a block device."),
            ("/dev/loop-a", "could not be looked at"),
        ] {
            dmtool(&format!("setup {path} --yes")).assert().code(3).stderr(contains(reason));
        }
        sh("rm /dev/loop-a /dev/loop-b");
    });
}

#[test]
fn the_same_device_twice() {
    in_kernel(|| {
        let before = print_of(DISK);
        for second in ["/dev/xvdi", sh("readlink -f /dev/xvdi").as_str()] {
            dmtool(&format!("setup /dev/xvdi {second} --yes"))
                .assert()
                .code(3)
                .stderr(contains("is the same device as /dev/xvdi."));
        }
        assert_eq!(print_of(DISK), before);
    });
}

#[test]
fn every_reason_is_listed_at_once() {
    in_kernel(|| {
        sh("mkswap -q /dev/xvdi && swapon /dev/xvdi && mkfs.ext4 -q /dev/xvdj && udevadm settle");
        dmtool("setup /dev/xvdi /dev/xvdj /dev/nothing --yes")
            .assert()
            .code(3)
            .stderr(contains("/dev/xvdi is in use as swap."))
            .stderr(contains("/dev/xvdi carries a signature: swap."))
            .stderr(contains("/dev/xvdj carries a signature: ext4."))
            .stderr(contains("/dev/nothing does not exist."));
        sh("swapoff /dev/xvdi");
    });
}

#[test]
fn no_terminal_and_no_yes() {
    in_kernel(|| {
        let before = print_of(DISK);
        dmtool("setup /dev/xvdi").assert().code(3).stderr(contains("there is no terminal to ask on"));
        assert_eq!(json("setup /dev/xvdi").0, 3);
        let (ok, _, said) = try_sh(&format!("{} setup /dev/xvdi <&-", env!("CARGO_BIN_EXE_dmtool")));
        assert!(!ok && said.contains("no terminal"), "{said}");
        assert_eq!(print_of(DISK), before);
    });
}
