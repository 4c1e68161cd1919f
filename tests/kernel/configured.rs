//! What `dmtool check` says where all pools that are up are well: of pools that are configured and not there, that are up
//! on other files than the register says, or smaller than LVM has them.

use super::health::{check, findings, found, gone, run, small_pool};
use super::register::{no_var, record, var};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

fn configure_docker(options: &str) {
    sh(&format!("mkdir -p /etc/docker && echo '{{\"storage-opts\": [{options}]}}' > /etc/docker/daemon.json"));
}

#[test]
fn a_pool_that_is_configured_and_not_there() {
    in_kernel(|| {
        sh(
            "cp -a /etc/containerd /etc/containerd.was; printf 'version = 2\\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\\npool_name = \"devpool\"\\n' > /etc/containerd/config.toml",
        );
        let value = check("");
        let [finding] = &findings(&value, "pool-inactive")[..] else { panic!("{value:#}") };
        assert_eq!((&finding["pool"], &finding["severity"]), (&"devpool".into(), &"critical".into()));
        let said = finding["message"].as_str().expect("a message");
        assert!(said.contains("containerd") && said.contains("/etc/containerd/config.toml"), "{said}");
        assert!(run(finding["hint"].as_str().expect("a hint")).contains("--remember"));
        assert_eq!(check("devpool")["status"], "critical");
        dmtool("check --nagios").assert().code(2).stdout(contains("CRITICAL").and(contains("devpool")));
        dmtool("status -x").assert().success().stdout(contains("devpool"));
        // As the script makes it.
        sh("mkdir -p /run/d && truncate -s 4M /run/d/meta && truncate -s 256M /run/d/data && \
            losetup /dev/loop5 /run/d/meta && losetup /dev/loop6 /run/d/data && \
            dmsetup create devpool --table '0 524288 thin-pool /dev/loop5 /dev/loop6 128 0'");
        assert_eq!(check("")["status"], "ok");
        // The other one takes the same.
        configure_docker("\"dm.thinpooldev=/dev/mapper/devpool\"");
        assert!(run(&found("pool-claimed-twice", "critical")).contains("same pool"));
        sh("rm -rf /etc/containerd && mv /etc/containerd.was /etc/containerd");
        gone("pool-claimed-twice");
        assert_eq!(check("")["status"], "ok");
        sh("dmsetup remove --retry devpool; losetup -d /dev/loop5 /dev/loop6; rm -r /run/d");
        assert_eq!(findings(&check(""), "pool-inactive").len(), 1);
        // Docker makes this one itself.
        configure_docker("\"dm.directlvm_device=/dev/xvdf\"");
        assert_eq!(check("")["status"], "ok");
        // One of LVM's that is down has one finding.
        small_pool();
        configure_docker("\"dm.thinpooldev=/dev/mapper/vg-pool\"");
        sh("vgchange -qq -an vg");
        let value = check("");
        let [finding] = &findings(&value, "pool-inactive")[..] else { panic!("{value:#}") };
        assert_eq!(finding["hint"], "dmtool activate vg/pool");
        sh("rm -r /etc/docker");
    });
}

#[test]
fn a_loop_pool_on_copies_of_its_files() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 1G --metadata 64M --yes").assert().success();
        dmtool("volume create loop web 100M").assert().success();
        dmtool("deactivate loop").assert().success();
        // On other loop devices it is the same pool.
        sh("losetup /dev/loop6 /var/lib/dmtool/loop/data && losetup /dev/loop7 /var/lib/dmtool/loop/metadata && \
            dmsetup create loop --table '0 2097152 thin-pool /dev/loop7 /dev/loop6 128 32768 1 skip_block_zeroing'");
        assert!(findings(&check(""), "register-mismatch").is_empty());
        sh("dmsetup remove --retry loop && losetup -d /dev/loop6 /dev/loop7");
        sh(
            "mkdir /var/lib/dmtool/new && cp --sparse=always /var/lib/dmtool/loop/data /var/lib/dmtool/loop/metadata /var/lib/dmtool/new && \
            losetup /dev/loop6 /var/lib/dmtool/new/data && losetup /dev/loop7 /var/lib/dmtool/new/metadata && \
            dmsetup create loop --table '0 2097152 thin-pool /dev/loop7 /dev/loop6 128 32768 1 skip_block_zeroing'",
        );
        dmtool("volume create loop more 10M").assert().code(3).stderr(contains("on other devices"));
        let hint = found("register-mismatch", "warning");
        dmtool("check").assert().code(1).stdout(contains("/var/lib/dmtool/new/data, not on /var/lib/dmtool/loop/data"));
        run(&hint);
        gone("register-mismatch");
        assert_eq!(record()["data"]["path"], "/var/lib/dmtool/new/data");
        assert_eq!(record()["volumes"][0]["name"], "web");
        sh(
            "head -c 1M /dev/urandom > /run/bytes && dd if=/run/bytes of=/dev/mapper/loop-web bs=64K oflag=direct status=none",
        );
        dmtool("deactivate loop").assert().success();
        sh("rm -r /var/lib/dmtool/loop");
        dmtool("activate loop").assert().success();
        assert_eq!(sh("head -c 1M /dev/mapper/loop-web | md5sum"), sh("md5sum < /run/bytes"));
        assert_eq!(check("")["status"], "ok");
        // The file itself is replaced by its copy, as a restore does it.
        dmtool("deactivate loop").assert().success();
        sh("cd /var/lib/dmtool/new && cp --sparse=always data copy && mv copy data && \
            losetup /dev/loop6 data && losetup /dev/loop7 metadata && \
            dmsetup create loop --table '0 2097152 thin-pool /dev/loop7 /dev/loop6 128 32768 1 skip_block_zeroing'");
        run(&found("register-mismatch", "warning"));
        gone("register-mismatch");
        dmtool("deactivate loop").assert().success();
        dmtool("activate loop").assert().success();
        dmtool("teardown loop --yes").assert().success();
        no_var();
    });
}

#[test]
fn a_pool_that_is_smaller_than_lvm_has_it() {
    in_kernel(|| {
        small_pool();
        // As a resize that was killed leaves it: LVM's metadata is written, and the kernel has its old table. It makes no
        // pool smaller, so that its old metadata must come back.
        let metadata = |copy: &str| {
            // LVM shows it for reading alone.
            sh("vgchange -qq -an vg && lvchange -qq --yes -ay vg/pool_tmeta && \
                dmsetup create meta --table \"$(dmsetup table vg-pool_tmeta)\"");
            sh(&format!(
                "dd {copy} bs=64k conv=fsync status=none && dmsetup remove --retry meta && lvchange -qq -an vg/pool_tmeta"
            ));
        };
        sh("vgcfgbackup -qq -f /run/before vg");
        metadata("if=/dev/mapper/meta of=/run/metadata");
        sh(
            "vgchange -qq -ay vg && lvextend -qq -L +16m vg/pool && vgcfgbackup -qq -f /run/after vg && vgchange -qq -an vg && \
            vgcfgrestore -qq --force -f /run/before vg",
        );
        metadata("if=/run/metadata of=/dev/mapper/meta");
        sh("vgchange -qq -ay vg && vgcfgrestore -qq --yes --force -f /run/after vg");
        let length = || sh("dmsetup table vg-pool-tpool | cut -d ' ' -f 2");
        assert_eq!(length(), "131072");
        assert_eq!(found("extension-not-live", "warning"), "lvchange --refresh vg/pool");
        sh("dmsetup suspend vg-pool-tpool && dmsetup table vg-pool-tpool | dmsetup load vg-pool-tpool");
        gone("extension-not-live");
        let hint = found("pool-suspended", "critical");
        let resumes = hint.strip_suffix(" && lvchange --refresh vg/pool").expect("LVM's size at the end");
        run(resumes);
        assert_eq!(length(), "131072");
        run(&found("extension-not-live", "warning"));
        assert_eq!(length(), "163840");
        // All of it at once.
        sh("dmsetup suspend vg-pool-tpool && dmsetup table vg-pool-tpool | dmsetup load vg-pool-tpool");
        run(&hint);
        gone("pool-suspended");
        gone("extension-not-live");
    });
}

/// What dmtool says, and its status; where it says nothing in time, what it waits for.
fn answer(words: &str) -> String {
    let dmtool = env!("CARGO_BIN_EXE_dmtool");
    sh(&format!("rm -f /run/said; (({dmtool} {words}; echo status $?) > /run/said 2>&1 < /dev/null &) > /dev/null 2>&1
        for _ in $(seq 200); do grep -qs ^status /run/said && break; sleep 0.1; done
        grep -qs ^status /run/said || for p in $(pgrep -x dmtool); do cat /proc/$p/stack /proc/$p/wchan; done; cat /run/said"))
}

/// Whoever has a metadata snapshot reserved waits for what the pool stands on, and cannot be killed.
#[test]
fn metadata_of_a_pool_whose_devices_are_suspended() {
    in_kernel(|| {
        small_pool();
        for device in ["vg-pool_tmeta", "vg-pool_tdata"] {
            // What is not committed yet is by then: the kernel's own commit holds whoever asks the pool for anything.
            sh(&format!("sleep 2; dmsetup suspend {device}"));
            for (words, status) in [("volume list vg/pool", 0), ("metadata check vg/pool", 3), ("check --metadata", 2)]
            {
                let said = answer(words).split_whitespace().collect::<Vec<_>>().join(" ");
                let why = format!("{device}, which carries vg-pool-tpool, is suspended");
                assert!(said.contains(&why) && said.contains(&format!("dmsetup resume {device}")), "{words}: {said}");
                assert!(said.ends_with(&format!("status {status}")), "{words}: {said}");
            }
            run(&found("pool-suspended", "critical"));
            dmtool("metadata check vg/pool").assert().success();
        }
    });
}

/// One that is started anew knows nothing of what the old one watched, in whichever group.
#[test]
fn all_that_a_silent_dmeventd_watched_is_watched_again() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        dmtool("setup /dev/xvdg --pool other/pool --yes").assert().success();
        let watched = || sh("lvs --noheadings -o seg_monitor -S segtype=thin-pool | sort | uniq -c | xargs");
        assert_eq!(watched(), "2 monitored");
        for refused in [false, true] {
            sh("pkill -STOP -x dmeventd");
            if refused {
                let said = dmtool("autoextend docker/thinpool --threshold 70").assert().code(3);
                said.stderr(contains("pkill --signal KILL --exact dmeventd; vgchange --monitor y"));
            }
            let hint = found("dmeventd-silent", "warning");
            run(&hint);
            gone("dmeventd-silent");
            gone("not-monitored");
            assert_eq!(watched(), "2 monitored");
        }
    });
}

#[test]
fn a_discard_that_the_pool_ignores() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdi && \
            lvcreate -qq --type thin-pool -L 64m --poolmetadatasize 4m --discards ignore -n pool vg && \
            lvcreate -qq -V 64m -T vg/pool -n v");
        let refused = dmtool("volume remove vg/pool v --discard --yes").assert().code(3);
        refused.stderr(contains("vg/pool ignores discards").and(contains("leave --discard out")));
        dmtool("volume remove vg/pool v --yes").assert().success();
        assert_eq!(json("volume remove vg/pool v --discard --yes").1["changed"], false);
    });
}
