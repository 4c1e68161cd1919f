//! `dmtool configure docker`, with Debian's Docker 20.10.

use super::docker::import_busybox;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

const FILE: &str = "/etc/docker/daemon.json";
/// What a guest without a network needs, and what must stay.
pub const OTHERS: &str = "{\n\t\"bridge\": \"none\",\n\t\"iptables\": false,\n\t\"storage-opts\": [\"dm.basesize=2G\"],\n\t\"log-level\": \"warn\"\n}\n";

pub fn write(text: &str) {
    sh("mkdir -p /etc/docker");
    std::fs::write(FILE, text).expect("daemon.json");
}

pub fn read() -> String {
    std::fs::read_to_string(FILE).expect("daemon.json")
}

/// Docker and containerd as their packages have them: a guest masks them.
pub fn unmask_units() {
    sh("cd /etc/systemd/system && rm -f docker.service docker.socket containerd.service && systemctl daemon-reload");
}

pub fn unmask() {
    unmask_units();
    sh("mkfs.ext4 -q /dev/xvdg && mkdir -p /var/lib/docker && mount /dev/xvdg /var/lib/docker");
}

#[test]
fn from_a_blank_disk_to_a_container_in_two_commands() {
    boots(|machine| {
        machine.systemd("", || {
            unmask();
            write(OTHERS);
            dmtool("setup /dev/xvdf --yes").assert().success();
            dmtool("configure docker docker/thinpool --restart --base-size 4G")
                .assert()
                .code(3)
                .stderr(contains("needs a yes"));
            assert_eq!(read(), OTHERS);
            dmtool("configure docker docker/thinpool --restart --base-size 4G --dry-run")
                .assert()
                .success()
                .stdout(contains("+        \"dm.thinpooldev=/dev/mapper/docker-thinpool\"").and(contains("systemctl restart docker")));
            let configure = "configure docker docker/thinpool --restart --base-size 4G --yes";
            let (status, value) = json(configure);
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#} {}", sh("journalctl -b -u docker --no-pager | tail -20"));
            assert!(value["diff"].as_str().is_some_and(|diff| diff.contains("-\t\"storage-opts\"")), "{value:#}");
            let expected = OTHERS.replace(
                "[\"dm.basesize=2G\"]",
                "[\n\t\t\"dm.basesize=4G\",\n\t\t\"dm.thinpooldev=/dev/mapper/docker-thinpool\",\n\t\t\"dm.use_deferred_removal=true\",\n\t\t\
                 \"dm.use_deferred_deletion=true\"\n\t]",
            );
            assert_eq!(read(), expected.replace("\n}\n", ",\n\t\"storage-driver\": \"devicemapper\"\n}\n"));
            assert_eq!(sh(&format!("cat {FILE}.before-dmtool")), OTHERS.trim_end(), "the old one is kept");
            let info = sh("/usr/bin/docker info 2>/dev/null");
            assert!(info.contains("Pool Name: docker-thinpool") && info.contains("Base Device Size: 4.295GB"), "{info}");
            import_busybox();
            assert_eq!(sh("/usr/bin/docker run --network none busy sh -c 'echo inside'"), "inside");
            let (status, value) = json(configure);
            assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
            assert_eq!(sh("ls /etc/docker | grep -c before-dmtool"), "1");
            dockers_restart_that_fails_is_made_up_for();
            sh("/usr/bin/docker run --name keep --network none busy sh -c 'echo kept > /kept'");
            dmtool("resize +10% docker/thinpool --add-device /dev/xvdh --yes").assert().success();
            assert_eq!(kept(), "kept");
            // Another value is another run of Docker.
            dmtool("configure docker docker/thinpool --min-free-space 5 --yes")
                .assert()
                .code(3)
                .stderr(contains("Docker runs").and(contains("--restart")));
            sh("systemctl stop docker.socket docker");
            unmount("/var/lib/docker");
        });
        machine.systemd("", || {
            comes_back("activate docker/thinpool", "configure docker docker/thinpool --restart --base-size 4G --yes");
        });
    });
}

/// What the container wrote that was kept.
fn kept() -> String {
    sh("/usr/bin/docker cp keep:/kept - | tar -xO")
}

/// A guest's root is blank at each boot: Docker's folder lies on a disk, its configuration is made again.
fn comes_back(activate: &str, configure: &str) {
    unmask_units();
    sh("mkdir -p /var/lib/docker && mount /dev/xvdg /var/lib/docker");
    write(OTHERS);
    if !activate.is_empty() {
        dmtool(activate).assert().success();
    }
    let (status, value) = json(configure);
    assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
    assert_eq!(kept(), "kept");
    assert_eq!(sh("/usr/bin/docker run --network none busy sh -c 'echo inside'"), "inside");
    assert_eq!(json(configure).1["changed"], false);
    sh("systemctl stop docker.socket docker");
    unmount("/var/lib/docker");
}

/// The file is written, and then systemd does not do its part: the next run does.
fn dockers_restart_that_fails_is_made_up_for() {
    let configure = "configure docker docker/thinpool --restart --base-size 4G --min-free-space 7 --yes";
    sh(
        "mv /usr/bin/systemctl /run/ && printf '#!/bin/sh\\n[ \"$1\" != restart ] || exit 1\\nexec /run/systemctl \"$@\"\\n' > /usr/bin/systemctl && chmod +x /usr/bin/systemctl",
    );
    dmtool(configure).assert().code(1).stderr(
        contains("docker did not come up").and(contains("to go back: mv /etc/docker/daemon.json.before-dmtool.1")),
    );
    sh("mv /run/systemctl /usr/bin/systemctl");
    assert!(read().contains("dm.min_free_space=7%"));
    // Docker that cannot be asked is not restarted for that.
    let daemon = || sh("pgrep -x dockerd");
    let before = daemon();
    sh(
        "mv /usr/bin/docker /run/its-docker && printf '#!/bin/sh\\necho no answer\\n' > /usr/bin/docker && chmod +x /usr/bin/docker",
    );
    dmtool(configure).assert().code(3).stderr(contains("could not be asked").and(contains("no answer")));
    sh("mv /run/its-docker /usr/bin/docker");
    assert_eq!(daemon(), before);
    let (status, value) = json(configure);
    assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
    assert_ne!(daemon(), before, "it was older than its file");
    assert_eq!(json(configure).1["changed"], false);
    dmtool("configure docker docker/thinpool --restart --base-size 1G --yes")
        .assert()
        .code(3)
        .stderr(contains("base volume has 4 GiB"));
}

#[test]
fn on_two_volumes() {
    boots(|machine| {
        machine.systemd("", || {
            unmask();
            write(
                "{\"bridge\": \"none\", \"iptables\": false, \"storage-driver\": \"overlay2\", \
                 \"storage-opts\": [\"dm.thinpooldev=/dev/mapper/old\", \"overlay2.size=1G\"]}",
            );
            dmtool("setup /dev/xvdf --two-volumes --yes").assert().success();
            let configure = "configure docker vg-docker/data --restart --yes";
            let refused = |said: &str| {
                dmtool(configure).assert().code(3).stderr(contains(said).and(contains("nothing was changed")));
            };
            // Somebody's data, and a unit that has an option of the file's.
            sh("mkfs.ext4 -q /dev/vg-docker/data");
            refused("carries ext4");
            sh("wipefs -qa /dev/vg-docker/data; mkdir -p /etc/systemd/system/docker.service.d");
            sh("printf '[Service]\\nEnvironment=\"DOCKER_OPTS=-s vfs\"\\n' > /etc/systemd/system/docker.service.d/a.conf");
            sh("systemctl daemon-reload");
            refused("given twice");
            sh(": > /etc/systemd/system/docker.service.d/a.conf && systemctl daemon-reload");
            let (status, value) = json(configure);
            assert_eq!(
                (status, &value["pool"]),
                (0, &serde_json::Value::Null),
                "{value:#} {}",
                sh("journalctl -b -u docker --no-pager | tail -20")
            );
            let info = sh("/usr/bin/docker info 2>/dev/null");
            assert!(
                info.contains("Data file: /dev/mapper/vg--docker-data") && !read().contains("thinpooldev") && !read().contains("overlay2"),
                "{info}"
            );
            import_busybox();
            assert_eq!(sh("/usr/bin/docker run --network none busy sh -c 'echo inside'"), "inside");
            sh("/usr/bin/docker run --name keep --network none busy sh -c 'echo kept > /kept'");
            assert_eq!(json(configure).1["changed"], false);
            // With the unit in use, systemd knows its files from before.
            sh("sleep 1; printf '[Service]\\nLimitCORE=0\\n' > /etc/systemd/system/docker.service.d/a.conf");
            dmtool(&format!("{configure} --min-free-space 5"))
                .assert()
                .code(3)
                .stderr(contains("systemd has not read that yet").and(contains("systemctl daemon-reload")));
            let own = sh("/usr/bin/docker info 2>/dev/null | sed -n 's/.*Pool Name: //p'");
            dmtool(&format!("configure docker {own} --restart --yes"))
                .assert()
                .code(3)
                .stderr(contains("Docker makes itself"));
            sh("systemctl stop docker.socket docker");
            unmount("/var/lib/docker");
        });
        machine.systemd("", || {
            unmask_units();
            sh("mkdir -p /var/lib/docker && mount /dev/xvdg /var/lib/docker");
            write(OTHERS);
            // What the file says by itself counts as well.
            dmtool("configure docker vg-docker/data --restart --yes")
                .assert()
                .code(3)
                .stderr(contains("base volume has 10 GiB").and(contains("--base-size 10G")));
            unmount("/var/lib/docker");
            comes_back("", "configure docker vg-docker/data --restart --base-size 10G --yes");
        });
    });
}

#[test]
fn a_file_that_is_not_as_it_should_be_is_left_alone() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        let configure = "configure docker docker/thinpool --yes";
        for (text, said) in [
            ("{\"debug\": true,}", "no JSON"),
            ("\u{feff}{\"debug\": true}", "byte order mark"),
            ("", "does not start with an empty one"),
            ("[]", "no JSON object"),
            ("{\"storage-opts\": \"dm.fs=xfs\"}", "is no list"),
        ] {
            write(text);
            dmtool(configure).assert().code(3).stderr(contains(said).and(contains("nothing was changed")));
            assert_eq!(read(), text);
            assert_eq!(sh("ls /etc/docker"), "daemon.json", "{text}");
        }
        sh("rm /etc/docker/daemon.json && mkdir /etc/docker/daemon.json");
        dmtool(configure).assert().code(3).stderr(contains("is a directory"));
        sh(
            "rmdir /etc/docker/daemon.json && echo '{}' > /run/other.json && ln -s /run/other.json /etc/docker/daemon.json",
        );
        dmtool(configure).assert().code(3).stderr(contains("is a symlink"));
        assert_eq!(sh("readlink /etc/docker/daemon.json; cat /run/other.json"), "/run/other.json\n{}");
        // A file system that is read-only.
        sh(
            "rm /etc/docker/daemon.json && echo '{}' > /etc/docker/daemon.json && mount --bind /etc/docker /etc/docker && mount -o remount,ro,bind /etc/docker",
        );
        dmtool(configure).assert().code(3).stderr(contains("cannot be written").and(contains("Read-only file system")));
        sh("umount /etc/docker");
        assert_eq!(read(), "{}\n");
        // Another file, and one that is not there.
        dmtool("configure docker docker/thinpool --config /run/d/daemon.json --yes").assert().success();
        assert!(sh("cat /run/d/daemon.json").contains("docker-thinpool"));
        assert_eq!(sh("ls /run/d"), "daemon.json");
        sh("rm -r /etc/docker");
        dmtool(configure).assert().success();
        assert_eq!(sh("stat -c '%a %U' /etc/docker/daemon.json"), "644 root");
        sh("rm -r /etc/docker /run/d /run/other.json");
    });
}

#[test]
fn what_docker_would_refuse_is_refused_before() {
    in_kernel(|| {
        let configure = "configure docker docker/thinpool --yes";
        sh("rm -rf /etc/docker");
        dmtool(configure).assert().code(3).stderr(contains("there is no pool"));
        dmtool("setup /dev/xvdf --yes").assert().success();
        // An option on the command line, as Debian's package has them in its file.
        sh("echo 'DOCKER_OPTS=\"--storage-opt dm.fs=xfs\"' > /etc/default/docker");
        dmtool(configure)
            .assert()
            .code(3)
            .stderr(contains("/etc/default/docker has --storage-opt").and(contains("given twice")));
        sh(": > /etc/default/docker");
        // A newer Docker.
        sh(
            "mv /usr/sbin/dockerd /run/ && printf '#!/bin/sh\\necho Docker version 25.0.3, build 1\\n' > /usr/sbin/dockerd && chmod +x /usr/sbin/dockerd",
        );
        dmtool(configure).assert().code(3).stderr(contains("Docker 25 is installed"));
        sh("mv /run/dockerd /usr/sbin/dockerd");
        dmtool("deactivate docker/thinpool").assert().success();
        dmtool(configure).assert().code(3).stderr(contains("is down").and(contains("dmtool activate docker/thinpool")));
        dmtool("activate docker/thinpool").assert().success();
        // containerd has it.
        sh(
            "cp -a /etc/containerd /etc/containerd.was && printf 'version = 2\\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\\npool_name = \"docker-thinpool\"\\n' > /etc/containerd/config.toml",
        );
        dmtool(configure).assert().code(3).stderr(contains("containerd is configured for docker/thinpool"));
        sh("rm -rf /etc/containerd && mv /etc/containerd.was /etc/containerd");
        // What another Docker left, for a pool that is new.
        sh("mkdir -p /var/lib/docker/devicemapper/metadata && echo '{}' > /var/lib/docker/devicemapper/metadata/base");
        dmtool(configure).assert().code(3).stderr(contains("is of another pool"));
        sh("rm -r /var/lib/docker/devicemapper; mkdir -p /var/lib/docker/image/overlay2");
        dmtool(&format!("{configure} --dry-run")).assert().success();
        assert!(json(&format!("{configure} --dry-run")).1["warnings"].to_string().contains("overlay2"));
        // A volume of a daemon's: used.
        sh(
            "dmsetup message docker-thinpool 0 'create_thin 1' && dmsetup message docker-thinpool 0 'set_transaction_id 0 1'",
        );
        dmtool(configure).assert().code(3).stderr(contains("was used before"));
        // And of LVM's: layered.
        sh(
            "dmsetup message docker-thinpool 0 'delete 1' && dmsetup message docker-thinpool 0 'set_transaction_id 1 0' && lvcreate -qq -V 1G -T docker/thinpool -n v 2>/dev/null",
        );
        dmtool(configure).assert().code(3).stderr(contains("LVM has volumes in docker/thinpool"));
        assert!(!try_sh("ls /etc/docker/daemon.json").0, "nothing was written");
        sh("rm -r /var/lib/docker");
    });
}

#[test]
fn what_docker_had_goes_aside_and_comes_back_where_it_does_not_start() {
    boots(|machine| {
        machine.systemd("", || {
            unmask_units();
            sh("mkfs.ext4 -q /dev/xvdg && mkdir -p /srv && mount /dev/xvdg /srv");
            let before =
                "{\"bridge\": \"none\", \"iptables\": false, \"data-root\": \"/srv/docker\", \"storage-driver\": \"vfs\"}\n";
            write(before);
            sh("systemctl start docker");
            import_busybox();
            sh("/usr/bin/docker run --name old --network none busy sh -c 'echo kept > /kept'");
            dmtool("setup /dev/xvdf --yes").assert().success();
            let (driver, kept) = (drivers, old_kept);
            dmtool("configure docker docker/thinpool --move-data --yes")
                .assert()
                .code(3)
                .stderr(contains("Docker runs").and(contains("--restart")));
            // Docker does not come up with such an option: all is as it was, and it runs.
            let configure = "configure docker docker/thinpool --restart --move-data --base-size 4G";
            dmtool(&format!("{configure} --option dm.basesize=huge --yes")).assert().code(1).stderr(
                contains("did not come up")
                    .and(contains("/srv/docker is back as it was"))
                    .and(contains("it runs as before")),
            );
            assert_eq!((read().as_str(), driver().as_str(), kept().as_str()), (before, "vfs", "kept"));
            sh("rm -rf /srv/docker.failed.0");
            assert_eq!(sh("ls /srv"), "docker\nlost+found");
            assert_eq!(sh("ls /etc/docker"), "daemon.json\nkey.json");
            a_move_that_is_cut_off(configure, before);
            // It does.
            dmtool(&format!("{configure} --dry-run"))
                .assert()
                .success()
                .stdout(contains("mv /srv/docker /srv/docker.bk").and(contains("systemctl restart docker")));
            dmtool(&format!("{configure} --yes")).assert().success().stdout(contains("rm -r /srv/docker.bk"));
            assert_eq!(driver(), "devicemapper");
            assert_eq!(sh("ls /srv /srv/docker.bk/image"), "/srv:\ndocker\ndocker.bk\nlost+found\n\n/srv/docker.bk/image:\nvfs");
            import_busybox();
            assert_eq!(sh("/usr/bin/docker run --network none busy sh -c 'echo inside'"), "inside");
            assert_eq!(json(&format!("{configure} --yes")).1["changed"], false);
            // A name that is taken.
            sh("systemctl stop docker.socket docker && mkdir -p /srv/docker/image/vfs");
            sh("mv /etc/docker/daemon.json.before-dmtool /etc/docker/daemon.json");
            dmtool(&format!("{configure} --yes")).assert().code(3).stderr(contains("/srv/docker.bk is there already"));
            sh("umount /srv");
        });
    });
}

/// Killed before the folder is moved, and run again.
fn a_move_that_is_cut_off(configure: &str, before: &str) {
    // Killed before the move, and run again: back as well, by what that run wrote down.
    let killed = |words: &str| {
        let binary = env!("CARGO_BIN_EXE_dmtool");
        let line =
            format!("strace -f -qq -o /dev/null -e trace=renameat2 -e inject=renameat2:signal=KILL {binary} {words}");
        assert!(!try_sh(&format!("{line} >/dev/null 2>&1")).0, "{words}");
        assert_ne!(read(), before, "the file is written before the move");
        assert_eq!(sh("ls /srv; pgrep -xc dockerd || true"), "docker\nlost+found\n0");
    };
    let bad = format!("{configure} --option dm.basesize=huge --yes");
    killed(&bad);
    dmtool(&bad).assert().code(1).stderr(
        contains("did not come up").and(contains("/srv/docker is back as it was")).and(contains("it runs as before")),
    );
    assert_eq!((read().as_str(), drivers().as_str(), old_kept().as_str()), (before, "vfs", "kept"));
    sh("rm -rf /srv/docker.failed.0");
    assert!(!try_sh("ls /var/lib/dmtool/docker-moved.json").0);
    // A name that appears meanwhile is not taken for what was moved.
    killed(&bad);
    sh("cp -a /srv/docker /srv/docker.bk");
    dmtool(&format!("{configure} --yes")).assert().code(3).stderr(contains("/srv/docker.bk is there already"));
    sh("rm -r /srv/docker.bk");
}

fn drivers() -> String {
    sh("/usr/bin/docker info --format '{{.Driver}}' 2>/dev/null")
}

fn old_kept() -> String {
    sh("/usr/bin/docker cp old:/kept - | tar -xO")
}

#[test]
fn a_pool_is_made_for_docker() {
    in_kernel(|| {
        sh("rm -rf /etc/docker /var/lib/docker /etc/containerd.was && cp -a /etc/containerd /etc/containerd.was");
        write("{\"debug\": true,}");
        dmtool("setup /dev/xvdf --for docker --yes")
            .assert()
            .code(3)
            .stderr(contains("is left alone").and(contains("no JSON")));
        assert_eq!(sh("blkid /dev/xvdf || echo blank"), "blank", "refused before the first write");
        sh("mkfs.ext4 -q /dev/xvdf");
        dmtool("setup /dev/xvdf --for docker --yes")
            .assert()
            .code(3)
            .stderr(contains("signature: ext4").and(contains("no JSON")));
        sh("wipefs -qa /dev/xvdf; rm -r /etc/docker");
        dmtool("setup /dev/xvdf --restart").assert().code(2);
        dmtool("setup /dev/xvdf --for podman").assert().code(2);
        dmtool("setup /dev/xvdf --for docker --dry-run")
            .assert()
            .success()
            .stdout(contains("vgcreate docker").and(contains("dm.thinpooldev=/dev/mapper/docker-thinpool")));
        let (status, value) = json("setup /dev/xvdf --for docker --yes");
        assert_eq!(
            (status, &value["changed"], &value["pool"]["name"]),
            (0, &true.into(), &"docker/thinpool".into()),
            "{value:#}"
        );
        assert!(read().contains("dm.thinpooldev=/dev/mapper/docker-thinpool"));
        assert_eq!(json("setup /dev/xvdf --for docker --yes").1["changed"], false);
        // Down: brought up, nothing else.
        dmtool("deactivate docker/thinpool").assert().success();
        let value = json("setup /dev/xvdf --for docker --yes").1;
        assert_eq!((&value["changed"], &value["error"]), (&true.into(), &serde_json::Value::Null), "{value:#}");
        sh("rm -r /etc/docker");
        dmtool("setup --loop --data 256M --metadata 8M --for docker --yes").assert().success();
        assert!(read().contains("dm.thinpooldev=/dev/mapper/loop\""), "{}", read());
        sh("rm -r /etc/docker");
        dmtool("setup /dev/xvdg --two-volumes --for docker --yes").assert().success();
        assert!(read().contains("dm.datadev=/dev/mapper/vg--docker-data"), "{}", read());
        assert_eq!(json("setup /dev/xvdg --two-volumes --for docker --yes").1["changed"], false);
        sh("rm -r /etc/docker");
        // containerd makes no pool itself.
        dmtool("setup /dev/xvdg --two-volumes --for containerd --yes")
            .assert()
            .code(3)
            .stderr(contains("no pool of two volumes"));
        dmtool("setup --loop --data 256M --metadata 8M --for containerd --yes").assert().success();
        assert!(sh("cat /etc/containerd/config.toml").contains("pool_name = \"loop\""));
        sh("rm -rf /etc/containerd && mv /etc/containerd.was /etc/containerd");
    });
}
