//! Findings from facts, for states that no kernel here can be brought into, and for each way not to see.

use super::code::{Code, Severity};
use super::*;
use crate::observe::Dmeventd;
use crate::observe::Unseen;
use crate::observe::lvm::Lvm;
use crate::observe::metadata::Checker;
use crate::observe::pools::{Below, Broken, Kind, Pool, join};
use crate::observe::standing::Elsewhere;
use crate::observe::survey::{LoopDevice, Lower};
use crate::observe::thin::{parse_pool_status, parse_pool_table};
use crate::units::{Bytes, Sectors};
use std::collections::BTreeSet;

pub(super) const HEALTHY: &str = "1 100/1024 10/1024 - rw discard_passdown queue_if_no_space - 256";

pub(super) fn live(status: &str, features: &str) -> Live {
    let below = || Ok(Below { device: "loop0".to_owned(), file: None });
    Live {
        dm_name: "bare-pool".to_owned(),
        major: 254,
        minor: 2,
        suspended: false,
        inactive_table: false,
        layer_empty: false,
        length: Sectors(131_072),
        table: parse_pool_table(&format!("7:1 7:0 128 0 {features}")),
        status: parse_pool_status(status),
        volumes: Ok(0),
        failed_volumes: Ok(Vec::new()),
        holders: Ok(Vec::new()),
        thin: Vec::new(),
        data: below(),
        metadata: below(),
    }
}

fn lower(file: Option<&str>, deleted: bool) -> Lower {
    Lower {
        device: "loop0".to_owned(),
        size: Bytes(64 << 20),
        suspended: None,
        loop_device: Some(LoopDevice {
            file: file.map(str::to_owned),
            deleted,
            length: None,
            offset: Bytes(0),
            autoclear: false,
        }),
    }
}

fn seen(pool: Pool) -> Seen {
    Seen {
        counted: None,
        standing: None,
        elsewhere: None,
        pool,
        data: Ok(lower(Some("/pool/data"), false)),
        metadata: Ok(lower(Some("/pool/metadata"), false)),
        pending: None,
        resting: None,
        maps: None,
        snapshot: None,
        above: Vec::new(),
        repair: Ok(None),
        now: None,
        before: None,
    }
}

pub(super) fn bare(live: Live) -> Seen {
    seen(Pool {
        name: "bare-pool".to_owned(),
        kind: Kind::Loop,
        live: Some(live),
        lvm: None,
        broken: None,
        record: None,
    })
}

pub(super) fn survey(pools: Vec<Seen>) -> Survey {
    Survey {
        pools,
        unknown: Vec::new(),
        kernel: Ok(()),
        register: Ok(()),
        lvm: Ok(Some(Lvm::default())),
        dmeventd: Ok(Dmeventd::Answers),
        checker: Ok(Checker::Installed("/usr/sbin/thin_check".into())),
        consumers: Ok(Vec::new()),
        signed: BTreeSet::new(),
        unread: Vec::new(),
        systems: vec!["debian".to_owned()],
        all: true,
        root: true,
    }
}

fn codes(survey: &Survey) -> Vec<(&'static str, &'static str)> {
    findings(survey, Thresholds::default()).iter().map(|found| (found.code.word(), found.severity.word())).collect()
}

#[test]
fn a_healthy_pool_and_no_pool_are_ok() {
    assert_eq!(codes(&survey(vec![bare(live(HEALTHY, ""))])), []);
    assert_eq!(codes(&survey(Vec::new())), []);
    assert_eq!(status(&[]), Status::Ok);
}

#[test]
fn every_status_of_the_kernel_has_its_finding() {
    for (status, features, code) in [
        ("Fail", "", "pool-failed"),
        ("1 100/1024 1024/1024 - out_of_data_space discard_passdown queue_if_no_space - 256", "", "data-full-queueing"),
        (
            "1 100/1024 1024/1024 - out_of_data_space discard_passdown error_if_no_space - 256",
            "",
            "data-full-writes-lost",
        ),
        (
            "1 100/1024 1024/1024 - out_of_data_space discard_passdown error_if_no_space - 256",
            "1 error_if_no_space",
            "data-full-error",
        ),
        (
            "1 100/1024 1024/1024 - out_of_data_space discard_passdown queue_if_no_space needs_check 256",
            "",
            "data-full-needs-check",
        ),
        ("1 100/1024 10/1024 - ro discard_passdown queue_if_no_space needs_check 256", "", "needs-check"),
        ("1 1024/1024 10/1024 - ro discard_passdown queue_if_no_space - 256", "", "metadata-full"),
        ("1 100/1024 10/1024 88 rw discard_passdown queue_if_no_space - 256", "", "metadata-snapshot-held"),
        ("1 100/1024 10/1024 - rw no_discard_passdown queue_if_no_space - 256", "", "passdown-off"),
    ] {
        let found = codes(&survey(vec![bare(live(status, features))]));
        assert_eq!(found.first().map(|(code, _)| *code), Some(code), "{status}: {found:?}");
        assert_eq!(found.len(), 1, "{status}: {found:?}");
    }
    // Read-only by its own table is what was asked for.
    let asked = live("1 100/1024 10/1024 - ro discard_passdown queue_if_no_space - 256", "1 read_only");
    assert_eq!(codes(&survey(vec![bare(asked)])), []);
}

#[test]
fn thresholds_decide_the_severity() {
    for (used, severity) in [(819, None), (820, Some("warning")), (921, Some("warning")), (922, Some("critical"))] {
        for (status, code) in [
            (format!("1 100/1024 {used}/1024 - rw discard_passdown queue_if_no_space - 256"), "data-nearly-full"),
            (format!("1 {used}/1024 1/1024 - rw discard_passdown queue_if_no_space - 256"), "metadata-nearly-full"),
        ] {
            let found = codes(&survey(vec![bare(live(&status, ""))]));
            assert_eq!(found, severity.map(|severity| vec![(code, severity)]).unwrap_or_default(), "{status}");
        }
    }
}

#[test]
fn what_could_not_be_looked_at_is_never_ok() {
    let hidden = || Unseen("it did not answer".to_owned());
    let mut silent = live(HEALTHY, "");
    silent.status = Err(hidden());
    let mut no_devices = bare(live(HEALTHY, ""));
    no_devices.data = Err(hidden());
    let mut no_table = live(HEALTHY, "");
    no_table.table = Err(hidden());
    for mut one in [
        survey(vec![bare(silent)]),
        survey(vec![no_devices]),
        survey(vec![bare(no_table)]),
        Survey { lvm: Err(hidden()), ..survey(Vec::new()) },
        Survey::unseen(hidden()),
    ] {
        one.root = true;
        let found = findings(&one, Thresholds::default());
        assert_eq!(status(&found), Status::Unknown, "{found:?}");
        assert!(found.iter().all(|found| found.code == Code::CouldNotLook && found.message.contains("did not answer")));
    }
    // What is known to be critical stays so.
    let failed = Survey { lvm: Err(hidden()), ..survey(vec![bare(live("Fail", ""))]) };
    assert_eq!(status(&findings(&failed, Thresholds::default())), Status::Critical);
}

#[test]
fn one_volume_that_failed_in_a_pool_that_works() {
    let mut one = live(HEALTHY, "");
    one.failed_volumes = Ok(vec!["t0".to_owned()]);
    assert_eq!(codes(&survey(vec![bare(one)])), [("volume-failed", "critical")]);
}

#[test]
fn a_loop_device_without_any_file() {
    let mut one = bare(live(HEALTHY, ""));
    one.data = Ok(lower(None, false));
    let found = findings(&survey(vec![one]), Thresholds::default());
    assert_eq!(found.first().map(|found| found.code), Some(Code::BackingFileMissing));
    // Nothing can be copied to where it was: no command that pretends to.
    assert_eq!(found[0].hint.as_deref(), Some("dmtool explain backing-file-missing"));
}

#[test]
fn names_of_files_are_quoted_in_commands() {
    let mut one = bare(live(HEALTHY, "1 skip_block_zeroing"));
    one.data = Ok(lower(Some("/my pools/it's data"), true));
    let hint = findings(&survey(vec![one]), Thresholds::default()).remove(0).hint.expect("a hint");
    assert!(hint.contains("of='/my pools/it'\\''s data' bs=1M"), "{hint}");
    assert!(hint.contains("$(losetup --find --show '/my pools/it'\\''s data')"), "{hint}");
}

/// A pool of LVM's that is up, with 64 MiB of data in LVM's books.
fn of_lvm(mut up: Live) -> (Seen, Lvm) {
    let row = serde_json::json!({
        "vg_name": "vg", "lv_name": "pool", "lv_uuid": "", "lv_attr": "twi-a-t---", "lv_layout": "", "lv_role": "",
        "lv_size": "67108864", "segtype": "thin-pool", "data_lv": "", "metadata_lv": "", "pool_lv": "",
        "chunk_size": "65536", "zero": "", "discards": "", "transaction_id": "0", "lv_profile": "", "vg_profile": "",
        "lv_active": "active", "lv_when_full": "", "lv_skip_activation": "", "devices": "", "vg_extent_size": "4194304",
        "vg_free_count": "0"
    });
    let lvm = Lvm { lvs: vec![serde_json::from_value(row).expect("a row")], ..Lvm::default() };
    up.dm_name = "vg-pool".to_owned();
    let pool =
        Pool { name: "vg/pool".to_owned(), kind: Kind::Lvm, live: Some(up), lvm: None, broken: None, record: None };
    let mut pools = join(vec![pool], &lvm);
    if let Some(side) = &mut pools[0].lvm {
        // The settings of this machine are nothing to these tests.
        side.autoextend = Ok(crate::observe::profile::Autoextend { threshold: 80, percent: 20 });
    }
    (seen(pools.remove(0)), lvm)
}

#[test]
fn a_client_that_holds_the_line_is_no_reason_to_kill_dmeventd() {
    for (dmeventd, kills) in
        [(Dmeventd::Held("lvs (process 7)".to_owned()), false), (Dmeventd::Silent("nothing".to_owned()), true)]
    {
        let (seen, lvm) = of_lvm(live(HEALTHY, ""));
        let one = Survey { lvm: Ok(Some(lvm)), dmeventd: Ok(dmeventd), ..survey(vec![seen]) };
        let found = findings(&one, Thresholds::default());
        let silent = found.iter().find(|found| found.code == Code::DmeventdSilent).expect("the finding");
        assert_eq!(silent.hint.as_ref().is_some_and(|hint| hint.contains("pkill")), kills, "{silent:?}");
        // One that is started anew watches nothing of what the old one did, in no group.
        assert!(
            !kills || silent.hint.as_ref().is_some_and(|hint| hint.ends_with("; vgchange --monitor y")),
            "{silent:?}"
        );
    }
}

#[test]
fn an_extension_that_the_kernel_has_not_got() {
    let told = |status: &str, waits: bool| {
        let mut up = live(status, "");
        (up.suspended, up.inactive_table) = (waits, waits);
        let (seen, lvm) = of_lvm(up);
        let found = findings(&Survey { lvm: Ok(Some(lvm)), ..survey(vec![seen]) }, Thresholds::default());
        let mine = |one: &&Finding| matches!(one.code, Code::ExtensionNotLive | Code::PoolSuspended);
        found.iter().filter(mine).map(|one| (one.code.word(), one.hint.clone().expect("a hint"))).collect::<Vec<_>>()
    };
    let shorter = HEALTHY.replace("10/1024 -", "10/1008 -");
    assert_ne!(shorter, HEALTHY);
    assert_eq!(told(HEALTHY, false), []);
    assert_eq!(told(&shorter, false), [("extension-not-live", "lvchange --refresh vg/pool".to_owned())]);
    // The kernel ignores it, and that is the finding.
    assert_eq!(told(&shorter.replace("- 256", "needs_check 256").replace(" rw ", " ro "), false), []);
    let hint = "dmsetup clear vg-pool && dmsetup resume vg-pool && lvchange --refresh vg/pool";
    assert_eq!(told(&shorter, true), [("pool-suspended", hint.to_owned())]);
}

#[test]
fn a_bare_pool_on_other_files_than_its_register_says() {
    let record = |volumes: &str| {
        let text = format!(
            r#"{{"dmtool": 1, "name": "bare-pool", "kind": "loop", "transaction_id": 0,
            "table": "0 131072 thin-pool METADATA DATA 128 0 0", "metadata": {{"is": "file", "path": "/pool/metadata",
            "size_bytes": 2097152, "inode": 7, "filesystem": null, "grows_to_bytes": null}}, "data": {{"is": "file",
            "path": "/pool/data", "size_bytes": 67108864, "inode": 8, "filesystem": null, "grows_to_bytes": null}},
            "volumes": [{volumes}]}}"#
        );
        serde_json::from_str(&text).expect("a record")
    };
    let web = r#"{"name": "web", "device": "bare-pool-web", "thin_id": 3, "size_bytes": 1048576, "origin": null}"#;
    let told = |elsewhere: Vec<Elsewhere>, volumes: &str| {
        let mut one = bare(live(HEALTHY, ""));
        one.pool.record = Some(Ok(record(volumes)));
        one.elsewhere = Some(Ok(elsewhere));
        findings(&survey(vec![one]), Thresholds::default())
    };
    let on = |anew| Elsewhere { what: "data", recorded: "/pool/data".to_owned(), up: "/new/data".to_owned(), anew };
    assert_eq!(told(Vec::new(), web), []);
    let found = told(vec![on(false)], web);
    assert_eq!((found[0].code, found[0].severity), (Code::RegisterMismatch, Severity::Warning), "{found:?}");
    assert!(found[0].message.contains("data on /new/data, not on /pool/data"), "{found:?}");
    let aside = "mv --no-clobber /var/lib/dmtool/pools/bare-pool.json /var/lib/dmtool/pools/bare-pool.json.old && \
                 dmtool activate bare-pool --remember";
    let volume = "dmsetup create bare-pool-web --table '0 2048 thin /dev/mapper/bare-pool 3'";
    assert_eq!(found[0].hint.as_deref(), Some(format!("{volume} && {aside}").as_str()));
    assert_eq!(told(vec![on(false)], "")[0].hint.as_deref(), Some(aside));
    assert_eq!(told(vec![on(true)], web)[0].hint.as_deref(), Some("dmtool activate bare-pool --remember"));
    // What could not be looked at is no pool that is as it should be.
    let mut unseen = bare(live(HEALTHY, ""));
    unseen.elsewhere = Some(Err(Unseen("it did not answer".to_owned())));
    assert_eq!(codes(&survey(vec![unseen])), [("could-not-look", "unknown")]);
}

#[test]
fn a_broken_node_is_no_inactive_pool() {
    let broken = Broken { dm_name: "bare-pool".to_owned(), target: Some("error".to_owned()) };
    let pool = Pool {
        name: "bare-pool".to_owned(),
        kind: Kind::Raw,
        live: None,
        lvm: None,
        broken: Some(broken),
        record: None,
    };
    assert_eq!(codes(&survey(vec![seen(pool)])), [("target-error", "critical")]);
}

#[test]
fn every_code_but_three_is_some_check_s() {
    // A pool that is half built is no pool yet, and one that is claimed twice may be none; could-not-look is every check's.
    let asked: BTreeSet<Code> = CHECKS.iter().flat_map(|check| check.codes).copied().collect();
    let rest: Vec<Code> = Code::ALL.iter().copied().filter(|code| !asked.contains(code)).collect();
    assert_eq!(rest, [Code::PoolClaimedTwice, Code::PoolHalfBuilt, Code::CouldNotLook]);
    assert!(Severity::Critical > Severity::Unknown && Severity::Unknown > Severity::Warning);
    assert!(join(Vec::new(), &Lvm::default()).is_empty());
}

#[test]
fn what_passes_is_not_told_of_a_pool_that_was_well_a_moment_ago() {
    let found = |code, pool: &str| Finding {
        code,
        severity: Severity::Critical,
        pool: Some(pool.to_owned()),
        message: String::new(),
        hint: None,
    };
    let told = |first: &[Finding], second: &[Finding]| -> Vec<(Code, Option<String>)> {
        confirmed(first, second.to_vec()).into_iter().map(|found| (found.code, found.pool)).collect()
    };
    let first = [found(Code::PoolSuspended, "a")];
    let second = [found(Code::PoolSuspended, "a"), found(Code::PoolSuspended, "b"), found(Code::PoolFailed, "b")];
    let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
    assert_eq!(told(&first, &second), [(Code::PoolSuspended, a.clone()), (Code::PoolFailed, b.clone())]);
    // thin_check did not end in time at first, and then it did.
    let late = [found(Code::PoolInactive, "a"), found(Code::CouldNotLook, "a")];
    let damaged = [found(Code::ActivationCheckFailed, "a")];
    assert_eq!(told(&late, &damaged), [(Code::ActivationCheckFailed, a)]);
    // LVM was locked at first.
    let unseen = [Finding { pool: None, ..found(Code::CouldNotLook, "") }, found(Code::PoolSuspended, "a")];
    assert_eq!(told(&unseen, &[found(Code::NotMonitored, "b")]), [(Code::NotMonitored, b)]);
}
