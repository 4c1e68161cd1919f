//! Docker on this host: which, whether it runs, what it is told elsewhere than in its file, and what it has left.

use super::consumers::{self, OPTIONS_FILE};
use super::mounts;
use super::moved::{self, Moved};
use super::{Looked, Unseen, host, looked};
use crate::sys::{block, exec, file};
use crate::units::Bytes;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// What systemd has of it; the socket first, since it would start Docker anew.
pub const UNITS: [&str; 2] = ["docker.socket", "docker.service"];
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// The first part of its version; none where it is not installed.
    pub version: Looked<Option<u32>>,
    /// The process that runs.
    pub daemon: Option<Daemon>,
    /// Why nobody knows whether one runs.
    pub unseen: Option<Unseen>,
    /// Options for its storage that it gets besides its file, each with where it is written.
    pub told: Looked<Vec<Told>>,
    /// Its unit was changed, and systemd has not read that yet.
    pub unread_unit: bool,
    /// Its folder.
    pub root: String,
    /// A move of it that was begun.
    pub moved: Looked<Option<Moved>>,
    /// The folder itself.
    pub folder: Looked<Folder>,
    /// Other drivers that have images there.
    pub left: Looked<Vec<String>>,
    /// The size of its devicemapper driver's base volume there, in whichever pool.
    pub base: Looked<Option<Bytes>>,
    /// What it says of itself, where it runs.
    pub info: Option<Looked<Info>>,
}

impl Docker {
    /// Where its folder goes when it is moved aside.
    pub fn copy(&self) -> String {
        format!("{}.bk", self.root)
    }
}

/// A folder that can be moved aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Their numbers in their file system; none where there is none.
    pub inode: Option<u64>,
    pub copy_inode: Option<u64>,
    /// Why it cannot be moved.
    pub barred: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Daemon {
    pub id: u32,
    /// For how long.
    pub runs: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub option: String,
    pub place: String,
}

/// What `docker info` says of its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    pub driver: String,
    pub pool: Option<String>,
    /// The device or file that it was told for the data of a pool of its own.
    pub data: Option<String>,
    pub root: Option<String>,
}

/// Looks at Docker, with its folder as its file has it.
pub fn look(root: &str, systemd: bool) -> Docker {
    let oldest = looked(exec::oldest(&consumers::DAEMONS, |_| true));
    let unseen = oldest.as_ref().err().cloned();
    let daemon = oldest.ok().flatten().map(|(id, runs)| Daemon { id, runs });
    let info = daemon.map(|_| info());
    let said = info.as_ref().and_then(|info| info.as_ref().ok()?.root.clone());
    let unit = systemd.then(unit);
    // One that is stopped has the folder that it will be started with.
    let by_unit = if said.is_some() { Ok(None) } else { root_told(unit.as_ref()) };
    let unseen = unseen.or_else(|| by_unit.as_ref().err().cloned());
    let root = said.or(by_unit.ok().flatten()).unwrap_or_else(|| root.to_owned());
    Docker {
        version: version(),
        daemon,
        unseen,
        told: told(unit.as_ref()),
        unread_unit: unit.as_ref().is_some_and(|unit| unit.as_ref().is_ok_and(|unit| unit.is_stale)),
        moved: moved::read(),
        folder: looked(folder(Path::new(&root), Path::new(&format!("{root}.bk")), daemon.is_some())),
        left: left(&root),
        base: base(&root),
        info,
        root,
    }
}

fn version() -> Looked<Option<u32>> {
    let Some(path) = consumers::DAEMONS.iter().find_map(|name| exec::find(name)) else { return Ok(None) };
    let ended = looked(exec::run_within(&path, &["--version"], ANSWERS_WITHIN))?;
    let said = ended.map(|ended| ended.said).unwrap_or_default();
    let number = version_of(&said);
    number.map(Some).ok_or_else(|| Unseen(format!("{} does not say its version: {said}", path.display())))
}

/// "Docker version 20.10.24+dfsg1, build 5d6db84"
pub fn version_of(said: &str) -> Option<u32> {
    said.split_whitespace().nth(2).and_then(|word| word.split('.').next()?.parse().ok())
}

/// What systemd starts Docker with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unit {
    words: String,
    files: Vec<String>,
    is_stale: bool,
}

impl Unit {
    /// From what `systemctl show` says of it.
    pub fn parse(said: &str) -> Unit {
        let mut unit = Unit::default();
        for line in said.lines() {
            match line.split_once('=') {
                // "{ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// ; ignore_errors=no ; … }"
                Some(("ExecStart", start)) => {
                    let words = start.split_once("argv[]=").map_or("", |(_, words)| words);
                    unit.words.push_str(words.split(" ; ").next().unwrap_or_default());
                }
                Some(("Environment", words)) => {
                    unit.words.push(' ');
                    unit.words.push_str(words);
                }
                // "/etc/default/docker (ignore_errors=yes)"
                Some(("EnvironmentFiles", file)) => {
                    unit.files.push(file.split(" (").next().unwrap_or_default().to_owned());
                }
                Some(("NeedDaemonReload", said)) => unit.is_stale = said == "yes",
                _ => {}
            }
        }
        unit
    }

    /// The options of the storage among its words.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        of_storage(&self.words)
    }
}

fn unit() -> Looked<Unit> {
    let path = exec::find("systemctl").ok_or_else(|| Unseen("systemctl is not installed".to_owned()))?;
    let mut words = vec!["show", "docker.service"];
    let properties = ["ExecStart", "Environment", "EnvironmentFiles", "NeedDaemonReload"];
    words.extend(properties.iter().flat_map(|property| ["--property", property]));
    let ended = looked(exec::run_within(&path, &words, ANSWERS_WITHIN))?
        .filter(|ended| ended.status == Some(0))
        .ok_or_else(|| Unseen("systemctl show docker.service did not answer".to_owned()))?;
    Ok(Unit::parse(&ended.said))
}

/// Docker's folder by the words that it is started with; none where those do not say, or there is no Docker.
///
/// # Errors
/// systemd cannot be asked, or a file with words is there and cannot be read.
pub fn root_of_unit() -> Looked<Option<String>> {
    if consumers::DAEMONS.iter().all(|name| exec::find(name).is_none()) {
        return Ok(None);
    }
    root_told(host::has_systemd().then(unit).as_ref())
}

fn root_told(unit: Option<&Looked<Unit>>) -> Looked<Option<String>> {
    let files = files(unit)?;
    let words = unit.and_then(|unit| unit.as_ref().ok()).map_or("", |unit| unit.words.as_str());
    Ok(root_in(std::iter::once(words).chain(files.iter().flat_map(|(_, text)| lines(text)))))
}

/// The files that Docker takes words of its command line from, with their texts; what else than systemd starts it has one,
/// as Debian's script does.
fn files(unit: Option<&Looked<Unit>>) -> Looked<Vec<(String, String)>> {
    let paths = match unit {
        Some(unit) => unit.as_ref().map_err(Clone::clone)?.files.clone(),
        None => vec![OPTIONS_FILE.to_owned()],
    };
    let read = |path: String| Ok((path.clone(), looked(file::read(Path::new(&path)))?.unwrap_or_default()));
    paths.into_iter().map(read).collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#'))
}

/// The words of a line of a shell's, or of systemd's.
fn words_in(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t', '"', '\''])
}

/// What is assigned, of DOCKER_OPTS=--data-root=/srv/docker.
fn unassigned(word: &str) -> &str {
    let assigned = word.split_once('=').filter(|(name, rest)| !name.starts_with('-') && rest.starts_with('-'));
    assigned.map_or(word, |(_, rest)| rest)
}

fn root_in<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let words = lines.flat_map(words_in).filter(|word| !word.is_empty());
    consumers::root_among(&words.map(|word| unassigned(word).to_owned()).collect::<Vec<_>>())
}

fn told(unit: Option<&Looked<Unit>>) -> Looked<Vec<Told>> {
    let mut found = Vec::new();
    let mut add = |words: &mut dyn Iterator<Item = &str>, place: &str| {
        found.extend(words.map(|option| Told { option: option.to_owned(), place: place.to_owned() }));
    };
    match unit {
        Some(unit) => {
            let unit = unit.as_ref().map_err(Clone::clone)?;
            add(&mut unit.told(), "docker.service (systemctl cat docker)");
        }
        None => {
            let words = consumers::words()?;
            let mut words = words.iter().map(String::as_str).filter(|word| is_of_storage(word));
            add(&mut words, "the command line of the dockerd that runs");
        }
    }
    for (path, text) in files(unit)? {
        add(&mut lines(&text).flat_map(of_storage), &path);
    }
    Ok(found)
}

fn of_storage(text: &str) -> impl Iterator<Item = &str> {
    words_in(text).filter(|word| is_of_storage(word))
}

fn is_of_storage(word: &str) -> bool {
    let word = unassigned(word);
    let short = word.strip_prefix("-s").is_some_and(|rest| !rest.starts_with('-'));
    short || ["--storage-driver", "--storage-opt"].iter().any(|option| word.starts_with(option))
}

fn folder(root: &Path, copy: &Path, runs: bool) -> anyhow::Result<Folder> {
    let there = file::folder(root)?;
    let mounted = mounts::within(root)?;
    let above = root.parent().map_or(Ok(None), file::folder)?;
    let barred = match (&there, &above) {
        (Some(there), _) if there.is_link => Some("it is a symlink"),
        (Some(there), Some(above)) if there.device != above.device => Some("it is a mount of its own"),
        _ if mounted.iter().any(|place| Path::new(place) == root) => Some("it is a mount of its own"),
        // Docker has its own there while it runs; then they are looked at again before the move.
        _ if !runs && !mounted.is_empty() => Some("something is mounted in it"),
        _ => None,
    };
    let copy = file::folder(copy)?;
    Ok(Folder { inode: there.map(|there| there.inode), copy_inode: copy.map(|copy| copy.inode), barred })
}

fn left(root: &str) -> Looked<Vec<String>> {
    let folder = Path::new(root).join("image");
    let mut drivers = looked(block::entries(&folder))?;
    drivers.retain(|driver| driver != "devicemapper" && folder.join(driver).is_dir());
    Ok(drivers)
}

fn base(root: &str) -> Looked<Option<Bytes>> {
    let path = Path::new(root).join("devicemapper/metadata/base");
    let Some(text) = looked(file::read(&path))? else { return Ok(None) };
    let size = serde_json::from_str::<Value>(&text).ok().and_then(|value| value.get("size")?.as_u64());
    Ok(Some(Bytes(size.unwrap_or(0))))
}

fn info() -> Looked<Info> {
    let path = exec::find("docker").ok_or_else(|| Unseen("the command docker is not installed".to_owned()))?;
    let ended = looked(exec::run_within(&path, &["info", "--format", "{{json .}}"], ANSWERS_WITHIN))?;
    let ended =
        ended.ok_or_else(|| Unseen(format!("docker info did not answer within {} s", ANSWERS_WITHIN.as_secs())))?;
    info_of(&ended.said)
}

/// What `docker info` says, in JSON.
///
/// # Errors
/// It says something else.
pub fn info_of(said: &str) -> Looked<Info> {
    // Warnings stand around it.
    let object = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok().filter(Value::is_object));
    let object = object.ok_or_else(|| Unseen(format!("docker info says: {said}")))?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    // A daemon that does not answer leaves all of it empty.
    let driver = text("Driver").ok_or_else(|| Unseen(format!("docker info says: {said}")))?;
    let status = |key: &str| {
        let rows = object.get("DriverStatus")?.as_array()?;
        let row = rows.iter().find(|row| row.get(0).and_then(Value::as_str) == Some(key))?;
        row.get(1)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    Ok(Info { driver, pool: status("Pool Name"), data: status("Data file"), root: text("DockerRootDir") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_that_a_stopped_docker_will_have() {
        let of = |lines: &[&str]| root_in(lines.iter().copied());
        for line in [
            "/usr/sbin/dockerd -H fd:// --data-root /srv/docker",
            "dockerd --data-root=/srv/docker/ $OPTS",
            "DOCKER_OPTS=\"--data-root /srv/docker\"",
            "DOCKER_OPTS=--graph=/srv/docker",
            "OPTS='-g /srv/docker -D'",
        ] {
            assert_eq!(of(&["dockerd", line]).as_deref(), Some("/srv/docker"), "{line}");
        }
        assert_eq!(of(&["dockerd -H fd://", "OPTS=--graph", "PATH=/srv"]), None);
    }

    #[test]
    fn options_of_the_storage_among_words() {
        for word in [
            "--storage-driver=overlay2",
            "--storage-opt",
            "-s",
            "-s=vfs",
            "-svfs",
            "DOCKER_OPTS=--storage-opt",
            "OPTS=-s",
        ] {
            assert!(is_of_storage(word), "{word}");
        }
        for word in
            ["--log-level=debug", "-H", "fd://", "$DOCKER_OPTS", "storage-driver", "--selinux-enabled", "--", ""]
        {
            assert!(!is_of_storage(word), "{word}");
        }
    }
}
