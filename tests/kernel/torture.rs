//! A sample of `make torture`: places that the seed chooses (SEED, or always the same), a few of each kind.

use crate::harness::*;
use crate::matrix::cases::{CASES, Case};
use crate::matrix::race::{self, RACES};
use crate::matrix::{Dice, Tally, crash, disk, ground, kill, power};

fn dice(salt: u64) -> Dice {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1_u64);
    println!("SEED={seed}");
    Dice::new(seed.wrapping_mul(31).wrapping_add(salt))
}

/// Nothing may go wrong, and at least so many of these must have been tried.
#[track_caller]
fn judged(tally: &Tally, what: &str, at_least: u64) {
    println!("{tally}");
    assert!(tally.wrong.is_empty(), "{tally}");
    assert!(tally.tried.get(what).is_some_and(|tried| *tried >= at_least), "{tally}");
}

/// Some cases, each cut off at some of its places.
fn some(count: usize, dice: &mut Dice, of: fn(&Case) -> bool, mut cut: impl FnMut(&'static Case, &mut Dice)) {
    let cases: Vec<&'static Case> = CASES.iter().filter(|case| of(case)).collect();
    for case in dice.some(cases, count) {
        println!("{}", case.name);
        cut(case, dice);
        ground::as_new();
    }
}

#[test]
fn killed_at_some_places() {
    in_kernel(|| {
        let (mut dice, mut tally) = (dice(1), Tally::default());
        some(4, &mut dice, |_| true, |case, dice| kill::killed(case, 2, dice, &mut tally));
        judged(&tally, "kills", 4);
    });
}

#[test]
fn calls_that_fail_at_some_places() {
    in_kernel(|| {
        let (mut dice, mut tally) = (dice(2), Tally::default());
        some(4, &mut dice, |_| true, |case, dice| kill::failing(case, 2, dice, &mut tally));
        judged(&tally, "faults", 4);
    });
}

#[test]
fn the_disk_fails_at_some_places() {
    in_kernel(|| {
        let (mut dice, mut tally) = (dice(3), Tally::default());
        some(2, &mut dice, Case::on_the_disk, |case, dice| disk::failing(case, 2, dice, &mut tally));
        judged(&tally, "faults of the disk", 2);
    });
}

#[test]
fn the_power_is_cut_at_some_flushes() {
    in_kernel(|| {
        let (mut dice, mut tally) = (dice(4), Tally::default());
        some(
            2,
            &mut dice,
            |case| case.on_one_disk() && case.begins_after_a_boot(),
            |case, dice| power::cut(case, 2, dice, &mut tally),
        );
        judged(&tally, "power cuts", 3);
    });
}

#[test]
fn the_kernel_stops_dead_at_a_place() {
    boots(|machine| {
        let cases: Vec<&'static Case> = CASES.iter().filter(|case| case.begins_after_a_boot()).collect();
        let case = cases[dice(5).below(cases.len())];
        let boot = move || {
            let (mut dice, mut tally) = (dice(5), Tally::default());
            println!("{}", case.name);
            crash::boot(case, 1, &mut dice, &mut tally);
            judged(&tally, "crashes", 1);
        };
        machine.boot(boot);
        machine.boot(boot);
    });
}

#[test]
fn several_at_once() {
    in_kernel(|| {
        let (mut dice, mut tally) = (dice(6), Tally::default());
        let races: Vec<_> = RACES.iter().collect();
        for race in dice.some(races, 3) {
            println!("{}", race.name);
            race::run(race, &mut dice, &mut tally);
            ground::as_new();
        }
        judged(&tally, "races", 3);
    });
}

/// Verbs that change nothing, and those whose change another verb's case has.
const NO_CASES: [&str; 7] = [
    "status",
    // Its metadata snapshot is that of `metadata check`, and the file of its --output that of `metrics`.
    "check",
    "watch",
    "explain",
    "completions",
    "volume show",
    // Who discards is fstrim.
    "volume trim",
];

#[test]
fn no_verb_is_missing() {
    fn verbs(command: &clap::Command, path: &str, all: &mut Vec<String>) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let path = format!("{path} {}", verb.get_name()).trim_start().to_owned();
            if verb.has_subcommands() { verbs(verb, &path, all) } else { all.push(path) }
        }
    }
    let mut all = Vec::new();
    let mut command = dmtool::cli::command();
    command.build();
    verbs(&command, "", &mut all);
    let has_a_case = |verb: &str| CASES.iter().any(|case| case.words.starts_with(&format!("{verb} ")));
    let wrong: Vec<_> = all.iter().filter(|verb| has_a_case(verb) == NO_CASES.contains(&verb.as_str())).collect();
    assert!(wrong.is_empty(), "in neither list, or in both: {wrong:?}");
    assert!(NO_CASES.iter().all(|verb| all.iter().any(|known| known == verb)), "{all:?}");
}
