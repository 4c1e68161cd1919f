//! Docker on this host: which, whether it runs, what it is told elsewhere than in its file, and what it has left.

use super::{Looked, Unseen, consumers, looked};
use crate::sys::{block, exec, file};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Where a unit, its additions, and the words for its command line are.
const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
const WORDS: [&str; 3] = ["/etc/default/docker", "/etc/sysconfig/docker", "/etc/sysconfig/docker-storage"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// The first part of its version; none where it is not installed.
    pub version: Looked<Option<u32>>,
    pub runs: bool,
    /// Options for its storage that stand on its command line, each with where it is written.
    pub told: Looked<Vec<Told>>,
    /// Its folder.
    pub root: String,
    /// Other drivers that have images there.
    pub left: Looked<Vec<String>>,
    /// Whether its devicemapper driver has a base volume there, in whichever pool.
    pub has_base: Looked<bool>,
    /// What it says of itself, where it runs.
    pub info: Option<Looked<Info>>,
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
    /// The device or file of a pool of its own.
    pub data: Option<String>,
}

/// Looks at Docker, with its folder as its file has it.
pub fn look(root: &str) -> Docker {
    let runs = consumers::docker_runs();
    Docker {
        version: version(),
        runs,
        told: told(),
        root: root.to_owned(),
        left: left(root),
        has_base: looked(file::identity(&Path::new(root).join("devicemapper/metadata/base")))
            .map(|found| found.is_some()),
        info: runs.then(info),
    }
}

fn version() -> Looked<Option<u32>> {
    let Some(path) = exec::find("dockerd") else { return Ok(None) };
    let ended = looked(exec::run_within(&path, &["--version"], ANSWERS_WITHIN))?;
    let said = ended.map(|ended| ended.said).unwrap_or_default();
    // "Docker version 20.10.24+dfsg1, build 5d6db84"
    let number = said.split_whitespace().nth(2).and_then(|word| word.split('.').next()?.parse().ok());
    number.map(Some).ok_or_else(|| Unseen(format!("{} does not say its version: {said}", path.display())))
}

fn told() -> Looked<Vec<Told>> {
    let mut found = Vec::new();
    let mut add = |words: &mut dyn Iterator<Item = &str>, place: &str| {
        let options = words.filter(|word| is_of_storage(word)).map(str::to_owned);
        found.extend(options.map(|option| Told { option, place: place.to_owned() }));
    };
    let mut files: Vec<String> = WORDS.iter().map(|path| (*path).to_owned()).collect();
    // The first of them is the one that counts.
    let unit = UNITS.iter().map(|folder| format!("{folder}/docker.service")).find(|path| Path::new(path).exists());
    files.extend(unit);
    for folder in UNITS {
        let folder = format!("{folder}/docker.service.d");
        files.extend(looked(block::entries(Path::new(&folder)))?.into_iter().map(|name| format!("{folder}/{name}")));
    }
    for path in files {
        let text = looked(file::read(Path::new(&path)))?.unwrap_or_default();
        let lines = text.lines().filter(|line| is_for_start(line.trim_start()));
        add(&mut lines.flat_map(|line| line.split([' ', '\t', '"', '\''])), &path);
    }
    if found.is_empty() {
        let words = exec::words_of("dockerd").unwrap_or_default();
        let options = words.iter().filter(|word| is_of_storage(word));
        let place = "the command line of the dockerd that runs";
        found.extend(options.map(|option| Told { option: option.clone(), place: place.to_owned() }));
    }
    Ok(found)
}

/// A line that may say what Docker is started with: no comment, and no other command of a unit's.
fn is_for_start(line: &str) -> bool {
    !line.starts_with(['#', ';']) && line.strip_prefix("Exec").is_none_or(|rest| rest.starts_with("Start="))
}

fn is_of_storage(word: &str) -> bool {
    let assigned = word.split_once('=').filter(|(name, rest)| !name.starts_with('-') && rest.starts_with('-'));
    let word = assigned.map_or(word, |(_, rest)| rest);
    word == "-s" || ["--storage-driver", "--storage-opt"].iter().any(|option| word.starts_with(option))
}

fn left(root: &str) -> Looked<Vec<String>> {
    let folder = Path::new(root).join("image");
    let mut drivers = looked(block::entries(&folder))?;
    drivers.retain(|driver| driver != "devicemapper" && folder.join(driver).is_dir());
    Ok(drivers)
}

fn info() -> Looked<Info> {
    let path = exec::find("docker").ok_or_else(|| Unseen("the command docker is not installed".to_owned()))?;
    let ended = looked(exec::run_within(&path, &["info", "--format", "{{json .}}"], ANSWERS_WITHIN))?;
    let ended =
        ended.ok_or_else(|| Unseen(format!("docker info did not answer within {} s", ANSWERS_WITHIN.as_secs())))?;
    // Warnings stand around it.
    let object = ended.said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok().filter(Value::is_object));
    let object = object.ok_or_else(|| Unseen(format!("docker info says: {}", ended.said)))?;
    let driver = object.get("Driver").and_then(Value::as_str).unwrap_or_default();
    let status = |key: &str| {
        let rows = object.get("DriverStatus")?.as_array()?;
        let row = rows.iter().find(|row| row.get(0).and_then(Value::as_str) == Some(key))?;
        row.get(1)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    Ok(Info { driver: driver.to_owned(), pool: status("Pool Name"), data: status("Data file") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_start_docker() {
        for line in
            ["ExecStart=/usr/bin/dockerd -s overlay2", "Environment=DOCKER_OPTS=-s", "  --storage-opt x", "ExecStart="]
        {
            assert!(is_for_start(line), "{line}");
        }
        for line in ["# -s overlay2", ";", "ExecReload=/bin/kill -s HUP $MAINPID", "ExecStartPre=/x -s"] {
            assert!(!is_for_start(line), "{line}");
        }
    }

    #[test]
    fn options_of_the_storage_among_words() {
        for word in
            ["--storage-driver=overlay2", "--storage-opt", "-s", "DOCKER_OPTS=--storage-opt", "--storage-driver"]
        {
            assert!(is_of_storage(word), "{word}");
        }
        for word in ["--log-level=debug", "-H", "fd://", "$DOCKER_OPTS", "storage-driver", ""] {
            assert!(!is_of_storage(word), "{word}");
        }
    }
}
