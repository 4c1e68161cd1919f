//! `dmtool configure containerd`, with Debian's containerd 1.6.

use super::configure::unmask_units;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

const FILE: &str = "/etc/containerd/config.toml";

fn read() -> String {
    std::fs::read_to_string(FILE).expect("config.toml")
}

/// An image of one layer, busybox, as an OCI archive.
const IMAGE: &str = r#"
set -e
mkdir -p /run/oci/blobs/sha256 /run/rootfs/bin && cd /run/oci
cp /bin/busybox /run/rootfs/bin
for name in sh cat sync echo; do ln -sf busybox /run/rootfs/bin/$name; done
put() { sum=$(sha256sum $1 | cut -d' ' -f1); size=$(stat -c %s $1); mv $1 blobs/sha256/$sum; }
tar -C /run/rootfs -cf layer . && put layer && layer=$sum layer_size=$size
printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $layer > config
put config && config=$sum config_size=$size
printf '{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' $config $config_size $layer $layer_size > manifest
put manifest
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"docker.io/library/busy:latest"}}]}' $sum $size > index.json
printf '{"imageLayoutVersion":"1.0.0"}' > oci-layout
tar -cf /run/busy.tar oci-layout index.json blobs
ctr images import --snapshotter devmapper /run/busy.tar >/dev/null
"#;

const RUN: &str = "ctr run --snapshotter devmapper";
const BUSY: &str = "docker.io/library/busy:latest";

/// Imports the image and runs a container that stays.
pub fn run_one() {
    sh(IMAGE);
    assert_eq!(sh(&format!("{RUN} {BUSY} stays sh -c 'echo inside'")), "inside");
}

#[test]
fn a_file_that_containerd_imports_has_the_last_word() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        let other = "/etc/containerd/conf.d/x.toml";
        let names = |pool: &str| {
            sh(&format!(
                "mkdir -p /etc/containerd/conf.d && printf '[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\\npool_name = \"{pool}\"\\n' > {other}"
            ))
        };
        sh(&format!(
            "cp -a /etc/containerd /etc/containerd.was; printf 'version = 2\\nimports = [\"/etc/containerd/conf.d/*.toml\"]\\n' > {FILE}"
        ));
        names("other");
        let before = read();
        dmtool("configure containerd docker/thinpool --yes").assert().code(3).stderr(contains(other));
        assert_eq!(read(), before);
        names("docker-thinpool");
        dmtool("configure docker docker/thinpool --yes")
            .assert()
            .code(3)
            .stderr(contains("containerd is configured for docker/thinpool"));
        dmtool("teardown docker/thinpool --yes").assert().code(3).stderr(contains(other));
        sh(&format!("rm {other}"));
        dmtool("configure containerd docker/thinpool --yes").assert().success();
        assert!(read().contains("conf.d") && read().contains("docker-thinpool"), "{}", read());
        dmtool("teardown docker/thinpool --yes").assert().success();
        sh("rm -rf /etc/containerd && mv /etc/containerd.was /etc/containerd");
    });
}

#[test]
fn from_a_blank_disk_to_a_container_that_keeps_its_data() {
    boots(|machine| {
        machine.systemd("", || {
            unmask_units();
            sh("mkfs.ext4 -q /dev/xvdg && mkdir -p /var/lib/containerd && mount /dev/xvdg /var/lib/containerd");
            let setup = "setup /dev/xvdf --data 60%VG --for containerd --restart --yes";
            let (status, value) = json(setup);
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#} {}", sh("journalctl -b -u containerd --no-pager | tail -20"));
            sh(IMAGE);
            assert_eq!(sh(&format!("{RUN} --rm {BUSY} one sh -c 'echo inside'")), "inside");
            sh(&format!("{RUN} {BUSY} keep sh -c 'echo kept > /kept; sync'"));
            assert!(sh("dmsetup ls").contains("docker-thinpool-snap-"), "{}", sh("dmsetup ls"));
            assert_eq!(json(setup).1["changed"], false, "the second time");
            let configure = "configure containerd docker/thinpool --restart --yes";
            assert_eq!(json(configure).1["changed"], false);
            dmtool("resize +10%").assert().success();
            assert_eq!(read_kept(), "kept");
            // Its snapshotter does not come up: containerd says so, and the file's copy leads back.
            sh("mv /usr/sbin/dmsetup /run/ && printf '#!/bin/sh\\nexit 1\\n' > /usr/sbin/dmsetup && chmod +x /usr/sbin/dmsetup");
            let (status, value) = json("configure containerd docker/thinpool --restart --option async_remove=true --yes");
            sh("mv /run/dmsetup /usr/sbin/dmsetup");
            let text = value.to_string();
            assert!(status == 1 && text.contains("snapshotter says"), "{status} {value:#}");
            sh("mv /etc/containerd/config.toml.before-dmtool.1 /etc/containerd/config.toml && systemctl restart containerd");
            assert_eq!(json(configure).1["changed"], false);
            sh("systemctl stop containerd");
            unmount("/var/lib/containerd");
        });
        machine.systemd("", || {
            unmask_units();
            sh("mkdir -p /var/lib/containerd && mount /dev/xvdg /var/lib/containerd");
            dmtool("activate docker/thinpool").assert().success();
            // The root of a guest is blank at each boot, its configuration with it.
            let (status, value) = json("configure containerd docker/thinpool --restart --yes");
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
            assert_eq!(read_kept(), "kept");
            assert_eq!(sh(&format!("{RUN} --rm {BUSY} two sh -c 'echo inside'")), "inside");
            sh("systemctl stop containerd");
            unmount("/var/lib/containerd");
        });
    });
}

/// What the container has written, from its own volume.
fn read_kept() -> String {
    sh(
        "mkdir -p /run/kept && mount $(ctr snapshots --snapshotter devmapper mounts /run/kept keep | grep -o '/dev/mapper/[^ ]*') /run/kept && cat /run/kept/kept && umount /run/kept",
    )
}

#[test]
fn the_file_keeps_what_it_had() {
    in_kernel(|| {
        sh("cp -a /etc/containerd /etc/containerd.was");
        dmtool("setup /dev/xvdf --yes").assert().success();
        let before = "# of the package\nversion = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\" # Debian's\n";
        std::fs::write(FILE, before).expect("config.toml");
        let configure = "configure containerd docker/thinpool --base-size 4G --discard --yes";
        dmtool(&configure.replace("--yes", "")).assert().code(3).stderr(contains("needs a yes"));
        dmtool(&configure.replace("--yes", "-n"))
            .assert()
            .success()
            .stdout(contains("+pool_name = \"docker-thinpool\""));
        assert_eq!(read(), before);
        let (status, value) = json(configure);
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        let table = "\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\npool_name = \"docker-thinpool\"\nroot_path = \"/var/lib/containerd/io.containerd.snapshotter.v1.devmapper\"\nbase_image_size = \"4G\"\ndiscard_blocks = true\n";
        assert_eq!(read(), format!("{before}{table}"));
        assert_eq!(sh(&format!("cat {FILE}.before-dmtool")), before.trim_end());
        // containerd itself reads it so.
        let dumped = sh("containerd config dump 2>/dev/null | grep -A8 'devmapper\"]'");
        assert!(
            dumped.contains("pool_name = \"docker-thinpool\"") && dumped.contains("discard_blocks = true"),
            "{dumped}"
        );
        assert_eq!(json(configure).1["changed"], false);
        // What was asked for stays where nothing is said.
        assert_eq!(json("configure containerd docker/thinpool --yes").1["changed"], false);
        dmtool("configure containerd docker/thinpool --default --option async_remove=true --yes")
            .assert()
            .success()
            .stderr(contains("pulled again"));
        assert!(read().contains("snapshotter = \"devmapper\"") && read().contains("async_remove = true"), "{}", read());
        let dumped = sh("containerd config dump 2>/dev/null | grep ' snapshotter = '");
        assert_eq!(dumped, "snapshotter = \"devmapper\"");
        sh("rm -rf /etc/containerd && mv /etc/containerd.was /etc/containerd");
    });
}

#[test]
fn what_containerd_would_fail_with_is_refused_before() {
    in_kernel(|| {
        sh("cp -a /etc/containerd /etc/containerd.was; rm -rf /etc/docker /var/lib/containerd");
        let configure = "configure containerd docker/thinpool --yes";
        dmtool(configure).assert().code(3).stderr(contains("there is no pool"));
        dmtool("setup /dev/xvdf --yes").assert().success();
        for (text, said) in [
            ("version = 2\n[plugins", "no TOML"),
            ("disabled_plugins = [\"cri\"]\n", "version = 2"),
            ("version = 3\n", "another version"),
            ("\u{feff}version = 2\n", "byte order mark"),
            ("version = 2\ndisabled_plugins = [\"io.containerd.snapshotter.v1.devmapper\"]\n", "disabled_plugins"),
        ] {
            std::fs::write(FILE, text).expect("config.toml");
            dmtool(configure).assert().code(3).stderr(contains(said).and(contains("nothing was changed")));
            assert_eq!(read(), text);
        }
        std::fs::write(FILE, "version = 2\n").expect("config.toml");
        for (words, said) in [
            ("--option pool_name=x", "sets by POOL"),
            ("--option fs_kind=xfs", "has no option fs_kind"),
            ("--option async_remove=maybe", "true or false"),
            ("--option fs_type=zfs", "ext4, xfs or ext2"),
            ("--base-size many", "many"),
        ] {
            dmtool(&format!("{configure} {words}")).assert().code(2).stderr(contains(said));
        }
        // Its tools.
        sh("mv /usr/sbin/blkdiscard /usr/sbin/mkfs.xfs /run");
        dmtool(&format!("{configure} --discard --option fs_type=xfs"))
            .assert()
            .code(3)
            .stderr(contains("blkdiscard, which is not installed").and(contains("mkfs.xfs, which is not installed")));
        sh("mv /run/blkdiscard /run/mkfs.xfs /usr/sbin");
        // systemd does not run here.
        dmtool(&format!("{configure} --restart")).assert().code(3).stderr(contains("systemd does not run here"));
        // Docker has the pool.
        sh(
            "mkdir -p /etc/docker && echo '{\"storage-opts\": [\"dm.thinpooldev=/dev/mapper/docker-thinpool\"]}' > /etc/docker/daemon.json",
        );
        dmtool(configure).assert().code(3).stderr(contains("Docker is configured for docker/thinpool"));
        sh("rm -r /etc/docker");
        // Used, and containerd has no record of it.
        sh(
            "dmsetup message docker-thinpool 0 'create_thin 1' && dmsetup create t --table '0 2048 thin /dev/mapper/docker-thinpool 1' && dd if=/dev/zero of=/dev/mapper/t bs=64K count=1 oflag=direct status=none && dmsetup remove --retry t",
        );
        dmtool(configure).assert().code(3).stderr(contains("was used before").and(contains("no record")));
        // With its record it is its own.
        let folder = "/var/lib/containerd/io.containerd.snapshotter.v1.devmapper";
        sh(&format!("mkdir -p {folder} && touch {folder}/docker-thinpool.db"));
        dmtool(configure).assert().success();
        sh(&format!("mv {FILE}.before-dmtool {FILE}; dmsetup message docker-thinpool 0 'delete 1'"));
        // And the record of one that is blank by now.
        dmtool(configure).assert().success().stderr(contains("is there already, and nothing is in"));
        sh(&format!("mv {FILE}.before-dmtool {FILE}; rm -r /var/lib/containerd"));
        sh("dmsetup message docker-thinpool 0 'set_transaction_id 0 7'");
        dmtool(configure).assert().code(3).stderr(contains("used by Docker or LVM"));
        sh(
            "dmsetup message docker-thinpool 0 'set_transaction_id 7 0' && lvcreate -qq -V 1G -T docker/thinpool -n v 2>/dev/null",
        );
        dmtool(configure).assert().code(3).stderr(contains("LVM has volumes in docker/thinpool"));
        assert_eq!(read(), "version = 2\n");
        sh("rm -rf /etc/containerd && mv /etc/containerd.was /etc/containerd");
    });
}
