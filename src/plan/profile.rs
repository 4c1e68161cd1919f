//! The step that writes a pool's autoextend profile.

use super::Planned;
use super::refusal::Reasons;
use super::setup::DEFAULT;
use super::step::Step;
use crate::names::LvmName;
use crate::observe::pools::Pool;
use crate::observe::profile::{Autoextend, Slot, path};

/// What was asked for; what was not is kept, or the default for a pool that has nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    pub threshold: Option<u64>,
    pub percent: Option<u64>,
}

/// The profile that the pool shall carry: its step, and whether it stands like that already.
pub fn profile_step(
    name: &LvmName,
    asked: Asked,
    pool: Option<&Pool>,
    slot: &Slot,
    reasons: &mut Reasons,
) -> (Planned, Autoextend) {
    // Where nothing was asked, an existing pool keeps what its profile says. One whose file is lost says nothing: LVM then
    // takes it that the pool is never to extend itself, which nobody has wished.
    let side = pool.and_then(|pool| pool.lvm.as_ref()).filter(|lvm| lvm.profile().is_some() && !lvm.profile_missing);
    let kept = match side.map(|lvm| &lvm.autoextend) {
        Some(Ok(kept)) => *kept,
        Some(Err(why)) if asked.threshold.is_none() || asked.percent.is_none() => {
            reasons.add(format!("What {name} is to keep could not be looked at: {why}."));
            DEFAULT
        }
        Some(Err(_)) | None => DEFAULT,
    };
    let wanted = Autoextend {
        threshold: asked.threshold.unwrap_or(kept.threshold),
        percent: asked.percent.unwrap_or(kept.percent),
    };
    let path = path(&name.dm_name());
    let profile = slot.profile.as_ref();
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
    if let Some(why) = slot.barred.as_ref().filter(|_| !stands) {
        reasons.add_with_hint(
            why.clone(),
            format!("the profile {} is a plain file of root's on a file system that takes writes", path.display()),
        );
    }
    let text = include_str!("../../profiles/thinpool.profile")
        .replace("threshold=80", &format!("threshold={}", wanted.threshold))
        .replace("percent=20", &format!("percent={}", wanted.percent));
    let step = Step::WriteProfile { path, text, threshold: wanted.threshold, percent: wanted.percent };
    (Planned { step, already: stands, part: None }, wanted)
}
