//! A survey in a process of its own, around whatever hangs: a monitor that hangs with its pool tells nobody.

use super::Globals;
use crate::observe::survey::{self, Avoid, Survey};
use crate::observe::{Host, Unseen};
use crate::sys::apart::{self, Ended, Where};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// One more try for each device that hangs, up to this many.
const TRIES: usize = 6;
/// What a command at work leaves on its way is gone by then.
const SETTLES: Duration = Duration::from_millis(500);

/// Makes a survey of the pools with these names (none means all) and hands over what `tell` says of it; where `again`
/// doubts what it saw, of a second one.
///
/// # Errors
/// No survey could be made, in whatever way.
pub fn survey<T: Serialize + DeserializeOwned>(
    names: &[String],
    globals: &Globals,
    again: impl Fn(&Survey) -> bool,
    tell: impl Fn(&Survey) -> T,
) -> Result<T, Unseen> {
    let mut avoid = Avoid::default();
    for _ in 0..TRIES {
        let work = |mut stage: apart::Stage| {
            let mut look = || survey::look(&mut Host::new(globals.lock_limit), names, &avoid, &mut stage);
            let mut seen = look();
            if again(&seen) {
                std::thread::sleep(SETTLES);
                seen = look();
            }
            serde_json::to_vec(&tell(&seen)).unwrap_or_default()
        };
        let ended = apart::run(|stage| survey::limit(stage, globals.lock_limit), work);
        let (place, what) = match ended.map_err(|why| Unseen(format!("{why:#}")))? {
            Ended::Done(bytes) => {
                return serde_json::from_slice(&bytes).map_err(|why| Unseen(format!("reading a survey: {why}")));
            }
            Ended::Late(place) => {
                let limit = survey::limit(&place.stage, globals.lock_limit).as_secs();
                (place, format!("did not answer within {limit} s"))
            }
            Ended::Died(place) => (place, "ended without an answer".to_owned()),
        };
        let Where { stage, detail } = &place;
        if !avoid.learn(stage, detail, &what) {
            return Err(Unseen(format!("{stage} {what} ({detail})")));
        }
    }
    Err(Unseen("more devices hang than can be gone around".to_owned()))
}
