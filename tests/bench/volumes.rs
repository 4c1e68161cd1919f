//! Volumes: the list of a pool's, and one made, snapshotted and removed.

use super::table::{ANY, Column, Row, compare, script};
use super::{DMTOOL, setup};
use crate::harness::sh;

const POOL: &str = "docker/thinpool";

/// A thousand bare thin devices, which are there.
pub fn list() -> Row {
    let ours = format!("{DMTOOL} volume list {POOL}");
    let found = sh(&ours);
    assert_eq!(found.lines().skip(1).filter(|line| line.contains(" active ")).count(), 1000, "{found}");
    let ways = [(Column::ByHand, "dmsetup status", "dmsetup status", 2.5), (Column::ByHand, "lvs", "lvs", 0.3)];
    let row = compare("`volume list`, 1,000 bare thin devices", 11, &ours, &ways, || ());
    sh(
        "for i in $(seq 1 1000); do dmsetup remove --noudevsync layer-$i && dmsetup message docker-thinpool 0 \"delete $i\" || exit 1; done",
    );
    row
}

/// What each volume holds alone, where thin_ls has all maps to go through; by hand it needs a metadata snapshot around it.
pub fn exact(pool: &str, by_hand: &str) -> Row {
    let ours = format!("{DMTOOL} volume list {pool} --exact");
    let found = sh(&format!("{ours} --json"));
    assert!(found.contains("\"complete\": true") && !found.contains("\"exclusive_bytes\": null"), "{found}");
    let ways = [(Column::ByHand, "thin_ls and a metadata snapshot", by_hand, 1.2)];
    compare("`volume list --exact`, 2,000,000 mappings", 9, &ours, &ways, || ())
}

/// One volume, with a file system, its snapshot, and both gone again.
pub fn by_hand() -> Vec<Row> {
    sh(&format!("{DMTOOL} setup /dev/xvdf --yes"));
    let gone = || drop(sh("lvremove -qq -f docker/web docker/snap 2>/dev/null; udevadm settle"));
    gone();
    let create = format!("{DMTOOL} volume create {POOL} web 256M --fs ext4");
    let theirs =
        script("create-by-hand", "lvcreate -qq -V 256m -T docker/thinpool -n web\nmkfs.ext4 -q /dev/docker/web");
    let ways = [(Column::ByHand, "lvcreate -V, mkfs.ext4", theirs.as_str(), ANY)];
    let mut rows = vec![compare("`volume create --fs`, a pool of LVM", 7, &create, &ways, gone)];
    gone();
    sh(&create);
    let ways = [(Column::ByHand, "lvcreate -s -kn", "lvcreate -qq -s -kn -n snap docker/web", ANY)];
    let ready = || drop(sh("lvremove -qq -f docker/snap 2>/dev/null; udevadm settle"));
    rows.push(compare(
        "`volume snapshot`, a pool of LVM",
        7,
        &format!("{DMTOOL} volume snapshot {POOL} web snap"),
        &ways,
        ready,
    ));
    setup::blank();
    rows.extend(bare());
    rows
}

fn bare() -> Vec<Row> {
    sh(&format!(
        "mkfs.ext4 -qF /dev/xvdh; mkdir -p /var/lib/dmtool; mount /dev/xvdh /var/lib/dmtool; \
         {DMTOOL} setup --loop --data 2G --metadata 16M --yes"
    ));
    let gone = || {
        sh(&format!(
            "{DMTOOL} volume remove loop web --yes >/dev/null 2>&1; \
             dmsetup info web >/dev/null 2>&1 && dmsetup remove web && dmsetup message loop 0 'delete 500'; udevadm settle"
        ));
    };
    let by_hand = script(
        "thin-by-hand",
        "dmsetup message loop 0 'create_thin 500'\ndmsetup create web --table '0 524288 thin /dev/mapper/loop 500'",
    );
    let ways = [(Column::ByHand, "dmsetup message, dmsetup create", by_hand.as_str(), ANY)];
    let row = compare("`volume create`, a loop pool", 7, &format!("{DMTOOL} volume create loop web 256M"), &ways, gone);
    gone();
    sh(&format!("{DMTOOL} teardown loop --yes; umount /var/lib/dmtool; wipefs -qa /dev/xvdh"));
    vec![row]
}
