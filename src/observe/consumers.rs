//! Who is configured to use a pool, Docker and containerd, and which of them run.

mod containerd;
mod docker;

use super::owners::docker::{Volume, record};
use super::{Looked, Unseen, looked};
use crate::sys::{block, exec, file};
use serde::Serialize;
use std::path::Path;

pub use containerd::{CONTAINERD, Snapshotter, snapshotter, snapshotter_by};
pub use docker::{DOCKER, OfDocker, devices_by, docker_devices, docker_files, docker_pool, pool_by, root_by};

/// A consumer that needs a device with the thin-pool target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Consumer {
    pub name: &'static str,
    pub file: String,
    /// As it stands there: a device-mapper name or a path.
    pub pool: String,
    /// It is given a disk, and makes the pool itself when it starts.
    pub makes_it: bool,
}

/// The consumers that name a pool in their configuration.
///
/// # Errors
/// A file is there and cannot be read or taken apart.
pub fn consumers() -> Looked<Vec<Consumer>> {
    let docker = docker::pool_or_made()?.map(|(pool, makes_it)| Consumer {
        name: "Docker",
        file: DOCKER.to_owned(),
        pool,
        makes_it,
    });
    let Snapshotter { pool, import, .. } = snapshotter(CONTAINERD)?;
    let file = import.unwrap_or_else(|| CONTAINERD.to_owned());
    let containerd = pool.map(|pool| Consumer { name: "containerd", file, pool, makes_it: false });
    Ok(docker.into_iter().chain(containerd).collect())
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
        root.map_or_else(docker::root, Ok)
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
    let found = record(&docker_root()?)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
