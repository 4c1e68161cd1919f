//! What others may have put in dmtool's way on purpose: its environment, names, links where it writes.

use crate::harness::*;
use predicates::str::contains;

/// Stand-ins for every tool that dmtool or LVM starts; each leaves a note that it was run.
fn stand_ins() {
    sh("mkdir -p /run/evil/dev /run/evil/etc && \
        for tool in thin_check thin_repair thin_dump thin_restore thin_ls wipefs mkfs.ext4 mkfs.xfs blkdiscard fstrim \
            systemctl modprobe dmeventd lvm lvs vgs udevadm mount umount sh env; do \
            printf '#!/bin/bash\\necho \"$0 $*\" >> /run/evil/ran\\nexit 0\\n' > /run/evil/$tool; chmod +x /run/evil/$tool; done");
    // As its own, with another's programs in it.
    sh(
        "cp -a /etc/lvm/. /run/evil/etc/ && printf 'global {\\n thin_check_executable = \"/run/evil/thin_check\"\\n }\\n\
        dmeventd { executable = \"/run/evil/dmeventd\"\\n }\\nbackup { backup_dir = \"/run/evil/backup\"\\n \
        archive_dir = \"/run/evil/backup\"\\n }\\nactivation { udev_sync = 0\\n }\\n' > /run/evil/etc/lvm.conf",
    );
}

/// Everything that LVM's libraries, libblkid, libmount, the crates and the C library are told by.
const ENVIRONMENT: &str = "PATH=/run/evil LVM_SYSTEM_DIR=/run/evil/etc DM_DEV_DIR=/run/evil/dev LVM_BINARY=/run/evil/lvm \
    DM_DISABLE_UDEV=1 LVM_SUPPRESS_SYSLOG=1 LVM_VG_NAME=evil LVM_COMMAND_PROFILE=evil LVM_RUN_BY_DMEVENTD=1 \
    LVM_LOG_FILE_EPOCH=evil LVM_DID_EXEC=1 LVM_OUT_FD=1 LVM_ERR_FD=1 LVM_REPORT_FD=1 LVM_EXPECTED_EXIT_STATUS=5 \
    DM_DEFAULT_NAME_MANGLING_MODE=hex DM_DEBUG_WITH_LINE_NUMBERS=1 DM_UDEV_COOKIE=123 DM_ABORT_ON_INTERNAL_ERRORS=1 \
    DMEVENTD_THIN_POOL_DATA=99 BLKID_FILE=/run/evil/blkid BLKID_DEBUG=all LIBMOUNT_DEBUG=all LIBMOUNT_FSTAB=/run/evil/fstab \
    RUST_LOG=trace RUST_BACKTRACE=full TMPDIR=/run/evil HOME=/run/evil DOCKER_HOST=tcp://127.0.0.1:1 SYSTEMD_LOG_LEVEL=debug \
    DOCKER_CONFIG=/run/evil CONTAINERD_ADDRESS=/run/evil/sock CONTAINERD_SNAPSHOTTER=evil NOTIFY_SOCKET=/run/evil/notify \
    LANG=xx_XX.UTF-8 LC_ALL=evil IFS=/ ENV=/run/evil/sh BASH_ENV=/run/evil/sh MKE2FS_CONFIG=/run/evil/mke2fs.conf";

#[test]
fn the_environment_decides_nothing() {
    in_kernel(|| {
        stand_ins();
        let dmtool_path = env!("CARGO_BIN_EXE_dmtool");
        let hostile = |words: &str| {
            let (ok, said, wrong) = try_sh(&format!("/usr/bin/env -i {ENVIRONMENT} {dmtool_path} {words} 2>&1"));
            assert!(ok, "{words}: {said}{wrong}");
            assert_eq!(try_sh("cat /run/evil/ran /run/evil/blkid; ls /run/evil/backup").1, "", "after {words}");
            said
        };
        let said = hostile("setup /dev/xvdf --data 75%VG --yes");
        assert!(said.contains("docker/thinpool is ready"), "{said}");
        // What others see: the nodes, LVM's own backup, a dmeventd that watches and that has an environment of its own.
        sh("test -b /dev/mapper/docker-thinpool && test -s /etc/lvm/backup/docker && test -z \"$(ls /run/evil/dev)\"");
        assert_eq!(sh("lvs --noheadings -o lv_profile,seg_monitor docker/thinpool"), "docker-thinpool monitored");
        let inherited = sh("tr '\\0' '\\n' < /proc/$(pgrep -x dmeventd)/environ");
        assert!(!inherited.contains("evil") && !inherited.contains("LVM_"), "{inherited}");
        hostile("volume create docker/thinpool web 64M --fs ext4");
        assert_eq!(sh("blkid -o value -s TYPE /dev/docker/web"), "ext4");
        hostile("deactivate docker/thinpool");
        hostile("metadata check docker/thinpool");
        hostile("activate docker/thinpool");
        hostile("resize +10% docker/thinpool");
        let said = hostile("check");
        assert!(said.contains("is healthy") && !said.contains("TRACE"), "{said}");
        hostile("volume snapshot docker/thinpool web snap");
        hostile("setup --loop --dir /var/lib/dmtool/loop --data 100M --metadata 4M --yes");
        hostile("deactivate loop");
        hostile("activate loop");
        hostile("teardown loop --yes");
        hostile("teardown docker/thinpool --wipe-devices --yes");
        assert_eq!(sh("vgs --noheadings; wipefs /dev/xvdf"), "");
    });
}

/// What stands in a file that somebody reads must be readable, and what is root's alone must stay so.
#[test]
fn modes_are_the_same_under_any_mask() {
    in_kernel(|| {
        let modes = |mask: &str| {
            let run = |words: &str| {
                sh(&format!("umask {mask}; {} {words} --yes >/dev/null 2>&1 </dev/null", env!("CARGO_BIN_EXE_dmtool")))
            };
            sh("rm -rf /etc/docker /var/lib/dmtool /run/look /etc/lvm/profile /etc/lvm/backup /etc/lvm/archive");
            sh("mkdir -p /run/look");
            run("setup /dev/xvdi");
            run("configure docker docker/thinpool");
            sh("mkfs.ext4 -q -F /dev/xvdg; mkdir -p /var/lib/dmtool; mount /dev/xvdg /var/lib/dmtool");
            run("setup --loop --dir /var/lib/dmtool/files/loop --data 100M --metadata 4M");
            sh(&format!(
                "umask {mask}; {} check --output /run/look/at >/dev/null 2>&1; test -s /run/look/at",
                env!("CARGO_BIN_EXE_dmtool")
            ));
            let found =
                sh("find /etc/docker /etc/lvm/profile /etc/lvm/backup /etc/lvm/archive /var/lib/dmtool/* /run/look \
                            /run/dmtool.lock ! -name 'lost+found' -printf '%M %p\\n' | sed 's/_0.*vg$/_N.vg/' | sort");
            run("teardown loop");
            run("teardown docker/thinpool --wipe-devices");
            sh("umount /var/lib/dmtool; rm -f /run/dmtool.lock");
            found
        };
        let open = modes("000");
        assert_eq!(open, modes("077"));
        assert_eq!(open, modes("022"));
        // Nobody but root writes anywhere.
        let writable: Vec<&str> =
            open.lines().filter(|line| line.chars().nth(5) == Some('w') || line.chars().nth(8) == Some('w')).collect();
        assert!(writable.is_empty(), "{writable:#?}");
        for line in [
            "-rw-r--r-- /etc/docker/daemon.json",
            "-rw-r--r-- /etc/lvm/profile/docker-thinpool.profile",
            "-rw------- /var/lib/dmtool/files/loop/data",
            "-rw------- /var/lib/dmtool/files/loop/metadata",
            "-rw------- /var/lib/dmtool/pools/loop.json",
            "-rw-r--r-- /run/look/at",
            "-rw------- /run/dmtool.lock",
        ] {
            assert!(open.lines().any(|found| found == line), "{line} of {open}");
        }
    });
}

/// A link where dmtool writes: what it points at is somebody's, and stays as it is.
#[test]
fn planted_links_are_not_followed() {
    in_kernel(|| {
        sh("mkfs.ext4 -q /dev/xvdg; mkdir -p /var/lib/dmtool /etc/docker; mount /dev/xvdg /var/lib/dmtool");
        // What a profile may say, so that reading it is no reason to stop.
        let victim = "echo 'activation { thin_pool_autoextend_threshold=90 }' > /run/victim; chmod 640 /run/victim";
        let untouched = |what: &str| {
            let said = sh("cat /run/victim; stat -c '%a %h' /run/victim");
            assert_eq!(said, "activation { thin_pool_autoextend_threshold=90 }\n640 1", "{what}");
        };
        sh(victim);
        let refused = |words: &str, link: &str, to: &str| {
            sh(&format!("mkdir -p $(dirname {link}); ln -sfn {to} {link}"));
            let (status, value) = json(&format!("{words} --yes"));
            assert_ne!(status, 0, "{words}: {value:#}");
            let why = value["error"].to_string();
            let known = ["is a symlink", "symbolic links", "data is there already"];
            assert!(known.iter().any(|reason| why.contains(reason)), "{words}: {value:#}");
            untouched(words);
            assert_eq!(sh(&format!("readlink {link}; test ! -e /run/nothing")), to);
            sh(&format!("rm {link}"));
            status
        };
        let before = print_of("/dev/xvdi");
        assert_eq!(refused("setup /dev/xvdi", "/etc/lvm/profile/docker-thinpool.profile", "/run/victim"), 3);
        assert_eq!(refused("setup /dev/xvdi", "/run/dmtool.lock", "/run/victim"), 3);
        assert_eq!(print_of("/dev/xvdi"), before, "nothing is begun");
        dmtool("setup /dev/xvdi --yes").assert().success();
        refused("configure docker docker/thinpool", "/etc/docker/daemon.json", "/run/victim");
        let looped = "setup --loop --data 100M --metadata 4M";
        refused(looped, "/var/lib/dmtool/pools/loop.json", "/run/nothing");
        refused(looped, "/var/lib/dmtool/loop/data", "/run/victim");
        refused(looped, "/var/lib/dmtool/loop/data", "/run/nothing");
        // A name for what becomes a file in one step, guessed: every process number that comes next.
        let plant = |folder: &str, name: &str| {
            sh(&format!("mkdir -p {folder}"));
            for number in 1..=4000 {
                let link = format!("{folder}/.{name}.dmtool-{number}");
                std::os::unix::fs::symlink("/run/victim", link).expect("a link");
            }
        };
        plant("/etc/docker", "daemon.json");
        dmtool("configure docker docker/thinpool --yes").assert().success();
        untouched("the temporary name of daemon.json");
        assert_eq!(
            sh("jq -r '.\"storage-driver\"' /etc/docker/daemon.json; test ! -L /etc/docker/daemon.json"),
            "devicemapper"
        );
        plant("/var/lib/dmtool/pools", "loop.json");
        dmtool("setup --loop --data 100M --metadata 4M --yes").assert().success();
        untouched("the temporary name of the register");
        // A folder that anybody may write into, as of an operator who has metrics written to /tmp.
        sh("mkdir -m 1777 /run/open; ln -s /run/victim /run/open/metrics");
        dmtool("metrics --output /run/open/metrics").assert().code(3).stderr(contains("symlink"));
        untouched("metrics --output");
        // A second name of somebody's file is no reason to write into that.
        sh("rm /run/open/metrics; ln /run/victim /run/open/metrics");
        dmtool("metrics --output /run/open/metrics").assert().success();
        sh("grep -q dmtool_pools /run/open/metrics");
        untouched("metrics --output over a second name");
    });
}

/// A process, a mount, a label, a file, devices: named as anybody, or an image from anywhere, names them.
fn named_so() {
    let esc = "\u{1b}";
    sh(&format!("mkfs.ext4 -q -L 'a{esc}[2Jb' /dev/xvdh; cp /bin/sleep '/run/{esc}[31mz\nerror: all is lost'"));
    sh("mkfs.ext4 -q /dev/xvdg; mkdir -p /var/lib/dmtool; mount /dev/xvdg /var/lib/dmtool");
    sh(&format!("mkdir -p '/var/lib/dmtool/{esc}]0;x\u{7}y'"));
    dmtool("setup /dev/xvdf --data 75%VG --yes").assert().success();
    dmtool("volume create docker/thinpool web 64M --fs ext4").assert().success();
    sh(&format!(
        "mkdir -p '/run/m{esc}[1m\n  done    teardown'; mount /dev/docker/web '/run/m{esc}[1m\n  done    teardown'"
    ));
    sh(&format!(
        "'/run/{esc}[31mz\nerror: all is lost' 1000 < /dev/docker/web >/dev/null 2>&1 & echo $! > /run/pid; sleep 0.2"
    ));
    sh(&format!(
        "truncate -s 100M '/var/lib/dmtool/{esc}]0;x\u{7}y/data'; truncate -s 4M /var/lib/dmtool/meta; \
         d=$(losetup -f --show '/var/lib/dmtool/{esc}]0;x\u{7}y/data'); m=$(losetup -f --show /var/lib/dmtool/meta); \
         dmsetup create --manglename none --table \"0 204800 thin-pool $m $d 128 0\" 'p{esc}[31mq' && \
         dmsetup message --manglename none 'p{esc}[31mq' 0 'create_thin 0' && \
         n=$(dmsetup info --manglename none -c --noheadings --separator : -o major,minor 'p{esc}[31mq') && \
         dmsetup create --manglename none --table \"0 2048 thin $n 0\" 'v{esc}[31m'"
    ));
}

/// Bytes that command a terminal, wherever a name may have them: none of them reaches it.
#[test]
fn names_command_no_terminal() {
    in_kernel(|| {
        named_so();
        let esc = "\u{1b}";
        for words in [
            "status",
            "status -x",
            "status --json",
            "check",
            "check --nagios",
            "check --json",
            "metrics",
            "volume list docker/thinpool",
            "volume show docker/thinpool web",
            "discards docker/thinpool",
            "deactivate docker/thinpool",
            "teardown docker/thinpool --yes",
            "teardown docker/thinpool --yes --json",
            "volume unmount docker/thinpool web",
            "volume trim docker/thinpool",
            "setup /dev/xvdh --pool x/y --yes",
            "setup /dev/xvdh --pool x/y --yes --json",
            "activate --all",
        ] {
            let output = dmtool(words).output().expect("dmtool");
            hears_nothing(words, &[output.stdout, output.stderr].concat());
        }
        let name = format!("p{esc}[31mq");
        for words in
            [vec!["status", &name], vec!["volume", "list", &name], vec!["discards", &name], vec!["check", &name]]
        {
            for more in [None, Some("--json")] {
                let output = dmtool("").args(&words).args(more).output().expect("dmtool");
                let said = [output.stdout, output.stderr].concat();
                assert!(!String::from_utf8_lossy(&said).contains("there is no pool"), "{words:?}");
                hears_nothing(&format!("{words:?}"), &said);
            }
        }
        let watched = sh(&format!("timeout -s INT 15 {} watch --interval 1 2>&1; true", env!("CARGO_BIN_EXE_dmtool")));
        assert!(watched.contains("[31mq  ") && watched.contains("POOL"), "{watched}");
        hears_nothing("watch", watched.as_bytes());
        sh("kill $(cat /run/pid); umount -a -t ext4; true");
        sh(&format!(
            "dmsetup remove --retry --manglename none 'v{esc}[31m'; dmsetup remove --retry --manglename none '{name}'; losetup -D"
        ));
    });
}

/// No byte of this commands a terminal, and no line of it says what only a name says.
#[track_caller]
fn hears_nothing(words: &str, said: &[u8]) {
    let text = String::from_utf8(said.to_vec()).expect("UTF-8");
    let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c));
    assert_eq!(bad, None, "{words}: {text:?}");
    let forged =
        text.lines().find(|line| line.starts_with("error: all is lost") || line.starts_with("  done    teardown"));
    assert_eq!(forged, None, "{words}: {text}");
}
