//! The arithmetic of a new pool: extents for data, metadata and the spare.

use crate::units::{Amount, Bytes, Extents, KIB, MIB, share_of};

/// LVM's default extent (lvm.conf(5), `allocation/physical_extent_size`).
pub const EXTENT: Bytes = Bytes(4 * MIB);
/// "The first PE is at 1 MiB" by default (lvm.conf(5), `devices/default_data_alignment`).
const FIRST_EXTENT: u64 = MIB;
/// The smallest metadata that LVM makes (lvmthin(7)).
const SMALLEST_METADATA: Bytes = Bytes(2 * MIB);
/// 15.81 GiB, the largest metadata that LVM uses (lvm.conf(5), `allocation/thin_pool_crop_metadata`).
pub const LARGEST_METADATA: Bytes = Bytes(16_580_608 * KIB);

/// The same in whole extents.
pub fn largest_metadata(extent: Bytes) -> Extents {
    LARGEST_METADATA.whole_extents(extent)
}

/// What a pool will take of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub data: Extents,
    pub metadata: Extents,
    /// Further extents for the group's spare metadata volume; none where it has one that is large enough.
    pub spare: Extents,
}

/// The extents of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub extent: Bytes,
    pub total: Extents,
    pub free: Extents,
    /// The spare metadata volume that is there already.
    pub spare: Extents,
}

/// How many extents of this size LVM will find on a blank device: none before 1 MiB, or before a multiple of what the device
/// prefers where 1 MiB is none (pvcreate(8), `--dataalignment`; `devices/data_alignment_detection`).
pub fn extents_on(size: Bytes, (minimum_io, optimal_io): (u64, u64), extent: Bytes) -> Extents {
    let mut first = FIRST_EXTENT;
    for preferred in [minimum_io, optimal_io] {
        if preferred != 0 && !first.is_multiple_of(preferred) {
            first = preferred;
        }
    }
    Bytes(size.0.saturating_sub(first.max(FIRST_EXTENT))).whole_extents(extent)
}

/// What is asked for in extents, rounded down as LVM does.
pub fn share(room: Room, amount: Amount) -> Extents {
    match amount {
        Amount::PercentOfGroup(percent) => Extents(share_of(room.total.0, percent)),
        Amount::PercentOfFree(percent) => Extents(share_of(room.free.0, percent)),
        Amount::Bytes(bytes) => bytes.whole_extents(room.extent),
    }
}

/// Lays a pool out over two sets of devices of a group: data on one, metadata on the other, the spare where there is
/// room. Shares are shares of the data devices.
///
/// # Errors
/// A sentence that says what does not fit.
pub fn lay_out_apart(
    data_room: Room,
    metadata_free: Extents,
    data: Amount,
    metadata: Amount,
) -> Result<Layout, String> {
    let generous = Room { free: Extents(data_room.free.0.saturating_mul(2)), ..data_room };
    let layout = lay_out(generous, data, metadata)?;
    let size = |extents: Extents| extents.bytes(data_room.extent);
    if layout.data > data_room.free {
        return Err(format!(
            "--data {data} ({}) does not fit into {} of free space on the data devices.",
            size(layout.data),
            size(data_room.free)
        ));
    }
    if layout.metadata > metadata_free {
        return Err(format!(
            "--metadata {metadata} ({}) does not fit into {} of free space on the metadata device.",
            size(layout.metadata),
            size(metadata_free)
        ));
    }
    let rest = |free: Extents, taken: Extents| free.0.saturating_sub(taken.0);
    let left = rest(data_room.free, layout.data).saturating_add(rest(metadata_free, layout.metadata));
    if layout.spare.0 > left {
        return Err(format!("no room is left for the spare of {}: make data or metadata smaller.", size(layout.spare)));
    }
    Ok(layout)
}

/// Lays a pool out in a group.
///
/// # Errors
/// A sentence that says what does not fit and the largest `--data` that does.
pub fn lay_out(room: Room, data: Amount, metadata: Amount) -> Result<Layout, String> {
    let smallest = SMALLEST_METADATA.extents_for(room.extent);
    let largest = largest_metadata(room.extent);
    let asked = match metadata {
        Amount::Bytes(bytes) => bytes.extents_for(room.extent),
        _ => share(room, metadata),
    };
    let metadata_extents = asked.max(smallest).min(largest);
    let spare = Extents(metadata_extents.0.saturating_sub(room.spare.0));
    let data_extents = share(room, data);
    let layout = Layout { data: data_extents, metadata: metadata_extents, spare };
    let overhead = metadata_extents.0.saturating_add(spare.0);
    if data_extents.0.saturating_add(overhead) <= room.free.0 && data_extents.0 > 0 {
        return Ok(layout);
    }
    let left = Extents(room.free.0.saturating_sub(overhead));
    let size = |extents: Extents| extents.bytes(room.extent);
    if left.0 == 0 {
        return Err(format!(
            "{} of free space is too small for a pool: its metadata and the spare need {}.",
            size(room.free),
            size(Extents(overhead))
        ));
    }
    if data_extents.0 == 0 {
        return Err(format!("--data {data} is less than one extent of {}.", room.extent));
    }
    let of = |whole: Extents| left.0.saturating_mul(100).checked_div(whole.0).unwrap_or(0);
    let largest = match data {
        Amount::PercentOfGroup(_) if of(room.total) > 0 => format!("{}%VG", of(room.total)),
        Amount::PercentOfFree(_) if of(room.free) > 0 => format!("{}%FREE", of(room.free)),
        _ => format!("{}M", size(left).0 / MIB),
    };
    Err(format!(
        "--data {data} ({}) with --metadata {metadata} ({}) and a spare of {} does not fit into {} of free space: \
         the largest that fits is --data {largest}.",
        size(data_extents),
        size(metadata_extents),
        size(spare),
        size(room.free),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{GIB, parse_amount};
    use proptest::prelude::*;

    fn room(total: u64) -> Room {
        Room { extent: EXTENT, total: Extents(total), free: Extents(total), spare: Extents(0) }
    }

    fn amounts(data: &str, metadata: &str) -> (Amount, Amount) {
        (parse_amount(data).expect("an amount"), parse_amount(metadata).expect("an amount"))
    }

    #[test]
    fn extents_as_lvm_counts_them() {
        for (size, minimum_io, optimal_io, extents) in [
            (4 * GIB, 512, 0, 1023),
            (300 * MIB, 512, 0, 74),
            (3072 * GIB, 512, 0, 786_431),
            (5 * MIB, 0, 0, 1),
            (5 * MIB - 512, 0, 0, 0),
            (0, 0, 0, 0),
            (4 * GIB, 4096, 3 * MIB, 1023),
            (4 * GIB + 2 * MIB, 4096, 3 * MIB, 1023),
        ] {
            assert_eq!(extents_on(Bytes(size), (minimum_io, optimal_io), EXTENT), Extents(extents), "{size}");
        }
        assert_eq!(extents_on(Bytes(300 * MIB), (512, 0), Bytes(MIB)), Extents(299));
        assert_eq!(extents_on(Bytes(300 * MIB), (512, 0), Bytes(32 * MIB)), Extents(9));
    }

    #[test]
    fn the_documented_shares() {
        let (data, metadata) = amounts("95%VG", "1%VG");
        for (total, expected) in [(1023, (971, 10, 10)), (74, (70, 1, 1)), (5119, (4863, 51, 51))] {
            let layout = lay_out(room(total), data, metadata).expect("it fits");
            assert_eq!((layout.data.0, layout.metadata.0, layout.spare.0), expected);
        }
        let large = lay_out(room(786_431), data, metadata).expect("it fits");
        assert_eq!(large.metadata, Extents(4048), "15.81 GiB at most");
    }

    #[test]
    fn a_spare_that_is_there_is_used() {
        let (data, metadata) = amounts("95%VG", "1%VG");
        let layout = lay_out(Room { spare: Extents(4), ..room(1023) }, data, metadata).expect("it fits");
        assert_eq!(layout.spare, Extents(6));
    }

    #[test]
    fn what_does_not_fit_names_what_would() {
        for (data, metadata, largest) in [
            ("99%VG", "1%VG", "--data 98%VG."),
            ("95%VG", "6%VG", "--data 88%VG."),
            ("100%FREE", "1%VG", "--data 98%FREE."),
            ("5G", "1%VG", "--data 4012M."),
        ] {
            let (data, metadata) = amounts(data, metadata);
            let why = lay_out(room(1023), data, metadata).expect_err("it does not fit");
            assert!(why.ends_with(largest), "{why}");
        }
        let (data, metadata) = amounts("95%VG", "1%VG");
        assert!(lay_out(room(2), data, metadata).expect_err("too small").contains("too small for a pool"));
        let (data, metadata) = amounts("1M", "1%VG");
        assert!(lay_out(room(100), data, metadata).expect_err("no extent").contains("less than one extent"));
    }

    proptest! {
        /// LVM's figures are not ours to trust.
        #[test]
        fn no_group_panics(
            (extent, total, free, spare) in any::<(u64, u64, u64, u64)>(),
            size: u64,
            (one, other) in (1_u64..=100, 1_u64..=100),
        ) {
            let room = Room { extent: Bytes(extent), total: Extents(total), free: Extents(free), spare: Extents(spare) };
            let of = |share| [Amount::Bytes(Bytes(size)), Amount::PercentOfGroup(share), Amount::PercentOfFree(share)];
            for (data, metadata) in of(one).into_iter().flat_map(|data| of(other).map(|metadata| (data, metadata))) {
                let _ = (lay_out(room, data, metadata), lay_out_apart(room, Extents(total), data, metadata));
            }
            let _ = extents_on(Bytes(size), (one, total), Bytes(extent));
        }

        #[test]
        fn a_layout_fits_and_the_largest_offer_does_too(total in 3_u64..1_000_000, percent in 1_u64..=100) {
            let (data, metadata) = (Amount::PercentOfGroup(percent), Amount::PercentOfGroup(1));
            match lay_out(room(total), data, metadata) {
                Ok(layout) => prop_assert!(layout.data.0 + layout.metadata.0 + layout.spare.0 <= total),
                Err(why) => if let Some((_, offer)) = why.split_once("fits is --data ") {
                    let offer = parse_amount(offer.trim_end_matches('.')).expect("an amount");
                    prop_assert!(lay_out(room(total), offer, metadata).is_ok(), "{why}");
                }
            }
        }
    }
}
