//! `dmtool resize` of pools that stand on volumes of LVM by a bare table: what LVM rounds, and what a killed run left.

use super::resize::figures;
use super::status::raw_pool;
use crate::harness::*;
use predicates::str::contains;

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
