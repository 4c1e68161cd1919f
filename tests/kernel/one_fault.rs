//! One thing that cannot be looked at, or one call that fails where nobody expects it: dmtool says so, and does not take
//! it for nothing.

use super::kinds::Kind;
use super::metadata::held;
use crate::harness::*;

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");

/// Runs dmtool with these calls failing where they are for this path (all, or as `when` says); its status and what it said.
fn failing(path: &str, calls: &str, when: &str, words: &str) -> (i32, String) {
    let inject = format!("-P {path} -e trace={calls} -e inject={calls}:error=EIO{when}");
    let said = sh(&format!("strace -f -qq -o /run/trace {inject} {DMTOOL} {words} > /run/said 2>&1; echo $?"));
    assert!(sh("cat /run/trace").contains("INJECTED"), "nothing failed: {}", sh("cat /run/trace /run/said"));
    (said.parse().expect("a status"), sh("cat /run/said"))
}

#[track_caller]
fn could_not_look(path: &str, calls: &str, words: &str) {
    let (status, said) = failing(path, calls, "", words);
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("Input/output error"), "{said}");
}

/// A daemon holds no device of its pool while it has nothing to do.
#[test]
fn processes_that_cannot_be_seen_may_be_docker() {
    in_kernel(|| {
        Kind::Raw.make();
        sh(
            "cp /bin/sleep /run/dockerd; /run/dockerd 500 > /dev/null 2>&1 & until pgrep -x dockerd >/dev/null; do sleep 0.1; done; \
            echo '{\"storage-opts\": [\"dm.thinpooldev=/dev/mapper/bare\"]}' > /etc/docker/daemon.json",
        );
        dmtool("deactivate bare").assert().code(3);
        could_not_look("/proc", "openat", "deactivate bare");
        let comm = format!("/proc/{}/comm", sh("pgrep -x dockerd"));
        could_not_look(&comm, "openat", "deactivate bare");
        could_not_look(&comm, "openat", "teardown bare --yes");
        could_not_look("/proc/uptime", "openat", "configure docker bare --move-data --yes");
        assert!(sh("dmsetup status bare").contains(" rw "));
        sh("pkill -x dockerd; rm /etc/docker/daemon.json");
        dmtool("deactivate bare").assert().success();
        Kind::Raw.gone();
    });
}

/// Which folder is Docker's is read from its file.
#[test]
fn a_configuration_that_cannot_be_read_moves_no_folder() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh(
            "mkdir -p /run/root /var/lib/docker/image && echo '{\"data-root\": \"/run/root\"}' > /etc/docker/daemon.json",
        );
        let words = "configure docker docker/thinpool --move-data --yes";
        let (status, said) = failing("/etc/docker/daemon.json", "openat", ":when=1", words);
        assert_eq!(status, 3, "{said}");
        sh("test -d /var/lib/docker/image && rm -r /var/lib/docker /etc/docker/daemon.json");
    });
}

#[test]
fn a_disk_that_udev_cannot_tell_of_is_not_without_a_pool() {
    in_kernel(|| {
        Kind::Lvm.make();
        Kind::Lvm.down();
        let entry = sh("stat -L -c /run/udev/data/b%Hr:%Lr /dev/xvdi");
        could_not_look(&entry, "openat", "teardown vg/pool --yes");
        // Whatever a serial number has for bytes.
        sh(&format!("printf 'E:ID_SERIAL=\\377\\n' >> {entry}"));
        dmtool("status").assert().success().stdout(predicates::str::contains("vg/pool"));
        // A path of a multipath NVMe has no number.
        sh(
            "cp -a /sys/class/block /run/block && mkdir /run/block/nvme0c0n1 && mount --bind /run/block /sys/class/block",
        );
        dmtool("status").assert().success().stdout(predicates::str::contains("vg/pool"));
        sh("umount /sys/class/block");
        Kind::Lvm.up();
        Kind::Lvm.assert_whole("b");
        Kind::Lvm.gone();
    });
}

#[test]
fn a_loop_device_that_cannot_be_looked_at_is_not_gone() {
    in_kernel(|| {
        let mut failed = 0;
        for number in 1..=9 {
            dmtool("setup --loop --data 64M --metadata 4M --yes").assert().success();
            let device = sh("losetup -nO NAME -j /var/lib/dmtool/loop/data");
            let file = format!("/sys/class/block/{}/loop/backing_file", device.trim_start_matches("/dev/"));
            let inject = format!("-P {file} -e trace=statx -e inject=statx:error=EIO:when={number}");
            failed +=
                u32::from(!try_sh(&format!("strace -f -qq -o /run/trace {inject} {DMTOOL} teardown loop --yes")).0);
            dmtool("teardown loop --yes").assert().success();
            assert_eq!(sh("losetup -nO NAME -a"), "", "{number}: {}", sh("cat /run/trace"));
            assert!(!try_sh("ls /var/lib/dmtool/loop/data").0);
        }
        assert!(failed >= 3, "{failed}");
    });
}

/// The pool has reserved it, and what it says of it afterwards cannot be had.
#[test]
fn a_snapshot_that_was_reserved_all_the_same_is_released() {
    in_kernel(|| {
        Kind::Lvm.make();
        let trace = "strace -qq -o /run/trace -e trace=ioctl";
        sh(&format!("{trace} {DMTOOL} metadata check vg/pool"));
        let number: u32 = sh("grep -n DM_TARGET_MSG /run/trace | head -n 1 | cut -d: -f1").parse().expect("a message");
        let inject = format!("-e inject=ioctl:error=EIO:when={}", number + 1);
        let (ok, said, wrong) = try_sh(&format!("{trace} {inject} {DMTOOL} metadata check vg/pool"));
        assert!(!ok, "{said}{wrong}");
        assert_eq!((held("vg-pool-tpool"), sh("ls /var/lib/dmtool/snapshots")), ("-".to_owned(), String::new()));
        Kind::Lvm.gone();
    });
}

#[test]
fn a_volume_whose_device_cannot_be_looked_at_may_be_mounted() {
    in_kernel(|| {
        Kind::Raw.make();
        dmtool("volume mount bare b /run/v").assert().success();
        let (status, said) = failing("/dev/mapper/bare-b", "readlink,statx", "", "volume unmount bare b");
        assert_eq!(status, 3, "{said}");
        dmtool("volume unmount bare b").assert().success();
        Kind::Raw.gone();
    });
}

/// A copy that an earlier repair left is somebody's.
#[test]
fn a_copy_that_cannot_be_looked_at_is_not_written_over() {
    in_kernel(|| {
        use crate::harness::metadata::Part;
        Kind::Raw.make();
        Kind::Raw.down();
        Kind::Raw.metadata().damage(Part::Leaf);
        dmtool("repair bare --yes").assert().success();
        dmtool("repair bare --undo --yes").assert().success();
        let copy = sh("ls /var/lib/dmtool/*/*.old");
        let before = sh(&format!("md5sum < {copy}; stat -c %i {copy}"));
        let (status, said) = failing(&copy, "statx", "", "repair bare --yes");
        assert_eq!(status, 3, "{said}");
        assert_eq!(sh(&format!("md5sum < {copy}; stat -c %i {copy}")), before);
        dmtool("repair bare --yes").assert().success();
        assert_eq!(sh(&format!("md5sum < {copy}; stat -c %i {copy}")), before);
        Kind::Raw.up();
        Kind::Raw.assert_whole("b");
        Kind::Raw.gone();
    });
}

#[test]
fn what_was_done_in_part_is_not_called_refused() {
    in_kernel(|| {
        for (vg, disk) in [("a", "/dev/xvdf"), ("b", "/dev/xvdg")] {
            sh(&format!(
                "vgcreate -qq {vg} {disk} && lvcreate -qq --type thin-pool -L 64m -n pool {vg}; vgchange -qq -an {vg}"
            ));
        }
        // The first lock is that of the look.
        let (status, said) = failing("/run/lock/lvm/V_a", "flock", ":when=3+", "activate --all --lock-timeout 1");
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("holds LVM's lock /run/lock/lvm/V_a"), "{said}");
        assert!(sh("dmsetup status b-pool").contains("thin-pool"));
        dmtool("activate --all").assert().success();
        // LVM labels a disk before it finds that it cannot write the group down.
        sh("mount --bind /etc/lvm /etc/lvm && mount -o remount,ro,bind /etc/lvm");
        dmtool("resize max a/pool --add-device /dev/xvdi --yes").assert().code(1);
        sh("umount /etc/lvm");
        dmtool("resize max a/pool --add-device /dev/xvdi --yes").assert().success();
        assert_eq!(sh("vgs --noheadings -o pv_count a"), "2");
    });
}
