//! A pool's autoextend profile, and the low-water mark that it should have put into the kernel's table.

use super::Planned;
use super::refusal::Reasons;
use super::setup::{DEFAULT, Request};
use super::step::Step;
use crate::observe::pools::Pool;
use crate::observe::profile::{Autoextend, NEVER, Profile, path};
use crate::units::{Bytes, DataBlocks};

/// The profile that the pool shall carry: its step, and whether it stands like that already.
pub fn profile_step(
    request: &Request,
    pool: Option<&Pool>,
    profile: Option<&Profile>,
    reasons: &mut Reasons,
) -> (Planned, Autoextend) {
    let threshold = if request.autoextend { request.threshold } else { Some(NEVER) };
    // Where nothing was asked, an existing pool keeps what its profile says.
    let kept = pool
        .and_then(|pool| pool.lvm.as_ref())
        .filter(|lvm| lvm.profile().is_some())
        .and_then(|lvm| lvm.autoextend.as_ref().ok())
        .copied()
        .unwrap_or(DEFAULT);
    let wanted =
        Autoextend { threshold: threshold.unwrap_or(kept.threshold), percent: request.percent.unwrap_or(kept.percent) };
    let path = path(&request.pool.dm_name());
    let stands = profile
        .is_some_and(|profile| (profile.threshold, profile.percent) == (Some(wanted.threshold), Some(wanted.percent)));
    if let Some(profile) = profile.filter(|profile| !stands && !profile.others.is_empty()) {
        reasons.add_with_hint(
            format!(
                "The profile {} also sets {}, so dmtool does not rewrite it.",
                path.display(),
                profile.others.join(", ")
            ),
            format!(
                "edit it by hand: thin_pool_autoextend_threshold={}, thin_pool_autoextend_percent={}",
                wanted.threshold, wanted.percent
            ),
        );
    }
    let text = include_str!("../../profiles/thinpool.profile")
        .replace("threshold=80", &format!("threshold={}", wanted.threshold))
        .replace("percent=20", &format!("percent={}", wanted.percent));
    let step = Step::WriteProfile { path, text, threshold: wanted.threshold, percent: wanted.percent };
    (Planned { step, already: stands }, wanted)
}

/// The low-water mark that LVM puts into the table: the share above the threshold, in whole chunks (seen: 1553 for
/// 7768 chunks at 80 %). With a threshold of 100 it is 0.
pub fn low_water_for(data: Bytes, chunk: Bytes, threshold: u64) -> DataBlocks {
    let chunks = data.0.checked_div(chunk.0).unwrap_or(0);
    DataBlocks(chunks * NEVER.saturating_sub(threshold) / 100)
}

/// LVM counts in sectors before it counts in chunks, so a chunk more or less is the same mark.
pub fn near(one: DataBlocks, other: DataBlocks) -> bool {
    one.0.abs_diff(other.0) <= 1
}
