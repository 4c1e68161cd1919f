//! How much a pool must grow to be well again, and the command that grows it.

use super::Look;
use super::mend::{quoted, swap, table_line};
use crate::observe::lvm::Lvm;
use crate::observe::survey::{LoopDevice, Lower};
use crate::units::{Bytes, KIB, SECTOR, Sectors};

/// LVM's own default for a step (lvm.conf(5), `thin_pool_autoextend_percent`).
const STEP_PERCENT: u64 = 20;

/// What is needed so that `used` is below `warn` percent of the whole, at least a step; in the same units.
fn missing(used: u64, total: u64, warn: u64) -> u64 {
    let enough = u64::try_from(u128::from(used) * 100 / u128::from(warn.max(1)) + 1).unwrap_or(u64::MAX);
    enough.saturating_sub(total).max(total.saturating_mul(STEP_PERCENT).div_ceil(100)).max(1)
}

/// The command that grows the data of the pool.
pub fn data(look: &Look<'_>) -> String {
    let explain = "dmtool explain data-nearly-full".to_owned();
    let Ok(Some((live, table, figures))) = look.figures() else { return explain };
    let chunk = table.chunk_bytes();
    let (used, total) = (figures.data_used.bytes(chunk).0, figures.data_total.bytes(chunk).0);
    if let Some(side) = look.side() {
        let extent = side.row.vg_extent_size.max(1);
        let wanted = missing(used, total, look.thresholds.warn).div_ceil(extent);
        return match wanted.min(side.row.vg_free_count) {
            0 => format!("vgextend {} DEVICE && lvextend --extents +100%FREE {}", side.row.vg_name, look.name()),
            extents => format!("lvextend --extents +{extents} {}", look.name()),
        };
    }
    let Ok(lower) = &look.seen.data else { return explain };
    let Some(file) = file_of(lower) else { return explain };
    let size = (total + missing(used, total, look.thresholds.warn)).next_multiple_of(chunk.0.max(SECTOR));
    format!("{} && {}", grow_file(lower, file, size), swap(&live.dm_name, &table_line(table, Sectors(size / SECTOR))))
}

/// The command that grows the metadata of the pool.
pub fn metadata(look: &Look<'_>) -> String {
    let explain = "dmtool explain metadata-nearly-full".to_owned();
    let Ok(Some((live, _, figures))) = look.figures() else { return explain };
    let (used, total) = (figures.metadata_used.bytes().0, figures.metadata_total.bytes().0);
    if let (Some(side), Ok(Some(lvm))) = (look.side(), &look.survey.lvm) {
        let extent = side.row.vg_extent_size.max(1);
        let wanted = missing(used, total, look.thresholds.warn).div_ceil(extent);
        let room = metadata_room(lvm, &side.row.vg_name, side.metadata_size, Bytes(extent), side.row.vg_free_count);
        return match wanted.min(room) {
            0 => format!(
                "vgextend {} DEVICE && lvextend --poolmetadatasize +{}k {}",
                side.row.vg_name,
                wanted * extent / KIB,
                look.name()
            ),
            extents => format!("lvextend --poolmetadatasize +{}k {}", extents * extent / KIB, look.name()),
        };
    }
    let Ok(lower) = &look.seen.metadata else { return explain };
    let Some(file) = file_of(lower) else { return explain };
    let size = (total + missing(used, total, look.thresholds.warn)).next_multiple_of(1 << 20);
    let name = quoted(&live.dm_name);
    // The kernel takes the new length of the metadata device at a resume.
    format!("{} && dmsetup suspend {name} && dmsetup resume {name}", grow_file(lower, file, size))
}

/// How many extents the metadata can grow by: the spare volume of the group grows with it (lvmthin(7)).
pub fn metadata_room(lvm: &Lvm, vg: &str, metadata: Bytes, extent: Bytes, free: u64) -> u64 {
    let is_spare = |role: &str| role.split(',').any(|word| word == "spare");
    let spare = lvm.lvs.iter().find(|row| row.vg_name == vg && is_spare(&row.lv_role)).map_or(0, |row| row.lv_size);
    let (metadata, spare) = (metadata.whole_extents(extent).0, Bytes(spare).whole_extents(extent).0);
    if spare == 0 {
        // Its group was made without one.
        return free;
    }
    // Up to the spare's size alone, then both together.
    let alone = spare.saturating_sub(metadata).min(free);
    alone + (free - alone) / 2
}

fn file_of(lower: &Lower) -> Option<&str> {
    match &lower.loop_device {
        Some(LoopDevice { file: Some(file), deleted: false, .. }) => Some(file),
        _ => None,
    }
}

fn grow_file(lower: &Lower, file: &str, size: u64) -> String {
    format!("truncate --size {size} {} && losetup --set-capacity /dev/{}", quoted(file), lower.device)
}

#[cfg(test)]
mod tests {
    use super::*;

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
