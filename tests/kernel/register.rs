//! Bare pools that come back from the register: `activate` and `deactivate` of loop and raw pools.

use super::status::raw_pool;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// A file system with the register and the files of the tests, where a host keeps them.
pub fn var() {
    sh(
        "blkid /dev/xvdf >/dev/null || mkfs.ext4 -q /dev/xvdf; mkdir -p /var/lib/dmtool && mount /dev/xvdf /var/lib/dmtool",
    );
}

pub fn no_var() {
    sh("umount /var/lib/dmtool");
}

pub fn record() -> serde_json::Value {
    serde_json::from_str(&sh("cat /var/lib/dmtool/pools/loop.json")).expect("a record")
}

pub fn up() -> String {
    sh("dmsetup ls | sed '/No devices/d; s/\\t.*//'; losetup --noheadings --output BACK-FILE | sort")
}

#[test]
fn a_loop_pool_after_a_reboot_and_after_a_crash() {
    boots(|machine| {
        machine.boot(|| {
            var();
            dmtool("setup --loop --data 1G --metadata 64M --yes").assert().success();
            dmtool("volume create loop web 256M").assert().success();
            sh("head -c 1M /dev/urandom > /run/bytes && dd if=/run/bytes of=/dev/mapper/loop-web bs=64K oflag=direct conv=fsync status=none");
            sh("md5sum < /run/bytes > /var/lib/dmtool/sum; sync");
            // The loop devices hold the file system, as on any host: it is shut down as that is.
        });
        machine.boot(|| {
            var();
            assert_eq!(up(), "");
            dmtool("activate --all").assert().success();
            assert_eq!(sh("head -c 1M /dev/mapper/loop-web | md5sum"), sh("cat /var/lib/dmtool/sum"));
            dmtool("volume create loop later 64M").assert().success();
            dmtool("resize 2G").assert().success();
            sh("sync");
            crash();
        });
        machine.boot(|| {
            var();
            dmtool("activate").assert().success();
            assert_eq!(sh("head -c 1M /dev/mapper/loop-web | md5sum"), sh("cat /var/lib/dmtool/sum"));
            assert_eq!(sh("blockdev --getsize64 /dev/mapper/loop-later"), (64 << 20).to_string());
            assert!(sh("dmsetup table loop").starts_with("0 4194304 "));
            dmtool("deactivate").assert().success();
            no_var();
        });
    });
}

/// Does something to the files of a pool that is down, asserts the refusal, and undoes it.
fn misfit(what: &str, said: &str, undo: &str) {
    sh(what);
    let before = sh("cd /var/lib/dmtool && stat -c '%n %i %s %b' loop/* pools/*");
    dmtool("activate").assert().code(3).stderr(contains(said)).stderr(contains("nothing was changed"));
    dmtool("setup --loop --yes").assert().code(3).stderr(contains(said));
    dmtool("activate --all").assert().code(3).stderr(contains(said));
    assert!(json("check").0 >= 2, "{what}");
    assert_eq!(up(), "", "{what}");
    assert_eq!(sh("cd /var/lib/dmtool && stat -c '%n %i %s %b' loop/* pools/*"), before, "{what}");
    sh(undo);
}

#[test]
fn a_register_that_does_not_fit_is_refused() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 1G --metadata 64M --yes").assert().success();
        dmtool("volume create loop web 256M").assert().success();
        sh("dd if=/dev/urandom of=/dev/mapper/loop-web bs=1M count=4 oflag=direct status=none");
        sh("dmsetup message loop 0 'set_transaction_id 0 7'");
        dmtool("deactivate").assert().success();
        assert_eq!(record()["transaction_id"], 7, "the register follows the pool");
        sh("cd /var/lib/dmtool/loop && cp --sparse=always metadata old");
        sh("cp /var/lib/dmtool/pools/loop.json /run/good.json");
        let back = "cp /run/good.json /var/lib/dmtool/pools/loop.json";
        misfit(
            "cd /var/lib/dmtool/loop && mv metadata m && cp --sparse=always m metadata",
            "its inode is",
            "cd /var/lib/dmtool/loop && mv m metadata",
        );
        misfit("cd /var/lib/dmtool/loop && mv data d", "data, is not there", "cd /var/lib/dmtool/loop && mv d data");
        misfit(
            "truncate -s +64K /var/lib/dmtool/loop/data",
            "and the register says 1073741824",
            "truncate -s 1G /var/lib/dmtool/loop/data",
        );
        misfit(
            "cd /var/lib/dmtool/loop && mv data d && ln -s d data",
            "is no plain file",
            "cd /var/lib/dmtool/loop && mv d data",
        );
        for (change, said) in [
            ("s/METADATA DATA 128/METADATA DATA 256/", "chunks of 64 KiB, and the register says 128 KiB"),
            ("s/\"transaction_id\": 7/\"transaction_id\": 8/", "is at transaction 7, and the register has seen 8"),
            ("s/\"filesystem\": \"[0-9a-f]*/\"filesystem\": \"0/", "lies on another file system"),
            ("s/\"dmtool\": 1/\"dmtool\": 9/", "its format is 9"),
            ("s/thin-pool/linear/", "is no record of a pool"),
            ("s/\"kind\": \"loop\"/\"kind\": \"lvm\"/", "is no record of a pool"),
        ] {
            misfit(&format!("sed -i '{change}' /var/lib/dmtool/pools/loop.json"), said, back);
        }
        let first = "of=/var/lib/dmtool/loop/metadata bs=4k count=1 conv=notrunc status=none";
        let again =
            "dd if=/var/lib/dmtool/loop/old of=/var/lib/dmtool/loop/metadata bs=4k count=1 conv=notrunc status=none";
        misfit(&format!("dd if=/dev/zero {first}"), "begins with zeroes", again);
        misfit(&format!("dd if=/dev/urandom {first}"), "does not begin with a thin pool's superblock", again);
        // Damage behind the superblock is thin_check's to find, before the kernel reads it.
        sh("dd if=/dev/urandom of=/var/lib/dmtool/loop/metadata bs=4k seek=1 count=40 conv=notrunc status=none");
        dmtool("activate").assert().code(1).stderr(
            contains("the metadata of loop is damaged").and(contains("what to do: dmtool metadata check loop")),
        );
        assert!(!sh("dmsetup ls").contains("loop"));
        sh(
            "udevadm settle; losetup -D; udevadm settle; cd /var/lib/dmtool/loop && dd if=old of=metadata bs=1M conv=notrunc status=none",
        );
        dmtool("activate").assert().success();
        what_is_somebodys_by_now();
        no_var();
    });
}

fn what_is_somebodys_by_now() {
    // Its loop device is somebody's by now: not taken, and not taken away.
    dmtool("deactivate").assert().success();
    sh("dmsetup create holder --table \"0 8 linear $(losetup -f --show /var/lib/dmtool/loop/data) 0\"");
    dmtool("activate").assert().code(3).stderr(contains("is in use: something holds its loop device"));
    dmtool("deactivate").assert().code(3).stderr(contains("something else holds its loop device"));
    sh("dmsetup remove --retry holder; udevadm settle; losetup -D; udevadm settle");
    dmtool("activate").assert().success();
    // A pool of the same name on other devices.
    sh(
        "dmsetup remove --retry loop-web && dmsetup remove --retry loop && udevadm settle && losetup -D && udevadm settle && truncate -s 64M /run/m /run/d && \
            dmsetup create loop --table \"0 131072 thin-pool $(losetup -f --show /run/m) $(losetup -f --show /run/d) 128 0\"",
    );
    for verb in ["activate", "deactivate", "resize 2G", "volume create loop x 1M", "activate --remember"] {
        dmtool(verb).assert().code(3).stderr(contains("on other devices"));
    }
    assert_eq!(sh("jq .volumes[0].name /var/lib/dmtool/pools/loop.json"), "\"web\"", "what it knows is kept");
    sh("sed -i 's/thin-pool/linear/' /var/lib/dmtool/pools/loop.json");
    dmtool("activate --remember").assert().code(3).stderr(contains("mv /var/lib/dmtool/pools/loop.json"));
    dmtool("check").assert().code(3).stdout(contains("could-not-look"));
    sh("dmsetup remove --retry loop; udevadm settle; losetup -D; udevadm settle");
}

#[test]
fn a_raw_pool_is_remembered_and_comes_back() {
    boots(|machine| {
        machine.boot(|| {
            var();
            raw_pool("rawpool");
            dmtool("deactivate rawpool").assert().code(3).stderr(contains("in no register").and(contains("--remember")));
            sh("dmsetup message rawpool 0 'create_thin 4' && dmsetup create mine --table '0 131072 thin /dev/mapper/rawpool 4'");
            sh("head -c 1M /dev/urandom > /run/bytes && dd if=/run/bytes of=/dev/mapper/mine bs=64K oflag=direct status=none; udevadm settle");
            sh("md5sum < /run/bytes > /var/lib/dmtool/sum");
            let (status, value) = json("activate rawpool --remember");
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
            assert_eq!(json("activate rawpool --remember").1["changed"], false);
            sh("dmsetup message rawpool 0 'create_thin 5' && dmsetup create late --table '0 2048 thin /dev/mapper/rawpool 5'");
            dmtool("deactivate").assert().code(3).stderr(contains("late stands on rawpool and is in no register"));
            sh("dmsetup remove --retry late");
            // What grows is known as it has grown.
            dmtool("resize 1536M").assert().success();
            dmtool("deactivate").assert().success();
            assert_eq!(sh("dmsetup ls | grep -c -v vg--docker || true"), "0");
            dmtool("activate").assert().success();
            sh("sync");
        });
        machine.boot(|| {
            var();
            // Its volumes are not active yet: what is not there is not guessed.
            dmtool("activate").assert().code(3).stderr(contains("is not there"));
            sh("vgchange -qq -ay vg-docker");
            dmtool("activate").assert().success();
            assert!(sh("dmsetup table rawpool").starts_with("0 3145728 thin-pool "));
            assert_eq!(sh("head -c 1M /dev/mapper/mine | md5sum"), sh("cat /var/lib/dmtool/sum"));
            // Another volume of the same name and size is another volume.
            dmtool("deactivate").assert().success();
            sh("lvrename -qq vg-docker/data old && lvcreate -qq -Wn -L 1536M -n data vg-docker");
            dmtool("activate").assert().code(3).stderr(contains("its uuid is not the same"));
            sh("lvremove -qq -f vg-docker/data && lvrename -qq vg-docker/old data");
            dmtool("activate").assert().success();
            dmtool("deactivate").assert().success();
            no_var();
        });
    });
}

#[test]
fn a_deleted_file_is_rescued_and_known_again() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("volume create loop web 64M").assert().success();
        sh("dd if=/dev/urandom of=/dev/mapper/loop-web bs=1M count=8 oflag=direct status=none");
        let sum = sh("md5sum < /dev/mapper/loop-web");
        sh("rm /var/lib/dmtool/loop/data");
        dmtool("deactivate").assert().code(3).stderr(contains("is not there any more"));
        let (_, value) = json("check");
        let hint = value["findings"][0]["hint"].as_str().expect("a hint").to_owned();
        let binary =
            std::path::Path::new(env!("CARGO_BIN_EXE_dmtool")).parent().expect("a folder").display().to_string();
        // Somebody else's file has its name by now.
        sh("echo theirs > /var/lib/dmtool/loop/data");
        assert!(!try_sh(&format!("PATH={binary}:$PATH; {hint}")).0);
        assert_eq!(sh("cat /var/lib/dmtool/loop/data"), "theirs");
        assert_eq!(sh("md5sum < /dev/mapper/loop-web"), sum);
        sh("rm /var/lib/dmtool/loop/data");
        sh(&format!("PATH={binary}:$PATH; {hint}"));
        dmtool("check").assert().success();
        assert_eq!(sh("md5sum < /dev/mapper/loop-web"), sum);
        dmtool("deactivate").assert().success();
        dmtool("activate").assert().success();
        assert_eq!(sh("md5sum < /dev/mapper/loop-web"), sum);
        dmtool("deactivate").assert().success();
        no_var();
    });
}

/// At a boot somebody may hold LVM's lock for longer than the unit waits.
#[test]
fn lvm_that_cannot_be_asked_keeps_no_bare_pool_down() {
    in_kernel(|| {
        var();
        for name in ["one", "two"] {
            dmtool(&format!("setup --loop --pool {name} --data 64M --metadata 8M --yes")).assert().success();
        }
        dmtool("setup /dev/xvdg --yes").assert().success();
        dmtool("deactivate --all").assert().success();
        sh("mkdir -p /run/lock/lvm");
        hold_lock("/run/lock/lvm/V_docker");
        let (status, value) = json("activate two --lock-timeout 1");
        assert_eq!((status, &value["pool"]["name"]), (0, &"two".into()), "{value:#}");
        let (status, value) = json("activate --all --lock-timeout 1");
        assert_eq!((status, &value["error"]["kind"]), (1, &"failed".into()), "{value:#}");
        assert!(value["error"]["causes"].to_string().contains("holds LVM's lock"), "{value:#}");
        let up = sh("dmsetup ls");
        assert!(up.contains("one") && up.contains("two") && !up.contains("docker"), "{up}");
        // It does no more, and does not say that all is well.
        assert_eq!(json("activate --all --lock-timeout 1").0, 3);
        dmtool("activate docker/thinpool --lock-timeout 1").assert().code(3).stderr(contains("Could not look"));
        sh("pkill -x tail");
        dmtool("activate --all").assert().success();
        assert!(sh("dmsetup ls").contains("docker-thinpool"));
        dmtool("teardown one --yes").assert().success();
        dmtool("teardown two --yes").assert().success();
        no_var();
    });
}

#[test]
fn one_pool_does_not_keep_the_others_down() {
    in_kernel(|| {
        var();
        for name in ["one", "two"] {
            dmtool(&format!("setup --loop --pool {name} --data 64M --metadata 8M --yes")).assert().success();
        }
        dmtool("setup /dev/xvdg --yes").assert().success();
        dmtool("deactivate --all").assert().success();
        sh("truncate -s 65M /var/lib/dmtool/one/data");
        let (status, value) = json("activate --all");
        assert_eq!((status, &value["error"]["kind"]), (1, &"failed".into()), "{value:#}");
        assert!(value["error"]["causes"].to_string().contains("/one/data has 68157440 bytes"), "{value:#}");
        let up = sh("dmsetup ls");
        assert!(up.contains("two") && up.contains("docker-thinpool") && !up.contains("one"), "{up}");
        sh("truncate -s 64M /var/lib/dmtool/one/data");
        dmtool("activate --all").assert().success();
        dmtool("deactivate --all").assert().success();
        // A step that fails is that pool's alone, too.
        sh(
            "cd /var/lib/dmtool/one && cp metadata m && dd if=/dev/urandom of=metadata bs=4k seek=1 count=40 conv=notrunc status=none",
        );
        let (status, value) = json("activate --all");
        assert_eq!((status, &value["error"]["kind"]), (1, &"failed".into()), "{value:#}");
        assert!(value["error"]["causes"].to_string().contains("the metadata of one is damaged"), "{value:#}");
        let up = sh("dmsetup ls");
        assert!(up.contains("two") && up.contains("docker-thinpool") && !up.contains("one"), "{up}");
        sh(
            "udevadm settle; losetup -d $(losetup -nO NAME -j /var/lib/dmtool/one/metadata) && udevadm settle && cd /var/lib/dmtool/one && dd if=m of=metadata bs=1M conv=notrunc status=none",
        );
        dmtool("activate --all").assert().success();
        dmtool("deactivate --all").assert().success();
        // A partition is known by its UUID; a disk or device without anything of the kind is refused.
        sh("dmsetup create disks --table '0 524288 thin-pool /dev/xvdi /dev/xvdj 128 100'");
        dmtool("activate disks --remember").assert().code(3).stderr(contains("could not be known again after a boot"));
        assert_eq!(sh("ls /var/lib/dmtool/pools"), "one.json\ntwo.json");
        sh(
            "dmsetup remove --retry disks && wipefs -qa /dev/xvdi /dev/xvdj; dd if=/dev/zero of=/dev/xvdi bs=1M count=8 status=none; \
            for d in i j; do echo '2048,100M' | sfdisk -q --label gpt /dev/xvd$d; done; udevadm settle",
        );
        sh(&format!(
            "dmsetup create disks --table '0 204800 thin-pool {} {} 128 100'",
            partition("/dev/xvdi", 1),
            partition("/dev/xvdj", 1)
        ));
        dmtool("activate disks --remember").assert().success();
        assert!(sh("cat /var/lib/dmtool/pools/disks.json").contains("\"/dev/disk/by-partuuid/"));
        dmtool("deactivate disks").assert().success();
        // Somebody else has the partition by now.
        sh(&format!("dmsetup create other --table '0 8 linear {} 0'", partition("/dev/xvdj", 1)));
        dmtool("activate disks").assert().code(3).stderr(contains("is in use: something holds it"));
        sh("dmsetup remove --retry other");
        dmtool("activate disks").assert().success();
        dmtool("deactivate disks").assert().success();
        no_var();
    });
}

#[test]
fn a_resize_that_was_cut_off_leaves_a_pool_that_comes_back() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 100G --metadata 64M --yes").assert().success();
        dmtool("resize 200GB").assert().success();
        assert!(sh("dmsetup table loop").starts_with("0 419430400 thin-pool "));
        assert_eq!(record()["table"], "0 419430400 thin-pool METADATA DATA 128 32768 1 skip_block_zeroing");
        assert_eq!(
            (&record()["data"]["size_bytes"], &record()["data"]["grows_to_bytes"]),
            (&(200_u64 << 30).into(), &serde_json::Value::Null)
        );
        assert_eq!(json("resize 200GB").1["changed"], false);
        let announced = "sed -i 's/\"size_bytes\": 214748364800\\(.*\\)/\"size_bytes\": 214748364800\\1/; /214748364800/,/grows_to/ s/\"grows_to_bytes\": null/\"grows_to_bytes\": 322122547200/' /var/lib/dmtool/pools/loop.json";
        // Announced and no more; the file longer; the loop device too; the table too.
        for (state, length) in [
            ("true", 419_430_400_u64),
            ("truncate -s 300G /var/lib/dmtool/loop/data", 419_430_400),
            ("losetup -c $(losetup -nO NAME -j /var/lib/dmtool/loop/data)", 419_430_400),
            (
                "dmsetup table loop | sed 's/0 419430400/0 629145600/' | dmsetup load loop && dmsetup resume loop",
                629_145_600,
            ),
        ] {
            sh(announced);
            assert_eq!(record()["data"]["grows_to_bytes"], 322_122_547_200_u64);
            sh(state);
            sh("dmsetup remove --retry loop && udevadm settle && losetup -D && udevadm settle");
            dmtool("activate").assert().success();
            assert!(sh("dmsetup table loop").starts_with(&format!("0 {length} ")), "{state}");
        }
        let (status, value) = json("resize 300G");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "the register catches up: {value:#}");
        assert_eq!(json("resize 300G").1["changed"], false);
        assert_eq!(record()["data"]["grows_to_bytes"], serde_json::Value::Null);
        dmtool("deactivate").assert().success();
        no_var();
    });
}

#[test]
fn the_unit_brings_pools_back_before_containerd_starts() {
    boots(|machine| {
        machine.boot(|| {
            sh("mkfs.ext4 -q -L dmtool-var /dev/xvdf");
            var();
            dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
            dmtool("volume create loop web 16M").assert().success();
            sh("head -c 1M /dev/urandom > /var/lib/dmtool/bytes && dd if=/var/lib/dmtool/bytes of=/dev/mapper/loop-web bs=64K oflag=direct status=none");
            dmtool("setup /dev/xvdg --yes").assert().success();
            // LVM would activate it at the boot; here dmtool is to.
            sh("lvchange -qq --setautoactivation n docker/thinpool; cp -a /etc/lvm/backup /var/lib/dmtool/lvm-backup; sync");
        });
        machine.systemd("dmtool-activate.service containerd.service", || {
            let said = sh("journalctl -b --no-pager -u dmtool-activate");
            assert_eq!(sh("systemctl show -P ActiveState -P SubState dmtool-activate"), "active\nexited", "{said}");
            assert!(said.contains("docker/thinpool is active.") && said.contains("loop is active."), "{said}");
            assert_eq!(sh("cat /proc/1/comm"), "systemd");
            let up = sh("dmsetup ls");
            assert!(up.contains("docker-thinpool") && up.contains("loop-web"), "{up}");
            sh("cmp -n 1048576 /var/lib/dmtool/bytes /dev/mapper/loop-web");
            assert_eq!(sh("systemctl is-active containerd.service"), "active");
            let at = |unit: &str, what: &str| -> u64 {
                sh(&format!("systemctl show -P {what}TimestampMonotonic {unit}")).parse().expect("a time")
            };
            assert!(at("dmtool-activate", "ActiveEnter") <= at("containerd", "ExecMainStart"));
            assert!(sh("systemctl show -P Before dmtool-activate").contains("docker.service"));
            assert_eq!(sh("systemd-analyze verify --man=no /etc/systemd/system/dmtool-activate.service 2>&1 | grep dmtool-activate || true"), "");
            // Again, as a restart of the unit does, and down at the end.
            sh("systemctl restart dmtool-activate && systemctl is-active dmtool-activate");
            dmtool("deactivate --all").assert().success();
        });
    });
}

/// Found by a kill between the load of a pool's table and its resume: the waiting table held what the next run needed.
#[test]
fn a_table_that_a_killed_run_did_not_swap_in_is_in_nobodys_way() {
    in_kernel(|| {
        var();
        dmtool("setup --loop --data 100M --metadata 4M --yes").assert().success();
        dmtool("volume create loop web 16M").assert().success();
        let (table, thin) = (sh("dmsetup table loop"), sh("dmsetup table loop-web"));
        // As the kernel has it after the kill, for a pool and for a volume of it.
        let left = |name: &str, table: &str| {
            sh(&format!("dmsetup create {name} --notable -u DMTOOL-{name} && dmsetup load {name} --table '{table}'"));
        };
        for words in ["activate loop", "setup --loop --data 100M --metadata 4M --yes", "deactivate loop"] {
            sh(
                "dmsetup remove --retry loop-web; dmsetup remove --retry loop; udevadm settle; losetup -D; udevadm settle",
            );
            dmtool("activate loop").assert().success();
            sh("dmsetup remove --retry loop-web && dmsetup remove --retry loop");
            left("loop", &table);
            dmtool(&format!("{words} --dry-run")).assert().success();
            dmtool(words).assert().success();
        }
        assert_eq!(up(), "", "deactivated");
        dmtool("activate loop").assert().success();
        sh("dmsetup remove --retry loop-web");
        left("loop-web", &thin);
        dmtool("deactivate loop").assert().success();
        dmtool("activate loop").assert().success();
        // Somebody else's is not touched, and said to be in the way.
        sh("dmsetup remove --retry loop-web && dmsetup remove --retry loop");
        sh(&format!("dmsetup create theirs --notable && dmsetup load theirs --table '{table}'"));
        dmtool("activate loop").assert().code(3).stderr(contains("is in use: something holds its loop device"));
        sh("dmsetup remove --retry theirs");
        dmtool("teardown loop --yes").assert().success();
        no_var();
    });
}
