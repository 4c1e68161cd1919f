//! Names of pools, volumes and devices, and how they come to a shell, to LVM and to files of ours.

use super::{assert_plain, text};
use dmtool::names::{DmName, LvName, LvmName, VgName, dm_escape, dm_split, layer_over, means, quoted};
use dmtool::observe::{register, repair, teardown};
use dmtool::sys::lvm2cmd::command_line;

/// Lines are names.
pub fn names(data: &[u8]) {
    let text = text(data);
    let words: Vec<&str> = text.split('\n').take(16).collect();
    for word in &words {
        one(word);
    }
    for pair in words.windows(2) {
        two(pair[0], pair[1]);
    }
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let shell: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    assert_eq!(taken_apart(&shell.join(" "), "'\\''"), words, "what a shell makes of {shell:?}");
    match command_line(&words) {
        Err(why) => assert_plain(&why.to_string()),
        Ok(line) => {
            let line = line.to_str().expect("UTF-8");
            assert_eq!(taken_apart(line, "\0"), words, "what LVM makes of {line:?}");
        }
    }
}

fn one(word: &str) {
    let wrong = [VgName::new(word).err(), LvName::new(word).err(), DmName::new(word).err(), LvmName::parse(word).err()];
    wrong.iter().flatten().for_each(|why| assert_plain(why));
    if let Ok(name) = VgName::new(word) {
        assert!(name.as_str() == word && name.to_string() == quoted(word));
    }
    if let Ok(name) = LvName::new(word) {
        assert!((VgName::new(word).is_ok() || word == "mapper") && name.to_string() == quoted(word));
    }
    if let Ok(name) = DmName::new(word) {
        let path = register::path_of(&name);
        assert_eq!(path.parent(), Some(register::FOLDER.as_ref()));
        let file = path.file_name().expect("a name").to_str().expect("UTF-8");
        assert_eq!(register::name_of(file), Some(word), "a record that nobody finds again");
    }
    if let Ok(name) = LvmName::parse(word) {
        assert_eq!(LvmName::parse(&name.to_string()).as_ref(), Ok(&name));
        let device = name.dm_name();
        let (vg, lv) = (name.vg.to_string(), name.lv.to_string());
        assert_eq!(dm_split(&device), Some((vg.clone(), lv.clone(), None)));
        assert_eq!(dm_split(&format!("{device}-tpool")), Some((vg, lv, Some("tpool".to_owned()))));
        assert_eq!(layer_over(&format!("{device}-tpool")), Some(&*device));
        assert!(DmName::new(&device).is_ok() && device.len() + "-tpool".len() < 128);
        for typed in [format!("/dev/{name}"), format!("/dev/mapper/{device}"), device.clone(), name.to_string()] {
            assert!(means(&typed, &name.to_string(), &[&device]), "{typed}");
        }
        let file = teardown::path_of(&name);
        let file = file.file_name().expect("a name").to_str().expect("UTF-8");
        assert_eq!(teardown::name_of(file), Some(&*device), "a journal that nobody finds again");
    }
    match dm_split(word) {
        Some((vg, lv, None)) => assert_eq!(dm_escape(&vg, &lv), word),
        Some((vg, lv, Some(layer))) => {
            assert_eq!(format!("{}-{}", dm_escape(&vg, &lv), layer.replace('-', "--")), word);
        }
        None => assert_eq!(layer_over(word), None),
    }
}

/// Two pools share nothing.
fn two(one: &str, other: &str) {
    let pool =
        |name: &str| LvmName::parse(name).map(|name| name.to_string()).or(DmName::new(name).map(|_| name.to_owned()));
    let (Ok(one), Ok(other)) = (pool(one), pool(other)) else { return };
    if one != other {
        assert_ne!(repair::path_of(&one), repair::path_of(&other), "a repair of {one} is taken for one of {other}");
    }
}

/// The words of a line: blanks part them, and between single quotes all stands as it is. Where a shell wants a quote, it
/// stands outside behind a backslash.
fn taken_apart(line: &str, quote: &str) -> Vec<String> {
    let (mut words, mut word, mut inside) = (Vec::new(), None::<String>, false);
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let length = if inside && rest.starts_with(quote) { quote.len() } else { first.len_utf8() };
        if length > first.len_utf8() {
            word.get_or_insert_default().push('\'');
        } else if first == '\'' {
            inside = !inside;
            word.get_or_insert_default();
        } else if first == ' ' && !inside {
            words.extend(word.take());
        } else {
            assert!(inside || first.is_ascii_alphanumeric() || "/_.+-=:%,@[]".contains(first), "{line:?}");
            word.get_or_insert_default().push(first);
        }
        rest = rest.split_at(length).1;
    }
    assert!(!inside, "{line:?} is not closed");
    words.into_iter().chain(word).collect()
}
