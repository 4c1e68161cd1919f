//! What other programs answer: thin_ls, docker, ctr, systemctl, and what they were started with.

use super::{assert_plain, text};
use dmtool::observe::consumers::{Daemons, root_among};
use dmtool::observe::containerd::{named, of_plugin};
use dmtool::observe::docker::{Unit, info_of, version_of};
use dmtool::observe::metadata::shares;
use dmtool::report::clean;
use std::fmt::Write;

pub fn tools(data: &[u8]) {
    let text = text(data);
    match shares::parse(&text) {
        Err(why) => assert_plain(&why.0),
        Ok(found) => {
            let mut written = String::new();
            for (id, shares) in &found {
                let _ = writeln!(written, "{id} {}b {}b", shares.exclusive.0, shares.shared.0);
            }
            assert_eq!(shares::parse(&written).as_ref(), Ok(&found));
        }
    }
    match info_of(&text) {
        Err(why) => assert_plain(&clean(&why.0)),
        Ok(info) => assert!(!info.driver.is_empty() && info.pool.as_deref() != Some("")),
    }
    let _ = version_of(&text);
    if let Some(Err(why)) = of_plugin(&text) {
        assert!(!why.is_empty() && !why.contains('\n'));
    }
    let unit = Unit::parse(&text);
    assert!(unit.told().all(|word| word.contains("-s")), "{unit:?}");
    // The words of a process end in zeroes; here in blanks, too.
    let words: Vec<String> = text.split(['\0', ' ', '\n']).map(str::to_owned).collect();
    assert!(root_among(&words).is_none_or(|root| root.starts_with('/') && !root.ends_with('/')));
    assert!(named(&words).is_none_or(|file| text.contains(file)));
    let daemons = Daemons { docker: Some(words.clone()), containerd: Some(words) };
    assert!(daemons.told().all(|pool| text.contains(pool)));
    assert!(daemons.containerd_files().iter().all(|file| file.starts_with('/')));
}
