//! Thin volumes as people read them, a line each, or a page of one.

use super::page::Lines;
use super::table::{self, Column};
use crate::observe::Looked;
use crate::observe::owners::{Owner, OwnerKind};
use crate::observe::volumes::{Inventory, Standing, Volume};
use crate::plan::volume::orphans::Orphans;
use crate::units::Bytes;
use std::cmp::Reverse;

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Key {
    Id,
    Name,
    Size,
    Mapped,
    Exclusive,
    Shared,
    Transaction,
    Owner,
}

/// Sorts; of sizes and transactions the largest comes first.
pub fn sort(volumes: &mut [Volume], by: Key) {
    let exclusive = |volume: &Volume| volume.shares.map(|shares| shares.exclusive);
    let shared = |volume: &Volume| volume.shares.map(|shares| shares.shared);
    match by {
        Key::Id => volumes.sort_by_key(|volume| (volume.thin_id.is_none(), volume.thin_id)),
        Key::Name => volumes.sort_by(|one, other| one.name.cmp(&other.name)),
        Key::Size => volumes.sort_by_key(|volume| Reverse(volume.size)),
        Key::Mapped => volumes.sort_by_key(|volume| Reverse(volume.mapped)),
        Key::Exclusive => volumes.sort_by_key(|volume| Reverse(exclusive(volume))),
        Key::Shared => volumes.sort_by_key(|volume| Reverse(shared(volume))),
        Key::Transaction => volumes.sort_by_key(|volume| Reverse(volume.transaction_id)),
        Key::Owner => volumes.sort_by_key(|volume| owner(volume.owner.as_ref())),
    }
}

const fn left(heading: &'static str) -> Column {
    Column { heading, right: false }
}

const fn right(heading: &'static str) -> Column {
    Column { heading, right: true }
}

/// The volumes of a pool, a line each.
pub fn list(volumes: &[Volume], exact: bool) -> String {
    if volumes.is_empty() {
        return "no volumes here".to_owned();
    }
    let mut columns = vec![left("VOLUME"), right("ID"), left("STATE"), right("SIZE"), right("MAPPED")];
    if exact {
        columns.extend([right("ALONE"), right("SHARED")]);
    }
    columns.push(left("OWNER"));
    let absent = || "-".to_owned();
    let size = |bytes: Option<Bytes>| bytes.map_or_else(absent, |bytes| bytes.to_string().replace(' ', ""));
    let row = |volume: &Volume| {
        let mut cells = vec![
            volume.name.clone(),
            volume.thin_id.map_or_else(absent, |id| id.to_string()),
            state(volume).to_owned(),
            size(volume.size),
            size(volume.mapped),
        ];
        if exact {
            cells.push(size(volume.shares.map(|shares| shares.exclusive)));
            cells.push(size(volume.shares.map(|shares| shares.shared)));
        }
        cells.push(owner(volume.owner.as_ref()));
        cells
    };
    table::lines(&columns, &volumes.iter().map(row).collect::<Vec<_>>())
}

pub fn state(volume: &Volume) -> &'static str {
    match volume.standing {
        Standing::Active(_) => "active",
        Standing::Failed(_) => "failed",
        Standing::Inactive => "inactive",
        Standing::Missing => "missing",
    }
}

/// Whose it is, in one word: what kind of thing it is there, and what that is called.
fn owner(owner: Option<&Owner>) -> String {
    let Some(owner) = owner else { return "-".to_owned() };
    let kind = match owner.kind {
        OwnerKind::Lvm => return "lvm".to_owned(),
        OwnerKind::Dmtool => return "dmtool".to_owned(),
        OwnerKind::DockerLayer => "image",
        OwnerKind::DockerContainer => "container",
        OwnerKind::Containerd => "containerd",
    };
    match owner.names.as_slice() {
        [] => kind.to_owned(),
        [name] => format!("{kind}:{name}"),
        [name, more @ ..] => format!("{kind}:{name}+{}", more.len()),
    }
}

/// What has lost its other half, a line each.
pub fn orphans(pool: &str, inventory: &Inventory, found: &Orphans<'_>) -> String {
    let lines = kinds(found);
    if lines.is_empty() {
        let of = if inventory.complete { "in" } else { "among what could be seen of" };
        return format!("nothing without an owner {of} {pool}");
    }
    let columns = [left("VOLUME"), right("ID"), left("IS"), right("MAPPED"), left("OWNER")];
    let row = |(what, volume): &(&str, &Volume)| {
        vec![
            volume.name.clone(),
            volume.thin_id.map_or("-".to_owned(), |id| id.to_string()),
            (*what).to_owned(),
            volume.mapped.map_or("-".to_owned(), |bytes| bytes.to_string().replace(' ', "")),
            owner(volume.owner.as_ref()),
        ]
    };
    table::lines(&columns, &lines.iter().map(row).collect::<Vec<_>>())
}

/// Each with the word for what it is: an orphan, one that nobody owns and somebody uses, one that is missing.
pub fn kinds<'a>(found: &Orphans<'a>) -> Vec<(&'static str, &'a Volume)> {
    let kinds = [("orphan", &found.unowned), ("in-use", &found.in_use), ("missing", &found.missing)];
    kinds.into_iter().flat_map(|(what, volumes)| volumes.iter().map(move |volume| (what, *volume))).collect()
}

/// The page of one volume.
pub fn page(pool: &str, volume: &Volume, uses: Option<&Looked<Vec<String>>>) -> String {
    let mut lines = Lines::default();
    lines.put("volume", &volume.name);
    lines.put("pool", pool);
    if let Some(id) = volume.thin_id {
        lines.put("thin id", &id.to_string());
    }
    lines.put("state", state(volume));
    if let Some(device) = volume.device() {
        lines.put("device", &format!("/dev/mapper/{device}"));
    }
    let mut size = |word: &str, bytes: Option<Bytes>| {
        if let Some(bytes) = bytes {
            lines.put(word, &format!("{bytes} ({} sectors)", bytes.whole_sectors().0));
        }
    };
    size("size", volume.size);
    size("mapped", volume.mapped);
    size("ends at", volume.highest);
    size("alone", volume.shares.map(|shares| shares.exclusive));
    size("shared", volume.shares.map(|shares| shares.shared));
    if let Some(id) = volume.transaction_id {
        lines.put("transaction", &id.to_string());
    }
    if let Some(origin) = &volume.origin {
        lines.put("origin", origin);
    }
    match &volume.owner {
        None => lines.put("owner", "nobody that dmtool knows of"),
        Some(found) => {
            let (kind, names) = match found.kind {
                OwnerKind::Lvm => ("LVM", &found.names),
                OwnerKind::Dmtool => ("dmtool's register", &found.names),
                OwnerKind::DockerLayer => ("Docker, an image layer", &found.names),
                OwnerKind::DockerContainer => ("Docker, a container", &found.names),
                OwnerKind::Containerd => ("containerd, a snapshot", &found.names),
            };
            lines.put("owner", kind);
            for name in names {
                lines.put("named", name);
            }
            lines.put("its id", &found.id);
        }
    }
    match uses {
        Some(Ok(uses)) => {
            for used in uses {
                lines.put("in use", used);
            }
        }
        Some(Err(why)) => lines.put("in use", &format!("could not be looked at: {why}")),
        None => {}
    }
    lines.text()
}
