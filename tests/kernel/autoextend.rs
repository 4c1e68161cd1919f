//! Autoextension: that it happens, that check names what stands in its way, and `dmtool autoextend`.

use super::health::{check, findings, found, gone, run};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// docker/thinpool with 60 % of the 512 MiB disk, so that there is room for steps, and a bare volume in it.
fn pool_with_room() {
    dmtool("setup /dev/xvdi --data 60%VG --chunk-size 64K --yes").assert().success();
    sh(
        "dmsetup message docker-thinpool 0 'create_thin 0' && dmsetup create t0 --table '0 819200 thin /dev/mapper/docker-thinpool 0'",
    );
}

fn fill(percent: u64) {
    let size: u64 = sh("blockdev --getsize64 /dev/mapper/docker-thinpool").parse().expect("a size");
    let count = size * percent / 100 / 65536 + 1;
    sh(&format!("dd if=/dev/zero of=/dev/mapper/t0 bs=64k count={count} oflag=direct conv=notrunc status=none"));
}

fn size() -> u64 {
    sh("blockdev --getsize64 /dev/mapper/docker-thinpool").parse().expect("a size")
}

#[test]
fn a_pool_that_fills_up_is_extended() {
    in_kernel(|| {
        pool_with_room();
        let before = size();
        assert_eq!(check("")["status"], "ok");
        fill(82);
        wait_until("dmeventd extends it", || size() > before);
        assert!(size() * 100 >= before * 120, "{before} {}", size());
        wait_until("all is well", || check("")["status"] == "ok");
        sh("dmsetup remove --retry t0");
    });
}

#[test]
fn dmeventd_watches_on_while_a_pool_is_resized() {
    in_kernel(|| {
        pool_with_room();
        let threads = || sh("ls /proc/$(pgrep -x dmeventd)/task");
        // Those that came and go while it started are none of them.
        let mut watchers = threads();
        wait_until("dmeventd has its threads", || {
            std::thread::sleep(std::time::Duration::from_secs(1));
            let before = std::mem::replace(&mut watchers, threads());
            before == watchers
        });
        for words in ["resize +8M", "resize --metadata +4M"] {
            dmtool(words).assert().success();
            let now = threads();
            let all = watchers.lines().all(|one| now.lines().any(|other| other == one));
            assert!(all, "{words}: taken from it and given back ({watchers} before, {now} now)");
            wait_until("all is well", || check("")["status"] == "ok");
        }
        let before = size();
        fill(82);
        wait_until("dmeventd extends it", || size() > before);
        sh("dmsetup remove --retry t0");
    });
}

#[test]
fn each_of_the_five_things_that_can_be_missing() {
    in_kernel(|| {
        pool_with_room();
        // 1: dmeventd. Another client holds the line to it, which is no reason to end the daemon.
        hold_lock("/run/dmeventd-server");
        let value = check("");
        let held = findings(&value, "dmeventd-silent");
        assert!(held[0]["message"].as_str().is_some_and(|text| text.contains("holds the line")), "{value:#}");
        assert_eq!(held[0]["hint"], "dmtool explain dmeventd-silent");
        dmtool("autoextend --threshold 75").assert().code(3).stderr(contains("holds the line to dmeventd"));
        sh("pkill -x tail");
        gone("dmeventd-silent");
        // It is there and says nothing; then it is not there.
        sh("pkill -STOP -x dmeventd");
        let value = check("");
        assert!(
            findings(&value, "dmeventd-silent")[0]["message"]
                .as_str()
                .is_some_and(|text| text.contains("does not answer"))
        );
        assert_eq!(json("status").1["pools"][0]["autoextend"]["monitored"], serde_json::Value::Null);
        run(&found("dmeventd-silent", "warning"));
        gone("dmeventd-silent");
        gone("not-monitored");
        sh("pkill -KILL -x dmeventd; while pgrep -x dmeventd; do sleep 0.05; done");
        let hint = found("dmeventd-silent", "warning");
        assert_eq!(json("status").1["pools"][0]["autoextend"]["monitored"], false);
        assert!(try_sh("pgrep -x dmeventd").1.is_empty(), "check started it");
        run(&hint);
        gone("dmeventd-silent");
        // 2: monitoring.
        sh("lvchange -qq --monitor n docker/thinpool");
        run(&found("not-monitored", "warning"));
        gone("not-monitored");
        // 3: the threshold.
        dmtool("autoextend --off").assert().success();
        assert_eq!(check("")["status"], "ok", "switched off on purpose");
        run(&found("autoextend-off", "info"));
        gone("autoextend-off");
        // 4: the profile in the live table.
        sh("sed -i 's/=80/=60/' /etc/lvm/profile/docker-thinpool.profile");
        run(&found("profile-not-live", "warning"));
        gone("profile-not-live");
        // 5: room, from the threshold on a warning.
        sh("lvcreate -qq -n rest -l 100%FREE docker");
        assert!(found("autoextend-no-room", "info").starts_with("dmtool resize docker/thinpool --add-device "));
        assert_eq!(check("")["status"], "ok");
        fill(65);
        found("autoextend-no-room", "warning");
        sh("dmsetup remove --retry t0");
    });
}

#[test]
fn dmeventd_is_taken_out_of_its_back_off() {
    in_kernel(|| {
        pool_with_room();
        sh("lvcreate -qq -n rest -l 100%FREE docker");
        let before = size();
        fill(86);
        // It tries, fails, and waits for longer each time: after 40 to 50 seconds for 50 more.
        sh("sleep 60");
        assert_eq!(size(), before);
        found("autoextend-no-room", "warning");
        sh("lvremove -qq -y docker/rest");
        let hint = found("extension-backed-off", "warning");
        let start = std::time::Instant::now();
        run(&hint);
        assert!(size() > before, "it was waited for: {:?}", start.elapsed());
        gone("extension-backed-off");
        sh("dmsetup remove --retry t0");
    });
}

/// Over the threshold and without room, until dmeventd has failed three times and waits for longer than anybody does below.
fn backed_off() {
    pool_with_room();
    sh("lvcreate -qq -n rest -l 100%FREE docker");
    let before = size();
    fill(86);
    sh("sleep 60");
    assert_eq!(size(), before);
}

/// Sooner than a next try that was put off.
#[track_caller]
fn extends_itself_beyond(before: u64) {
    let start = std::time::Instant::now();
    wait_until("it extends itself", || size() > before);
    assert!(start.elapsed().as_secs() < 25, "{:?}", start.elapsed());
}

#[test]
fn a_resize_ends_the_back_off() {
    in_kernel(|| {
        backed_off();
        sh("lvremove -qq -y docker/rest");
        // It may extend itself before anybody can look.
        let before = size() + (4 << 20);
        let (status, value) = json("resize +4M docker/thinpool");
        assert_eq!((status, value["steps"].as_array().map(Vec::len)), (0, Some(1)), "one command: {value:#}");
        extends_itself_beyond(before);
        let before = size();
        fill(86);
        extends_itself_beyond(before);
        sh("dmsetup remove --retry t0");
    });
}

#[test]
fn a_disk_that_is_added_without_a_size_ends_the_back_off() {
    in_kernel(|| {
        backed_off();
        let before = size();
        let (status, value) = json(&format!("resize {before} docker/thinpool --add-device /dev/xvdj --yes"));
        assert_eq!(status, 0, "{value:#}");
        let steps: Vec<_> = value["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .filter(|step| step["status"] == "done")
            .map(|step| step["command"].clone())
            .collect();
        assert_eq!(
            steps,
            [
                "vgextend docker /dev/xvdj",
                "lvchange --monitor n docker/thinpool",
                "lvchange --monitor y docker/thinpool"
            ]
        );
        extends_itself_beyond(before);
        gone("extension-backed-off");
        sh("dmsetup remove --retry t0");
    });
}

#[test]
fn the_verb_shows_sets_and_switches_off() {
    in_kernel(|| {
        pool_with_room();
        dmtool("autoextend").assert().success().stdout(
            contains("docker/thinpool extends itself\n").and(contains("at 80% by 20% (profile docker-thinpool)")),
        );
        let (_, value) = json("autoextend");
        assert_eq!((&value["changed"], &value["pool"]["autoextend"]["threshold"]), (&false.into(), &80.into()));
        let (status, value) = json("autoextend docker/thinpool --threshold 70 --percent 10");
        assert_eq!((status, &value["changed"]), (0, &true.into()));
        assert_eq!(value["pool"]["autoextend"]["percent"], 10);
        assert!(sh("cat /etc/lvm/profile/docker-thinpool.profile").contains("threshold=70"));
        let chunks = size() / 65536;
        let low: u64 =
            sh("dmsetup table docker-thinpool").split(' ').nth(6).expect("low-water").parse().expect("a number");
        assert!(low.abs_diff(chunks * 30 / 100) <= 1, "{low} of {chunks}");
        let (_, again) = json("autoextend --threshold 70 --percent 10");
        assert_eq!(again["changed"], false, "{again:#}");
        // A dry run says what it would do, and does not.
        dmtool("autoextend --off --dry-run")
            .assert()
            .success()
            .stdout(contains("lvchange --monitor n docker/thinpool"));
        assert_eq!(json("autoextend --threshold 70").1["changed"], false);
        dmtool("autoextend --off").assert().success().stdout(contains("docker/thinpool does not extend itself."));
        assert!(sh("lvs --noheadings -o seg_monitor docker/thinpool").contains("not monitored"));
        assert!(sh("dmsetup table docker-thinpool").contains(" 128 0 1 "));
        dmtool("autoextend")
            .assert()
            .success()
            .stdout(contains("will NOT extend itself").and(contains("100%, which is never")));
        let (_, again) = json("autoextend --off");
        assert_eq!(again["changed"], false, "{again:#}");
        // To name a step is to switch it on.
        dmtool("autoextend --percent 30").assert().success().stdout(contains("at 80% by 30%"));
        sh("dmsetup remove --retry t0");
    });
}

/// LVM extends until the pool is below its threshold again, or not at all.
#[test]
fn an_extension_that_does_not_fit_is_none_that_is_left() {
    in_kernel(|| {
        pool_with_room();
        dmtool("autoextend --threshold 95").assert().success();
        fill(86);
        assert_eq!(json("status docker/thinpool").1["pools"][0]["autoextend"]["extensions_left"], 2);
        let said = dmtool("autoextend --threshold 50").assert().success();
        said.stderr(contains("has no room for an extension of docker/thinpool"));
        assert_eq!(json("status docker/thinpool").1["pools"][0]["autoextend"]["extensions_left"], 0);
        dmtool("autoextend").assert().success().stdout(contains("none: the next extension takes"));
        assert!(json("check").1.to_string().contains("autoextend-no-room"));
        sh("dmsetup remove --retry t0");
    });
}

/// LVM takes it that a pool whose profile is lost is never to extend itself.
#[test]
fn a_profile_that_is_lost_is_written_anew_as_for_a_new_pool() {
    in_kernel(|| {
        pool_with_room();
        let profile = "/etc/lvm/profile/docker-thinpool.profile";
        let (text, table) = (sh(&format!("cat {profile}")), sh("dmsetup table docker-thinpool"));
        let lost = || sh(&format!("rm {profile}; lvchange -qq --refresh docker/thinpool"));
        lost();
        dmtool("setup /dev/xvdi --yes").assert().success().stdout(contains("extended at 80% by 20%"));
        assert_eq!((sh(&format!("cat {profile}")), sh("dmsetup table docker-thinpool")), (text.clone(), table.clone()));
        lost();
        dmtool("autoextend --percent 20").assert().success().stdout(contains("at 80% by 20%"));
        assert_eq!((sh(&format!("cat {profile}")), sh("dmsetup table docker-thinpool")), (text, table));
        sh("dmsetup remove --retry t0");
    });
}

#[test]
fn the_verb_on_what_others_made() {
    in_kernel(|| {
        dmtool("autoextend --threshold 80").assert().code(3).stderr(contains("there is no pool on this host"));
        sh(
            "vgcreate -qq vg /dev/xvdi && lvcreate -qq --type thin-pool --monitor n -L 64m -n one vg && lvcreate -qq --type thin-pool -L 64m -n two vg",
        );
        dmtool("autoextend --threshold 80")
            .assert()
            .code(3)
            .stderr(contains("there are several pools: vg/one, vg/two"));
        dmtool("autoextend").assert().code(3).stderr(contains("there are several pools: vg/one, vg/two"));
        dmtool("autoextend vg/three").assert().code(3).stderr(contains("there is no pool vg/three"));
        dmtool("autoextend vg/one --threshold 75").assert().success();
        assert_eq!(sh("lvs --noheadings -o lv_profile,seg_monitor vg/one"), "vg-one   monitored");
        // A profile of somebody's with more in it is not replaced.
        sh(
            "printf 'activation { thin_pool_autoextend_threshold=90 }\\nallocation { thin_pool_chunk_size=128 }\\n' > /etc/lvm/profile/mine.profile && \
            lvchange -qq --metadataprofile mine vg/two",
        );
        dmtool("autoextend vg/two --threshold 75")
            .assert()
            .code(3)
            .stderr(contains("also sets allocation/thin_pool_chunk_size"));
        assert_eq!(sh("lvs --noheadings -o lv_profile vg/two"), "mine");
        sh("pkill -STOP -x dmeventd");
        dmtool("autoextend vg/one --threshold 65").assert().code(3).stderr(contains("dmeventd does not answer"));
        assert!(sh("cat /etc/lvm/profile/vg-one.profile").contains("threshold=75"));
        sh("pkill -CONT -x dmeventd");
        // While it is down, what can be done is done.
        sh("lvchange -qq -an vg/one");
        dmtool("autoextend vg/one --threshold 65").assert().success().stderr(contains("vg/one is down"));
        super::status::loop_pool("bare-pool");
        dmtool("autoextend bare-pool --threshold 80").assert().code(3).stderr(contains("bare device-mapper table"));
        remove_with_files("bare-pool");
    });
}
