//! `dmtool discards`: how far they go, and what a pool does with them.

use super::register::{no_var, record, var};
use super::status::loop_pool;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// What a layer of the way says.
fn layer(value: &serde_json::Value, name: &str) -> (bool, String) {
    let layers = value["chain"].as_array().unwrap_or_else(|| panic!("a chain: {value:#}"));
    let found = layers.iter().find(|layer| layer["layer"] == name).unwrap_or_else(|| panic!("no {name}: {value:#}"));
    (found["passes"] == true, found["why"].as_str().expect("a reason").to_owned())
}

fn discards_of_lvm() -> String {
    sh("lvs --noheadings -o discards vg/pool 2>/dev/null")
}

/// The guest's disks take 32 KiB at once and a chunk is 64 KiB, so that the kernel turns passdown off.
fn what_the_kernel_turned_off() {
    let node = sh("readlink -f /dev/xvdf");
    let small = sh(&format!("cat /sys/class/block/{}/queue/discard_max_bytes", node.trim_start_matches("/dev/")));
    if small != "32768" {
        println!("this disk takes discards of {small} bytes: what the kernel does is not asserted");
    }
    let (status, value) = json("discards vg/pool");
    assert_eq!((status, &value["changed"], &value["asked"]), (0, &false.into(), &"passdown".into()));
    assert_eq!(value["discard"], value["pool"]["discard"]);
    let (passes, why) = layer(&value, "file-system");
    assert!(!passes && why.contains("mounted without discard"), "{value:#}");
    assert!(layer(&value, "volume").0);
    if small == "32768" {
        assert_eq!(value["discard"], "no_passdown");
        let why = layer(&value, "pool").1;
        assert!(
            why.contains("vg-pool_tdata takes at most 32 KiB at once, which is less than a chunk of 64 KiB"),
            "{why}"
        );
        let page = sh(&format!("{} discards vg/pool", env!("CARGO_BIN_EXE_dmtool")));
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        assert!(
            page.contains("  STOP   file-system  /mnt\n") && page.contains(&format!("go on  device       {node}")),
            "{page}"
        );
        dmtool("discards vg/pool passdown")
            .assert()
            .success()
            .stdout(contains("already"))
            .stderr(contains("the kernel keeps passdown off"));
    }
}

#[test]
fn a_pool_of_lvm_in_every_mode() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdf && lvcreate -qq --type thin-pool -L 512M --chunksize 64k -n pool vg && \
            lvcreate -qq -V 256M -T vg/pool -n web && mkfs.ext4 -q /dev/vg/web && mount /dev/vg/web /mnt");
        what_the_kernel_turned_off();
        // Live, and nothing to do the second time.
        dmtool("discards vg/pool no_passdown --dry-run")
            .assert()
            .success()
            .stdout(contains("lvchange --discards nopassdown vg/pool"));
        assert_eq!(discards_of_lvm(), "passdown");
        dmtool("discards vg/pool no_passdown")
            .assert()
            .success()
            .stdout(contains("vg/pool is set to no_passdown."))
            .stderr("");
        assert_eq!(discards_of_lvm(), "nopassdown");
        assert!(sh("dmsetup table vg-pool-tpool").contains("no_discard_passdown"));
        assert_eq!(json("discards vg/pool nopassdown").1["changed"], false, "LVM's word for it");
        // Somebody loads another table than LVM's.
        sh("dmsetup table vg-pool-tpool | sed 's/ 1 no_discard_passdown//' > /run/table && \
            dmsetup load vg-pool-tpool /run/table && dmsetup resume vg-pool-tpool");
        let (status, value) = json("discards vg/pool no_passdown");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        assert!(sh("dmsetup table vg-pool-tpool").contains("no_discard_passdown"));
        // Only while it is down.
        dmtool("discards vg/pool ignore").assert().code(3).stderr(
            contains("only while it is down").and(contains("hint: take it down first: dmtool deactivate vg/pool")),
        );
        assert_eq!(discards_of_lvm(), "nopassdown");
        sh("umount /mnt");
        dmtool("deactivate vg/pool").assert().success();
        dmtool("discards vg/pool").assert().success().stdout("vg/pool is set to no_passdown, and is down\n");
        dmtool("discards vg/pool ignore").assert().success().stdout(contains("It is down: dmtool activate vg/pool"));
        assert_eq!(json("discards vg/pool ignore").1["changed"], false);
        dmtool("activate vg/pool").assert().success();
        sh("lvchange -qq -ay vg/web; mount -o discard /dev/vg/web /mnt");
        assert!(sh("dmsetup status vg-pool-tpool").contains("ignore_discard"));
        let (_, value) = json("discards vg/pool");
        assert_eq!((&value["discard"], &value["asked"]), (&"ignore".into(), &"ignore".into()));
        assert!(layer(&value, "file-system").1.contains("which its volume does not take"), "{value:#}");
        assert!(layer(&value, "volume").1.contains("its pool ignores them"));
        dmtool("discards vg/pool passdown").assert().code(3).stderr(contains("only while it is down"));
        assert_eq!(discards_of_lvm(), "ignore");
        // On one that stands still nobody waits.
        sh("dmsetup suspend vg-pool-tpool; rm -f /run/lvm/hints");
        dmtool("discards vg/pool").assert().success().stdout(contains("STOP   pool"));
        dmtool("volume trim vg/pool").assert().code(3).stderr(contains("vg/pool is suspended."));
        dmtool("discards vg/pool no_passdown").assert().code(3).stderr(contains("vg/pool is suspended."));
        sh("dmsetup resume vg-pool-tpool; umount /mnt");
        dmtool("discards nothing ignore").assert().code(3).stderr(contains("there is no pool nothing"));
    });
}

/// What the file of the pool takes on its disk, in blocks of 512 bytes.
fn taken(file: &str) -> u64 {
    sh(&format!("sync; stat -c %b {file}")).parse().expect("a number")
}

/// 32 MiB written to a volume and discarded: what the pool and the file of its data have back of them, in MiB.
fn had_back(pool: &str, device: &str, file: &str) -> (u64, u64) {
    let used = || -> u64 {
        let words = sh(&format!("dmsetup status {pool}"));
        words.split(' ').nth(5).and_then(|word| word.split('/').next()?.parse().ok()).expect("used blocks")
    };
    sh(&format!("dd if=/dev/urandom of=/dev/mapper/{device} bs=1M count=32 oflag=direct conv=fsync status=none"));
    let before = (used(), taken(file));
    sh(&format!("blkdiscard -f /dev/mapper/{device}"));
    ((before.0 - used()) / 16, before.1.saturating_sub(taken(file)) / 2048)
}

#[test]
fn a_loop_pool_in_every_mode() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 1G --metadata 64M --yes").assert().success();
        dmtool("volume create loop web 256M").assert().success();
        let file = "/var/lib/dmtool/loop/data";
        let (_, value) = json("discards loop");
        assert_eq!((&value["discard"], &value["asked"]), (&"passdown".into(), &"passdown".into()));
        assert_eq!((layer(&value, "pool").0, layer(&value, "data").0), (true, true), "{value:#}");
        assert!(layer(&value, "file").1.contains("/var/lib/dmtool (ext4) has the room back"), "{value:#}");
        assert_eq!(had_back("loop", "loop-web", file), (32, 32));
        dmtool("discards loop no_passdown").assert().success().stderr("").stdout(
            contains("dmsetup load loop --table '0 2097152 thin-pool 7:0 7:1 128 32768 2 skip_block_zeroing no_discard_passdown'")
                .and(contains("loop is set to no_passdown.")),
        );
        assert!(sh("dmsetup status loop").contains(" no_discard_passdown "));
        assert!(
            record()["table"].as_str().is_some_and(|table| table.ends_with("skip_block_zeroing no_discard_passdown"))
        );
        sh("cmp /var/lib/dmtool/pools/loop.json /var/lib/dmtool/loop/dmtool-register-loop.json");
        assert_eq!(json("discards loop no_passdown").1["changed"], false);
        assert_eq!(had_back("loop", "loop-web", file), (32, 0));
        // It comes back as it was.
        dmtool("deactivate").assert().success();
        dmtool("activate").assert().success();
        assert!(sh("dmsetup table loop").ends_with("2 skip_block_zeroing no_discard_passdown"));
        dmtool("discards loop ignore").assert().code(3).stderr(contains("dmtool deactivate loop"));
        dmtool("deactivate").assert().success();
        dmtool("discards loop ignore").assert().success();
        assert_eq!(json("discards loop ignore").1["changed"], false);
        dmtool("activate").assert().success();
        assert!(sh("dmsetup status loop").contains(" ignore_discard "));
        assert!(!try_sh("blkdiscard -f /dev/mapper/loop-web").0);
        dmtool("discards loop passdown").assert().code(3).stderr(contains("only while it is down"));
        dmtool("deactivate").assert().success();
        dmtool("discards loop passdown").assert().success();
        dmtool("activate").assert().success();
        assert_eq!(sh("dmsetup table loop"), "0 2097152 thin-pool 7:0 7:1 128 32768 1 skip_block_zeroing");
        assert_eq!(had_back("loop", "loop-web", file), (32, 32));
        // It follows a pool whose table somebody else changed.
        sh(
            "dmsetup load loop --table '0 2097152 thin-pool 7:0 7:1 128 32768 2 skip_block_zeroing no_discard_passdown' && dmsetup resume loop",
        );
        let (status, value) = json("discards loop no_passdown");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        assert!(record()["table"].as_str().is_some_and(|table| table.ends_with(" no_discard_passdown")));
        dmtool("deactivate").assert().success();
        no_var();
    });
}

#[test]
fn bare_pools_that_nobody_remembers_and_dockers_own() {
    in_kernel(|| {
        let docker = "docker-253:17-1835016-pool";
        loop_pool(docker);
        dmtool(&format!("discards {docker}")).assert().success().stdout(contains("is set to passdown"));
        assert_eq!(json(&format!("discards {docker} passdown")).1["changed"], false);
        let before = sh(&format!("dmsetup table {docker}"));
        dmtool(&format!("discards {docker} no_passdown"))
            .assert()
            .code(3)
            .stderr(contains("is Docker's own pool: Docker makes its table anew at each start"));
        assert_eq!(sh(&format!("dmsetup table {docker}")), before);
        sh(&format!("dmsetup rename {docker} mine"));
        let (status, value) = json("discards mine no_passdown");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        assert!(value["warnings"].to_string().contains("dmtool activate mine --remember"), "{value:#}");
        assert!(sh("dmsetup status mine").contains(" no_discard_passdown "));
        dmtool("discards mine ignore").assert().code(3).stderr(contains("only while it is down"));
        // On a device that takes no discards: what the kernel does about it is said.
        sh(
            "dmsetup remove --retry mine && mkdir -p /run/ram && mount -t ramfs none /run/ram && truncate -s 256M /run/ram/data && \
            r=$(losetup -f --show /run/ram/data) && m=$(losetup -nO NAME -j /run/files/metadata) && \
            dd if=/dev/zero of=$m bs=4k count=1 conv=fsync status=none && \
            dmsetup create mine --table \"0 524288 thin-pool $m $r 128 0 2 skip_block_zeroing no_discard_passdown\"",
        );
        let (status, value) = json("discards mine passdown");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        assert!(value["warnings"].to_string().contains("takes no discards; freed chunks come back"), "{value:#}");
        assert!(sh("dmsetup status mine").contains(" no_discard_passdown "));
        assert!(!sh("dmsetup table mine").contains("no_discard_passdown"));
        assert!(layer(&value, "pool").1.contains("the kernel has turned it off: /dev/loop"), "{value:#}");
        assert_eq!(layer(&value, "data"), (false, "takes none".to_owned()));
        assert_eq!(json("discards mine passdown").1["changed"], false);
        sh("dmsetup remove --retry mine");
        a_device_that_takes_them_later();
        remove_with_files("mine");
        unmount("/run/ram");
    });
}

/// The kernel looks at the data device when a table is loaded, and not again.
fn a_device_that_takes_them_later() {
    let data = sh("basename $(losetup -nO NAME -j /run/files/data)");
    let limit = format!("/sys/block/{data}/queue/discard_max_bytes");
    sh(&format!(
        "echo 4096 > {limit} && m=$(losetup -nO NAME -j /run/files/metadata) && \
         dd if=/dev/zero of=$m bs=4k count=1 conv=fsync status=none && \
         dmsetup create mine --table \"0 4194304 thin-pool $m /dev/{data} 128 0 1 skip_block_zeroing\""
    ));
    dmtool("discards mine").assert().success().stdout(contains("takes at most 4 KiB at once"));
    sh(&format!("echo 1073741824 > {limit}"));
    dmtool("discards mine passdown").assert().success().stderr(contains("takes them by now"));
    assert!(sh("dmsetup status mine").contains(" no_discard_passdown "));
    dmtool("discards mine no_passdown").assert().success();
    dmtool("discards mine passdown").assert().success().stderr(contains("keeps passdown off").not());
    assert!(sh("dmsetup status mine").contains(" discard_passdown "));
}
