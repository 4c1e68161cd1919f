//! What Docker's daemon.json says of a pool.

use crate::observe::docker::root_of_unit;
use crate::observe::{Looked, Unseen, looked};
use crate::sys::file;
use crate::units::{Bytes, KIB, parse_size};
use std::path::Path;

pub const DOCKER: &str = "/etc/docker/daemon.json";

/// The pool in Docker's daemon.json.
///
/// # Errors
/// The file is there and cannot be read or taken apart.
pub fn docker_pool() -> Looked<Option<String>> {
    Ok(pool_or_made()?.map(|(pool, _)| pool))
}

/// As [`docker_pool`], and whether Docker makes it by itself.
///
/// # Errors
/// As its.
pub fn pool_or_made() -> Looked<Option<(String, bool)>> {
    let text = looked(file::read(Path::new(DOCKER)))?;
    text.map_or(Ok(None), |text| pool_or_made_by(&text)).map_err(|why| of_file(&why))
}

/// `dm.thinpooldev` among the storage options of Docker's daemon.json.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn pool_by(text: &str) -> Result<Option<String>, String> {
    Ok(pool_or_made_by(text)?.map(|(pool, _)| pool))
}

fn pool_or_made_by(text: &str) -> Result<Option<(String, bool)>, String> {
    let daemon = daemon_json(text)?;
    // The pool that Docker makes by LVM itself where it is given a blank disk.
    let given = || daemon.option("dm.directlvm_device=").filter(|disk| !disk.is_empty());
    let named = daemon.option("dm.thinpooldev=").map(|pool| (pool, false));
    Ok(named.or_else(|| given().map(|_| (MADE.to_owned(), true))))
}

/// Its name, by Docker's devicemapper driver.
const MADE: &str = "docker-thinpool";

/// Docker's daemon.json.
#[derive(Debug, Default, PartialEq, Eq)]
struct Daemon {
    json: serde_json::Value,
    /// The folder that its command line will name: Docker starts with one of the two only.
    told: Option<String>,
}

fn daemon_json(text: &str) -> Result<Daemon, String> {
    // Docker takes an empty file for an empty object from version 23 on; before that it does not start with it.
    let text = if text.trim().is_empty() { "{}" } else { text };
    let json = serde_json::from_str(text).map_err(|why: serde_json::Error| why.to_string())?;
    Ok(Daemon { json, told: None })
}

impl Daemon {
    /// Its own folder. The older name of the key is still taken.
    fn root(&self) -> &str {
        let root = self.named().or(self.told.as_deref());
        root.unwrap_or("/var/lib/docker").trim_end_matches('/')
    }

    fn named(&self) -> Option<&str> {
        ["data-root", "graph"].iter().find_map(|key| self.json.get(*key)?.as_str())
    }

    /// `dm.blocksize`: by powers of 1024, as Docker reads it.
    fn chunk(&self) -> Result<Bytes, String> {
        self.option("dm.blocksize=").map_or(Ok(CHUNK), |text| parse_size(&text))
    }

    fn pool_on(&self, data: String, metadata: String) -> Result<OfDocker, String> {
        Ok(OfDocker { data, metadata, root: format!("{}/devicemapper", self.root()), chunk: self.chunk()? })
    }

    fn devices(&self) -> Result<Option<OfDocker>, String> {
        let both = self.option("dm.datadev=").zip(self.option("dm.metadatadev="));
        both.map(|(data, metadata)| self.pool_on(data, metadata)).transpose()
    }

    /// The last of its storage options with this key counts.
    fn option(&self, key: &str) -> Option<String> {
        let options = self.json.get("storage-opts").and_then(|options| options.as_array()).into_iter().flatten();
        options.filter_map(|option| option.as_str()?.strip_prefix(key)).next_back().map(str::to_owned)
    }
}

/// The two devices, or files, that Docker makes its own pool on, and the folder that gives the pool its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfDocker {
    pub data: String,
    pub metadata: String,
    pub root: String,
    /// Of the pool as Docker would make it.
    pub chunk: Bytes,
}

/// What Docker's pools have where nothing is configured (defaultThinpBlockSize of its devicemapper driver).
const CHUNK: Bytes = Bytes(64 * KIB);

/// Docker's daemon.json; a file that is not there says nothing.
fn configured() -> Looked<Daemon> {
    let text = looked(file::read(Path::new(DOCKER)))?.unwrap_or_default();
    let mut daemon = daemon_json(&text).map_err(|why| of_file(&why))?;
    if daemon.named().is_none() {
        daemon.told = root_of_unit()?;
    }
    Ok(daemon)
}

/// Docker's own folder, by its file.
///
/// # Errors
/// The file is there and cannot be read or taken apart.
pub fn root() -> Looked<String> {
    configured().map(|daemon| daemon.root().to_owned())
}

fn of_file(why: &str) -> Unseen {
    Unseen(format!("reading {DOCKER}: {why}"))
}

/// `dm.datadev` and `dm.metadatadev` of Docker's daemon.json.
///
/// # Errors
/// The file is there and cannot be read or taken apart.
pub fn docker_devices() -> Looked<Option<OfDocker>> {
    configured()?.devices().map_err(|why| of_file(&why))
}

/// As [`docker_devices`], from the text of the file.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn devices_by(text: &str) -> Result<Option<OfDocker>, String> {
    daemon_json(text)?.devices()
}

/// The two files that Docker makes its own pool on where it is not configured for anything else.
///
/// # Errors
/// The configuration is there and cannot be read or taken apart, or the files cannot be looked at.
pub fn docker_files() -> Looked<Option<OfDocker>> {
    let daemon = configured()?;
    if ["dm.thinpooldev=", "dm.datadev=", "dm.metadatadev="].iter().any(|key| daemon.option(key).is_some()) {
        return Ok(None);
    }
    let root = format!("{}/devicemapper", daemon.root());
    let there = |path: &str| looked(file::is_plain(Path::new(path)));
    // Docker has a folder of that name in it; its documents show the files one level up.
    for folder in [format!("{root}/devicemapper"), root] {
        let (data, metadata) = (format!("{folder}/data"), format!("{folder}/metadata"));
        if there(&data)? && there(&metadata)? {
            return daemon.pool_on(data, metadata).map(Some).map_err(|why| of_file(&why));
        }
    }
    Ok(None)
}

/// Docker's own folder by the text of its file, as far as that can be taken apart.
pub fn root_by(text: &str) -> String {
    daemon_json(text).unwrap_or_default().root().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_docker() {
        let text = r#"{"storage-driver": "devicemapper", "storage-opts": ["dm.basesize=20G", "dm.thinpooldev=/dev/mapper/docker-thinpool"]}"#;
        assert_eq!(pool_by(text), Ok(Some("/dev/mapper/docker-thinpool".to_owned())));
        let made = r#"{"storage-opts": ["dm.directlvm_device=/dev/xvdf"]}"#;
        assert_eq!(pool_by(made), Ok(Some("docker-thinpool".to_owned())));
        assert_eq!(pool_or_made_by(made), Ok(Some(("docker-thinpool".to_owned(), true))));
        assert_eq!(pool_or_made_by(text), Ok(Some(("/dev/mapper/docker-thinpool".to_owned(), false))));
        assert_eq!((pool_by("{}"), pool_by("\n")), (Ok(None), Ok(None)));
        assert!(pool_by("{").is_err());
    }

    #[test]
    fn devices_of_docker() {
        let text = r#"{"data-root": "/srv/docker/", "storage-opts": ["dm.datadev=/dev/mapper/vg-data", "dm.metadatadev=/dev/mapper/vg-meta"]}"#;
        let found = devices_by(text).expect("json").expect("both");
        assert_eq!((found.data.as_str(), found.root.as_str()), ("/dev/mapper/vg-data", "/srv/docker/devicemapper"));
        assert_eq!(devices_by(r#"{"storage-opts": ["dm.datadev=/dev/sdb"]}"#), Ok(None));
        assert_eq!((devices_by(" "), devices_by("{}")), (Ok(None), Ok(None)));
        assert!(devices_by("[").is_err());
    }
}
