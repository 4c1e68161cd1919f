//! `dmtool setup --loop`: a pool without a disk, and the volumes that `dmtool volume create` makes on it.

use super::register::{no_var, record, up, var};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

#[test]
fn a_loop_pool_in_every_step_of_its_life() {
    in_kernel(|| {
        var();
        let setup = "setup --loop --data 1G --metadata 64M";
        dmtool(setup).assert().code(3).stderr(contains("needs a yes"));
        dmtool(&format!("{setup} --dry-run")).assert().success().stdout(contains("losetup"));
        assert_eq!(up() + &sh("ls /var/lib/dmtool"), "lost+found");
        let (status, value) = json(&format!("{setup} --yes"));
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        assert_eq!((&value["pool"]["kind"], &value["pool"]["name"]), (&"loop".into(), &"loop".into()));
        assert!(value["warnings"].to_string().contains("good for testing"), "{value:#}");
        assert_eq!(sh("dmsetup table loop"), "0 2097152 thin-pool 7:0 7:1 128 32768 1 skip_block_zeroing");
        assert_eq!(
            sh("stat -c '%s %a' /var/lib/dmtool/loop/data /var/lib/dmtool/loop/metadata"),
            "1073741824 600\n67108864 600"
        );
        assert_eq!(sh("cat /sys/block/loop0/loop/dio /sys/block/loop1/loop/dio"), "1\n1", "ext4 has direct I/O");
        sh("cmp /var/lib/dmtool/pools/loop.json /var/lib/dmtool/loop/loop.json");
        assert_eq!(record()["data"]["inode"].to_string(), sh("stat -c %i /var/lib/dmtool/loop/data"));
        // Again, with its sizes and with others: they count at creation only.
        for more in ["--data 1G --metadata 64M", "", "--chunk-size 64K --dir /var/lib/dmtool/loop"] {
            let (status, value) = json(&format!("setup --loop {more} --yes"));
            assert_eq!((status, &value["changed"]), (0, &false.into()), "{more}: {value:#}");
        }
        dmtool("setup --loop --chunk-size 128K --dir /var/lib/dmtool/other --yes")
            .assert()
            .code(3)
            .stderr(contains("has chunks of 64 KiB, not of 128 KiB").and(contains("not in /var/lib/dmtool/other")));
        assert_eq!(sh("losetup --noheadings --list | wc -l"), "2", "no second loop device");
        volumes();
        sh("mount /dev/mapper/loop-web /mnt && dd if=/dev/urandom of=/mnt/file bs=1M count=20 status=none");
        let sum = sh("md5sum < /mnt/file");
        dmtool("deactivate").assert().code(3).stderr(contains("loop-web is mounted on /mnt."));
        sh("umount /mnt");
        dmtool("deactivate").assert().success().stdout(contains("loop is inactive"));
        assert_eq!(up(), "");
        assert_eq!(json("deactivate").1["changed"], false);
        // Down, and known all the same.
        let (_, value) = json("status");
        assert_eq!(
            (&value["pools"][0]["active"], &value["pools"][0]["data"]["total_bytes"]),
            (&false.into(), &(1 << 30).into())
        );
        assert_eq!(value["pools"][0]["data_file"], "/var/lib/dmtool/loop/data");
        dmtool("check").assert().code(2).stdout(contains("pool-inactive").and(contains("dmtool activate loop")));
        dmtool("resize 2G").assert().code(3).stderr(contains("loop is down"));
        dmtool("activate").assert().success().stdout(contains("thin_check"));
        dmtool("check").assert().success();
        sh("mount /dev/mapper/loop-web /mnt");
        assert_eq!(sh("md5sum < /mnt/file"), sum);
        assert_eq!(json("activate --all").1["changed"], false);
        sh("umount /mnt");
        dmtool("deactivate loop").assert().success();
        no_var();
    });
}

fn volumes() {
    dmtool("volume create loop web 512M --fs ext4").assert().success().stdout(contains("/dev/mapper/loop-web"));
    assert_eq!(json("volume create loop web 512M --fs ext4").1["changed"], false);
    dmtool("volume create loop web 1G").assert().code(3).stderr(contains("is there already and has 512 MiB"));
    dmtool("volume create loop web 512M --fs xfs").assert().code(3).stderr(contains("carries ext4, not xfs"));
    dmtool("volume create loop raw 1").assert().success();
    let (_, value) = json("volume list");
    let volume = &value["volumes"][0];
    assert_eq!((&volume["name"], &volume["thin_id"], &volume["active"]), (&"web".into(), &0.into(), &true.into()));
    assert!(volume["mapped_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{value:#}");
    assert_eq!(value["volumes"][1]["size_bytes"], 65536);
}

#[test]
fn setup_never_takes_a_file_that_it_did_not_make() {
    in_kernel(|| {
        var();
        sh(
            "mkdir -p /var/lib/dmtool/loop && truncate -s 1G /var/lib/dmtool/loop/data && echo mine > /var/lib/dmtool/loop/metadata",
        );
        dmtool("setup --loop --yes").assert().code(3).stderr(
            contains("/loop/data is there already, and dmtool did not make it")
                .and(contains("/loop/metadata is there already")),
        );
        assert_eq!(sh("cat /var/lib/dmtool/loop/metadata; ls /var/lib/dmtool"), "mine\nloop\nlost+found");
        sh("rm -r /var/lib/dmtool/loop");
        for (words, said) in [
            ("--data 1K", "less than a chunk"),
            ("--metadata 1M", "less than a pool needs"),
            ("--metadata 16G", "more than a pool can use"),
            ("--dir /proc/x", "free"),
        ] {
            dmtool(&format!("setup --loop {words} --yes")).assert().code(3).stderr(contains(said));
        }
        sh("dmsetup create loop --table '0 8 zero'");
        dmtool("setup --loop --yes").assert().code(3).stderr(contains("A device of the name loop is there already"));
        sh("dmsetup remove loop; mount -o remount,ro /var/lib/dmtool");
        dmtool("setup --loop --yes").assert().code(3).stderr(contains("is read-only"));
        sh("mount -o remount,rw /var/lib/dmtool");
        assert_eq!(sh("ls /var/lib/dmtool"), "lost+found");
        // The register lost, its copy beside the files: nothing is made anew.
        dmtool("setup --loop --data 64M --metadata 8M --yes").assert().success();
        dmtool("deactivate").assert().success();
        sh("mv /var/lib/dmtool/pools/loop.json /run/lost.json");
        dmtool("setup --loop --yes").assert().code(3).stderr(contains("a copy lies beside the files: put it back as"));
        sh("cp /var/lib/dmtool/loop/loop.json /var/lib/dmtool/pools/");
        dmtool("setup --loop --yes").assert().success();
        dmtool("deactivate").assert().success();
        no_var();
    });
}

#[test]
fn a_setup_that_was_cut_off_anywhere_is_finished() {
    in_kernel(|| {
        var();
        let setup = "setup --loop --data 64M --metadata 8M --yes";
        // By hand, what each of its steps leaves: the register without inodes, one file or both, the loop devices.
        let unmade = "sed 's/\"inode\": [0-9]*/\"inode\": null/; s/\"filesystem\": \"[^\"]*\"/\"filesystem\": null/' /run/record > /var/lib/dmtool/pools/loop.json";
        let made = "cp /run/record /var/lib/dmtool/pools/loop.json; sed -i \"s/\\\"inode\\\": $(jq .metadata.inode /run/record)/\\\"inode\\\": $(stat -c %i /var/lib/dmtool/loop/metadata)/; \
                    s/\\\"inode\\\": $(jq .data.inode /run/record)/\\\"inode\\\": $(stat -c %i /var/lib/dmtool/loop/data)/\" /var/lib/dmtool/pools/loop.json";
        dmtool(setup).assert().success();
        sh("cp /var/lib/dmtool/pools/loop.json /run/record");
        let files = "cd /var/lib/dmtool/loop && truncate -s 8M metadata && truncate -s 64M data";
        for half in [
            unmade.to_owned(),
            format!("{unmade}; cd /var/lib/dmtool/loop && truncate -s 8M metadata"),
            format!("{unmade}; cd /var/lib/dmtool/loop && truncate -s 8M metadata && touch data"),
            format!("{unmade}; {files}"),
            format!("{files}; {made}"),
            format!("{files}; {made}; losetup -f /var/lib/dmtool/loop/metadata"),
            format!("{files}; {made}; losetup -f metadata; losetup -f data"),
        ] {
            dmtool("deactivate").assert().success();
            sh("rm -f /var/lib/dmtool/loop/* && mkdir -p /var/lib/dmtool/loop");
            sh(&half);
            dmtool(setup).assert().success();
            assert_eq!(up(), "loop\n/var/lib/dmtool/loop/data\n/var/lib/dmtool/loop/metadata", "{half}");
            assert_eq!(json(setup).1["changed"], false, "{half}");
            assert_eq!(record()["data"]["inode"].to_string(), sh("stat -c %i /var/lib/dmtool/loop/data"), "{half}");
        }
        // Something was written to the file meanwhile: it is not taken for ours.
        dmtool("deactivate").assert().success();
        sh(&format!("rm /var/lib/dmtool/loop/*; {unmade}; head -c 8M /dev/urandom > /var/lib/dmtool/loop/metadata"));
        dmtool(setup).assert().code(3).stderr(contains("dmtool did not make it"));
        no_var();
    });
}

#[test]
fn a_volume_that_was_begun_or_whose_id_is_taken() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        // Killed between the register and the message, and between the message and the device.
        let pending = "sed -i 's/\"volumes\": \\[\\]/\"volumes\": [{\"name\": \"a\", \"device\": \"loop-a\", \"thin_id\": 0, \"size_bytes\": 1048576, \"origin\": null, \"pending\": true}]/' /var/lib/dmtool/pools/loop.json";
        sh("cp /var/lib/dmtool/pools/loop.json /run/empty.json");
        sh(pending);
        dmtool("volume create loop a 1M").assert().success();
        sh("dmsetup remove loop-a && cp /run/empty.json /var/lib/dmtool/pools/loop.json");
        sh(pending);
        dmtool("volume create loop a 1M").assert().success();
        assert_eq!(record()["volumes"][0]["pending"], false);
        // Ids that somebody took with dmsetup are never handed out: one with bytes in it, and a blank one.
        sh("dmsetup message loop 0 'create_thin 1' && dmsetup message loop 0 'create_thin 2'");
        sh(
            "dmsetup create x --table '0 2048 thin /dev/mapper/loop 1' && dd if=/dev/urandom of=/dev/mapper/x bs=64K count=1 oflag=direct status=none && dmsetup remove x",
        );
        for _ in 0..2 {
            dmtool("volume create loop b 1M").assert().code(1).stderr(contains("that no register knows"));
        }
        dmtool("volume create loop b 1M").assert().success();
        assert_eq!(record()["volumes"][1]["thin_id"], 3);
        // The begun one whose id holds somebody's bytes.
        sh(
            "sed -i 's/\"thin_id\": 3/\"thin_id\": 1/; s/\"pending\": false/\"pending\": true/' /var/lib/dmtool/pools/loop.json; dmsetup remove loop-b",
        );
        dmtool("volume create loop b 1M").assert().code(1).stderr(contains("the thin id 1 that no register knows"));
        for (words, said) in [
            ("loop a 2M", "is there already"),
            ("nopool c 1M", "there is no pool nopool"),
            ("loop snap-3 1M", "Docker or containerd"),
        ] {
            dmtool(&format!("volume create {words}")).assert().code(3).stderr(contains(said));
        }
        for words in ["loop c/d 1M", "loop c 0", "loop c -5G", "loop c 1e9", "loop c 99999999999P", "loop c"] {
            dmtool(&format!("volume create {words}")).assert().code(2);
        }
        sh("dmsetup remove loop-a; dmsetup remove loop; losetup -D");
        no_var();
    });
}
