//! A setup that stopped before there was a pool: by hand with a data volume, a metadata volume, or both; or one of LVM's
//! own, which has a plain volume of the pool's name while it zeroes what becomes its metadata.

use super::refusal::Reasons;
use super::setup::Request;
use crate::names::{LvmName, dm_escape};
use crate::observe::device::{Device, Named, What};
use crate::observe::lvm::{LvRow, Lvm};
use crate::units::{Amount, Bytes};

/// The two volumes of a setup that was not converted yet.
pub struct Halves<'a> {
    pub data: Option<&'a LvRow>,
    pub metadata: Option<&'a LvRow>,
    /// The first is what LVM was cut off over: it has the size of the metadata (seen), and the profile of the pool.
    pub cut_off: bool,
    /// What is on it nobody could look at, since it is not active.
    unseen: bool,
}

impl<'a> Halves<'a> {
    /// A volume of that name is ours to convert only if it is plain, unused and carries no signature.
    pub fn find(request: &Request, lvm: &'a Lvm, looked_at: &[Named], reasons: &mut Reasons) -> Halves<'a> {
        let vg = request.pool.vg.as_str();
        let is_cut_off =
            |row: &LvRow| row.lv_name == request.pool.lv.as_str() && row.lv_profile == request.pool.dm_name();
        let mut unseen = false;
        let mut half = |name: &str| {
            let row = lvm.lv(vg, name)?;
            if !is_plain(row, reasons) {
                return Some(row);
            }
            let path = format!("/dev/mapper/{}", dm_escape(vg, name));
            match looked_at.iter().find(|named| named.given == path).map(|named| &named.is) {
                Some(Ok(What::Device(device))) => check_half(&format!("{vg}/{name}"), device, reasons),
                _ if is_cut_off(row) => unseen = true,
                _ => not_looked_at(&format!("{vg}/{name}"), reasons),
            }
            Some(row)
        };
        let (data, metadata) = (half(request.pool.lv.as_str()), half(&metadata_name(&request.pool)));
        Halves { data, metadata, cut_off: metadata.is_none() && data.is_some_and(is_cut_off), unseen }
    }

    /// Whether what carries the profile has another size than the metadata will have, and so is a half that somebody made:
    /// it is one then.
    pub fn is_none_of_lvms(&mut self, metadata: Bytes, reasons: &mut Reasons) -> bool {
        let Some(row) = self.data.filter(|row| self.cut_off && Bytes(row.lv_size) != metadata) else { return false };
        self.cut_off = false;
        if self.unseen {
            not_looked_at(&format!("{}/{}", row.vg_name, row.lv_name), reasons);
        }
        true
    }

    pub fn none(&self) -> bool {
        self.data.is_none() && self.metadata.is_none()
    }
}

/// Whether what is there under a name is a plain volume.
pub fn is_plain(row: &LvRow, reasons: &mut Reasons) -> bool {
    let is_plain = matches!(row.segtype.as_str(), "linear" | "striped");
    if !is_plain {
        let (vg, lv) = (&row.vg_name, &row.lv_name);
        reasons.add(format!("{vg}/{lv} exists already and is no plain volume ({}).", row.lv_layout));
    }
    is_plain
}

/// What carries a signature is not ours.
pub fn signed(volume: &str, kind: &str, hint: impl Into<String>, reasons: &mut Reasons) {
    let why = format!("{volume} exists already and carries a signature: {kind}. It is somebody's data.");
    reasons.add_with_hint(why, hint);
}

fn not_looked_at(volume: &str, reasons: &mut Reasons) {
    reasons.add_with_hint(
        format!("{volume} exists already, and what is on it could not be looked at: it is not active."),
        format!("activate it and run setup again: lvchange --activate y {volume}"),
    );
}

/// The size to ask for where a half may be there already, and how many extents of it are.
pub fn amount(half: Option<&LvRow>, asked: Amount, extent: Bytes) -> (Amount, u64) {
    match half {
        Some(row) => (Amount::Bytes(Bytes(row.lv_size)), Bytes(row.lv_size).whole_extents(extent).0),
        None => (asked, 0),
    }
}

fn check_half(name: &str, device: &Device, reasons: &mut Reasons) {
    match &device.uses {
        Ok(uses) => uses.iter().for_each(|used| reasons.add(format!("{name} {used}."))),
        Err(why) => reasons.add(format!("Whether {name} is in use could not be looked at: {why}.")),
    }
    if device.free != Ok(true) && device.uses.as_ref().is_ok_and(Vec::is_empty) {
        reasons.add(format!("{name} is in use: the kernel does not give it to us alone."));
    }
    match &device.signatures {
        Ok(signatures) => {
            for signature in signatures {
                signed(name, &signature.kind, "choose another name for the pool: --pool VG/LV", reasons);
            }
        }
        Err(why) => reasons.add(format!("What is on {name} could not be looked at: {why}.")),
    }
}

/// The documented name of the metadata volume before the conversion: thinpoolmeta beside thinpool.
pub fn metadata_name(pool: &LvmName) -> String {
    format!("{}meta", pool.lv)
}
