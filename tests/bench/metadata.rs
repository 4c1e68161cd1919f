//! Metadata of 2,000,000 mappings looked at, on a pool that is down and on one that is up.

use super::table::{ANY, Column, Row, compare};
use super::{DMTOOL, volumes};
use crate::harness::sh;
use std::fmt::Write;

const POOL: &str = "maps-pool";
const VOLUMES: u64 = 20;
/// Of each volume.
const MAPPINGS: u64 = 100_000;
/// Docker's chunk, in sectors.
const CHUNK: u64 = 128;
/// What a tool takes by hand of a pool that is up: a snapshot reserved before it and released after it.
const CHECK_BY_HAND: &str = "/run/check-by-hand";
const LIST_BY_HAND: &str = "/run/thin_ls-by-hand";

pub fn maps() -> Vec<Row> {
    pool();
    let ours = format!("{DMTOOL} metadata check {POOL}");
    let theirs = "thin_check /dev/mapper/maps-metadata";
    let ways = [(Column::ByHand, "thin_check", theirs, 1.1)];
    let mut rows = vec![compare("`metadata check`, 2,000,000 mappings", 9, &ours, &ways, || ())];
    sh(&format!("{DMTOOL} activate {POOL}"));
    assert!(sh(&format!("dmsetup status {POOL}")).contains("2000000/"), "the mappings are there");
    by_hand(CHECK_BY_HAND, "thin_check -m");
    let ways = [(Column::ByHand, "thin_check and a metadata snapshot", CHECK_BY_HAND, ANY)];
    rows.push(compare("the same of a pool that is up", 9, &ours, &ways, || ()));
    by_hand(LIST_BY_HAND, "thin_ls -m --no-headers -o DEV,EXCLUSIVE_BYTES,SHARED_BYTES");
    rows.push(volumes::exact(POOL, LIST_BY_HAND));
    sh(&format!("{DMTOOL} deactivate {POOL}; vgremove -qq -ff maps; pvremove -qq /dev/xvdk; umount /var/lib/dmtool"));
    rows
}

/// A bare pool on two volumes, with mappings that were never written: thin_restore makes them of a dump.
fn pool() {
    let total = VOLUMES * MAPPINGS + 1000;
    let length = total * CHUNK;
    let mut dump = format!(
        "<superblock uuid=\"\" time=\"1\" transaction=\"{VOLUMES}\" data_block_size=\"{CHUNK}\" nr_data_blocks=\"{total}\">\n"
    );
    for volume in 0..VOLUMES {
        let _ = writeln!(
            dump,
            "<device dev_id=\"{volume}\" mapped_blocks=\"{MAPPINGS}\" transaction=\"{volume}\" creation_time=\"0\" snap_time=\"0\">\n\
             <range_mapping origin_begin=\"0\" data_begin=\"{}\" length=\"{MAPPINGS}\" time=\"0\"/>\n</device>",
            volume * MAPPINGS
        );
    }
    dump.push_str("</superblock>\n");
    std::fs::write("/run/dump.xml", dump).expect("the dump");
    sh(&format!(
        "mkdir -p /var/lib/dmtool && mount -t tmpfs register /var/lib/dmtool && \
         vgcreate -qq maps /dev/xvdk && lvcreate -qq -L {}s -n data maps && lvcreate -qq -L 256m -n metadata maps && \
         thin_restore -i /run/dump.xml -o /dev/mapper/maps-metadata > /dev/null && \
         dmsetup create {POOL} --table '0 {length} thin-pool /dev/mapper/maps-metadata /dev/mapper/maps-data {CHUNK} 0 1 skip_block_zeroing' && \
         {DMTOOL} activate {POOL} --remember && {DMTOOL} deactivate {POOL}",
        length.next_multiple_of(8192)
    ));
}

fn by_hand(path: &str, tool: &str) {
    let script = format!(
        "#!/bin/sh\nset -e\ndmsetup message {POOL} 0 reserve_metadata_snap\n{tool} /dev/mapper/maps-metadata\n\
         exec dmsetup message {POOL} 0 release_metadata_snap\n"
    );
    std::fs::write(path, script).expect("the script");
    sh(&format!("chmod +x {path}"));
}
