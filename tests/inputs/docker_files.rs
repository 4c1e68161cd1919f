//! Docker's folder: what its devicemapper driver and its images have in files.
#![allow(clippy::disallowed_methods, reason = "the files of Docker are made here")]

use super::{claims, text};
use dmtool::observe::owners::docker;
use std::fs;
use std::path::{Component, Path};

/// Each line that begins with an `@` names a file, and the lines behind it are what stands in that.
pub fn docker_files(data: &[u8]) {
    let text = text(data);
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let mut count = 0;
    for part in text.split("\n@").take(64) {
        let (name, text) = part.trim_start_matches('@').split_once('\n').unwrap_or((part, ""));
        count += usize::from(make(folder.path(), name, text));
    }
    let root = folder.path().to_str().expect("UTF-8");
    // A file may stand where a folder is due.
    let Ok(found) = docker(root) else { return };
    assert!(found.claims.len() <= count && found.open.len() <= count, "{found:#?}");
    assert!(found.recorded || (found.claims.is_empty() && found.damaged.is_empty()), "{found:#?}");
    let record = docker::record(root).expect("its folders can be read");
    assert!(record.volumes.len() <= found.claims.len());
    claims::all(found);
}

/// Whether it could be made: not where it would lie elsewhere, and what is a file is no folder.
fn make(root: &Path, name: &str, text: &str) -> bool {
    let path = Path::new(name);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || name.len() > 300 || !inside || path.components().count() > 8 {
        return false;
    }
    let path = root.join(path);
    let made = path.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok());
    made && fs::write(path, text).is_ok()
}
