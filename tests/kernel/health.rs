//! `dmtool check`: pools brought into each sick state that can be made here, its name and severity, and that the
//! hint's command, run as printed, mends it.

use super::status::loop_pool;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

/// What check says as JSON, its exit status compared with its words. LVM's hints are removed first: without them LVM
/// looks at every device that it may.
#[track_caller]
pub fn check(words: &str) -> Value {
    sh("rm -f /run/lvm/hints");
    let (status, value) = json(&format!("check {words}"));
    let expected = match value["status"].as_str() {
        Some("ok") => 0,
        Some("warning") => 1,
        Some("critical") => 2,
        _ => 3,
    };
    assert_eq!(status, expected, "{value:#}");
    value
}

pub fn findings<'a>(value: &'a Value, code: &str) -> Vec<&'a Value> {
    value["findings"].as_array().expect("findings").iter().filter(|finding| finding["code"] == code).collect()
}

/// That there is such a finding, with this severity; its hint.
#[track_caller]
pub fn found(code: &str, severity: &str) -> String {
    let value = check("");
    let found = findings(&value, code);
    assert!(!found.is_empty(), "no {code} in {value:#}");
    assert_eq!(found[0]["severity"], severity, "{value:#}");
    if severity != "info" {
        assert_ne!(value["status"], "ok", "{value:#}");
    }
    found[0]["hint"].as_str().expect("a hint").to_owned()
}

/// Runs a hint as it is printed.
#[track_caller]
pub fn run(hint: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_dmtool")).parent().expect("a folder").display().to_string();
    sh(&format!("export PATH={folder}:$PATH; {hint}"))
}

#[track_caller]
pub fn gone(code: &str) {
    let value = check("");
    assert!(findings(&value, code).is_empty(), "{value:#}");
}

#[track_caller]
pub fn found_and_mended(code: &str, severity: &str) {
    run(&found(code, severity));
    gone(code);
}

/// A small pool vg/pool of LVM on the 512 MiB disk, with 64 MiB in chunks of 64 KiB, and a volume vg/v in it.
pub fn small_pool() {
    sh(
        "vgcreate -qq -s 1m vg /dev/xvdi && lvcreate -qq --type thin-pool -L 64m --poolmetadatasize 2m -c 64k -Zn -n pool vg && \
        lvcreate -qq -V 1g -T vg/pool -n v",
    );
}

/// Writes so many chunks to vg/v, down to the disk; whether all of it went well.
fn write(chunks: u32) -> bool {
    try_sh(&format!(
        "dd if=/dev/urandom of=/dev/vg/v bs=64k count={chunks} oflag=direct conv=notrunc,fsync status=none"
    ))
    .0
}

#[test]
fn a_pool_that_is_down() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        assert_eq!(check("")["status"], "ok");
        sh("lvchange -qq -an docker/thinpool");
        found_and_mended("pool-inactive", "critical");
        assert_eq!(check("")["status"], "ok");
        sh("lvchange -qq -an docker/thinpool && lvchange -qq --yes -ay docker/thinpool_tmeta");
        found_and_mended("component-active", "critical");
        sh("lvchange -qq -an docker/thinpool && lvchange -qq --setactivationskip y docker/thinpool");
        found_and_mended("activation-skipped", "critical");
        assert!(sh("dmsetup table docker-thinpool").contains("thin-pool"));
    });
}

#[test]
fn a_disk_of_the_group_is_missing() {
    in_kernel(|| {
        let late = "dmsetup create late --table \"0 $(($(blockdev --getsz /dev/xvdg) - 2048)) linear /dev/xvdg 2048\" && udevadm settle";
        sh(&format!("{late} && vgcreate -qq vg /dev/xvdi /dev/mapper/late"));
        sh(
            "lvcreate -qq -L 4m -n other vg /dev/xvdi && lvcreate -qq --type thin-pool -L 600m --poolmetadatasize 4m -n pool vg && \
            vgchange -qq -an vg && dmsetup remove --retry late && udevadm settle",
        );
        let hint = found("volume-group-incomplete", "critical");
        assert!(findings(&check(""), "pool-inactive").is_empty(), "the missing disk is the reason");
        sh(late);
        run(&hint);
        gone("volume-group-incomplete");
        assert!(sh("dmsetup table vg-pool").contains("thin-pool"));
        // The group is changed while the disk is away: LVM keeps it out afterwards.
        sh("vgchange -qq -an vg && dmsetup remove --retry late && udevadm settle && lvremove -qq -y vg/other");
        sh(late);
        let hint = found("volume-group-incomplete", "critical");
        assert_eq!(hint, "vgextend --restoremissing vg /dev/mapper/late");
        run(&hint);
        gone("volume-group-incomplete");
        run(&found("pool-inactive", "critical"));
        assert!(sh("dmsetup table vg-pool").contains("thin-pool"));
        sh("vgremove -qq -ff vg; dmsetup remove --retry late");
    });
}

#[test]
fn suspended_with_bare_devices_on_it() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        sh("for i in 1 2 3; do dmsetup message docker-thinpool 0 \"create_thin $i\" && \
            dmsetup create layer-$i --table \"0 20480 thin /dev/mapper/docker-thinpool $i\" || exit 1; done");
        sh("dmsetup suspend docker-thinpool");
        let start = std::time::Instant::now();
        let hint = found("pool-suspended", "critical");
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
        run(&hint);
        gone("pool-suspended");
        // With a table that waits: the hint drops it, and the pool goes on with the one it had.
        let table = sh("dmsetup table docker-thinpool");
        sh("dmsetup suspend docker-thinpool && dmsetup table docker-thinpool | dmsetup load docker-thinpool");
        let hint = found("pool-suspended", "critical");
        assert!(hint.starts_with("dmsetup clear docker-thinpool && "), "{hint}");
        run(&hint);
        gone("pool-suspended");
        assert_eq!(sh("dmsetup table docker-thinpool"), table);
        sh("dmsetup remove --retry layer-1 layer-2 layer-3");
    });
}

#[test]
fn a_table_that_waits() {
    in_kernel(|| {
        small_pool();
        sh("lvchange -qq -an vg/v");
        let table = sh("dmsetup table vg-pool-tpool");
        // Longer than the device under it.
        let other = table.replace("0 131072 thin-pool", "0 1310720 thin-pool");
        assert_ne!(other, table);
        sh(&format!("dmsetup load vg-pool-tpool --table '{other}'"));
        let hint = found("inactive-table-pending", "warning");
        assert_eq!(hint, "dmsetup clear vg-pool-tpool");
        run(&hint);
        gone("inactive-table-pending");
        assert_eq!(sh("dmsetup table vg-pool-tpool"), table);
        sh("dmsetup table vg-pool-tpool | dmsetup load vg-pool-tpool");
        let hint = found("inactive-table-pending", "warning");
        assert_eq!(hint, "dmsetup resume vg-pool-tpool", "the same pool, no longer than its device");
        run(&hint);
        gone("inactive-table-pending");
    });
}

#[test]
fn full_and_waiting_loses_nothing() {
    in_kernel(|| {
        small_pool();
        sh("dd if=/dev/urandom of=/run/bytes bs=64k count=1200 status=none");
        sh(
            "(dd if=/run/bytes of=/dev/vg/v bs=64k oflag=direct conv=notrunc status=none; echo $? > /run/written) >/dev/null 2>&1 &",
        );
        wait_until("the pool is full", || sh("dmsetup status vg-pool-tpool").contains("out_of_data_space"));
        run(&found("data-full-queueing", "critical"));
        wait_until("the writer is done", || try_sh("cat /run/written").1 == "0");
        gone("data-full-queueing");
        sh("cmp -n 78643200 /run/bytes /dev/vg/v; rm /run/bytes");
    });
}

#[test]
fn full_and_out_of_time() {
    in_kernel(|| {
        sh("echo 1 > /sys/module/dm_thin_pool/parameters/no_space_timeout");
        small_pool();
        sh("mkfs.ext4 -q -E lazy_itable_init=0,nodiscard /dev/vg/v 16m && mount /dev/vg/v /mnt");
        try_sh("dd if=/dev/zero of=/dev/vg/v bs=64k seek=1000 count=1100 oflag=direct conv=notrunc status=none");
        sh("echo 60 > /sys/module/dm_thin_pool/parameters/no_space_timeout");
        let value = check("");
        let lost = findings(&value, "data-full-writes-lost");
        assert!(
            lost[0]["message"].as_str().is_some_and(|text| text.contains("vg-v (is mounted on /mnt)")),
            "{value:#}"
        );
        found_and_mended("data-full-writes-lost", "critical");
        assert!(sh("dmsetup status vg-pool-tpool").contains(" rw "));
        try_sh("umount /mnt");
    });
}

#[test]
fn full_and_failing_at_once() {
    in_kernel(|| {
        small_pool();
        sh("lvchange -qq --errorwhenfull y vg/pool");
        assert!(!write(1200));
        found_and_mended("data-full-error", "critical");
        assert!(write(1000), "there is room again");
    });
}

#[test]
fn metadata_filling_up_to_its_last_block() {
    in_kernel(|| {
        sh(
            "vgcreate -qq -s 1m vg /dev/xvdi && lvcreate -qq --type thin-pool -L 64m --poolmetadatasize 2m -c 64k -Zn -n pool vg",
        );
        let control = devicemapper::DM::new().expect("device-mapper");
        let name = devicemapper::DmName::new("vg-pool").expect("a name");
        let id = devicemapper::DevId::Name(name);
        let create = |number: u32| control.target_msg(&id, None, &format!("create_thin {number}")).is_ok();
        let used = || {
            let status = sh("dmsetup status vg-pool");
            let word = status.split(' ').nth(4).expect("metadata use").to_owned();
            let (used, total) = word.split_once('/').expect("two figures");
            (used.parse::<u32>().expect("a figure"), total.parse::<u32>().expect("a figure"))
        };
        let mut number = 0;
        while used().0 * 100 < used().1 * 81 {
            for _ in 0..10 {
                assert!(create(number));
                number += 1;
            }
        }
        let value = check("");
        assert_eq!(findings(&value, "metadata-nearly-full")[0]["severity"], "warning", "{value:#}");
        // Volumes until there is room for none, then writes that need a block each.
        while create(number) {
            number += 1;
        }
        sh("dmsetup create t0 --table '0 204800 thin /dev/mapper/vg-pool 0'");
        try_sh("dd if=/dev/zero of=/dev/mapper/t0 bs=64k count=1000 oflag=direct status=none");
        assert!(sh("dmsetup status vg-pool").contains(" ro "), "{}", sh("dmsetup status vg-pool"));
        found_and_mended("metadata-full", "critical");
        gone("metadata-nearly-full");
        assert!(sh("dmsetup status vg-pool").contains(" rw "));
        sh("dmsetup remove --retry t0");
    });
}

/// Puts another table under the pool's metadata, with the pool in use; the table that was there.
fn under_metadata(table: &str) -> String {
    let old = sh("dmsetup table vg-pool_tmeta");
    sh(&format!(
        "dmsetup suspend vg-pool_tmeta && dmsetup load vg-pool_tmeta --table '{table}' && dmsetup resume vg-pool_tmeta"
    ));
    old
}

/// A table for the metadata that fails every write.
fn no_writes() -> String {
    let table = sh("dmsetup table vg-pool_tmeta");
    let words: Vec<&str> = table.split(' ').collect();
    format!("0 {} flakey {} {} 0 10 1 error_writes", words[1], words[3], words[4])
}

#[test]
fn needs_a_check() {
    in_kernel(|| {
        small_pool();
        assert!(write(100));
        let before = sh("dd if=/dev/vg/v bs=64k count=100 iflag=direct status=none | md5sum");
        let table = under_metadata(&no_writes());
        try_sh("dd if=/dev/zero of=/dev/vg/v bs=64k seek=200 count=4 oflag=direct,sync conv=notrunc status=none");
        under_metadata(&table);
        assert!(sh("dmsetup status vg-pool-tpool").contains("needs_check"));
        // A repeated look at a sick pool finds the same.
        assert_eq!(found("needs-check", "critical"), found("needs-check", "critical"));
        found_and_mended("needs-check", "critical");
        assert_eq!(sh("dd if=/dev/vg/v bs=64k count=100 iflag=direct status=none | md5sum"), before);
        assert!(write(100));
    });
}

#[test]
fn full_and_needs_a_check() {
    in_kernel(|| {
        small_pool();
        sh("lvchange -qq --errorwhenfull y vg/pool");
        // Full to the last block, and then a commit that fails.
        assert!(write(1024));
        assert!(
            !try_sh("dd if=/dev/zero of=/dev/vg/v bs=64k seek=2000 count=1 oflag=direct conv=notrunc status=none").0
        );
        assert!(sh("dmsetup status vg-pool-tpool").contains("out_of_data_space"));
        let table = under_metadata(&no_writes());
        try_sh("blkdiscard -o 0 -l 65536 /dev/vg/v; sync; dmsetup message vg-pool-tpool 0 'create_thin 99'");
        under_metadata(&table);
        let status = sh("dmsetup status vg-pool-tpool");
        assert!(status.contains("needs_check") && status.contains(" 1024/1024 "), "{status}");
        found_and_mended("data-full-needs-check", "critical");
        gone("needs-check");
        assert!(sh("dmsetup status vg-pool-tpool").contains(" rw "));
    });
}

#[test]
fn a_pool_and_its_volumes_that_failed() {
    in_kernel(|| {
        small_pool();
        assert!(write(100));
        let before = sh("dd if=/dev/vg/v bs=64k count=100 iflag=direct status=none | md5sum");
        let length = sh("blockdev --getsz /dev/mapper/vg-pool_tmeta");
        let table = under_metadata(&format!("0 {length} error"));
        try_sh("dd if=/dev/zero of=/dev/vg/v bs=64k seek=200 count=4 oflag=direct,sync conv=notrunc status=none");
        under_metadata(&table);
        assert!(sh("dmsetup status vg-pool-tpool").ends_with("Fail"));
        found("volume-failed", "critical");
        found_and_mended("pool-failed", "critical");
        gone("volume-failed");
        assert_eq!(sh("dd if=/dev/vg/v bs=64k count=100 iflag=direct status=none | md5sum"), before);
    });
}

#[test]
fn another_target_in_the_pools_place() {
    in_kernel(|| {
        small_pool();
        sh("dmsetup wipe_table vg-pool-tpool");
        found_and_mended("target-error", "critical");
        assert!(sh("dmsetup table vg-pool-tpool").contains("thin-pool"));
        assert!(write(10));
        loop_pool("bare-pool");
        sh(
            "dmsetup message bare-pool 0 'create_thin 0' && dmsetup create t0 --table '0 204800 thin /dev/mapper/bare-pool 0'",
        );
        let table = sh("dmsetup table bare-pool");
        sh("dmsetup wipe_table bare-pool");
        assert_eq!(found("target-error", "critical"), "dmtool explain target-error");
        sh(&format!("dmsetup load bare-pool --table '{table}' && dmsetup resume bare-pool"));
        gone("target-error");
        remove_with_files("t0 bare-pool");
    });
}

/// The byte on the disk where the pool's metadata volume begins.
fn metadata_offset() -> u64 {
    let extent: u64 = sh("lvs -a --noheadings -o seg_pe_ranges vg/pool_tmeta | sed 's/.*:\\([0-9]*\\)-.*/\\1/'")
        .parse()
        .expect("an extent");
    (1 << 20) + extent * (1 << 20)
}

#[test]
fn damage_that_thin_check_finds() {
    in_kernel(|| {
        small_pool();
        assert!(write(100));
        let before = sh("dd if=/dev/vg/v bs=64k count=100 iflag=direct status=none | md5sum");
        let offset = metadata_offset();
        sh("vgchange -qq -an vg");
        // One block after the other, until thin_check is not content.
        let mut block = 1;
        while check("")["findings"][0]["code"] != "activation-check-failed" {
            block += 1;
            assert!(block < 30, "thin_check is content with everything");
            let at = offset + block * 4096 + 100;
            sh(&format!("printf '\\377\\377' | dd of=/dev/xvdi bs=1 seek={at} conv=notrunc,fsync status=none"));
        }
        assert!(!try_sh("lvchange -ay vg/pool").0, "LVM refuses it too");
        // On a terminal: it asks before it begins, and before it swaps.
        let on_terminal =
            |hint: &str| run(&format!("(sleep 1; echo y; sleep 3; echo y; sleep 5) | script -qec '{hint}' /dev/null"));
        let hint = found("activation-check-failed", "critical");
        assert_eq!(hint, "dmtool repair vg/pool");
        let said = on_terminal(&hint);
        assert!(said.contains("has new metadata; the old is kept"), "{said}");
        gone("activation-check-failed");
        dmtool("activate vg/pool").assert().success();
        sh("lvchange -qq -ay vg/v");
        assert_eq!(sh("dd if=/dev/vg/v bs=64k count=100 iflag=direct status=none | md5sum"), before);
        let hint = found("old-metadata-kept", "info");
        assert_eq!(hint, "dmtool repair vg/pool --accept");
        on_terminal(&hint);
        gone("old-metadata-kept");
        // That of LVM's own repair.
        sh("vgchange -qq -an vg && lvconvert -qq --yes --repair vg/pool 2>/dev/null; lvs vg/pool_meta0");
        found_and_mended("old-metadata-kept", "info");
    });
}

#[test]
fn thin_check_is_not_installed() {
    in_kernel(|| {
        small_pool();
        sh("mv /usr/sbin/thin_check /run/thin_check");
        let hint = found("thin-check-missing", "critical");
        assert_eq!(hint, "apt-get install thin-provisioning-tools");
        sh("vgchange -qq -an vg");
        found("thin-check-missing", "critical");
        sh("mv /run/thin_check /usr/sbin/thin_check");
        gone("thin-check-missing");
        sh("mkdir -p /etc/lvm; echo 'global { thin_check_executable = \"\" }' > /etc/lvm/lvmlocal.conf");
        sh("mv /usr/sbin/thin_check /run/thin_check");
        gone("thin-check-missing");
        sh("mv /run/thin_check /usr/sbin/thin_check; rm /etc/lvm/lvmlocal.conf");
    });
}

#[test]
fn a_held_metadata_snapshot() {
    in_kernel(|| {
        small_pool();
        sh("dmsetup message vg-pool-tpool 0 reserve_metadata_snap");
        found_and_mended("metadata-snapshot-held", "warning");
        assert!(sh("dmsetup status vg-pool-tpool").contains(" - rw "));
    });
}

#[test]
fn a_setup_that_stopped() {
    in_kernel(|| {
        sh(
            "vgcreate -qq docker /dev/xvdi && lvcreate -qq -Wy -n thinpool docker -l 60%VG && lvcreate -qq -Wy -n thinpoolmeta docker -l 1%VG",
        );
        found_and_mended("pool-half-built", "warning");
        assert!(sh("dmsetup table docker-thinpool").contains("thin-pool"));
        // With something on it, it is somebody's.
        sh(
            "lvremove -qq -y docker/thinpool && lvcreate -qq -Wy -n x docker -L 40m && lvcreate -qq -Wy -n xmeta docker -L 4m && mkfs.ext4 -q /dev/docker/x",
        );
        gone("pool-half-built");
    });
}

#[test]
fn what_is_worth_knowing() {
    in_kernel(|| {
        small_pool();
        found_and_mended("passdown-off", "info");
        assert!(found("pool-layered", "info").contains("explain"));
        sh(
            "mkdir -p /etc/docker && echo '{\"storage-opts\": [\"dm.thinpooldev=/dev/mapper/vg-pool\"]}' > /etc/docker/daemon.json",
        );
        found("pool-layered", "warning");
        sh("echo '{' > /etc/docker/daemon.json");
        let value = check("");
        let unseen = findings(&value, "could-not-look");
        assert!(
            unseen[0]["message"]
                .as_str()
                .is_some_and(|text| text.contains("pool-layered") && text.contains("daemon.json"))
        );
        sh(
            "rm /etc/docker/daemon.json; cp -a /etc/containerd /etc/containerd.was && printf 'version = 2\\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\\npool_name = \"vg-pool\"\\n' > /etc/containerd/config.toml",
        );
        found("pool-layered", "warning");
        sh("rm -rf /etc/containerd && mv /etc/containerd.was /etc/containerd");
        // A merge that waits for its origin.
        sh(
            "mkfs.ext4 -q /dev/vg/v 16m && mount /dev/vg/v /mnt && lvcreate -qq -s -n snap vg/v && lvconvert -qq --merge vg/snap 2>/dev/null",
        );
        let hint = found("merge-pending", "info");
        sh("umount /mnt");
        run(&hint);
        wait_until("the snapshot is merged", || !sh("lvs --noheadings -o lv_name vg").contains("snap"));
        gone("merge-pending");
    });
}

#[test]
fn transaction_ids_that_differ() {
    in_kernel(|| {
        small_pool();
        sh("dmsetup message vg-pool-tpool 0 'set_transaction_id 1 7'");
        assert_eq!(found("transaction-mismatch", "critical"), "dmtool explain transaction-mismatch");
        sh("vgchange -qq -an vg");
        let value = check("");
        let message = findings(&value, "transaction-mismatch")[0]["message"].as_str().expect("a message");
        assert!(
            message.contains("id is 7") && message.contains("expects 1") && message.contains("the pool is ahead"),
            "{message}"
        );
        assert!(!try_sh("lvchange -ay vg/pool").0, "LVM refuses it");
    });
}

/// LVM writes the text of a change and then where it stands, and flushes nothing in between: a power cut may keep the
/// second alone.
#[test]
fn what_lvm_wrote_of_the_group_cannot_be_read() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdi && lvcreate -qq --type thin-pool -L 200m --poolmetadatasize 4m -n pool vg && \
            lvcreate -qq -V 64m -T vg/pool -n kept 2>/dev/null && \
            dd if=/dev/urandom of=/dev/vg/kept bs=1M count=4 oflag=direct status=none && vgchange -qq -an vg");
        sh("vgcreate -qq other /dev/xvdf");
        let sum = || sh("lvchange -qq -ay vg/kept && md5sum < /dev/vg/kept && vgchange -qq -an vg");
        let before = sum();
        sh("offset=$(pvck --dump headers /dev/xvdi | awk '/raw_locn\\[0\\].offset/ {print $2}') && \
            dd if=/dev/zero of=/dev/xvdi bs=512 seek=$(( (4096 + offset) / 512 )) count=4 conv=notrunc oflag=direct status=none");
        let (status, value) = json("check");
        assert_eq!((status, &value["status"]), (2, &"critical".into()), "{value:#}");
        let found = findings(&value, "volume-group-incomplete");
        assert_eq!((found.len(), &found[0]["pool"]), (1, &"vg/pool".into()), "{value:#}");
        let hint = found[0]["hint"].as_str().expect("a hint").to_owned();
        assert!(hint.starts_with("pvck --repair --file /etc/lvm/backup/vg /dev/xvdi && "), "{hint}");
        assert_eq!(json("check vg/pool").0, 2);
        dmtool("status").assert().success().stderr(contains("LVM cannot read the volume group vg on /dev/xvdi"));
        dmtool("resize +10M vg/pool").assert().code(3).stderr(contains("/dev/xvdi").and(contains("dmtool check")));
        dmtool("teardown vg/pool --yes").assert().code(3).stderr(contains("/dev/xvdi").and(contains("dmtool check")));
        dmtool("activate").assert().code(3).stderr(contains("/dev/xvdi").and(contains("dmtool check")));
        dmtool("status -x vg/pool").assert().success().stdout(contains("volume-group-incomplete"));
        dmtool("setup /dev/xvdi --yes").assert().code(3).stderr(contains("dmtool check"));
        sh(&hint.replace("pvck", "pvck --yes").replace("dmtool ", &format!("{} ", env!("CARGO_BIN_EXE_dmtool"))));
        assert_eq!(sum(), before);
        dmtool("activate vg/pool").assert().success();
        assert_eq!(json("check").0, 0);
    });
}
