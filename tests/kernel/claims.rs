//! What setup must see although LVM passes it over, or nobody thinks of it: disks of other hosts, a disk named twice in two
//! ways, extents that lvm.conf sets, folders of dmtool's own.

use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// A volume with a file system in the group theirs, which is another host's from then on.
fn of_another_host(device: &str) {
    sh(&format!(
        "vgcreate -qq theirs {device} && lvcreate -qq --yes -L 64M -n volume theirs && mkfs.ext4 -q /dev/theirs/volume && \
         vgchange -qq -an theirs && vgchange -qq --yes --systemid elsewhere theirs 2>/dev/null; udevadm settle; ! vgs theirs 2>/dev/null"
    ));
}

fn refused_with_wipe(called: &str, device: &str) {
    let before = print_of("/dev/xvdi");
    for words in ["setup /dev/xvdi --yes", "setup /dev/xvdi --wipe --yes"] {
        dmtool(words).assert().code(3).stdout("").stderr(
            contains(format!("{called} is a physical volume that LVM passes over"))
                .and(contains(format!("pvs --all --foreign --shared --options +vg_systemid {device}"))),
        );
    }
    assert_eq!(print_of("/dev/xvdi"), before);
    // The hint tells whose it is.
    let said = sh(&format!("pvs --all --foreign --shared --options +vg_systemid {device} 2>/dev/null"));
    assert!(said.contains("theirs") && said.contains("elsewhere"), "{said}");
}

#[test]
fn a_disk_of_another_host_is_not_covered_by_wipe() {
    in_kernel(|| {
        of_another_host("/dev/xvdi");
        refused_with_wipe("/dev/xvdi", "/dev/xvdi");
        sh("wipefs --quiet --all --types LVM2_member /dev/xvdi; udevadm settle");
        dmtool("setup /dev/xvdi --yes").assert().success();
    });
}

#[test]
fn a_partition_of_another_host_is_not_covered_by_wipe() {
    in_kernel(|| {
        let first = partition("/dev/xvdi", 1);
        sh("parted -s /dev/xvdi mklabel gpt mkpart a 1MiB 200MiB && udevadm settle");
        of_another_host(&first);
        refused_with_wipe(&format!("{first}, a partition of /dev/xvdi,"), &first);
    });
}

#[test]
fn a_disk_and_its_partition_are_one() {
    in_kernel(|| {
        let first = partition("/dev/xvdi", 1);
        sh("parted -s /dev/xvdi mklabel gpt mkpart a 1MiB 200MiB && udevadm settle");
        let before = print_of("/dev/xvdi");
        for words in [
            format!("setup /dev/xvdi --metadata-device {first} --wipe --yes"),
            format!("setup {first} /dev/xvdi --wipe --yes"),
        ] {
            dmtool(&words).assert().code(3).stderr(contains(format!("{first} is a partition of /dev/xvdi.")));
        }
        assert_eq!(print_of("/dev/xvdi"), before);
    });
}

#[test]
fn extents_that_the_host_sets_are_not_those_of_a_pool() {
    in_kernel(|| {
        sh("echo 'allocation { physical_extent_size = 1024 }' > /etc/lvm/lvmlocal.conf");
        dmtool("setup /dev/xvdi --yes").assert().success();
        let extent = "vgs --noheadings --units m --nosuffix -o vg_extent_size docker";
        assert_eq!(sh(extent), "4.00");
        // 95 of 100 of 512 MiB.
        let size: f64 = sh("lvs --noheadings --units m --nosuffix -o lv_size docker/thinpool").parse().expect("a size");
        assert!((460.0..500.0).contains(&size), "{size}");
        dmtool("setup /dev/xvdi --yes").assert().success().stdout(contains("nothing was changed"));
        dmtool("setup /dev/xvdg --two-volumes --yes").assert().success();
        assert_eq!(sh(&extent.replace("docker", "vg-docker")), "4.00");
    });
}

#[test]
fn a_loop_pool_is_not_made_among_dmtools_own_files() {
    in_kernel(|| {
        sh("mkfs.ext4 -q /dev/xvdg && mkdir -p /var/lib/dmtool && mount /dev/xvdg /var/lib/dmtool");
        for own in ["recycle", "pools", "repair", "snapshots", "teardown"] {
            for words in [format!("--pool {own}"), format!("--dir /var/lib/dmtool/{own}/of-mine")] {
                dmtool(&format!("setup --loop {words} --data 100M --metadata 4M --yes"))
                    .assert()
                    .code(3)
                    .stderr(contains(format!("/var/lib/dmtool/{own} is a folder in which dmtool keeps its own files")));
            }
        }
        assert_eq!(sh("find /var/lib/dmtool -type f; dmsetup ls"), "No devices found");
        // What somebody has put there by hand is not taken away with dmtool's own.
        sh("mkdir -p /var/lib/dmtool/recycle && touch /var/lib/dmtool/recycle/mine /var/lib/dmtool/recycle/left.vg");
        dmtool("setup --loop --data 100M --metadata 4M --yes").assert().success();
        assert_eq!(sh("ls /var/lib/dmtool/recycle"), "mine");
        dmtool("teardown loop --yes").assert().success();
        sh("umount /var/lib/dmtool");
    });
}

#[test]
fn volumes_that_hold_something_are_no_halves_of_a_pool() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdi && lvcreate -qq -L 200M -n db vg && lvcreate -qq -L 8M -n dbmeta vg");
        let half = || json("check").1["findings"].to_string().contains("pool-half-built");
        assert!(half());
        for lv in ["db", "dbmeta"] {
            let write =
                |what: &str| sh(&format!("dd if={what} of=/dev/vg/{lv} bs=4k count=1 oflag=direct status=none"));
            write("/dev/urandom");
            assert!(!half(), "{lv} is somebody's");
            write("/dev/zero");
            assert!(half());
        }
    });
}
