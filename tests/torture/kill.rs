//! dmtool killed, asked to end, or with a call of its failing, at one place after the other.

use super::cases::Case;
use super::state::{difference, picture, suspended};
use super::trace::{Ended, Place, Tamper, learn, learn_looks, tampered};
use super::writer::Writer;
use super::{Dice, Tally, ground};
use crate::harness::{sh, try_sh};

pub const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");
/// Most are dead at once: it is the kill that leaves things half-way.
const SIGNALS: [&str; 5] = ["KILL", "KILL", "KILL", "TERM", "INT"];
/// What devices, file systems and a kernel short of memory say.
const ERRORS: [&str; 6] = ["EIO", "EIO", "ENOSPC", "ENOMEM", "EBUSY", "EROFS"];

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
    undisturbed_by(case, learn)
}

/// How the places of a command are learned.
type Learn = fn(&str, &str) -> Result<Vec<Place>, String>;

fn undisturbed_by(case: &'static Case, learn: Learn) -> Result<Learned, String> {
    let of = |why: String| format!("{}: {why}", case.name);
    (case.start)();
    let places = learn(DMTOOL, case.words).map_err(of)?;
    let end = picture();
    case.whole().map_err(of)?;
    (case.back)();
    Ok(Learned { case, places, end })
}

/// Cuts a case off at some of its places: `count` of them, spread over all its steps.
pub fn killed(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    at_places(case, count, dice, tally, ("kills", learn, |dice| Tamper::Signal(SIGNALS[dice.below(SIGNALS.len())])));
}

/// Has some calls of a case fail by which it looks.
pub fn looking(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    at_places(case, count, dice, tally, ("looks that failed", learn_looks, |_| Tamper::Error("EIO")));
}

/// Has some calls of a case fail.
pub fn failing(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    at_places(case, count, dice, tally, ("faults", learn, |dice| Tamper::Error(ERRORS[dice.below(ERRORS.len())])));
}

/// What the trial is called, which places it has, and what is done at one.
type Trial = (&'static str, Learn, fn(&mut Dice) -> Tamper);

fn at_places(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally, (what, learn, of): Trial) {
    let mut learned = match undisturbed_by(case, learn) {
        Ok(learned) => learned,
        Err(why) => return tally.note(Err(why)),
    };
    println!("{}: {} places in {} steps", case.name, learned.places.len(), learned.steps());
    for place in learned.choose(count, dice) {
        let tamper = of(dice);
        let ended = learned.tampered_at(&place, tamper, what, tally);
        let failed = ended.is_err();
        tally.note(ended);
        if failed {
            ground::as_new();
            // One that does not even end well undisturbed would only fail again.
            match undisturbed_by(case, learn) {
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
        let Place { call, number, step, text, .. } = place;
        println!("{tamper} at {call} {number} after {step} steps");
        (self.case.start)();
        // Copies that earlier trials left are there, too.
        let start = picture();
        let writer = Writer::beside(self.case, tally);
        let ended = tampered(DMTOOL, self.case.words, place, tamper);
        let outcome = ended.and_then(|ended| {
            tally.tried(&if ended.met { what.to_owned() } else { format!("{what} that came too late") });
            let honest = self.honest(&ended, &start);
            let finished = self.finished().map_err(|why| format!("{why}\n    before it said: {}", ended.said));
            let kept = writer.map_or(Ok(()), Writer::ended);
            honest.and(finished).and(kept)
        });
        let outcome = outcome.map_err(|why| {
            format!("{} {tamper} at {call} {number} after {step} steps, {text}:\n    {why}", self.case.name)
        });
        if let Err(why) = &outcome {
            println!("WRONG: {why}");
        } else {
            (self.case.back)();
        }
        outcome
    }

    /// What a run says of itself is true: done is done, refused has changed nothing, and no way out of it leaves a device
    /// that stands still.
    pub fn honest(&self, ended: &Ended, start: &str) -> Result<(), String> {
        let Some(status) = ended.status else { return Ok(()) };
        let said = &ended.said;
        // What could not be removed is told by its name, and goes with the next run.
        let told = ended.said.contains("could not be released");
        let is_told = |line: &&str| {
            line.contains(".dmtool-") || told && (line.contains("/snapshots/") || line.starts_with("pool "))
        };
        let without = |text: &str| text.lines().filter(|line| !is_told(line)).collect::<Vec<_>>().join("\n");
        let seen = || without(&picture());
        let lie = |what: &str, wanted: &str| match difference(&without(wanted), &seen()) {
            Some(difference) => Err(format!("it says that {what}:\n    {difference}\n    it said: {said}")),
            None => Ok(()),
        };
        match status {
            0 => lie("all is done", &self.end)?,
            3 => lie("nothing was changed", start)?,
            1 | 130 => {}
            other => return Err(format!("it ended with {other}: {said}")),
        }
        let still = suspended();
        if still.is_empty() { Ok(()) } else { Err(format!("{still} stands still after status {status}: {said}")) }
    }

    /// As [`Self::finished`], after a boot. The kernel writes that a metadata snapshot is held before it writes what that
    /// keeps (dm-thin-metadata.c, __reserve_metadata_snap): cut off in between, metadata are what thin_check calls damaged,
    /// and a repair brings everything back.
    pub fn finished_after_a_boot(&self, tally: &mut Tally) -> Result<(), String> {
        let Case { name, words, .. } = self.case;
        let reads = ["volume list --exact", "volume orphans", "metadata check", "metadata dump"];
        let reserves = reads.iter().any(|read| name.starts_with(read));
        let pool = ["loop", "vg/pool"].into_iter().find(|pool| reserves && words.contains(pool));
        let in_the_gap = |pool: &&str| {
            let (_, said, _) = try_sh(&format!("{DMTOOL} metadata check {pool}"));
            // The snapshot counts and is not held, or is held and not there.
            said.contains("metadata reference counts differ") || said.contains("bad checksum in superblock")
        };
        // Whether a snapshot of before counts is seen while the pool is down.
        if let Some(pool) = pool {
            let (_, _, wrong) = try_sh(&format!("{DMTOOL} metadata check {pool}"));
            if wrong.contains("was being reserved when the host went down") {
                sh(&format!("{DMTOOL} deactivate {pool} && {DMTOOL} metadata check {pool}"));
                ground::come_up(self.case);
            }
        }
        let Some(pool) = pool.filter(in_the_gap) else { return self.finished() };
        tally.tried("of these in the kernel's own gap, repaired");
        self.finished_after_repair(pool)
    }

    /// As [`Self::finished`], of a pool that wants a repair first. What that keeps makes another picture.
    pub fn finished_after_repair(&self, pool: &str) -> Result<(), String> {
        let Case { words, .. } = self.case;
        let (ok, said, wrong) = try_sh(&format!(
            "{DMTOOL} repair {pool} --yes < /dev/null && {DMTOOL} repair {pool} --accept --yes < /dev/null"
        ));
        if !ok {
            return Err(format!("the repair of {pool}: {said} {wrong}"));
        }
        // A dump that is there already is of before.
        ground::come_up(self.case);
        let (ok, said, wrong) = try_sh(&format!("rm -f /var/lib/dmtool/dump.xml; {DMTOOL} {words} < /dev/null"));
        if ok { self.case.whole() } else { Err(format!("{words}, after a repair: {said} {wrong}")) }
    }

    /// The same command again ends as an undisturbed one.
    pub fn finished(&self) -> Result<(), String> {
        let words = self.case.words;
        let mut again = try_sh(&format!("timeout 120 {DMTOOL} {words} < /dev/null"));
        // A device that a failed LVM command left, which dmtool refuses to touch, and says how to.
        if let Some((_, hint)) = again.2.split_once("where nobody uses it: ").filter(|_| !again.0) {
            sh(hint.lines().next().expect("a command"));
            again = try_sh(&format!("timeout 120 {DMTOOL} {words} < /dev/null"));
        }
        // The dump was made and something failed after it; no dump is ever written over.
        if again.2.contains("dump.xml is there already") {
            self.case.whole()?;
            again = try_sh(&format!("rm /var/lib/dmtool/dump.xml; timeout 120 {DMTOOL} {words} < /dev/null"));
        }
        let (ok, said, wrong) = again;
        if !ok {
            return Err(format!(
                "{words}, run again: {said} {wrong}\n    state: {}",
                picture().replace('\n', "\n    ")
            ));
        }
        let ended = picture();
        let alike = |text: &str| but_spare(text, ended.contains("lvol0"));
        if let Some(difference) = difference(&alike(&self.end), &alike(&ended)) {
            return Err(format!("ends otherwise:\n    {difference}"));
        }
        nobody_is_left()?;
        self.case.whole()
    }
}

/// # Errors
/// A process of dmtool's goes on, or a lock of its is held, when all is over.
fn nobody_is_left() -> Result<(), String> {
    let left = "pgrep -lx 'dmtool|thin_.*|mke2fs|mkfs.*'; lslocks -no COMMAND,PATH | grep -w dmtool";
    // What was killed is a process until somebody has taken note of its end.
    let (_, said, _) = try_sh(&format!(
        "for i in $(seq 50); do left=$({left}); [ -n \"$left\" ] || exit 0; sleep 0.1; done; echo \"$left\""
    ));
    if said.trim().is_empty() { Ok(()) } else { Err(format!("is left: {said}")) }
}

/// A picture without the spare metadata volume of a group: LVM makes it last, has no command to make one later, and calls it
/// lvol0 until it is one. What was made behind an abandoned one begins elsewhere on the disk. And without the profile of a
/// metadata volume, which means nothing and is there where LVM made the pool at once.
fn but_spare(text: &str, abandoned: bool) -> String {
    let place = |line: &str| abandoned && line.contains(" linear ");
    let lines = text.lines().filter(|line| !line.contains("pmspare") && !line.contains("lvol0"));
    let cut = |line: &str| place(line) || (line.contains("_tmeta ") && line.ends_with("-thinpool"));
    let lines = lines.map(|line| line.rsplit_once(' ').filter(|_| cut(line)).map_or(line, |(line, _)| line));
    lines.collect::<Vec<_>>().join("\n")
}
