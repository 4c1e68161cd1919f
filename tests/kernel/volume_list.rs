//! `dmtool volume list` and `show`: every thin device of a pool, beside what the kernel and thin_ls say.

use super::status::loop_pool;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// The volume of a list with this number.
pub fn with_id(list: &Value, id: u64) -> Value {
    let volumes = list["volumes"].as_array().expect("volumes");
    volumes.iter().find(|volume| volume["thin_id"] == id).cloned().unwrap_or_else(|| panic!("no {id} in {list:#}"))
}

/// A pool with the volume 1 up and its snapshot 2 down, three of ten chunks written to since.
fn shared() {
    loop_pool("bare-pool");
    sh("dmsetup message bare-pool 0 'create_thin 1' && \
        dmsetup create t1 --table '0 204800 thin /dev/mapper/bare-pool 1' && \
        dd if=/dev/urandom of=/dev/mapper/t1 bs=64k count=10 seek=5 oflag=direct status=none && \
        dmsetup suspend t1 && dmsetup message bare-pool 0 'create_snap 2 1' && dmsetup resume t1 && \
        dd if=/dev/urandom of=/dev/mapper/t1 bs=64k count=3 seek=5 oflag=direct status=none && \
        dmsetup message bare-pool 0 'set_transaction_id 0 4' && dmsetup message bare-pool 0 'create_thin 16777215'");
}

fn unshared() {
    remove_with_files("t1 bare-pool");
}

fn held_root() -> String {
    sh("dmsetup status bare-pool").split(' ').nth(6).expect("a word").to_owned()
}

#[test]
fn every_volume_of_a_pool_active_or_not() {
    in_kernel(|| {
        shared();
        let (_, list) = json("volume list bare-pool");
        assert_eq!(list["complete"], true);
        assert_eq!(list["volumes"].as_array().map(Vec::len), Some(3));
        let (one, two, last) = (with_id(&list, 1), with_id(&list, 2), with_id(&list, 16_777_215));
        // As the kernel says it: mapped sectors, and the highest of them.
        assert!(sh("dmsetup status t1").ends_with("thin 1280 1919"));
        for volume in [&one, &two] {
            assert_eq!((&volume["mapped_bytes"], &volume["highest_mapped_bytes"]), (&655_360.into(), &983_040.into()));
            assert_eq!((&volume["exclusive_bytes"], &volume["owner"]), (&Value::Null, &Value::Null));
        }
        assert_eq!(
            (&one["name"], &one["active"], &one["size_bytes"]),
            (&"t1".into(), &true.into(), &104_857_600.into())
        );
        assert_eq!((&two["name"], &two["active"], &two["size_bytes"]), (&"id:2".into(), &false.into(), &Value::Null));
        assert_eq!((&last["mapped_bytes"], &last["highest_mapped_bytes"]), (&0.into(), &Value::Null));
        assert_eq!((&one["transaction_id"], &last["transaction_id"]), (&0.into(), &4.into()));
        // What is held alone, as thin_ls counts it.
        let (_, exact) = json("volume list --exact --sort exclusive");
        sh("dmsetup message bare-pool 0 reserve_metadata_snap");
        let theirs = sh(
            "thin_ls -m --no-headers -o DEV,EXCLUSIVE_BYTES,SHARED_BYTES $(losetup -nO NAME -j /run/files/metadata)",
        );
        sh("dmsetup message bare-pool 0 release_metadata_snap");
        for line in theirs.lines() {
            let words: Vec<u64> = line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
            let ours = with_id(&exact, words[0]);
            assert_eq!(
                (&ours["exclusive_bytes"], &ours["shared_bytes"]),
                (&words[1].into(), &words[2].into()),
                "{line}"
            );
        }
        assert_eq!(theirs.lines().count(), 3);
        assert_eq!(with_id(&exact, 1)["exclusive_bytes"], 196_608);
        assert_eq!(exact["volumes"][2]["thin_id"], 16_777_215, "the largest first");
        assert_eq!(held_root(), "-");
        // For people, and for awk.
        let list = dmtool("volume list bare-pool --exact").output().expect("a list");
        let text = String::from_utf8_lossy(&list.stdout).into_owned();
        assert!(text.lines().all(|line| line.len() <= 80 && line.split_whitespace().count() == 8), "{text}");
        dmtool("volume show bare-pool id:2").assert().success().stdout(contains("mapped:  640 KiB (1280 sectors)"));
        let (_, show) = json("volume show bare-pool t1 --exact");
        assert_eq!((&show["volume"]["thin_id"], &show["volume"]["shared_bytes"]), (&1.into(), &458_752.into()));
        for typed in ["id:3", "id:16777216", "id:-1", "id:", "t2"] {
            let said = format!("there is no volume {typed} in bare-pool");
            dmtool(&format!("volume show bare-pool {typed}")).assert().code(3).stderr(contains(said));
        }
        unshared();
    });
}

#[test]
fn a_list_where_no_metadata_snapshot_can_be_had() {
    in_kernel(|| {
        shared();
        let only_active = |why: &str| {
            for words in ["volume list", "volume list --exact"] {
                let (status, list) = json(words);
                assert_eq!((status, &list["complete"]), (0, &false.into()), "{list:#}");
                assert_eq!(list["volumes"].as_array().map(Vec::len), Some(1), "{list:#}");
                assert_eq!(
                    (&list["volumes"][0]["name"], &list["volumes"][0]["exclusive_bytes"]),
                    (&"t1".into(), &Value::Null)
                );
                assert!(list["warnings"][0].as_str().is_some_and(|warning| warning.contains(why)), "{list:#}");
            }
            dmtool("volume show bare-pool id:2").assert().code(3).stderr(contains("could be seen").and(contains(why)));
        };
        sh("dmsetup message bare-pool 0 reserve_metadata_snap");
        only_active("somebody else holds a metadata snapshot");
        assert_ne!(held_root(), "-", "it is not ours to release");
        sh("dmsetup message bare-pool 0 release_metadata_snap");
        sh("dmsetup suspend bare-pool");
        only_active("is suspended");
        sh("dmsetup resume bare-pool");
        // Read-only, by a table that says so.
        let table = sh("dmsetup table bare-pool");
        let read_only = table.replace("1 skip_block_zeroing", "2 skip_block_zeroing read_only");
        sh(&format!(
            "dmsetup remove --retry t1 bare-pool && dmsetup create bare-pool --table '{read_only}' && \
                     dmsetup create t1 --table '0 204800 thin /dev/mapper/bare-pool 1'"
        ));
        only_active("read-only");
        unshared();
    });
}
