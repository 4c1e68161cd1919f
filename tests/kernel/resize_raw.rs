//! `dmtool resize` of pools that stand on volumes of LVM by a bare table: what LVM rounds, and what a killed run left.

use super::resize::figures;
use super::status::raw_pool;
use crate::harness::*;
use crate::matrix::trace::{Tamper, learn, tampered};
use predicates::str::contains;

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");
/// Blocks of metadata in so many MiB.
const BLOCKS: u64 = 256;

#[test]
fn metadata_that_lvm_rounds_up_are_reached() {
    in_kernel(|| {
        raw_pool("rawpool");
        dmtool("resize --metadata +5M rawpool").assert().success();
        assert_eq!(figures("rawpool").1, 72 * BLOCKS);
        for size in ["69M", "72M"] {
            let (status, value) = json(&format!("resize --metadata {size} rawpool"));
            assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
        }
        dmtool("resize --metadata 68M rawpool").assert().code(3).stderr(contains("cannot shrink to 68 MiB"));
        // Made larger by hand, and not looked at by the pool yet: with the next table it has all of it.
        sh("lvextend -qq -L 96m vg-docker/metadata");
        dmtool("resize --metadata 81M rawpool").assert().success();
        assert_eq!(figures("rawpool").1, 96 * BLOCKS);
        sh("lvextend -qq -L 128m vg-docker/metadata");
        dmtool("resize 2G rawpool").assert().success();
        assert_eq!(figures("rawpool"), (32768, 128 * BLOCKS));
        sh("dmsetup remove --retry rawpool");
    });
}

#[test]
fn what_adds_up_is_not_hinted_at_again() {
    in_kernel(|| {
        raw_pool("rawpool");
        // The swap fails when the volume has grown already.
        let words = "resize +256M rawpool";
        let places = learn(DMTOOL, words).expect("an undisturbed run");
        assert_eq!(figures("rawpool").0, 1280 * 16);
        let loads: Vec<_> = places.iter().filter(|place| place.text.contains("DM_TABLE_LOAD")).collect();
        let of_pool = loads.last().expect("a swap");
        let ended = tampered(DMTOOL, words, of_pool, Tamper::Error("EIO")).expect("an end");
        let go_on = format!("dmtool resize {} rawpool", 1536_u64 << 20);
        assert_eq!(ended.status, Some(1), "{}", ended.said);
        assert!(ended.said.contains(&go_on) && !ended.said.contains("same command"), "{}", ended.said);
        for _ in 0..2 {
            dmtool(go_on.trim_start_matches("dmtool ")).assert().success();
            assert_eq!(figures("rawpool").0, 1536 * 16);
        }
        sh("dmsetup remove --retry rawpool");
    });
}
