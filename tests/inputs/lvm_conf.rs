//! LVM's configuration grammar: lvm.conf, profiles, backups of a group's metadata.

use super::text;
use dmtool::observe::lvmconf::{Value, parse};
use dmtool::observe::pools::pools_in_backup;
use dmtool::observe::profile;
use std::fmt::Write;

pub fn lvm_conf(data: &[u8]) {
    let text = text(data);
    for pool in pools_in_backup(&text) {
        assert!(pool.contains('/'));
    }
    let settings = match parse(&text) {
        Ok(settings) => settings,
        Err(why) => return assert!(why.starts_with("line "), "{why:?}"),
    };
    // Written out, a line each, it says the same.
    let mut written = String::new();
    for (key, value) in &settings {
        let _ = writeln!(written, "{} = {}", quoted(key), shown(value));
    }
    assert_eq!(parse(&written).as_ref(), Ok(&settings), "{written:?}");
    let profile = profile::parse(text.into_owned()).expect("the same grammar");
    assert!(profile.others.iter().all(|key| settings.contains_key(key)));
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(", ")),
    }
}
