//! What Docker is told of a pool: the options of its devicemapper driver.

use super::docker::{Facts, Request};
use super::{Target, daemon_json, short};
use crate::observe::config::ConfigFile;

/// From this version on Docker takes an empty file for an empty object; before that it does not start (seen: 20.10).
const TAKES_EMPTY: u32 = 23;

/// The text that the file is to have; none where it has it.
///
/// # Errors
/// It is malformed: Docker does not start with it, and nobody but its owner knows what was meant.
pub fn edited(
    request: &Request,
    target: &Target<'_>,
    file: &ConfigFile,
    facts: &Facts,
) -> Result<Option<String>, String> {
    let text = match file.text.as_deref() {
        Some(text) if text.trim().is_empty() => match facts.docker.version {
            Ok(Some(version)) if version < TAKES_EMPTY => {
                return Err(format!("it is empty, and Docker {version} does not start with an empty one"));
            }
            _ => None,
        },
        text => text,
    };
    daemon_json::edited(text, &options(request, target), &without(target))
}

/// Options that contradict the pool: those for another, and for one that Docker would make of a disk.
fn without(target: &Target<'_>) -> Vec<&'static str> {
    let mut found = vec![
        "dm.loopdatasize",
        "dm.loopmetadatasize",
        "dm.directlvm_device",
        "dm.directlvm_device_force",
        "dm.thinp_percent",
        "dm.thinp_metapercent",
        "dm.thinp_autoextend_threshold",
        "dm.thinp_autoextend_percent",
    ];
    match target {
        Target::Pool(_) | Target::NewPool { .. } => found.extend(["dm.datadev", "dm.metadatadev"]),
        Target::Volumes { .. } => found.push("dm.thinpooldev"),
    }
    found
}

fn options(request: &Request, target: &Target<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut put = |key: &str, value: String| match found.iter_mut().find(|(known, _)| known == key) {
        Some(known) if !daemon_json::adds_up(key) => known.1 = value,
        _ => found.push((key.to_owned(), value)),
    };
    match target {
        Target::Pool(_) | Target::NewPool { .. } => {
            put("dm.thinpooldev", format!("/dev/mapper/{}", target.dm_name().unwrap_or_default()));
            put("dm.use_deferred_removal", "true".to_owned());
            put("dm.use_deferred_deletion", "true".to_owned());
        }
        Target::Volumes { data, metadata, .. } => {
            put("dm.datadev", data.clone());
            put("dm.metadatadev", metadata.clone());
        }
    }
    if let Some(size) = request.base_size {
        put("dm.basesize", short(size));
    }
    if let Some(percent) = request.min_free_space {
        put("dm.min_free_space", format!("{percent}%"));
    }
    if request.discard {
        put("dm.mountopt", "discard".to_owned());
        if target.is_loop() {
            put("dm.blkdiscard", "true".to_owned());
        }
    }
    for (key, value) in &request.options {
        put(key, value.clone());
    }
    found
}
