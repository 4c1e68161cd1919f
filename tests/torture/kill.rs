//! dmtool killed, or asked to end, at one place after the other.

use super::cases::Case;
use super::state::{difference, picture};
use super::trace::{Place, cut, learn};
use super::{Dice, Tally};
use crate::harness::try_sh;

pub const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");
const SIGNALS: [&str; 3] = ["KILL", "TERM", "INT"];

/// A case, with what it ends in where nothing disturbs it.
pub struct Learned {
    pub case: &'static Case,
    pub places: Vec<Place>,
    pub end: String,
}

/// Runs a case once, undisturbed.
///
/// # Errors
/// It does not end well even so.
pub fn undisturbed(case: &'static Case) -> Result<Learned, String> {
    let of = |why: String| format!("{}: {why}", case.name);
    (case.start)();
    let places = learn(DMTOOL, case.words).map_err(of)?;
    let end = picture();
    case.bytes().map_err(of)?;
    (case.back)();
    Ok(Learned { case, places, end })
}

/// Cuts a case off at some of its places: `count` of them, spread over all its steps.
pub fn killed(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    let learned = match undisturbed(case) {
        Ok(learned) => learned,
        Err(why) => return tally.note(Err(why)),
    };
    println!("{}: {} places in {} steps", case.name, learned.places.len(), learned.steps());
    for place in learned.choose(count, dice) {
        // Most are dead at once: it is the kill that leaves things half-way.
        let signal = SIGNALS[[0, 0, 0, 1, 2][dice.below(5)]];
        let ended = learned.killed_at(&place, signal, tally);
        let failed = ended.is_err();
        tally.note(ended);
        if failed {
            crate::harness::clean::after();
            crate::harness::clean::before();
            // One that does not even end well undisturbed would only fail again.
            if let Err(why) = undisturbed(case) {
                return tally.note(Err(why));
            }
        }
    }
}

impl Learned {
    pub fn steps(&self) -> usize {
        self.places.last().map_or(0, |place| place.step + 1)
    }

    /// Places of every step, as far as the count goes.
    pub fn choose(&self, count: usize, dice: &mut Dice) -> Vec<Place> {
        if count >= self.places.len() {
            return self.places.clone();
        }
        let mut chosen = Vec::new();
        while chosen.len() < count {
            for step in 0..self.steps() {
                let of: Vec<Place> = self
                    .places
                    .iter()
                    .filter(|place| place.step == step && !chosen.contains(*place))
                    .cloned()
                    .collect();
                chosen.extend(dice.some(of, 1));
            }
        }
        dice.some(chosen, count)
    }

    fn killed_at(&self, place: &Place, signal: &str, tally: &mut Tally) -> Result<(), String> {
        (self.case.start)();
        let met = cut(DMTOOL, self.case.words, place, signal);
        tally.tried(if met { "kills" } else { "kills that came too late" });
        let ended = self.finished();
        (self.case.back)();
        let Place { call, number, step, text } = place;
        ended.map_err(|why| {
            format!("{} SIG{signal} at {call} {number} after {step} steps, {text}:\n    {why}", self.case.name)
        })
    }

    /// The same command again ends as an undisturbed one.
    pub fn finished(&self) -> Result<(), String> {
        let words = self.case.words;
        let (ok, said, wrong) = try_sh(&format!("timeout 120 {DMTOOL} {words} < /dev/null"));
        if !ok {
            return Err(format!(
                "{words}, run again: {said} {wrong}\n    state: {}",
                picture().replace('\n', "\n    ")
            ));
        }
        if let Some(difference) = difference(&self.end, &picture()) {
            return Err(format!("ends otherwise:\n    {difference}"));
        }
        self.case.bytes()
    }
}
