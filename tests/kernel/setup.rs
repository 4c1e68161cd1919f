//! `dmtool setup` on blank disks: the end state as an operator would look at it.

use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// The parts of `lvs` that say what a pool is.
const LVS: &str = "lvs -a --noheadings --separator , -o lv_name,lv_size,segtype,chunk_size,zero,lv_profile,seg_monitor \
                   --units s docker | sort";

#[test]
fn a_blank_disk_ends_like_the_documented_recipe() {
    in_kernel(|| {
        sh("sh tests/recipe.sh /dev/xvdf");
        let by_hand = sh(LVS);
        let table = sh("dmsetup table docker-thinpool");
        assert!(table.contains(" 1024 0 1 skip_block_zeroing"), "the recipe leaves the mark at 0: {table}");
        sh("vgremove -qq -ff docker; pvremove -qq /dev/xvdf; rm /etc/lvm/profile/docker-thinpool.profile");
        dmtool("setup /dev/xvdf --yes")
            .assert()
            .success()
            .stdout(contains("docker/thinpool is ready: 3.79 GiB, active, monitored, extended at 80% by 20%."));
        // LVM's one command names the profile on the hidden volumes too.
        let strip = |text: &str| text.replace(",docker-thinpool,", ",,");
        assert_eq!(strip(&sh(LVS)), strip(&by_hand));
        assert_eq!(sh("lvs --noheadings -o lv_profile,seg_monitor docker/thinpool"), "docker-thinpool monitored");
        let table = sh("dmsetup table docker-thinpool");
        assert!(table.contains(" 1024 1553 1 skip_block_zeroing"), "{table}");
        let profile = sh("grep -v '^#' /etc/lvm/profile/docker-thinpool.profile | tr -d ' \t\n'");
        assert_eq!(profile, "activation{thin_pool_autoextend_threshold=80thin_pool_autoextend_percent=20}");
        assert_eq!(sh("vgs --noheadings -o vg_name,pv_count,lv_count"), "docker   1   1");
        assert!(sh("pgrep -x dmeventd").parse::<u32>().is_ok());
        sh("test -s /etc/lvm/backup/docker && ls /etc/lvm/archive/docker_*");
    });
}

#[test]
fn the_pool_holds_what_is_written() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh("lvcreate -qq -V 1G -T docker/thinpool -n v && mkfs.ext4 -q /dev/docker/v && mkdir -p /run/v && \
            mount /dev/docker/v /run/v && head -c 5000000 /dev/urandom > /run/v/f && md5sum < /run/v/f > /run/sum && \
            umount /run/v");
        sh("echo 3 > /proc/sys/vm/drop_caches; mount /dev/docker/v /run/v");
        assert_eq!(sh("md5sum < /run/v/f"), sh("cat /run/sum"));
        sh("umount /run/v");
    });
}

#[test]
fn a_second_run_changes_nothing() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --yes").assert().success();
        let (before, metadata) = (print_of("/dev/xvdi"), sh("vgs --noheadings -o vg_seqno docker"));
        let profile = sh("stat -c %i:%Y /etc/lvm/profile/docker-thinpool.profile");
        // No --yes: what has nothing to do does not ask.
        dmtool("setup /dev/xvdi").assert().success().stdout(contains("nothing was changed"));
        let (status, value) = json("setup /dev/xvdi");
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
        let steps = value["steps"].as_array().expect("steps");
        assert!(steps.iter().all(|step| step["status"] == "already"), "{value:#}");
        assert_eq!(sh("vgs --noheadings -o vg_seqno docker"), metadata);
        assert_eq!(sh("stat -c %i:%Y /etc/lvm/profile/docker-thinpool.profile"), profile);
        assert_eq!(print_of("/dev/xvdi"), before);
    });
}

#[test]
fn a_dry_run_shows_the_commands_and_changes_nothing() {
    in_kernel(|| {
        let before = print_of("/dev/xvdi");
        dmtool("setup /dev/xvdi --dry-run").assert().success().stdout(
            contains("1. vgcreate docker /dev/xvdi")
                .and(contains("2. write /etc/lvm/profile/docker-thinpool.profile (extend at 80% by 20%)"))
                .and(contains("lvcreate --yes --type thin-pool --name thinpool --extents 120")),
        );
        let (status, value) = json("setup /dev/xvdi -n");
        assert_eq!((status, &value["changed"], &value["dry_run"]), (0, &true.into(), &true.into()));
        assert_eq!(value["pool"], serde_json::Value::Null);
        let planned: Vec<_> = value["steps"].as_array().expect("steps").iter().map(|step| &step["command"]).collect();
        assert_eq!(print_of("/dev/xvdi"), before);
        assert_eq!(sh("ls /etc/lvm/profile | grep -c docker || true"), "0");
        assert_eq!(sh("dmsetup ls"), "No devices found");
        // What is printed is what runs.
        let (status, done) = json("setup /dev/xvdi --yes");
        assert_eq!((status, &done["changed"], &done["dry_run"]), (0, &true.into(), &false.into()));
        let done: Vec<_> = done["steps"].as_array().expect("steps").iter().map(|step| &step["command"]).collect();
        assert_eq!(done, planned);
        dmtool("setup /dev/xvdi -n").assert().success().stdout(contains("(done already)"));
    });
}

#[test]
fn the_printed_commands_do_by_hand_what_setup_does() {
    in_kernel(|| {
        let (_, value) = json("setup /dev/xvdf -n");
        for step in value["steps"].as_array().expect("steps") {
            let command = step["command"].as_str().expect("a command");
            if step["step"] == "write-profile" {
                sh("cp profiles/thinpool.profile /etc/lvm/profile/docker-thinpool.profile");
            } else {
                sh(command);
            }
        }
        let (status, value) = json("setup /dev/xvdf");
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
    });
}

#[test]
fn json_tells_the_pool() {
    in_kernel(|| {
        let (status, value) = json("setup /dev/xvdf --yes");
        assert_eq!(status, 0);
        assert_eq!((&value["dmtool"], &value["command"]), (&1.into(), &"setup".into()));
        let pool = &value["pool"];
        for (key, expected) in [
            ("name", serde_json::json!("docker/thinpool")),
            ("kind", "lvm".into()),
            ("dm_name", "docker-thinpool".into()),
            ("active", true.into()),
            ("mode", "rw".into()),
            ("chunk_bytes", 524_288.into()),
            ("zero", false.into()),
            ("when_full", "queue".into()),
            ("volumes", 0.into()),
            ("data_devices", serde_json::json!(["/dev/xvdf"])),
            ("data_file", serde_json::Value::Null),
        ] {
            assert_eq!(pool[key], expected, "{key}");
        }
        assert_eq!(pool["data"]["total_bytes"].to_string(), sh("blockdev --getsize64 /dev/mapper/docker-thinpool"));
        let autoextend = &pool["autoextend"];
        assert_eq!((&autoextend["threshold"], &autoextend["percent"]), (&80.into(), &20.into()));
        assert_eq!((&autoextend["monitored"], &autoextend["extensions_left"]), (&true.into(), &0.into()));
        let free = sh("vgs --noheadings --units b --nosuffix -o vg_free docker");
        assert_eq!(autoextend["free_bytes"].to_string(), free);
        let warnings = value["warnings"].to_string();
        assert!(warnings.contains("no room for an extension"), "{warnings}");
    });
}

#[test]
fn names_sizes_chunks_and_zeroing_are_as_asked() {
    in_kernel(|| {
        dmtool(
            "setup /dev/xvdf --yes --pool my-vg/thin-pool --data 50%VG --metadata 64M --chunk-size 128K --zero \
                --autoextend-threshold 70 --autoextend-percent 25",
        )
        .assert()
        .success()
        .stdout(contains("my-vg/thin-pool is ready"));
        let row = "lvs --noheadings --units m --nosuffix --separator , -o lv_size,lv_metadata_size,chunk_size,zero,lv_profile \
                   my-vg/thin-pool";
        assert_eq!(sh(row), "2044.00,64.00,0.12,zero,my--vg-thin--pool");
        let table = sh("dmsetup table my--vg-thin--pool");
        // 511 extents of 4 MiB are 16352 chunks, of which 30 % are above the threshold.
        assert!(table.ends_with(" 256 4905 0"), "{table}");
        assert!(sh("cat /etc/lvm/profile/my--vg-thin--pool.profile").contains("percent=25"));
        let (status, value) = json("setup /dev/xvdf --pool my-vg/thin-pool");
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
    });
}

#[test]
fn thresholds_that_differ_are_changed_down_to_the_table() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        let (status, value) = json("setup /dev/xvdf --yes --autoextend-threshold 60 --autoextend-percent 30");
        assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
        let table = sh("dmsetup table docker-thinpool");
        assert!(table.contains(" 1024 3107 1 "), "{table}");
        let effective = sh("lvmconfig --typeconfig full --metadataprofile docker-thinpool \
                            activation/thin_pool_autoextend_threshold activation/thin_pool_autoextend_percent");
        assert_eq!(effective, "thin_pool_autoextend_threshold=60\nthin_pool_autoextend_percent=30");
        // Nothing asked, nothing changed: the tuned values stay.
        let (status, value) = json("setup /dev/xvdf");
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
        dmtool("setup /dev/xvdf --yes --no-autoextend").assert().success().stdout(contains("not extended by itself"));
        assert!(sh("dmsetup table docker-thinpool").contains(" 1024 0 1 "));
        let (status, value) = json("setup /dev/xvdf --no-autoextend");
        assert_eq!((status, &value["changed"]), (0, &false.into()), "{value:#}");
    });
}

#[test]
fn what_cannot_be_changed_is_refused_by_name() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --yes").assert().success();
        let before = print_of("/dev/xvdi");
        for (words, reason) in [
            ("setup /dev/xvdi --yes --chunk-size 64K", "chunks of 512 KiB, which cannot be changed to 64 KiB"),
            ("setup /dev/xvdi --yes --zero", "does not zero new chunks"),
            ("setup /dev/xvdi /dev/xvdf --yes", "/dev/xvdf is not in the volume group docker"),
            ("setup /dev/xvdf --yes", "The volume group docker exists already, on /dev/xvdi"),
        ] {
            dmtool(words).assert().code(3).stderr(contains(reason));
        }
        // A size is for creation only.
        dmtool("setup /dev/xvdi --data 10%VG").assert().success().stdout(contains("nothing was changed"));
        assert_eq!(print_of("/dev/xvdi"), before);
    });
}

#[test]
fn a_terminal_is_asked_and_no_is_the_default() {
    in_kernel(|| {
        let before = print_of("/dev/xvdi");
        let dmtool_path = env!("CARGO_BIN_EXE_dmtool");
        let ask = |answer: &str| {
            try_sh(&format!(
                "rm -f /run/typed; ({ASKED}; printf '{answer}') | script -qefc 'stty cols 80; {dmtool_path} setup /dev/xvdi' /run/typed"
            ))
        };
        for answer in ["\\n", "n\\n"] {
            let (ok, said, _) = ask(answer);
            assert!(!ok && said.contains("not confirmed, nothing was changed"), "{answer}: {said}");
            assert!(said.contains("vgcreate docker /dev/xvdi") && said.contains("[y/N]"), "{said}");
            assert!(said.contains("This destroys everything on /dev/xvdi."), "{said}");
        }
        let (ok, said, _) = ask("\\003");
        assert!(!ok && said.contains("setup was interrupted, nothing was changed"), "{said}");
        assert_eq!(print_of("/dev/xvdi"), before);
        let (ok, said, _) = ask("y\\n");
        assert!(ok && said.contains("docker/thinpool is ready"), "{said}");
        sh("lvs docker/thinpool");
    });
}

#[test]
fn a_disk_of_300_mib_and_one_of_3_tib() {
    in_kernel(|| {
        dmtool("setup /dev/xvdj --yes --pool small/pool").assert().success();
        assert_eq!(sh("lvs --noheadings --units m -o lv_size,lv_metadata_size small/pool"), "280.00m 4.00m");
        // LVM zeroes all of the metadata, and these disks are in memory: the largest is only planned.
        dmtool("setup /dev/xvdk --pool large/pool --dry-run")
            .assert()
            .success()
            .stdout(contains("--extents 747109").and(contains("--poolmetadatasize 16580608k")));
        dmtool("setup /dev/xvdk --yes --pool large/pool --metadata 64M").assert().success();
        let sizes = sh("lvs --noheadings --units g -o lv_size,lv_metadata_size large/pool");
        assert_eq!(sizes, "2918.39g 0.06g");
    });
}

#[test]
fn a_sick_pool_is_not_called_well() {
    in_kernel(|| {
        dmtool("setup /dev/xvdf --yes").assert().success();
        sh("dmsetup suspend docker-thinpool");
        dmtool("setup /dev/xvdf").assert().success().stdout(contains("but its state is suspended"));
        sh("dmsetup resume docker-thinpool");
    });
}
