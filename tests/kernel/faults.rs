//! What dmtool stands on fails: udev, dmeventd, the file systems that it and LVM write to, a disk, memory. It says so and
//! does not hang; what was there is as it was; once the fault is gone the same command does its work.

use crate::harness::*;
use predicates::str::contains;
use std::time::{Duration, Instant};

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");

/// Runs dmtool under a shell's limits or in its background; its status and all it said, within a time.
#[track_caller]
fn run_within(before: &str, words: &str, limit: Duration) -> (i32, String) {
    let began = Instant::now();
    let (_, said, _) = try_sh(&format!(
        "{before} timeout -s KILL {} {DMTOOL} {words} 2>&1 < /dev/null; echo \"status $?\"",
        limit.as_secs()
    ));
    let (said, status) = said.rsplit_once("status ").expect("a status");
    let status = status.parse().expect("a number");
    assert!(began.elapsed() < limit, "{words} hangs: {said}");
    println!("{words}: {status} after {:.1} s", began.elapsed().as_secs_f64());
    (status, said.to_owned())
}

#[track_caller]
fn none_suspended(words: &str) {
    let state = sh("dmsetup info -c --noheadings -o name,suspended");
    assert!(!state.contains("uspended"), "after {words}: {state}");
}

const SOON: Duration = Duration::from_secs(300);

#[test]
fn udev_is_dead() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --data 75%VG --yes").assert().success();
        dmtool("volume create docker/thinpool web 64M --fs ext4").assert().success();
        sh(
            "pkill -KILL -x systemd-udevd; while pgrep -x systemd-udevd; do sleep 0.05; done; test -S /run/udev/control",
        );
        let before = (print_of("/dev/xvdi"), sh("dmsetup table; vgs --noheadings -o vg_seqno"));
        for words in [
            "setup /dev/xvdi --pool a/b --yes",
            "setup /dev/xvdi --two-volumes --yes",
            "setup --loop --data 100M --metadata 4M --yes",
            "resize +5% docker/thinpool",
            "activate docker/thinpool",
            "deactivate docker/thinpool",
            "volume create docker/thinpool more 64M",
            "volume snapshot docker/thinpool web snap",
            "volume remove docker/thinpool web --yes",
            "discards docker/thinpool no_passdown",
            "teardown docker/thinpool --yes",
        ] {
            let (status, said) = run_within("", words, SOON);
            assert_eq!(status, 3, "{words}: {said}");
            assert!(said.contains("udev does not run") && said.contains("systemctl restart systemd-udevd"), "{said}");
        }
        assert_eq!((print_of("/dev/xvdi"), sh("dmsetup table; vgs --noheadings -o vg_seqno")), before);
        // What only looks needs no udev.
        for words in ["status", "check", "volume list docker/thinpool", "status --json", "metrics"] {
            let (status, said) = run_within("", words, SOON);
            assert_eq!(status, 0, "{words}: {said}");
        }
        sh("/lib/systemd/systemd-udevd --daemon 2>/dev/null");
        dmtool("setup /dev/xvdi --pool a/b --yes").assert().success();
        dmtool("teardown docker/thinpool --yes").assert().success();
    });
}

#[test]
fn udev_stands_still() {
    in_kernel(|| {
        // As long as udev gives an event, by its own configuration.
        sh("cp /etc/udev/udev.conf /run/; echo event_timeout=6 >> /etc/udev/udev.conf");
        sh("mkfs.ext4 -q /dev/xvdg; mkdir -p /var/lib/dmtool; mount /dev/xvdg /var/lib/dmtool");
        let finished = |words: &str| {
            sh("pkill -STOP -x systemd-udevd");
            let (status, said) = run_within("", words, SOON);
            assert_eq!(status, 1, "{words}: {said}");
            assert!(said.contains("udev stands still: for 6 s"), "{said}");
            assert!(said.contains("systemctl status systemd-udevd"), "{said}");
            none_suspended(words);
            sh("pkill -CONT -x systemd-udevd; udevadm settle");
            dmtool(words).assert().success();
        };
        finished("setup /dev/xvdi --yes");
        finished("deactivate docker/thinpool");
        finished("activate docker/thinpool");
        finished("volume create docker/thinpool web 64M");
        finished("volume snapshot docker/thinpool web snap");
        finished("volume remove docker/thinpool snap --yes");
        finished("teardown docker/thinpool --yes");
        finished("setup --loop --data 100M --metadata 4M --yes");
        finished("volume create loop web 16M --fs ext4");
        finished("deactivate loop");
        finished("activate loop");
        finished("teardown loop --yes");
        assert_eq!(sh("dmsetup ls; vgs --noheadings"), "No devices found");
        sh("cp /run/udev.conf /etc/udev/udev.conf; umount /var/lib/dmtool");
    });
}

#[test]
fn dmeventd_stands_still_or_is_dead() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --data 50%VG --yes").assert().success();
        dmtool("volume create docker/thinpool web 64M --fs ext4").assert().success();
        for signal in ["STOP", "KILL"] {
            for words in [
                "resize +5% docker/thinpool",
                "resize docker/thinpool --metadata +4M",
                "volume create docker/thinpool more 64M",
                "volume snapshot docker/thinpool web snap",
                "volume remove docker/thinpool snap more --yes",
                "deactivate docker/thinpool",
                "activate docker/thinpool",
                "setup /dev/xvdi --pool a/b --yes",
                "teardown a/b --yes",
            ] {
                sh(&format!("pkill -{signal} -x dmeventd; true"));
                let (status, said) = run_within("", words, SOON);
                sh("pkill -CONT -x dmeventd; true");
                // Done, or refused before it began.
                assert!(status == 0 || status == 3 && said.contains("dmeventd"), "{signal} {words}: {status} {said}");
                dmtool(words).assert().success();
                none_suspended(words);
            }
            dmtool("autoextend docker/thinpool --threshold 80").assert().success();
            assert_eq!(sh("lvs --noheadings -o seg_monitor docker/thinpool"), "monitored");
        }
    });
}

/// A file system of 4 MiB with nothing free, over a folder whose files it has. `free` makes room again.
fn full(folder: &str) {
    sh(&format!(
        "mkdir -p {folder} && cp -a {folder} /run/kept-files && mount -t tmpfs -o size=4m,mode=755 full {folder} && \
         cp -a /run/kept-files/. {folder}/ && (dd if=/dev/zero of={folder}/filler bs=4k 2>/dev/null || true) && \
         ! touch {folder}/another.$$ 2>/dev/null || echo x > {folder}/another.$$ 2>/dev/null || true"
    ));
}

fn free(folder: &str) {
    sh(&format!(
        "rm -f {folder}/filler {folder}/another.*; cp -a {folder}/. /run/kept-files/; umount {folder} && cp -a /run/kept-files/. {folder}/ && rm -rf /run/kept-files"
    ));
}

/// No temporary file, none of no length.
#[track_caller]
fn no_half_files(folder: &str) {
    let left = sh(&format!("find {folder} -name '*.dmtool-*' -o -name '*.json' -size 0 -o -name '*.profile' -size 0"));
    assert_eq!(left, "", "half-written");
}

#[test]
fn file_systems_are_full() {
    in_kernel(|| {
        sh("mkfs.ext4 -q /dev/xvdg; mkdir -p /var/lib/dmtool; mount /dev/xvdg /var/lib/dmtool");
        // /etc: the profile, LVM's archive and backup, daemon.json.
        full("/etc/lvm");
        let (status, said) = run_within("", "setup /dev/xvdi --yes", SOON);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("No space left"), "{said}");
        no_half_files("/etc/lvm");
        free("/etc/lvm");
        dmtool("setup /dev/xvdi --yes").assert().success();
        full("/etc/docker");
        let (status, said) = run_within("", "configure docker docker/thinpool --yes", SOON);
        assert!(status == 1 && said.contains("No space left"), "{status} {said}");
        no_half_files("/etc/docker");
        assert_eq!(try_sh("cat /etc/docker/daemon.json").1, "", "nothing or the whole");
        free("/etc/docker");
        dmtool("configure docker docker/thinpool --yes").assert().success();
        // A pool that is there comes up and down with /etc full: an operator needs it now.
        full("/etc/lvm");
        for words in ["deactivate docker/thinpool", "activate docker/thinpool"] {
            let (status, said) = run_within("", words, SOON);
            assert_eq!(status, 0, "{words}: {said}");
        }
        free("/etc/lvm");
        // /var: the register and its copies.
        sh("mkdir -p /var/lib/dmtool/pools");
        full("/var/lib/dmtool/pools");
        let (status, said) = run_within("", "setup --loop --data 100M --metadata 4M --yes", SOON);
        assert!(status == 1 && said.contains("No space left"), "{status} {said}");
        no_half_files("/var/lib/dmtool");
        free("/var/lib/dmtool/pools");
        dmtool("setup --loop --data 100M --metadata 4M --yes").assert().success();
        full("/var/lib/dmtool/pools");
        let before = sh("dmsetup status loop; cat /var/lib/dmtool/pools/loop.json");
        let (status, said) = run_within("", "volume create loop web 16M", SOON);
        assert!(status == 1 && said.contains("No space left"), "{status} {said}");
        assert_eq!(
            sh("dmsetup status loop; cat /var/lib/dmtool/pools/loop.json"),
            before,
            "nothing that is not written down"
        );
        free("/var/lib/dmtool/pools");
        dmtool("volume create loop web 16M").assert().success();
        // /run: locks.
        let (status, said) = {
            sh(
                "rm -f /run/dmtool.lock; dd if=/dev/zero of=/run/filler bs=64k 2>/dev/null; dd if=/dev/zero of=/run/filler2 bs=1 2>/dev/null; true",
            );
            let ended = run_within("", "deactivate loop", SOON);
            sh("rm /run/filler /run/filler2");
            ended
        };
        assert!(status == 0 || status == 3 && said.contains("No space left"), "{status} {said}");
        dmtool("deactivate loop").assert().success();
        dmtool("activate loop").assert().success();
        dmtool("teardown loop --yes").assert().success();
        sh("rm -rf /etc/docker; umount /var/lib/dmtool");
    });
}

/// As in a rescue: the root is read-only, /run is not.
#[test]
fn the_root_is_read_only() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --data 50%VG --yes").assert().success();
        dmtool("volume create docker/thinpool web 64M --fs ext4").assert().success();
        sh("echo bytes > /run/bytes; dd if=/run/bytes of=/dev/docker/web conv=fsync,notrunc status=none");
        let before = print_of("/dev/xvdi");
        sh("mount -o remount,ro /; ! touch /etc/x 2>/dev/null");
        for words in [
            "status",
            "check",
            "deactivate docker/thinpool",
            "metadata check docker/thinpool",
            "activate docker/thinpool",
            "volume list docker/thinpool",
        ] {
            let (status, said) = run_within("", words, SOON);
            assert_eq!(status, 0, "{words}: {said}");
        }
        assert_eq!(sh("lvchange -qq -ay docker/web; head -c 6 /dev/docker/web"), "bytes");
        for words in [
            "setup /dev/xvdi --pool a/b --yes",
            "autoextend docker/thinpool --threshold 70",
            // LVM changes nothing that it cannot keep a copy of before.
            "resize +5% docker/thinpool",
            "volume create docker/thinpool more 64M",
            "configure docker docker/thinpool --yes",
            "configure containerd docker/thinpool --yes",
            "setup --loop --data 100M --metadata 4M --yes",
        ] {
            let (status, said) = run_within("", words, SOON);
            assert_eq!(status, 3, "{words}: {said}");
            assert!(said.contains("ead-only"), "{words}: {said}");
        }
        sh("mount -o remount,rw /");
        assert_eq!(print_of("/dev/xvdi"), before, "nothing was begun");
        dmtool("setup /dev/xvdi --pool a/b --yes").assert().success();
    });
}

/// Part of the group is on a disk that is not there.
#[test]
fn a_physical_volume_is_missing() {
    in_kernel(|| {
        sh("dmsetup create lost --table \"0 900000 linear /dev/xvdi 8192\"; udevadm settle");
        dmtool("setup /dev/xvdf --data 50%VG --yes").assert().success();
        dmtool("volume create docker/thinpool web 64M --fs ext4").assert().success();
        sh("vgextend -qq docker /dev/mapper/lost");
        sh(
            "lvcreate -qq -L 64M -n other docker /dev/mapper/lost && vgchange -qq -an docker && dmsetup remove --retry lost",
        );
        sh("rm -f /run/lvm/hints; udevadm settle");
        let (status, value) = json("check");
        assert_eq!(status, 2, "{value:#}");
        assert!(value["findings"].to_string().contains("volume-group-incomplete"), "{value:#}");
        // The pool has nothing on it: it comes up, and works.
        let (status, said) = run_within("", "activate docker/thinpool", SOON);
        assert_eq!(status, 0, "{said}");
        sh(
            "lvchange -qq -ay docker/web && dd if=/dev/urandom of=/dev/docker/web bs=64k count=16 oflag=direct status=none",
        );
        // LVM changes nothing in such a group.
        for words in [
            "resize +5% docker/thinpool",
            "volume create docker/thinpool more 64M",
            "volume snapshot docker/thinpool web snap",
            "teardown docker/thinpool --yes",
            "setup /dev/xvdf --data 60%VG --pool docker/another --yes",
        ] {
            let seen = sh("vgs --noheadings -o vg_seqno docker 2>/dev/null; dmsetup table");
            let (status, said) = run_within("", words, SOON);
            assert!(status == 3 || status == 1, "{words}: {status} {said}");
            assert!(
                said.contains("docker") && (said.contains("missing") || said.contains("incomplete")),
                "{words}: {said}"
            );
            assert_eq!(sh("vgs --noheadings -o vg_seqno docker 2>/dev/null; dmsetup table"), seen, "{words}: {said}");
        }
        dmtool("autoextend docker/thinpool --threshold 60")
            .assert()
            .success()
            .stderr(contains("a physical volume of docker is missing"));
        sh("dmsetup create lost --table \"0 900000 linear /dev/xvdi 8192\"; udevadm settle");
        dmtool("resize +5% docker/thinpool").assert().success();
        let (status, value) = json("check");
        assert!(status == 0, "{value:#}");
        sh("vgchange -qq -an docker; dmsetup remove --retry lost");
    });
}

/// With ever less memory it ends with a reason or is ended; what it leaves is finished by the same command.
#[test]
fn memory_is_short() {
    in_kernel(|| {
        sh("mkfs.ext4 -q /dev/xvdg; mkdir -p /var/lib/dmtool; mount /dev/xvdg /var/lib/dmtool");
        // One that LVM starts lives with the same limit for ever after.
        sh("pgrep -x dmeventd || dmeventd");
        let mut ended_early = 0;
        for words in [
            "setup /dev/xvdf --data 50%VG --yes",
            "volume create docker/thinpool web 64M --fs ext4",
            "volume snapshot docker/thinpool web snap",
            "resize 2500M docker/thinpool",
            "volume remove docker/thinpool snap --yes",
            "deactivate docker/thinpool",
            "activate docker/thinpool",
            "setup --loop --data 100M --metadata 4M --yes",
            "volume create loop web 16M",
            "teardown loop --yes",
        ] {
            for kibibytes in [20_000, 30_000, 37_000, 45_000] {
                let (status, said) = run_within(&format!("ulimit -v {kibibytes};"), words, SOON);
                // 127: not even loaded; 134: ended by itself, as Rust does where it has no way to go on. (With a little
                // more, the C library takes a page at a time for LVM's reserve, which takes minutes here.)
                assert!([0, 1, 3, 127, 134].contains(&status), "{words} with {kibibytes} KiB: {status} {said}");
                ended_early += u32::from(status != 0);
                assert!(status == 0 || !said.trim().is_empty(), "{words} with {kibibytes} KiB says nothing");
                none_suspended(words);
                if status == 0 {
                    break;
                }
            }
            let done = sh(&format!("{DMTOOL} {words} 2>&1 < /dev/null"));
            assert!(!done.contains("error:"), "{words}: {done}");
        }
        assert!(ended_early >= 10, "{ended_early}");
        let (status, value) = json("check");
        assert_eq!(status, 0, "{value:#}");
        sh("umount /var/lib/dmtool");
    });
}

/// A disk on which each read and write takes a third of a second: slow is not sick.
#[test]
fn a_disk_is_slow() {
    in_kernel(|| {
        let table = |delay: u32| format!("0 1000000 delay /dev/xvdi 8192 {delay} /dev/xvdi 8192 {delay}");
        sh(&format!("modprobe dm-delay; dmsetup create slow --table '{}'; udevadm settle", table(0)));
        let slow = |delay: u32| {
            sh(&format!("dmsetup suspend slow && dmsetup load slow --table '{}' && dmsetup resume slow", table(delay)));
        };
        slow(40);
        let (status, said) = run_within("", "setup /dev/mapper/slow --data 50%VG --yes", SOON * 2);
        assert_eq!(status, 0, "{said}");
        slow(330);
        sh("rm -f /run/lvm/hints");
        for words in ["status", "check", "check --nagios", "volume list docker/thinpool", "resize +5% docker/thinpool"]
        {
            let (status, said) = run_within("", words, SOON * 2);
            assert_eq!(status, 0, "{words}: {said}");
        }
        slow(0);
        dmtool("teardown docker/thinpool --yes").assert().success();
        sh("dmsetup remove --retry slow");
    });
}
