//! Sizes as types: what is counted in bytes, sectors, extents, chunks or metadata blocks never mixes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes in a sector, the unit of every device-mapper table (linux/Documentation/admin-guide/device-mapper).
pub const SECTOR: u64 = 512;
/// Bytes in a block of pool metadata (thin-provisioning.rst: "4k").
pub const METADATA_BLOCK: u64 = 4096;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

macro_rules! unit {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);
    };
}

unit!(
    /// A size in bytes.
    Bytes
);
unit!(
    /// A length in sectors of 512 bytes.
    Sectors
);
unit!(
    /// A count of physical extents of one volume group.
    Extents
);
unit!(
    /// A count of data blocks (chunks) of one pool.
    DataBlocks
);
unit!(
    /// A count of metadata blocks of 4 KiB.
    MetaBlocks
);

/// The kernel counts the bytes of a device with a sign (loff_t).
pub const LARGEST_DEVICE: Bytes = Bytes(i64::MAX.unsigned_abs());

impl Bytes {
    /// Whole sectors in this size; a rest is dropped, as the kernel does.
    pub fn whole_sectors(self) -> Sectors {
        Sectors(self.0 / SECTOR)
    }

    /// Whole extents in this size; a rest is dropped.
    pub fn whole_extents(self, extent: Bytes) -> Extents {
        Extents(self.0.checked_div(extent.0).unwrap_or(0))
    }

    /// The extents that hold at least this size.
    pub fn extents_for(self, extent: Bytes) -> Extents {
        Extents(if extent.0 == 0 { 0 } else { self.0.div_ceil(extent.0) })
    }
}

impl Sectors {
    /// In bytes; saturates, since a length read from a table is not ours to trust.
    pub fn bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(SECTOR))
    }
}

impl Extents {
    /// In bytes, saturating.
    pub fn bytes(self, extent: Bytes) -> Bytes {
        Bytes(self.0.saturating_mul(extent.0))
    }
}

impl DataBlocks {
    /// In bytes, saturating.
    pub fn bytes(self, chunk: Bytes) -> Bytes {
        Bytes(self.0.saturating_mul(chunk.0))
    }
}

impl MetaBlocks {
    /// In bytes, saturating.
    pub fn bytes(self) -> Bytes {
        Bytes(self.0.saturating_mul(METADATA_BLOCK))
    }
}

impl fmt::Display for Bytes {
    /// For people: in the largest unit that leaves at least one before the point, rounded to two places. In whole
    /// numbers, since floating point would load a library that `status` otherwise does without.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < KIB {
            return write!(f, "{} B", self.0);
        }
        let bytes = u128::from(self.0);
        let mut shift = 0;
        for unit in UNITS {
            shift += 10;
            let hundredths = ((bytes * 100) + (1 << (shift - 1))) >> shift;
            if hundredths < 102_400 || unit == "EiB" {
                return if bytes.trailing_zeros() >= shift {
                    write!(f, "{} {unit}", bytes >> shift)
                } else {
                    write!(f, "{}.{:02} {unit}", hundredths / 100, hundredths % 100)
                };
            }
        }
        Ok(())
    }
}

/// A share of a whole in percent with one decimal; of nothing it is 0.
#[expect(clippy::cast_precision_loss, reason = "a tenth of a percent, at most a few thousand")]
pub fn percent(used: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    let tenths = (u128::from(used) * 1000 + u128::from(total) / 2) / u128::from(total);
    tenths as f64 / 10.0
}

/// So many percent of a whole, a rest dropped; saturates.
pub fn share_of(whole: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// As [`share_of`], a rest counted as one more.
pub fn share_and_rest(whole: u64, percent: u64) -> u64 {
    u64::try_from((u128::from(whole) * u128::from(percent)).div_ceil(100)).unwrap_or(u64::MAX)
}

/// Whether a use is this many percent of its whole, or more.
pub fn reaches(used: u64, total: u64, percent: u64) -> bool {
    u128::from(used) * 100 >= u128::from(total) * u128::from(percent)
}

/// Whether a use is more than this many percent of its whole.
pub fn is_above(used: u64, total: u64, percent: u64) -> bool {
    u128::from(used) * 100 > u128::from(total) * u128::from(percent)
}

/// Reads a SIZE: an integer or decimal with an optional unit (k, m, g, t, p, also as kb or kib; case does not
/// matter), all powers of 1024; without a unit it is bytes. A fraction of a byte is dropped.
///
/// # Errors
/// A sentence that names the text, where it is no such size or does not fit 64 bits.
pub fn parse_size(text: &str) -> Result<Bytes, String> {
    let shown = text.escape_debug();
    let bad = || format!("'{shown}' is not a size: use a number with k, m, g, t or p, such as 512K or 1.5G");
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let lower = unit.to_ascii_lowercase();
    let prefix = if lower == "b" { "" } else { lower.strip_suffix("ib").or(lower.strip_suffix('b')).unwrap_or(&lower) };
    let shift = match prefix {
        "" if lower == "ib" => return Err(bad()),
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(bad());
    }
    let too_large = || format!("'{shown}' is larger than any device can be");
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    // Fifteen digits decide a byte of a petabyte; more would only overflow.
    let digits = fraction.get(..15).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(digits.len()).unwrap_or(0));
    let part: u128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| bad())? };
    let bytes = whole.checked_mul(1 << shift).ok_or_else(too_large)? + (part << shift) / scale;
    u64::try_from(bytes).map(Bytes).map_err(|_| too_large())
}

/// A size asked for in bytes or as a share of a volume group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Amount {
    Bytes(Bytes),
    /// Whole percent of all extents of the group, 1 to 100.
    PercentOfGroup(u64),
    /// Whole percent of the extents that are free, 1 to 100.
    PercentOfFree(u64),
}

/// A whole number before a `%`: digits and nothing else, where Rust would take a sign.
pub fn parse_share(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads `95%VG`, `50%FREE` or a SIZE.
///
/// # Errors
/// A sentence that names the text.
pub fn parse_amount(text: &str) -> Result<Amount, String> {
    let Some((number, of)) = text.split_once('%') else {
        let bytes = parse_size(text)?;
        return if bytes.0 == 0 { Err(format!("'{text}' is no size for a volume")) } else { Ok(Amount::Bytes(bytes)) };
    };
    let shown = text.escape_debug();
    let Some(share @ 1..=100) = parse_share(number) else {
        return Err(format!("'{shown}' is not a share: use a whole number from 1 to 100 before %VG or %FREE"));
    };
    match of.to_ascii_uppercase().as_str() {
        "VG" => Ok(Amount::PercentOfGroup(share)),
        "FREE" => Ok(Amount::PercentOfFree(share)),
        _ => Err(format!("'{shown}' does not say of what: use {share}%VG or {share}%FREE")),
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Bytes(bytes) => write!(f, "{bytes}"),
            Amount::PercentOfGroup(share) => write!(f, "{share}%VG"),
            Amount::PercentOfFree(share) => write!(f, "{share}%FREE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("200GB", 200 * GIB),
            ("200gib", 200 * GIB),
            ("1.5G", GIB + GIB / 2),
            ("512K", 512 * KIB),
            ("64kb", 64 * KIB),
            ("7b", 7),
            ("0.5k", 512),
            ("16383p", 16383 << 50),
        ] {
            assert_eq!(parse_size(text), Ok(Bytes(bytes)), "{text}");
        }
        let wrong = [
            "",
            "G",
            "-5G",
            "+5G",
            "1e9",
            "1 G",
            "1.G",
            ".5G",
            "1..5G",
            "5X",
            "5ib",
            "0x10",
            "99999999999P",
            "5GBB",
            "٣G",
        ];
        for text in wrong {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_shares_or_sizes() {
        assert_eq!(parse_amount("95%VG"), Ok(Amount::PercentOfGroup(95)));
        assert_eq!(parse_amount("100%free"), Ok(Amount::PercentOfFree(100)));
        assert_eq!(parse_amount("1G"), Ok(Amount::Bytes(Bytes(GIB))));
        for text in ["0%VG", "101%VG", "95%", "%VG", "-1%VG", "+5%VG", "9.5%VG", "95%PVS", "0", "0G"] {
            assert!(parse_amount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (512 * KIB, "512 KiB"),
            (GIB + GIB / 2, "1.50 GiB"),
            (20 * GIB, "20 GiB"),
            (GIB - 1, "1.00 GiB"),
            (u64::MAX, "16.00 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn shares_of_the_largest() {
        assert_eq!((share_of(1023, 95), share_and_rest(1023, 95)), (971, 972));
        assert_eq!((share_of(u64::MAX, 100), share_and_rest(u64::MAX, 100)), (u64::MAX, u64::MAX));
        assert_eq!((share_of(u64::MAX, u64::MAX), share_and_rest(2, u64::MAX)), (u64::MAX, share_of(2, u64::MAX) + 1));
    }

    proptest! {
        #[test]
        fn any_count_of_bytes_reads_back(bytes: u64) {
            prop_assert_eq!(parse_size(&bytes.to_string()), Ok(Bytes(bytes)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_size(&text);
            let _ = parse_amount(&text);
        }

        #[test]
        fn no_size_panics(used: u64, total: u64, percent: u64) {
            let _ = (super::percent(used, total), reaches(used, total, percent), is_above(used, total, percent));
            let _ = (share_of(used, percent), share_and_rest(used, percent), Bytes(used).to_string());
            let (size, unit) = (Bytes(used), Bytes(total));
            let _ = (size.whole_extents(unit), size.extents_for(unit), Extents(used).bytes(unit));
            let _ = (DataBlocks(used).bytes(unit), MetaBlocks(used).bytes(), Sectors(used).bytes());
        }

        #[test]
        fn rounding_stays_around_the_size(bytes in 0..u64::MAX / 2, extent in 1..GIB) {
            let (size, extent) = (Bytes(bytes), Bytes(extent));
            prop_assert!(size.whole_extents(extent).bytes(extent) <= size);
            prop_assert!(size.extents_for(extent).bytes(extent) >= size);
            prop_assert!(size.extents_for(extent).0 - size.whole_extents(extent).0 <= 1);
        }
    }
}
