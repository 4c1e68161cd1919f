//! `dmtool volume orphans` and `dmtool volume recycle`.

use super::register::{no_var, record, var};
use crate::harness::*;
use predicates::str::contains;
use serde_json::Value;

/// What is found, as `orphan 9, missing 3`.
fn found(pool: &str) -> String {
    let (status, value) = json(&format!("volume orphans {pool}"));
    assert_eq!((status, &value["complete"]), (0, &true.into()), "{value:#}");
    let orphans = value["orphans"].as_array().expect("orphans");
    let one = |one: &Value| format!("{} {}", one["is"].as_str().expect("a word"), one["thin_id"]);
    orphans.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn used(pool: &str) -> String {
    sh(&format!("dmsetup status {pool}")).split(' ').nth(5).expect("a word").to_owned()
}

/// Volumes made by hand: one with data that is down, and one that is up.
fn by_hand(pool: &str) {
    sh(&format!(
        "dmsetup message {pool} 0 'create_thin 900' && dmsetup create x --table '0 65536 thin /dev/mapper/{pool} 900' && \
         dd if=/dev/urandom of=/dev/mapper/x bs=1M count=8 oflag=direct status=none && dmsetup remove --retry x && \
         dmsetup message {pool} 0 'create_thin 901' && dmsetup create y --table '0 65536 thin /dev/mapper/{pool} 901'"
    ));
}

#[test]
fn what_has_lost_its_other_half() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("volume create loop web 64M --fs ext4").assert().success();
        dmtool("volume create loop gone 64M").assert().success();
        assert_eq!(found("loop"), "");
        dmtool("volume orphans loop").assert().success().stdout("nothing without an owner in loop\n");
        let before = used("loop");
        let sum = sh("md5sum < /dev/mapper/loop-web");
        by_hand("loop");
        sh("dmsetup remove --retry loop-gone && dmsetup message loop 0 'delete 1'");
        assert_eq!(found("loop"), "orphan 900, in-use 901, missing 1");
        let text = String::from_utf8(dmtool("volume orphans loop").output().expect("a list").stdout).expect("text");
        assert!(text.lines().all(|line| line.split_whitespace().count() == 5), "{text}");
        dmtool("volume orphans loop --remove").assert().code(3).stderr(contains("needs a yes"));
        let (status, value) = json("volume orphans loop --remove --yes");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        assert!(value["warnings"][0].as_str().is_some_and(|warning| warning.contains("dmsetup remove y")), "{value:#}");
        assert_eq!((used("loop"), sh("md5sum < /dev/mapper/loop-web")), (before, sum));
        assert_eq!(record()["volumes"].as_array().map(Vec::len), Some(1));
        assert_eq!(json("volume orphans loop --remove --yes").1["changed"], false);
        assert_eq!(found("loop"), "in-use 901");
        // In no register: whoever made the volumes may know of them.
        sh("dmsetup remove --retry y; mv /var/lib/dmtool/pools/loop.json /run/");
        assert_eq!(found("loop"), "orphan 901, in-use 0");
        dmtool("volume orphans loop --remove --yes").assert().code(3).stderr(contains("loop is in no register"));
        // To remember it as it is found says nothing of them either.
        dmtool("activate loop --remember").assert().success();
        assert_eq!(found("loop"), "orphan 901");
        dmtool("volume orphans loop --remove --yes").assert().code(3).stderr(contains("as somebody else had made it"));
        sh("mv /run/loop.json /var/lib/dmtool/pools/");
        // One that cannot be seen is not taken for one that is not there.
        sh("dmsetup message loop 0 reserve_metadata_snap");
        assert_eq!(json("volume orphans loop").1["complete"], false);
        dmtool("volume orphans loop --remove --yes").assert().code(3).stderr(contains("Not all volumes of loop"));
        sh("dmsetup message loop 0 release_metadata_snap");
        dmtool("deactivate loop").assert().success();
        assert_eq!(found("loop"), "orphan 901");
        dmtool("volume orphans loop --remove --yes").assert().code(3).stderr(contains("loop is down"));
        dmtool("activate loop").assert().success();
        dmtool("volume orphans loop --remove --yes").assert().success();
        dmtool("teardown loop --yes").assert().success();
        no_var();
    });
}

#[test]
fn orphans_of_lvm() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh(
            "lvcreate -q -V 64M -n web --thinpool docker/thinpool; lvcreate -q -V 64M -n gone --thinpool docker/thinpool",
        );
        let id = sh("lvs --noheadings -o thin_id docker/gone");
        sh(&format!("lvchange -an docker/gone && dmsetup message docker-thinpool-tpool 0 'delete {id}'"));
        by_hand("docker-thinpool-tpool");
        assert_eq!(found("docker/thinpool"), format!("orphan 900, in-use 901, missing {id}"));
        // Another program counts transactions, whose books nobody knows.
        let own = sh("dmsetup status docker-thinpool-tpool").split(' ').nth(3).expect("a number").to_owned();
        sh(&format!("dmsetup message docker-thinpool-tpool 0 'set_transaction_id {own} 99'"));
        dmtool("volume orphans docker/thinpool --remove --yes")
            .assert()
            .code(3)
            .stderr(contains("another program makes volumes in it"));
        sh(&format!("dmsetup message docker-thinpool-tpool 0 'set_transaction_id 99 {own}'; dmsetup remove --retry y"));
        dmtool("volume orphans docker/thinpool --remove --yes").assert().success();
        assert_eq!(sh("lvs --noheadings -o lv_name -S pool_lv=thinpool docker"), "web");
        assert_eq!(found("docker/thinpool"), "");
        dmtool("teardown docker/thinpool --yes").assert().success();
    });
}

/// A record as Docker keeps it, of the ids 1 and 2, its last transaction over.
const DOCKERS: &str = r#"
mkdir -p /var/lib/docker/devicemapper/metadata /etc/docker && cd /var/lib/docker/devicemapper/metadata
echo '{"device_id":1,"size":1073741824,"transaction_id":1,"initialized":true,"deleted":false}' > base
echo '{"device_id":2,"size":1073741824,"transaction_id":2,"initialized":false,"deleted":false}' > 0123456789abcdef
echo '{"next_device_id":3,"BaseDeviceUUID":"x","BaseDeviceFilesystem":"ext4"}' > deviceset-metadata
echo '{"open_transaction_id":2,"device_hash":"0123456789abcdef","device_id":2}' > transaction-metadata
echo '{"storage-opts": ["dm.thinpooldev=/dev/mapper/docker-thinpool"]}' > /etc/docker/daemon.json
"#;

#[test]
fn volumes_that_dockers_files_know_are_no_orphans() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh("mkdir -p /var/lib/docker && mount -t tmpfs docker /var/lib/docker");
        sh(DOCKERS);
        for id in [1, 2, 7] {
            sh(&format!("dmsetup message docker-thinpool 0 'create_thin {id}'"));
        }
        sh("dmsetup message docker-thinpool 0 'set_transaction_id 0 2'");
        assert_eq!(found("docker/thinpool"), "orphan 7");
        let refused = |why: &str| {
            dmtool("volume orphans docker/thinpool --remove --yes").assert().code(3).stderr(contains(why));
            assert_eq!(json("volume list docker/thinpool").1["volumes"].as_array().map(Vec::len), Some(3), "{why}");
        };
        let metadata = "/var/lib/docker/devicemapper/metadata";
        // In the middle of a transaction: 7 is Docker's, and its file is not written yet.
        let transaction = |id: u64| {
            let text = format!(r#"{{"open_transaction_id":{id},"device_hash":"77","device_id":7}}"#);
            std::fs::write(format!("{metadata}/transaction-metadata"), text).expect("Docker's file");
        };
        transaction(3);
        assert_eq!(found("docker/thinpool"), "");
        sh("dmsetup message docker-thinpool 0 'create_thin 8'");
        dmtool("volume orphans docker/thinpool --remove --yes")
            .assert()
            .code(3)
            .stderr(contains("has begun transaction 3"));
        sh("dmsetup message docker-thinpool 0 'delete 8'");
        transaction(2);
        // Files that cannot be read, that are away, or that are of a pool unknown.
        for (breaks, mends, why) in [
            (format!("echo '{{' > {metadata}/55"), format!("rm {metadata}/55"), "/55"),
            (
                format!("echo '{{\"device_id\":16777216}}' > {metadata}/55"),
                format!("rm {metadata}/55"),
                "is no thin id",
            ),
            (
                format!("mv {metadata} {metadata}.away"),
                format!("mv {metadata}.away {metadata}"),
                "no record of its volumes is in",
            ),
            ("echo '{' > /etc/docker/daemon.json".to_owned(), DOCKERS.to_owned(), "reading /etc/docker/daemon.json"),
            ("rm /etc/docker/daemon.json".to_owned(), DOCKERS.to_owned(), "is configured for no pool"),
            // An older copy, that of another pool, and a folder that a Docker has just made.
            (
                "dmsetup message docker-thinpool 0 'set_transaction_id 2 9'".to_owned(),
                "dmsetup message docker-thinpool 0 'set_transaction_id 9 2'".to_owned(),
                "ends at 2",
            ),
            (
                format!("mv {metadata} {metadata}.away && mkdir {metadata}"),
                format!("rmdir {metadata} && mv {metadata}.away {metadata}"),
                "has no volume at all",
            ),
            (
                r#"cp -a /etc/containerd /etc/containerd.was; echo 'imports = ["/etc/?/*.toml"]' > /etc/containerd/config.toml"#
                    .to_owned(),
                "rm -rf /etc/containerd && mv /etc/containerd.was /etc/containerd".to_owned(),
                "in other files, too",
            ),
        ] {
            sh(&breaks);
            refused(why);
            sh(&mends);
        }
        dmtool("volume orphans docker/thinpool --remove --yes").assert().success();
        assert_eq!(found("docker/thinpool"), "");
        // Docker's entry without a volume is Docker's to forget.
        sh("dmsetup message docker-thinpool 0 'delete 2'");
        assert_eq!(found("docker/thinpool"), "missing 2");
        let (status, value) = json("volume orphans docker/thinpool --remove --yes");
        assert_eq!((status, &value["changed"]), (0, &false.into()));
        assert!(value["warnings"][0].as_str().is_some_and(|warning| warning.contains("docker rmi")), "{value:#}");
        sh("umount /var/lib/docker; rm /etc/docker/daemon.json");
        dmtool("teardown docker/thinpool --yes").assert().success();
    });
}

#[test]
fn a_used_pool_of_lvm_as_new() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --data 50%VG --yes").assert().success();
        sh(
            "lvcreate -q -an -L 64M -n other docker; lvchange -ay docker/other; dd if=/dev/urandom of=/dev/docker/other bs=1M count=64 oflag=direct status=none",
        );
        let other = sh("md5sum < /dev/docker/other");
        let new = || {
            assert!(
                sh("dmsetup status docker-thinpool").contains("thin-pool 0 "),
                "{}",
                sh("dmsetup status docker-thinpool")
            );
            assert_eq!(used("docker-thinpool").split('/').next(), Some("0"));
            let row = "lvs --noheadings --separator , -o transaction_id,seg_monitor,lv_profile docker/thinpool";
            assert_eq!(sh(row), "0,monitored,docker-thinpool");
            assert_eq!(sh("md5sum < /dev/docker/other"), other);
            dmtool("configure docker docker/thinpool --dry-run").assert().success();
        };
        sh("lvcreate -q -V 64M -n web --thinpool docker/thinpool && lvcreate -q -s -n snap docker/web");
        by_hand("docker-thinpool-tpool");
        sh("mount -t tmpfs x /mnt; mkfs.ext4 -q /dev/docker/web && mkdir /mnt/web && mount /dev/docker/web /mnt/web");
        let refused =
            |why: &str| drop(dmtool("volume recycle docker/thinpool --yes").assert().code(3).stderr(contains(why)));
        refused("docker-web is mounted on /mnt/web");
        sh("umount /mnt/web; dmsetup message docker-thinpool-tpool 0 reserve_metadata_snap");
        refused("somebody else holds a metadata snapshot");
        sh("dmsetup message docker-thinpool-tpool 0 release_metadata_snap; umount /mnt");
        dmtool("configure docker docker/thinpool --dry-run").assert().code(3);
        dmtool("volume recycle docker/thinpool").assert().code(3).stderr(contains("needs a yes"));
        let (status, value) = json("volume recycle docker/thinpool --yes");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        new();
        assert_eq!(json("volume recycle docker/thinpool --yes").1["changed"], false);
        // Cut off on the way: counted anew by the pool alone, up and down.
        for down in ["true", "lvchange -an docker/thinpool"] {
            sh("lvcreate -q -V 64M -n web --thinpool docker/thinpool && lvremove -q --yes docker/web");
            let own = sh("dmsetup status docker-thinpool-tpool").split(' ').nth(3).expect("a number").to_owned();
            assert_ne!(own, "0");
            sh(&format!("dmsetup message docker-thinpool-tpool 0 'set_transaction_id {own} 0'; {down}"));
            dmtool("volume recycle docker/thinpool --yes").assert().success();
            new();
        }
        sh("lvchange -an docker/thinpool");
        dmtool("volume recycle docker/thinpool --yes").assert().success();
        new();
        // As Docker leaves one: nothing of LVM's in it.
        sh(
            "dmsetup message docker-thinpool 0 'create_thin 1' && dmsetup message docker-thinpool 0 'set_transaction_id 0 5'",
        );
        let (status, value) = json("volume recycle docker/thinpool --yes");
        assert_eq!((status, value["steps"].as_array().map(Vec::len)), (0, Some(2)), "{value:#}");
        new();
        sh("lvremove -q --yes docker/other");
        dmtool("teardown docker/thinpool --yes").assert().success();
    });
}

#[test]
fn a_used_loop_pool_as_new() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("volume create loop web 64M --fs ext4").assert().success();
        sh("dmsetup message loop 0 'set_transaction_id 0 6'");
        by_hand("loop");
        dmtool("activate loop --remember").assert().success();
        assert_eq!(record()["transaction_id"], 6);
        dmtool("volume recycle loop --yes").assert().success().stdout(contains("loop is as new"));
        assert!(sh("dmsetup status loop").contains("thin-pool 0 ") && used("loop").starts_with("0/"));
        assert_eq!((&record()["transaction_id"], record()["volumes"].as_array().map(Vec::len)), (&0.into(), Some(0)));
        assert!(!sh("dmsetup ls").contains("loop-web"));
        assert_eq!(json("volume recycle loop --yes").1["changed"], false);
        // It comes back as what it is now.
        dmtool("deactivate loop").assert().success();
        dmtool("activate loop").assert().success();
        dmtool("teardown loop --yes").assert().success();
        no_var();
    });
}
