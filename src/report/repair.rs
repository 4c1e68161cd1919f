//! What a repair saves and what it loses, volume by volume.

use super::table::{Column, lines};
use crate::observe::repair::Repair;
use crate::units::{Bytes, DataBlocks};
use serde_json::{Value, json};

/// A volume before and after.
struct Row<'a> {
    name: Option<&'a str>,
    thin_id: u64,
    /// None where the old map could not be read; nothing mapped and not there are zero.
    before: Option<u64>,
    after: Option<u64>,
}

/// Names of volumes, by thin id.
pub type Names<'a> = &'a [(String, u64)];

fn rows<'a>(repair: &Repair, names: Names<'a>) -> Vec<Row<'a>> {
    let Some(after) = &repair.after else { return Vec::new() };
    let mut ids: Vec<u64> = after.volumes.keys().copied().collect();
    ids.extend(repair.before.iter().flat_map(|before| before.volumes.keys().copied()));
    ids.extend(names.iter().map(|(_, id)| *id));
    ids.sort_unstable();
    ids.dedup();
    let chunk = after.chunk.bytes();
    let bytes = |blocks: &DataBlocks| blocks.bytes(chunk).0;
    ids.into_iter()
        .map(|id| Row {
            name: names.iter().find(|(_, known)| *known == id).map(|(name, _)| name.as_str()),
            thin_id: id,
            before: repair.before.as_ref().map(|before| before.volumes.get(&id).map_or(0, bytes)),
            after: after.volumes.get(&id).map(bytes),
        })
        .collect()
}

fn size(bytes: u64) -> String {
    Bytes(bytes).to_string().replace(' ', "")
}

impl Row<'_> {
    fn lost(&self) -> String {
        match (self.before, self.after) {
            (_, None) => "the-volume".to_owned(),
            (None, _) => "unknown".to_owned(),
            (Some(before), Some(after)) if before > after => size(before - after),
            _ => "-".to_owned(),
        }
    }
}

/// What was found, and what becomes of each volume.
pub fn picture(repair: &Repair, names: Names<'_>) -> String {
    let mut text = Vec::new();
    if !repair.found.is_empty() {
        text.push(format!("thin_check says of the metadata of {}:", repair.pool));
        text.extend(repair.found.split("; ").map(|line| format!("  {line}")));
    }
    let rows = rows(repair, names);
    if !rows.is_empty() {
        text.push("What each volume has mapped, before and after:".to_owned());
        let columns = [
            Column { heading: "VOLUME", right: false },
            Column { heading: "ID", right: true },
            Column { heading: "BEFORE", right: true },
            Column { heading: "AFTER", right: true },
            Column { heading: "LOST", right: true },
        ];
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                vec![
                    row.name.unwrap_or("-").to_owned(),
                    row.thin_id.to_string(),
                    row.before.map_or("unreadable".to_owned(), size),
                    row.after.map_or("-".to_owned(), size),
                    row.lost(),
                ]
            })
            .collect();
        text.push(lines(&columns, &cells));
    }
    if let (Some(old), Some(new)) = (&repair.superblock, &repair.new_superblock) {
        let chunk = new.chunk.bytes();
        text.push(format!(
            "In use in the pool: {} before, {} after.",
            old.data_used.bytes(chunk),
            new.data_used.bytes(chunk)
        ));
    }
    text.join("\n")
}

/// The same for JSON.
pub fn json(repair: &Repair, names: Names<'_>) -> Value {
    let volumes: Vec<Value> = rows(repair, names)
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "thin_id": row.thin_id,
                "mapped_before_bytes": row.before,
                "mapped_after_bytes": row.after,
                "whole": row.before.is_some_and(|before| row.after.is_some_and(|after| after >= before)),
            })
        })
        .collect();
    json!({
        "stage": repair.stage,
        "found": repair.found,
        "old_metadata": repair.old,
        "new_metadata": repair.new,
        "volumes": volumes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metadata::volumes::Contents;
    use crate::observe::register::Place;
    use crate::observe::repair::{FORMAT, Home, Source, Stage};
    use crate::units::Sectors;

    fn contents(volumes: &[(u64, u64)]) -> Contents {
        Contents {
            transaction_id: 2,
            chunk: Sectors(128),
            data_total: None,
            volumes: volumes.iter().map(|(id, blocks)| (*id, DataBlocks(*blocks))).collect(),
        }
    }

    #[test]
    fn what_is_lost_is_said_by_name() {
        let mut repair = Repair {
            dmtool: FORMAT,
            pool: "v/p".to_owned(),
            stage: Stage::Built,
            source: Source::Dump { path: "/d".to_owned(), data_blocks: 1, sum: None },
            home: Home::Place { place: Place::Device { path: "/dev/x".to_owned(), size: Bytes(1), dm_uuid: None } },
            size: Bytes(1),
            old: "/o".to_owned(),
            new: "/n".to_owned(),
            found: "bad checksum".to_owned(),
            superblock: None,
            before: Some(contents(&[(1, 1600), (2, 16), (3, 0)])),
            after: Some(contents(&[(1, 1352), (2, 16), (3, 0)])),
            new_superblock: None,
            by_spare: false,
        };
        let names = [("web".to_owned(), 1), ("gone".to_owned(), 7)];
        let text = picture(&repair, &names);
        let cells = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(name)).expect(name);
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(cells("web"), ["web", "1", "100MiB", "84.50MiB", "15.50MiB"]);
        assert_eq!(cells("-  "), ["-", "2", "1MiB", "1MiB", "-"]);
        assert_eq!(cells("gone"), ["gone", "7", "0B", "-", "the-volume"]);
        repair.before = None;
        assert!(picture(&repair, &names).contains("unreadable"));
        assert_eq!(json(&repair, &names)["volumes"][0]["whole"], false);
    }
}
