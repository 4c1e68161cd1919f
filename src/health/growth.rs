//! How much a pool must grow to be well again, and the command that grows it.

use super::Look;
use super::mend::quoted;
use crate::observe::lvm::Lvm;
use crate::units::{Bytes, KIB, share_and_rest};

/// LVM's own default for a step (lvm.conf(5), `thin_pool_autoextend_percent`).
const STEP_PERCENT: u64 = 20;

/// What is needed so that `used` is below `warn` percent of the whole, at least a step; in the same units.
fn missing(used: u64, total: u64, warn: u64) -> u64 {
    let enough = u64::try_from(u128::from(used) * 100 / u128::from(warn.max(1)) + 1).unwrap_or(u64::MAX);
    enough.saturating_sub(total).max(share_and_rest(total, STEP_PERCENT)).max(1)
}

/// The command that grows the data of the pool.
pub fn data(look: &Look<'_>) -> String {
    let name = quoted(look.name());
    let Ok(Some((_, table, figures))) = look.figures() else { return "dmtool explain data-nearly-full".to_owned() };
    let chunk = table.chunk_bytes();
    let (used, total) = (figures.data_used.bytes(chunk).0, figures.data_total.bytes(chunk).0);
    let wanted = missing(used, total, look.thresholds.warn);
    let Some(side) = look.side() else { return format!("dmtool resize +{}k {name}", wanted.div_ceil(KIB)) };
    match side.row.vg_free_count.saturating_mul(side.row.vg_extent_size) {
        0 => format!("dmtool resize {name} --add-device DEVICE"),
        free if free <= wanted => format!("dmtool resize max {name}"),
        _ => format!("dmtool resize +{}k {name}", wanted.div_ceil(KIB)),
    }
}

/// The command that grows the metadata of the pool.
pub fn metadata(look: &Look<'_>) -> String {
    let name = quoted(look.name());
    let Ok(Some((.., figures))) = look.figures() else { return "dmtool explain metadata-nearly-full".to_owned() };
    let (used, total) = (figures.metadata_used.bytes().0, figures.metadata_total.bytes().0);
    let wanted = missing(used, total, look.thresholds.warn);
    let room = match (look.side(), &look.survey.lvm) {
        (Some(side), Ok(Some(lvm))) => {
            let extent = Bytes(side.row.vg_extent_size.max(1));
            let extents = metadata_room(lvm, &side.row.vg_name, side.metadata_size, extent, side.row.vg_free_count);
            extents.saturating_mul(extent.0)
        }
        _ => u64::MAX,
    };
    let (device, size) = if room == 0 { (" --add-device DEVICE", wanted) } else { ("", wanted.min(room)) };
    format!("dmtool resize {name}{device} --metadata +{}k", size.div_ceil(KIB))
}

/// How many extents the metadata can grow by: the spare volume of the group grows with it (lvmthin(7)).
pub fn metadata_room(lvm: &Lvm, vg: &str, metadata: Bytes, extent: Bytes, free: u64) -> u64 {
    let (metadata, spare) = (metadata.whole_extents(extent).0, lvm.spare(vg).whole_extents(extent).0);
    if spare == 0 {
        // Its group was made without one.
        return free;
    }
    // Up to the spare's size alone, then both together.
    let alone = spare.saturating_sub(metadata).min(free);
    alone + (free - alone) / 2
}

/// How many extensions of the metadata the group has room for, each `percent` and one more of the size of then, the
/// spare growing along.
pub fn metadata_extensions(metadata: u64, spare: u64, free: u64, percent: u64) -> u64 {
    let (mut size, mut spare, mut free, mut count) = (metadata, spare, free, 0);
    // Each step takes an extent at least; a thousand are as good as any number.
    while count < 1000 && size > 0 {
        let step = share_and_rest(size, percent.saturating_add(1));
        let along = if spare == 0 { 0 } else { size.saturating_add(step).saturating_sub(spare) };
        let Some(left) = step.checked_add(along).and_then(|both| free.checked_sub(both)) else { break };
        free = left;
        spare = spare.saturating_add(along);
        size = size.saturating_add(step);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_of_the_metadata_with_its_spare() {
        // 10 extents and a spare of 10: a step of 21 % is 3, and 3 more for the spare.
        assert_eq!(metadata_extensions(10, 10, 5, 20), 0);
        assert_eq!(metadata_extensions(10, 10, 6, 20), 1);
        assert_eq!(metadata_extensions(10, 0, 6, 20), 2, "without a spare");
        assert_eq!(metadata_extensions(10, 20, 6, 20), 2, "a spare that is larger already");
        assert_eq!(metadata_extensions(1, 1, u64::MAX / 2, 0), 1000, "no end of them");
        // As a profile may say it.
        assert_eq!(metadata_extensions(10, 10, u64::MAX, u64::MAX), 1);
        assert_eq!(metadata_extensions(u64::MAX, 1, u64::MAX, u64::MAX), 0);
    }

    #[test]
    fn enough_to_fall_below_the_threshold() {
        // At least a step of 20 %.
        assert_eq!(missing(80, 100, 80), 20);
        // 100 of 100 used: 126 is the least whole of which it is less than 80 %.
        assert_eq!(missing(100, 100, 80), 26);
        assert_eq!(missing(100, 100, 100), 20);
        assert_eq!(missing(0, 0, 80), 1);
    }

    #[test]
    fn the_spare_grows_with_the_metadata() {
        let row = |name: &str, role: &str, size: u64| {
            serde_json::from_value(serde_json::json!({
                "vg_name": "vg", "lv_name": name, "lv_uuid": "", "lv_attr": "", "lv_layout": "", "lv_role": role,
                "lv_size": size.to_string(), "segtype": "linear", "data_lv": "", "metadata_lv": "", "pool_lv": "",
                "chunk_size": "0", "zero": "", "discards": "", "transaction_id": "", "lv_profile": "",
                "vg_profile": "", "lv_active": "", "lv_when_full": "", "lv_skip_activation": "", "devices": "",
                "vg_extent_size": "4194304", "vg_free_count": "0"
            }))
            .expect("a row")
        };
        let extent = Bytes(4 << 20);
        let lvm = Lvm { lvs: vec![row("lvol0_pmspare", "private,pool,spare", 40 << 20)], ..Lvm::default() };
        assert_eq!(metadata_room(&lvm, "vg", Bytes(40 << 20), extent, 10), 5);
        assert_eq!(metadata_room(&lvm, "vg", Bytes(20 << 20), extent, 10), 7, "5 up to the spare's size, 2 more");
        assert_eq!(metadata_room(&lvm, "vg", Bytes(20 << 20), extent, 3), 3);
        assert_eq!(metadata_room(&Lvm::default(), "vg", Bytes(20 << 20), extent, 10), 10, "no spare");
    }
}
