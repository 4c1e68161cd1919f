//! Transaction ids that LVM and a pool disagree on. Which side is right only the operator can say: the procedure is
//! printed with the names and numbers in it, and not run.

use super::super::refusal::Refusal;
use super::{Facts, Found};
use crate::names::quoted;
use crate::observe::metadata::Superblock;
use crate::observe::pools::Pool;

/// Why LVM will not activate a pool, and what to do about it.
pub fn disagree(pool: &Pool, superblock: &Superblock, found: &Found, facts: &Facts) -> Option<Refusal> {
    let side = pool.lvm.as_ref()?;
    let own = superblock.transaction_id;
    let of_lvm = side.refuses(own)?;
    let name = &pool.name;
    let ahead = if own > of_lvm { "the pool" } else { "LVM" };
    let mut reasons = vec![format!("The pool's transaction id is {own}, LVM expects {of_lvm}: {ahead} is ahead.")];
    reasons.push(if own > of_lvm {
        "Something else than this LVM changed the pool since (Docker, containerd, another host, commands by hand), or LVM's \
         metadata was restored from an older backup."
            .to_owned()
    } else {
        "The pool's metadata is older than what LVM knows: it was restored or repaired, or the disk lost writes.".to_owned()
    });
    let running = facts.ground.running.iter().filter(|(_, wants)| crate::names::means(wants, name, &pool.dm_names()));
    reasons.extend(running.map(|(who, wants)| format!("{who} runs and is configured for {wants}.")));
    reasons.extend(strangers(found, facts));
    let (vg, lv) = (&side.row.vg_name, &side.row.lv_name);
    let file = quoted(&format!("/root/{vg}.vg"));
    let procedure = [
        "if the pool is right, and only then, give LVM its number:".to_owned(),
        format!("  vgcfgbackup --file {file} {vg}"),
        format!(
            "  sed -i '/^\\t\\t{} {{$/,/^\\t\\t}}$/s/transaction_id = {of_lvm}$/transaction_id = {own}/' {file}",
            lv.replace('.', "\\.")
        ),
        format!("  vgcfgrestore --force --file {file} {vg}"),
        format!("  dmtool activate {name}"),
    ];
    Some(Refusal {
        message: format!("LVM and {name} disagree on the transaction id, and which of them is right is yours to say"),
        reasons,
        hint: Some(procedure.join("\n")),
    })
}

/// What one side has and the other has not.
fn strangers(found: &Found, facts: &Facts) -> Vec<String> {
    let Some(Ok(contents)) = found.rest.as_ref().map(|rest| &rest.contents) else {
        return vec!["Which volumes the pool has could not be read.".to_owned()];
    };
    let Ok(expected) = &facts.expected else { return vec!["Which volumes LVM has could not be read.".to_owned()] };
    let mut lines = Vec::new();
    let unknown: Vec<String> = contents
        .volumes
        .keys()
        .filter(|id| expected.iter().all(|volume| volume.thin_id != **id))
        .map(ToString::to_string)
        .collect();
    if !unknown.is_empty() {
        lines.push(format!("In the pool and unknown to LVM: the thin ids {}.", unknown.join(", ")));
    }
    let lost: Vec<&str> = expected
        .iter()
        .filter(|volume| !contents.volumes.contains_key(&volume.thin_id))
        .map(|volume| volume.name.as_str())
        .collect();
    if !lost.is_empty() {
        lines.push(format!("Known to LVM and not in the pool: {}.", lost.join(", ")));
    }
    if lines.is_empty() {
        lines.push("Both know the same volumes.".to_owned());
    }
    lines
}
