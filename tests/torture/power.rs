//! A power cut: the disk as it was at a flush, with what was written after that lost, or half of it. The target log-writes
//! keeps all writes in order (linux/Documentation/admin-guide/device-mapper/log-writes.rst), from which the disk of any
//! moment is made again.

use super::cases::Case;
use super::kill::{DMTOOL, Learned};
use super::state::picture;
use super::writer::{Writer, acknowledged};
use super::{Dice, Tally, ground};
use crate::harness::{sh, try_sh};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

/// The disks of the guest by the kernel's names: /dev/xvdf and /dev/xvdi become links to the parts of the logged one.
const LOGGED: &str = "/dev/ubdc";
const LOG: &str = "/dev/ubdd";
const ORIGIN: &str = "/dev/ubdb";
const COPY_ON_WRITE: &str = "/dev/ubde";
const SECTOR: u64 = 512;
const FILES: u64 = (1 << 30) / SECTOR;
const DISK: u64 = (512 << 20) / SECTOR;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One write in the log.
struct Entry {
    /// Where it went, and how much of it there is.
    sector: u64,
    sectors: u64,
    flags: u64,
    /// Where its bytes are in the log.
    at: u64,
    mark: String,
}

fn log() -> Vec<Entry> {
    let file = File::open(LOG).expect("the log");
    let number = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).expect("the log");
        u64::from_le_bytes(bytes)
    };
    assert_eq!(number(0), MAGIC, "a log of log-writes");
    let mut at = SECTOR;
    let mut entries = Vec::new();
    for _ in 0..number(16) {
        let (sector, sectors, flags, length) = (number(at), number(at + 8), number(at + 16), number(at + 24));
        let mut mark = vec![0; if flags & MARK == 0 { 0 } else { usize::try_from(length).expect("a length") }];
        file.read_exact_at(&mut mark, at + 32).expect("the log");
        let mark = String::from_utf8_lossy(&mark).into_owned();
        entries.push(Entry { sector, sectors, flags, at: at + SECTOR, mark });
        at += SECTOR + if flags & (DISCARD | MARK) == 0 { sectors * SECTOR } else { 0 };
    }
    entries
}

/// Writes some entries to a device, in their order.
fn write<'a>(entries: impl Iterator<Item = &'a Entry>, device: &str) {
    let log = File::open(LOG).expect("the log");
    let to = OpenOptions::new().write(true).open(device).expect("the disk");
    for entry in entries.filter(|entry| entry.flags & (DISCARD | MARK) == 0 && entry.sectors > 0) {
        let mut bytes = vec![0; usize::try_from(entry.sectors * SECTOR).expect("a length")];
        log.read_exact_at(&mut bytes, entry.at).expect("the log");
        to.write_all_at(&bytes, entry.sector * SECTOR).expect("the disk");
    }
    to.sync_all().expect("the disk");
}

/// The two parts of the disk /dev/mapper/power, under the names that the cases use.
fn parts_up() {
    sh(&format!(
        "dmsetup create power-files --table '0 {FILES} linear /dev/mapper/power 0' && \
         dmsetup create power-disk --table '0 {DISK} linear /dev/mapper/power {FILES}' && \
         {{ udevadm settle || udevadm settle; }} && ln -sfn /dev/mapper/power-files /dev/xvdf && ln -sfn /dev/mapper/power-disk /dev/xvdi"
    ));
    ground::mount("/dev/mapper/power-files");
}

fn parts_down() -> Result<(), String> {
    ground::take_down();
    ground::unmount();
    ground::take_down();
    let (ok, _, why) = try_sh(
        "udevadm settle; for d in power-files power-disk power; do dmsetup remove --retry $d || exit 1; done; blockdev --flushbufs /dev/ubdb /dev/ubdc /dev/ubdd",
    );
    if ok { Ok(()) } else { Err(format!("what a run left could not be taken down: {why} {}", sh("dmsetup table"))) }
}

/// Does what `dmtool check` says of a group that LVM cannot read: it writes the text of a change and then where that stands,
/// without a flush in between.
fn group_restored() -> bool {
    let (_, said, _) = try_sh(&format!("{DMTOOL} check --json"));
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let mut hints = said["findings"].as_array().into_iter().flatten().filter_map(|found| found["hint"].as_str());
    let Some(hint) = hints.find_map(|hint| hint.strip_prefix("pvck ")) else { return false };
    let (restore, _) = hint.split_once(" && ").expect("an activation");
    sh(&format!("pvck --yes {restore}"));
    true
}

/// LVM's backup may be of before what the pool was told since: LVM refuses it then, as `dmtool repair` says, and how LVM
/// gets its number; the volume that was being made is nobody's. Whether it was so.
fn number_given() -> bool {
    let (_, said, _) = try_sh(&format!("{DMTOOL} repair vg/pool --yes --json"));
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let hint = said["error"]["hint"].as_str().unwrap_or_default();
    let Some(commands) = hint.strip_prefix("if the pool is right, and only then, give LVM its number:") else {
        return false;
    };
    let commands: Vec<String> =
        commands.lines().filter(|line| !line.is_empty()).map(|line| line.replace("dmtool", DMTOOL)).collect();
    sh(&format!("{} && {DMTOOL} volume orphans vg/pool --remove --yes", commands.join(" && ")));
    true
}

/// Pulls the power at some of the flushes of a case.
pub fn cut(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    let ended = cuts(case, count, dice, tally);
    tally.note(ended.map_err(|why| format!("{}, power cuts: {why}", case.name)));
    sh("udevadm trigger --subsystem-match=block --settle");
}

fn cuts(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) -> Result<(), String> {
    if !case.on_one_disk() || !case.begins_after_a_boot() {
        return Ok(());
    }
    sh("modprobe -a dm-log-writes dm-snapshot");
    let size = sh(&format!("blockdev --getsz {LOGGED}"));
    sh(&format!("dmsetup create power --table '0 {size} log-writes {LOGGED} {LOG}'"));
    parts_up();
    (case.start)();
    let writer = Writer::marking(case);
    sh("sync; dmsetup message power 0 mark begin");
    let (ok, said, wrong) = try_sh(&format!("{DMTOOL} {} < /dev/null", case.words));
    let by_writer = writer.map(Writer::stopped).transpose()?;
    if !ok {
        return Err(format!("undisturbed: {said} {wrong}"));
    }
    sh("dmsetup message power 0 mark end");
    let learned = Learned { case, places: Vec::new(), end: picture() };
    parts_down()?;
    let entries = log();
    let begin = entries.iter().position(|entry| entry.mark.starts_with("begin")).expect("the mark");
    let end = entries.iter().position(|entry| entry.mark.starts_with("end")).expect("the mark");
    // The mark is behind a sync: what follows it may be lost up to the first flush.
    let flushes: Vec<usize> =
        (begin..end).filter(|at| *at == begin || entries[*at].flags & (FLUSH | FUA) != 0).collect();
    let blocks = by_writer.as_ref().map_or(0, |written| written.count);
    println!(
        "{}: {} writes with {} flushes, and {blocks} blocks of a writer",
        case.name,
        end - begin - 1,
        flushes.len() - 1
    );
    let mut chosen = dice.some(flushes, count);
    chosen.sort_unstable();
    let mut written = 0;
    for at in chosen {
        println!("power cut at write {at} of {begin} to {end}");
        write(entries[written..=at].iter(), ORIGIN);
        written = at + 1;
        let torn = torn(&entries, at, dice);
        sh(&format!("dmsetup create power --table '0 {size} snapshot {ORIGIN} {COPY_ON_WRITE} N 8'"));
        write(torn.iter().copied(), "/dev/mapper/power");
        parts_up();
        tally.tried("power cuts");
        let mut ended = ends_well(&learned, tally);
        if let Some(written) = &by_writer {
            tally.tried("of all these beside a writer");
            let acknowledged = acknowledged(entries[..=at].iter().map(|entry| entry.mark.as_str()));
            ended = ended.and_then(|()| written.read_back(acknowledged));
        }
        tally.note(ended.map_err(|why| {
            format!(
                "{}, power cut at write {at} of {begin} to {end} and {} torn ones:\n    {why}",
                case.name,
                torn.len()
            )
        }));
        parts_down()?;
    }
    Ok(())
}

/// What came after a flush may be there in parts, in any order: half of it, or nothing.
fn torn<'a>(entries: &'a [Entry], at: usize, dice: &mut Dice) -> Vec<&'a Entry> {
    if dice.below(2) == 0 {
        return Vec::new();
    }
    let later = entries[at + 1..].iter();
    later.take_while(|entry| entry.flags & (FLUSH | FUA) == 0).filter(|_| dice.below(2) == 0).collect()
}

/// The host comes up on what the disk has, and the same command is run again.
fn ends_well(learned: &Learned, tally: &mut Tally) -> Result<(), String> {
    let restored = group_restored();
    if restored {
        tally.tried("of these between two writes of LVM's, restored from its backup");
    }
    ground::come_up(learned.case);
    if restored && number_given() {
        tally.tried("of these with a backup older than the pool, given its number");
        ground::come_up(learned.case);
    }
    learned.finished_after_a_boot(tally)
}
