//! An LVM command of dmtool's that fails where it suspends or resumes: nothing of LVM's stands still afterwards, nothing of
//! it stays down, and the same command ends what the first began.

use crate::harness::*;
use crate::matrix::trace::{Place, Tamper, learn, tampered};
use predicates::str::contains;

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");

/// The places of a command where a device-mapper call of this name is made.
fn places(words: &str, call: &str) -> Vec<Place> {
    let found = learn(DMTOOL, words).expect("an undisturbed run");
    found.into_iter().filter(|place| place.text.contains(call)).collect()
}

#[track_caller]
fn nothing_stands_still(said: &str) {
    let still = sh("dmsetup info -c --noheadings -o name,suspended | grep uspended || true");
    assert!(still.is_empty(), "{still} stands still: {said}");
}

#[test]
fn a_pool_that_lvm_did_not_resume_runs_on() {
    in_kernel(|| {
        sh(
            "vgcreate -qq -s 1m vg /dev/xvdi && lvcreate -qq --type thin-pool -L 64m --poolmetadatasize 4m -c 64k -n pool vg && \
            lvcreate -qq -V 64m -T vg/pool -n kept 2>/dev/null && \
            dd if=/dev/urandom of=/dev/vg/kept bs=64k count=16 oflag=direct status=none && md5sum < /dev/vg/kept > /run/sum",
        );
        let mut size = 72;
        let words = |size: u32| format!("resize {size}M vg/pool");
        let places = places(&words(size), "DM_DEV_SUSPEND");
        let mut failed = 0;
        for place in &places {
            size += 8;
            let ended = tampered(DMTOOL, &words(size), place, Tamper::Error("EIO")).expect("an end");
            failed += u32::from(ended.status == Some(1));
            nothing_stands_still(&ended.said);
            dmtool(&words(size)).assert().success();
            assert_eq!(sh("md5sum < /dev/vg/kept"), sh("cat /run/sum"), "{}", ended.said);
            let there = sh("lvs --noheadings --units m --nosuffix -o lv_size vg/pool");
            assert_eq!(there, format!("{size}.00"), "{}", ended.said);
        }
        assert!(failed > 1, "{failed} of {} calls failed", places.len());
    });
}

#[test]
fn a_bare_volume_that_was_not_resumed_at_once_runs_on() {
    in_kernel(|| {
        dmtool("setup --loop --data 300M --metadata 4M --yes").assert().success();
        dmtool("volume create loop kept 64M").assert().success();
        sh("dd if=/dev/urandom of=/dev/mapper/loop-kept bs=64k count=16 oflag=direct status=none");
        let sum = || sh("md5sum < /dev/mapper/loop-kept");
        let (before, words) = (sum(), "volume snapshot loop kept snap");
        let places = places(words, "DM_DEV_SUSPEND");
        assert!(places.len() >= 3, "{places:?}");
        for place in &places {
            dmtool("volume remove loop snap --yes").assert().success();
            let ended = tampered(DMTOOL, words, place, Tamper::Error("EBUSY")).expect("an end");
            nothing_stands_still(&ended.said);
            dmtool(words).assert().success();
            assert_eq!(
                (sum(), sh("md5sum < /dev/mapper/loop-snap")),
                (before.clone(), before.clone()),
                "{}",
                ended.said
            );
        }
    });
}

#[test]
fn one_of_two_volumes_that_lvm_left_down_is_activated() {
    in_kernel(|| {
        let words = "setup /dev/xvdi --two-volumes --yes";
        let up = "dmsetup info -c --noheadings -o name | sort";
        dmtool(words).assert().success();
        let wanted = sh(up);
        let group = "vgchange -qq -an vg-docker";
        for down in ["vg-docker/data", "vg-docker/metadata"] {
            sh(&format!("lvchange -qq -an {down}"));
            dmtool(words)
                .assert()
                .success()
                .stdout(contains(format!("lvchange --activate y --ignoreactivationskip {down}")));
            assert_eq!(sh(up), wanted);
            dmtool(words).assert().success().stdout(contains("nothing was changed"));
        }
        sh(group);
        dmtool(words).assert().success();
        assert_eq!(sh(up), wanted);
    });
}
