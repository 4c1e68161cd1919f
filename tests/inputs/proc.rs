//! What the kernel, udev and the system say of themselves: mounts, swaps, locks, processes, links, /etc/os-release.

use super::text;
use dmtool::observe::device::parse_swaps;
use dmtool::observe::host::{install, systems_of, thin_tools};
use dmtool::observe::links_of;
use dmtool::observe::mounts::{Mount, of_path, parse, places, unescape};
use dmtool::sys::block::parse_dev;
use dmtool::sys::exec::age;
use dmtool::sys::lock::parse_locks;
use std::fmt::Write;
use std::path::Path;

pub fn proc(data: &[u8]) {
    // The kernel ends its lines with one character.
    let text = text(data).replace('\r', "");
    mounts(&text);
    for line in text.lines() {
        assert_eq!(unescape(&escaped(line)), line);
        if let Ok((major, minor)) = parse_dev(line) {
            assert_eq!(parse_dev(&format!("{major}:{minor}")).ok(), Some((major, minor)));
        }
        let _ = age(line, &text, 100);
    }
    assert!(parse_swaps(&text).len() <= text.lines().count().saturating_sub(1));
    assert!(links_of(&text).iter().all(|link| link.starts_with("/dev/") && !link.contains('\n')));
    let systems = systems_of(&text);
    assert!(systems.iter().all(|name| !name.contains(char::is_whitespace)), "{systems:?}");
    assert!(!thin_tools(&systems).is_empty());
    assert!(install(&systems, "a", "b").is_none_or(|command| command.lines().count() == 1));
    for inode in [0, 77, u64::MAX] {
        if let Some(process) = parse_locks(&text, inode) {
            assert!(text.contains(&process.to_string()) && text.contains("FLOCK"));
        }
    }
}

fn mounts(text: &str) {
    let mounts = parse(text);
    assert!(mounts.len() <= text.lines().count());
    let mut written = String::new();
    for mount in &mounts {
        let Mount { number: (major, minor), source, root, place, kind, options, .. } = mount;
        let (root, place, source) = (escaped(root), escaped(place), escaped(source));
        let options = options.join(",");
        let _ = writeln!(written, "1 2 {major}:{minor} {root} {place} {options} - {kind} {source}");
    }
    let again = parse(&written);
    assert_eq!(again, mounts, "{written:?}");
    for mount in mounts.iter().take(32) {
        let path = Path::new(&mount.place).join("below");
        let on = of_path(&mounts, &path).expect("one of them");
        let depth = |place: &str| Path::new(place).components().count();
        assert!(path.starts_with(&on.place) && depth(&on.place) >= depth(&mount.place));
        assert!(places(mounts.clone(), Path::new(&mount.place)).contains(&mount.place));
    }
}

/// As the kernel does it (seq_path, mangle_path).
fn escaped(text: &str) -> String {
    let mut found = String::new();
    for c in text.chars() {
        if " \t\n\\".contains(c) {
            let _ = write!(found, "\\{:03o}", u32::from(c));
        } else {
            found.push(c);
        }
    }
    found
}
