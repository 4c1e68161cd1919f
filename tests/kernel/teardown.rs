//! `dmtool teardown`: what is gone afterwards, what stays, and what is refused.

use super::configure::unmask_units;
use super::docker::import_busybox;
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// The first and the last MiB of a disk hold nothing, and nobody finds anything on it.
fn assert_blank(disk: &str) {
    let last = "$(( $(blockdev --getsize64 /dev/$d) / 1048576 - 1 ))";
    let found = sh(&format!(
        "d={disk}; blockdev --flushbufs /dev/$d; {{ dd if=/dev/$d bs=1M count=1 status=none; dd if=/dev/$d bs=1M count=1 skip={last} status=none; }} | tr -d '\\000' | wc -c; \
         wipefs -n /dev/$d; pvs --noheadings /dev/$d 2>/dev/null || true"
    ));
    assert_eq!(found, "0", "{disk}");
}

/// What a teardown must not leave.
fn assert_nothing_left() {
    assert_eq!(sh("dmsetup ls | grep -v '^No devices' || true; losetup -a; ls /var/lib/dmtool/teardown /var/lib/dmtool/pools 2>/dev/null || true; ls /etc/lvm/profile | grep '^docker' || true").replace("/var/lib/dmtool/teardown:", "").replace("/var/lib/dmtool/pools:", "").trim(), "");
}

#[test]
fn a_pool_of_lvm_goes_with_its_group() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf /dev/xvdg --data 50%VG --yes").assert().success();
        sh(
            "lvcreate -qq -V 64M -T docker/thinpool -n web 2>/dev/null && mkfs.ext4 -q /dev/docker/web && mkdir -p /run/web && mount /dev/docker/web /run/web && touch /run/web/x",
        );
        dmtool("teardown docker/thinpool --yes")
            .assert()
            .code(3)
            .stderr(contains("docker-web is mounted on /run/web").and(contains("nothing was changed")));
        sh("umount /run/web");
        dmtool("teardown docker/thinpool").assert().code(3).stderr(contains("needs a yes"));
        dmtool("teardown docker/web --yes").assert().code(3).stderr(contains("docker/web is no thin pool"));
        dmtool("teardown docker-thinpool --dry-run").assert().success().stdout(
            contains("lvremove --yes docker/thinpool")
                .and(contains("vgremove docker"))
                .and(contains("rm /etc/lvm/profile/docker-thinpool.profile")),
        );
        assert_eq!(sh("vgs --noheadings -o lv_count docker"), "2");
        let (status, value) = json("teardown docker/thinpool --yes");
        assert_eq!(
            (status, &value["changed"], &value["pool"]),
            (0, &true.into(), &serde_json::Value::Null),
            "{value:#}"
        );
        assert_nothing_left();
        assert_eq!(sh("vgs --noheadings 2>/dev/null"), "");
        assert_eq!(sh("pvs --noheadings -o pv_name,vg_name 2>/dev/null | xargs"), "/dev/xvdf /dev/xvdg");
        let (status, value) = json("teardown docker/thinpool --yes");
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
        dmtool("teardown docker/thinpool --dry-run").assert().success().stdout(contains("nothing to do"));
        // What is left is a setup that was begun.
        dmtool("setup /dev/xvdf /dev/xvdg --data 50%VG --yes").assert().success();
        dmtool("deactivate").assert().success();
        let (status, value) = json("teardown docker-thinpool --wipe-devices --yes");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "one that is down, {value:#}");
        assert_nothing_left();
        assert_blank("xvdf");
        assert_blank("xvdg");
        dmtool("setup /dev/xvdf --yes").assert().success();
        dmtool("check").assert().success();
    });
}

#[test]
fn what_is_somebody_elses_stays() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --data 50%VG --yes").assert().success();
        sh("lvcreate -qq -y -n mine -L 64M docker && echo mine > /dev/docker/mine");
        dmtool("teardown docker/thinpool --wipe-devices --yes")
            .assert()
            .code(3)
            .stderr(contains("docker has more in it (mine)"));
        // Another pool with this one's profile, and a profile with somebody's own settings.
        sh("lvcreate -qq --type thin-pool -n other -L 64M --metadataprofile docker-thinpool docker");
        let value = json("teardown docker/thinpool --yes").1;
        assert!(value["warnings"].to_string().contains("docker/other names it"), "{value:#}");
        assert_eq!(
            sh(
                "lvs --noheadings -o lv_name docker | xargs; head -c 4 /dev/docker/mine; ls /etc/lvm/profile/docker-thinpool.profile"
            ),
            "mine other\nmine/etc/lvm/profile/docker-thinpool.profile"
        );
        sh(
            "lvremove -qq -y docker/other; rm /etc/lvm/profile/docker-thinpool.profile; vgremove -qq -y docker; pvremove -qq /dev/xvdf",
        );
        // A disk that is gone, a repair that is not accepted.
        dmtool("setup /dev/xvdf /dev/xvdg --data 50%VG --yes").assert().success();
        sh("mkdir -p /var/lib/dmtool/repair && echo x > /var/lib/dmtool/repair/lvm-docker-thinpool.json");
        dmtool("teardown docker/thinpool --yes").assert().code(3).stderr(contains("tells of no repair"));
        sh("rm -r /var/lib/dmtool/repair");
        // A suspended pool, and one that is only a name.
        sh("dmsetup suspend docker-thinpool");
        dmtool("teardown docker/thinpool --yes").assert().code(3).stderr(contains("docker/thinpool is suspended"));
        sh("dmsetup resume docker-thinpool");
        sh("mkdir -p /etc/docker && echo '{' > /etc/docker/daemon.json");
        dmtool("teardown docker/thinpool --yes").assert().code(3).stderr(contains("could not be looked at"));
        sh("rm -r /etc/docker");
        // Docker's device, which nobody uses: its daemon is gone.
        sh(
            "dmsetup message docker-thinpool 0 'create_thin 1' && dmsetup create docker-8:1-2-abc --table '0 2048 thin /dev/mapper/docker-thinpool 1'",
        );
        dmtool("teardown docker/thinpool --wipe-devices --yes").assert().success();
        assert_nothing_left();
        assert_blank("xvdf");
        assert_blank("xvdg");
    });
}

#[test]
fn a_disk_that_is_somebodys_by_now_is_left_alone() {
    in_kernel(|| {
        // Two volumes of the names, and no pool of Docker's.
        sh(
            "vgcreate -qq vg /dev/xvdg && lvcreate -qq -y -n data -L 64M vg && lvcreate -qq -y -n metadata -L 8M vg && mkfs.ext4 -q /dev/vg/data",
        );
        dmtool("teardown vg/data --yes")
            .assert()
            .code(3)
            .stderr(contains("carries ext4").and(contains("not Docker's")));
        sh("mkfs.ext4 -q /dev/vg/metadata");
        dmtool("teardown vg/data --yes").assert().code(3).stderr(contains("no metadata of a pool"));
        sh("lvremove -qq -y vg/metadata");
        dmtool("teardown vg/data --yes").assert().code(3).stderr(contains("vg/data is no thin pool"));
        // A teardown that was cut off before its disk was blank; then somebody has put partitions on it.
        sh("vgcreate -qq docker /dev/xvdf && for i in $(seq 24); do vgchange -qq --addtag t$i docker; done");
        let uuid = sh("pvs --noheadings -o pv_uuid /dev/xvdf");
        sh(
            "vgremove -qq docker && pvremove -qq /dev/xvdf && printf 'label: gpt\\n,,L\\n' | sfdisk -q /dev/xvdf && mkdir -p /var/lib/dmtool/teardown",
        );
        let journal = format!(
            "{{\"dmtool\": 1, \"pool\": \"docker/thinpool\", \"volumes\": [], \"group_goes\": true, \"wipe\": true, \
             \"disks\": [{{\"path\": \"/dev/xvdf\", \"uuid\": \"{uuid}\"}}]}}"
        );
        std::fs::write("/var/lib/dmtool/teardown/docker-thinpool.json", journal).expect("the journal");
        assert!(try_sh(&format!("head -c 1M /dev/xvdf | grep -aq {uuid}")).0, "LVM's text outlives its label");
        let (status, value) = json("teardown docker/thinpool --wipe-devices --yes");
        assert!(status == 0 && value["warnings"].to_string().contains("no longer the disk"), "{value:#}");
        assert_eq!(sh("sfdisk -l /dev/xvdf | grep -c 'Linux filesystem'"), "1");
    });
}

#[test]
fn a_loop_pool_goes_with_its_files() {
    in_kernel(|| {
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("volume create loop web 16M --fs ext4").assert().success();
        sh("mkdir -p /run/web && mount /dev/mapper/loop-web /run/web");
        dmtool("teardown loop --yes").assert().code(3).stderr(contains("loop-web is mounted"));
        sh("umount /run/web; echo other > /var/lib/dmtool/loop/notes");
        dmtool("teardown loop --yes").assert().success();
        assert_nothing_left();
        assert_eq!(sh("ls /var/lib/dmtool/loop"), "notes");
        sh("rm -r /var/lib/dmtool/loop");
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
        dmtool("volume create loop web 16M").assert().success();
        dmtool("deactivate loop").assert().success();
        // Down, and its data file is another's by now.
        sh(
            "mv /var/lib/dmtool/loop/data /var/lib/dmtool/loop/was && cp --sparse=always /var/lib/dmtool/loop/was /var/lib/dmtool/loop/data",
        );
        dmtool("teardown loop --yes").assert().code(3).stderr(contains("another file than the one in the register"));
        sh("mv /var/lib/dmtool/loop/was /var/lib/dmtool/loop/data");
        dmtool("teardown loop --yes").assert().success();
        assert_nothing_left();
        assert!(!try_sh("ls -d /var/lib/dmtool/loop").0);
        assert_eq!(json("teardown loop --yes").1["changed"], false);
        dmtool("setup --loop --data 256M --metadata 8M --yes").assert().success();
    });
}

#[test]
fn a_bare_table_on_volumes() {
    in_kernel(|| {
        sh("vgcreate -qq vg /dev/xvdf && lvcreate -qq -y -n d -L 128M vg && lvcreate -qq -y -n m -L 8M vg");
        sh("dmsetup create rawpool --table '0 262144 thin-pool /dev/vg/m /dev/vg/d 128 0'");
        dmtool("teardown rawpool --wipe-devices --yes")
            .assert()
            .code(3)
            .stderr(contains("in no register").and(contains("--remember")));
        dmtool("activate rawpool --remember").assert().success();
        sh(
            "dmsetup message rawpool 0 'create_thin 0' && dmsetup create t --table '0 8192 thin /dev/mapper/rawpool 0' && mkfs.ext4 -q /dev/mapper/t && udevadm settle",
        );
        dmtool("teardown rawpool --yes").assert().success();
        assert_eq!(sh("dmsetup ls | sort | cut -f1 | xargs; ls /var/lib/dmtool/pools"), "vg-d vg-m");
        assert_ne!(sh("head -c 4096 /dev/vg/m | tr -d '\\000' | wc -c"), "0", "without --wipe-devices it stays");
        sh("dmsetup create rawpool --table '0 262144 thin-pool /dev/vg/m /dev/vg/d 128 0'");
        dmtool("activate rawpool --remember").assert().success();
        dmtool("teardown rawpool --wipe-devices --yes").assert().success();
        for device in ["vg/m", "vg/d"] {
            assert_eq!(
                sh(&format!(
                    "head -c 1M /dev/{device} | tr -d '\\000' | wc -c; tail -c 1M /dev/{device} | tr -d '\\000' | wc -c"
                )),
                "0\n0"
            );
        }
    });
}

/// Killed with a write that is to reach a disk, or with a file that goes: with each of the first, then with every fifth.
/// Run again, it goes on there.
#[test]
fn a_teardown_that_was_cut_off_is_finished() {
    in_kernel(|| {
        for kind in ["lvm", "loop"] {
            let (setup, teardown) = match kind {
                "lvm" => ("setup /dev/xvdf --for docker --yes", "teardown docker/thinpool --wipe-devices --yes"),
                _ => ("setup --loop --data 64M --metadata 4M --for docker --yes", "teardown loop --wipe-devices --yes"),
            };
            let (mut cuts, mut number) = (0, 1);
            let calls = "fsync,unlink,unlinkat,rmdir";
            let binary = env!("CARGO_BIN_EXE_dmtool");
            loop {
                sh("rm -rf /etc/docker");
                dmtool(setup).assert().success();
                let line = format!(
                    "strace -f -qq -o /dev/null -e trace={calls} -e inject={calls}:signal=KILL:when={number} \
                     {binary} {teardown} >/dev/null 2>&1"
                );
                let (ended_well, ..) = try_sh(&line);
                let (status, value) = json(teardown);
                assert_eq!(status, 0, "{kind}, call {number}: {value:#}");
                assert_nothing_left();
                assert!(!sh("cat /etc/docker/daemon.json").contains("thinpool"), "{kind}, call {number}");
                if kind == "lvm" {
                    assert_blank("xvdf");
                } else {
                    assert!(!try_sh("ls -d /var/lib/dmtool/loop").0, "call {number}");
                }
                if ended_well {
                    break;
                }
                cuts += 1;
                number += if number < 4 { 1 } else { 5 };
            }
            println!("{kind}: {cuts} cuts, fewer than {number} such calls");
            assert!(cuts > 3, "{kind}: {cuts}");
        }
        sh("rm -rf /etc/docker");
    });
}

#[test]
fn what_docker_and_containerd_ran_on() {
    boots(|machine| {
        machine.systemd("", || {
            unmask_units();
            sh("mkfs.ext4 -q /dev/xvdh && mkdir -p /srv && mount /dev/xvdh /srv && mkdir -p /etc/docker");
            let others = "{\n  \"bridge\": \"none\",\n  \"iptables\": false,\n  \"data-root\": \"/srv/docker\"\n}\n";
            for (setup, teardown) in [
                ("setup /dev/xvdf --for docker --restart --yes", "teardown docker/thinpool --wipe-devices --yes"),
                ("setup /dev/xvdf --two-volumes --for docker --restart --yes", "teardown vg-docker/data --wipe-devices --yes"),
            ] {
                std::fs::write("/etc/docker/daemon.json", others).expect("daemon.json");
                let (status, value) = json(setup);
                assert_eq!(status, 0, "{value:#} {}", sh("journalctl -b -u docker --no-pager | tail -20"));
                import_busybox();
                assert_eq!(sh("/usr/bin/docker run --network none busy sh -c 'echo inside'"), "inside");
                dmtool(teardown).assert().code(3).stderr(contains("Docker runs").and(contains("systemctl stop docker.socket docker")));
                sh("systemctl stop docker.socket docker");
                let (status, value) = json(teardown);
                assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
                assert_eq!(sh("cat /etc/docker/daemon.json"), others.trim_end());
                assert_nothing_left();
                assert_blank("xvdf");
                sh("rm -rf /srv/docker /etc/docker/daemon.json*; systemctl reset-failed");
            }
            sh("systemctl stop containerd; mkdir -p /var/lib/containerd /srv/containerd && mount --bind /srv/containerd /var/lib/containerd");
            let before = sh("cat /etc/containerd/config.toml");
            dmtool("setup /dev/xvdf --for containerd --restart --yes").assert().success();
            super::containerd::run_one();
            dmtool("teardown docker/thinpool --yes").assert().code(3).stderr(contains("containerd runs and is configured"));
            sh("systemctl stop containerd");
            let (status, value) = json("teardown docker/thinpool --wipe-devices --yes");
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
            assert_eq!(sh("cat /etc/containerd/config.toml"), before);
            assert_nothing_left();
            assert_blank("xvdf");
            unmount("/var/lib/containerd");
            unmount("/srv");
        });
    });
}

#[test]
fn a_look_that_was_killed_is_not_in_the_way() {
    in_kernel(|| {
        // Through such a device dmtool reads the metadata of a pool that is down. Killed before it has opened that it leaves it.
        let table = "0 8192 linear /dev/xvdi 2048";
        let left =
            |process: &str| format!("dmsetup create dmtool-look-{process} --uuid DMTOOL-look-{process} --readonly");
        let ended = sh("sh -c 'echo $$'");
        for half in ["--notable".to_owned(), format!("--table '{table}'")] {
            dmtool("setup /dev/xvdi --yes").assert().success();
            dmtool("deactivate").assert().success();
            sh(&format!("{} {half}", left(&ended)));
            dmtool("teardown docker/thinpool --wipe-devices --yes").assert().success();
            assert_eq!(sh("dmsetup ls; wipefs --noheadings /dev/xvdi"), "No devices found", "{half}");
            // Who only looks at the plan is not refused either.
            sh(&format!("{} {half}", left(&ended)));
            dmtool("setup /dev/xvdi --dry-run").assert().success();
        }
        // That of a process that is there is in the way, and stays.
        sh("sleep 1000 > /dev/null 2>&1 & echo $! > /run/looks");
        let looks = sh("cat /run/looks");
        sh(&format!("{} --table '{table}'", left(&looks)));
        dmtool("setup /dev/xvdi --yes").assert().code(3).stderr(contains(format!("dmtool-look-{looks}")));
        sh("kill $(cat /run/looks)");
        dmtool("setup /dev/xvdi --yes").assert().success();
    });
}
