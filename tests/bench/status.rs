//! What only looks: at one pool, and with ever more bare thin devices as Docker makes them.

use super::table::{ANY, Column, Row, compare, told};
use super::{DMTOOL, setup, volumes};
use crate::harness::sh;

/// A check of all pools against what shows a part of the same.
const LVS: &str = "lvs -a -o+seg_monitor";

pub fn all() -> Vec<Row> {
    sh(&format!("{DMTOOL} setup /dev/xvdf --yes"));
    let (status, as_json) = (format!("{DMTOOL} status"), format!("{DMTOOL} status --json"));
    let (dmsetup, lvs): (&str, &str) = ("dmsetup status", "lvs");
    let mut rows = vec![
        compare("`status`, one pool", 101, &status, &[(Column::ByHand, dmsetup, dmsetup, 1.0)], || ()),
        compare("`status --json`, one pool", 11, &as_json, &[(Column::ByHand, lvs, lvs, ANY)], || ()),
    ];
    let mut checks = Vec::new();
    let mut made = 0;
    for count in [10, 100, 500, 1000] {
        thin_devices(made + 1..=count);
        made = count;
        if count == 500 {
            rows.push(compare(
                "`status`, 500 bare thin devices",
                21,
                &status,
                &[(Column::ByHand, dmsetup, dmsetup, 1.3)],
                || (),
            ));
            rows.push(compare(
                "`status --json`, 500 bare thin devices",
                11,
                &as_json,
                &[(Column::ByHand, lvs, lvs, 0.8)],
                || (),
            ));
            continue;
        }
        let limit = if count == 1000 { 0.55 } else { ANY };
        let what = format!("`check`, {count} bare thin devices");
        let ways = [(Column::ByHand, "lvs -a -o+seg_monitor", LVS, limit)];
        checks.push(compare(&what, 9, &format!("{DMTOOL} check"), &ways, || ()));
    }
    rows.push(for_each_more(&checks[0], &checks[2], 990.0));
    rows.extend(checks);
    rows.push(volumes::list());
    setup::blank();
    rows
}

/// What each device more costs.
fn for_each_more(few: &Row, many: &Row, devices: f64) -> Row {
    let mut row = Row {
        what: "`check`, for each device more".to_owned(),
        ours: (many.ours - few.ours) / devices,
        others: Vec::new(),
    };
    for (few, many) in few.others.iter().zip(&many.others) {
        let seconds = (many.seconds - few.seconds) / devices;
        row.others.push(super::table::Other { column: few.column, what: few.what, seconds, limit: 0.45 });
    }
    told(row)
}

/// As Docker makes them: ids by message, bare devices without udev's rules.
fn thin_devices(ids: std::ops::RangeInclusive<u32>) {
    sh(&format!(
        "for i in $(seq {} {}); do dmsetup message docker-thinpool 0 \"create_thin $i\" && \
         dmsetup create --noudevrules --noudevsync layer-$i --table \"0 204800 thin /dev/mapper/docker-thinpool $i\" \
         || exit 1; done",
        ids.start(),
        ids.end()
    ));
}
