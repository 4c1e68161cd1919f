//! `check` as monitoring calls it, `metrics`, `watch`, `status -x`, and that none of them hangs.

use super::health::{check, findings, run, small_pool};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use std::time::Instant;

#[test]
fn thresholds_and_the_nagios_line() {
    in_kernel(|| {
        dmtool("check").assert().success().stdout("no pools here\n");
        dmtool("check --nagios").assert().success().stdout("DMTOOL OK - no pools here\n");
        assert_eq!(check("")["pools"], serde_json::json!([]));
        let value = check("docker/thinpool");
        assert_eq!(value["status"], "unknown");
        assert_eq!(findings(&value, "could-not-look")[0]["pool"], "docker/thinpool");
        dmtool("setup /dev/xvdi --data 60%VG --chunk-size 64K --no-autoextend --yes").assert().success();
        sh(
            "dmsetup message docker-thinpool 0 'create_thin 0' && dmsetup create t0 --table '0 819200 thin /dev/mapper/docker-thinpool 0'",
        );
        dmtool("check").assert().success().stdout(contains("1 pool is healthy"));
        let chunks: u64 =
            sh("blockdev --getsize64 /dev/mapper/docker-thinpool").parse::<u64>().expect("a size") / 65536;
        let fill = |percent: u64| {
            let count = (chunks * percent).div_ceil(100);
            sh(&format!(
                "dd if=/dev/zero of=/dev/mapper/t0 bs=64k count={count} oflag=direct conv=notrunc status=none"
            ));
        };
        fill(84);
        let percent = {
            let status = sh("dmsetup status docker-thinpool");
            let word = status.split(' ').nth(5).expect("data use").to_owned();
            let (used, total) = word.split_once('/').expect("two figures");
            let (used, total) = (used.parse::<f64>().expect("a figure"), total.parse::<f64>().expect("a figure"));
            format!("{:.1}%", used / total * 100.0)
        };
        dmtool("check --nagios").assert().code(1).stdout(
            starts_with("DMTOOL WARNING - docker/thinpool data-nearly-full: Data is 84.")
                .and(contains(format!("| 'docker/thinpool data'={percent};80;90;0;100 'docker/thinpool metadata'=")))
                .and(predicates::function::function(|text: &str| text.lines().count() == 1)),
        );
        for (words, status) in [
            ("", 1),
            ("--warn 85", 0),
            ("--crit 84 --warn 10", 2),
            ("--warn 84 --crit 84", 2),
            ("--warn 100 --crit 100", 0),
        ] {
            dmtool(&format!("check {words}")).assert().code(status);
            dmtool(&format!("check /dev/mapper/docker-thinpool {words}")).assert().code(status);
        }
        dmtool("check -q --warn 85").assert().success().stdout("");
        fill(92);
        dmtool("check --nagios").assert().code(2).stdout(starts_with("DMTOOL CRITICAL - "));
        // The hint brings it below the threshold.
        let hint = findings(&check(""), "data-nearly-full")[0]["hint"].as_str().expect("a hint").to_owned();
        run(&hint);
        dmtool("check").assert().success();
        sh("dmsetup remove --retry t0");
    });
}

#[test]
fn the_time_to_full_is_said_where_it_can_be() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --chunk-size 64K --no-autoextend --yes").assert().success();
        sh(
            "dmsetup message docker-thinpool 0 'create_thin 0' && dmsetup create t0 --table '0 819200 thin /dev/mapper/docker-thinpool 0'",
        );
        sh("dd if=/dev/zero of=/dev/mapper/t0 bs=64k count=1000 oflag=direct conv=notrunc status=none");
        dmtool("check").assert().success().stdout(contains("it is full in").not());
        sh("dd if=/dev/zero of=/dev/mapper/t0 bs=64k count=2000 oflag=direct conv=notrunc status=none");
        dmtool("check").assert().success().stdout(contains("it is full in").not());
        // The same sample, taken ten minutes ago: a guest that is younger than that has a clock that is set forward.
        let text = sh("cat /run/dmtool/use.json");
        let seconds: u64 =
            text.split("\"seconds\":").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok()).expect("seconds");
        if seconds > 600 {
            sh(&format!("sed -i 's/\"seconds\":{seconds}/\"seconds\":{}/' /run/dmtool/use.json", seconds - 600));
        } else {
            sh("sleep 61");
        }
        dmtool("check").assert().success().stdout(contains("it is full in"));
        sh("dmsetup remove --retry t0");
    });
}

/// A write to vg/v is on its way, and waits in the kernel.
pub fn a_write_hangs() {
    sh("dd if=/dev/zero of=/dev/vg/v bs=64k count=4 oflag=direct,sync >/dev/null 2>&1 &");
    wait_until("the writer waits", || {
        try_sh("ps -C dd -o stat= | grep -q ^D && sleep 1 && ps -C dd -o stat= | grep -q ^D").0
    });
}

#[test]
fn a_metadata_device_that_stands_still_hangs_nobody() {
    in_kernel(|| {
        small_pool();
        sh("vgcreate -qq other /dev/xvdj && lvcreate -qq --type thin-pool -L 64m -n pool other");
        sh("dmsetup suspend --noflush vg-pool_tmeta");
        a_write_hangs();
        let start = Instant::now();
        let value = check("");
        assert!(start.elapsed().as_secs() < 50, "{:?}", start.elapsed());
        assert_eq!(value["status"], "unknown");
        let unseen = findings(&value, "could-not-look");
        assert!(unseen.iter().any(|finding| finding["pool"] == "vg/pool"), "{value:#}");
        let pools = value["pools"].as_array().expect("pools");
        let well = pools.iter().find(|pool| pool["name"] == "other/pool").expect("the other pool");
        assert_eq!(well["mode"], "rw", "what can be seen is seen");
        dmtool("metrics").assert().success().stdout(contains("dmtool_check_status 3"));
        sh("dmsetup resume vg-pool_tmeta");
        wait_until("all is well again", || check("vg/pool")["status"] != "unknown");
    });
}

#[test]
fn lvms_lock_held_is_not_ok() {
    in_kernel(|| {
        small_pool();
        sh("mkdir -p /run/lock/lvm");
        hold_lock("/run/lock/lvm/V_vg");
        let start = Instant::now();
        let value = check("--lock-timeout 1");
        assert!(start.elapsed().as_secs() < 40, "{:?}", start.elapsed());
        assert_eq!(value["status"], "unknown", "{value:#}");
        let message = findings(&value, "could-not-look")[0]["message"].as_str().expect("a message").to_owned();
        assert!(message.contains("holds LVM's lock"), "{message}");
        sh("pkill -x tail");
    });
}

#[test]
fn status_x_shows_the_sick_alone() {
    in_kernel(|| {
        dmtool("status -x").assert().success().stdout("no pools here\n");
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        dmtool("status -x").assert().success().stdout("all pools are healthy\n");
        sh("vgcreate -qq vg /dev/xvdj && lvcreate -qq --type thin-pool -L 64m -n pool vg && dmsetup suspend vg-pool");
        dmtool("status -x").assert().success().stdout(
            starts_with("  pool: vg/pool\n state: suspended\nstatus: vg-pool is suspended")
                .and(contains("action: dmsetup resume vg-pool\n   see: dmtool explain pool-suspended"))
                .and(contains("docker/thinpool").not()),
        );
        let (status, value) = json("status -x");
        assert_eq!((status, value["pools"].as_array().map(Vec::len)), (0, Some(1)));
        assert_eq!(value["findings"][0]["code"], "pool-suspended");
        dmtool("status -x docker/thinpool").assert().success().stdout("all pools are healthy\n");
        dmtool("status -x nothing").assert().code(3).stderr(contains("there is no pool nothing"));
        sh("dmsetup resume vg-pool");
    });
}

#[test]
fn metrics_into_a_file_in_one_step() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        sh("mkdir -p /run/textfile");
        dmtool("metrics --output /run/textfile/dmtool.prom").assert().success().stdout("");
        assert_eq!(sh("stat -c %a /run/textfile/dmtool.prom; ls -A /run/textfile"), "644\ndmtool.prom");
        let text = sh("cat /run/textfile/dmtool.prom");
        for line in [
            "# TYPE dmtool_pool_data_size_bytes gauge",
            "dmtool_pool_active{pool=\"docker/thinpool\"} 1",
            "dmtool_pool_mode{pool=\"docker/thinpool\",mode=\"rw\"} 1",
            "dmtool_pool_monitored{pool=\"docker/thinpool\"} 1",
            "dmtool_check_status 0",
            "dmtool_pools 1",
        ] {
            assert!(text.lines().any(|has| has == line), "{line}\n{text}");
        }
        let size = sh("blockdev --getsize64 /dev/mapper/docker-thinpool");
        assert!(text.contains(&format!("dmtool_pool_data_size_bytes{{pool=\"docker/thinpool\"}} {size}\n")));
        // Each family once, help and type before its samples, a gauge without a counter's name, one sample a line.
        let mut families = std::collections::BTreeSet::new();
        let mut now = String::new();
        let mut samples = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                now = rest.split(' ').next().expect("a name").to_owned();
                assert!(families.insert(now.clone()) && !now.ends_with("_total"), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert_eq!(rest, format!("{now} gauge"));
            } else {
                let (name, value) = line.rsplit_once(' ').expect("a sample");
                assert!(name.split('{').next() == Some(&now) && value.parse::<f64>().is_ok(), "{line}");
                assert!(samples.insert(name.to_owned()), "twice: {line}");
            }
        }
        // What cannot be written leaves the old file as it is.
        sh(
            "echo old > /run/textfile/old && ln -s /run/textfile/old /run/textfile/link && ln -s /nowhere /run/textfile/dangling",
        );
        for path in
            ["/run/textfile/link", "/run/textfile/dangling", "/run/nowhere/x.prom", "/run/textfile", "/proc/x.prom"]
        {
            dmtool(&format!("metrics --output {path}"))
                .assert()
                .code(3)
                .stderr(contains("cannot be written").and(contains("hint:")));
        }
        assert_eq!(sh("cat /run/textfile/old; ls -A /run/textfile"), "old\ndangling\ndmtool.prom\nlink\nold");
        sh("mount -t tmpfs -o size=4k tmpfs /mnt && echo old > /mnt/dmtool.prom");
        dmtool("metrics --output /mnt/dmtool.prom").assert().code(3).stderr(contains("cannot be written"));
        assert_eq!(sh("cat /mnt/dmtool.prom; ls -A /mnt; umount /mnt"), "old\ndmtool.prom");
    });
}

#[test]
fn metrics_that_are_there_and_not_surely_on_the_disk_are_not_refused() {
    in_kernel(|| {
        let (dmtool, folder) = (env!("CARGO_BIN_EXE_dmtool"), "/run/textfile");
        let (_, status, said) = try_sh(&format!(
            "mkdir {folder}; strace -f -qq -o /dev/null -P {folder} -e inject=fsync:error=EIO \
             {dmtool} metrics --output {folder}/dmtool.prom; echo $?"
        ));
        assert_eq!(status, "1", "{said}");
        assert!(said.contains("the file is there, but its folder could not be flushed to its disk"), "{said}");
        assert_eq!(sh(&format!("grep -c '^dmtool_pools 0$' {folder}/dmtool.prom; ls -A {folder}")), "1\ndmtool.prom");
    });
}

#[test]
fn watch_ends_cleanly() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 60%VG --yes").assert().success();
        let binary = env!("CARGO_BIN_EXE_dmtool");
        let (_, text, _) =
            try_sh(&format!("timeout -s INT 15 {binary} watch --interval 1 > /run/watched 2>&1; cat /run/watched"));
        assert!(text.matches("POOL ").count() >= 2 && text.contains("1 pool is healthy"), "{text}");
        assert!(!text.contains('\u{1b}'), "plain lines off a terminal: {text:?}");
        assert_eq!(try_sh(&format!("timeout --preserve-status -s INT 10 {binary} watch >/dev/null; echo $?")).1, "0");
        // Whoever read it went away.
        let (_, text, _) = try_sh(&format!("timeout 20 {binary} watch --interval 1 | head -n 1; echo gone"));
        assert!(text.ends_with("gone"), "{text}");
        // On a terminal the picture is drawn in place.
        let (_, text, _) = try_sh(&format!(
            "timeout 60 script -qec 'timeout --preserve-status -s INT 15 {binary} watch --interval 1' /dev/null"
        ));
        assert!(text.contains("\u{1b}[H") && text.contains("docker/thinpool"), "{text:?}");
        let (_, text, _) = try_sh(&format!("timeout -s INT 15 {binary} watch --interval 1 --json"));
        let first: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(first["status"], "ok");
    });
}
