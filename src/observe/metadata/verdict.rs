//! What thin_check says of metadata, in words.

use crate::observe::{Looked, Unseen, looked};
use crate::sys::exec::{self, Task};
use crate::sys::signal::Stop;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// What thin_check says of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Clean,
    /// Blocks are counted that nothing uses, with its words: nothing is lost.
    Leaked(String),
    /// With its words.
    Damaged(String),
    /// It would take longer than a look may, or somebody asked for an end.
    Late,
}

/// How long to wait for a verdict.
#[derive(Clone, Copy)]
pub enum Patience<'a> {
    Within(Duration),
    /// As long as it takes, or until somebody asks for an end.
    Until(&'a Stop),
    /// Both.
    AtMost(Duration, &'a Stop),
}

/// Has thin_check look at metadata; with `snapshot` at the snapshot that a live pool holds.
///
/// # Errors
/// thin_check is not installed, or could not look.
pub fn check(metadata: &Path, snapshot: bool, patience: Patience<'_>) -> Looked<Verdict> {
    let path = exec::find("thin_check").ok_or_else(|| Unseen("thin_check is not installed".to_owned()))?;
    let own: &[String] = if snapshot { &["--metadata-snap".to_owned()] } else { &[] };
    of(&path, own, metadata, patience)
}

/// As [`check`], by this thin_check and with these options.
///
/// # Errors
/// It could not look.
pub fn of(path: &Path, own: &[String], metadata: &Path, patience: Patience<'_>) -> Looked<Verdict> {
    let first = run(path, own, metadata, patience)?;
    let Verdict::Damaged(said) = first else { return Ok(first) };
    // It has one status for both; without the check of what is no damage it says which.
    let mut lenient = own.to_vec();
    lenient.push("--ignore-non-fatal-errors".to_owned());
    Ok(match run(path, &lenient, metadata, patience)? {
        Verdict::Clean => Verdict::Leaked(said),
        Verdict::Late => Verdict::Late,
        _ => Verdict::Damaged(said),
    })
}

fn run(path: &Path, own: &[String], metadata: &Path, patience: Patience<'_>) -> Looked<Verdict> {
    let metadata = metadata.to_string_lossy();
    let words: Vec<&str> = own.iter().map(String::as_str).chain([&*metadata]).collect();
    let (limit, stop) = match patience {
        Patience::Within(limit) => (Some(limit), None),
        Patience::Until(stop) => (None, Some(stop)),
        Patience::AtMost(limit, stop) => (Some(limit), Some(stop)),
    };
    let ended = looked(Task { path, words: &words, out: None, limit, stop }.run())?;
    let Some(ended) = ended else { return Ok(Verdict::Late) };
    let said = words_of(&ended.said);
    match ended.status {
        Some(0) => Ok(Verdict::Clean),
        // 64 from version 1.0 on. Before that 1, which it ends with too where it could not open the metadata: then it has
        // examined nothing. Anything else is not about the metadata.
        Some(64) => Ok(Verdict::Damaged(said)),
        Some(1) if ended.said.contains("examining superblock") => Ok(Verdict::Damaged(said)),
        Some(status) => Err(Unseen(format!("{} ended with status {status}: {said}", path.display()))),
        None => Err(Unseen(format!("{} was ended by a signal", path.display()))),
    }
}

/// What it says of itself on the way is not of interest; a path of ours is no path of the operator's.
fn words_of(said: &str) -> String {
    let of_itself = |line: &&str| {
        ["examining", "checking", "TRANSACTION_ID=", "METADATA_FREE_BLOCKS="].iter().any(|word| line.starts_with(word))
    };
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty() && !of_itself(line)).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_of_itself_is_left_out() {
        let said = "examining superblock\nTRANSACTION_ID=2\nMETADATA_FREE_BLOCKS=4095\nexamining mapping tree\n  thin \
                    device 1 is missing mappings [744, 992]\n    bad checksum in btree node (block 34)\nchecking space map counts\n";
        assert_eq!(
            words_of(said),
            "thin device 1 is missing mappings [744, 992]; bad checksum in btree node (block 34)"
        );
    }
}
