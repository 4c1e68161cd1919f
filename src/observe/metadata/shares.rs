//! What each volume holds alone, and what it shares: thin_ls counts that over all maps.

use crate::observe::{Looked, Unseen, looked};
use crate::sys::exec::{self, Task};
use crate::sys::signal::Stop;
use crate::units::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Of one volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shares {
    pub exclusive: Bytes,
    pub shared: Bytes,
}

/// Has thin_ls count, over the metadata snapshot that the pool holds where it is up; none where somebody asked for an end.
///
/// # Errors
/// thin_ls is not installed, or it cannot read the metadata.
pub fn count(metadata: &Path, snapshot: bool, stop: &Stop) -> Looked<Option<BTreeMap<u64, Shares>>> {
    let path = exec::find("thin_ls").ok_or_else(|| Unseen("thin_ls is not installed".to_owned()))?;
    let metadata = metadata.to_string_lossy();
    let mut words = vec!["--no-headers", "--format", "DEV,EXCLUSIVE_BYTES,SHARED_BYTES"];
    words.extend(snapshot.then_some("--metadata-snap"));
    words.push(&metadata);
    let task = Task { path: &path, words: &words, out: None, limit: None, stop: Some(stop) };
    let Some(ended) = looked(task.run())? else { return Ok(None) };
    if ended.status != Some(0) {
        return Err(Unseen(format!("thin_ls: {}", ended.said.lines().last().unwrap_or_default())));
    }
    parse(&ended.said).map(Some)
}

/// A volume a line: its thin id and the two figures, the unit behind them where the version writes one.
///
/// # Errors
/// A line is something else.
pub fn parse(said: &str) -> Looked<BTreeMap<u64, Shares>> {
    let wrong = |line: &str| Unseen(format!("thin_ls says: {}", line.escape_debug()));
    let mut found = BTreeMap::new();
    for line in said.lines() {
        let words: Vec<u64> =
            line.split_whitespace().filter_map(|word| word.trim_end_matches('b').parse().ok()).collect();
        let [id, exclusive, shared] = words[..] else { return Err(wrong(line)) };
        found.insert(id, Shares { exclusive: Bytes(exclusive), shared: Bytes(shared) });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_thin_ls() {
        let found = parse("1  65536b  0b\n 7    0    131072\n").expect("two volumes");
        assert_eq!(found.get(&1), Some(&Shares { exclusive: Bytes(65536), shared: Bytes(0) }));
        assert_eq!(found.get(&7), Some(&Shares { exclusive: Bytes(0), shared: Bytes(131_072) }));
        assert_eq!(parse(""), Ok(BTreeMap::new()));
        assert!(parse("1 2").is_err() && parse("a 1 2").is_err());
    }
}
