//! What cannot be written down: by a pool, which says of no message that it could not, and by dmtool.

use super::kinds::Kind;
use super::metadata::held;
use crate::harness::*;
use crate::matrix::trace::{Ended, Place, Tamper, go_on, learn, stopped_at, tampered};

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");

/// What the disk under /dev/xvdi does from here on.
fn the_disk_is(table: &str) {
    sh(&format!(
        "dmsetup suspend --noflush --nolockfs bad && dmsetup load bad --table '0 1040000 {table}' && \
         dmsetup resume --noudevsync bad"
    ));
}

/// Runs a command on a disk that takes no write from behind this place on, and is well afterwards; what it said.
fn on_a_disk_that_fails(words: &str, place: &Place) -> Ended {
    assert!(stopped_at(DMTOOL, words, place));
    the_disk_is("flakey /dev/ubdd 8192 0 600 1 error_writes");
    let ended = go_on().expect("an end");
    the_disk_is("linear /dev/ubdd 8192");
    ended
}

fn a_disk_that_may_fail() {
    // Each swap of its table is an event of udev's, whose rules would have LVM activate the group behind us.
    sh("echo 'global { event_activation = 0 }' > /etc/lvm/lvmlocal.conf");
    sh("modprobe dm-flakey; dmsetup create bad --table '0 1040000 linear /dev/ubdd 8192' && udevadm settle && \
        ln -sfn /dev/mapper/bad /dev/xvdi");
}

fn the_disk_goes() {
    sh(
        "vgchange -qq -an vg; umount /var/lib/dmtool; dmsetup remove --retry bad; udevadm trigger --subsystem-match=block --settle",
    );
}

#[test]
fn a_snapshot_whose_release_could_not_be_written_down_is_released_later() {
    in_kernel(|| {
        let words = "metadata check vg/pool";
        a_disk_that_may_fail();
        Kind::Lvm.make();
        // It stops behind the call: where it has written down what it holds.
        let places = learn(DMTOOL, words).expect("an undisturbed run");
        let noted = places.iter().rfind(|place| place.call == "rename" && place.first).expect("a note");
        let ended = on_a_disk_that_fails(words, noted);
        assert!(ended.said.contains("could not be released"), "{}", ended.said);
        assert_ne!(held("vg-pool-tpool"), "-");
        // The kernel has marked the metadata.
        sh("udevadm settle");
        dmtool("repair vg/pool --yes").assert().success();
        dmtool(words).assert().success();
        assert_eq!(held("vg-pool-tpool"), "-");
        the_disk_goes();
    });
}

#[test]
fn a_note_of_a_snapshot_whose_folder_cannot_be_flushed_is_taken_back() {
    in_kernel(|| {
        Kind::Lvm.make();
        dmtool("metadata check vg/pool").assert().success();
        let traced = "strace -qq -o /run/trace -e trace=fsync -e inject=fsync:error=ENOSPC:when=2";
        let (_, _, said) = try_sh(&format!("{traced} {DMTOOL} metadata check vg/pool"));
        assert!(said.contains("its folder could not be flushed"), "{said}");
        assert_eq!(sh("ls /var/lib/dmtool/snapshots"), "");
        assert_eq!(held("vg-pool-tpool"), "-");
        dmtool("metadata check vg/pool").assert().success();
    });
}

#[test]
fn a_volume_whose_removal_could_not_be_written_down_is_not_forgotten() {
    in_kernel(|| {
        let words = "volume remove bare b --yes";
        a_disk_that_may_fail();
        Kind::Raw.make();
        dmtool("volume create bare c 32M").assert().success();
        let places = learn(DMTOOL, "volume remove bare c --yes").expect("an undisturbed run");
        let down = places.iter().rfind(|place| place.text.contains("DM_DEV_REMOVE")).expect("its device");
        // With as many devices to look at.
        dmtool("volume create bare c 32M").assert().success();
        let ended = on_a_disk_that_fails(words, down);
        assert_eq!(ended.status, Some(1), "{}", ended.said);
        assert!(ended.said.contains("bare could not write that down"), "{}", ended.said);
        sh("udevadm settle");
        dmtool("repair bare --yes").assert().success();
        Kind::Raw.assert_whole("b");
        dmtool(words).assert().success();
        Kind::Raw.down();
        let list = json("volume list bare").1;
        let names: Vec<_> = list["volumes"].as_array().expect("volumes").iter().map(|volume| &volume["name"]).collect();
        assert_eq!(names, ["a", "c"], "{list:#}");
        the_disk_goes();
    });
}

#[test]
fn a_device_to_look_through_whose_removal_fails_once_does_not_stay() {
    in_kernel(|| {
        Kind::Lvm.make();
        Kind::Lvm.down();
        let words = "metadata check vg/pool";
        let places = learn(DMTOOL, words).expect("an undisturbed run");
        let removals = places.iter().filter(|place| place.text.contains("DM_DEV_REMOVE")).collect::<Vec<_>>();
        let mut failed = 0;
        for place in &removals {
            let ended = tampered(DMTOOL, words, place, Tamper::Error("ENOSPC")).expect("an end");
            failed += u32::from(ended.said.contains("making the read-only device"));
            assert_eq!(sh("dmsetup ls"), "No devices found", "{}", ended.said);
            dmtool(words).assert().success();
        }
        assert!(failed > 0, "{places:#?}");
    });
}
