//! dmtool killed, asked to end, or with a call of its failing, at one place after the other.

use super::cases::Case;
use super::state::{difference, picture, suspended};
use super::trace::{Ended, Place, Tamper, learn, tampered};
use super::{Dice, Tally, ground};
use crate::harness::try_sh;

pub const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");
/// Most are dead at once: it is the kill that leaves things half-way.
const SIGNALS: [&str; 5] = ["KILL", "KILL", "KILL", "TERM", "INT"];
/// What devices, file systems and a kernel short of memory say.
const ERRORS: [&str; 6] = ["EIO", "EIO", "ENOSPC", "ENOMEM", "EBUSY", "EROFS"];

/// A case, with what it begins and ends in where nothing disturbs it.
pub struct Learned {
    pub case: &'static Case,
    pub places: Vec<Place>,
    pub start: String,
    pub end: String,
}

/// Runs a case once, undisturbed.
///
/// # Errors
/// It does not end well even so.
pub fn undisturbed(case: &'static Case) -> Result<Learned, String> {
    let of = |why: String| format!("{}: {why}", case.name);
    (case.start)();
    let start = picture();
    let places = learn(DMTOOL, case.words).map_err(of)?;
    let end = picture();
    case.bytes().map_err(of)?;
    (case.back)();
    Ok(Learned { case, places, start, end })
}

/// Cuts a case off at some of its places: `count` of them, spread over all its steps.
pub fn killed(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    at_places(case, count, dice, tally, ("kills", |dice| Tamper::Signal(SIGNALS[dice.below(SIGNALS.len())])));
}

/// Has some calls of a case fail.
pub fn failing(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    at_places(case, count, dice, tally, ("faults", |dice| Tamper::Error(ERRORS[dice.below(ERRORS.len())])));
}

/// What the trial is called, and what is done at a place.
type Trial = (&'static str, fn(&mut Dice) -> Tamper);

fn at_places(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally, (what, of): Trial) {
    let mut learned = match undisturbed(case) {
        Ok(learned) => learned,
        Err(why) => return tally.note(Err(why)),
    };
    println!("{}: {} places in {} steps", case.name, learned.places.len(), learned.steps());
    for place in learned.choose(count, dice) {
        let tamper = of(dice);
        let ended = learned.tampered_at(&place, tamper, what, tally);
        let failed = ended.is_err();
        if let Err(why) = &ended {
            println!("WRONG: {why}");
        }
        tally.note(ended);
        if failed {
            ground::as_new();
            // One that does not even end well undisturbed would only fail again.
            match undisturbed(case) {
                Ok(anew) => learned = anew,
                Err(why) => return tally.note(Err(why)),
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

    fn tampered_at(&self, place: &Place, tamper: Tamper, what: &str, tally: &mut Tally) -> Result<(), String> {
        println!("{tamper} at {} {} after {} steps", place.call, place.number, place.step);
        (self.case.start)();
        let ended = tampered(DMTOOL, self.case.words, place, tamper);
        let outcome = ended.and_then(|ended| {
            tally.tried(&if ended.met { what.to_owned() } else { format!("{what} that came too late") });
            self.honest(&ended)?;
            self.finished()
        });
        (self.case.back)();
        let Place { call, number, step, text } = place;
        outcome.map_err(|why| {
            format!("{} {tamper} at {call} {number} after {step} steps, {text}:\n    {why}", self.case.name)
        })
    }

    /// What a run says of itself is true: done is done, refused has changed nothing, and no way out of it leaves a device
    /// that stands still.
    pub fn honest(&self, ended: &Ended) -> Result<(), String> {
        let Some(status) = ended.status else { return Ok(()) };
        let said = &ended.said;
        let lie = |what: &str, wanted: &str| match difference(wanted, &picture()) {
            Some(difference) => Err(format!("it says that {what}:\n    {difference}\n    it said: {said}")),
            None => Ok(()),
        };
        match status {
            0 => lie("all is done", &self.end)?,
            3 => lie("nothing was changed", &self.start)?,
            1 | 130 => {}
            other => return Err(format!("it ended with {other}: {said}")),
        }
        let still = suspended();
        if still.is_empty() { Ok(()) } else { Err(format!("{still} stands still after status {status}: {said}")) }
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
