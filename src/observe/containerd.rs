//! containerd on this host: whether it runs, what its snapshotter says, and what it has of a pool.

use super::consumers::{Snapshotter, snapshotter};
use super::docker::Daemon;
use super::{Looked, Unseen, looked};
use crate::sys::{block, exec};
use std::path::Path;
use std::time::Duration;

const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// What the snapshotter may run.
const TOOLS: [&str; 5] = ["dmsetup", "mkfs.ext4", "mkfs.ext2", "mkfs.xfs", "blkdiscard"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containerd {
    pub installed: bool,
    /// The process that runs with the file that is meant.
    pub daemon: Option<Daemon>,
    /// Why nobody knows whether one runs.
    pub unseen: Option<Unseen>,
    /// Its unit was changed, and systemd has not read that yet.
    pub unread_unit: bool,
    /// What its devmapper snapshotter says, where it runs: well, or why not.
    pub plugin: Option<Looked<Result<(), String>>>,
    pub record: Looked<Record>,
    /// What its file says by now, with those that it imports.
    pub said: Looked<Snapshotter>,
    /// Those of its tools that are not installed.
    pub missing: Vec<String>,
}

/// What the snapshotter keeps of a pool: which thin id is which snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub path: String,
    pub there: bool,
}

/// Looks at containerd, with its configuration file, and the snapshotter's folder and pool.
pub fn look(file: &str, root: &str, pool: &str, systemd: bool) -> Containerd {
    // The one that Docker starts for itself has a file of its own.
    let is_it = |words: &[String]| named(words).is_none_or(|named| named == file);
    let oldest = looked(exec::oldest(&["containerd"], is_it));
    let unseen = oldest.as_ref().err().cloned();
    let daemon = oldest.ok().flatten().map(|(id, runs)| Daemon { id, runs });
    let path = format!("{root}/{pool}.db");
    let there = looked(block::entries(Path::new(root))).map(|names| names.contains(&format!("{pool}.db")));
    Containerd {
        installed: exec::find("containerd").is_some(),
        daemon,
        unseen,
        unread_unit: systemd && is_stale(),
        plugin: daemon.map(|_| plugin()),
        record: there.map(|there| Record { path, there }),
        said: snapshotter(file),
        missing: TOOLS.iter().filter(|tool| exec::find(tool).is_none()).map(|tool| (*tool).to_owned()).collect(),
    }
}

/// The file that a command line names.
pub fn named(words: &[String]) -> Option<&str> {
    let at = words.iter().position(|word| word == "-c" || word == "--config");
    let long = words.iter().find_map(|word| word.strip_prefix("--config=").or_else(|| word.strip_prefix("-c=")));
    at.and_then(|at| words.get(at + 1)).map(String::as_str).or(long)
}

fn is_stale() -> bool {
    let said = exec::find("systemctl").and_then(|path| {
        let words = ["show", "containerd.service", "--property", "NeedDaemonReload"];
        exec::run_within(&path, &words, ANSWERS_WITHIN).ok().flatten()
    });
    said.is_some_and(|ended| ended.said.contains("=yes"))
}

fn plugin() -> Looked<Result<(), String>> {
    let path = exec::find("ctr").ok_or_else(|| Unseen("the command ctr is not installed".to_owned()))?;
    let ended = looked(exec::run_within(&path, &["plugins", "ls", "--detailed"], ANSWERS_WITHIN))?;
    let ended = ended.ok_or_else(|| Unseen(format!("ctr did not answer within {} s", ANSWERS_WITHIN.as_secs())))?;
    if ended.status != Some(0) {
        return Err(Unseen(format!("ctr plugins ls says: {}", ended.said)));
    }
    of_plugin(&ended.said).ok_or_else(|| Unseen("ctr plugins ls does not list the devmapper snapshotter".to_owned()))
}

/// What `ctr plugins ls --detailed` says of the snapshotter, in its block: "Type:", "ID:", and where it does not run
/// "Error:" with a "Message:".
pub fn of_plugin(said: &str) -> Option<Result<(), String>> {
    let mut lines = said.lines().map(str::trim);
    let value = |line: &str, key: &str| line.strip_prefix(key).map(|value| value.trim().to_owned());
    lines.find(|line| value(line, "ID:").as_deref() == Some("devmapper"))?;
    let mut block = lines.take_while(|line| !line.starts_with("Type:"));
    if !block.any(|line| line.starts_with("Error:")) {
        return Some(Ok(()));
    }
    let message = block.find_map(|line| value(line, "Message:")).filter(|message| !message.is_empty());
    Some(Err(message.unwrap_or_else(|| "an error, and does not say which".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ctr_says_of_the_snapshotter() {
        let well = "Type:          io.containerd.snapshotter.v1\nID:            devmapper\nRequires:\nExports:\n  root      /x\n\n\
                    Type: io.containerd.snapshotter.v1\nID: native\nError:\n  Code: Unknown\n  Message: no\n";
        assert_eq!(of_plugin(well), Some(Ok(())));
        let sick = "Type: a\nID: devmapper\nError:\n\t   Code:        Unknown\n\t   Message:     devmapper not configured: skip plugin\n";
        assert_eq!(of_plugin(sick), Some(Err("devmapper not configured: skip plugin".to_owned())));
        assert_eq!(of_plugin("Type: a\nID: native\n"), None);
        let mute = of_plugin("ID: devmapper\nError:\n  Message:\n");
        assert_eq!(mute, Some(Err("an error, and does not say which".to_owned())));
    }

    #[test]
    fn the_file_on_a_command_line() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(named(&words("containerd --config /a.toml --log-level info")), Some("/a.toml"));
        assert_eq!(named(&words("containerd -c /a.toml")), Some("/a.toml"));
        assert_eq!(named(&words("containerd --config=/a.toml")), Some("/a.toml"));
        assert_eq!(named(&words("containerd")), None);
    }
}
