//! `dmtool resize` of bare pools with every optional word that a pool's table can have: the length alone changes.

use super::status::loop_pool;
use crate::harness::*;
use predicates::str::contains;

/// bare-pool again, with these words and this low-water mark.
fn with(features: &str, low_water: u64) -> String {
    let count = features.split_whitespace().count();
    let words = sh("dmsetup table bare-pool");
    let words: Vec<&str> = words.split(' ').collect();
    sh(&format!(
        "dmsetup remove --retry bare-pool && dmsetup create bare-pool --table '0 {} thin-pool {} {} 128 {low_water} {count} {features}'",
        words[1], words[3], words[4]
    ));
    sh("dmsetup table bare-pool")
}

#[test]
fn every_word_of_a_table_is_kept() {
    in_kernel(|| {
        loop_pool("bare-pool");
        let mut length = 4_194_304;
        for (low_water, features) in [
            (0, ""),
            (100, "skip_block_zeroing"),
            (32768, "ignore_discard"),
            (1, "no_discard_passdown"),
            (0, "error_if_no_space"),
            (7, "skip_block_zeroing ignore_discard"),
            (7, "skip_block_zeroing no_discard_passdown"),
            (7, "ignore_discard error_if_no_space"),
            (7, "no_discard_passdown error_if_no_space"),
            (7, "error_if_no_space skip_block_zeroing"),
            (7, "ignore_discard no_discard_passdown"),
            (7, "skip_block_zeroing ignore_discard error_if_no_space"),
            (7, "error_if_no_space no_discard_passdown skip_block_zeroing"),
        ] {
            let before = with(features, low_water);
            let status = sh("dmsetup status bare-pool");
            let modes = |status: &str| status.split(' ').skip(6).map(str::to_owned).collect::<Vec<_>>();
            dmtool("resize +64M bare-pool").assert().success();
            let longer = length + (64 << 11);
            assert_eq!(
                sh("dmsetup table bare-pool"),
                before.replacen(&format!("0 {length} "), &format!("0 {longer} "), 1),
                "{features}"
            );
            assert_eq!(modes(&sh("dmsetup status bare-pool")), modes(&status), "{features}");
            // Metadata alone swaps the same table in.
            let before = sh("dmsetup table bare-pool");
            if features.len() > 40 {
                dmtool("resize --metadata +8M bare-pool").assert().success();
                assert_eq!(sh("dmsetup table bare-pool"), before, "{features}");
            }
            length = longer;
        }
        remove_with_files("bare-pool");
    });
}

#[test]
fn a_table_that_is_read_only_is_left_alone() {
    in_kernel(|| {
        loop_pool("bare-pool");
        for features in ["read_only", "skip_block_zeroing read_only"] {
            let before = with(features, 0);
            for words in ["resize 3G", "resize --metadata +64M", "resize 3G --metadata +64M"] {
                dmtool(&format!("{words} bare-pool"))
                    .assert()
                    .code(3)
                    .stderr(contains("bare-pool is read-only, since its table says so."));
            }
            assert_eq!(sh("dmsetup table bare-pool"), before);
            assert_eq!(sh("stat -c %s /run/files/data /run/files/metadata"), "2147483648\n67108864");
        }
        remove_with_files("bare-pool");
    });
}
