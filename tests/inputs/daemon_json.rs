//! Docker's daemon.json, read, and with a pool put into it and taken out again.

use super::text;
use dmtool::observe::consumers::{devices_by, pool_by, root_by};
use dmtool::plan::configure::daemon_json::{KNOWN, adds_up, edited, option, without_pool};
use serde_json::{Map, Value};

const WITHOUT: [&str; 2] = ["dm.datadev", "dm.thinp_percent"];

/// The file up to the first byte that is zero; behind it lines of options to put in.
pub fn daemon_json(data: &[u8]) {
    let text = text(data);
    let (text, options) = text.split_once('\0').unwrap_or((&text, "dm.thinpooldev=/dev/mapper/p\ndm.mountopt=discard"));
    let options = options.lines().filter_map(|line| line.split_once('='));
    let mut wanted: Vec<(String, String)> = Vec::new();
    for (key, value) in options.filter(|(key, _)| KNOWN.contains(key) || *key == "dm.thinpooldev") {
        // As they are taken from a command line: the last one counts.
        wanted.retain(|(known, _)| known != key || adds_up(key));
        wanted.push((key.to_owned(), value.to_owned()));
    }
    let options = wanted;
    let _ = (root_by(text), devices_by(text), pool_by(text));
    let after = match edited(Some(text), &options, &WITHOUT) {
        Err(why) => return assert!(!why.is_empty()),
        Ok(after) => after.unwrap_or_else(|| text.to_owned()),
    };
    assert_eq!(edited(Some(&after), &options, &WITHOUT), Ok(None), "a second time, with {options:?}: {after}");
    let (before, now) = (object(text), object(&after));
    assert_eq!(now.get("storage-driver"), Some(&Value::from("devicemapper")));
    same_but_for(&["storage-driver", "storage-opts"], &before, &now);
    let list = |object: &Map<String, Value>| -> Vec<String> {
        let list = object.get("storage-opts").and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().map(|option| option.as_str().expect("a text").to_owned()).collect()
    };
    let (old, new) = (list(&before), list(&now));
    assert!(new.iter().all(|option| option.starts_with("dm.")), "{new:?}");
    for kept in old.iter().filter(|option| option.starts_with("dm.")) {
        let key = kept.split('=').next().unwrap_or_default();
        let is_ours = WITHOUT.contains(&key) || options.iter().any(|(wanted, _)| wanted == key && !adds_up(key));
        assert!(is_ours || new.contains(kept), "{kept:?} is lost: {new:?}");
    }
    for (key, value) in &options {
        let of_key = new.iter().filter_map(|option| option.strip_prefix(&format!("{key}=")));
        let there: Vec<&str> = of_key.flat_map(|words| words.split(',')).collect();
        assert!(value.split(',').all(|word| there.contains(&word)), "{key}={value} is not in {new:?}");
    }
    out_again(&after, &now, option(&after, "dm.thinpooldev").as_deref());
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).expect("a JSON object")
}

/// The other keys, with their values, in their order.
fn same_but_for(ours: &[&str], before: &Map<String, Value>, after: &Map<String, Value>) {
    let others = |object: &Map<String, Value>| -> Vec<(String, Value)> {
        let others = object.iter().filter(|(key, _)| !ours.contains(&key.as_str()));
        others.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    assert_eq!(others(before), others(after));
}

fn out_again(text: &str, before: &Map<String, Value>, pool: Option<&str>) {
    let read = pool_by(text).expect("read before");
    assert_eq!(read.as_deref().filter(|_| pool.is_some()), pool);
    let after = without_pool(text).expect("taken apart before").expect("the driver goes");
    assert_eq!(without_pool(&after), Ok(None));
    assert_eq!(pool_by(&after), Ok(None));
    let now = object(&after);
    assert!(!now.contains_key("storage-driver"));
    same_but_for(&["storage-driver", "storage-opts"], before, &now);
}
