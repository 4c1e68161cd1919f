//! LVM commands that fail on the way, with devices that stand still: they run on before anybody is told of the failure.

use crate::names::{dm_split, layer_over};
use crate::observe::{Host, filter};
use crate::sys::dm::{Ask, Control};
use crate::sys::lvm2cmd::Reply;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::time::Duration;

/// What LVM hangs on the name of a pool for its parts, as names of volumes.
const PARTS: [&str; 2] = ["_tdata", "_tmeta"];

/// The devices of LVM's that stand still now.
pub fn suspended() -> Result<BTreeSet<String>> {
    let control = Control::open()?;
    let mut found = BTreeSet::new();
    for entry in control.list()? {
        // One that is gone by now does not stand still.
        let Ok(device) = control.look(&entry.name, Ask::Table) else { continue };
        if device.suspended && device.uuid.starts_with("LVM-") {
            found.insert(entry.name);
        }
    }
    Ok(found)
}

/// Has LVM resume what stands still and did not before.
///
/// # Errors
/// Something stands still even then: its name.
pub fn run_on(before: &BTreeSet<String>, host: &mut Host) -> Result<()> {
    let new = |now: BTreeSet<String>| now.difference(before).cloned().collect::<BTreeSet<String>>();
    let stand_still = new(suspended()?);
    let volumes: BTreeSet<String> = stand_still.iter().filter_map(|name| volume_of(name)).collect();
    for volume in volumes {
        let config = filter::config(host, "log/silent=1")?;
        // Whether it did is seen by what stands still afterwards.
        let _ = refresh(&volume, &config, host);
    }
    // What somebody else has stand still for an instant does so once.
    let still = new(suspended()?);
    if still.is_empty() {
        return Ok(());
    }
    std::thread::sleep(Duration::from_millis(100));
    let control = Control::open()?;
    for name in new(suspended()?).intersection(&still) {
        let waiting = control.look(name, Ask::Table).is_ok_and(|device| device.inactive_table);
        // Which of two tables is the right one LVM alone knows.
        if waiting {
            anyhow::bail!("{name} is left suspended with a second table");
        }
        control.resume(name).with_context(|| format!("{name} is left suspended"))?;
    }
    Ok(())
}

/// Has LVM load what stands in its books, and resume.
pub fn refresh(volume: &str, config: &str, host: &mut Host) -> Result<Reply> {
    let words = ["lvchange", "--refresh", volume, "--config", config].map(str::to_owned);
    host.lvm.change(&words, host.lock_limit)
}

/// The volume that LVM resumes together with a device: its own, or that of the pool that it is a part of.
pub fn volume_of(dm_name: &str) -> Option<String> {
    let (vg, lv, _) = dm_split(layer_over(dm_name).unwrap_or(dm_name))?;
    let lv = PARTS.iter().find_map(|part| lv.strip_suffix(part)).unwrap_or(&lv).to_owned();
    Some(format!("{vg}/{lv}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volume_that_is_refreshed_for_a_device() {
        for (device, volume) in [
            ("vg-web", Some("vg/web")),
            ("my--vg-thin--pool-tpool", Some("my-vg/thin-pool")),
            ("vg-pool_tdata", Some("vg/pool")),
            ("vg-pool_tmeta", Some("vg/pool")),
            ("loop", None),
        ] {
            assert_eq!(volume_of(device).as_deref(), volume, "{device}");
        }
    }
}
