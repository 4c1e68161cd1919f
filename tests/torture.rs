//! `make torture`: dmtool is cut off, in booted kernels, for as long as is asked for (`TORTURE_SECONDS`, an hour), at
//! places that `SEED` chooses, at most `CUTS` of each case at a time; `CASES` has only those
//! with that in their name, `KINDS` only `kill`, `fault`, `look`, `disk`, `crash`, `power`, `race` or `input`: the last is a
//! fuzzer, outside of any kernel, for a seventh of that time.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "harness/mod.rs"]
mod harness;
#[path = "torture/mod.rs"]
mod torture;

use harness::guest::{Boot, Disks, Ended, Guest};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use torture::cases::CASES;
use torture::race::RACES;
use torture::{Dice, Tally, crash, disk, kill, power, race};

const INSIDE: &str = "DMTOOL_TORTURE_INSIDE";
/// How a case is cut off.
const KINDS: [&str; 6] = ["kill", "fault", "look", "disk", "crash", "power"];
const RACE: &str = "race";
const INPUT: &str = "input";
/// How long one case may take in a guest.
const LIMIT: Duration = Duration::from_secs(1200);

fn main() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let seed = number("SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let limit = Duration::from_secs(number("TORTURE_SECONDS").unwrap_or(3600));
    println!("SEED={seed}, for {} s", limit.as_secs());
    let tally = Mutex::new(Tally::of_all_kinds());
    let jobs = Mutex::new(Jobs::new(seed, Instant::now() + limit));
    let guests = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..guests {
            let (tally, jobs) = (&tally, &jobs);
            scope.spawn(move || {
                if worker == 0 && wanted("KINDS", INPUT) {
                    fuzzed(limit / 7, tally);
                }
                loop {
                    let Some(job) = jobs.lock().expect("the jobs").next() else { return };
                    in_guests(&job, tally);
                }
            });
        }
    });
    let tally = tally.into_inner().expect("the tally");
    println!("{tally}");
    let jobs = jobs.into_inner().expect("the jobs");
    println!("{} of {} pairs of a case and a kind were begun", jobs.all.len() - jobs.untried, jobs.all.len());
    std::process::exit(i32::from(!tally.wrong.is_empty()));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn wanted(variable: &str, name: &str) -> bool {
    name.contains(&std::env::var(variable).unwrap_or_default())
}

/// Has the fuzzer at each of its targets, all together for so long.
fn fuzzed(time: Duration, tally: &Mutex<Tally>) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz");
    let targets = std::fs::read_dir(format!("{root}/corpus")).expect("the kept inputs").count().max(1);
    let seconds = (time.as_secs() / u64::try_from(targets).expect("a count")).max(1);
    let output = std::process::Command::new(format!("{root}.sh"))
        .env("FUZZ_SECONDS", seconds.to_string())
        .output()
        .expect("tests/fuzz.sh");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}{}", String::from_utf8_lossy(&output.stderr));
    let mut tally = tally.lock().expect("the tally");
    // N inputs tried, M crashes
    let tried = said.lines().last().and_then(|line| line.split_once(" inputs tried")?.0.parse().ok());
    match tried {
        Some(tried) => tally.tried_so_often("inputs", tried),
        None => tally.note(Err("the fuzzer did not run: make torture builds it".to_owned())),
    }
    if !output.status.success() {
        tally.note(Err("some inputs broke a promise, see above".to_owned()));
    }
}

/// A case to be cut off in one way at places that the seed chooses, or a race.
struct Job {
    name: &'static str,
    kind: &'static str,
    seed: usize,
}

/// One job after the other, again and again until the time is over.
struct Jobs {
    all: Vec<(&'static str, &'static str)>,
    left: Vec<(&'static str, &'static str)>,
    /// How many were never begun.
    untried: usize,
    dice: Dice,
    until: Instant,
}

impl Jobs {
    fn new(seed: u64, until: Instant) -> Jobs {
        let races = RACES.iter().map(|race| (race.name, RACE));
        let cases = CASES.iter().flat_map(|case| KINDS.into_iter().map(move |kind| (case.name, kind)));
        let all: Vec<_> =
            cases.chain(races).filter(|(name, kind)| wanted("CASES", name) && wanted("KINDS", kind)).collect();
        assert!(!all.is_empty() || wanted("KINDS", INPUT), "nothing has what CASES and KINDS say in its name");
        Jobs { left: all.clone(), untried: all.len(), all, dice: Dice::new(seed), until }
    }

    fn next(&mut self) -> Option<Job> {
        if Instant::now() >= self.until {
            return None;
        }
        if self.left.is_empty() {
            if self.all.is_empty() || number("ROUNDS").is_some() {
                return None;
            }
            self.left.clone_from(&self.all);
        }
        let (name, kind) = self.left.swap_remove(self.dice.below(self.left.len()));
        self.untried = self.untried.min(self.left.len());
        Some(Job { name, kind, seed: self.dice.below(1 << 30) })
    }
}

/// A guest for a job, or one after the other where each of them crashes.
fn in_guests(job: &Job, tally: &Mutex<Tally>) {
    let Job { name, kind, seed } = job;
    let binary = std::env::current_exe().expect("the path of this program");
    let command = format!(
        "cd {}; {INSIDE}='{name}' KINDS={kind} SEED={seed} CUTS={} {}",
        env!("CARGO_MANIFEST_DIR"),
        number("CUTS").unwrap_or(20),
        binary.display()
    );
    println!("{name}, {kind}, SEED={seed} begins");
    let mut disks = Disks::blank();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        loop {
            let mut guest = Guest::boot(std::mem::replace(&mut disks, Disks::with_sizes(&[])), &Boot::Bare);
            let ended = guest.run(&command, LIMIT, |line| {
                if let Some(what) = line.strip_prefix("@tried ") {
                    tally.lock().expect("the tally").tried(what);
                } else if !NOISE.iter().any(|noise| line.contains(noise)) {
                    println!("{line}");
                }
            });
            match ended {
                Ended::Crash => disks = guest.crash(),
                Ended::Status(status) => return status,
            }
        }
    }));
    let wrong = match ended {
        Ok(0) => return,
        Ok(_) => "see above",
        // What hangs in a guest is for who reads its last lines.
        Err(_) => "the guest hung or ended by itself",
    };
    tally.lock().expect("the tally").note(Err(format!("{name}, {kind}, SEED={seed}: {wrong}")));
}

/// What a guest's kernel says of disks that are well.
const NOISE: [&str; 2] = ["WRITE_ZEROES", "async page read"];

fn inside() {
    let name = std::env::var(INSIDE).expect("a case");
    harness::clean::before();
    let mut tally = Tally::default();
    let mut dice = Dice::new(number("SEED").unwrap_or(1));
    let count = usize::try_from(number("CUTS").unwrap_or(20)).expect("a count");
    let kind = std::env::var("KINDS").expect("a kind");
    let case = || CASES.iter().find(|case| case.name == name).expect("a case of that name");
    match kind.as_str() {
        RACE => race::again(&name, count, &mut dice, &mut tally),
        "crash" => crash::boot(case(), count, &mut dice, &mut tally),
        "fault" => kill::failing(case(), count, &mut dice, &mut tally),
        "look" => kill::looking(case(), count, &mut dice, &mut tally),
        "disk" => disk::failing(case(), count, &mut dice, &mut tally),
        "power" => power::cut(case(), count, &mut dice, &mut tally),
        _ => kill::killed(case(), count, &mut dice, &mut tally),
    }
    for (what, count) in &tally.tried {
        (0..*count).for_each(|_| println!("@tried {what}"));
    }
    println!("{name}, {kind}: {tally}");
    std::process::exit(i32::from(!tally.wrong.is_empty()));
}
