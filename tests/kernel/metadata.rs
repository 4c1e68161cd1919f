//! `dmtool metadata check`, `dump` and `restore`, transaction ids that differ, and metadata that is full.

use super::kinds::{KINDS, Kind, repair};
use super::register::{no_var, var};
use crate::harness::metadata::Part;
use crate::harness::*;
use crate::matrix::trace::{Tamper, learn, tampered};
use predicates::prelude::*;
use predicates::str::contains;

/// The block of the metadata snapshot that a pool holds.
pub fn held(dm_name: &str) -> String {
    sh(&format!("dmsetup status {dm_name} | awk '{{print $7}}'"))
}

fn dm_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Lvm => "vg-pool-tpool",
        Kind::Loop => "loop",
        Kind::Raw => "bare",
    }
}

#[test]
fn a_pool_that_is_up_and_one_that_is_down() {
    in_kernel(|| {
        for kind in KINDS {
            kind.make();
            let (pool, name) = (kind.pool(), dm_name(kind));
            let (status, value) = json(&format!("metadata check {pool}"));
            assert_eq!(
                (status, &value["status"], &value["through_snapshot"]),
                (0, &"clean".into(), &true.into()),
                "{value:#}"
            );
            assert_eq!(held(name), "-");
            dmtool(&format!("metadata dump {pool} /var/lib/dmtool/live.xml")).assert().success();
            assert_eq!(held(name), "-");
            assert_eq!(sh("stat -c %a /var/lib/dmtool/live.xml; ls /var/lib/dmtool/snapshots"), "600");
            // One that is there is left alone, and the reader may go away.
            dmtool(&format!("metadata dump {pool} /var/lib/dmtool/live.xml"))
                .assert()
                .code(3)
                .stderr(contains("is there already"));
            sh(&format!("{} metadata dump {pool} | head -n 1 | grep superblock", env!("CARGO_BIN_EXE_dmtool")));
            dmtool(&format!("metadata dump {pool} --json")).assert().code(2);
            assert_eq!(held(name), "-");
            // Somebody else's snapshot is left alone.
            sh(&format!("dmsetup message {name} 0 reserve_metadata_snap"));
            let theirs = held(name);
            dmtool(&format!("metadata check {pool}")).assert().code(3).stderr(contains("somebody else holds"));
            assert_eq!(held(name), theirs);
            sh(&format!("dmsetup message {name} 0 release_metadata_snap"));
            kind.down();
            let (status, value) = json(&format!("metadata check {pool}"));
            assert_eq!(
                (status, &value["status"], &value["through_snapshot"]),
                (0, &"clean".into(), &false.into()),
                "{value:#}"
            );
            dmtool(&format!("metadata dump {pool} /var/lib/dmtool/down.xml")).assert().success();
            sh("cd /var/lib/dmtool && cmp live.xml down.xml");
            let before = kind.metadata().sum();
            kind.metadata().damage(Part::Maps);
            dmtool(&format!("metadata check {pool}")).assert().code(1).stdout(contains("is damaged"));
            dmtool(&format!("metadata dump {pool} /var/lib/dmtool/bad.xml"))
                .assert()
                .code(1)
                .stderr(contains("metadata check"));
            assert!(!try_sh("ls /var/lib/dmtool/*bad.xml* /var/lib/dmtool/.*bad*").0, "nothing is left of it");
            kind.metadata().damage(Part::Maps);
            assert_eq!(kind.metadata().sum(), before, "turned over twice");
            sh("rm /var/lib/dmtool/*.xml");
            kind.gone();
        }
    });
}

/// A thin_check that takes its time: as long as /run/slow is there.
fn slow_thin_check() {
    sh(
        "mv /usr/sbin/thin_check /run/ && printf '#!/bin/sh\\nwhile [ \"$1\" != -V ] && [ -e /run/slow ]; do sleep 0.1; done\\nexec /usr/sbin/pdata_tools thin_check \"$@\"\\n' > /usr/sbin/thin_check && chmod +x /usr/sbin/thin_check",
    );
}

/// The guest is for other tests, too.
fn thin_check_as_it_was() {
    sh("rm -f /run/slow; mv /run/thin_check /usr/sbin/thin_check");
}

/// Begins a look at metadata that takes its time, and waits until it has its snapshot.
fn begin_slowly(words: &str) {
    sh(&format!("touch /run/slow; {} {words} > /run/said 2>&1 & echo $! > /run/pid", env!("CARGO_BIN_EXE_dmtool")));
    wait_until("a snapshot is held", || held(dm_name(Kind::Lvm)) != "-");
    // And has it written down.
    wait_until("thin_check runs", || try_sh("pgrep -f 'thin_chec[k].*metadata-snap'").0);
}

const UNTIL_IT_IS_GONE: &str = "while [ -e /proc/$(cat /run/pid) ]; do sleep 0.1; done";

#[test]
fn a_snapshot_of_a_killed_run_is_released_by_the_next() {
    in_kernel(|| {
        let kind = Kind::Lvm;
        kind.make();
        let name = dm_name(kind);
        for (call, number) in [("fsync", 1), ("fsync", 2), ("fsync", 3), ("execve", 2)] {
            let dmtool = env!("CARGO_BIN_EXE_dmtool");
            try_sh(&format!(
                "strace -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={number} {dmtool} metadata check vg/pool > /dev/null 2>&1"
            ));
            let (status, value) = json("metadata check vg/pool");
            assert_eq!(status, 0, "{call} {number}: {value:#}");
            assert_eq!(
                (held(name).as_str(), sh("ls /var/lib/dmtool/snapshots").as_str()),
                ("-", ""),
                "{call} {number}"
            );
        }
        // A thin_check that takes its time, and a dmtool that is killed meanwhile, or asked to end.
        slow_thin_check();
        let begin = || begin_slowly("metadata check vg/pool");
        begin();
        assert!(!found("").1.contains(&"metadata-snapshot-held".to_owned()), "it is at work");
        sh(&format!("kill -9 $(cat /run/pid); {UNTIL_IT_IS_GONE}; rm /run/slow"));
        wait_until("thin_check is gone", || !try_sh("pgrep -f 'thin_chec[k].*metadata-snap'").0);
        let ours = held(name);
        assert_ne!(ours, "-", "nobody releases it but the next run");
        dmtool("check").assert().stdout(contains("a dmtool was killed").and(contains("dmtool metadata check vg/pool")));
        // Another one, reserved by somebody else since, is theirs.
        sh("cp -a /var/lib/dmtool/snapshots /run/left");
        dmtool("metadata check vg/pool").assert().success();
        assert_eq!(held(name), "-");
        sh(
            "dd if=/dev/urandom of=/dev/vg/a bs=64K count=1 seek=3000 oflag=direct status=none; dmsetup message vg-pool-tpool 0 'create_thin 77'; dmsetup message vg-pool-tpool 0 reserve_metadata_snap",
        );
        let theirs = held(name);
        if theirs != ours {
            sh("cp -a /run/left/* /var/lib/dmtool/snapshots/");
            dmtool("metadata check vg/pool").assert().code(3).stderr(contains("somebody else holds"));
            assert_eq!(held(name), theirs);
        }
        sh("dmsetup message vg-pool-tpool 0 release_metadata_snap; dmsetup message vg-pool-tpool 0 'delete 77'");
        // What is read after somebody released it is nothing.
        begin();
        sh(&format!("dmsetup message vg-pool-tpool 0 release_metadata_snap; rm /run/slow; {UNTIL_IT_IS_GONE}"));
        assert!(sh("cat /run/said").contains("somebody released the metadata snapshot"), "{}", sh("cat /run/said"));
        begin();
        sh(&format!("kill -TERM $(cat /run/pid); {UNTIL_IT_IS_GONE}; rm /run/slow"));
        assert_eq!(
            (held(name).as_str(), sh("cat /run/said")),
            ("-", "error: metadata check was interrupted, nothing was changed".to_owned())
        );
        thin_check_as_it_was();
        kind.gone();
    });
}

/// The kernel writes that a snapshot is held before it counts what that keeps. Cut off in between by a power cut, to release
/// it would give up the maps of the pool itself.
#[test]
fn a_snapshot_from_before_a_power_cut_is_released_when_it_is_known_to_count() {
    in_kernel(|| [Kind::Loop, Kind::Lvm].into_iter().for_each(a_snapshot_from_before));
}

fn a_snapshot_from_before(kind: Kind) {
    kind.make();
    let (name, pool) = (dm_name(kind), kind.pool());
    let note = format!("/var/lib/dmtool/snapshots/snapshot-{name}.json");
    let words = format!("metadata check {pool}");
    // As a run leaves it that is killed right at the reservation, then with the words of an earlier boot.
    let path = env!("CARGO_BIN_EXE_dmtool");
    let reserves = learn(path, &words).expect("an undisturbed run");
    let reserves = reserves.iter().find(|place| place.text.contains("DM_TARGET_MSG")).expect("a message").clone();
    let left = |boot: &str| {
        tampered(path, &words, &reserves, Tamper::Signal("KILL")).expect("an end");
        sh(&format!("grep -q '\"block\": null' {note}"));
        if held(name) == "-" {
            sh(&format!("dmsetup message {name} 0 reserve_metadata_snap"));
        }
        if !boot.is_empty() {
            sh(&format!("sed -i 's/\"boot\": \".*\"/\"boot\": \"{boot}\"/' {note}"));
        }
    };
    left("");
    dmtool(&words).assert().success();
    assert_eq!(held(name), "-");
    left("another");
    let block = held(name);
    assert_ne!(block, "-");
    for words in [words.as_str(), "check --metadata"] {
        let assert = dmtool(words).assert().code(3);
        let output = assert.get_output();
        let said = [output.stdout.clone(), output.stderr.clone()].concat();
        let said = String::from_utf8_lossy(&said).replace("\n    ", " ");
        assert!(said.contains("was being reserved when the host went down"), "{words}: {said}");
        assert_eq!(held(name), block);
    }
    kind.down();
    dmtool(&words).assert().success();
    kind.up();
    dmtool(&words).assert().success();
    assert_eq!(held(name), "-");
    // To bring it up has it checked, too; LVM may have skipped that.
    left("another");
    kind.down();
    kind.up();
    dmtool(&words).assert().code(if kind == Kind::Lvm { 3 } else { 0 });
    assert_eq!(held(name) == "-", kind != Kind::Lvm);
    // Nor once the pool went on.
    if kind == Kind::Lvm {
        sh("lvcreate -qq -V 8m -T vg/pool -n more 2>/dev/null && lvremove -qq -f vg/more");
        dmtool(&words).assert().code(3).stderr(contains("was being reserved when the host went down"));
        dmtool("check").assert().stdout(contains("hint: dmtool metadata check vg/pool"));
        kind.down();
        dmtool(&words).assert().success();
        kind.up();
        dmtool(&words).assert().code(3).stderr(contains("somebody else holds"));
        sh(&format!("dmsetup message {name} 0 release_metadata_snap"));
    }
    kind.assert_whole("b");
    kind.gone();
}

/// The words of the findings of a pool, and the exit status.
fn found(words: &str) -> (i32, Vec<String>) {
    let (status, value) = json(&format!("check {words}"));
    let findings = value["findings"].as_array().expect("findings");
    (status, findings.iter().map(|finding| finding["code"].as_str().expect("a code").to_owned()).collect())
}

#[test]
fn check_has_all_metadata_looked_at_where_that_is_asked() {
    in_kernel(|| {
        let has = |words: &str, code: &str| found(words).1.iter().any(|found| found == code);
        for kind in KINDS {
            kind.make();
            let (pool, name) = (kind.pool(), dm_name(kind));
            let deep = format!("{pool} --metadata");
            assert_eq!(found(&deep), found(pool), "{kind:?}: nothing else is found of a whole one");
            if kind != Kind::Lvm {
                dmtool(&format!("check {deep}")).assert().stdout(contains("finds its maps whole"));
            }
            assert_eq!(json(&format!("check {deep} --dry-run")).0, found(pool).0);
            sh(&format!("dmsetup message {name} 0 reserve_metadata_snap"));
            let theirs = held(name);
            assert!(has(&deep, "could-not-look") && !has(pool, "could-not-look"), "{kind:?}");
            assert_eq!(held(name), theirs, "{kind:?}: somebody else's stays");
            let (status, value) = json(&format!("metadata check {pool} --dry-run"));
            assert_eq!((status, &value["dry_run"], &value["pool"]["name"]), (0, &true.into(), &pool.into()));
            dmtool("metadata dump nowhere /run/none --dry-run").assert().code(3).stderr(contains("there is no pool"));
            sh(&format!("dmsetup message {name} 0 release_metadata_snap"));
            if kind == Kind::Raw {
                // The kernel knows that leaf by heart; it is gone with the next boot.
                sh("sync; echo 3 > /proc/sys/vm/drop_caches");
                kind.metadata().damage(Part::Leaf);
                assert!(!has(pool, "activation-check-failed"));
                dmtool(&format!("check {deep}")).assert().code(2).stdout(contains("while it is up"));
                assert_eq!(held(name), "-");
                kind.metadata().damage(Part::Leaf);
            }
            kind.down();
            assert!(!has(&deep, "activation-check-failed"), "{kind:?}");
            kind.metadata().damage(Part::Maps);
            assert_eq!(has(pool, "activation-check-failed"), kind == Kind::Lvm, "a bare pool's is looked at on demand");
            assert!(has(&deep, "activation-check-failed"), "{kind:?}");
            dmtool(&format!("check {deep}")).assert().code(2).stdout(contains(format!("dmtool repair {pool}")));
            kind.metadata().damage(Part::Maps);
            kind.gone();
        }
        // Asked for an end, it leaves no snapshot behind.
        Kind::Lvm.make();
        slow_thin_check();
        begin_slowly("check --metadata");
        sh(&format!("kill -TERM $(cat /run/pid); {UNTIL_IT_IS_GONE}"));
        assert_eq!(held(dm_name(Kind::Lvm)), "-");
        assert!(sh("cat /run/said").contains("check was interrupted"), "{}", sh("cat /run/said"));
        thin_check_as_it_was();
    });
}

#[test]
fn a_dump_is_restored() {
    in_kernel(|| {
        for kind in KINDS {
            kind.make();
            let pool = kind.pool();
            dmtool(&format!("metadata dump {pool} /var/lib/dmtool/good.xml")).assert().success();
            dmtool(&format!("metadata restore {pool} /var/lib/dmtool/good.xml --yes"))
                .assert()
                .code(3)
                .stderr(contains("is up"));
            kind.down();
            let before = kind.metadata().sum();
            // What is no dump of this pool.
            for (make, said) in [
                ("echo hello > bad.xml", "is no dump"),
                ("head -c 1500 good.xml > bad.xml", "is no dump"),
                ("head -c 64K /dev/urandom > bad.xml", "is no dump"),
                ("rm bad.xml", "No such file"),
                (
                    "sed 's/data_block_size=\"128\"/data_block_size=\"1024\"/' good.xml > bad.xml",
                    "it is another pool's",
                ),
                (
                    "sed 's/nr_data_blocks=\"[0-9]*\"/nr_data_blocks=\"999999\"/' good.xml > bad.xml",
                    "it is another pool's",
                ),
            ]
            .into_iter()
            .filter(|_| kind == Kind::Lvm)
            {
                sh(&format!("cd /var/lib/dmtool && {make}"));
                dmtool(&format!("metadata restore {pool} /var/lib/dmtool/bad.xml --yes"))
                    .assert()
                    .code(3)
                    .stderr(contains(said));
                assert_eq!(kind.metadata().sum(), before, "{kind:?} {make}");
            }
            if kind == Kind::Lvm {
                sh("cd /var/lib/dmtool && sed '1s/transaction=\"2\"/transaction=\"9\"/' good.xml > bad.xml");
                dmtool("metadata restore vg/pool /var/lib/dmtool/bad.xml --yes")
                    .assert()
                    .code(3)
                    .stderr(contains("LVM expects 2"));
            }
            dmtool(&format!("metadata restore {pool} /var/lib/dmtool/good.xml"))
                .assert()
                .code(3)
                .stderr(contains("needs a yes"));
            // Into metadata that nothing can be read of any more.
            kind.metadata().damage(Part::All);
            kind.metadata().damage(Part::Superblock);
            let restore = format!("metadata restore {pool} /var/lib/dmtool/good.xml --yes");
            let (status, value) = json(&restore);
            assert_eq!((status, &value["repair"]["stage"]), (0, &"swapped".into()), "{kind:?} {value:#}");
            assert_eq!(json(&restore).1["changed"], false, "{kind:?}");
            kind.up();
            kind.assert_whole("a");
            kind.assert_whole("b");
            kind.down();
            dmtool(&format!("repair {pool} --accept --yes")).assert().success();
            sh("rm -f /var/lib/dmtool/*.xml");
            kind.gone();
        }
    });
}

/// Another dump under its name is not in place, and what is made on the way is not somebody's file.
#[test]
fn a_dump_is_known_by_what_is_in_it() {
    in_kernel(|| {
        for kind in KINDS {
            kind.make();
            let pool = kind.pool();
            let restore = format!("metadata restore {pool} /var/lib/dmtool/good.xml --yes");
            dmtool(&format!("metadata dump {pool} /var/lib/dmtool/good.xml")).assert().success();
            kind.down();
            dmtool(&restore).assert().success();
            sh("cd /var/lib/dmtool && cp good.xml kept.xml && echo '<!-- -->' >> good.xml");
            dmtool(&restore).assert().code(3).stderr(contains("neither accepted nor undone"));
            sh("cd /var/lib/dmtool && rm good.xml");
            dmtool(&restore).assert().code(3).stderr(contains("No such file"));
            sh("cd /var/lib/dmtool && mv kept.xml good.xml");
            assert_eq!(json(&restore).1["changed"], false, "{kind:?}");
            dmtool(&format!("repair {pool} --accept --yes")).assert().success();
            let copy = format!("/run/{}.new.xml", pool.replace('/', "-"));
            sh(&format!("cp /var/lib/dmtool/good.xml {copy}"));
            dmtool(&format!("metadata restore {pool} {copy} --backup-dir /run --yes")).assert().success();
            assert_eq!(sh(&format!("md5sum < {copy}")), sh("md5sum < /var/lib/dmtool/good.xml"));
            sh(&format!("rm {copy}"));
            kind.up();
            kind.assert_whole("a");
            kind.down();
            dmtool(&format!("repair {pool} --accept --yes")).assert().success();
            sh("rm -f /var/lib/dmtool/*.xml");
            kind.gone();
        }
    });
}

#[test]
fn a_full_disk_while_dumping() {
    in_kernel(|| {
        let kind = Kind::Lvm;
        kind.make();
        // Many short ranges make a long dump.
        let volume = std::fs::OpenOptions::new().write(true).open("/dev/vg/a").expect("the volume");
        for chunk in (0..3000).step_by(2) {
            std::os::unix::fs::FileExt::write_all_at(&volume, b"x", chunk * 65536).expect("written");
        }
        volume.sync_all().expect("synced");
        drop(volume);
        sh("mkdir -p /run/small && mount -t tmpfs -o size=16K none /run/small");
        dmtool("metadata dump vg/pool /run/small/x").assert().code(1).stderr(contains("could not be dumped"));
        assert_eq!(sh("ls -A /run/small"), "", "nothing is left of it");
        assert_eq!(held("vg-pool-tpool"), "-");
        sh("umount /run/small");
        kind.gone();
    });
}

#[test]
fn a_loop_pool_on_tmpfs() {
    in_kernel(|| {
        var();
        sh("mkdir -p /run/t && mount -t tmpfs -o size=200M none /run/t");
        dmtool("setup --loop --pool t --dir /run/t/pool --data 64M --metadata 4M --yes").assert().success();
        dmtool("volume create t v 32M --fs ext4").assert().success();
        dmtool("metadata check t").assert().success();
        dmtool("metadata dump t /run/t/x.xml").assert().success();
        dmtool("deactivate t").assert().success();
        dmtool("metadata check t").assert().success();
        let metadata = crate::harness::metadata::Metadata::of("/run/t/pool/metadata");
        metadata.damage(Part::DataMap);
        dmtool("metadata check t").assert().code(1);
        let (status, value) = json("repair t --yes --backup-dir /run/t");
        assert_eq!((status, &value["repair"]["stage"]), (0, &"swapped".into()), "{value:#}");
        dmtool("activate t").assert().success();
        sh("e2fsck -fn /dev/mapper/t-v");
        dmtool("deactivate t").assert().success();
        dmtool("repair t --accept --yes").assert().success();
        assert_eq!(sh("losetup -a"), "", "no loop device is left");
        sh("rm -r /run/t/pool; umount /run/t; rm -rf /var/lib/dmtool/pools");
        no_var();
    });
}

#[test]
fn transaction_ids_that_differ() {
    in_kernel(|| {
        let kind = Kind::Lvm;
        kind.make();
        // Somebody else made a volume in the pool.
        sh(
            "dmsetup message vg-pool-tpool 0 'create_thin 7' && dmsetup message vg-pool-tpool 0 'set_transaction_id 2 5'",
        );
        kind.down();
        assert!(!try_sh("lvchange -ay vg/pool").0, "LVM refuses it");
        let before = kind.metadata().sum();
        let value = repair(kind, "").1;
        let error = &value["error"];
        assert_eq!(error["kind"], "refused", "{value:#}");
        let causes = error["causes"].to_string();
        assert!(
            causes.contains("id is 5, LVM expects 2: the pool is ahead") && causes.contains("thin ids 7"),
            "{causes}"
        );
        assert_eq!(kind.metadata().sum(), before);
        // The procedure, as it is printed.
        let hint = error["hint"].as_str().expect("a procedure").to_owned();
        let commands: Vec<&str> = hint.lines().skip(1).map(str::trim).collect();
        assert_eq!(commands.len(), 4, "{hint}");
        super::health::run(&commands.join("\n").replace("\ndmtool", " 2>&1\ndmtool"));
        sh("lvchange -qq -ay vg/a vg/b");
        kind.assert_whole("a");
        kind.assert_whole("b");
        // The other way round: the pool is older than LVM.
        dmtool("metadata dump vg/pool /var/lib/dmtool/old.xml").assert().success();
        sh("for n in 1 2 3; do lvcreate -qq -V 10m -T vg/pool -n new$n 2>/dev/null; done");
        kind.down();
        sh(
            "truncate -s 4M /var/lib/dmtool/n && thin_restore -i /var/lib/dmtool/old.xml -o /var/lib/dmtool/n >/dev/null",
        );
        kind.metadata().put_back("/var/lib/dmtool/n");
        let value = repair(kind, "").1;
        let causes = value["error"]["causes"].to_string();
        assert!(
            causes.contains("LVM is ahead") && causes.contains("not in the pool: vg/new1, vg/new2, vg/new3"),
            "{causes}"
        );
        let hint = value["error"]["hint"].as_str().expect("a procedure").to_owned();
        let commands: Vec<&str> = hint.lines().skip(1).map(str::trim).collect();
        super::health::run(&commands.join("\n"));
        sh("lvchange -qq -ay vg/a vg/b");
        kind.assert_whole("b");
        kind.gone();
    });
}

/// Metadata without a free block, made by hand: many volumes that share all chunks.
fn fill(kind: Kind) {
    let device = |id: u32| {
        format!(
            "<device dev_id=\"{id}\" mapped_blocks=\"4800\" transaction=\"0\" creation_time=\"0\" snap_time=\"0\"><range_mapping origin_begin=\"0\" data_begin=\"0\" length=\"4800\" time=\"0\"/></device>"
        )
    };
    let transaction = if kind == Kind::Lvm { 2 } else { 0 };
    let full = (8..60).rev().find(|count| {
        let first = u32::from(kind == Kind::Lvm);
        let devices: String = (first..first + *count).map(device).collect();
        std::fs::write(
            "/var/lib/dmtool/full.xml",
            format!("<superblock uuid=\"\" time=\"1\" transaction=\"{transaction}\" flags=\"0\" version=\"2\" data_block_size=\"128\" nr_data_blocks=\"4800\">{devices}</superblock>"),
        )
        .expect("a dump");
        try_sh("rm -f /var/lib/dmtool/n; truncate -s 4M /var/lib/dmtool/n && thin_restore -i /var/lib/dmtool/full.xml -o /var/lib/dmtool/n").0
    });
    assert!(full.is_some(), "nothing fits");
    kind.metadata().put_back("/var/lib/dmtool/n");
}

#[test]
fn metadata_that_is_full_to_the_last_block_and_marked() {
    in_kernel(|| {
        for kind in KINDS {
            kind.make();
            kind.down();
            fill(kind);
            kind.metadata().mark();
            let pool = kind.pool();
            let (status, value) = repair(kind, "");
            assert_eq!(status, 0, "{kind:?} {value:#}");
            let steps = value["steps"].to_string();
            let step = match kind {
                Kind::Lvm => "extend-metadata",
                Kind::Loop => "grow-file",
                Kind::Raw => "extend-volume",
            };
            assert!(steps.contains(step), "{steps}");
            let status = sh("dmsetup status --target thin-pool");
            assert!(status.contains(" rw ") && status.contains("/2048 "), "{kind:?} {status}");
            assert_eq!(repair(kind, "").1["changed"], false, "{kind:?}");
            // Full and not marked: it needs room and no repair.
            kind.down();
            dmtool(&format!("activate {pool}")).assert().success();
            kind.gone();
        }
    });
}
