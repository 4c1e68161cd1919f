//! `dmtool resize`: every form of a SIZE, for data and for metadata, on every kind of pool, as `dmsetup status` counts it.

use super::resize::figures;
use super::status::{loop_pool, raw_pool};
use crate::harness::*;
use predicates::str::contains;

/// Chunks of data of 64 KiB, or blocks of metadata, in so many MiB.
const CHUNKS: u64 = 16;
const BLOCKS: u64 = 256;

/// What a form of a SIZE comes to, in MiB, from the present size and what is free.
type Form = (&'static str, fn(now: u64, total: u64, free: u64) -> u64);

/// In whole extents of 4 MiB, as a group counts.
const IN_A_GROUP: [Form; 6] = [
    ("112M", |_, _, _| 112),
    ("+8M", |now, _, _| now + 8),
    ("+10%", |now, _, _| (now * 110).div_ceil(100).next_multiple_of(4)),
    ("5%VG", |_, total, _| total / 4 * 5 / 100 * 4),
    ("+2%FREE", |now, _, free| now + free / 4 * 2 / 100 * 4),
    ("0.5G", |_, _, _| 512),
];

const ON_FILES: [Form; 4] = [
    ("112M", |_, _, _| 112),
    ("+8m", |now, _, _| now + 8),
    ("+10%", |now, _, _| (now * 110).div_ceil(100)),
    ("0.5gib", |_, _, _| 512),
];

fn group(vg: &str) -> (u64, u64) {
    let figure =
        |field: &str| -> u64 { sh(&format!("vgs --noheadings -o {field} {vg}")).parse().expect("a count of extents") };
    (figure("vg_extent_count") * 4, figure("vg_free_count") * 4)
}

/// Each form on the data and then on the metadata; both begin below 112 MiB. `spare` where metadata costs twice.
fn every_form(dm_name: &str, forms: &[Form], vg: Option<&str>, spare: bool) {
    for metadata in [false, true] {
        let now = || if metadata { figures(dm_name).1 / BLOCKS } else { figures(dm_name).0 / CHUNKS };
        for (size, becomes) in forms {
            let (total, free) = vg.map_or((0, 0), group);
            let free = if metadata && spare { free / 2 } else { free };
            let expected = becomes(now(), total, free);
            let words = if metadata { format!("--metadata {size}") } else { (*size).to_owned() };
            let (status, value) = json(&format!("resize {words}"));
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{dm_name} {words}: {value:#}");
            // The kernel counts whole chunks; a file that is no multiple of one keeps its length.
            assert_eq!(now(), expected, "{dm_name} {words}");
        }
        let words = if metadata { "--metadata 512M" } else { "512M" };
        assert_eq!(json(&format!("resize {words}")).1["changed"], false, "at least: {dm_name} {words}");
        let words = if metadata { "--metadata 500M" } else { "200M" };
        dmtool(&format!("resize {words}")).assert().code(3).stderr(contains("cannot shrink"));
    }
}

#[test]
fn of_a_pool_of_lvm() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdf && lvcreate -qq --type thin-pool -L 64m --poolmetadatasize 4m -c 64k -n pool vg");
        every_form("vg-pool", &IN_A_GROUP, Some("vg"), true);
        assert_eq!(sh("lvs -a --noheadings -o lv_size --units m --nosuffix vg/lvol0_pmspare"), "512.00");
        dmtool("resize --metadata max").assert().success();
        assert!(group("vg").1 <= 4, "half of it each for metadata and spare");
    });
}

#[test]
fn of_a_pool_on_volumes() {
    in_kernel(|| {
        raw_pool("rawpool");
        sh("dmsetup remove --retry rawpool && lvreduce -qq -f -L 100m vg-docker/data && \
            dd if=/dev/zero of=/dev/vg-docker/metadata bs=4k count=1 conv=fsync status=none && dmsetup create rawpool --table '0 204800 thin-pool /dev/vg-docker/metadata /dev/vg-docker/data 128 32768'");
        every_form("rawpool", &IN_A_GROUP, Some("vg-docker"), false);
        dmtool("resize --metadata max").assert().success();
        assert_eq!(group("vg-docker").1, 0);
        sh("dmsetup remove --retry rawpool");
    });
}

#[test]
fn of_a_pool_on_files() {
    in_kernel(|| {
        loop_pool("bare-pool");
        sh("dmsetup remove --retry bare-pool && truncate -s 100M /run/files/data && losetup -c /dev/loop0 && \
            dd if=/dev/zero of=/dev/loop1 bs=4k count=1 conv=fsync status=none && dmsetup create bare-pool --table '0 204800 thin-pool /dev/loop1 /dev/loop0 128 32768 1 skip_block_zeroing'");
        every_form("bare-pool", &ON_FILES, None, false);
        for size in ["5%VG", "+2%FREE"] {
            dmtool(&format!("resize {size}")).assert().code(3).stderr(contains("is in no volume group"));
            dmtool(&format!("resize --metadata {size}")).assert().code(3).stderr(contains("is in no volume group"));
        }
        // All that the file system has left, less the metadata that goes along.
        let free = || -> u64 { sh("df --output=avail -B1 /run/files | tail -n 1").parse().expect("bytes") };
        let before = free();
        dmtool("resize max").assert().success();
        let grown = figures("bare-pool").0 * 65536 - (512 << 20);
        assert!(grown > before / 10 * 9 && grown < before / 10 * 12, "{grown} of {before}");
        assert_eq!(json("resize max").1["changed"], false);
        remove_with_files("bare-pool");
    });
}
