//! `make torture`: dmtool is cut off, in booted kernels, for as long as is asked for (`TORTURE_SECONDS`, an hour), at
//! places that `SEED` chooses, at most `CUTS` of each case at a time; `CASES` has only those
//! with that in their name, `KINDS` only `kill`, `crash` or `power`.
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
use std::sync::Mutex;
use std::time::{Duration, Instant};
use torture::cases::{CASES, Case};
use torture::{Dice, Tally, crash, kill, power};

const INSIDE: &str = "DMTOOL_TORTURE_INSIDE";
/// How a case is cut off.
const KINDS: [&str; 3] = ["kill", "crash", "power"];
/// How long one case may take in a guest.
const LIMIT: Duration = Duration::from_secs(1800);

fn main() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let seed = number("SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let limit = Duration::from_secs(number("TORTURE_SECONDS").unwrap_or(3600));
    println!("SEED={seed}, for {} s", limit.as_secs());
    let tally = Mutex::new(Tally::default());
    let jobs = Mutex::new(Jobs::new(seed, Instant::now() + limit));
    let guests = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..guests {
            scope.spawn(|| {
                loop {
                    let Some(job) = jobs.lock().expect("the jobs").next() else { return };
                    in_guests(&job, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner().expect("the tally");
    println!("{tally}");
    std::process::exit(i32::from(!tally.wrong.is_empty()));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// A case to be cut off in one way at places that the seed chooses.
struct Job {
    case: &'static Case,
    kind: &'static str,
    seed: usize,
}

/// One job after the other, again and again until the time is over.
struct Jobs {
    all: Vec<(&'static Case, &'static str)>,
    left: Vec<(&'static Case, &'static str)>,
    dice: Dice,
    until: Instant,
}

impl Jobs {
    fn new(seed: u64, until: Instant) -> Jobs {
        let wanted = |variable: &str, name: &str| name.contains(&std::env::var(variable).unwrap_or_default());
        let cases = CASES.iter().filter(|case| wanted("CASES", case.name));
        let kinds: Vec<_> = KINDS.into_iter().filter(|kind| wanted("KINDS", kind)).collect();
        let all: Vec<_> = cases.flat_map(|case| kinds.iter().map(move |kind| (case, *kind))).collect();
        assert!(!all.is_empty(), "nothing has what CASES and KINDS say in its name");
        Jobs { left: all.clone(), all, dice: Dice::new(seed), until }
    }

    fn next(&mut self) -> Option<Job> {
        if Instant::now() >= self.until {
            return None;
        }
        if self.left.is_empty() {
            if number("ROUNDS").is_some() {
                return None;
            }
            self.left.clone_from(&self.all);
        }
        let (case, kind) = self.left.swap_remove(self.dice.below(self.left.len()));
        Some(Job { case, kind, seed: self.dice.below(1 << 30) })
    }
}

/// A guest for a job, or one after the other where each of them crashes.
fn in_guests(job: &Job, tally: &Mutex<Tally>) {
    let Job { case, kind, seed } = job;
    let binary = std::env::current_exe().expect("the path of this program");
    let command = format!(
        "cd {}; {INSIDE}='{}' KINDS={kind} SEED={seed} CUTS={} {}",
        env!("CARGO_MANIFEST_DIR"),
        case.name,
        number("CUTS").unwrap_or(20),
        binary.display()
    );
    let mut disks = Disks::blank();
    loop {
        let mut guest = Guest::boot(disks, &Boot::Bare);
        let ended = guest.run(&command, LIMIT, |line| {
            if let Some(what) = line.strip_prefix("@tried ") {
                tally.lock().expect("the tally").tried(what);
            } else if !line.contains("WRITE_ZEROES") {
                println!("{line}");
            }
        });
        match ended {
            Ended::Crash => disks = guest.crash(),
            Ended::Status(0) => return,
            Ended::Status(_) => {
                let again =
                    format!("see above, or: make torture ROUNDS=1 KINDS={kind} CASES='{}' SEED={seed}", case.name);
                return tally.lock().expect("the tally").note(Err(again));
            }
        }
    }
}

fn inside() {
    let name = std::env::var(INSIDE).expect("a case");
    let case = CASES.iter().find(|case| case.name == name).expect("a case of that name");
    harness::clean::before();
    let mut tally = Tally::default();
    let mut dice = Dice::new(number("SEED").unwrap_or(1));
    let count = usize::try_from(number("CUTS").unwrap_or(20)).expect("a count");
    match std::env::var("KINDS").as_deref() {
        Ok("crash") => crash::boot(case, count, &mut dice, &mut tally),
        Ok("power") => power::cut(case, count, &mut dice, &mut tally),
        _ => kill::killed(case, count, &mut dice, &mut tally),
    }
    for (what, count) in &tally.tried {
        (0..*count).for_each(|_| println!("@tried {what}"));
    }
    println!("{}: {tally}", case.name);
    std::process::exit(i32::from(!tally.wrong.is_empty()));
}
