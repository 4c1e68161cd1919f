//! Who is configured to use a pool: Docker and containerd, by their configuration files.

use super::owners::docker::{self, Volume};
use super::{Looked, Unseen, looked};
use crate::sys::{block, exec, file};
use crate::units::{Bytes, KIB, parse_size};
use serde::Serialize;
use std::path::Path;
use toml_edit::{DocumentMut, TableLike};

pub const DOCKER: &str = "/etc/docker/daemon.json";
pub const CONTAINERD: &str = "/etc/containerd/config.toml";

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
    let docker = docker_pool()?.map(|pool| Consumer { name: "Docker", file: DOCKER, pool });
    let containerd = containerd_pool()?.map(|pool| Consumer { name: "containerd", file: CONTAINERD, pool });
    Ok(docker.into_iter().chain(containerd).collect())
}

/// The pool in Docker's daemon.json.
///
/// # Errors
/// The file is there and cannot be read or taken apart.
pub fn docker_pool() -> Looked<Option<String>> {
    let text = looked(file::read(Path::new(DOCKER)))?;
    text.map_or(Ok(None), |text| pool_by(&text)).map_err(|why| Unseen(format!("reading {DOCKER}: {why}")))
}

/// The pool in containerd's config.toml.
///
/// # Errors
/// The file is there and cannot be read or taken apart.
pub fn containerd_pool() -> Looked<Option<String>> {
    let text = looked(file::read(Path::new(CONTAINERD)))?;
    text.map_or(Ok(None), |text| containerd(&text)).map_err(|why| Unseen(format!("reading {CONTAINERD}: {why}")))
}

/// Those of them that run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Who, and the pool as it is configured.
    pub pools: Vec<(&'static str, String)>,
    /// Who, and why the pool that it is configured for cannot be looked at.
    pub hidden: Vec<(&'static str, Unseen)>,
    /// Why nobody knows which of them run.
    pub unseen: Option<Unseen>,
}

/// Those of them that run. Docker may have its pool on its command line, too, and containerd in a file that its command
/// line names; a file that cannot be read hides nobody else.
pub fn running() -> Running {
    let mut found = Running::default();
    let daemons = match Daemons::look() {
        Ok(daemons) => daemons,
        Err(why) => {
            found.unseen = Some(why);
            return found;
        }
    };
    if daemons.docker.is_some() {
        let told: Vec<_> = daemons.told().map(|pool| ("Docker", pool.to_owned())).collect();
        match docker_pool() {
            Ok(pool) => found.pools.extend(pool.map(|pool| ("Docker", pool))),
            // It starts with one of the two only.
            Err(why) if told.is_empty() => found.hidden.push(("Docker", why)),
            Err(_) => {}
        }
        found.pools.extend(told);
    }
    if daemons.containerd.is_some() {
        for file in daemons.containerd_files() {
            match snapshotter(&file) {
                Ok(of) => found.pools.extend(of.pool.map(|pool| ("containerd", pool))),
                Err(why) => found.hidden.push(("containerd", why)),
            }
        }
    }
    found
}

/// The daemons that run, by one look at all processes: with the words that they were started with.
#[derive(Debug, Default)]
pub struct Daemons {
    pub docker: Option<Vec<String>>,
    pub containerd: Option<Vec<String>>,
}

impl Daemons {
    /// # Errors
    /// /proc cannot be read.
    pub fn look() -> Looked<Daemons> {
        let mut found = Daemons::default();
        let names = [DAEMONS, CONTAINERDS].concat();
        for (name, words) in looked(exec::words_of_each(&names))? {
            let of = if DAEMONS.contains(&name) { &mut found.docker } else { &mut found.containerd };
            of.get_or_insert_with(Vec::new).extend(words);
        }
        Ok(found)
    }

    /// Whatever they are configured for.
    pub fn at_work(&self) -> Vec<&'static str> {
        let both = [("Docker", self.docker.is_some()), ("containerd", self.containerd.is_some())];
        both.into_iter().filter(|(_, runs)| *runs).map(|(who, _)| who).collect()
    }

    /// The pools on Docker's command line.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.docker.iter().flatten().filter_map(|word| Some(word.split_once("dm.thinpooldev=")?.1))
    }

    /// Docker's own folder, by its command line or its file.
    ///
    /// # Errors
    /// The file is there and cannot be read or taken apart.
    pub fn docker_root(&self) -> Looked<String> {
        // It starts with one of the two only.
        let root = root_among(self.docker.as_deref().unwrap_or_default());
        root.map_or_else(|| configured().map(|daemon| daemon.root().to_owned()), Ok)
    }

    /// containerd's file, and those that the command lines of running ones name: Docker's own, and that of k3s.
    pub fn containerd_files(&self) -> Vec<String> {
        let words = self.containerd.as_deref().unwrap_or_default();
        let mut files = vec![CONTAINERD.to_owned()];
        for (at, word) in words.iter().enumerate() {
            let long = word.strip_prefix("--config=").or_else(|| word.strip_prefix("-c=")).map(str::to_owned);
            let named = if word == "-c" || word == "--config" { words.get(at + 1).cloned() } else { long };
            files.extend(named.filter(|file| file.starts_with('/')));
        }
        files.sort();
        files.dedup();
        files
    }
}

/// containerd's daemons: the second is firecracker's, whose name the kernel cuts.
const CONTAINERDS: [&str; 2] = ["containerd", "firecracker-con"];

/// What a file of containerd's says of the devmapper snapshotter.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshotter {
    pub pool: Option<String>,
    /// Its folder.
    pub root: String,
    /// More may stand in other files.
    pub imports: bool,
}

/// What this file of containerd's says of the devmapper snapshotter; one that is not there says nothing.
///
/// # Errors
/// The file is there and cannot be read or taken apart.
pub fn snapshotter(file: &str) -> Looked<Snapshotter> {
    let text = looked(file::read(Path::new(file)))?.unwrap_or_default();
    snapshotter_by(&text).map_err(|why| Unseen(format!("reading {file}: {why}")))
}

/// As [`snapshotter`], from the text of the file.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn snapshotter_by(text: &str) -> Result<Snapshotter, String> {
    let imports = toml(text)?.get("imports").and_then(|item| item.as_array()).is_some_and(|list| !list.is_empty());
    Ok(Snapshotter { pool: containerd(text)?, root: snapshotter_root(text)?, imports })
}

/// Docker's daemon, by its names: RHEL 7 has the second.
pub const DAEMONS: [&str; 2] = ["dockerd", "dockerd-current"];
/// What Debian's package has for its command line.
pub const OPTIONS_FILE: &str = "/etc/default/docker";

/// Whether Docker runs.
///
/// # Errors
/// /proc cannot be read.
pub fn docker_runs() -> Looked<bool> {
    Ok(looked(exec::words_of(&DAEMONS))?.is_some())
}

/// Whether containerd runs, or one that Docker has started for itself.
///
/// # Errors
/// As [`docker_runs`]'s.
pub fn containerd_runs() -> Looked<bool> {
    Ok(looked(exec::words_of(&CONTAINERDS))?.is_some())
}

/// The words that Docker was started with.
///
/// # Errors
/// As [`docker_runs`]'s.
pub fn words() -> Looked<Vec<String>> {
    Ok(looked(exec::words_of(&DAEMONS))?.unwrap_or_default())
}

/// `dm.thinpooldev` among the storage options of Docker's daemon.json.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn pool_by(text: &str) -> Result<Option<String>, String> {
    let daemon = daemon_json(text)?;
    // The pool that Docker makes by LVM itself where it is given a blank disk.
    let made = || daemon.option("dm.directlvm_device=").filter(|disk| !disk.is_empty()).map(|_| MADE.to_owned());
    Ok(daemon.option("dm.thinpooldev=").or_else(made))
}

/// Its name, by Docker's devicemapper driver.
const MADE: &str = "docker-thinpool";

/// Docker's daemon.json.
#[derive(Debug, Default, PartialEq, Eq)]
struct Daemon(serde_json::Value);

fn daemon_json(text: &str) -> Result<Daemon, String> {
    // Docker takes an empty file for an empty object from version 23 on; before that it does not start with it.
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map(Daemon).map_err(|why| why.to_string())
}

impl Daemon {
    /// Its own folder. The older name of the key is still taken.
    fn root(&self) -> &str {
        let root = ["data-root", "graph"].iter().find_map(|key| self.0.get(*key)?.as_str());
        root.unwrap_or("/var/lib/docker").trim_end_matches('/')
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
        let options = self.0.get("storage-opts").and_then(|options| options.as_array()).into_iter().flatten();
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
    daemon_json(&text).map_err(|why| of_file(&why))
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
/// The configuration is there and cannot be read or taken apart.
pub fn docker_files() -> Looked<Option<OfDocker>> {
    let daemon = configured()?;
    if ["dm.thinpooldev=", "dm.datadev=", "dm.metadatadev="].iter().any(|key| daemon.option(key).is_some()) {
        return Ok(None);
    }
    let root = format!("{}/devicemapper", daemon.root());
    // Docker has a folder of that name in it; its documents show the files one level up.
    for folder in [format!("{root}/devicemapper"), root] {
        let (data, metadata) = (format!("{folder}/data"), format!("{folder}/metadata"));
        if Path::new(&data).is_file() && Path::new(&metadata).is_file() {
            return daemon.pool_on(data, metadata).map(Some).map_err(|why| of_file(&why));
        }
    }
    Ok(None)
}

/// Docker's own folder by the text of its file, as far as that can be taken apart.
pub fn root_by(text: &str) -> String {
    daemon_json(text).unwrap_or_default().root().to_owned()
}

/// Docker's own folder: by the command line of the one that runs, where it says, and by its file.
///
/// # Errors
/// The file is there and cannot be read or taken apart.
pub fn docker_root() -> Looked<String> {
    Daemons::look()?.docker_root()
}

/// The folder that Docker was started with. The older names of the option are still taken.
pub fn root_among(words: &[String]) -> Option<String> {
    let names = ["--data-root", "--graph", "-g"];
    let (at, root) = words.iter().enumerate().find_map(|(at, word)| {
        let rest = names.iter().find_map(|name| word.strip_prefix(name))?;
        (rest.is_empty() || rest.starts_with('=')).then_some((at, rest))
    })?;
    let root = root.strip_prefix('=').or_else(|| words.get(at + 1).map(String::as_str))?;
    Some(root.trim_end_matches('/').to_owned()).filter(|root| root.starts_with('/'))
}

/// What Docker's devicemapper driver knows of its volumes.
///
/// # Errors
/// A file of Docker's is there and cannot be read or taken apart.
pub fn docker_volumes() -> Looked<Vec<Volume>> {
    let found = docker::record(&docker_root()?)?;
    found.damaged.into_iter().next().map_or(Ok(found.volumes), Err)
}

/// The names of Docker's containers that run, as its files say: none where they cannot be read.
pub fn running_containers() -> Vec<String> {
    if !docker_runs().is_ok_and(|runs| runs) {
        return Vec::new();
    }
    let folder = docker_root().map(|root| format!("{root}/containers")).unwrap_or_default();
    let config = |id: &String| {
        let text = file::read(&Path::new(&folder).join(id).join("config.v2.json")).ok()??;
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        let runs = value.get("State")?.get("Running")?.as_bool()?;
        let name = value.get("Name")?.as_str()?.trim_start_matches('/').to_owned();
        runs.then_some(name)
    };
    block::entries(Path::new(&folder)).unwrap_or_default().iter().filter_map(config).collect()
}

/// `pool_name` of the devmapper snapshotter.
fn containerd(text: &str) -> Result<Option<String>, String> {
    Ok(of_snapshotter(&toml(text)?, "pool_name"))
}

/// `root_path` of the devmapper snapshotter; without one it keeps its files below containerd's own folder.
fn snapshotter_root(text: &str) -> Result<String, String> {
    let document = toml(text)?;
    let own = document.get("root").and_then(|item| item.as_str()).filter(|root| !root.is_empty());
    let own = own.unwrap_or("/var/lib/containerd").trim_end_matches('/');
    Ok(of_snapshotter(&document, "root_path").unwrap_or_else(|| format!("{own}/{}", SNAPSHOTTER[0])))
}

/// The full name is that of version 2; version 1 called it by its last part.
const SNAPSHOTTER: [&str; 2] = ["io.containerd.snapshotter.v1.devmapper", "devmapper"];

fn toml(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|why: toml_edit::TomlError| why.message().to_owned())
}

/// A setting of the devmapper snapshotter; an empty one is none.
fn of_snapshotter(document: &DocumentMut, key: &str) -> Option<String> {
    let plugins: &dyn TableLike = document.get("plugins")?.as_table_like()?;
    let found = SNAPSHOTTER.iter().find_map(|name| Some(plugins.get(name)?.get(key)?.as_str()?.to_owned()));
    found.filter(|text| !text.is_empty())
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

    #[test]
    fn folders_on_dockers_command_line() {
        let root = |line: &str| root_among(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for line in [
            "dockerd --data-root /srv/d -D",
            "dockerd --data-root=/srv/d/",
            "dockerd -g /srv/d",
            "dockerd --graph=/srv/d",
        ] {
            assert_eq!(root(line).as_deref(), Some("/srv/d"), "{line}");
        }
        for line in ["dockerd", "dockerd --data-root", "dockerd --graphical /srv/d", "dockerd --data-root=d"] {
            assert_eq!(root(line), None, "{line}");
        }
    }

    #[test]
    fn pools_of_containerd() {
        let text = "version = 2\n[plugins]\n  [plugins.\"io.containerd.snapshotter.v1.devmapper\"]\n    pool_name = \"docker-thinpool\"\n";
        assert_eq!(containerd(text), Ok(Some("docker-thinpool".to_owned())));
        assert_eq!(containerd("version = 2\n"), Ok(None));
        let folder = "/io.containerd.snapshotter.v1.devmapper";
        assert_eq!(snapshotter_root(text), Ok(format!("/var/lib/containerd{folder}")));
        assert_eq!(snapshotter_root(&format!("root = \"/srv/c/\"\n{text}")), Ok(format!("/srv/c{folder}")));
        assert_eq!(snapshotter_root(&format!("{text}root_path = \"/srv/d\"\n")), Ok("/srv/d".to_owned()));
        assert!(containerd("[plugins").is_err());
    }
}
