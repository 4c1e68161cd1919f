//! How full pools were at the last look, to say when they will be full. Kept under /run: a sample from before a boot
//! says nothing about now.

use super::{Looked, looked};
use crate::sys::file;
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const PATH: &str = "/run/dmtool/use.json";
/// A shorter time between two samples says little about the next hours.
const SHORTEST: u64 = 60;
/// A sample of yesterday says nothing about today's rate.
const LONGEST: u64 = 24 * 3600;
/// What is further away than this is not said.
const HORIZON: u64 = 30 * 24 * 3600;

/// How full a pool was, at a time since the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub seconds: u64,
    pub used: Bytes,
    pub total: Bytes,
}

pub type Samples = BTreeMap<String, Sample>;

/// What the last look left; nothing where there was none.
///
/// # Errors
/// The file is there and is not ours.
pub fn read() -> Looked<Samples> {
    let Some(text) = looked(file::read(Path::new(PATH)))? else { return Ok(Samples::new()) };
    // Of another version: as if there were none.
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// The seconds since the boot, sleep among them.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0)
}

/// Leaves these samples for the next look; a sample that is younger than a minute is kept.
///
/// # Errors
/// The file cannot be written.
pub fn leave(old: &Samples, new: Samples) -> Looked<()> {
    let keep = |(name, sample): (String, Sample)| {
        let kept = old.get(&name).filter(|old| sample.seconds.saturating_sub(old.seconds) < SHORTEST);
        (name, kept.copied().unwrap_or(sample))
    };
    let kept: Samples = new.into_iter().map(keep).collect();
    if &kept == old {
        return Ok(());
    }
    let text = serde_json::to_string(&kept).unwrap_or_default();
    looked(file::replace(Path::new(PATH), &text, 0o600))
}

/// In how many seconds the pool is full if it goes on filling as between the two samples; nothing where that cannot
/// be said: it did not fill, it was grown, or the samples stand too near to each other or too far apart.
pub fn seconds_to_full(before: Sample, now: Sample) -> Option<u64> {
    let elapsed = now.seconds.checked_sub(before.seconds)?;
    let grown = now.used.0.checked_sub(before.used.0)?;
    let free = now.total.0.checked_sub(now.used.0)?;
    if !(SHORTEST..=LONGEST).contains(&elapsed) || grown == 0 || before.total != now.total || free == 0 {
        return None;
    }
    let seconds = u128::from(free) * u128::from(elapsed) / u128::from(grown);
    u64::try_from(seconds).ok().filter(|seconds| *seconds <= HORIZON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, used: u64) -> Sample {
        Sample { seconds, used: Bytes(used), total: Bytes(1000) }
    }

    #[test]
    fn said_only_where_it_can_be_said() {
        assert_eq!(seconds_to_full(sample(0, 100), sample(60, 200)), Some(480));
        assert_eq!(seconds_to_full(sample(0, 100), sample(59, 200)), None, "too near");
        assert_eq!(seconds_to_full(sample(0, 100), sample(90_000, 200)), None, "too far");
        assert_eq!(seconds_to_full(sample(0, 200), sample(60, 200)), None, "does not fill");
        assert_eq!(seconds_to_full(sample(0, 300), sample(60, 200)), None, "empties");
        assert_eq!(seconds_to_full(sample(60, 100), sample(0, 200)), None, "another boot");
        assert_eq!(seconds_to_full(sample(0, 100), sample(60, 1000)), None, "full");
        let grown = Sample { total: Bytes(2000), ..sample(60, 200) };
        assert_eq!(seconds_to_full(sample(0, 100), grown), None, "grown");
        let slow = Sample { total: Bytes(u64::MAX), ..sample(60, 101) };
        assert_eq!(seconds_to_full(Sample { total: Bytes(u64::MAX), ..sample(0, 100) }, slow), None, "years");
    }
}
