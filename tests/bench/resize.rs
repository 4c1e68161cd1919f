//! Growth: what a writer on a bare pool feels of it, and what it costs on a pool of LVM.

use super::DMTOOL;
use super::setup::blank;
use super::table::{ANY, Column, Other, Row, median, time, told};
use crate::harness::sh;
use devicemapper::{DM, DevId, DmFlags, DmName, DmOptions};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const POOL: &str = "stall-pool";
const VOLUME: &str = "/dev/mapper/stall-volume";
const DATA: &str = "/run/stall/data";
/// By how much the pool grows each time, in sectors: 128 MiB.
const STEP: u64 = 262_144;
/// Docker's chunk, in sectors.
const CHUNK: u64 = 128;
/// What of the volume is provisioned and overwritten, in blocks of 4 KiB: 64 MiB.
const BLOCKS: u64 = 16384;

/// The longest that one write waits while its pool grows: by dmtool, by the documented three commands, by the same three
/// steps in one process, and while nothing happens for as long as dmtool took.
pub fn stall() -> Vec<Row> {
    bare_pool();
    let (mut ours, mut commands, mut calls, mut nothing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let mut took = Duration::ZERO;
        ours.push(grown(|_, _| {
            let start = Instant::now();
            run(&[DMTOOL, "resize", "+128M", POOL]);
            took = start.elapsed();
        }));
        file_grown();
        commands.push(grown(by_commands));
        file_grown();
        calls.push(grown(by_calls));
        nothing.push(longest_write(|| std::thread::sleep(took)));
    }
    sh(&format!(
        "udevadm settle; dmsetup remove stall-volume; dmsetup remove {POOL}; losetup -D; udevadm settle; \
         umount /run/stall; wipefs -qa /dev/xvdh"
    ));
    let (commands, calls) = (median(&mut commands), median(&mut calls));
    let other = |column, what, seconds, limit| Other { column, what, seconds, limit };
    // Where nothing happens a writer waits, too: on a busy machine that is all there is.
    told(Row {
        what: "no resize, the longest wait of a writer".to_owned(),
        ours: median(&mut nothing),
        others: vec![other(Column::Documented, "dmsetup suspend, load, resume", commands, ANY)],
    });
    vec![told(Row {
        what: "`resize` of a loop pool, the longest wait of a writer".to_owned(),
        ours: median(&mut ours),
        others: vec![
            other(Column::Documented, "dmsetup suspend, load, resume", commands, 0.20),
            other(Column::ByHand, "the same by ioctls in one process", calls, ANY),
        ],
    })]
}

/// A pool on two files, as Docker makes it, and a volume on it whose first blocks are provisioned.
fn bare_pool() {
    sh(&format!(
        "mkfs.ext4 -qF /dev/xvdh && mkdir -p /run/stall && mount /dev/xvdh /run/stall && cd /run/stall && \
         truncate -s 1G data && truncate -s 64M metadata && \
         d=$(losetup -f --show data) && m=$(losetup -f --show metadata) && \
         dmsetup create {POOL} --table \"0 2097152 thin-pool $m $d {CHUNK} 32768 1 skip_block_zeroing\" && \
         dmsetup message {POOL} 0 'create_thin 0' && \
         dmsetup create stall-volume --table '0 2097152 thin /dev/mapper/{POOL} 0' && \
         dd if=/dev/zero of={VOLUME} bs=1M count=64 oflag=direct conv=fsync status=none"
    ));
}

/// The file and its device are larger before the table is, outside of what is measured.
fn file_grown() {
    sh(&format!("truncate -s +128M {DATA} && losetup -c $(losetup -nO NAME -j {DATA})"));
}

/// The longest write while the pool grows, which it must.
fn grown(grow: impl FnOnce(u64, &str)) -> f64 {
    let table = sh(&format!("dmsetup table {POOL}"));
    let mut words = table.splitn(4, ' ');
    let length: u64 = words.nth(1).and_then(|word| word.parse().ok()).expect("a length");
    let params = words.nth(1).expect("the words of a pool");
    let longest = longest_write(|| grow(length + STEP, params));
    let status = sh(&format!("dmsetup status {POOL}"));
    let total = status.split(' ').nth(5).and_then(|word| word.split_once('/')).map(|(_, total)| total);
    assert_eq!(total, Some(((length + STEP) / CHUNK).to_string().as_str()), "{status}");
    longest
}

fn by_commands(length: u64, params: &str) {
    run(&["dmsetup", "suspend", POOL]);
    run(&["dmsetup", "load", POOL, "--table", &format!("0 {length} thin-pool {params}")]);
    run(&["dmsetup", "resume", POOL]);
}

fn by_calls(length: u64, params: &str) {
    let control = DM::new().expect("the control node");
    let pool = DevId::Name(DmName::new(POOL).expect("a name"));
    let options = DmOptions::default();
    let table = [(0, length, "thin-pool".to_owned(), params.to_owned())];
    control.device_suspend(&pool, options.set_flags(DmFlags::DM_SUSPEND)).expect("suspending");
    control.table_load(&pool, &table, options).expect("loading");
    control.device_suspend(&pool, options).expect("resuming");
}

#[repr(align(4096))]
struct Block([u8; 4096]);

/// Overwrites blocks past the page cache, one at a time, and says for how many seconds the longest of the writes
/// waited that overlap with the act. There is one CPU, and the machine below may have other work: what a writer waits
/// for both is in all four, and stands alone in the one without a resize. On a busy machine it is all that there is.
fn longest_write(act: impl FnOnce()) -> f64 {
    sh("udevadm settle; sync");
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let volume = File::options().write(true).custom_flags(direct).open(VOLUME).expect("the volume");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let block = Block([0x5a; 4096]);
            let mut writes = Vec::new();
            for at in (0..BLOCKS).cycle() {
                let start = Instant::now();
                volume.write_all_at(&block.0, at * 4096).expect("writing");
                writes.push((start, Instant::now()));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            writes
        });
        std::thread::sleep(Duration::from_millis(200));
        let begin = Instant::now();
        act();
        let end = Instant::now();
        stop.store(true, Ordering::Relaxed);
        let writes = writer.join().expect("the writer");
        let during = writes.iter().filter(|(start, done)| *start < end && *done > begin);
        let longest = during.map(|(start, done)| *done - *start).max();
        longest.expect("a write").as_secs_f64()
    })
}

/// A pool of LVM with room to grow, by one extent at a time.
pub fn lvm() -> Vec<Row> {
    sh(&format!("{DMTOOL} setup /dev/xvdf --data 25%VG --yes"));
    let size = || sh("dmsetup status docker-thinpool").split(' ').nth(5).map(str::to_owned);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let mut last = size();
        for (command, times) in [
            (&format!("{DMTOOL} resize +4M docker/thinpool"), &mut ours),
            (&"lvextend -L +4M docker/thinpool".to_owned(), &mut theirs),
        ] {
            // What udev and dmeventd have still to do belongs to the command before.
            sh("udevadm settle; sleep 1");
            times.push(time(command));
            let now = size();
            assert_ne!(now, last, "{command}");
            last = now;
        }
    }
    blank();
    vec![told(Row {
        what: "`resize` of a pool of LVM, verified".to_owned(),
        ours: median(&mut ours),
        others: vec![Other { column: Column::Documented, what: "lvextend", seconds: median(&mut theirs), limit: 1.0 }],
    })]
}

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("starting a command");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
