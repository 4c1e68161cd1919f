//! What an extension of a volume takes of its group, where the volume lies on stripes or in several copies.

use super::lvm::LvRow;
use serde::Serialize;

/// How a volume lies on the devices of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Striping {
    /// LVM rounds an extension up to a multiple of so many extents (seen with 2.03.16).
    unit: u64,
    /// So many extents of the group carry `unit` of the volume.
    width: u64,
}

impl Striping {
    pub const NONE: Striping = Striping { unit: 1, width: 1 };

    /// By the segments of a volume (lvmraid(7)). What is of another type lies in plain stretches, or is not ours to count.
    pub fn of(row: &LvRow) -> Striping {
        let width = row.stripes.max(1);
        let unit = match row.segtype.as_str() {
            "striped" | "raid0" | "raid0_meta" => width,
            "raid1" | "mirror" => 1,
            "raid10" | "raid10_near" => width / 2,
            kind if kind.starts_with("raid6") => width.saturating_sub(2),
            kind if kind.starts_with("raid4") || kind.starts_with("raid5") => width.saturating_sub(1),
            _ => return Striping::NONE,
        };
        Striping { unit: unit.max(1), width }
    }

    /// What LVM makes of an extension by so many extents.
    pub fn rounded(self, extents: u64) -> u64 {
        extents.div_ceil(self.unit).saturating_mul(self.unit)
    }

    /// What an extension by so many extents takes of the group.
    pub fn takes(self, extents: u64) -> u64 {
        extents.div_ceil(self.unit).saturating_mul(self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(segtype: &str, stripes: u64) -> Striping {
        let row = serde_json::json!({
            "vg_name": "vg", "lv_name": "pool_tdata", "lv_uuid": "", "lv_attr": "", "lv_layout": "", "lv_role": "",
            "lv_size": "4194304", "segtype": segtype, "data_lv": "", "metadata_lv": "", "pool_lv": "", "chunk_size": "0",
            "zero": "", "discards": "", "transaction_id": "", "lv_profile": "", "vg_profile": "", "lv_active": "",
            "lv_when_full": "", "lv_skip_activation": "", "devices": "", "stripes": stripes.to_string(),
            "vg_extent_size": "4194304", "vg_free_count": "0"
        });
        Striping::of(&serde_json::from_value(row).expect("a row"))
    }

    /// What LVM makes of an extension by five extents, and takes for it.
    #[test]
    fn five_extents_more() {
        for (segtype, stripes, rounded, takes) in [
            ("linear", 1, 5, 5),
            ("striped", 2, 6, 6),
            ("raid0", 3, 6, 6),
            ("raid1", 2, 5, 10),
            ("raid10", 4, 6, 12),
            ("raid5_ls", 3, 6, 9),
            ("raid6_zr", 5, 6, 10),
            ("raid4", 3, 6, 9),
            ("cache", 1, 5, 5),
            ("striped", 0, 5, 5),
        ] {
            let striping = of(segtype, stripes);
            assert_eq!((striping.rounded(5), striping.takes(5)), (rounded, takes), "{segtype}");
        }
    }
}
