//! `dmtool volume create`, `snapshot`, `mount`, `unmount` and `remove`.

use super::register::{no_var, record, var};
use super::volume_list::with_id;
use crate::harness::*;
use predicates::str::contains;

#[test]
fn volumes_of_lvm() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        let list = || json("volume list").1;
        dmtool("volume create docker/thinpool web 100M --fs ext4")
            .assert()
            .success()
            .stdout(contains("/dev/docker/web"));
        assert_eq!(sh("blkid -o value -s TYPE /dev/docker/web"), "ext4");
        let again = json("volume create docker/thinpool web 100M --fs ext4").1;
        assert_eq!(again["changed"], false, "{again:#}");
        assert_eq!(sh("lvs --noheadings -o lv_tags docker/web"), "");
        dmtool("volume create docker/thinpool web 200M").assert().code(3).stderr(contains("has 100 MiB, not 200 MiB"));
        dmtool("volume create docker/thinpool web 100M --fs xfs")
            .assert()
            .code(3)
            .stderr(contains("carries ext4, not xfs"));
        dmtool("volume create docker/thinpool thinpool 1G").assert().code(3).stderr(contains("no thin volume of"));
        // Independent of its origin, both ways.
        sh("mount /dev/docker/web /mnt && dd if=/dev/urandom of=/mnt/a bs=1M count=8 status=none");
        let sum = sh("md5sum < /mnt/a");
        dmtool("volume snapshot docker/thinpool web before").assert().success().stdout(contains("/dev/docker/before"));
        assert_eq!(json("volume snapshot docker/thinpool web before").1["changed"], false);
        assert_eq!(
            sh("lvs --noheadings --separator , -o lv_active,lv_skip_activation,origin docker/before"),
            "active,,web"
        );
        sh(
            "dd if=/dev/urandom of=/mnt/a bs=1M count=8 conv=fsync,notrunc status=none; umount /mnt; mount /dev/docker/before /mnt",
        );
        assert_eq!(sh("md5sum < /mnt/a"), sum, "what is written to the origin is not in the snapshot");
        sh("echo other > /mnt/b; umount /mnt; mount /dev/docker/web /mnt");
        assert!(!try_sh("cat /mnt/b").0, "what is written to the snapshot is not in the origin");
        let origin = sh("md5sum < /mnt/a");
        let seen = list();
        assert_eq!(
            (&seen["volumes"][1]["origin"], &seen["volumes"][1]["owner"]["kind"]),
            (&"web".into(), &"lvm".into())
        );
        assert_eq!(seen["volumes"][1]["thin_id"].to_string(), sh("lvs --noheadings -o thin_id docker/before"));
        dmtool("volume snapshot docker/thinpool before web").assert().code(3).stderr(contains("no snapshot of before"));
        dmtool("volume snapshot docker/thinpool nothing x").assert().code(3).stderr(contains("no volume nothing"));
        // In use it stays; by number; a second time there is nothing to do.
        let used = dmtool("volume remove docker/thinpool web before --yes").assert().code(3);
        used.stderr(contains("docker-web is mounted on /mnt"));
        assert_eq!(sh("lvs --noheadings -o lv_name -S pool_lv=thinpool docker | wc -l"), "2", "all or nothing");
        let id = sh("lvs --noheadings -o thin_id docker/before");
        dmtool(&format!("volume remove docker/thinpool id:{id}")).assert().code(3).stderr(contains("needs a yes"));
        dmtool(&format!("volume remove docker/thinpool id:{id} --yes")).assert().success();
        assert!(!try_sh("lvs docker/before").0);
        assert_eq!(sh("md5sum < /mnt/a"), origin);
        let gone = json("volume remove docker/thinpool before --yes").1;
        assert_eq!(
            (&gone["changed"], &gone["warnings"][0]),
            (&false.into(), &"there is no volume before in docker/thinpool".into())
        );
        // One that is down, with its chunks handed on.
        sh("umount /mnt; lvchange -an docker/web");
        dmtool("volume remove docker/thinpool web --discard --yes").assert().success();
        assert!(sh("dmsetup status docker-thinpool-tpool || dmsetup status docker-thinpool").contains(" 0/"));
        dmtool("teardown docker/thinpool --yes").assert().success();
    });
}

/// A run that was cut off between its steps is finished by the same command.
#[test]
fn volumes_of_lvm_half_made() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh("lvcreate -q -V 100M -n web --addtag dmtool.unfinished --thinpool docker/thinpool");
        dmtool("volume snapshot docker/thinpool web x").assert().code(3).stderr(contains("web is not complete"));
        dmtool("volume create docker/thinpool web 100M --fs xfs").assert().code(1).stderr(contains("mkfs.xfs"));
        assert_eq!(sh("lvs --noheadings -o lv_tags docker/web"), "dmtool.unfinished");
        sh("mkfs.ext4 -q /dev/docker/web; lvchange -an docker/web");
        dmtool("volume create docker/thinpool web 100M --fs ext4").assert().success();
        assert_eq!(sh("lvs --noheadings --separator , -o lv_tags,lv_active docker/web"), ",active");
        // A snapshot of somebody else's that is down and to be skipped.
        sh("lvcreate -q -s -n kept docker/web");
        dmtool("volume snapshot docker/thinpool web kept").assert().success();
        assert_eq!(sh("lvs --noheadings -o lv_active docker/kept"), "active");
        // What LVM would take along is named.
        sh("lvcreate -q -s -L 32M -n cow docker/kept");
        let along = dmtool("volume remove docker/thinpool kept --yes").assert().code(3);
        along.stderr(contains("docker/cow depends on docker/kept"));
        dmtool("volume recycle docker/thinpool --yes").assert().code(3).stderr(contains("docker/cow depends on"));
        sh("lvremove -q --yes docker/cow");
        dmtool("volume remove docker/thinpool web kept --yes").assert().success();
        dmtool("teardown docker/thinpool --yes").assert().success();
    });
}

#[test]
fn bare_volumes() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 1G --metadata 8M --yes").assert().success();
        dmtool("volume create loop web 256M --fs ext4").assert().success();
        sh("mount /dev/mapper/loop-web /mnt && dd if=/dev/urandom of=/mnt/a bs=1M count=8 status=none");
        let sum = sh("md5sum < /mnt/a");
        dmtool("volume snapshot loop web before").assert().success().stdout(contains("/dev/mapper/loop-before"));
        assert_eq!(json("volume snapshot loop web before").1["changed"], false);
        assert!(sh("dmsetup info -c --noheadings -o suspended loop-web").starts_with("Active"));
        sh(
            "dd if=/dev/urandom of=/mnt/a bs=1M count=8 conv=fsync,notrunc status=none; umount /mnt; mount /dev/mapper/loop-before /mnt",
        );
        assert_eq!(sh("md5sum < /mnt/a"), sum);
        sh("echo other > /mnt/b; umount /mnt; mount /dev/mapper/loop-web /mnt");
        assert!(!try_sh("cat /mnt/b").0);
        let origin = sh("md5sum < /mnt/a");
        let seen = json("volume list").1;
        let before = with_id(&seen, 1);
        assert_eq!(
            (&before["name"], &before["origin"], &before["owner"]["kind"]),
            (&"before".into(), &"web".into(), &"dmtool".into())
        );
        // It comes back with its pool.
        sh("umount /mnt");
        dmtool("deactivate loop").assert().success();
        let down = json("volume list loop").1;
        assert_eq!(
            (&down["complete"], with_id(&down, 1)["mapped_bytes"].clone()),
            (&true.into(), before["mapped_bytes"].clone())
        );
        assert_eq!(with_id(&down, 1)["active"], false);
        dmtool("volume remove loop before --yes").assert().code(3).stderr(contains("loop is down"));
        dmtool("activate loop").assert().success();
        sh("mount /dev/mapper/loop-before /mnt");
        assert_eq!(sh("md5sum < /mnt/a"), sum);
        dmtool("volume remove loop before --yes").assert().code(3).stderr(contains("loop-before is mounted on /mnt"));
        sh("umount /mnt");
        // Gone from the pool, from the register, and from the file below.
        let blocks = || sh("stat -c %b /var/lib/dmtool/loop/data").parse::<u64>().expect("blocks");
        let full = blocks();
        dmtool("volume remove loop before --yes").assert().success();
        assert!(blocks() + 16_000 < full, "{} of {full} blocks", blocks());
        assert_eq!(json("volume list").1["volumes"].as_array().map(Vec::len), Some(1));
        sh("mount /dev/mapper/loop-web /mnt");
        assert_eq!(sh("md5sum < /mnt/a"), origin);
        sh("umount /mnt");
        // No number is used again.
        dmtool("volume create loop new 16M").assert().success();
        assert_eq!(json("volume show loop new").1["volume"]["thin_id"], 2);
        dmtool("volume remove loop id:2 web --yes").assert().success();
        assert!(sh("dmsetup status loop").contains(" 0/"));
        dmtool("teardown loop --yes").assert().success();
        no_var();
    });
}

#[test]
fn bare_volumes_half_made() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("volume create loop web 64M").assert().success();
        sh("dd if=/dev/urandom of=/dev/mapper/loop-web bs=1M count=4 oflag=direct status=none");
        let sum = sh("md5sum < /dev/mapper/loop-web");
        let announced = r#", {"name": "before", "device": "loop-before", "thin_id": 1, "size_bytes": 67108864, "origin": 0, "state": "announced"}"#;
        // Cut off with the origin standing still.
        sh(&format!(
            "sed -i 's/^    }}$/    }}{announced}/' /var/lib/dmtool/pools/loop.json && dmsetup suspend loop-web"
        ));
        dmtool("volume snapshot loop web before").assert().success();
        assert!(sh("dmsetup info -c --noheadings -o suspended loop-web").starts_with("Active"));
        assert_eq!(sh("md5sum < /dev/mapper/loop-before"), sum);
        // Standing still by somebody else's hand.
        sh("dmsetup suspend loop-web");
        dmtool("volume snapshot loop web other").assert().code(3).stderr(contains("suspended, and not by dmtool"));
        sh("dmsetup resume loop-web");
        // Removed from the kernel, or from the pool too, and not from the register.
        sh("dmsetup remove --retry loop-before");
        dmtool("volume remove loop before --yes").assert().success();
        dmtool("volume snapshot loop web before").assert().success();
        let id = json("volume show loop before").1["volume"]["thin_id"].to_string();
        sh(&format!("dmsetup remove --retry loop-before && dmsetup message loop 0 'delete {id}'"));
        assert_eq!(json("volume show loop before").1["volume"]["state"], "missing");
        dmtool("volume remove loop before --yes").assert().success();
        assert_eq!(json("volume list").1["volumes"].as_array().map(Vec::len), Some(1));
        // Announced with a number that is somebody's.
        sh("dmsetup message loop 0 'create_thin 5'");
        let announced = announced.replace("before", "never").replace("\"thin_id\": 1", "\"thin_id\": 5");
        sh(&format!("sed -i 's/^    }}$/    }}{announced}/' /var/lib/dmtool/pools/loop.json"));
        dmtool("volume remove loop never --yes").assert().success().stderr(contains("was never complete"));
        assert_eq!(json("volume show loop id:5").1["volume"]["state"], "inactive");
        assert!(!record().to_string().contains("never"));
        sh("dmsetup message loop 0 'delete 5'");
        // Made, as the pool said, which could not write that down.
        let made = announced
            .replace("never", "lost")
            .replace("announced", "made")
            .replace("\"origin\": 0", "\"origin\": null");
        sh(&format!("sed -i 's/^    }}$/    }}{made}/' /var/lib/dmtool/pools/loop.json"));
        dmtool("volume create loop lost 64M --fs ext4").assert().success();
        dmtool("volume create loop lost 64M --fs ext4").assert().success().stdout(contains("nothing was changed"));
        dmtool("volume remove loop lost --yes").assert().success();
        // A stranger's is not taken for a volume of ours.
        sh("dmsetup message loop 0 'create_thin 9' && dmsetup create x --table '0 2048 thin /dev/mapper/loop 9'");
        dmtool("volume remove loop x --yes").assert().code(3).stderr(contains("in nobody's books"));
        dmtool("volume remove loop id:9 --yes").assert().code(3).stderr(contains("in nobody's books"));
        sh("dmsetup remove --retry x && dmsetup message loop 0 'delete 9'");
        dmtool("volume remove loop id:9 id:77 --yes").assert().success().stderr(contains("there is no volume id:9"));
        dmtool("teardown loop --yes").assert().success();
        no_var();
    });
}

#[test]
fn pools_that_take_no_volumes() {
    in_kernel(|| {
        let refused = |verb: &str, why: &str| {
            dmtool(&format!("volume {verb}")).assert().code(3).stderr(contains(why));
        };
        dmtool("setup /dev/xvdf --yes --no-autoextend").assert().success();
        dmtool("volume create docker/thinpool web 5G").assert().success();
        // Configured for a consumer.
        let configs = [
            (
                "/etc/docker/daemon.json",
                r#"{"storage-opts": ["dm.thinpooldev=/dev/mapper/docker-thinpool"]}"#,
                "Docker is configured for docker/thinpool",
            ),
            ("/etc/docker/daemon.json", "{", "reading /etc/docker/daemon.json"),
            (
                "/etc/containerd/config.toml",
                "version = 2\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\npool_name = \"docker-thinpool\"\n",
                "containerd is configured for docker/thinpool",
            ),
        ];
        for (file, text, why) in configs {
            let folder = file.rsplit_once('/').expect("a path").0;
            sh(&format!("mkdir -p {folder}; cp -a {folder} {folder}.was; cat > {file} <<'X'\n{text}\nX"));
            for verb in [
                "create docker/thinpool new 1G",
                "snapshot docker/thinpool web new",
                "remove docker/thinpool web --yes",
            ] {
                refused(verb, why);
            }
            sh(&format!("rm -rf {folder} && mv {folder}.was {folder}"));
        }
        // Counted by somebody else.
        let pool = sh("dmsetup ls | grep -o '^docker-thinpool-tpool'");
        let own = sh(&format!("dmsetup status {pool}")).split(' ').nth(3).expect("a transaction id").to_owned();
        sh(&format!("dmsetup message {pool} 0 'set_transaction_id {own} 77'"));
        refused("create docker/thinpool new 1G", "is at transaction 77, and was at");
        refused("remove docker/thinpool web --yes", "is at transaction 77, and was at");
        sh(&format!("dmsetup message {pool} 0 'set_transaction_id 77 {own}'"));
        // Full: nothing new, and a volume goes all the same.
        sh("lvchange --errorwhenfull y docker/thinpool");
        try_sh("dd if=/dev/zero of=/dev/docker/web bs=4M oflag=direct status=none");
        refused("create docker/thinpool new 1G", "docker/thinpool is full");
        refused("snapshot docker/thinpool web new", "docker/thinpool is full");
        assert_eq!(json("volume create docker/thinpool web 5G").1["changed"], false, "what is there is there");
        dmtool("volume remove docker/thinpool web --yes").assert().success();
        dmtool("volume create docker/thinpool new 1G").assert().success();
        // In error.
        sh("dmsetup suspend docker-thinpool-tpool");
        refused("create docker/thinpool other 1G", "does not take writes");
        refused("remove docker/thinpool new --yes", "takes no changes");
        sh("dmsetup resume docker-thinpool-tpool");
        dmtool("deactivate docker/thinpool").assert().success();
        refused("create docker/thinpool other 1G", "docker/thinpool is down");
        for words in ["create docker/thinpool a/b 1G", "create docker/thinpool x 0", "snapshot docker/thinpool web"] {
            dmtool(&format!("volume {words}")).assert().code(2);
        }
        dmtool("teardown docker/thinpool --yes").assert().success();
    });
}

#[test]
fn mounted_and_unmounted() {
    in_kernel(|| {
        var();
        dmtool("setup /dev/xvdg --yes").assert().success();
        dmtool("setup --loop --data 1G --metadata 8M --yes").assert().success();
        for (pool, device) in [("docker/thinpool", "/dev/docker/"), ("loop", "/dev/mapper/loop-")] {
            sh("mkdir -p '/run/m/one two' /run/m/other && ln -sfn '/run/m/one two' /run/m/link");
            dmtool(&format!("volume create {pool} web 512M --fs xfs")).assert().success();
            dmtool(&format!("volume create {pool} bare 64M")).assert().success();
            let web = format!("volume mount {pool} web");
            let refused = |words: &str, why: &str| drop(dmtool(words).assert().code(3).stderr(contains(why)));
            refused(&format!("{web} /run/m/nowhere"), "/run/m/nowhere is not there");
            refused(&format!("{web} /etc/passwd"), "/etc/passwd is no folder");
            refused(&format!("volume mount {pool} bare /run/m/other"), "bare carries no file system");
            refused(&format!("volume mount {pool} nothing /run/m/other"), "no volume nothing");
            dmtool(&format!("{web} /run/m/link")).assert().success().stdout(contains("/run/m/one two"));
            assert_eq!(sh("findmnt -no FSTYPE '/run/m/one two'"), "xfs");
            assert_eq!(json(&format!("{web} /run/m/link")).1["changed"], false);
            refused(&format!("{web} /run/m/other"), "web is mounted on /run/m/one two");
            sh("echo kept > '/run/m/one two/file'");
            // A snapshot of an xfs beside its origin, and one that is down.
            dmtool(&format!("volume snapshot {pool} web before")).assert().success();
            refused(&format!("volume mount {pool} before /run/m/link"), "is mounted on /run/m/one two");
            sh(if pool == "loop" { "dmsetup remove --retry loop-before" } else { "lvchange -an docker/before" });
            assert!(!try_sh(&format!("test -e {device}before")).0);
            let (_, mounted) = json(&format!("volume mount {pool} before /run/m/other"));
            assert_eq!(mounted["changed"], true, "{mounted:#}");
            assert_eq!(sh("cat /run/m/other/file"), "kept");
            dmtool(&format!("volume show {pool} before"))
                .assert()
                .success()
                .stdout(contains("is mounted on /run/m/other"));
            // Not what somebody has mounted over it.
            sh("mount -t tmpfs over /run/m/other");
            refused(&format!("volume unmount {pool} before"), "over is mounted over it on /run/m/other");
            sh("umount /run/m/other");
            // Everywhere it is mounted, the last first; and in use.
            sh("mkdir -p /run/m/third && mount --bind /run/m/other /run/m/third");
            sh("sleep 1000 </run/m/third/file >/dev/null 2>&1 & until pgrep -x sleep >/dev/null; do sleep 0.1; done");
            dmtool(&format!("volume unmount {pool} before")).assert().code(1).stderr(contains("busy"));
            sh("pkill -x sleep; while pgrep -x sleep >/dev/null; do sleep 0.1; done");
            dmtool(&format!("volume unmount {pool} before")).assert().success();
            assert!(!try_sh("findmnt /run/m/other || findmnt /run/m/third").0);
            assert_eq!(json(&format!("volume unmount {pool} before")).1["changed"], false);
            // One that has something in it is said to be hidden.
            sh("touch /run/m/other/x");
            let (_, over) = json(&format!("volume mount {pool} before /run/m/other"));
            assert!(over["warnings"][0].as_str().is_some_and(|warning| warning.contains("is not empty")), "{over:#}");
            for volume in ["before", "web"] {
                dmtool(&format!("volume unmount {pool} {volume}")).assert().success();
            }
            sh("rm -r /run/m");
            dmtool(&format!("teardown {pool} --yes")).assert().success();
        }
        no_var();
    });
}

/// Found by a kill inside lvcreate: the device is there, without a table, and LVM calls it active.
#[test]
fn a_device_without_a_table_is_no_volume_that_is_up() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdi && lvcreate -qq --type thin-pool -L 200m --poolmetadatasize 4m -n pool vg");
        dmtool("volume create vg/pool web 64M").assert().success();
        dmtool("volume snapshot vg/pool web snap").assert().success();
        for (name, words) in [("snap", "volume snapshot vg/pool web snap"), ("web", "volume create vg/pool web 64M")] {
            sh(&format!(
                "lvchange -qq -an vg/{name}; \
                 dmsetup create vg-{name} --notable -u LVM-$(lvs --noheadings -o vg_uuid,lv_uuid vg/{name} | tr -d ' -')"
            ));
            dmtool(words).assert().success().stdout(contains("lvchange --activate y"));
            assert_eq!(sh(&format!("dmsetup table vg-{name} | cut -d' ' -f3")), "thin");
            dmtool(words).assert().success().stdout(contains("nothing was changed"));
        }
    });
}
