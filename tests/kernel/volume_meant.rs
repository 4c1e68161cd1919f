//! Which volume is meant, and what is not done to one that stands still or is not complete.

use super::register::{no_var, var};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

const REGISTER: &str = "/var/lib/dmtool/pools/loop.json";

fn record() -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(REGISTER).expect("a register")).expect("JSON")
}

fn names() -> Vec<String> {
    let record = record();
    let volumes = record["volumes"].as_array().expect("volumes");
    volumes.iter().map(|volume| volume["name"].as_str().expect("a name").to_owned()).collect()
}

fn made() {
    var();
    dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
}

fn gone() {
    dmtool("teardown loop --yes").assert().success();
    no_var();
}

/// The name of one is the device of another.
#[test]
fn a_word_that_fits_two_volumes_is_refused() {
    in_kernel(|| {
        made();
        dmtool("volume create loop web 64M").assert().success();
        dmtool("volume create loop loop-web 64M").assert().success();
        for words in
            ["remove loop loop-web --yes", "snapshot loop loop-web s", "mount loop loop-web /mnt", "trim loop loop-web"]
        {
            dmtool(&format!("volume {words}")).assert().code(3).stderr(contains("may be each of id:0, id:1 in loop"));
        }
        assert_eq!(names(), ["web", "loop-web"]);
        dmtool("volume create loop id:1 64M").assert().code(2);
        dmtool("volume remove loop id:1 --yes").assert().success();
        assert_eq!(names(), ["web"]);
        // Two words for one.
        dmtool("volume remove loop web loop-web id:0 --yes").assert().success();
        assert!(names().is_empty());
        gone();
        sh("vgcreate -qq vg /dev/xvdi && lvcreate -qq --type thin-pool -L 64m -n pool vg");
        dmtool("volume create vg/pool backup 16M").assert().success();
        dmtool("volume create vg/pool vg-backup 16M").assert().success();
        dmtool("volume remove vg/pool vg-backup --yes").assert().code(3).stderr(contains("may be each of"));
        dmtool("volume remove vg/pool /dev/mapper/vg-vg--backup --yes").assert().success();
        assert_eq!(sh("lvs --noheadings -o lv_name -S pool_lv=pool vg"), "backup");
        sh("vgremove -qq -ff vg");
    });
}

/// What it holds is what its origin held.
#[test]
fn a_snapshot_that_was_cut_off_is_never_formatted() {
    in_kernel(|| {
        made();
        dmtool("volume create loop web 64M --fs ext4").assert().success();
        dmtool("volume snapshot loop web before").assert().success();
        let sum = sh("md5sum < /dev/mapper/loop-before");
        sh(&format!("sed -i '/\"before\"/,/}}/ s/\"ready\"/\"made\"/' {REGISTER}"));
        assert_eq!(record()["volumes"][1]["state"], "made");
        for words in [
            "create loop before 64M --fs ext4",
            "create loop before 32M",
            "mount loop before /mnt",
            "snapshot loop before other",
        ] {
            let refused = dmtool(&format!("volume {words}")).assert().code(3);
            refused.stderr(contains("not complete").and(contains("dmtool volume snapshot loop web before")));
        }
        assert_eq!(sh("md5sum < /dev/mapper/loop-before"), sum);
        dmtool("volume snapshot loop web before").assert().success();
        dmtool("volume mount loop before /mnt").assert().success();
        dmtool("volume unmount loop before").assert().success();
        gone();
    });
}

/// Whoever reads such a device waits for as long as it stands still, and nobody can end him.
#[test]
fn a_volume_that_stands_still_is_not_waited_for() {
    in_kernel(|| {
        made();
        sh("mkdir -p /run/a /run/b");
        for name in ["web", "db"] {
            dmtool(&format!("volume create loop {name} 64M --fs ext4")).assert().success();
        }
        sh("dmsetup suspend loop-web");
        for words in ["mount loop web /run/a", "create loop web 64M --fs ext4", "remove loop web --yes"] {
            dmtool(&format!("volume {words}")).assert().code(3).stderr(contains("loop-web is suspended."));
        }
        sh("dmsetup resume loop-web");
        dmtool("volume mount loop web /run/a").assert().success();
        dmtool("volume mount loop db /run/b").assert().success();
        sh("dmsetup suspend loop-web");
        dmtool("volume trim loop").assert().success().stderr(contains("web is suspended, and is left out"));
        dmtool("volume trim loop web").assert().code(3).stderr(contains("web is suspended."));
        dmtool("volume unmount loop web").assert().code(3).stderr(contains("loop-web is suspended."));
        sh("dmsetup resume loop-web");
        dmtool("volume trim loop web").assert().success();
        for name in ["web", "db"] {
            dmtool(&format!("volume unmount loop {name}")).assert().success();
        }
        gone();
    });
}

#[test]
fn one_that_was_announced_goes_with_one_that_is_ready() {
    in_kernel(|| {
        made();
        for name in ["a", "b", "c"] {
            dmtool(&format!("volume create loop {name} 16M")).assert().success();
        }
        sh(
            "dmsetup remove --retry loop-a; dmsetup remove --retry loop-c; dmsetup message loop 0 'delete 0'; dmsetup message loop 0 'delete 2'",
        );
        for name in ["a", "c"] {
            sh(&format!("sed -i '/\"name\": \"{name}\"/,/}}/ s/\"ready\"/\"announced\"/' {REGISTER}"));
        }
        dmtool("volume remove loop b a c --yes").assert().success().stderr(contains("a was never complete"));
        assert!(names().is_empty());
        gone();
    });
}
