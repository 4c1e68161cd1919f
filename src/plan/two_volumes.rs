//! The plan of `dmtool setup --two-volumes`: a data and a metadata volume for a pool that Docker makes itself.

use super::Plan;
use super::devices::{Wish, check_group, group_step, room, unlabel_step, usable, wipe_step};
use super::halves::{is_plain, signed};
use super::refusal::{Reasons, Refusal};
use super::sizing;
use super::step::{OfVolume, Step};
use crate::names::{LvName, LvmName, VgName, dm_escape, means};
use crate::observe::Looked;
use crate::observe::content::Content;
use crate::observe::device::Named;
use crate::observe::lvm::{LvRow, Lvm};
use crate::observe::metadata::Head;
use crate::units::{Amount, Bytes, Extents};

#[derive(Debug, Clone)]
pub struct Request {
    pub vg: VgName,
    /// The names that the documents give to the two volumes.
    pub data_lv: LvName,
    pub metadata_lv: LvName,
    pub data: Amount,
    pub metadata: Amount,
    pub wipe: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub devices: Vec<Named>,
    pub lvm: Looked<Lvm>,
    /// What is on the two that are there.
    pub data: Option<Content>,
    pub metadata: Option<Content>,
}

/// The volumes `data` and `metadata` of the two-volume layout, where those are meant; both must be there.
pub fn meant(given: &str, lvm: &Lvm) -> Option<(LvmName, LvmName)> {
    let plain = |row: &&LvRow| row.segtype == "linear" && row.pool_lv.is_empty();
    let named = |row: &LvRow| LvmName::parse(&format!("{}/{}", row.vg_name, row.lv_name)).ok();
    let is_it = |row: &&LvRow| {
        let full = format!("{}/{}", row.vg_name, row.lv_name);
        row.lv_name == "data" && plain(row) && means(given, &full, &[dm_escape(&row.vg_name, &row.lv_name)])
    };
    let data = lvm.lvs.iter().find(is_it)?;
    let metadata = lvm.lv(&data.vg_name, "metadata").filter(plain)?;
    Some((named(data)?, named(metadata)?))
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let mut reasons = Reasons::default();
    let message = format!("setup of {} is refused, nothing was changed", request.vg);
    let lvm = match &facts.lvm {
        Ok(lvm) => lvm,
        Err(why) => {
            reasons.add(format!("Could not look: {why}."));
            reasons.settle(message)?;
            return Ok(Plan::default());
        }
    };
    let data = LvmName { vg: request.vg.clone(), lv: request.data_lv.clone() };
    let wish = Wish { pool: &data, vg: &request.vg, wipe: request.wipe, grows: false };
    let devices = usable(wish, &facts.devices, lvm, &mut reasons);
    let group = lvm.group(&request.vg);
    check_group(wish, &devices, group.as_ref(), &mut reasons);
    let there = |lv: &LvName| lvm.lv(request.vg.as_str(), lv.as_str());
    for row in [there(&request.data_lv), there(&request.metadata_lv)].into_iter().flatten() {
        is_plain(row, &mut reasons);
    }
    if reasons.is_empty() {
        nobodys(request, facts, &mut reasons);
    }
    reasons.settle(message.as_str())?;

    let room = room(&devices, group.as_ref(), Extents(0));
    let mut plan = Plan::default();
    for device in &devices {
        wipe_step(wish, device, lvm, &mut plan);
        unlabel_step(device, lvm, &mut plan);
    }
    plan.put(group_step(&request.vg, &devices, lvm.other_extents), group.is_some());
    let mut left = room.free;
    for (lv, amount) in [(&request.data_lv, request.data), (&request.metadata_lv, request.metadata)] {
        let volume =
            |extents| Step::CreateVolume { vg: request.vg.clone(), lv: lv.clone(), extents, devices: Vec::new() };
        if let Some(row) = there(lv) {
            plan.already(volume(Bytes(row.lv_size).whole_extents(room.extent)));
            // LVM leaves one down that it could not make to the end.
            if !row.is_up() {
                let volume = LvmName { vg: request.vg.clone(), lv: lv.clone() };
                plan.todo(Step::Volume(OfVolume::Activate { volume }));
            }
            continue;
        }
        let extents = Extents(sizing::share(room, amount).0.max(1));
        if extents > left {
            reasons.add(format!(
                "{}/{lv} of {amount} ({}) does not fit into {} of free space.",
                request.vg,
                extents.bytes(room.extent),
                left.bytes(room.extent)
            ));
        }
        left = Extents(left.0.saturating_sub(extents.0));
        plan.todo(volume(extents));
    }
    reasons.settle(message)?;
    Ok(plan)
}

/// Docker writes over what its two devices hold, unless it finds a pool's metadata there.
fn nobodys(request: &Request, facts: &Facts, reasons: &mut Reasons) {
    let name = |lv: &LvName| format!("{}/{lv}", request.vg);
    let (data, metadata) = (name(&request.data_lv), name(&request.metadata_lv));
    match facts.metadata.as_ref().map(|content| &content.head) {
        // What a volume begins with may stand in the first chunk of its pool.
        Some(Ok(Head::Of(_))) => return,
        Some(Ok(Head::Foreign)) => reasons.add_with_hint(
            format!(
                "{metadata} exists already and holds something that is no metadata of a pool, or damaged metadata."
            ),
            format!("name another group: --pool VG; or see what it is: thin_check /dev/{metadata}"),
        ),
        Some(Ok(Head::Blank) | Err(_)) | None => {}
    }
    for (volume, content) in [(&metadata, &facts.metadata), (&data, &facts.data)] {
        let Some(Content { head, signatures, uses }) = content else { continue };
        match (head, signatures, uses) {
            (Ok(_), Ok(found), Ok(uses)) => {
                for kind in found {
                    signed(volume, kind, somebodys(volume), reasons);
                }
                for used in uses {
                    reasons.add(format!("{volume} exists already and {used}."));
                }
            }
            (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => reasons.add_with_hint(
                format!("{volume} exists already, and what is on it could not be looked at: {why}."),
                format!("activate it and run setup again: lvchange --activate y {volume}"),
            ),
        }
    }
}

fn somebodys(volume: &str) -> String {
    format!("name another group: --pool VG; or, if nobody needs what is on it: lvremove {volume}")
}
