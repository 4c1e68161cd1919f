//! What LVM is let see: physical volumes and what the operator named, nothing else.

use super::{Host, Looked, looked, profile, udev_entry, udev_links};
use crate::sys::dm::{Ask, Control};
use crate::sys::{blkid, block, file};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long udev may take to learn of what has just been made.
const UDEV_LIMIT: Duration = Duration::from_secs(3);

/// The `--config` of every LVM command: our filter, never waiting for a lock without end, and more settings.
///
/// # Errors
/// The devices of this host cannot be listed.
pub fn config(host: &Host, more: &str) -> Looked<String> {
    let mut settings = vec!["global/wait_for_locks=0".to_owned()];
    if !more.is_empty() {
        settings.push(more.to_owned());
    }
    // LVM takes a device that passes both of its filters. Ours goes where the operator has none of his own; where
    // he has both, his stand alone.
    let taken = |key: &str| profile::global_setting(key).map(|value| value.is_some());
    let key = if !taken("devices/filter")? {
        Some("devices/filter")
    } else if !taken("devices/global_filter")? {
        Some("devices/global_filter")
    } else {
        None
    };
    if let Some(key) = key {
        settings.push(format!("{key}={}", filter(host)?));
    }
    Ok(settings.join(" "))
}

fn filter(host: &Host) -> Looked<String> {
    let mut accepted: BTreeSet<String> = host.named.iter().cloned().collect();
    for (major, minor) in physical_volumes(&host.above_pools)? {
        accepted.extend(names_of(major, minor));
    }
    for path in &host.named {
        if let Ok(block::Node::Block { major, minor, .. }) = block::node(path) {
            accepted.extend(names_of(major, minor));
        }
    }
    // A name with other characters is left out: its device has others, its kernel name at least.
    let plain = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || "/_-:.".contains(c));
    let patterns: Vec<String> = accepted
        .iter()
        .filter(|name| plain(name))
        .map(|name| format!("\"a|^{}$|\"", name.replace('.', "[.]")))
        .collect();
    Ok(format!("[{}]", patterns.into_iter().chain(["\"r|.*|\"".to_owned()]).collect::<Vec<_>>().join(",")))
}

/// Every name of a device under /dev, by udev's database; the kernel's name at least.
fn names_of(major: u32, minor: u32) -> Vec<String> {
    let mut names = udev_links(major, minor);
    names.extend(block::kernel_name(major, minor).map(|name| format!("/dev/{name}")));
    names
}

/// The numbers of all devices that carry LVM's label, by udev; where there is no udev, by looking ourselves. What
/// stands above a thin pool is never one of them.
fn physical_volumes(above_pools: &BTreeSet<String>) -> Looked<Vec<(u32, u32)>> {
    let udev = Path::new("/run/udev/control").exists();
    let mut found = Vec::new();
    let folder = Path::new("/sys/class/block");
    for name in looked(block::entries(folder))? {
        if above_pools.contains(&name) {
            continue;
        }
        let device = folder.join(&name);
        let (major, minor) = match block::dev_of(&device) {
            Ok(number) => number,
            // Gone between the listing and the look, or a path of a multipath NVMe, which has no number.
            Err(_) if device.join("dev").try_exists().is_ok_and(|there| !there) => continue,
            Err(why) => return looked(Err(why)),
        };
        let entry = if udev { udev_entry(major, minor)? } else { None };
        let labelled = match entry {
            Some(entry) => entry.lines().any(|line| line == "E:ID_FS_TYPE=LVM2_member"),
            None if udev => false,
            None => label_without_udev(&device, &name),
        };
        if labelled && !above_a_pool(&device) {
            found.push((major, minor));
        }
    }
    Ok(found)
}

fn label_without_udev(device: &Path, name: &str) -> bool {
    // A suspended device, and all that stands on a pool, would hold the reader for ever.
    let suspended = block::number(&device.join("dm/suspended")).is_ok_and(|value| value == 1);
    if suspended || above_a_pool(device) || block::number(&device.join("size")).unwrap_or(0) == 0 {
        return false;
    }
    let path = format!("/dev/{}", name.replace('!', "/"));
    blkid::signatures(&path).is_ok_and(|found| found.iter().any(|signature| signature.kind == "LVM2_member"))
}

/// Whether a device stands on a thin pool. LVM names its pools; a bare one has exactly a pair of devices under it, as a
/// RAID 1 or a device with two paths has, so the kernel is asked what it is.
fn above_a_pool(device: &Path) -> bool {
    let below = block::entries(&device.join("slaves")).unwrap_or_default();
    below.iter().any(|name| {
        let lower = device.join("slaves").join(name);
        let text = |file: &str| file::read(&lower.join(file)).ok().flatten().unwrap_or_default().trim().to_owned();
        let (uuid, dm_name) = (text("dm/uuid"), text("dm/name"));
        let pair = || block::entries(&lower.join("slaves")).is_ok_and(|pair| pair.len() == 2);
        let is_bare = || !dm_name.is_empty() && !uuid.starts_with("LVM-") && pair() && is_thin_pool(&dm_name);
        uuid.ends_with("-tpool") || is_bare() || above_a_pool(&lower)
    })
}

/// What cannot be asked is taken for one: LVM would wait on it for ever if it were.
fn is_thin_pool(dm_name: &str) -> bool {
    let table = Control::open().and_then(|control| control.look(dm_name, Ask::Table));
    table.map_or(true, |device| device.targets.iter().any(|target| target.kind == "thin-pool"))
}

/// Waits until udev has worked through what happened before; without udev there is nothing to wait for.
pub fn wait_for_udev() {
    let deadline = Instant::now() + UDEV_LIMIT;
    while Path::new("/run/udev/queue").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}
