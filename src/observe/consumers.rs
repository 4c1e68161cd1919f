//! Who is configured to use a pool: Docker and containerd, by their configuration files.

use super::{Looked, Unseen, looked};
use crate::sys::file;
use serde::Serialize;
use std::path::Path;
use toml_edit::{DocumentMut, TableLike};

const DOCKER: &str = "/etc/docker/daemon.json";
const CONTAINERD: &str = "/etc/containerd/config.toml";

/// A consumer that needs a device with the thin-pool target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Consumer {
    pub name: &'static str,
    pub file: &'static str,
    /// As it stands there: a device-mapper name or a path.
    pub pool: String,
}

/// The consumers that name a pool in their configuration.
///
/// # Errors
/// A file is there and cannot be read or taken apart.
pub fn consumers() -> Looked<Vec<Consumer>> {
    let mut found = Vec::new();
    if let Some(text) = looked(file::read(Path::new(DOCKER)))? {
        let pool = docker(&text).map_err(|why| Unseen(format!("reading {DOCKER}: {why}")))?;
        found.extend(pool.map(|pool| Consumer { name: "Docker", file: DOCKER, pool }));
    }
    if let Some(text) = looked(file::read(Path::new(CONTAINERD)))? {
        let pool = containerd(&text).map_err(|why| Unseen(format!("reading {CONTAINERD}: {why}")))?;
        found.extend(pool.map(|pool| Consumer { name: "containerd", file: CONTAINERD, pool }));
    }
    Ok(found)
}

/// `dm.thinpooldev` among the storage options of Docker's daemon.json.
fn docker(text: &str) -> Result<Option<String>, String> {
    // Docker takes an empty file for an empty object.
    if text.trim().is_empty() {
        return Ok(None);
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|why| why.to_string())?;
    let options = value.get("storage-opts").and_then(|options| options.as_array()).into_iter().flatten();
    let mut pools = options.filter_map(|option| option.as_str()?.strip_prefix("dm.thinpooldev="));
    Ok(pools.next_back().map(str::to_owned))
}

/// The two devices that Docker is configured to make its own pool on, and the folder that gives the pool its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfDocker {
    pub data: String,
    pub metadata: String,
    pub root: String,
}

/// `dm.datadev` and `dm.metadatadev` of Docker's daemon.json.
///
/// # Errors
/// The file is there and cannot be read or taken apart.
pub fn docker_devices() -> Looked<Option<OfDocker>> {
    let Some(text) = looked(file::read(Path::new(DOCKER)))? else { return Ok(None) };
    devices(&text).map_err(|why| Unseen(format!("reading {DOCKER}: {why}")))
}

fn devices(text: &str) -> Result<Option<OfDocker>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|why| why.to_string())?;
    let options: Vec<&str> = value
        .get("storage-opts")
        .and_then(|options| options.as_array())
        .into_iter()
        .flatten()
        .filter_map(|option| option.as_str())
        .collect();
    let find = |key: &str| options.iter().rev().find_map(|option| option.strip_prefix(key)).map(str::to_owned);
    // The older name of the key is still taken.
    let root = ["data-root", "graph"].iter().find_map(|key| value.get(*key)?.as_str());
    let root = format!("{}/devicemapper", root.unwrap_or("/var/lib/docker").trim_end_matches('/'));
    Ok(find("dm.datadev=").zip(find("dm.metadatadev=")).map(|(data, metadata)| OfDocker { data, metadata, root }))
}

/// `pool_name` of the devmapper snapshotter.
fn containerd(text: &str) -> Result<Option<String>, String> {
    let document: DocumentMut = text.parse().map_err(|why: toml_edit::TomlError| why.message().to_owned())?;
    let plugins = document.get("plugins").and_then(|item| item.as_table_like());
    // The full name is that of version 2; version 1 called it by its last part.
    let snapshotter = |plugins: &dyn TableLike| {
        ["io.containerd.snapshotter.v1.devmapper", "devmapper"]
            .iter()
            .find_map(|name| Some(plugins.get(name)?.get("pool_name")?.as_str()?.to_owned()))
    };
    Ok(plugins.and_then(snapshotter).filter(|pool| !pool.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_docker() {
        let text = r#"{"storage-driver": "devicemapper", "storage-opts": ["dm.basesize=20G", "dm.thinpooldev=/dev/mapper/docker-thinpool"]}"#;
        assert_eq!(docker(text), Ok(Some("/dev/mapper/docker-thinpool".to_owned())));
        assert_eq!((docker("{}"), docker("\n")), (Ok(None), Ok(None)));
        assert!(docker("{").is_err());
    }

    #[test]
    fn devices_of_docker() {
        let text = r#"{"data-root": "/srv/docker/", "storage-opts": ["dm.datadev=/dev/mapper/vg-data", "dm.metadatadev=/dev/mapper/vg-meta"]}"#;
        let found = devices(text).expect("json").expect("both");
        assert_eq!((found.data.as_str(), found.root.as_str()), ("/dev/mapper/vg-data", "/srv/docker/devicemapper"));
        assert_eq!(devices(r#"{"storage-opts": ["dm.datadev=/dev/sdb"]}"#), Ok(None));
        assert_eq!((devices(" "), devices("{}")), (Ok(None), Ok(None)));
        assert!(devices("[").is_err());
    }

    #[test]
    fn pools_of_containerd() {
        let text = "version = 2\n[plugins]\n  [plugins.\"io.containerd.snapshotter.v1.devmapper\"]\n    pool_name = \"docker-thinpool\"\n";
        assert_eq!(containerd(text), Ok(Some("docker-thinpool".to_owned())));
        assert_eq!(containerd("version = 2\n"), Ok(None));
        assert!(containerd("[plugins").is_err());
    }
}
