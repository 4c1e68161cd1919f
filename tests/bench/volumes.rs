//! The list of a pool's volumes: what it costs beside the commands that show a part of the same.

use super::{DMTOOL, compare, thin_devices};
use crate::harness::sh;

const POOL: &str = "docker/thinpool";
/// What the check bench leaves.
const DEVICES: u32 = 1000;

/// Bare thin devices as Docker makes them; those that are there already are taken as they are.
pub fn list() -> bool {
    let made: u32 = sh("dmsetup ls | grep -c '^layer-' || true").parse().expect("a count");
    thin_devices(made + 1..=DEVICES);
    let ours = format!("{DMTOOL} volume list {POOL}");
    let found = sh(&ours);
    assert_eq!(found.lines().skip(1).filter(|line| line.contains(" active ")).count(), 1000, "{found}");
    let what = "volume list, 1,000 bare thin devices";
    let ok = compare(what, (&ours, "dmsetup status"), 15, 2.5);
    compare(what, (&ours, "lvs"), 9, 0.3) && ok
}

/// What each volume holds alone, where thin_ls has all maps to go through; by hand it needs a metadata snapshot around it.
pub fn exact(pool: &str, by_hand: &str) -> bool {
    let ours = format!("{DMTOOL} volume list {pool} --exact");
    let found = sh(&format!("{ours} --json"));
    assert!(found.contains("\"complete\": true") && !found.contains("\"exclusive_bytes\": null"), "{found}");
    compare("volume list --exact, 2,000,000 mappings", (&ours, by_hand), 9, 1.2)
}
