//! A pool made on a blank disk, and brought up after a boot.

use super::DMTOOL;
use super::table::{ANY, Column, Row, compare, script};
use crate::harness::sh;

const RECIPE: &str = concat!("sh ", env!("CARGO_MANIFEST_DIR"), "/tests/recipe.sh /dev/xvdf");

/// From a blank disk to a pool that is monitored with its profile.
pub fn setup() -> Vec<Row> {
    blank();
    // Fewest commands; the profile is one of its own, as LVM wants it, and somebody looks whether the pool is monitored.
    let shortest = script(
        "shortest",
        "vgcreate -q docker /dev/xvdf
printf 'activation {\\n thin_pool_autoextend_threshold=80\\n thin_pool_autoextend_percent=20\\n}\\n' \\
    > /etc/lvm/profile/docker-thinpool.profile
lvcreate -q -y --type thin-pool -n thinpool -l 95%VG --poolmetadatasize 40m -c 512K -Zn \\
    --metadataprofile docker-thinpool docker
lvs --noheadings -o seg_monitor docker/thinpool | grep -qw monitored",
    );
    let mut made = false;
    let row = compare(
        "`setup` of a pool on a blank disk",
        5,
        &format!("{DMTOOL} setup /dev/xvdf --yes"),
        &[
            (Column::Documented, "eleven steps in a script", RECIPE, 0.50),
            (Column::ByHand, "vgcreate, a profile, lvcreate, lvs", &shortest, ANY),
        ],
        || {
            assert!(!made || sh("lvs --noheadings -o seg_monitor docker/thinpool").contains("monitored"));
            made = true;
            blank();
        },
    );
    blank();
    vec![row]
}

/// A pool that is down comes up.
pub fn activate() -> Vec<Row> {
    sh(&format!("{DMTOOL} setup /dev/xvdf --yes"));
    let lvm = compare(
        "`activate` of a pool of LVM",
        9,
        &format!("{DMTOOL} activate docker/thinpool"),
        &[(Column::Documented, "lvchange -ay", "lvchange -qq -ay docker/thinpool", ANY)],
        || drop(sh("lvchange -qq -an docker/thinpool; udevadm settle")),
    );
    blank();
    sh(&format!(
        "mkfs.ext4 -qF /dev/xvdh; mkdir -p /var/lib/dmtool; mount /dev/xvdh /var/lib/dmtool; \
         {DMTOOL} setup --loop --data 2G --metadata 16M --yes; {DMTOOL} volume create loop web 1G"
    ));
    let by_hand = script(
        "up-by-hand",
        "cd /var/lib/dmtool/loop
d=$(losetup -f --show --direct-io=on data)
m=$(losetup -f --show --direct-io=on metadata)
thin_check $m
dmsetup create loop --table \"0 $(blockdev --getsz $d) thin-pool $m $d 128 32768 1 skip_block_zeroing\"
dmsetup create loop-web --table '0 2097152 thin /dev/mapper/loop 1'",
    );
    let id = sh(&format!("{DMTOOL} volume list loop --json | jq '.volumes[0].thin_id'"));
    sh(&format!("sed -i 's|/dev/mapper/loop 1|/dev/mapper/loop {id}|' {by_hand}"));
    let bare = compare(
        "`activate` of a loop pool with a volume",
        9,
        &format!("{DMTOOL} activate loop"),
        &[(Column::ByHand, "losetup, thin_check, dmsetup create", &by_hand, ANY)],
        || drop(sh("dmsetup remove loop-web; dmsetup remove loop; losetup -D; udevadm settle")),
    );
    sh(&format!("{DMTOOL} teardown loop --yes; umount /var/lib/dmtool; wipefs -qa /dev/xvdh"));
    vec![lvm, bare]
}

pub fn blank() {
    sh("vgs docker >/dev/null 2>&1 && vgremove -qq -ff docker; pvremove -qq -ff /dev/xvdf; \
        rm -f /etc/lvm/profile/docker-thinpool.profile; wipefs -qa /dev/xvdf; udevadm settle");
}
