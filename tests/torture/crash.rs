//! The kernel stops dead while dmtool is at one of its places, and comes up again: what it had not written is lost, what
//! disks had taken is not (that is a power cut). One boot ends one cut and begins the next.

use super::cases::Case;
use super::kill::{DMTOOL, Learned, undisturbed};
use super::trace::{Place, stopped_at};
use super::{Dice, Tally, ground};
use crate::harness::{crash, sh};
use serde::{Deserialize, Serialize};

/// A file system of the tests' own, which no case touches.
const DISK: &str = "/dev/xvdh";
const NOTES: &str = "/run/notes";

/// What one boot leaves to the next.
#[derive(Serialize, Deserialize)]
struct Notes {
    end: String,
    places: Vec<Place>,
    /// The cuts that are over.
    over: usize,
}

fn file() -> String {
    format!("{NOTES}/notes.json")
}

fn keep(notes: &Notes) {
    std::fs::write(file(), serde_json::to_vec(notes).expect("the notes")).expect("the notes");
    sh("sync");
}

/// One boot; it ends in a crash, unless all is over by then.
pub fn boot(case: &'static Case, count: usize, dice: &mut Dice, tally: &mut Tally) {
    if !case.begins_after_a_boot() {
        return;
    }
    ground::mount("/dev/xvdf");
    sh(&format!("blkid {DISK} >/dev/null || mkfs.ext4 -q {DISK}; mkdir -p {NOTES} && mount {DISK} {NOTES}"));
    let notes = std::fs::read(file()).ok().map(|text| serde_json::from_slice::<Notes>(&text).expect("the notes"));
    let mut notes = match notes {
        Some(notes) => {
            ground::come_up(case);
            let place = notes.places[notes.over].clone();
            tally.tried("crashes");
            let learned = Learned { case, places: Vec::new(), end: notes.end.clone() };
            if let Err(why) = learned.finished_after_a_boot(tally) {
                let Place { call, number, step, text, .. } = place;
                let at = format!("{} crashed at {call} {number} after {step} steps, {text}", case.name);
                return tally.note(Err(format!("{at}:\n    {why}")));
            }
            (case.back)();
            Notes { over: notes.over + 1, ..notes }
        }
        None => match undisturbed(case) {
            Ok(learned) => Notes { places: learned.choose(count, dice), end: learned.end, over: 0 },
            Err(why) => return tally.note(Err(why)),
        },
    };
    // A place that is not met this time is no crash.
    while let Some(place) = notes.places.get(notes.over) {
        (case.start)();
        keep(&notes);
        if stopped_at(DMTOOL, case.words, place) {
            for what in tally.tried.keys() {
                println!("@tried {what}");
            }
            crash();
        }
        (case.back)();
        notes.over += 1;
    }
}
