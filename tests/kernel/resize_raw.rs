//! `dmtool resize` of pools that stand on volumes of LVM by a bare table: what LVM rounds, and what a killed run left.

use super::resize::figures;
use super::status::raw_pool;
use crate::harness::*;
use crate::matrix::trace::{Place, Tamper, learn, tampered};
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
        let noted = places.iter().find(|place| place.first && place.text.contains("begun-")).expect("a note");
        let ended = tampered(DMTOOL, words, of_pool, Tamper::Error("EIO")).expect("an end");
        let go_on = format!("dmtool resize {} rawpool", 1536_u64 << 20);
        assert_eq!(ended.status, Some(1), "{}", ended.said);
        assert!(ended.said.contains(&go_on) && !ended.said.contains("same command"), "{}", ended.said);
        for _ in 0..2 {
            dmtool(go_on.trim_start_matches("dmtool ")).assert().success();
            assert_eq!(figures("rawpool").0, 1536 * 16);
        }
        let ended = tampered(DMTOOL, words, noted, Tamper::Signal("TERM")).expect("an end");
        assert_eq!(ended.status, Some(130), "{}", ended.said);
        assert!(ended.said.contains(&format!("run dmtool resize {} rawpool", 1792_u64 << 20)), "{}", ended.said);
        sh("dmsetup remove --retry rawpool");
    });
}

#[test]
fn a_volume_that_a_killed_run_left_standing_runs_on() {
    in_kernel(|| {
        raw_pool("rawpool");
        sh(
            "dmsetup message rawpool 0 'create_thin 0' && dmsetup create kept --table '0 131072 thin /dev/mapper/rawpool 0' && \
            dd if=/dev/urandom of=/dev/mapper/kept bs=64k count=16 oflag=direct status=none && md5sum < /dev/mapper/kept > /run/sum",
        );
        let (mut size, mut stood, mut behind) = (1040, 0, 0);
        let words = |size: u64| format!("resize {size}M rawpool");
        let places = learn(DMTOOL, &words(size)).expect("an undisturbed run");
        let of_dm = |place: &&Place| ["DM_TABLE_LOAD", "DM_DEV_SUSPEND"].iter().any(|call| place.text.contains(call));
        for place in places.iter().filter(of_dm) {
            size += 16;
            tampered(DMTOOL, &words(size), place, Tamper::Signal("KILL")).expect("an end");
            sh("rm -rf /run/lock/lvm; udevadm settle");
            stood += u32::from(sh("dmsetup info -c --noheadings -o suspended vg--docker-data").contains("uspended"));
            // LVM must not look at a volume of the pool: it would wait for what stands still.
            let in_books = sh("lvs --noheadings --units s --nosuffix -o lv_size vg-docker/data \
                               --config 'devices/filter=[\"a|^/dev/xvdg$|\",\"r|.*|\"]'");
            behind += u32::from(sh("blockdev --getsz /dev/mapper/vg--docker-data") != in_books);
            dmtool(&words(size)).assert().success();
            let still = sh("dmsetup info -c --noheadings -o name,suspended | grep uspended || true");
            assert_eq!((figures("rawpool").0, still.as_str()), (size * 16, ""), "{place:?}");
            assert_eq!(sh("md5sum < /dev/mapper/kept"), sh("cat /run/sum"), "{place:?}");
            assert_eq!(sh("ls /var/lib/dmtool | grep begun || true"), "", "{place:?}");
            assert_eq!(json(&words(size)).1["changed"], false, "{place:?}");
        }
        assert!(stood > 0 && behind > 0, "{stood} stood still, {behind} were behind LVM's books: {places:?}");
        sh("dmsetup remove --retry kept; dmsetup remove --retry rawpool");
    });
}
