//! An LVM command of dmtool's that fails where it suspends or resumes: nothing of LVM's stands still afterwards, nothing of
//! it stays down, and the same command ends what the first began.

use crate::harness::*;
use crate::matrix::trace::{Place, Tamper, learn, tampered};
use predicates::str::contains;

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");

/// The places of a command where a device-mapper call of this name is made.
fn places(words: &str, call: &str) -> Vec<Place> {
    calls(words, &[call])
}

/// As [`places`], of several calls.
fn calls(words: &str, calls: &[&str]) -> Vec<Place> {
    let found = learn(DMTOOL, words).expect("an undisturbed run");
    found.into_iter().filter(|place| calls.iter().any(|call| place.text.contains(call))).collect()
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
fn a_pool_that_a_killed_run_left_standing_runs_on() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 40%VG --yes").assert().success();
        sh("lvcreate -qq -V 64m -T docker/thinpool -n kept && \
            dd if=/dev/urandom of=/dev/docker/kept bs=64k count=16 oflag=direct status=none && md5sum < /dev/docker/kept > /run/sum");
        let mut size = 204;
        let resize = |size: u32| format!("resize {size}M docker/thinpool");
        let modes = ["discards docker/thinpool no_passdown", "discards docker/thinpool passdown"];
        let (mut stood, mut waited) = (0, 0);
        let mut killed = |words: &str, place: &Place| {
            tampered(DMTOOL, words, place, Tamper::Signal("KILL")).expect("an end");
            sh("rm -rf /run/lock/lvm; udevadm settle");
            let info = sh("dmsetup info -c --noheadings -o name,suspended,tables_loaded");
            stood += u32::from(info.contains("uspended"));
            waited += u32::from(info.contains("Inactive") || info.contains("Both"));
            dmtool(words).assert().success();
            nothing_stands_still(&format!("{words} {place:?}"));
            assert_eq!(sh("lvs --noheadings -o seg_monitor docker/thinpool"), "monitored", "{words} {place:?}");
            assert_eq!(sh("md5sum < /dev/docker/kept"), sh("cat /run/sum"), "{words}");
            assert_eq!(sh("ls /var/lib/dmtool | grep begun || true"), "", "{words} {place:?}");
            dmtool(words).assert().success();
        };
        for place in calls(&resize(size), &["DM_TABLE_LOAD", "DM_DEV_SUSPEND"]).into_iter().step_by(2) {
            size += 8;
            killed(&resize(size), &place);
            assert_eq!(sh("lvs --noheadings --units m --nosuffix -o lv_size docker/thinpool"), format!("{size}.00"));
        }
        for place in calls(modes[0], &["DM_TABLE_LOAD", "DM_DEV_SUSPEND"]).into_iter().step_by(2) {
            dmtool(modes[1]).assert().success();
            killed(modes[0], &place);
            assert!(sh("dmsetup table docker-thinpool-tpool").contains("no_discard_passdown"), "{place:?}");
        }
        assert!(stood > 1, "{stood}, with a table that waited {waited}");
        // What another boot left is not believed, and taken away; nor is a table taken that somebody else's command left.
        let note = "/var/lib/dmtool/begun-docker-thinpool.json";
        sh(&format!(
            "echo '{{\"dmtool\":1,\"volume\":\"docker/thinpool\",\"boot\":\"of before\"}}' > {note}; chmod 600 {note}"
        ));
        sh("dmsetup table docker-thinpool-tpool | dmsetup load docker-thinpool-tpool");
        for words in [&*resize(size + 8), modes[1]] {
            dmtool(words).assert().code(3).stderr(contains("waits to be swapped in"));
        }
        sh("dmsetup clear docker-thinpool-tpool");
        // Somebody who wants it to stand still is not disturbed.
        sh("dmsetup suspend docker-thinpool-tpool");
        for words in [&*resize(size + 8), modes[1]] {
            dmtool(words).assert().code(3).stderr(contains("docker/thinpool is suspended."));
        }
        sh("dmsetup resume docker-thinpool-tpool");
        dmtool(modes[1]).assert().success();
        assert!(!try_sh(&format!("test -e {note}")).0);
    });
}

#[test]
fn discards_has_a_pool_watched_again_that_lvm_left_alone() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 40%VG --yes").assert().success();
        let words = "discards docker/thinpool no_passdown";
        let places = calls(words, &["libdevmapper-event-lvm2thin.so"]);
        assert!(!places.is_empty());
        let mut unwatched = 0;
        for place in places {
            dmtool("discards docker/thinpool passdown").assert().success();
            let ended = tampered(DMTOOL, words, &place, Tamper::Error("EIO")).expect("an end");
            unwatched += u32::from(ended.said.contains("lvchange --monitor y docker/thinpool"));
            dmtool(words).assert().success();
            assert_eq!(sh("lvs --noheadings -o seg_monitor docker/thinpool"), "monitored", "{}", ended.said);
        }
        assert!(unwatched > 0);
    });
}

#[test]
fn a_bare_pool_with_a_table_that_a_killed_run_left_waiting_grows() {
    in_kernel(|| {
        dmtool("setup --loop --data 300M --metadata 4M --yes").assert().success();
        let (mut size, mut waited) = (300, 0);
        let words = |size: u32| format!("resize {size}M loop");
        for place in calls(&words(308), &["DM_TABLE_LOAD", "DM_DEV_SUSPEND"]) {
            size += 16;
            tampered(DMTOOL, &words(size), &place, Tamper::Signal("KILL")).expect("an end");
            waited += u32::from(sh("dmsetup info -c --noheadings -o tables_loaded loop").contains("Both"));
            dmtool(&words(size)).assert().success();
            assert_eq!(sh("dmsetup table loop").split(' ').nth(1), Some(&*(size * 2048).to_string()));
            assert_eq!(sh("dmsetup info -c --noheadings -o tables_loaded loop"), "Live");
        }
        assert!(waited > 0);
        let mut waited = 0;
        for place in calls("discards loop no_passdown", &["DM_TABLE_LOAD", "DM_DEV_SUSPEND"]) {
            dmtool("discards loop passdown").assert().success();
            tampered(DMTOOL, "discards loop no_passdown", &place, Tamper::Signal("KILL")).expect("an end");
            waited += u32::from(sh("dmsetup info -c --noheadings -o tables_loaded loop").contains("Both"));
            dmtool("discards loop no_passdown").assert().success();
            assert!(sh("dmsetup table loop").contains("no_discard_passdown"));
            assert_eq!(sh("dmsetup info -c --noheadings -o tables_loaded loop"), "Live");
        }
        assert!(waited > 0);
        // Another's is left alone.
        sh("dmsetup load loop --table \"$(dmsetup table loop | sed 's/^0 [0-9]*/0 1024/')\"");
        dmtool("resize 900M loop").assert().code(3).stderr(contains("waits to be swapped in"));
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
