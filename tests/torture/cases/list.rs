//! The list of all cases: each verb that changes something, for each kind of pool that it is for.

use super::*;

pub const CASES: &[Case] = &[
    case("setup", nothing, "setup /dev/xvdi --yes", setup_gone),
    case("setup --wipe", || drop(sh("mkfs.ext4 -q -F /dev/xvdi; udevadm settle")), "setup /dev/xvdi --wipe --yes", setup_gone),
    case(
        "setup, half done by hand",
        || {
            drop(sh("vgcreate -qq docker /dev/xvdi && lvcreate -qq -Wy -l 95%VG -n thinpool docker && \
                lvcreate -qq -Wy -l 1%VG -n thinpoolmeta docker; udevadm settle"));
        },
        "setup /dev/xvdi --yes",
        setup_gone,
    ),
    case("setup --adopt", || drop(sh("vgcreate -qq docker /dev/xvdi")), "setup --adopt docker --data 50%VG --yes", setup_gone),
    case(
        "setup, two disks",
        nothing,
        "setup /dev/xvdi --metadata-device /dev/xvdj --yes",
        second_disk_gone,
    ),
    case(
        "setup --for docker",
        configuration,
        "setup /dev/xvdi --for docker --yes",
        || {
            setup_gone();
            configuration();
        },
    ),
    case(
        "setup --for containerd",
        configuration,
        "setup /dev/xvdi --for containerd --yes",
        || {
            setup_gone();
            configuration();
        },
    ),
    case("setup --two-volumes", nothing, "setup /dev/xvdi --two-volumes --yes", setup_gone),
    case("setup --loop", var, "setup --loop --data 300M --metadata 4M --yes", loop_gone),
    case(
        "activate, lvm",
        || {
            lvm_pool();
            sh("vgchange -qq -an vg; udevadm settle");
        },
        "activate vg/pool",
        nothing,
    )
    .keeps(LVM_UP),
    case("deactivate, lvm", lvm_pool, "deactivate vg/pool", nothing).keeps(LVM_DOWN),
    case(
        "activate, loop",
        || {
            loop_pool();
            dmtool("deactivate loop");
        },
        "activate loop",
        nothing,
    )
    .keeps(LOOP),
    case("deactivate, loop", loop_pool, "deactivate loop", nothing).keeps(LOOP_DOWN),
    case(
        "activate, bare",
        || {
            bare_pool();
            dmtool("deactivate bare");
        },
        "activate bare",
        nothing,
    )
    .keeps(BARE),
    case("deactivate, bare", bare_pool, "deactivate bare", nothing).keeps(BARE_DOWN),
    case(
        "activate --remember, bare",
        || {
            bare_pool();
            sh("dmsetup remove bare-kept; rm /var/lib/dmtool/pools/bare.json");
        },
        "activate bare --remember",
        bare_gone,
    ),
    case(
        "activate --all, loop and lvm",
        || {
            loop_pool();
            lvm_pool();
            dmtool("deactivate --all");
        },
        "activate --all",
        nothing,
    )
    .keeps(LOOP),
    case(
        "deactivate --all, loop and lvm",
        || {
            loop_pool();
            lvm_pool();
        },
        "deactivate --all",
        nothing,
    )
    .keeps(LVM_DOWN),
    case("resize, lvm", lvm_pool, "resize 260M vg/pool --yes", lvm_gone).keeps(LVM),
    case("resize --metadata, lvm", lvm_pool, "resize vg/pool --metadata 12M --yes", lvm_gone).keeps(LVM),
    case(
        "resize --add-device, lvm on two disks",
        lvm_pool,
        "resize vg/pool --add-device /dev/xvdj --yes",
        second_disk_gone,
    )
    .keeps(LVM),
    case("resize, loop", loop_pool, "resize 400M loop --yes", loop_gone).keeps(LOOP),
    case("resize --metadata, loop", loop_pool, "resize loop --metadata 12M --yes", loop_gone).keeps(LOOP),
    case("resize, bare", bare_pool, "resize 260M bare --yes", bare_gone).keeps(BARE),
    case("resize --metadata, bare", bare_pool, "resize bare --metadata 12M --yes", bare_gone).keeps(BARE),
    case(
        "autoextend",
        lvm_pool,
        "autoextend vg/pool --threshold 60 --percent 30 --yes",
        || {
            sh(
                "lvchange -qq --detachprofile vg/pool; lvchange -qq --refresh vg/pool; rm -f /etc/lvm/profile/vg-pool.profile; udevadm settle",
            );
        },
    )
    .keeps(LVM),
    case(
        "autoextend --off",
        || {
            lvm_pool();
            dmtool("autoextend vg/pool --threshold 70");
        },
        "autoextend vg/pool --off",
        nothing,
    )
    .keeps(LVM),
    case(
        "discards, lvm",
        lvm_pool,
        "discards vg/pool no_passdown --yes",
        || {
            sh("lvchange -qq --discards passdown vg/pool; lvchange -qq --refresh vg/pool; udevadm settle");
        },
    )
    .keeps(LVM),
    case("discards, loop", loop_pool, "discards loop no_passdown --yes", || dmtool("discards loop passdown")).keeps(LOOP),
    case("discards, bare", bare_pool, "discards bare no_passdown --yes", || dmtool("discards bare passdown")).keeps(BARE),
    case("volume create, lvm", lvm_pool, "volume create vg/pool web 48M --fs ext4", || remove("web")).keeps(LVM)
        .good_if("e2fsck -fn /dev/vg/web"),
    case("volume create, loop", loop_pool, "volume create loop web 48M --fs ext4", || dmtool("volume remove loop web"))
        .keeps(LOOP)
        .good_if("e2fsck -fn /dev/mapper/loop-web"),
    case("volume create, bare", bare_pool, "volume create bare web 48M --fs ext4", || dmtool("volume remove bare web"))
        .keeps(BARE)
        .good_if("e2fsck -fn /dev/mapper/bare-web"),
    case("volume snapshot, lvm", lvm_pool, "volume snapshot vg/pool kept snap", || remove("snap")).keeps(LVM)
        .good_if("cmp -n 8388608 /dev/vg/kept /dev/vg/snap"),
    case("volume snapshot, loop", loop_pool, "volume snapshot loop kept snap", || dmtool("volume remove loop snap"))
        .keeps(LOOP)
        .good_if("cmp -n 8388608 /dev/mapper/loop-kept /dev/mapper/loop-snap"),
    case("volume snapshot, bare", bare_pool, "volume snapshot bare kept snap", || dmtool("volume remove bare snap"))
        .keeps(BARE)
        .good_if("cmp -n 8388608 /dev/mapper/bare-kept /dev/mapper/bare-snap"),
    case(
        "volume remove, lvm",
        || {
            lvm_pool();
            sh("lvs vg/web >/dev/null 2>&1 || lvcreate -qq -V 48m -T vg/pool -n web 2>/dev/null; udevadm settle");
        },
        "volume remove vg/pool web --yes",
        nothing,
    )
    .keeps(LVM),
    case(
        "volume remove, loop",
        || {
            loop_pool();
            dmtool("volume create loop web 48M");
        },
        "volume remove loop web --yes",
        nothing,
    )
    .keeps(LOOP),
    case(
        "volume remove, bare",
        || {
            bare_pool();
            dmtool("volume create bare web 48M");
        },
        "volume remove bare web --yes",
        nothing,
    )
    .keeps(BARE),
    case(
        "volume mount, lvm",
        || {
            lvm_pool();
            dmtool("volume create vg/pool web 48M --fs ext4");
            sh("mkdir -p /run/mnt");
        },
        "volume mount vg/pool web /run/mnt",
        || {
            sh("umount /run/mnt");
            remove("web");
        },
    )
    .keeps(LVM),
    case(
        "volume mount, loop",
        || {
            loop_pool();
            dmtool("volume create loop web 48M --fs ext4");
            sh("mkdir -p /run/mnt");
        },
        "volume mount loop web /run/mnt",
        || {
            sh("umount /run/mnt");
            dmtool("volume remove loop web");
        },
    )
    .keeps(LOOP),
    case(
        "volume unmount, lvm",
        || {
            lvm_pool();
            dmtool("volume create vg/pool web 48M --fs ext4");
            sh("mkdir -p /run/mnt; mountpoint -q /run/mnt || mount /dev/vg/web /run/mnt");
        },
        "volume unmount vg/pool web",
        || remove("web"),
    )
    .keeps(LVM),
    case(
        "volume unmount, loop",
        || {
            loop_pool();
            dmtool("volume create loop web 48M --fs ext4");
            sh("mkdir -p /run/mnt; mountpoint -q /run/mnt || mount /dev/mapper/loop-web /run/mnt");
        },
        "volume unmount loop web",
        || dmtool("volume remove loop web"),
    )
    .keeps(LOOP),
    case(
        "volume orphans, loop",
        || {
            loop_pool();
            try_sh("dmsetup message loop 0 'create_thin 900'");
        },
        "volume orphans loop --remove --yes",
        nothing,
    )
    .keeps(LOOP),
    case(
        "volume orphans, lvm",
        || {
            lvm_pool();
            try_sh("dmsetup message vg-pool-tpool 0 'create_thin 900'");
        },
        "volume orphans vg/pool --remove --yes",
        nothing,
    )
    .keeps(LVM),
    case(
        "volume recycle, lvm",
        || {
            lvm_empty();
            sh("dmsetup message vg-pool 0 'create_thin 7' && dmsetup message vg-pool 0 'set_transaction_id 0 5'");
        },
        "volume recycle vg/pool --yes",
        lvm_gone,
    ),
    case(
        "volume recycle, loop",
        || {
            loop_pool();
            dmtool("volume remove loop kept");
            sh("dmsetup message loop 0 'create_thin 7'; dmsetup message loop 0 'set_transaction_id 0 5'");
        },
        "volume recycle loop --yes",
        loop_gone,
    ),
    // What reads a pool that is up reserves a snapshot of its metadata.
    case("volume list --exact, loop", loop_pool, "volume list loop --exact", nothing).keeps(LOOP),
    case("metadata check, lvm", lvm_pool, "metadata check vg/pool", nothing).keeps(LVM),
    case(
        "metadata dump, loop",
        loop_pool,
        "metadata dump loop /var/lib/dmtool/dump.xml",
        || drop(sh("rm /var/lib/dmtool/dump.xml")),
    )
    .keeps(LOOP)
    .good_if("tail -n 1 /var/lib/dmtool/dump.xml | grep -qx '</superblock>'"),
    case(
        "metadata dump, lvm",
        || {
            var();
            lvm_pool();
        },
        "metadata dump vg/pool /var/lib/dmtool/dump.xml",
        || drop(sh("rm /var/lib/dmtool/dump.xml")),
    )
    .keeps(LVM)
    .good_if("tail -n 1 /var/lib/dmtool/dump.xml | grep -qx '</superblock>'"),
    case(
        "metadata restore, loop",
        || {
            loop_pool();
            dmtool("metadata dump loop /var/lib/dmtool/good.xml");
            dmtool("deactivate loop");
        },
        "metadata restore loop /var/lib/dmtool/good.xml --yes",
        || {
            dmtool("repair loop --accept");
            sh("rm /var/lib/dmtool/good.xml");
        },
    )
    .keeps(LOOP_DOWN),
    case(
        "metadata restore, lvm",
        || {
            var();
            lvm_pool();
            dmtool("metadata dump vg/pool /var/lib/dmtool/good.xml");
            sh("vgchange -qq -an vg; udevadm settle");
        },
        "metadata restore vg/pool /var/lib/dmtool/good.xml --yes",
        || {
            dmtool("repair vg/pool --accept");
            sh("rm /var/lib/dmtool/good.xml");
        },
    )
    .keeps(LVM_DOWN),
    case(
        "metadata restore, bare",
        || {
            bare_pool();
            dmtool("metadata dump bare /var/lib/dmtool/good.xml");
            dmtool("deactivate bare");
        },
        "metadata restore bare /var/lib/dmtool/good.xml --yes",
        || {
            dmtool("repair bare --accept");
            sh("rm /var/lib/dmtool/good.xml");
        },
    )
    .keeps(BARE_DOWN),
    case("repair, loop", loop_damaged, "repair loop --yes", || dmtool("repair loop --accept")).keeps(LOOP_DOWN),
    case("repair, lvm", lvm_damaged, "repair vg/pool --yes", || dmtool("repair vg/pool --accept")).keeps(LVM_DOWN),
    case("repair, bare", bare_damaged, "repair bare --yes", || dmtool("repair bare --accept")).keeps(BARE_DOWN),
    case("repair of a marked one, loop", loop_marked, "repair loop --yes", nothing).keeps(LOOP),
    case(
        "repair --accept, loop",
        || {
            loop_damaged();
            dmtool("repair loop");
        },
        "repair loop --accept --yes",
        nothing,
    )
    .keeps(LOOP_DOWN),
    case(
        "repair --accept, lvm",
        || {
            lvm_damaged();
            dmtool("repair vg/pool");
        },
        "repair vg/pool --accept --yes",
        nothing,
    )
    .keeps(LVM_DOWN),
    // The damage is back then.
    case(
        "repair --undo, loop",
        || {
            loop_damaged();
            dmtool("repair loop");
        },
        "repair loop --undo --yes",
        || {
            dmtool("repair loop");
            dmtool("repair loop --accept");
        },
    ),
    case(
        "repair --undo, lvm",
        || {
            lvm_damaged();
            dmtool("repair vg/pool");
        },
        "repair vg/pool --undo --yes",
        || {
            dmtool("repair vg/pool");
            dmtool("repair vg/pool --accept");
        },
    ),
    case("metrics --output", loop_pool, "metrics --output /var/lib/dmtool/dmtool.prom", || {
        drop(sh("rm /var/lib/dmtool/dmtool.prom"));
    }),
    case(
        "configure docker",
        || {
            lvm_empty();
            configuration();
        },
        "configure docker vg/pool --yes",
        configuration,
    ),
    case(
        "configure containerd",
        || {
            lvm_empty();
            configuration();
        },
        "configure containerd vg/pool --yes",
        configuration,
    ),
    case("teardown, lvm", lvm_pool, "teardown vg/pool --wipe-devices --yes", nothing)
        .good_if("test -z \"$(wipefs /dev/xvdi)\""),
    case("teardown, loop", loop_pool, "teardown loop --yes", nothing),
    case("teardown, bare", bare_pool, "teardown bare --yes", bare_gone),
    case(
        "teardown, two volumes",
        || dmtool("setup /dev/xvdi --two-volumes"),
        "teardown vg-docker/data --wipe-devices --yes",
        setup_gone,
    ),
];
