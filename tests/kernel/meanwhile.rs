//! What others do between two looks of one run: LVM, Docker, and whoever takes a volume down.

use super::kinds::Kind;
use crate::harness::*;
use std::process::{Command, Stdio};

const TRACE: &str = "/run/trace";

/// Runs dmtool, has it stop behind its first ioctl that names this device, and go on when `meanwhile` is done; its status
/// and what it said. Which one that is, is learned from another run, that looks at the same.
fn with_a_stop(words: &str, learned: &str, device: &str, meanwhile: impl FnOnce()) -> (Option<i32>, String) {
    let dmtool = env!("CARGO_BIN_EXE_dmtool");
    let strace = |inject: &str| format!("strace -qq -o {TRACE} -e trace=ioctl {inject} {dmtool}");
    try_sh(&format!("{} {learned}", strace("")));
    let number = sh(&format!("grep -n 'name=\"{device}\"' {TRACE} | head -n 1 | cut -d: -f1"));
    let run = format!("exec {} {words}", strace(&format!("-e inject=ioctl:signal=STOP:when={number}")));
    let strace = Command::new("sh").args(["-c", &run]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let strace = strace.expect("strace");
    let process = || sh(&format!("pgrep -P {} || true", strace.id()));
    let stands = || try_sh(&format!("grep -q '^State:.[tT]' /proc/{}/status && grep -q STOP {TRACE}", process())).0;
    wait_until("dmtool stands still", stands);
    meanwhile();
    sh(&format!("kill -CONT {}", process()));
    let output = strace.wait_with_output().expect("its end");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_snapshot_that_lvm_makes_meanwhile_is_not_taken_back() {
    in_kernel(|| {
        Kind::Lvm.make();
        let (words, learned) = ("volume create vg/pool web 48M", "volume create vg/pool a 200M");
        let (status, said) = with_a_stop(words, learned, "vg-pool-tpool", || {
            sh("lvcreate -qq -s -n snap vg/b");
        });
        assert_eq!(status, Some(0), "{said}");
        sh("lvchange -qq -ay -K vg/snap && cmp /dev/vg/snap /dev/vg/b");
        dmtool("metadata check vg/pool").assert().success();
        Kind::Lvm.gone();
    });
}

#[test]
fn a_volume_that_goes_meanwhile_is_in_nobodys_use() {
    in_kernel(|| {
        Kind::Raw.make();
        let (status, said) = with_a_stop("deactivate bare", "deactivate bare --dry-run", "bare-b", || {
            sh("dmsetup remove --retry bare-b");
        });
        assert_eq!(status, Some(0), "{said}");
        assert!(!try_sh("dmsetup info bare").0);
        Kind::Raw.up();
        Kind::Raw.assert_whole("b");
        Kind::Raw.gone();
    });
}

/// thin_check reads for as long as it takes, and nothing keeps the pool from being brought up.
#[test]
fn a_pool_that_comes_up_while_its_metadata_is_read_is_not_called_damaged() {
    in_kernel(|| {
        Kind::Lvm.make();
        Kind::Lvm.down();
        sh("cp $(readlink -f /usr/sbin/thin_check) /run/thin_check.real && touch /run/over");
        sh(&format!(
            "cat > /run/over <<'END'\n#!/bin/bash\n\
             if mkdir /run/once 2> /dev/null; then\n\
                 {} activate vg/pool > /run/up 2>&1\n\
                 dmsetup message vg-pool-tpool 0 'create_thin 77'\n\
             fi\n\
             exec -a thin_check /run/thin_check.real \"$@\"\nEND\nchmod 755 /run/over; mount --bind /run/over $(readlink -f /usr/sbin/thin_check)",
            env!("CARGO_BIN_EXE_dmtool")
        ));
        let (ok, said, wrong) = try_sh(&format!("{} metadata check vg/pool", env!("CARGO_BIN_EXE_dmtool")));
        assert!(!ok && wrong.contains("somebody wrote to it while it was read"), "{said}{wrong}");
        assert!(sh("dmsetup status vg-pool-tpool").contains(" rw "), "{}", sh("cat /run/up"));
        sh("umount $(readlink -f /usr/sbin/thin_check)");
    });
}
