//! `dmtool status`: pools of every kind, whoever made them.

use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;
use std::time::{Duration, Instant};

/// A pool on two sparse files, as Docker makes it.
pub fn loop_pool(name: &str) {
    sh(&format!(
        "mkfs.ext4 -qF /dev/xvdh; mkdir -p /run/files && mount /dev/xvdh /run/files && cd /run/files && truncate -s 2G data && \
         truncate -s 64M metadata && d=$(losetup -f --show data) && m=$(losetup -f --show metadata) && \
         dmsetup create '{name}' --table \"0 4194304 thin-pool $m $d 128 32768 1 skip_block_zeroing\""
    ));
}

/// Docker's two-volume layout with a pool of its own on top.
pub fn raw_pool(name: &str) {
    sh(&format!(
        "vgcreate -qq vg-docker /dev/xvdg && lvcreate -qq -Wn -L 1G -n data vg-docker && lvcreate -qq -Wn -L 64M -n metadata vg-docker && \
         dd if=/dev/zero of=/dev/vg-docker/metadata bs=4k count=1 conv=fsync status=none && \
         dmsetup create '{name}' --table '0 2097152 thin-pool /dev/vg-docker/metadata /dev/vg-docker/data 128 32768'"
    ));
}

#[test]
fn no_pools() {
    in_kernel(|| {
        dmtool("status").assert().success().stdout("no pools here\n");
        let (status, value) = json("status");
        assert_eq!((status, &value["pools"]), (0, &serde_json::json!([])));
        dmtool("status nothing").assert().code(3).stderr(contains("there is no pool nothing on this host"));
    });
}

#[test]
fn all_three_kinds_side_by_side() {
    in_kernel(|| {
        sh("sh tests/recipe.sh /dev/xvdf");
        loop_pool("docker-253:17-1835016-pool");
        raw_pool("rawpool");
        sh(
            "dmsetup message rawpool 0 'create_thin 0' && dmsetup create thin0 --table '0 204800 thin /dev/mapper/rawpool 0'",
        );
        sh("dd if=/dev/urandom of=/dev/mapper/thin0 bs=64k count=16 oflag=direct status=none; sync");
        // A verb that knows no --all does not speak of it.
        dmtool("resize 1G").assert().code(3).stderr(contains("several pools").and(contains("--all").not()));
        dmtool("status").assert().success().stdout(
            "POOL                        KIND  STATE     SIZE  DATA   META  VOLUMES\n\
             docker-253:17-1835016-pool  loop  ok        2GiB  0.0%  10.1%        0\n\
             docker/thinpool             lvm   ok     3.79GiB  0.0%  10.1%        0\n\
             rawpool                     raw   ok        1GiB  0.1%  10.1%        1\n",
        );
        let (_, value) = json("status");
        let pools = value["pools"].as_array().expect("pools");
        assert_eq!(pools.len(), 3);
        let (bare, lvm, raw) = (&pools[0], &pools[1], &pools[2]);
        assert_eq!((&bare["kind"], &bare["data_file"]), (&"loop".into(), &"/run/files/data".into()));
        assert_eq!(bare["metadata_file"], "/run/files/metadata");
        assert_eq!((&lvm["kind"], &lvm["autoextend"]["threshold"]), (&"lvm".into(), &80.into()));
        assert_eq!((&raw["kind"], &raw["volumes"], &raw["zero"]), (&"raw".into(), &1.into(), &true.into()));
        let used: u64 = sh("dmsetup status rawpool")
            .split(' ')
            .nth(5)
            .and_then(|word| word.split('/').next()?.parse().ok())
            .expect("used");
        assert_eq!(raw["data"]["used_bytes"], used * 65536);
        assert_eq!((used, &raw["autoextend"]), (16, &serde_json::Value::Null));
        for name in ["rawpool", "/dev/mapper/rawpool"] {
            dmtool(&format!("status {name}"))
                .assert()
                .success()
                .stdout(contains("kind:  raw, a bare device-mapper table"));
        }
        remove_with_files("thin0 rawpool docker-253:17-1835016-pool");
    });
}

#[test]
fn a_pool_answers_to_every_name_and_layered_too() {
    in_kernel(|| {
        sh("sh tests/recipe.sh /dev/xvdf");
        sh("lvcreate -qq -V 1G -T docker/thinpool -n v1; lvcreate -qq -V 1G -T docker/thinpool -n v2");
        for name in ["docker/thinpool", "docker-thinpool", "/dev/mapper/docker-thinpool", "docker-thinpool-tpool"] {
            let (status, value) = json(&format!("status {name}"));
            assert_eq!(status, 0, "{name}");
            let pool = &value["pools"][0];
            assert_eq!((&pool["name"], &pool["dm_name"]), (&"docker/thinpool".into(), &"docker-thinpool-tpool".into()));
            // LVM's own linear layer holds the pool too, and is no volume.
            assert_eq!(pool["volumes"], 2);
        }
        let node = sh("readlink -f /dev/xvdf");
        let page = sh(&format!("{} status docker/thinpool", env!("CARGO_BIN_EXE_dmtool")));
        assert!(page.contains("carries:  docker-v1\n              docker-v2\n"), "{page}");
        assert!(page.contains("stands on:  docker-thinpool-tpool\n              ├─docker-thinpool_tmeta\n"), "{page}");
        assert!(page.contains(&format!("└─docker-thinpool_tdata\n                └─{node}")), "{page}");
    });
}

#[test]
fn an_inactive_pool_is_listed_with_nulls() {
    in_kernel(|| {
        sh("sh tests/recipe.sh /dev/xvdf && vgchange -qq -an docker");
        dmtool("status").assert().success().stdout(contains("docker/thinpool  lvm   inactive"));
        let (_, value) = json("status");
        let pool = &value["pools"][0];
        assert_eq!(
            (&pool["active"], &pool["mode"], &pool["dm_name"]),
            (&false.into(), &serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(pool["data"]["used_bytes"], serde_json::Value::Null);
        assert_eq!((&pool["data"]["total_bytes"], &pool["chunk_bytes"]), (&4_072_669_184_u64.into(), &524_288.into()));
        assert_eq!(pool["zero"], false);
    });
}

#[test]
fn sick_pools_are_told_and_never_hang() {
    in_kernel(|| {
        sh("sh tests/recipe.sh /dev/xvdf");
        sh("dmsetup message docker-thinpool 0 'create_thin 1' && \
            dmsetup create --noudevsync --noudevrules bare --table '0 204800 thin /dev/mapper/docker-thinpool 1' && \
            dmsetup suspend docker-thinpool && rm -f /run/lvm/hints");
        let start = Instant::now();
        dmtool("status").assert().success().stdout(contains("suspended"));
        dmtool("status docker/thinpool").assert().success().stdout(contains("state:  suspended (rw)"));
        let (_, value) = json("status");
        assert_eq!(value["pools"][0]["suspended"], true);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        sh("dmsetup resume docker-thinpool; dmsetup remove --retry bare");
    });
}

#[test]
fn the_text_does_not_load_lvm() {
    in_kernel(|| {
        sh("sh tests/recipe.sh /dev/xvdf");
        let loaded = |words: &str| sh(&format!("LD_DEBUG=files {} {words} 2>&1", env!("CARGO_BIN_EXE_dmtool")));
        let text = loaded("status");
        assert!(text.contains("docker/thinpool") && !text.contains("lvm2cmd"), "{text}");
        assert!(loaded("status --json").contains("liblvm2cmd"));
        dmtool("status").assert().stdout(contains("docker/thinpool").and(contains("ok")));
    });
}
