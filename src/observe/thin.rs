//! The words of the thin-pool and thin targets (linux/Documentation/admin-guide/device-mapper/
//! thin-provisioning.rst). Tolerant where a newer kernel may say more, strict where a word decides something.

use super::{Looked, Unseen};
use crate::units::{Bytes, DataBlocks, MetaBlocks, Sectors};
use serde::{Deserialize, Serialize};

/// `thin-pool <metadata dev> <data dev> <chunk sectors> <low water blocks> [<n> <feature>…]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolTable {
    /// `MAJ:MIN`
    pub metadata_device: String,
    pub data_device: String,
    pub chunk: Sectors,
    pub low_water: DataBlocks,
    /// In the order of the table, words that we do not know among them.
    pub features: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Rw,
    Ro,
    OutOfDataSpace,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    Passdown,
    NoPassdown,
    Ignore,
}

/// Behind what is said of discards, in the order in which the kernel shows a table.
const BEHIND: [&str; 2] = ["read_only", "error_if_no_space"];

impl Discard {
    /// As JSON and the command line have it.
    pub fn word(self) -> &'static str {
        match self {
            Discard::Passdown => "passdown",
            Discard::NoPassdown => "no_passdown",
            Discard::Ignore => "ignore",
        }
    }

    /// As LVM has it.
    pub fn by_lvm(self) -> &'static str {
        if self == Discard::NoPassdown { "nopassdown" } else { self.word() }
    }

    /// What a word means, LVM's or ours.
    pub fn of_word(word: &str) -> Option<Discard> {
        let all = [Discard::Passdown, Discard::NoPassdown, Discard::Ignore];
        all.into_iter().find(|discard| [discard.word(), discard.by_lvm()].contains(&word))
    }

    /// The feature of a table that asks for it; passdown is what the kernel does without one.
    fn feature(self) -> Option<&'static str> {
        match self {
            Discard::Passdown => None,
            Discard::NoPassdown => Some("no_discard_passdown"),
            Discard::Ignore => Some("ignore_discard"),
        }
    }
}

/// What a working pool says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    pub mode: Mode,
    /// Absent with mode `fail`, as all that follows.
    pub figures: Option<PoolFigures>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFigures {
    pub transaction_id: u64,
    pub metadata_used: MetaBlocks,
    pub metadata_total: MetaBlocks,
    pub data_used: DataBlocks,
    pub data_total: DataBlocks,
    /// The block of a held metadata snapshot.
    pub held_root: Option<u64>,
    pub discard: Discard,
    pub error_if_no_space: bool,
    pub needs_check: bool,
    pub metadata_low_water: Option<MetaBlocks>,
}

impl PoolTable {
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|word| word == feature)
    }

    /// The words of its line behind the target's name.
    pub fn params(&self) -> String {
        self.params_on(&self.metadata_device, &self.data_device)
    }

    /// The command that loads it with this length into the pool of that name, and swaps it in.
    pub fn swap_command(&self, dm_name: &str, length: Sectors) -> String {
        let line = format!("0 {} thin-pool {}", length.0, self.params());
        format!("dmsetup load {dm_name} --table '{line}' && dmsetup resume {dm_name}")
    }

    /// As [`PoolTable::params`], on other devices.
    pub fn params_on(&self, metadata: &str, data: &str) -> String {
        let mut words =
            vec![metadata.to_owned(), data.to_owned(), self.chunk.0.to_string(), self.low_water.0.to_string()];
        if !self.features.is_empty() {
            words.push(self.features.len().to_string());
            words.extend(self.features.iter().cloned());
        }
        words.join(" ")
    }

    pub fn chunk_bytes(&self) -> Bytes {
        self.chunk.bytes()
    }

    /// What it asks for. One that says both ignores.
    pub fn discard(&self) -> Discard {
        let asks = |discard: &Discard| discard.feature().is_some_and(|feature| self.has(feature));
        [Discard::Ignore, Discard::NoPassdown].into_iter().find(asks).unwrap_or(Discard::Passdown)
    }

    /// The same table, asking for that, in the kernel's order.
    #[must_use]
    pub fn with_discard(&self, asked: Discard) -> PoolTable {
        let mut features = self.features.clone();
        features.retain(|word| [Discard::Ignore, Discard::NoPassdown].iter().all(|one| one.feature() != Some(word)));
        let behind = features.iter().position(|word| BEHIND.contains(&word.as_str())).unwrap_or(features.len());
        if let Some(feature) = asked.feature() {
            features.insert(behind, feature.to_owned());
        }
        PoolTable { features, ..self.clone() }
    }
}

fn bad(field: &str, word: &str) -> Unseen {
    Unseen(format!("the kernel says '{}' for a thin pool's {field}", word.escape_debug()))
}

fn number(field: &str, word: Option<&&str>) -> Looked<u64> {
    let word = word.ok_or_else(|| Unseen(format!("the kernel leaves out a thin pool's {field}")))?;
    word.parse().map_err(|_| bad(field, word))
}

fn pair(field: &str, word: Option<&&str>) -> Looked<(u64, u64)> {
    let word = word.ok_or_else(|| Unseen(format!("the kernel leaves out a thin pool's {field}")))?;
    let (used, total) = word.split_once('/').ok_or_else(|| bad(field, word))?;
    Ok((used.parse().map_err(|_| bad(field, word))?, total.parse().map_err(|_| bad(field, word))?))
}

/// Reads the parameters of a pool's table.
///
/// # Errors
/// Names the field that is missing or is no such thing.
pub fn parse_pool_table(params: &str) -> Looked<PoolTable> {
    let words: Vec<&str> = params.split_whitespace().collect();
    let device = |at: usize, field: &str| match words.get(at) {
        Some(word) => Ok((*word).to_owned()),
        None => Err(Unseen(format!("the kernel leaves out a thin pool's {field}"))),
    };
    let count = if words.len() > 4 { number("count of features", words.get(4))? } else { 0 };
    let features: Vec<String> = words.iter().skip(5).map(|word| (*word).to_owned()).collect();
    if features.len() as u64 != count {
        return Err(bad("count of features", &count.to_string()));
    }
    Ok(PoolTable {
        metadata_device: device(0, "metadata device")?,
        data_device: device(1, "data device")?,
        chunk: Sectors(number("chunk size", words.get(2))?),
        low_water: DataBlocks(number("low-water mark", words.get(3))?),
        features,
    })
}

/// Reads the parameters of a pool's status.
///
/// # Errors
/// Names the field that is missing or holds a word that decides something and is not known.
pub fn parse_pool_status(params: &str) -> Looked<PoolStatus> {
    let words: Vec<&str> = params.split_whitespace().collect();
    if matches!(words.as_slice(), ["Fail" | "Error"]) {
        return Ok(PoolStatus { mode: Mode::Fail, figures: None });
    }
    let (metadata_used, metadata_total) = pair("metadata use", words.get(1))?;
    let (data_used, data_total) = pair("data use", words.get(2))?;
    let held_root = match words.get(3) {
        Some(&"-") => None,
        word => Some(number("held metadata snapshot", word)?),
    };
    let mode = match words.get(4) {
        Some(&"rw") => Mode::Rw,
        Some(&"ro") => Mode::Ro,
        Some(&"out_of_data_space") => Mode::OutOfDataSpace,
        Some(word) => return Err(bad("mode", word)),
        None => return Err(Unseen("the kernel leaves out a thin pool's mode".to_owned())),
    };
    let rest = words.get(5..).unwrap_or_default();
    let discard = if rest.contains(&"ignore_discard") {
        Discard::Ignore
    } else if rest.contains(&"no_discard_passdown") {
        Discard::NoPassdown
    } else {
        Discard::Passdown
    };
    Ok(PoolStatus {
        mode,
        figures: Some(PoolFigures {
            transaction_id: number("transaction id", words.first())?,
            metadata_used: MetaBlocks(metadata_used),
            metadata_total: MetaBlocks(metadata_total),
            data_used: DataBlocks(data_used),
            data_total: DataBlocks(data_total),
            held_root,
            discard,
            error_if_no_space: rest.contains(&"error_if_no_space"),
            needs_check: rest.contains(&"needs_check"),
            metadata_low_water: rest.last().and_then(|word| word.parse().ok()).map(MetaBlocks),
        }),
    })
}

/// An active thin volume, as far as the look at its pool tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thin {
    pub dm_name: String,
    pub suspended: bool,
    /// LVM made it.
    pub of_lvm: bool,
    pub length: Sectors,
    /// Its status line; none where it was not asked for.
    pub status: Option<String>,
}

impl Thin {
    /// The kernel has given it up.
    pub fn has_failed(&self) -> bool {
        matches!(self.status.as_deref().map(str::trim), Some("Fail" | "Error"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fresh_pool_of_lvm() {
        let table = parse_pool_table("254:0 254:1 1024 1553 1 skip_block_zeroing ").expect("a table");
        assert_eq!((table.chunk, table.low_water), (Sectors(1024), DataBlocks(1553)));
        assert!(table.has("skip_block_zeroing") && !table.has("error_if_no_space"));
        let status = parse_pool_status("0 1033/10240 0/7768 - rw no_discard_passdown queue_if_no_space - 1024 ");
        let status = status.expect("a status");
        assert_eq!(status.mode, Mode::Rw);
        let figures = status.figures.expect("figures");
        assert_eq!((figures.metadata_used, figures.data_total), (MetaBlocks(1033), DataBlocks(7768)));
        assert_eq!(figures.discard, Discard::NoPassdown);
        assert_eq!(figures.metadata_low_water, Some(MetaBlocks(1024)));
        assert!(!figures.needs_check && figures.held_root.is_none());
    }

    #[test]
    fn sick_pools() {
        assert_eq!(parse_pool_status("Fail").map(|status| status.mode), Ok(Mode::Fail));
        let status =
            parse_pool_status("7 9/10 20/20 88 out_of_data_space ignore_discard error_if_no_space needs_check 5");
        let status = status.expect("a status");
        assert_eq!(status.mode, Mode::OutOfDataSpace);
        let figures = status.figures.expect("figures");
        assert!(figures.needs_check && figures.error_if_no_space);
        assert_eq!((figures.held_root, figures.discard), (Some(88), Discard::Ignore));
    }

    #[test]
    fn what_a_table_asks_for_and_another_that_asks_for_more() {
        let plain = "7:1 7:0 128 0 2 skip_block_zeroing error_if_no_space";
        let table = parse_pool_table(plain).expect("a table");
        assert_eq!(table.discard(), Discard::Passdown);
        let none = table.with_discard(Discard::NoPassdown);
        assert_eq!(none.params(), "7:1 7:0 128 0 3 skip_block_zeroing no_discard_passdown error_if_no_space");
        assert_eq!(
            (none.discard(), none.with_discard(Discard::Ignore).discard()),
            (Discard::NoPassdown, Discard::Ignore)
        );
        assert_eq!(none.with_discard(Discard::Passdown).params(), plain);
        let both = parse_pool_table("7:1 7:0 128 0 2 ignore_discard no_discard_passdown").expect("a table");
        assert_eq!(
            (both.discard(), both.with_discard(Discard::Passdown).params()),
            (Discard::Ignore, "7:1 7:0 128 0".to_owned())
        );
        for word in ["passdown", "no_passdown", "nopassdown", "ignore"] {
            assert!(Discard::of_word(word).is_some(), "{word}");
        }
        assert_eq!(Discard::of_word("pass"), None);
    }

    #[test]
    fn a_kernel_that_says_more_or_less() {
        // Linux 3.x ends after the mode and the discards; a later one may add words.
        assert!(parse_pool_status("0 1/2 0/4 - ro discard_passdown").is_ok());
        assert!(parse_pool_status("0 1/2 0/4 - rw discard_passdown queue_if_no_space - 3 new_word 9").is_ok());
        assert!(parse_pool_table("7:1 7:0 128 32768").is_ok());
        assert!(parse_pool_table("7:1 7:0 128 32768 2 skip_block_zeroing some_new_feature").is_ok());
    }

    #[test]
    fn what_decides_something_is_named() {
        for (params, field) in [
            ("0 1/2 0/4 - rx", "mode"),
            ("0 1/2 0/4 -", "mode"),
            ("x 1/2 0/4 - rw", "transaction id"),
            ("0 12 0/4 - rw", "metadata use"),
            ("0 1/2 0/x - rw", "data use"),
            ("0 1/2 0/4 ? rw", "held metadata snapshot"),
            ("", "metadata use"),
        ] {
            let why = parse_pool_status(params).expect_err(params);
            assert!(why.0.contains(field), "{params}: {why}");
        }
        assert!(parse_pool_table("7:1 7:0 128 x").expect_err("no number").0.contains("low-water"));
        assert!(parse_pool_table("7:1 7:0 128 0 3 one").expect_err("miscounted").0.contains("features"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_pool_table(&text);
            let _ = parse_pool_status(&text);
        }
    }
}
