//! What is mounted where, as this process sees it: mounts of other namespaces are not among them.

use super::{Looked, looked};
use crate::sys::{block, file};
use serde::Serialize;
use std::path::Path;

/// One line of /proc/self/mountinfo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Of the file system; btrfs and overlayfs show one of their own, which no device has.
    pub number: (u32, u32),
    pub source: String,
    /// That of the source, where the file system's own is no device's.
    pub of_source: Option<(u32, u32)>,
    /// The folder in the file system that is shown: `/` but for a bind mount of a part.
    pub root: String,
    pub place: String,
    /// ext4, xfs …
    pub kind: String,
    /// Those of the mount, then those of the file system.
    pub options: Vec<String>,
}

impl Mount {
    /// The number of its device: btrfs shows one of its own, and its source then names the device.
    pub fn device(&self) -> (u32, u32) {
        self.of_source.unwrap_or(self.number)
    }

    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|known| known == option)
    }
}

/// Every mount.
///
/// # Errors
/// /proc cannot be read.
pub fn read() -> Looked<Vec<Mount>> {
    let mut mounts = parse(&looked(file::read(Path::new("/proc/self/mountinfo")))?.unwrap_or_default());
    for mount in mounts.iter_mut().filter(|mount| mount.number.0 == 0 && mount.source.starts_with("/dev/")) {
        if let Ok(block::Node::Block { major, minor, .. }) = block::node(&mount.source) {
            mount.of_source = Some((major, minor));
        }
    }
    Ok(mounts)
}

/// The places of all mounts at a folder and below it.
///
/// # Errors
/// As [`read`]'s.
pub fn within(folder: &Path) -> Looked<Vec<String>> {
    Ok(places(read()?, folder))
}

/// As [`within`], of these mounts.
pub fn places(mounts: Vec<Mount>, folder: &Path) -> Vec<String> {
    mounts.into_iter().map(|mount| mount.place).filter(|place| Path::new(place).starts_with(folder)).collect()
}

/// The mount that a path lies on: the deepest one above it, and of several at one place the last, which covers the
/// others.
pub fn of_path<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.place));
    above.max_by_key(|mount| Path::new(&mount.place).components().count())
}

/// proc_pid_mountinfo(5): `ID PARENT MAJ:MIN ROOT PLACE OPTIONS [TAG…] - TYPE SOURCE OPTIONS`.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let dash = 6 + words.get(6..)?.iter().position(|word| *word == "-")?;
            let options = [words.get(5), words.get(dash + 3)];
            let options = options.into_iter().flatten().flat_map(|options| options.split(',')).map(str::to_owned);
            Some(Mount {
                number: block::parse_dev(words.get(2)?).ok()?,
                of_source: None,
                source: unescape(words.get(dash + 2)?),
                root: unescape(words.get(3)?),
                place: unescape(words.get(4)?),
                kind: (*words.get(dash + 1)?).to_owned(),
                options: options.collect(),
            })
        })
        .collect()
}

/// Undoes the octal escapes of procfs (`\040` for a blank).
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let is_octal = |digits: &&[u8]| first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit));
        let octal = tail.get(..3).filter(is_octal).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_with_blanks_and_optional_fields() {
        let text = "36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 shared:2 - ext4 /dev/sda1 rw,discard,stripe=16\n\
                    40 35 0:52 / /btr rw - btrfs /dev/sdb rw\nnonsense\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        let (ext4, btrfs) = (&mounts[0], &mounts[1]);
        assert_eq!((ext4.number, ext4.source.as_str(), ext4.root.as_str()), ((98, 0), "/dev/sda1", "/mnt1"));
        assert_eq!((ext4.place.as_str(), ext4.kind.as_str()), ("/mnt/a b", "ext4"));
        assert!(ext4.has("noatime") && ext4.has("discard") && !ext4.has("disc"));
        assert_eq!((btrfs.number, btrfs.place.as_str()), ((0, 52), "/btr"));
        assert!(!btrfs.has("discard"));
    }

    #[test]
    fn a_hyphen_before_its_place_parts_nothing() {
        assert!(parse("36 35 98:0 / /x - ext4 /dev/sda1 rw\n").is_empty(), "it has no options");
    }

    const DOCKERS: &str = "24 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 24 8:2 / /var/lib/docker/volumes rw - ext4 /dev/sdb rw\n\
        31 24 8:3 / /var/lib/docker2 rw - ext4 /dev/sdc rw\n\
        32 24 8:4 / /var/lib/docker2 rw - xfs /dev/sdd rw\n";

    #[test]
    fn mounts_at_and_below_a_folder() {
        let within = |folder: &str| places(parse(DOCKERS), Path::new(folder));
        assert_eq!(within("/var/lib/docker"), ["/var/lib/docker/volumes"]);
        assert!(within("/srv").is_empty());
        assert!(within("/var/lib/docker/volumes/x").is_empty());
    }

    #[test]
    fn the_mount_of_a_path() {
        let mounts = parse(DOCKERS);
        let of = |path: &str| of_path(&mounts, Path::new(path)).map(|mount| mount.source.as_str());
        assert_eq!(of("/var/lib/docker/volumes/x"), Some("/dev/sdb"));
        assert_eq!(of("/var/lib/docker/x"), Some("/dev/sda1"));
        assert_eq!(of("/var/lib/docker2/x"), Some("/dev/sdd"), "the one on top");
        assert_eq!(of("x"), None);
    }

    #[test]
    fn a_cut_escape_is_left_as_it_is() {
        assert_eq!(unescape("a\\04"), "a\\04");
        assert_eq!(unescape("\\134"), "\\");
        assert_eq!(unescape("\\999é"), "\\999é");
        assert_eq!(unescape("\\+12"), "\\+12");
    }
}
