//! Volumes that somebody made past LVM and the register, by messages to the pool, as Docker, containerd and others do: they
//! are theirs, whatever dmtool is asked for.

use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// A file system with a file, on the thin device of this number; its sum.
fn by_message(pool: &str, id: u32) -> String {
    sh(&format!(
        "dmsetup message {pool} 0 'create_thin {id}' && dmsetup create theirs --table '0 131072 thin /dev/mapper/{pool} {id}' && \
         mkfs.ext4 -q /dev/mapper/theirs && sync"
    ));
    let sum = sum();
    sh("dmsetup remove --retry theirs");
    sum
}

fn sum() -> String {
    sh("dd if=/dev/mapper/theirs iflag=direct bs=1M status=none | md5sum")
}

/// What was written is there still.
#[track_caller]
fn is_whole(pool: &str, id: u32, wanted: &str) {
    sh(&format!("dmsetup create theirs --table '0 131072 thin /dev/mapper/{pool} {id}'"));
    assert_eq!(sum(), wanted);
    sh("udevadm settle; dmsetup remove --retry theirs");
}

#[test]
fn a_thin_id_that_lvm_does_not_know_is_not_made_a_new_volume() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdf && lvcreate -qq --type thin-pool -L 500m -n pool vg");
        let wanted = by_message("vg-pool", 1);
        let refused = |words: &str, id: u32| {
            let said = dmtool(words).assert().code(3).stdout("");
            said.stderr(
                contains(format!("vg/pool has a thin id {id} that LVM does not know"))
                    .and(contains("dmtool volume list vg/pool")),
            );
        };
        refused("volume create vg/pool web 64M --fs ext4", 1);
        refused("volume create vg/pool web 64M", 1);
        is_whole("vg-pool", 1, &wanted);
        assert_eq!(sh("lvs --noheadings -o lv_name vg"), "pool");
        // Behind those of LVM's, too, and where a snapshot is to be made.
        sh("dmsetup message vg-pool 0 'delete 1'");
        dmtool("volume create vg/pool web 64M --fs ext4").assert().success();
        let wanted = by_message("vg-pool-tpool", 2);
        refused("volume snapshot vg/pool web before", 2);
        refused("volume create vg/pool more 64M", 2);
        is_whole("vg-pool-tpool", 2, &wanted);
        sh("dmsetup message vg-pool-tpool 0 'delete 2'");
        dmtool("volume snapshot vg/pool web before").assert().success();
        assert_eq!(sh("lvs --noheadings -o thin_id vg/before"), "2");
    });
}

#[test]
fn volumes_of_a_program_that_is_not_seen_are_no_orphans() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdf && lvcreate -qq --type thin-pool -L 500m -n pool vg");
        sh("mkfs.ext4 -q /dev/xvdg && mkdir -p /var/lib/dmtool && mount /dev/xvdg /var/lib/dmtool");
        dmtool("setup --loop --data 300M --metadata 4M --yes").assert().success();
        for (name, device, whose) in [("vg/pool", "vg-pool", "LVM's"), ("loop", "loop", "dmtool's")] {
            let wanted = by_message(device, 1);
            dmtool(&format!("volume orphans {name} --remove --yes")).assert().code(3).stdout("").stderr(
                contains(format!("{name} is {whose}, which never made a volume in it"))
                    .and(contains(format!("dmsetup message {device} 0 'delete ID'"))),
            );
            is_whole(device, 1, &wanted);
        }
        sh("dmsetup remove --retry loop; losetup -D; umount /var/lib/dmtool");
    });
}
