//! The harness itself: what a guest is, and that it keeps to its disks.

use crate::harness::*;

#[test]
fn has_device_mapper_udev_and_blank_disks() {
    in_kernel(|| {
        assert!(sh("dmsetup targets").contains("thin-pool"));
        for at in 0..6 {
            assert!(sh(&format!("lsblk -ndo FSTYPE {}", disk(at))).is_empty());
        }
        assert_eq!(sh(&format!("blockdev --getsize64 {}", disk(3))), (512_u64 << 20).to_string());
    });
}

#[test]
fn writes_nothing_to_the_machine() {
    boots(|machine| {
        let probe = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("written-by-a-guest");
        machine.boot(|| {
            let places = "/etc /usr/bin /root /var/lib /tmp /dev/shm /run";
            sh(&format!("for d in {places}; do echo guest > $d/written-by-a-dmtool-guest; done"));
            std::fs::write(&probe, "guest").expect("the guest's own view is writable");
            sh("rm -rf /usr/share/common-licenses && sync");
        });
        machine.outside(|| {
            for place in ["/etc", "/usr/bin", "/root", "/var/lib", "/tmp", "/dev/shm", "/run"] {
                let left = format!("{place}/written-by-a-dmtool-guest");
                assert!(!std::path::Path::new(&left).exists(), "a guest wrote {left}");
            }
            assert!(!probe.exists(), "a guest wrote into the build folder");
            assert!(std::path::Path::new("/usr/share/common-licenses").exists(), "a guest removed a folder");
        });
    });
}

#[test]
fn disks_survive_a_reboot_and_a_crash() {
    boots(|machine| {
        machine.boot(|| {
            sh("echo first | dd of=/dev/xvdf conv=fsync status=none");
        });
        machine.boot(|| {
            assert_eq!(sh("head -c 5 /dev/xvdf"), "first");
            sh("echo later | dd of=/dev/xvdg oflag=sync status=none");
            crash();
        });
        machine.boot(|| {
            assert_eq!(sh("head -c 5 /dev/xvdf"), "first");
            assert_eq!(sh("head -c 5 /dev/xvdg"), "later");
        });
    });
}

#[test]
fn boots_with_systemd() {
    boots(|machine| {
        machine.systemd("", || {
            assert_eq!(sh("cat /proc/1/comm"), "systemd");
            sh("systemctl is-active systemd-udevd.service dm-event.socket");
            sh("systemctl start dm-event.service && systemctl is-active dm-event.service");
            assert!(sh("dmsetup targets").contains("striped"));
            assert!(sh("ls -l /dev/xvdf").contains("ubdb"));
        });
    });
}

#[test]
fn host_mode_works_where_there_is_device_mapper() {
    boots(|machine| {
        machine.boot(|| {
            sh("mkfs.ext4 -q -E lazy_itable_init=1,nodiscard /dev/xvdf && mkdir -p /run/host && mount /dev/xvdf /run/host");
            // The names are for the loop devices now.
            sh("rm /etc/udev/rules.d/01-dmtool-disks.rules; udevadm control --reload; udevadm trigger --settle -s block");
            let said = sh(&format!(
                "unset DMTOOL_INSIDE DMTOOL_STAGE; DMTOOL_TEST_DIR=/run/host tests/host.sh {} --test-threads=1 --show-output \
                 setup::a_second_run refusals::partitioned refusals::mounted status::no_pools guests::disks_survive 2>&1",
                std::env::current_exe().expect("the path of this test").display()
            ));
            assert!(said.contains("test result: ok. 6 passed"), "{said}");
            assert!(said.contains("skipped on a host"), "{said}");
            assert_eq!(sh("losetup -a; ls /run/udev/rules.d; ls /run/host | grep -v lost || true"), "");
        });
    });
}

#[test]
fn a_failing_test_shows_its_output_and_dmesg() {
    if std::env::var_os("DMTOOL_SHALL_FAIL").is_some() || std::env::var_os("DMTOOL_INSIDE").is_some() {
        return in_kernel(|| {
            println!("said before failing");
            assert_eq!(sh("echo one"), "two");
        });
    }
    if !guest_can_boot() {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().expect("the path of this test"))
        .args(["--exact", "guests::a_failing_test_shows_its_output_and_dmesg"])
        .env("DMTOOL_SHALL_FAIL", "1")
        .output()
        .expect("running this test again");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    for part in ["said before failing", "left: \"one\"", "the end of the guest's dmesg", "failed in its guest"] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
}

fn guest_can_boot() -> bool {
    std::env::var_os("DMTOOL_TEST_HOST").is_none() && crate::harness::guest::can_boot()
}
