//! Pools whose data lie on stripes, or twice: what an extension takes of the group is counted as LVM takes it.

use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn free() -> u64 {
    sh("vgs --noheadings -o vg_free_count vg").parse().expect("a number")
}

/// In extents of 1 MiB.
fn size() -> u64 {
    sh("lvs --noheadings --nosuffix --units m -o lv_size vg/pool").trim_end_matches(".00").parse().expect("a number")
}

fn of_pool() -> Value {
    json("status vg/pool").1["pools"][0].clone()
}

#[test]
fn a_size_that_lvm_rounds_up_to_its_stripes_is_reached() {
    in_kernel(|| {
        sh(
            "vgcreate -qq -s 1m vg /dev/xvdi /dev/xvdj && lvcreate -qq -i2 -I64k --type thin-pool -L 64m -c 64k -n pool vg",
        );
        let (status, value) = json("resize 65M vg/pool");
        assert_eq!((status, size()), (0, 66), "{value:#}");
        let (status, value) = json("resize 65M vg/pool");
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
        // What is left beside the stripes is of no use to it.
        sh(&format!(
            "lvcreate -qq -an -Zn -n rest -l {} vg /dev/xvdi 2>/dev/null",
            sh("pvs --noheadings -o pv_pe_count,pv_pe_alloc_count /dev/xvdi | awk '{print $1-$2-5}'")
        ));
        sh(&format!(
            "lvcreate -qq -an -Zn -n more -l {} vg /dev/xvdj 2>/dev/null",
            sh("pvs --noheadings -o pv_pe_count,pv_pe_alloc_count /dev/xvdj | awk '{print $1-$2-6}'")
        ));
        assert_eq!(free(), 11);
        dmtool("resize max vg/pool").assert().success();
        assert_eq!((size(), free()), (76, 1));
        assert_eq!(json("resize max vg/pool").1["changed"], false);
        dmtool("resize +1M vg/pool").assert().code(3).stderr(contains("That needs 2 MiB more"));
        sh("vgremove -qq -ff vg");
    });
}

#[test]
fn an_extension_of_a_mirrored_pool_takes_twice_its_size() {
    in_kernel(|| {
        sh("vgcreate -qq -s 1m vg /dev/xvdi /dev/xvdj && lvcreate -qq --yes --type raid1 -m1 -L 100m -n pool vg");
        wait_until("both copies are the same", || sh("lvs --noheadings -o sync_percent vg/pool").starts_with("100"));
        sh(
            "lvcreate -qq -Wn -L 4m -n meta vg && lvconvert -qq --yes --type thin-pool -c 64k --poolmetadata vg/meta vg/pool",
        );
        sh(&format!(
            "lvcreate -qq -an -Zn -n rest -l {} vg /dev/xvdi 2>/dev/null",
            sh("pvs --noheadings -o pv_pe_count,pv_pe_alloc_count /dev/xvdi | awk '{print $1-$2-15}'")
        ));
        sh(&format!(
            "lvcreate -qq -an -Zn -n more -l {} vg /dev/xvdj 2>/dev/null",
            sh("pvs --noheadings -o pv_pe_count,pv_pe_alloc_count /dev/xvdj | awk '{print $1-$2-15}'")
        ));
        assert_eq!(free(), 30);
        // By 20 % it would be 20 of them, twice.
        dmtool("autoextend vg/pool --threshold 80 --percent 20")
            .assert()
            .success()
            .stderr(contains("no room for an extension"));
        assert_eq!(of_pool()["autoextend"]["extensions_left"], 0);
        assert!(json("check").1.to_string().contains("autoextend-no-room"));
        dmtool("autoextend vg/pool --percent 10").assert().success();
        assert_eq!(of_pool()["autoextend"]["extensions_left"], 1);
        dmtool("resize +20M vg/pool")
            .assert()
            .code(3)
            .stderr(contains("That needs 40 MiB more").and(contains("resize max")));
        dmtool("resize max vg/pool").assert().success();
        assert_eq!((size(), free()), (115, 0));
        sh("vgremove -qq -ff vg");
    });
}

#[test]
fn what_a_disk_withholds_is_no_room() {
    in_kernel(|| {
        sh(
            "vgcreate -qq -s 1m vg /dev/xvdi /dev/xvdj && lvcreate -qq --type thin-pool -L 64m -c 64k -n pool vg /dev/xvdi && \
            pvchange -qq -x n /dev/xvdj",
        );
        let of_disk = sh("pvs --noheadings -o pv_pe_count,pv_pe_alloc_count /dev/xvdi | awk '{print $1-$2}'");
        let there: u64 = of_disk.parse().expect("a number");
        assert_eq!(of_pool()["autoextend"]["free_bytes"], there << 20);
        dmtool(&format!("resize +{}M vg/pool", there + 1))
            .assert()
            .code(3)
            .stderr(contains(format!("vg has {there} MiB free")));
        // By 20 % of it there is room on the other disk alone.
        dmtool(&format!("resize {}M vg/pool", 64 + there - 20)).assert().success();
        dmtool("autoextend vg/pool --threshold 80 --percent 20")
            .assert()
            .success()
            .stderr(contains("no room for an extension"));
        assert_eq!(of_pool()["autoextend"]["extensions_left"], 0);
        dmtool("resize max vg/pool").assert().success();
        assert_eq!((json("resize max vg/pool").1["changed"].clone(), size()), (false.into(), 64 + there));
        sh("pvchange -qq -x y /dev/xvdj");
        dmtool("resize +1M vg/pool").assert().success();
        sh("vgremove -qq -ff vg");
    });
}
