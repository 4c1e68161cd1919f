//! A pool as LVM has it, and how far it can be extended.

use super::Live;
use crate::observe::Looked;
use crate::observe::lvm::LvRow;
use crate::observe::profile::{Autoextend, NEVER};
use crate::observe::striping::Striping;
use crate::observe::thin::PoolFigures;
use crate::units::{Bytes, Extents, is_above, share_and_rest};
use serde::Serialize;

/// A pool as LVM has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LvmSide {
    pub row: LvRow,
    pub autoextend: Looked<Autoextend>,
    /// A profile is attached, and there is no file of that name.
    pub profile_missing: bool,
    pub data_devices: Vec<String>,
    pub metadata_devices: Vec<String>,
    pub metadata_size: Bytes,
    /// Of its data.
    pub striping: Striping,
    /// Its hidden volumes that are active; all are while the pool is.
    pub active_components: Vec<String>,
}

impl LvmSide {
    pub fn profile(&self) -> Option<&str> {
        [&self.row.lv_profile, &self.row.vg_profile].into_iter().find(|name| !name.is_empty()).map(String::as_str)
    }

    /// The transaction id that LVM knows, where it would refuse a pool that is down with this one. LVM compares only where it
    /// made volumes itself: its number is 0 for a pool that another program manages. One behind is what it leaves where a
    /// message of its own waits for the activation.
    pub fn refuses(&self, own: u64) -> Option<u64> {
        let known: u64 = self.row.transaction_id.parse().ok()?;
        (known != 0 && known != own && own.checked_add(1) != Some(known)).then_some(known)
    }

    /// A physical volume of its group is missing, and a part of the pool with it.
    pub fn is_partial(&self) -> bool {
        // The ninth character of lv_attr (lvs(8)).
        self.row.lv_attr.chars().nth(8) == Some('p')
    }

    /// Whether all of a pool that is up is there: not, where its volumes alone brought it up, or LVM was cut off before its
    /// layer over the pool had a table. Activating it is what completes it.
    pub fn is_whole(&self, live: &Live) -> bool {
        self.row.lv_active == "active" && !live.layer_empty
    }

    /// It is not to extend itself, by a profile of its own: nobody needs to watch it.
    pub fn is_off_on_purpose(&self) -> bool {
        let never = self.autoextend.as_ref().is_ok_and(|settings| settings.threshold >= NEVER);
        never && self.profile().is_some() && !self.profile_missing
    }

    /// Whether dmeventd is to extend it.
    pub fn extends_itself(&self) -> bool {
        self.autoextend.as_ref().is_ok_and(|settings| settings.threshold < NEVER)
    }

    /// Whether dmeventd watches it; none where dmeventd could not be asked.
    pub fn is_watched(&self) -> Option<bool> {
        let asked = !self.row.seg_monitor.is_empty() || self.row.lv_active != "active";
        asked.then(|| self.monitored())
    }

    pub fn monitored(&self) -> bool {
        self.row.seg_monitor == "monitored"
    }

    /// How many extensions by `autoextend` the free space of the group has room for, each step `percent` of the
    /// size of then, rounded up to extents (lvm.conf(5), `thin_pool_autoextend_percent`); none where there is none for the
    /// next one of a pool that is as full as `figures` say.
    pub fn extensions_left(&self, figures: Option<&PoolFigures>, autoextend: Autoextend) -> u64 {
        self.extended(figures, autoextend).0
    }

    fn extended(&self, figures: Option<&PoolFigures>, autoextend: Autoextend) -> (u64, Extents) {
        let size = Extents(self.row.lv_size / self.row.vg_extent_size.max(1));
        let free = Extents(self.row.vg_free_count);
        if figures.is_some_and(|figures| self.next_step(figures, autoextend) > free) {
            return (0, size);
        }
        extended(size, free, autoextend.percent, self.striping)
    }

    /// What LVM takes of the group at the next extension: its percent, or what it takes to be below the threshold again if
    /// that is more. It takes all of it or nothing.
    pub fn next_step(&self, figures: &PoolFigures, autoextend: Autoextend) -> Extents {
        let (used, total) = (u128::from(figures.data_used.0), u128::from(figures.data_total.0.max(1)));
        let below = (used * 10_000).div_ceil(total * u128::from(autoextend.threshold.max(1))).saturating_sub(100);
        let percent = u128::from(autoextend.percent).max(below);
        let size = u128::from(self.row.lv_size / self.row.vg_extent_size.max(1));
        let step = u64::try_from(size.saturating_mul(percent).div_ceil(100)).unwrap_or(u64::MAX);
        Extents(self.striping.takes(step))
    }

    /// The pool's size when the last of these extensions was made.
    pub fn extends_until(&self, figures: Option<&PoolFigures>, autoextend: Autoextend) -> Bytes {
        self.extended(figures, autoextend).1.bytes(Bytes(self.row.vg_extent_size.max(1)))
    }
}

/// Whether dmeventd must have extended by now: it runs its command when the use passes a multiple of 5 % (its thin
/// plugin, `CHECK_STEP`), and the threshold lies before the last one that was passed.
pub fn is_overdue(figures: &PoolFigures, threshold: u64) -> bool {
    let step = threshold.min(NEVER).next_multiple_of(5).min(99);
    threshold < NEVER
        && (is_above(figures.data_used.0, figures.data_total.0, step)
            || is_above(figures.metadata_used.0, figures.metadata_total.0, step))
}

/// How many steps there is room for, and the size after them.
fn extended(mut size: Extents, mut free: Extents, percent: u64, striping: Striping) -> (u64, Extents) {
    let mut count = 0;
    while percent > 0 && size.0 > 0 {
        let step = share_and_rest(size.0, percent);
        let Some(left) = free.0.checked_sub(striping.takes(step)) else { break };
        free.0 = left;
        size.0 = size.0.saturating_add(striping.rounded(step));
        count += 1;
    }
    (count, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_have_room_for_no_extension() {
        // 95 % + 1 % + the spare of a 4 GiB disk: 971 + 10 + 10 of 1023 extents.
        let extensions = |size, free, percent| extended(size, free, percent, Striping::NONE).0;
        assert_eq!(extensions(Extents(971), Extents(32), 20), 0);
        assert_eq!(extensions(Extents(971), Extents(195), 20), 1);
        assert_eq!(extensions(Extents(971), Extents(194), 20), 0);
        assert_eq!(extensions(Extents(100), Extents(44), 20), 2);
        assert_eq!(extensions(Extents(100), Extents(44), 0), 0);
    }
}
