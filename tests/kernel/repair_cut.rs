//! Repairs that are cut off: dmtool is killed at one call after the other, and the kernel crashes. Run again, each ends
//! well. More places, and the other verbs, are those of `make torture`.

use super::kinds::{Kind, repair};
use super::register::var;
use crate::harness::metadata::Part;
use crate::harness::*;
use crate::matrix::trace::{Place, Tamper, learn, tampered};
use predicates::prelude::*;
use predicates::str::contains;

/// Runs dmtool and kills it at the call with this number (of each of its threads); whether it came that far.
fn killed_at(words: &str, call: &str, number: u32) -> bool {
    let dmtool = env!("CARGO_BIN_EXE_dmtool");
    let status = sh(&format!(
        "strace -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={number} {dmtool} {words} --yes > /dev/null 2>&1; echo $?"
    ));
    status != "0"
}

/// Whether what a run is killed in is the repair or its undoing, the next one ends it well.
fn killed_and_run_again(kind: Kind, numbers: &[u32], undo: bool) {
    kind.make();
    kind.down();
    let pool = kind.pool();
    kind.metadata().damage(Part::Leaf);
    let damaged = kind.metadata().sum();
    if undo {
        assert_eq!(repair(kind, "").0, 0);
    }
    let mut killed = 0;
    for number in numbers {
        let words = if undo { format!("repair {pool} --undo") } else { format!("repair {pool}") };
        killed += u32::from(killed_at(&words, "fsync", *number));
        let (status, value) = repair(kind, "");
        assert_eq!((status, &value["repair"]["stage"]), (0, &"swapped".into()), "{kind:?} {number} {value:#}");
        if !undo {
            assert_eq!(repair(kind, "--undo").0, 0, "{kind:?} {number}");
            assert_eq!(kind.metadata().sum(), damaged, "{kind:?} {number}");
        }
    }
    assert!(killed >= 3, "killed {killed} times only");
    if !undo {
        assert_eq!(repair(kind, "").0, 0);
    }
    kind.up();
    kind.assert_whole("b");
    kind.gone();
}

#[test]
fn a_killed_repair_is_finished_by_the_next_lvm() {
    in_kernel(|| killed_and_run_again(Kind::Lvm, &[2, 5, 9, 14], false));
}

#[test]
fn a_killed_repair_is_finished_by_the_next_loop() {
    in_kernel(|| killed_and_run_again(Kind::Loop, &[2, 5, 8, 11, 14], false));
}

/// LVM makes the new metadata in the spare then, and swaps the two: other bytes than ours, since the spare was used before.
#[test]
fn a_killed_repair_by_the_spare_is_finished_by_the_next() {
    in_kernel(|| {
        let (path, kind, words) = (env!("CARGO_BIN_EXE_dmtool"), Kind::Lvm, "repair vg/pool --yes");
        let make = || {
            kind.make();
            kind.down();
            sh("lvcreate -qq -an -Zn -l 100%FREE -n full vg 2>/dev/null");
            sh(
                "at=$(lvs -a --noheadings -o seg_pe_ranges vg/lvol0_pmspare | tr -dc '0-9:-' | sed 's/.*:\\([0-9]*\\)-.*/\\1/'); \
                dd if=/dev/urandom of=/dev/xvdi bs=1M seek=$((at + 1)) count=4 oflag=direct conv=notrunc status=none",
            );
            kind.metadata().damage(Part::Leaf);
        };
        make();
        let notes: Vec<Place> = learn(path, words)
            .expect("an undisturbed run")
            .into_iter()
            .filter(|place| place.call == "rename")
            .collect();
        kind.gone();
        let mut behind_lvms_part = 0;
        for note in &notes {
            make();
            let damaged = kind.metadata().sum();
            tampered(path, words, note, Tamper::Signal("KILL")).expect("an end");
            let journal = sh("cat /var/lib/dmtool/repair/lvm-vg-pool.json 2>/dev/null || true");
            let swapped = sh("lvs --noheadings -o lv_name vg").contains("pool_meta0");
            let between = swapped && journal.contains("\"swapping\"");
            behind_lvms_part += u32::from(between);
            if between {
                // The old metadata can be had back.
                assert_eq!(repair(kind, "--undo").0, 0, "{note:?}");
                assert_eq!(kind.metadata().sum(), damaged, "{note:?}");
                kind.gone();
                make();
                tampered(path, words, note, Tamper::Signal("KILL")).expect("an end");
            }
            let (status, value) = repair(kind, "");
            assert_eq!((status, &value["repair"]["stage"]), (0, &"swapped".into()), "{note:?} {value:#}");
            kind.up();
            kind.assert_whole("b");
            kind.gone();
        }
        assert!(behind_lvms_part > 0, "{notes:#?}");
    });
}

/// New metadata of a killed restore is made anew, once: its dump may be another by now.
#[test]
fn a_killed_restore_is_finished_by_the_next() {
    in_kernel(|| {
        let (path, kind) = (env!("CARGO_BIN_EXE_dmtool"), Kind::Loop);
        kind.make();
        let pool = kind.pool();
        dmtool(&format!("metadata dump {pool} /run/good.xml")).assert().success();
        kind.down();
        let words = format!("metadata restore {pool} /run/good.xml --yes");
        let notes = learn(path, &words).expect("an undisturbed run").into_iter().filter(|place| place.call == "rename");
        let notes: Vec<Place> = notes.collect();
        assert!(notes.len() >= 4, "{notes:#?}");
        for note in &notes {
            dmtool(&format!("repair {pool} --accept --yes")).assert().success();
            tampered(path, &words, note, Tamper::Signal("KILL")).expect("an end");
            dmtool(&words).assert().success();
        }
        kind.up();
        kind.assert_whole("b");
        kind.gone();
    });
}

#[test]
fn a_killed_undo_is_finished_by_the_next_lvm() {
    in_kernel(|| killed_and_run_again(Kind::Lvm, &[1, 2, 4], true));
}

#[test]
fn a_killed_undo_is_finished_by_the_next_loop() {
    in_kernel(|| killed_and_run_again(Kind::Loop, &[1, 3, 5], true));
}

/// Begins a repair, and stops the machine dead after so long.
fn begin_and_crash(kind: Kind, seconds: &str) {
    let dmtool = env!("CARGO_BIN_EXE_dmtool");
    sh(&format!("{dmtool} repair {} --yes > /dev/null 2>&1 & sleep {seconds}", kind.pool()));
    crash();
}

fn ends_well(kind: Kind) {
    var();
    sh("mkdir -p /run/v");
    let (status, value) = repair(kind, "");
    assert_eq!((status, &value["repair"]["stage"]), (0, &"swapped".into()), "{kind:?} {value:#}");
    kind.up();
    kind.assert_whole("b");
    kind.down();
}

fn crashed(kind: Kind, machine: &mut Boots) {
    machine.boot(|| {
        kind.make();
        kind.down();
        kind.metadata().damage(Part::Leaf);
        sh("sync");
        begin_and_crash(kind, "1");
    });
    machine.boot(|| {
        ends_well(kind);
        assert_eq!(repair(kind, "--undo").0, 0);
        sh("sync");
        begin_and_crash(kind, "2");
    });
    machine.boot(|| {
        ends_well(kind);
        dmtool(&format!("repair {} --accept --yes", kind.pool())).assert().success();
    });
}

#[test]
fn the_kernel_crashes_on_the_way_lvm() {
    boots(|machine| crashed(Kind::Lvm, machine));
}

#[test]
fn the_kernel_crashes_on_the_way_loop() {
    boots(|machine| crashed(Kind::Loop, machine));
}

/// Blocks with their numbers, each down on the disk before the next; the last number is kept outside of the pool.
fn write_until_the_crash(kind: Kind, seed: u32) -> ! {
    let device = kind.device("a");
    sh(&format!(
        "(i=0; x={seed}; while :; do x=$(( (x * 1103515245 + 12345) % 2147483648 )); at=$(( x % 3000 )); \
         printf '%016d' $i | dd of={device} bs=64K seek=$at conv=notrunc,fsync,sync oflag=direct status=none && \
         echo \"$i $at\" >> /var/lib/dmtool/written && sync /var/lib/dmtool/written; i=$((i+1)); done) > /dev/null 2>&1 & sleep 8; until [ \"$(wc -l < /var/lib/dmtool/written)\" -ge 10 ]; do sleep 0.1; done"
    ));
    crash();
}

fn everything_written_is_there(kind: Kind) {
    let device = kind.device("a");
    let wrong = sh(&format!(
        "awk '{{at[$2]=$1}} END {{for (a in at) print at[a], a}}' /var/lib/dmtool/written | tail -n 40 | while read i at; do \
         [ \"$(dd if={device} bs=64K skip=$at count=1 iflag=direct status=none | head -c 16)\" = \"$(printf '%016d' $i)\" ] || echo $i $at; done"
    ));
    // What was on its way when the machine stopped may be newer than what was noted.
    assert!(wrong.lines().count() <= 1, "{kind:?}: {wrong}");
    assert!(sh("wc -l < /var/lib/dmtool/written").parse::<u32>().expect("a count") > 5);
}

fn crashed_under_load(kind: Kind, machine: &mut Boots) {
    machine.boot(|| {
        kind.make();
        // Its file system gives way to numbered blocks.
        sh(&format!("dd if=/dev/zero of={} bs=1M count=1 oflag=direct status=none; sync", kind.device("a")));
        write_until_the_crash(kind, 1);
    });
    for seed in [2, 3] {
        machine.boot(|| {
            var();
            sh("mkdir -p /run/v; vgchange -qq -ay vg 2> /dev/null || true");
            if kind == Kind::Lvm {
                sh("vgchange -qq -an vg");
            }
            assert_eq!(repair(kind, "").0, 0, "{kind:?}");
            kind.up();
            everything_written_is_there(kind);
            kind.assert_whole("b");
            if seed < 3 {
                sh("rm /var/lib/dmtool/written; sync");
                write_until_the_crash(kind, seed);
            }
        });
    }
}

#[test]
fn crashed_under_load_lvm() {
    boots(|machine| crashed_under_load(Kind::Lvm, machine));
}

#[test]
fn crashed_under_load_loop() {
    boots(|machine| crashed_under_load(Kind::Loop, machine));
}

#[test]
fn crashed_under_load_raw() {
    boots(|machine| crashed_under_load(Kind::Raw, machine));
}

/// Half-written, and what it was written from is gone: the copy of the old is what is left.
#[test]
fn metadata_that_was_cut_off_and_lost_its_new_copy_goes_back() {
    in_kernel(|| {
        let kind = Kind::Loop;
        kind.make();
        kind.down();
        kind.metadata().damage(Part::Leaf);
        let damaged = kind.metadata().sum();
        let mut met = false;
        for number in 1..30 {
            killed_at("repair loop", "fsync", number);
            let journal = sh("cat /var/lib/dmtool/repair/bare-loop.json 2>/dev/null || true");
            let half = sh("head -c 6 /var/lib/dmtool/loop/metadata | tr -dc a-z") == "dmtool";
            if journal.contains("\"swapping\"") && half {
                met = true;
                sh("mv /var/lib/dmtool/repair/loop*.new /run/");
                let refused = dmtool("repair loop --yes").assert().code(3);
                refused.stderr(contains("is gone").and(contains("dmtool repair loop --undo")));
                assert_eq!(repair(kind, "--undo").0, 0);
                assert_eq!(kind.metadata().sum(), damaged);
                break;
            }
            assert_eq!(repair(kind, "").0, 0, "{number}");
            assert_eq!(repair(kind, "--undo").0, 0, "{number}");
        }
        assert!(met, "no kill in the middle of the write");
        assert_eq!(repair(kind, "").0, 0);
        kind.up();
        kind.assert_whole("b");
        kind.gone();
    });
}

/// Half-written, and both copies are gone, as in a folder in memory after a boot: the dump is there all the same.
#[test]
fn a_restore_that_was_cut_off_and_lost_its_copies_begins_anew() {
    in_kernel(|| {
        let kind = Kind::Loop;
        kind.make();
        dmtool("metadata dump loop /run/good.xml").assert().success();
        kind.down();
        kind.metadata().damage(Part::Leaf);
        let words = "metadata restore loop /run/good.xml";
        let mut met = false;
        for number in 1..30 {
            killed_at(words, "fsync", number);
            met = sh("head -c 6 /var/lib/dmtool/loop/metadata | tr -dc a-z") == "dmtool";
            if met {
                break;
            }
            dmtool(&format!("{words} --yes")).assert().success();
            assert_eq!(repair(kind, "--undo").0, 0, "{number}");
        }
        assert!(met, "no kill in the middle of the write");
        sh("rm /var/lib/dmtool/repair/loop*.new /var/lib/dmtool/repair/loop*.old");
        dmtool(&format!("{words} --yes")).assert().success();
        kind.up();
        kind.assert_whole("a");
        kind.assert_whole("b");
        kind.gone();
    });
}

/// What a repair that was cut off left is put nowhere once somebody used the pool.
#[test]
fn what_was_cut_off_long_ago_is_not_put_over_what_was_written_since() {
    in_kernel(|| {
        for kind in [Kind::Loop, Kind::Lvm] {
            kind.make();
            kind.down();
            let (pool, metadata) = (kind.pool(), kind.metadata());
            metadata.save("/var/lib/dmtool/pristine");
            metadata.damage(Part::DataMap);
            assert_eq!(repair(kind, "").0, 0);
            sh("cp /var/lib/dmtool/repair/*.json /run/journal");
            for stage in ["built", "swapping", "undoing"] {
                kind.up();
                kind.write_anew("b");
                kind.down();
                sh(&format!(
                    "jq '.stage = \"{stage}\"' /run/journal > $(ls /var/lib/dmtool/repair/*.json || echo /run/none) 2> /dev/null"
                ));
                let before = kind.metadata().sum();
                if stage != "built" {
                    dmtool(&format!("repair {pool} --undo --yes")).assert().code(3).stderr(contains("was used since"));
                }
                let (status, value) = repair(kind, "");
                assert_eq!(status, 0, "{kind:?} {stage} {value:#}");
                assert_eq!(kind.metadata().sum(), before, "{kind:?} {stage} {value:#}");
                assert!(!sh("ls /var/lib/dmtool/repair").contains("json"), "{kind:?} {stage}");
                // For the next one.
                let name = if kind == Kind::Lvm { "lvm-vg-pool" } else { "bare-loop" };
                sh(&format!("touch /var/lib/dmtool/repair/{name}.json"));
            }
            sh("rm -rf /var/lib/dmtool/repair");
            kind.up();
            kind.assert_whole("a");
            kind.gone();
        }
    });
}
