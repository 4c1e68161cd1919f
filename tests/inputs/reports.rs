//! What is told of pools, in every form, whatever they are.

use super::assert_plain;
use dmtool::health::{Thresholds, findings, status};
use dmtool::observe::left::Pending;
use dmtool::observe::lvm::Lvm;
use dmtool::observe::metadata::Checker;
use dmtool::observe::pools::{Below, Kind, Live, Pool};
use dmtool::observe::survey::{LoopDevice, Lower, Seen, Survey};
use dmtool::observe::thin::{parse_pool_status, parse_pool_table};
use dmtool::observe::{Dmeventd, Looked};
use dmtool::report::told::{Made, Told};
use dmtool::report::{Color, Voice, clean, escaped, health, json, metrics, nagios, page};
use dmtool::units::{Bytes, Sectors};
use serde_json::Value;
use std::collections::BTreeSet;

pub fn live(name: &str, table: &str, status: &str) -> Live {
    let below = || Ok(Below { device: "loop0".to_owned(), file: Some(name.to_owned()) });
    Live {
        dm_name: name.to_owned(),
        major: 254,
        minor: 2,
        suspended: false,
        inactive_table: false,
        layer_empty: false,
        length: Sectors(131_072),
        table: parse_pool_table(table),
        status: parse_pool_status(status),
        volumes: Ok(0),
        failed_volumes: Ok(Vec::new()),
        holders: Ok(Vec::new()),
        thin: Vec::new(),
        data: below(),
        metadata: below(),
    }
}

pub fn bare(name: &str) -> Pool {
    Pool { name: name.to_owned(), kind: Kind::Raw, live: None, lvm: None, broken: None, record: None }
}

pub fn survey(pools: Vec<Pool>, lvm: Lvm, pending: Option<&Looked<Pending>>) -> Survey {
    let lower =
        |size: u64| Ok(Lower { device: "loop0".to_owned(), size: Bytes(size), suspended: None, loop_device: None });
    let seen = |pool: Pool| Seen {
        counted: None,
        data: lower(64 << 20),
        metadata: lower(4 << 20),
        pending: pending.cloned(),
        resting: None,
        maps: None,
        snapshot: None,
        standing: None,
        elsewhere: None,
        above: Vec::new(),
        repair: Ok(None),
        now: None,
        before: None,
        pool,
    };
    Survey {
        pools: pools.into_iter().map(seen).collect(),
        unknown: Vec::new(),
        kernel: Ok(()),
        register: Ok(()),
        lvm: Ok(Some(lvm)),
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

/// A device of loop under each part of each pool, its file deleted or not.
pub fn on_files(survey: &mut Survey, file: &str, deleted: bool) {
    for seen in &mut survey.pools {
        for lower in [&mut seen.data, &mut seen.metadata].into_iter().flatten() {
            let length = Some(Bytes(lower.size.0 / 2));
            let file = Some(file.to_owned());
            lower.loop_device = Some(LoopDevice { file, deleted, length, offset: Bytes(0), autoclear: false });
        }
    }
}

/// Every report of a survey: of as many lines and words as it should have, and safe for a terminal.
pub fn all(survey: &Survey) {
    let thresholds = Thresholds::default();
    let findings = findings(survey, thresholds);
    let told = Told::of(survey, &findings, thresholds);
    again(&told);
    let pools: Vec<Pool> = survey.pools.iter().map(|seen| seen.pool.clone()).collect();
    let list = page::list(&pools);
    assert_plain(&list);
    assert!(list.lines().all(|line| line.split_whitespace().count() == 7), "{list:?}");
    assert_eq!(list.lines().count(), pools.len() + 1);
    for pool in &pools {
        assert_plain(&clean(&page::page(pool, None)));
    }
    let text = metrics::text(survey, &findings);
    let is_one = |line: &str| line.starts_with("# ") || (line.starts_with("dmtool_") && line.contains(' '));
    assert!(text.split_terminator('\n').all(is_one), "{text:?}");
    let check = json::check(survey, &findings, status(&findings));
    as_json(&told.kept(&check, Made { seconds: 1, uptime: 1 }));
}

/// What is told of a look, also of one that was kept.
pub fn again(told: &Told) {
    let text = health::text(told, Voice { color: Color::Never, ..Voice::default() });
    assert_plain(&text);
    let line = clean(&nagios::line(told));
    assert!(!line.contains('\n') && line.matches('|').count() <= 1, "{line:?}");
}

/// JSON that reads back, and does nothing to a terminal.
pub fn as_json(value: &Value) {
    for text in [format!("{value:#}"), value.to_string()] {
        let text = escaped(&text);
        assert_plain(&text);
        assert_eq!(serde_json::from_str::<Value>(&text).as_ref().ok(), Some(value));
    }
}
