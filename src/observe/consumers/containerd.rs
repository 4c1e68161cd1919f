//! What a file of containerd's says of the devmapper snapshotter.

use crate::observe::{Looked, Unseen, looked};
use crate::sys::{block, file};
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use toml_edit::{DocumentMut, TableLike};

pub const CONTAINERD: &str = "/etc/containerd/config.toml";

/// What a file of containerd's says of the devmapper snapshotter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshotter {
    pub pool: Option<String>,
    /// Its folder.
    pub root: String,
    /// The file that says so, where it is one that this file imports.
    pub import: Option<String>,
}

/// What this file of containerd's says of the devmapper snapshotter, with those that it imports; one that is not there says
/// nothing.
///
/// # Errors
/// One of them is there and cannot be read or taken apart, or which are imported is not known.
pub fn snapshotter(file: &str) -> Looked<Snapshotter> {
    let (mut own, mut section, mut import) = (None, None, None);
    let mut waiting = VecDeque::from([file.to_owned()]);
    let mut seen = BTreeSet::new();
    // The section of a later file takes the place of an earlier one's, whole (containerd's mergeConfig).
    while let Some(path) = waiting.pop_front() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let Some(text) = looked(file::read(Path::new(&path)))? else { continue };
        let document = toml(&text).map_err(|why| Unseen(format!("reading {path}: {why}")))?;
        waiting.extend(imported(&path, &document)?);
        own = own_root(&document).or(own);
        if let Some(later) = section_of(&document) {
            (section, import) = (Some(later), Some(path).filter(|path| path != file));
        }
    }
    Ok(Snapshotter { import, ..together(own, section) })
}

/// The files that one imports: by path, from its own folder where that is no whole one, or by a `*` in the last part.
fn imported(file: &str, document: &DocumentMut) -> Looked<Vec<String>> {
    let list = document.get("imports").and_then(|item| item.as_array());
    let mut found = Vec::new();
    for pattern in list.into_iter().flatten().filter_map(|item| item.as_str()) {
        let whole = Path::new(file).parent().unwrap_or(Path::new("/")).join(pattern);
        let whole = whole.to_string_lossy();
        let Some((folder, last)) = whole.rsplit_once('/').filter(|_| whole.contains('*')) else {
            found.push(whole.into_owned());
            continue;
        };
        if folder.contains(['*', '?', '[', '\\']) || last.contains(['?', '[', '\\']) {
            return Err(Unseen(format!("{file} has its settings in other files, too ({})", pattern.escape_debug())));
        }
        let mut names = looked(block::entries(Path::new(folder)))?;
        names.retain(|name| fits(name, last));
        names.sort();
        found.extend(names.into_iter().map(|name| format!("{folder}/{name}")));
    }
    Ok(found)
}

/// Whether a name is one of those that a pattern with `*` means.
fn fits(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((begin, rest)) => name
            .strip_prefix(begin)
            .is_some_and(|name| (0..=name.len()).any(|at| name.get(at..).is_some_and(|name| fits(name, rest)))),
    }
}

/// As [`snapshotter`], from the text of the file alone.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn snapshotter_by(text: &str) -> Result<Snapshotter, String> {
    let document = toml(text)?;
    Ok(together(own_root(&document), section_of(&document)))
}

/// `pool_name` and `root_path` of the devmapper snapshotter; an empty one is none.
type Section = (Option<String>, Option<String>);

fn section_of(document: &DocumentMut) -> Option<Section> {
    let plugins: &dyn TableLike = document.get("plugins")?.as_table_like()?;
    let section = SNAPSHOTTER.iter().find_map(|name| plugins.get(name))?;
    let text = |key: &str| Some(section.get(key)?.as_str()?.to_owned()).filter(|text| !text.is_empty());
    Some((text("pool_name"), text("root_path")))
}

/// containerd's own folder.
fn own_root(document: &DocumentMut) -> Option<String> {
    Some(document.get("root")?.as_str()?.trim_end_matches('/').to_owned()).filter(|root| !root.is_empty())
}

/// Without a folder of its own the snapshotter keeps its files below containerd's.
fn together(own: Option<String>, section: Option<Section>) -> Snapshotter {
    let (pool, root) = section.unwrap_or_default();
    let own = own.unwrap_or_else(|| "/var/lib/containerd".to_owned());
    Snapshotter { pool, root: root.unwrap_or_else(|| format!("{own}/{}", SNAPSHOTTER[0])), import: None }
}

/// The full name is that of version 2; version 1 called it by its last part.
const SNAPSHOTTER: [&str; 2] = ["io.containerd.snapshotter.v1.devmapper", "devmapper"];

fn toml(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|why: toml_edit::TomlError| why.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_containerd() {
        let text = "version = 2\n[plugins]\n  [plugins.\"io.containerd.snapshotter.v1.devmapper\"]\n    pool_name = \"docker-thinpool\"\n";
        let containerd = |text: &str| snapshotter_by(text).map(|found| found.pool);
        let snapshotter_root = |text: &str| snapshotter_by(text).map(|found| found.root);
        assert_eq!(containerd(text), Ok(Some("docker-thinpool".to_owned())));
        assert_eq!(containerd("version = 2\n"), Ok(None));
        let folder = "/io.containerd.snapshotter.v1.devmapper";
        assert_eq!(snapshotter_root(text), Ok(format!("/var/lib/containerd{folder}")));
        assert_eq!(snapshotter_root(&format!("root = \"/srv/c/\"\n{text}")), Ok(format!("/srv/c{folder}")));
        assert_eq!(snapshotter_root(&format!("{text}root_path = \"/srv/d\"\n")), Ok("/srv/d".to_owned()));
        assert!(containerd("[plugins").is_err());
    }

    #[test]
    fn files_that_are_imported() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let write = |name: &str, text: &str| file::put(Path::new(&path(name)), text, 0o600).expect("a file");
        let of = |pool: &str| format!("[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\npool_name = \"{pool}\"\n");
        let pool = || snapshotter(&path("config.toml")).map(|found| (found.pool, found.import.is_some()));
        let named = |name: &str, import| Ok((Some(name.to_owned()), import));
        write("config.toml", &format!("imports = [\"conf*.d.toml\", \"{}\"]\n{}", path("last"), of("main")));
        assert_eq!(pool(), named("main", false));
        write("conf-b.d.toml", &of("b"));
        write("conf-a.d.toml", &of("a"));
        write("other.toml", &of("other"));
        assert_eq!(pool(), named("b", true));
        // One that says nothing of it, and imports the first again.
        write("last", "imports = [\"config.toml\", \"more\"]\n");
        assert_eq!(pool(), named("b", true));
        write("more", &of("more"));
        assert_eq!(pool(), named("more", true));
        // The folder of one, and the section of another.
        let root = || snapshotter(&path("config.toml")).map(|found| found.root.replace(SNAPSHOTTER[0], "S"));
        assert_eq!(root(), Ok("/var/lib/containerd/S".to_owned()));
        write("conf-a.d.toml", "root = \"/srv/c\"\n");
        assert_eq!(root(), Ok("/srv/c/S".to_owned()));
        write("more", &format!("{}root_path = \"/srv/s\"\n", of("more")));
        assert_eq!(root(), Ok("/srv/s".to_owned()));
        write("more", "[");
        assert!(pool().is_err());
        write("config.toml", "imports = [\"/etc/[a-z]*/x\"]\n");
        assert!(pool().is_err_and(|why| why.0.contains("in other files")));
    }

    #[test]
    fn names_with_a_star() {
        for (name, pattern) in [("a.toml", "*.toml"), ("a.toml", "a*"), ("a", "*"), ("aXbYc", "a*b*c"), ("", "*")] {
            assert!(fits(name, pattern), "{name} {pattern}");
        }
        for (name, pattern) in [("a.tom", "*.toml"), ("ba", "a*"), ("aXc", "a*b*c"), ("\u{e4}", "a*")] {
            assert!(!fits(name, pattern), "{name} {pattern}");
        }
    }
}
