//! The disk under the pool fails or becomes slow while dmtool is at one of its places. It ends and says so; once the disk
//! is back and the host has come up anew, the same command ends well, and what was on the disk before is there.

use super::cases::Case;
use super::kill::{DMTOOL, Learned, undisturbed};
use super::state::picture;
use super::trace::{Place, go_on, stopped_at};
use super::{Dice, Tally, ground};
use crate::harness::{sh, try_sh};

/// The disk that lies below, by the kernel's name; /dev/xvdi becomes a link to what stands on it.
const BELOW: &str = "/dev/ubdd";
/// In sectors; not from the start, so that nobody finds on the disk itself what is meant for what stands on it.
const SIZE: u64 = 1_040_000;
const START: u64 = 8192;

/// How a disk fails: what it is called, and its table.
type Failing = (&'static str, fn() -> String);

const LOST: &str = "flakey, writes lost";

const WAYS: [Failing; 5] = [
    ("error", || format!("0 {SIZE} error")),
    (LOST, || format!("0 {SIZE} flakey {BELOW} {START} 0 600 1 drop_writes")),
    ("flakey, writes fail", || format!("0 {SIZE} flakey {BELOW} {START} 0 600 1 error_writes")),
    ("dust", || format!("0 {SIZE} dust {BELOW} {START} 512")),
    ("delay", || format!("0 {SIZE} delay {BELOW} {START} 30 {BELOW} {START} 60")),
];

fn well() -> String {
    format!("0 {SIZE} linear {BELOW} {START}")
}

/// Swaps the table of the disk without waiting for what is on its way, or for udev: its rules wait for locks of LVM that
/// the stopped dmtool may hold.
fn becomes(table: &str) {
    sh(&format!(
        "dmsetup suspend --noflush --nolockfs bad && dmsetup load bad --table '{table}' && dmsetup resume --noudevsync bad"
    ));
}

/// Lets the disk fail at some of the places of a case.
pub fn failing(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    if !case.on_the_disk() || !case.begins_after_a_boot() {
        return;
    }
    sh("modprobe -a dm-delay dm-flakey dm-dust");
    sh(&format!("dmsetup create bad --table '{}' && udevadm settle && ln -sfn /dev/mapper/bad /dev/xvdi", well()));
    ground::mount("/dev/xvdf");
    // Each swap of its table is an event of udev's, whose rules would have LVM activate the group again behind whoever took it
    // down.
    sh("echo 'global { event_activation = 0 }' > /etc/lvm/lvmlocal.conf");
    let learned = match undisturbed(case) {
        Ok(learned) => learned,
        Err(why) => return tally.note(Err(why)),
    };
    for place in learned.choose(count, dice) {
        let (way, table) = WAYS[dice.below(WAYS.len())];
        println!("the disk ({way}) at {} {} after {} steps", place.call, place.number, place.step);
        let ended = failing_at(&learned, &place, way, &table(), tally);
        let Place { call, number, step, text, .. } = place;
        let failed = ended.is_err();
        // It said that it had written what it had not: no order of writes holds against that, and a repair is what is left.
        if failed && way == LOST {
            println!("a disk that lied: {ended:?}");
            tally.tried("of these on a disk that lied, for a repair");
            return;
        }
        tally.note(ended.map_err(|why| {
            format!("{}, the disk ({way}) at {call} {number} after {step} steps, {text}:\n    {why}", case.name)
        }));
        if failed {
            return;
        }
    }
    ground::take_down();
    ground::unmount();
    sh("dmsetup remove bad; udevadm trigger --subsystem-match=block --settle");
}

fn failing_at(learned: &Learned, place: &Place, way: &str, table: &str, tally: &mut Tally) -> Result<(), String> {
    let case = learned.case;
    (case.start)();
    sh("sync");
    let start = picture();
    if !stopped_at(DMTOOL, case.words, place) {
        (case.back)();
        return Ok(());
    }
    becomes(table);
    if way == "dust" {
        // Blocks of a disk that cannot be read any more, where LVM and the pool keep what they know.
        try_sh(
            "for b in $(seq 0 61 4096); do dmsetup message bad 0 addbadblock $b; done; dmsetup message bad 0 enable",
        );
    }
    let ended = go_on();
    becomes(&well());
    tally.tried("faults of the disk");
    let ended = ended?;
    // One that loses writes says that it took them, so that nobody can know better.
    match way {
        LOST if [0, 1, 3, 130].contains(&ended.status.unwrap_or(-1)) => {}
        LOST => return Err(format!("it ended with {:?}: {}", ended.status, ended.said)),
        _ => learned.honest(&ended, &start)?,
    }
    ground::take_down();
    ground::come_up(case);
    // Where the kernel could not commit, it marks the metadata, and the pool takes no writes until it is looked after.
    let marked = sh("dmsetup status --target thin-pool | awk '/ needs_check / {sub(\":\", \"\", $1); print $1; exit}'");
    let pool = marked.strip_suffix("-tpool").unwrap_or(&marked).replacen("vg-", "vg/", 1);
    let finished = if pool.is_empty() {
        learned.finished()
    } else {
        tally.tried("of these marked by the kernel, repaired");
        learned.finished_after_repair(&pool)
    };
    // What did not end well is not put back: nobody tries this guest again.
    finished.map_err(|why| format!("{why}\n    it had said: {}", ended.said))?;
    (case.back)();
    Ok(())
}
