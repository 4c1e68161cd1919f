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
        sh("cmp /var/lib/dmtool/pools/loop.json /var/lib/dmtool/loop/dmtool-register-loop.json");
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
        sh("dmsetup remove --retry loop; mount -o remount,ro /var/lib/dmtool");
        dmtool("setup --loop --yes").assert().code(3).stderr(contains("is read-only"));
        sh("mount -o remount,rw /var/lib/dmtool");
        assert_eq!(sh("ls /var/lib/dmtool"), "lost+found");
        // The register lost, its copy beside the files: nothing is made anew, also where the files are lost too.
        dmtool("setup --loop --data 64M --metadata 8M --yes").assert().success();
        dmtool("deactivate").assert().success();
        sh("mv /var/lib/dmtool/pools/loop.json /run/lost.json");
        let lost = || {
            dmtool("setup --loop --yes").assert().code(3).stderr(
                contains("its register is lost")
                    .and(contains("put it back: install -D -m 600 /var/lib/dmtool/loop/dmtool-register-loop.json")),
            );
        };
        lost();
        sh("mkdir /run/away && mv /var/lib/dmtool/loop/data /var/lib/dmtool/loop/metadata /var/lib/dmtool/");
        lost();
        sh("mv /var/lib/dmtool/data /var/lib/dmtool/metadata /var/lib/dmtool/loop/");
        sh("cp /var/lib/dmtool/loop/dmtool-register-loop.json /var/lib/dmtool/pools/loop.json");
        dmtool("setup --loop --yes").assert().success();
        dmtool("deactivate").assert().success();
        // The folder by another name is the same folder.
        sh("ln -s /var/lib/dmtool /run/link");
        dmtool("setup --loop --dir /run/link//loop/ --yes").assert().success();
        dmtool("resize 128M").assert().success();
        dmtool("deactivate").assert().success();
        dmtool("setup --loop --dir /run/link/loop --yes").assert().success();
        dmtool("setup --loop --dir /run/../x --yes").assert().code(2);
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
            // Killed after the node was made, before it had a table.
            format!("{files}; {made}; dmsetup create loop --notable --uuid DMTOOL-loop"),
        ] {
            dmtool("deactivate").assert().success();
            sh("rm -f /var/lib/dmtool/loop/* && mkdir -p /var/lib/dmtool/loop");
            sh(&half);
            dmtool(setup).assert().success();
            assert_eq!(up(), "loop\n/var/lib/dmtool/loop/data\n/var/lib/dmtool/loop/metadata", "{half}");
            assert_eq!(json(setup).1["changed"], false, "{half}");
            assert_eq!(record()["data"]["inode"].to_string(), sh("stat -c %i /var/lib/dmtool/loop/data"), "{half}");
        }
        // Other sizes than it was begun with, while there is nothing yet.
        dmtool("deactivate").assert().success();
        sh(&format!("rm -f /var/lib/dmtool/loop/*; {unmade}"));
        dmtool("setup --loop --data 65M --yes")
            .assert()
            .code(3)
            .stderr(contains("was begun with 64 MiB of data, not 65 MiB"));
        dmtool(setup).assert().success();
        // Something was written to the file meanwhile: it is not taken for ours.
        dmtool("deactivate").assert().success();
        sh(&format!("rm /var/lib/dmtool/loop/*; {unmade}; head -c 8M /dev/urandom > /var/lib/dmtool/loop/metadata"));
        dmtool(setup).assert().code(3).stderr(contains("dmtool did not make it"));
        no_var();
    });
}

/// The one volume of the record of a pool, as a run that was cut off leaves it.
fn cut_off(state: &str) {
    sh(&format!(
        "jq '.volumes = [{{name: \"a\", device: \"loop-a\", thin_id: 0, size_bytes: 33554432, origin: null, state: \"{state}\"}}]' \
         /run/empty.json > /var/lib/dmtool/pools/loop.json"
    ));
}

/// Makes a thin volume by hand that no register knows, with bytes in it.
fn strangers(device: &str, id: u64) {
    sh(&format!(
        "dmsetup message loop 0 'create_thin {id}' && dmsetup create {device} --table '0 65536 thin /dev/mapper/loop {id}' && \
         dd if=/dev/urandom of=/dev/mapper/{device} bs=64K count=16 oflag=direct status=none && md5sum < /dev/mapper/{device} > /run/sum-{device}"
    ));
}

fn is_unharmed(device: &str) {
    assert_eq!(sh(&format!("md5sum < /dev/mapper/{device}")), sh(&format!("cat /run/sum-{device}")));
}

#[test]
fn a_volume_that_was_cut_off_anywhere_is_finished() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        sh("cp /var/lib/dmtool/pools/loop.json /run/empty.json");
        // Announced, and the pool was never asked, or was: whose the number is, is not known, so it is left alone.
        cut_off("announced");
        dmtool("volume create loop a 32M --fs ext4").assert().success();
        assert_eq!(
            (&record()["volumes"][0]["thin_id"], &record()["volumes"][0]["state"]),
            (&1.into(), &"ready".into())
        );
        sh(
            "dmsetup remove --retry loop-a && dmsetup message loop 0 'delete 1' && dmsetup message loop 0 'create_thin 0'",
        );
        cut_off("announced");
        dmtool("volume create loop a 32M --fs ext4").assert().success();
        sh("dmsetup remove --retry loop-a && dmsetup message loop 0 'delete 1'");
        // Made, and its device or its file system not, or half: it is nobody's yet, and may have another size.
        for half in [
            "true",
            "dmsetup create loop-a --table '0 65536 thin /dev/mapper/loop 0'",
            "dmsetup create loop-a --table '0 65536 thin /dev/mapper/loop 0' && mkfs.ext4 -q /dev/mapper/loop-a",
            "dmsetup create loop-a --notable --uuid DMTOOL-loop-a",
        ] {
            cut_off("made");
            sh(half);
            dmtool("activate").assert().success();
            dmtool("volume create loop a 48M --fs ext4").assert().success();
            assert_eq!(
                sh("blockdev --getsize64 /dev/mapper/loop-a; blkid -o value -s TYPE /dev/mapper/loop-a"),
                "50331648\next4"
            );
            assert_eq!(json("volume create loop a 48M --fs ext4").1["changed"], false);
            sh("dmsetup remove --retry loop-a");
        }
        dmtool("activate").assert().success();
        // What mkfs will not do is found out with nothing handed out, and a larger size goes on.
        dmtool("volume create loop b 1M --fs xfs").assert().code(1);
        assert_eq!(record()["volumes"][1]["state"], "made");
        dmtool("volume create loop b 512M --fs xfs").assert().success();
        dmtool("deactivate").assert().success();
        no_var();
    });
}

#[test]
fn a_snapshot_that_the_pool_lost_is_taken_anew() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("volume create loop a 32M").assert().success();
        sh("dd if=/dev/urandom of=/dev/mapper/loop-a bs=64k count=8 oflag=direct status=none");
        for up in ["true", "dmsetup remove --retry loop-a"] {
            dmtool("volume snapshot loop a s").assert().success();
            // The pool said that it was made, and could not write it down.
            let id = &record()["volumes"][1]["thin_id"];
            sh(&format!("dmsetup remove --retry loop-s && dmsetup message loop 0 'delete {id}' && {up}"));
            let register = "/var/lib/dmtool/pools/loop.json";
            let mut made = record();
            made["volumes"][1]["state"] = "made".into();
            std::fs::write(register, serde_json::to_string(&made).expect("JSON")).expect("the register");
            dmtool("volume snapshot loop a s").assert().success();
            dmtool("activate").assert().success();
            assert_eq!(sh("md5sum < /dev/mapper/loop-s"), sh("md5sum < /dev/mapper/loop-a"), "{up}");
            dmtool("volume remove loop s --yes").assert().success();
        }
        dmtool("deactivate").assert().success();
        no_var();
    });
}

#[test]
fn a_volume_that_the_pool_lost_keeps_no_other_down() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        for name in ["a", "b", "c"] {
            dmtool(&format!("volume create loop {name} 32M")).assert().success();
        }
        // As an older dump leaves it that was restored.
        sh("dmsetup remove --retry loop-b && dmsetup message loop 0 'delete 1'");
        for words in ["activate loop", "activate --all"] {
            dmtool("deactivate").assert().success();
            dmtool(words).assert().code(1).stderr(contains("dmtool volume orphans loop"));
            assert_eq!(sh("ls /dev/mapper | grep ^loop | tr '\\n' ' '"), "loop loop-a loop-c", "{words}");
        }
        dmtool("volume orphans loop --remove --yes").assert().success();
        dmtool("activate loop").assert().success();
        dmtool("deactivate").assert().success();
        no_var();
    });
}

#[test]
fn a_loop_pool_whose_first_superblock_was_lost_comes_up() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("deactivate").assert().success();
        // The kernel writes it last: what was written before reached the disk.
        sh("dd if=/dev/zero of=/var/lib/dmtool/loop/metadata bs=4k count=1 conv=notrunc,fsync status=none");
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("deactivate").assert().success();
        sh("dd if=/dev/zero of=/var/lib/dmtool/loop/metadata bs=4k count=1 conv=notrunc,fsync status=none");
        dmtool("activate").assert().success();
        dmtool("volume create loop a 32M --fs ext4").assert().success();
        dmtool("deactivate").assert().success();
        // Not, where somebody's data may be in it.
        sh("dd if=/dev/zero of=/var/lib/dmtool/loop/metadata bs=4k count=1 conv=notrunc,fsync status=none");
        dmtool("activate").assert().code(3).stderr(contains("begins with zeroes"));
        no_var();
    });
}

#[test]
fn what_others_made_in_the_pool_is_left_alone() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        // Numbers that are taken are passed over in one run.
        for id in 0..3 {
            strangers(&format!("x{id}"), id);
        }
        dmtool("volume create loop b 32M").assert().success();
        assert_eq!(record()["volumes"][0]["thin_id"], 3);
        // A device of the volume's name, on the pool or elsewhere.
        strangers("loop-c", 7);
        sh("dmsetup create loop-d --table '0 65536 zero'");
        for name in ["c", "d"] {
            dmtool(&format!("volume create loop {name} 32M --fs ext4"))
                .assert()
                .code(3)
                .stderr(contains(format!("A device of the name loop-{name} is there already")));
        }
        assert_eq!(record()["volumes"].as_array().map(Vec::len), Some(1));
        ["x0", "x1", "x2", "loop-c"].into_iter().for_each(is_unharmed);
        sh("dmsetup remove --retry loop-d");
        // The volume under another name: no second device on it. Another volume under its name: not taken for it.
        sh("dmsetup rename loop-b mine");
        dmtool("activate").assert().code(3).stderr(contains("The volume b is up already, as mine"));
        sh("dmsetup rename mine loop-b");
        sh("dmsetup remove --retry loop-b && dmsetup rename x0 loop-b");
        dmtool("activate").assert().code(3).stderr(contains("another volume than the register says"));
        dmtool("volume create loop b 32M").assert().code(3).stderr(contains("another volume than the register says"));
        dmtool("deactivate").assert().code(3).stderr(contains("loop-b stands on loop and is in no register"));
        // What could not be read again does not take the place of what is known.
        let before = sh("cat /var/lib/dmtool/pools/loop.json");
        dmtool("activate loop --remember").assert().code(3).stderr(contains("dmsetup rename loop-b NAME"));
        assert_eq!(sh("cat /var/lib/dmtool/pools/loop.json"), before);
        sh("dmsetup rename loop-b x0");
        for (words, said) in [
            ("loop b 2M", "is there already"),
            ("nopool c 1M", "there is no pool nopool"),
            ("loop snap-3 1M", "Docker or containerd"),
            ("loop e 16000P", "larger than any device"),
        ] {
            dmtool(&format!("volume create {words}")).assert().code(3).stderr(contains(said));
        }
        for words in ["loop c/d 1M", "loop c 0", "loop c -5G", "loop c 1e9", "loop c 99999999999P", "loop c"] {
            dmtool(&format!("volume create {words}")).assert().code(2);
        }
        // Remembered as it is by now: names and sizes of the live ones count.
        sh("dmsetup rename x1 renamed");
        dmtool("activate loop --remember").assert().success();
        dmtool("deactivate").assert().success();
        dmtool("activate").assert().success();
        is_unharmed_as("x1", "renamed");
        is_unharmed("loop-c");
        dmtool("deactivate").assert().success();
        no_var();
    });
}

fn is_unharmed_as(was: &str, device: &str) {
    assert_eq!(sh(&format!("md5sum < /dev/mapper/{device}")), sh(&format!("cat /run/sum-{was}")));
}
