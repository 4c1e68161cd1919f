//! `dmtool volume trim`: deleted files, and what the pool has back of them.

use super::register::{no_var, var};
use super::status::loop_pool;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// Chunks of 64 KiB that a pool has in use.
fn used(dm_name: &str) -> u64 {
    let words = sh(&format!("dmsetup status {dm_name}"));
    words.split(' ').nth(5).and_then(|word| word.split('/').next()?.parse().ok()).expect("used blocks")
}

fn bytes(value: &serde_json::Value, of: &str) -> u64 {
    value[of].as_u64().unwrap_or_else(|| panic!("{of}: {value:#}"))
}

const MIB: u64 = 1 << 20;

/// With all of its tables there: ext4 would write them in the background while chunks are counted.
const MKFS: &str = "mkfs.ext4 -qF -E lazy_itable_init=0,lazy_journal_init=0";

/// A pool on files with a volume that carries ext4, mounted.
fn mounted() {
    var();
    dmtool("setup --loop --data 2G --metadata 64M --yes").assert().success();
    dmtool("volume create loop web 256M").assert().success();
    sh(&format!("{MKFS} /dev/mapper/loop-web && mkdir -p /run/web && mount /dev/mapper/loop-web /run/web"));
}

fn taken_down() {
    dmtool("deactivate").assert().success();
    no_var();
}

#[test]
fn a_large_file_comes_back_and_the_figures_are_right() {
    in_kernel(|| {
        mounted();
        dmtool("volume create loop db 512M --fs xfs").assert().success();
        sh("mkdir -p /run/db && mount /dev/mapper/loop-db /run/db");
        sh("for place in web db; do dd if=/dev/urandom of=/run/$place/big bs=1M count=64 status=none; done; sync");
        let blocks = || -> u64 { sh("sync; stat -c %b /var/lib/dmtool/loop/data").parse().expect("a number") };
        let (before, file) = (used("loop"), blocks());
        // Deleted, and not yet in any journal.
        sh("rm /run/web/big /run/db/big");
        dmtool("volume trim loop --dry-run")
            .assert()
            .success()
            .stdout(contains("fstrim /run/web").and(contains("fstrim /run/db")));
        assert_eq!(used("loop"), before);
        let (status, value) = json("volume trim loop");
        assert_eq!(
            (status, &value["changed"], value["steps"].as_array().map(Vec::len)),
            (0, &true.into(), Some(2)),
            "{value:#}"
        );
        let trimmed = &value["trimmed"];
        let back = (before - used("loop")) * 65536;
        // The file systems may write a little between the two looks.
        assert!(bytes(trimmed, "returned_bytes").abs_diff(back) < MIB, "{back} {value:#}");
        // A little less than was written: a file need not begin with a chunk.
        assert!(back.abs_diff(128 * MIB) < MIB, "{back}");
        assert!((file - blocks()).abs_diff(128 * MIB / 512) < MIB / 512, "the file has holes for all of it");
        for (at, name) in ["web", "db"].iter().enumerate() {
            let volume = &trimmed["volumes"][at];
            assert_eq!((&volume["name"], &volume["why"]), (&(*name).into(), &serde_json::Value::Null), "{value:#}");
            assert!(bytes(volume, "unmapped_bytes").abs_diff(64 * MIB) < MIB, "{value:#}");
            assert!(bytes(volume, "handed_on_bytes") >= 63 * MIB, "{value:#}");
        }
        assert_eq!(trimmed["notes"], serde_json::json!([]));
        assert_eq!(bytes(&value["pool"]["data"], "used_bytes"), used("loop") * 65536);
        // Nothing is left to be handed on.
        dmtool("volume trim loop web").assert().success().stdout(
            contains("web on /run/web handed on 0 B: it has no free run").and(contains("Nothing came back to loop.")),
        );
        // A pool that keeps what it has back says so.
        sh("dd if=/dev/urandom of=/run/web/big bs=1M count=64 status=none; sync");
        dmtool("discards loop no_passdown").assert().success();
        let (before, file) = (used("loop"), blocks());
        sh("rm /run/web/big");
        dmtool("volume trim loop id:0").assert().success().stdout(
            contains("of which 63.")
                .or(contains("of which 64"))
                .and(contains("hands nothing on: it is set to\nno_passdown.")),
        );
        assert!(before - used("loop") > 1000, "{before}");
        assert!(file - blocks() < MIB / 512);
        sh("umount /run/web /run/db");
        taken_down();
    });
}

#[test]
fn small_scattered_files_leave_no_whole_chunk() {
    in_kernel(|| {
        mounted();
        sh("cd /run/web && for at in $(seq 1 600); do head -c 20000 /dev/urandom > $at; done; sync");
        dmtool("volume trim loop").assert().success();
        let before = used("loop");
        // Every second one: holes of 20 KiB.
        sh("cd /run/web && for at in $(seq 1 2 600); do rm $at; done");
        let (status, value) = json("volume trim loop web");
        assert_eq!(status, 0, "{value:#}");
        let volume = &value["trimmed"]["volumes"][0];
        assert_eq!((bytes(volume, "unmapped_bytes"), bytes(&value["trimmed"], "returned_bytes")), (0, 0), "{value:#}");
        assert!(volume["why"].as_str().is_some_and(|why| why.contains("free in pieces smaller than a chunk (64 KiB)")));
        assert!(used("loop") >= before);
        sh("umount /run/web");
        taken_down();
    });
}

#[test]
fn blocks_that_a_snapshot_shares_stay() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdf && lvcreate -qq --type thin-pool -L 1G --chunksize 64k -n pool vg && \
            lvcreate -qq -V 256M -T vg/pool -n web && mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/vg/web && mount /dev/vg/web /mnt && \
            dd if=/dev/urandom of=/mnt/big bs=1M count=64 status=none && sync && lvcreate -qq -s -n before vg/web");
        let before = used("vg-pool-tpool");
        sh("rm /mnt/big");
        let (status, value) = json("volume trim vg/pool");
        assert_eq!(status, 0, "{value:#}");
        let trimmed = &value["trimmed"];
        assert!(bytes(&trimmed["volumes"][0], "unmapped_bytes").abs_diff(64 * MIB) < MIB, "{value:#}");
        assert_eq!(bytes(trimmed, "returned_bytes"), 0);
        assert!(
            trimmed["notes"][0].as_str().is_some_and(|note| note.contains("blocks that snapshots share")),
            "{value:#}"
        );
        assert!(used("vg-pool-tpool") >= before);
        sh("lvremove -qq -y vg/before");
        let back = (before - used("vg-pool-tpool")) * 65536;
        assert!(back > 60 * MIB, "with the last of them it is back: {back}");
        sh("umount /mnt");
    });
}

#[test]
fn what_is_not_trimmed_and_why() {
    in_kernel(|| {
        mounted();
        dmtool("volume create loop idle 64M").assert().success();
        for (words, said) in [
            ("loop idle", "idle is not mounted"),
            ("loop id:1", "hint: mount it: dmtool volume mount loop idle DIR"),
            ("loop nothing", "There is no volume nothing on loop."),
            ("loop id:9", "hint: list them: dmtool volume list loop"),
            ("nothing", "there is no pool nothing"),
        ] {
            dmtool(&format!("volume trim {words}")).assert().code(3).stderr(contains(said));
        }
        sh("mount -o remount,ro /run/web");
        dmtool("volume trim loop web").assert().code(3).stderr(contains("web is mounted read-only on /run/web."));
        dmtool("volume trim loop").assert().success().stderr(contains("and is left out"));
        sh("umount /run/web");
        let (status, value) = json("volume trim loop");
        assert_eq!((status, &value["changed"], &value["steps"]), (0, &false.into(), &serde_json::json!([])));
        dmtool("volume trim loop")
            .assert()
            .success()
            .stdout("No volume of loop is mounted here, so there is nothing to trim.\n");
        // A pool that takes none, and one that is down.
        dmtool("deactivate").assert().success();
        dmtool("volume trim loop").assert().code(3).stderr(contains("loop is down."));
        dmtool("discards loop ignore").assert().success();
        dmtool("activate").assert().success();
        sh("mount /dev/mapper/loop-web /run/web");
        dmtool("volume trim loop")
            .assert()
            .code(3)
            .stderr(contains("loop ignores discards").and(contains("dmtool discards loop passdown")));
        sh("umount /run/web");
        taken_down();
    });
}

#[test]
fn volumes_of_others_are_left_to_them() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdf && lvcreate -qq --type thin-pool -L 256M --chunksize 64k -n pool vg");
        // As Docker uses it: LVM knows nothing of that.
        sh(
            "dmsetup message vg-pool 0 'create_thin 0' && dmsetup create theirs --table '0 131072 thin /dev/mapper/vg-pool 0' && \
            mkfs.ext4 -q /dev/mapper/theirs && mount /dev/mapper/theirs /mnt",
        );
        dmtool("volume trim vg/pool").assert().success().stdout(contains("theirs on /mnt"));
        sh("dmsetup message vg-pool 0 'set_transaction_id 0 3'");
        dmtool("volume trim vg/pool").assert().code(3).stderr(contains("vg/pool is at transaction 3, and was at 0"));
        sh("dmsetup message vg-pool 0 'set_transaction_id 3 0'");
        sh(
            "mkdir -p /etc/docker && echo '{\"storage-opts\": [\"dm.thinpooldev=/dev/mapper/vg-pool\"]}' > /etc/docker/daemon.json",
        );
        dmtool("volume trim vg/pool theirs").assert().code(3).stderr(
            contains("Docker is configured for vg/pool").and(contains("dmtool configure docker vg/pool --discard")),
        );
        sh("rm /etc/docker/daemon.json; umount /mnt; dmsetup remove --retry theirs");
        let docker = "docker-253:17-1835016-pool";
        loop_pool(docker);
        dmtool(&format!("volume trim {docker}")).assert().code(3).stderr(contains("is Docker's own pool"));
        remove_with_files(docker);
    });
}
