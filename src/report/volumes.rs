//! Thin volumes as people read them, a line each.

use super::table::{self, Column};
use crate::observe::volumes::Known;
use crate::units::Bytes;

const COLUMNS: [Column; 6] = [
    Column { heading: "VOLUME", right: false },
    Column { heading: "POOL", right: false },
    Column { heading: "ID", right: true },
    Column { heading: "STATE", right: false },
    Column { heading: "SIZE", right: true },
    Column { heading: "MAPPED", right: true },
];

pub fn list(volumes: &[Known]) -> String {
    if volumes.is_empty() {
        return "no volumes here".to_owned();
    }
    let size = |bytes: Bytes| bytes.to_string().replace(' ', "");
    let row = |volume: &Known| {
        let mapped = volume.active.as_ref().map(|active| active.mapped);
        let state = match mapped {
            None => "inactive",
            Some(None) => "failed",
            Some(Some(_)) => "active",
        };
        vec![
            volume.name.clone(),
            volume.pool.clone(),
            volume.thin_id.map_or("-".to_owned(), |id| id.to_string()),
            state.to_owned(),
            size(volume.size),
            mapped.flatten().map_or("-".to_owned(), size),
        ]
    };
    table::lines(&COLUMNS, &volumes.iter().map(row).collect::<Vec<_>>())
}
