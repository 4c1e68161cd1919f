//! A survey in a process of its own, around whatever hangs: a monitor that hangs with its pool tells nobody.

use super::Globals;
use crate::health::{self, Finding, Thresholds};
use crate::observe::survey::{self, Avoid, Depth, Survey};
use crate::observe::{Host, Unseen};
use crate::sys::apart::{self, Ended, Where};
use crate::sys::signal::Stop;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// One more try for each device that hangs, up to this many.
const TRIES: usize = 6;
/// What a command at work leaves on its way is gone by then.
const SETTLES: Duration = Duration::from_millis(500);

/// Makes a survey of the pools with these names (none means all), as deep as asked, and hands over what `tell` says of it
/// and of what health finds in it. What a command at work leaves on its way must be seen twice; all metadata is looked
/// at once. Where no survey can be made, that is what is found.
pub fn findings<T: Serialize + DeserializeOwned>(
    names: &[String],
    depth: Depth<'_>,
    globals: &Globals,
    thresholds: Thresholds,
    tell: impl Fn(&Survey, &[Finding]) -> T,
) -> T {
    let told = survey(names, depth, globals, |look| {
        let mut seen = look();
        let mut found = health::findings(&seen, thresholds);
        if found.iter().any(health::may_pass) {
            std::thread::sleep(SETTLES);
            let first = std::mem::replace(&mut seen, look());
            if let Depth::Whole(_) = depth {
                seen.keep_maps(first);
            }
            found = health::confirmed(&found, health::findings(&seen, thresholds));
        }
        tell(&seen, &found)
    });
    told.unwrap_or_else(|why| {
        let unseen = Survey::unseen(why);
        tell(&unseen, &health::findings(&unseen, thresholds))
    })
}

/// Has `tell` look at the pools with these names, once or again, and hands over what it says.
///
/// # Errors
/// No survey could be made, in whatever way.
pub fn survey<T: Serialize + DeserializeOwned>(
    names: &[String],
    depth: Depth<'_>,
    globals: &Globals,
    tell: impl Fn(&mut dyn FnMut() -> Survey) -> T,
) -> Result<T, Unseen> {
    let mut avoid = Avoid::default();
    for _ in 0..TRIES {
        let work = |mut stage: apart::Stage| {
            let mut depth = depth;
            let mut look = || {
                let depth = std::mem::replace(&mut depth, Depth::Quick);
                survey::look(&mut Host::new(globals.lock_limit), names, depth, &avoid, &mut stage)
            };
            serde_json::to_vec(&tell(&mut look)).unwrap_or_default()
        };
        let stop = match depth {
            Depth::Quick => None,
            Depth::Whole(stop) => Some(stop),
        };
        let busy = || stop.map(|_| globals.voice.busy("checking the metadata of the pools"));
        let ended = apart::run(|stage| survey::limit(stage, globals.lock_limit, depth), stop, busy, work);
        let (place, what) = match ended.map_err(|why| Unseen(format!("{why:#}")))? {
            Ended::Done(bytes) => {
                return serde_json::from_slice(&bytes).map_err(|why| Unseen(format!("reading a survey: {why}")));
            }
            Ended::Late(place) => {
                let limit = survey::limit(&place.stage, globals.lock_limit, depth).as_secs();
                (place, format!("did not answer within {limit} s"))
            }
            Ended::Died(place) => (place, "ended without an answer".to_owned()),
        };
        let Where { stage, detail } = &place;
        if stop.is_some_and(Stop::asked) {
            return Err(Unseen("somebody asked for an end".to_owned()));
        }
        if !avoid.learn(stage, detail, &what) {
            return Err(Unseen(format!("{stage} {what} ({detail})")));
        }
    }
    Err(Unseen("more devices hang than can be gone around".to_owned()))
}
