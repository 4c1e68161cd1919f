//! What LVM says: its report in JSON, with other lines in between.

use super::{assert_plain, reports, text};
use dmtool::names::VgName;
use dmtool::observe::lvm::{is_of_report, parse_full_report};
use dmtool::observe::metadata::stretches;
use dmtool::observe::pools::{Kind, join};
use dmtool::report::clean;

pub fn lvm_report(data: &[u8]) {
    let text = text(data);
    let report: Vec<&str> = text.lines().filter(|line| is_of_report(line)).collect();
    let lvm = match parse_full_report(&report.join("\n")) {
        Ok(lvm) => lvm,
        Err(why) => return assert_plain(&clean(&why.0)),
    };
    for row in lvm.lvs.iter().take(16) {
        if let Ok(stretches) = stretches(&lvm, &row.vg_name, &row.lv_name) {
            assert!(!stretches.is_empty());
        }
        assert!(lvm.spare(&row.vg_name).0 <= lvm.lvs.iter().map(|row| row.lv_size).max().unwrap_or(0));
        let group = VgName::new(&row.vg_name).ok().and_then(|name| lvm.group(&name));
        assert!(group.is_none_or(|group| !group.pvs.is_empty()));
    }
    // Every pool is told of while it is down; the first one as if it were up, too.
    let mut pools = join(Vec::new(), &lvm);
    assert!(pools.iter().all(|pool| pool.kind == Kind::Lvm && pool.lvm.is_some()));
    pools.truncate(8);
    if let Some(pool) = pools.first_mut() {
        let status = "1 900/1024 1000/1024 - rw discard_passdown queue_if_no_space - 256";
        pool.live = Some(reports::live("vg-pool-tpool", "254:0 254:1 1024 1553 1 skip_block_zeroing", status));
    }
    let again = serde_json::to_value(&lvm.lvs).expect("JSON");
    reports::as_json(&again);
    reports::all(&reports::survey(pools, lvm, None));
}
