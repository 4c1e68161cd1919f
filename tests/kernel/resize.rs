//! `dmtool resize`: every kind of pool, data and metadata, every form of a size, and writers that lose nothing.

use super::status::{loop_pool, raw_pool};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn figures(dm_name: &str) -> (u64, u64) {
    let status = sh(&format!("dmsetup status {dm_name}"));
    let total = |at: usize| -> u64 {
        let word = status.split(' ').nth(at).expect("a figure");
        word.split_once('/').and_then(|(_, total)| total.parse().ok()).expect("a total")
    };
    (total(5), total(4))
}

/// A setup with room, on the 4 GiB disk: extents of 4 MiB, chunks of 512 KiB.
fn lvm_pool() {
    dmtool("setup /dev/xvdf --data 25%VG --yes").assert().success();
}

#[test]
fn a_pool_of_lvm_in_every_form_of_a_size() {
    in_kernel(|| {
        lvm_pool();
        let extents = || -> u64 {
            let size = sh("lvs --noheadings -o lv_size --units b --nosuffix docker/thinpool");
            size.parse::<u64>().expect("a size") >> 22
        };
        assert_eq!(extents(), 255);
        for (size, after) in [
            ("1024M", 256),
            ("1025M docker/thinpool", 257),
            ("+1 docker-thinpool", 258),
            ("+10% /dev/docker/thinpool", 284),
            ("+8m", 286),
            ("30%VG", 306),
            ("+10%FREE", 375),
        ] {
            let (status, value) = json(&format!("resize {size}"));
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{size}: {value:#}");
            assert_eq!(extents(), after, "{size}");
            assert_eq!(figures("docker-thinpool").0, after * 8, "the kernel has it too: {size}");
        }
        for size in ["1500M", "375M", "30%VG"] {
            let (status, value) = json(&format!("resize {size}"));
            let expected = if size == "1500M" { (0, false) } else { (3, false) };
            assert_eq!((status, &value["changed"]), (expected.0, &expected.1.into()), "{size}: {value:#}");
        }
        dmtool("resize 1G").assert().code(3).stderr(contains("has 1.46 GiB and cannot shrink to 1 GiB"));
        dmtool("resize 10G")
            .assert()
            .code(3)
            .stderr(contains("That needs 8.54 GiB more").and(contains("--add-device")));
        dmtool("resize max").assert().success();
        assert_eq!(sh("vgs --noheadings -o vg_free_count docker"), "0");
        assert_eq!(json("resize max").1["changed"], false);
        assert_eq!(sh("lvs --noheadings -o seg_monitor,lv_profile docker/thinpool"), "monitored docker-thinpool");
    });
}

/// Status counts in chunks, LVM in extents, which are smaller here.
#[test]
fn the_size_that_status_says_is_the_size() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 53%VG --chunk-size 8M --yes").assert().success();
        let size = json("status").1["pools"][0]["data"]["total_bytes"].as_u64().expect("a size");
        assert_eq!(
            sh("lvs --noheadings --units b --nosuffix -o lv_size docker/thinpool"),
            (size + (4 << 20)).to_string()
        );
        let (status, value) = json(&format!("resize {size} docker/thinpool"));
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
        dmtool(&format!("resize {} docker/thinpool", size - 1)).assert().code(3).stderr(contains("cannot shrink"));
    });
}

#[test]
fn metadata_of_lvm_and_what_grows_along() {
    in_kernel(|| {
        sh(
            "vgcreate -qq vg /dev/xvdf && lvcreate -qq --type thin-pool -L 256m --poolmetadatasize 4m -c 64k -n pool vg",
        );
        dmtool("resize --metadata +4M vg/pool").assert().success();
        assert_eq!(figures("vg-pool").1, 2048);
        assert_eq!(
            sh("lvs -a --noheadings -o lv_size --units m --nosuffix vg/lvol0_pmspare"),
            "8.00",
            "the spare grew along"
        );
        // 64 bytes a chunk, four times: 3 GiB in chunks of 64 KiB are 12 MiB.
        let (status, value) = json("resize 3G");
        assert_eq!(status, 0, "{value:#}");
        assert_eq!(figures("vg-pool"), (49152, 3072));
        assert_eq!(json("resize 3G --metadata 12M").1["changed"], false);
        dmtool("resize --metadata 4M vg/pool")
            .assert()
            .code(3)
            .stderr(contains("The metadata of vg/pool has 12 MiB and cannot shrink"));
        dmtool("resize --metadata 17G vg/pool").assert().code(3).stderr(contains("more than LVM can use (15.81 GiB)"));
        dmtool("resize --metadata max vg/pool").assert().success();
    });
}

#[test]
fn a_disk_is_added() {
    in_kernel(|| {
        lvm_pool();
        sh("mkfs.ext4 -q /dev/xvdh && mount /dev/xvdh /mnt");
        dmtool("resize docker/thinpool --add-device /dev/xvdh --yes")
            .assert()
            .code(3)
            .stderr(contains("/dev/xvdh is mounted on /mnt.").and(contains("carries a signature: ext4")));
        assert_eq!(sh("vgs --noheadings -o pv_count docker"), "1");
        sh("umount /mnt && wipefs -qa /dev/xvdh");
        dmtool("resize docker/thinpool --add-device /dev/xvdh").assert().code(3).stderr(contains("needs a yes"));
        dmtool("resize docker/thinpool --add-device /dev/xvdh --dry-run")
            .assert()
            .success()
            .stdout(contains("vgextend docker /dev/xvdh"));
        assert_eq!(sh("vgs --noheadings -o pv_count docker"), "1");
        dmtool("resize 6G docker/thinpool --add-device /dev/xvdh --yes").assert().success();
        assert_eq!(sh("vgs --noheadings -o pv_count docker"), "2");
        assert_eq!(figures("docker-thinpool").0, 6 * 2048);
        // A second run finds the disk in the group and the size there.
        let (status, value) = json("resize 6G docker/thinpool --add-device /dev/xvdh");
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
        // Half-done by hand: the group has the disk, the pool has not its space.
        sh("vgextend -qq docker /dev/xvdg");
        dmtool("resize docker/thinpool --add-device /dev/xvdg --yes").assert().success();
        assert_eq!(sh("vgs --noheadings -o vg_free_count docker"), "0");
    });
}

/// Where it is to be extended, it was taken from dmeventd to be given back.
#[test]
fn a_run_that_added_a_disk_and_was_cut_off_has_the_pool_watched_again() {
    in_kernel(|| {
        lvm_pool();
        let size = sh("lvs --noheadings --nosuffix --units b -o lv_size docker/thinpool");
        sh("vgextend -qq docker /dev/xvdh && lvchange -qq --monitor n docker/thinpool");
        dmtool(&format!("resize {size} docker/thinpool --add-device /dev/xvdh --yes")).assert().success();
        assert_eq!(sh("lvs --noheadings -o seg_monitor docker/thinpool"), "monitored");
    });
}

/// LVM grows metadata that are full without room for the spare, too.
#[test]
fn metadata_grow_where_there_is_no_room_for_the_spare() {
    in_kernel(|| {
        sh(
            "vgcreate -qq vg /dev/xvdi && lvcreate -qq --type thin-pool --poolmetadataspare n -L 64m --poolmetadatasize 8m -n pool vg 2>/dev/null",
        );
        sh("lvcreate -qq -an -Zn -n full -l $(($(vgs --noheadings -o vg_free_count vg) - 2)) vg 2>/dev/null");
        dmtool("resize vg/pool --metadata +4M").assert().success().stderr(contains("no room for the spare"));
        assert_eq!(sh("lvs -a --noheadings --nosuffix --units m -o lv_size vg/pool_tmeta"), "12.00");
        dmtool("resize vg/pool --metadata +8M").assert().code(3).stderr(contains("That needs 8 MiB more"));
        dmtool("resize vg/pool --metadata +4M").assert().success();
        sh("vgremove -qq -ff vg");
    });
}

/// Refused by name, and the disk untouched, until `clearing`.
#[track_caller]
fn not_added(obstacle: &str, reason: &str, clearing: &str) {
    sh(obstacle);
    sh("udevadm settle");
    let before = print_of("/dev/xvdi");
    let add = "resize docker/thinpool --add-device /dev/xvdi";
    dmtool(&format!("{add} --yes")).assert().code(3).stderr(contains(reason).and(contains("--wipe").not()));
    assert_eq!(json(&format!("{add} --yes")).1["changed"], false);
    assert_eq!(print_of("/dev/xvdi"), before, "{reason}");
    sh(clearing);
    sh("wipefs -qa /dev/xvdi; udevadm settle");
    dmtool(&format!("{add} --dry-run")).assert().success().stdout(contains("vgextend docker /dev/xvdi"));
}

/// Found by a kill between the two steps of such a run: the next one took 3 MiB more, as did any second run.
#[test]
fn a_disk_added_to_a_group_of_small_extents_is_taken_whole() {
    in_kernel(|| {
        sh(
            "vgcreate -qq -s 1m vg /dev/xvdi && lvcreate -qq --type thin-pool -L 200m --poolmetadatasize 4m -c 64k -n pool vg",
        );
        dmtool("resize vg/pool --add-device /dev/xvdj --yes").assert().success();
        assert_eq!(sh("vgs --noheadings -o vg_free_count vg"), "0");
        dmtool("resize vg/pool --add-device /dev/xvdj --yes")
            .assert()
            .success()
            .stdout(contains("nothing was changed"));
    });
}

#[test]
fn a_disk_that_is_in_use_is_not_added() {
    in_kernel(|| {
        lvm_pool();
        let table = sh("dmsetup table docker-thinpool");
        for (obstacle, reason, clearing) in [
            ("mkswap -q /dev/xvdi && swapon /dev/xvdi", "/dev/xvdi is in use as swap.", "swapoff /dev/xvdi"),
            (
                "vgcreate -qq other /dev/xvdi",
                "/dev/xvdi is a physical volume of the volume group other.",
                "vgremove -qq other && pvremove -qq /dev/xvdi",
            ),
            (
                "dmsetup create holds --table '0 2048 linear /dev/xvdi 0'",
                "/dev/xvdi is held by holds.",
                "dmsetup remove --retry holds",
            ),
            ("blockdev --setro /dev/xvdi", "/dev/xvdi is read-only.", "blockdev --setrw /dev/xvdi"),
            (
                "mkfs.ext4 -q -L precious /dev/xvdi",
                "if nothing on it is needed any more: wipefs --all /dev/xvdi",
                "wipefs -qa /dev/xvdi",
            ),
        ] {
            not_added(obstacle, reason, clearing);
        }
        for (device, reason) in [
            ("/dev/nothing", "/dev/nothing does not exist."),
            ("/etc/passwd", "/etc/passwd is a file, not a block device."),
            ("/dev/xvdi --add-device /dev/xvdi", "/dev/xvdi is the same device as /dev/xvdi."),
        ] {
            dmtool(&format!("resize docker/thinpool --add-device {device} --yes"))
                .assert()
                .code(3)
                .stderr(contains(reason));
        }
        assert_eq!(sh("vgs --noheadings -o pv_count docker"), "1");
        assert_eq!(sh("dmsetup table docker-thinpool"), table);
    });
}

#[test]
fn what_is_no_pool_is_refused_by_name() {
    in_kernel(|| {
        lvm_pool();
        sh("lvcreate -qq -n plain -L 64m docker");
        for name in ["docker/plain", "docker-plain", "/dev/docker/plain", "/dev/mapper/docker-plain"] {
            dmtool(&format!("resize 2G {name}")).assert().code(3).stderr(
                contains("resize of docker/plain is refused")
                    .and(contains("It is a volume of LVM of the type linear, and no thin pool."))
                    .and(contains("lvextend --size SIZE docker/plain")),
            );
        }
        sh("lvcreate -qq -V 64m -T docker/thinpool -n thin");
        dmtool("resize 2G docker/thin").assert().code(3).stderr(
            contains("It is a thin volume in the pool docker/thinpool.")
                .and(contains("dmtool resize SIZE docker/thinpool")),
        );
        dmtool("resize 2G docker/nothing").assert().code(3).stderr(contains("there is no pool docker/nothing"));
        assert_eq!(sh("lvs --noheadings --units m --nosuffix -o lv_size docker/plain"), "64.00");
    });
}

#[test]
fn a_size_beyond_all_measure() {
    in_kernel(|| {
        lvm_pool();
        loop_pool("bare-pool");
        raw_pool("rawpool");
        for name in ["docker/thinpool", "bare-pool", "rawpool"] {
            let before = sh("stat -c %s /run/files/data /run/files/metadata; dmsetup table; vgs --noheadings");
            for size in ["16000p", "18446744073709551615", "+18446744073709551615", "--metadata 16000p"] {
                dmtool(&format!("resize {size} {name}")).assert().code(3).stderr(contains("caused by"));
            }
            assert_eq!(sh("stat -c %s /run/files/data /run/files/metadata; dmsetup table; vgs --noheadings"), before);
        }
        remove_with_files("bare-pool rawpool");
    });
}

#[test]
fn files_of_a_loop_pool() {
    in_kernel(|| {
        loop_pool("bare-pool");
        sh("truncate -s 100G /run/files/data && losetup -c /dev/loop0 && \
            dmsetup table bare-pool | sed 's/4194304/209715200/' | dmsetup load bare-pool && dmsetup resume bare-pool");
        let table = sh("dmsetup table bare-pool");
        assert!(table.starts_with("0 209715200 thin-pool"));
        dmtool("resize 200GB").assert().success().stderr(contains("/run/files/data is sparse: "));
        assert_eq!(sh("dmsetup table bare-pool"), table.replace("209715200", "419430400"), "every other word is kept");
        assert_eq!(sh("stat -c %s /run/files/data; blockdev --getsize64 /dev/loop0"), "214748364800\n214748364800");
        assert_eq!(figures("bare-pool").0, 3_276_800);
        assert_eq!(json("resize 200GB bare-pool").1["changed"], false);
        dmtool("resize 100G bare-pool").assert().code(3).stderr(contains("cannot shrink to 100 GiB"));
        dmtool("resize 10%VG bare-pool").assert().code(3).stderr(contains("is in no volume group"));
        dmtool("resize bare-pool --add-device /dev/xvdi --yes")
            .assert()
            .code(3)
            .stderr(contains("cannot be added to it"));
        let before = figures("bare-pool").1;
        dmtool("resize bare-pool --metadata +64M").assert().success();
        assert!(figures("bare-pool").1 >= before + 16384);
        // Killed between the file and the table: the next run goes on.
        sh("truncate -s 201G /run/files/data");
        dmtool("resize 201G bare-pool").assert().success().stdout(contains("truncate").not());
        assert_eq!(figures("bare-pool").0, 201 * 16384);
        sh("rm /run/files/data");
        dmtool("resize 300G bare-pool").assert().code(3).stderr(contains("was deleted under the pool"));
        remove_with_files("bare-pool");
    });
}

#[test]
fn volumes_and_disks_under_a_bare_pool() {
    in_kernel(|| {
        raw_pool("rawpool");
        dmtool("resize 2G").assert().success().stdout(contains("lvextend --extents 512 vg-docker/data"));
        assert_eq!(figures("rawpool").0, 32768);
        dmtool("resize 75%VG").assert().success();
        assert_eq!(figures("rawpool").0, 767 * 64);
        dmtool("resize --metadata +12M rawpool").assert().success();
        assert_eq!(figures("rawpool").1, (64 + 12) * 256);
        dmtool("resize 40G").assert().code(3).stderr(contains("--add-device DEVICE"));
        // Each of them fits into what is free, and both do not.
        dmtool("resize +700M --metadata +700M").assert().code(3).stderr(contains("more of data and"));
        dmtool("resize max").assert().success();
        assert_eq!(sh("vgs --noheadings -o vg_free_count vg-docker"), "0");
        // A disk into the group, the volume larger, the table too: one plan.
        dmtool("resize 6G rawpool --add-device /dev/xvdf").assert().code(3).stderr(contains("needs a yes"));
        dmtool("resize 6G rawpool --add-device /dev/xvdf --yes").assert().success();
        assert_eq!((figures("rawpool").0, sh("vgs --noheadings -o pv_count vg-docker").as_str()), (6 * 16384, "2"));
        assert_eq!(json("resize 6G rawpool --add-device /dev/xvdf").1["changed"], false);
        dmtool("resize rawpool --add-device /dev/xvdh --yes").assert().success();
        assert_eq!(sh("vgs --noheadings -o vg_free_count vg-docker"), "0");
        sh("dmsetup remove --retry rawpool");
        // Whole disks, the table shorter than its disk.
        sh("dd if=/dev/zero of=/dev/xvdj bs=4k count=1 conv=fsync status=none && \
            dmsetup create disks --table '0 524288 thin-pool /dev/xvdj /dev/xvdi 128 100 3 skip_block_zeroing no_discard_passdown error_if_no_space'");
        let table = sh("dmsetup table disks");
        dmtool("resize 300M").assert().success();
        assert_eq!(sh("dmsetup table disks"), table.replace("524288", "614400"), "every feature is kept");
        dmtool("resize 1G disks").assert().code(3).stderr(contains("has 512 MiB"));
        dmtool("resize max").assert().success();
        assert_eq!(figures("disks").0, 8192);
        sh("dmsetup remove --retry disks");
    });
}

/// One block of 4 KiB in each chunk of 64 KiB of a volume of 1 GiB.
const BLOCKS: u64 = 16384;

fn block_of(number: u64) -> [u8; 4096] {
    let mut block = [0; 4096];
    block.chunks_mut(8).for_each(|word| word.copy_from_slice(&number.to_le_bytes()));
    block
}

/// Writes blocks with their number in them, each down to the disk, and reads each back; how many there were.
fn write_until(stop: &AtomicBool) -> u64 {
    let device = File::options()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::SYNC.bits().cast_signed())
        .open("/dev/mapper/t0")
        .expect("the volume");
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        device.write_all_at(&block_of(number), number % BLOCKS * 65536).expect("writing");
        let mut back = [0; 4096];
        device.read_exact_at(&mut back, number % BLOCKS * 65536).expect("reading");
        assert!(back == block_of(number));
        number += 1;
    }
    number
}

#[test]
fn a_writer_loses_nothing() {
    in_kernel(|| {
        let pools: [(fn(), &str); 3] = [
            (lvm_pool, "docker-thinpool"),
            (|| raw_pool("raw-pool"), "raw-pool"),
            (|| loop_pool("bare-pool"), "bare-pool"),
        ];
        for (make, name) in pools {
            make();
            sh(&format!(
                "dmsetup message {name} 0 'create_thin 0' && dmsetup create t0 --table '0 2097152 thin /dev/mapper/{name} 0'"
            ));
            let stop = Arc::new(AtomicBool::new(false));
            let writer = {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || write_until(&stop))
            };
            for _ in 0..3 {
                dmtool(&format!("resize +128M {name}")).assert().success();
                assert!(sh(&format!("dmsetup info {name}")).contains("ACTIVE"));
            }
            stop.store(true, Ordering::Relaxed);
            let written = writer.join().expect("the writer");
            sh("echo 3 > /proc/sys/vm/drop_caches");
            let device = File::open("/dev/mapper/t0").expect("the volume");
            for number in written.saturating_sub(BLOCKS)..written {
                let mut block = [0; 4096];
                device.read_exact_at(&mut block, number % BLOCKS * 65536).expect("reading back");
                assert!(block == block_of(number), "{name}: block {number} of {written}");
            }
            assert!(written > 50, "{name}: only {written}");
            drop(device);
            sh(&format!("dmsetup remove --retry t0; dmsetup message {name} 0 'delete 0'"));
        }
        remove_with_files("raw-pool bare-pool");
    });
}

#[test]
fn a_sick_pool_is_refused() {
    in_kernel(|| {
        dmtool("resize 1G").assert().code(3).stderr(contains("there is no pool on this host"));
        lvm_pool();
        sh("lvchange -qq -an docker/thinpool");
        dmtool("resize 2G")
            .assert()
            .code(3)
            .stderr(contains("docker/thinpool is down").and(contains("dmtool activate")));
        sh("lvchange -qq -ay docker/thinpool && dmsetup suspend docker-thinpool");
        dmtool("resize 2G")
            .assert()
            .code(3)
            .stderr(contains("is suspended").and(contains("dmtool check docker/thinpool")));
        sh("dmsetup resume docker-thinpool && dmsetup table docker-thinpool | dmsetup load docker-thinpool");
        dmtool("resize 2G").assert().code(3).stderr(contains("A table waits"));
        sh(
            "dmsetup clear docker-thinpool && vgcreate -qq vg /dev/xvdi && lvcreate -qq --type thin-pool -L 64m -n pool vg",
        );
        dmtool("resize 2G").assert().code(3).stderr(contains("several pools: docker/thinpool, vg/pool"));
        dmtool("resize 2G vg/nothing").assert().code(3).stderr(contains("there is no pool vg/nothing"));
        assert_eq!(sh("lvs --noheadings -o lv_size --units m --nosuffix docker/thinpool"), "1020.00");
    });
}

#[test]
fn a_table_that_does_not_take_leaves_the_old_one() {
    in_kernel(|| {
        loop_pool("bare-pool");
        let table = sh("dmsetup table bare-pool");
        // The file is longer, its loop device is kept from growing: the load is not even tried.
        sh("chattr +i /run/files/data");
        dmtool("resize 3G bare-pool").assert().code(1).stderr(contains("making /run/files/data longer"));
        sh("chattr -i /run/files/data");
        assert_eq!(sh("dmsetup table bare-pool"), table);
        assert!(sh("dmsetup info bare-pool").contains("ACTIVE"));
        dmtool("resize 3G bare-pool").assert().success();
        remove_with_files("bare-pool");
    });
}
