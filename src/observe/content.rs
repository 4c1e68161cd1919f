//! What a plain volume of LVM's holds, whether it is up or down.

use super::device::{self, What};
use super::lvm::{LvRow, Lvm};
use super::metadata::{self, Head, Open};
use super::{Looked, Unseen, looked};
use crate::names::dm_escape;
use crate::sys::blkid::{self, Signature};
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What it begins with, were it the metadata of a pool.
    pub head: Looked<Head>,
    /// What it begins with otherwise: the kinds.
    pub signatures: Looked<Vec<String>>,
    /// Who uses it, in words.
    pub uses: Looked<Vec<String>>,
}

impl Content {
    fn unseen(why: &Unseen) -> Content {
        Content { head: Err(why.clone()), signatures: Err(why.clone()), uses: Err(why.clone()) }
    }
}

/// Looks into a volume; none where LVM has none of that name.
pub fn of(lvm: &Lvm, vg: &str, lv: &str) -> Option<Content> {
    let row = lvm.lv(vg, lv)?;
    Some(if row.is_up() { up(row) } else { down(lvm, row).unwrap_or_else(|why| Content::unseen(&why)) })
}

fn up(row: &LvRow) -> Content {
    let path = format!("/dev/mapper/{}", dm_escape(&row.vg_name, &row.lv_name));
    match device::look(&path).is {
        Ok(What::Device(device)) => Content {
            head: metadata::head(Path::new(&path)),
            signatures: device.signatures.map(kinds),
            uses: device.uses,
        },
        Ok(_) => Content::unseen(&Unseen(format!("{path} is no block device"))),
        Err(why) => Content::unseen(&why),
    }
}

fn down(lvm: &Lvm, row: &LvRow) -> Looked<Content> {
    let open: Open = metadata::of_lvm(lvm, &row.vg_name, &row.lv_name)?;
    let found = looked(blkid::signatures(&open.path().to_string_lossy()));
    Ok(Content { head: metadata::head(open.path()), signatures: found.map(kinds), uses: Ok(Vec::new()) })
}

fn kinds(found: Vec<Signature>) -> Vec<String> {
    found.into_iter().map(|signature| signature.kind).collect()
}
