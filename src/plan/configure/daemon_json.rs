//! Docker's daemon.json with a pool in it: all else stays as it was, and where it was.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

const DRIVER: &str = "storage-driver";
const OPTIONS: &str = "storage-opts";

/// Every option of the driver but those that say which pool (setOptions of Docker's deviceset.go; the driver changes no
/// more).
pub const KNOWN: [&str; 14] = [
    "dm.basesize",
    "dm.blkdiscard",
    "dm.blocksize",
    "dm.fs",
    "dm.libdm_log_level",
    "dm.loopdatasize",
    "dm.loopmetadatasize",
    "dm.min_free_space",
    "dm.mkfsarg",
    "dm.mountopt",
    "dm.override_udev_sync_check",
    "dm.use_deferred_deletion",
    "dm.use_deferred_removal",
    "dm.xfs_nospace_max_retries",
];

/// Whether Docker adds up what it is told with this key, where of the others the last counts.
pub fn adds_up(key: &str) -> bool {
    ["dm.mountopt", "dm.mkfsarg"].contains(&key)
}

/// The text with this driver and these of its options, without those that begin with one of `without`; none where it
/// says all that already.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn edited(text: Option<&str>, options: &[(String, String)], without: &[&str]) -> Result<Option<String>, String> {
    let before = object(text.unwrap_or("{}"))?;
    let mut after = before.clone();
    after.insert(DRIVER.to_owned(), json!("devicemapper"));
    let list = match before.get(OPTIONS) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        Some(_) => return Err(format!("its \"{OPTIONS}\" is no list")),
    };
    if let Some(other) = list.iter().find(|option| !option.is_string()) {
        return Err(format!("its \"{OPTIONS}\" has {other} in it, which is no text"));
    }
    let list: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    let unknown = |option: &&&str| {
        let key = option.split_once('=').map_or(**option, |(key, _)| key);
        let of_pool = ["dm.thinpooldev", "dm.datadev", "dm.metadatadev"].contains(&key);
        key.starts_with("dm.") && !of_pool && !without.contains(&key) && !KNOWN.contains(&key)
    };
    if let Some(option) = list.iter().find(unknown) {
        return Err(format!("Docker does not know the option \"{option}\" in it, and would not start"));
    }
    after.insert(OPTIONS.to_owned(), Value::Array(with(&list, options, without)));
    if after == before {
        return Ok(None);
    }
    Ok(Some(printed(&after, indent(text.unwrap_or_default()))?))
}

/// The text without the driver and its options; none where it has neither. All that is another's stays.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn without_pool(text: &str) -> Result<Option<String>, String> {
    let before = object(text)?;
    let mut after = before.clone();
    if after.get(DRIVER).and_then(Value::as_str) == Some("devicemapper") {
        after.shift_remove(DRIVER);
    }
    if let Some(Value::Array(list)) = after.get_mut(OPTIONS) {
        list.retain(|option| !option.as_str().is_some_and(|option| option.starts_with("dm.")));
        if list.is_empty() {
            after.shift_remove(OPTIONS);
        }
    }
    if after == before {
        return Ok(None);
    }
    Ok(Some(printed(&after, indent(text))?))
}

/// An option as the text has it: of several with the key, the last counts.
pub fn option(text: &str, key: &str) -> Option<String> {
    let object = object(text).ok()?;
    let list = object.get(OPTIONS)?.as_array()?;
    let value = |option: &Value| option.as_str()?.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    list.iter().filter_map(value).next_back()
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    if text.starts_with('\u{feff}') {
        return Err("it begins with a byte order mark, which Docker does not take".to_owned());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(why) => Err(format!("it is no JSON: {why}")),
    }
}

/// An option keeps its place; what is new comes last, and what stands there twice is there once. Those of another driver
/// go with it: this one refuses them.
fn with(list: &[&str], options: &[(String, String)], without: &[&str]) -> Vec<Value> {
    let mut found: Vec<&str> = Vec::new();
    let mut after: Vec<String> = Vec::new();
    for option in list {
        let key = option.split_once('=').map_or(*option, |(key, _)| key);
        let wanted = options.iter().find(|(wanted, _)| wanted == key);
        match wanted {
            _ if !key.starts_with("dm.") || without.contains(&key) => {}
            Some((key, _)) if adds_up(key) => after.push((*option).to_owned()),
            Some((key, _)) if found.contains(&key.as_str()) => {}
            Some((key, value)) => {
                found.push(key);
                after.push(format!("{key}={value}"));
            }
            None => after.push((*option).to_owned()),
        }
    }
    for (key, value) in options.iter().filter(|(key, _)| !found.contains(&key.as_str())) {
        let of_key = after.iter().filter_map(|option| option.strip_prefix(&format!("{key}="))).collect::<Vec<_>>();
        let words = || of_key.iter().flat_map(|words| words.split(','));
        let there = of_key.contains(&value.as_str())
            || (key == "dm.mountopt" && value.split(',').all(|word| words().any(|known| known == word)));
        if !there {
            after.push(format!("{key}={value}"));
        }
    }
    after.into_iter().map(Value::from).collect()
}

/// What its first line that is indented is indented by.
fn indent(text: &str) -> &str {
    let of_line = |line: &'_ str| line.len() - line.trim_start_matches([' ', '\t']).len();
    text.lines().find(|line| of_line(line) > 0).and_then(|line| line.get(..of_line(line))).unwrap_or("  ")
}

fn printed(object: &Map<String, Value>, indent: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(indent.as_bytes()));
    object.serialize(&mut serializer).map_err(|why| why.to_string())?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pool_comes_in_and_all_else_stays() {
        let text = "{\n\t\"debug\": true,\n\t\"storage-opts\": [\"dm.basesize=20G\", \"dm.thinpooldev=/dev/mapper/old\", \
                    \"dm.datadev=/dev/sdb\"],\n\t\"log-level\": \"warn\"\n}";
        let wanted = options(&[("dm.thinpooldev", "/dev/mapper/p"), ("dm.use_deferred_removal", "true")]);
        let after = edited(Some(text), &wanted, &["dm.datadev"]).expect("json").expect("another text");
        let expected = "{\n\t\"debug\": true,\n\t\"storage-opts\": [\n\t\t\"dm.basesize=20G\",\n\t\t\"dm.thinpooldev=/dev/mapper/p\",\n\t\t\
                        \"dm.use_deferred_removal=true\"\n\t],\n\t\"log-level\": \"warn\",\n\t\"storage-driver\": \"devicemapper\"\n}\n";
        assert_eq!(after, expected);
        assert_eq!(edited(Some(&after), &wanted, &["dm.datadev"]), Ok(None), "the second time there is nothing to do");
    }

    #[test]
    fn what_adds_up_is_kept_and_what_docker_refuses_goes() {
        let list = |text: &str, wanted: &[(&str, &str)]| -> Vec<String> {
            let text = format!("{{\"storage-opts\": {text}}}");
            let after = edited(Some(&text), &options(wanted), &["dm.thinp_percent"]).expect("json").expect("another");
            let after: Value = serde_json::from_str(&after).expect("json");
            after[OPTIONS]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| one.as_str().expect("a text").to_owned())
                .collect()
        };
        let discard = [("dm.mountopt", "discard")];
        let two = r#"["dm.mountopt=noatime", "dm.mountopt=nobarrier"]"#;
        assert_eq!(list(two, &discard), ["dm.mountopt=noatime", "dm.mountopt=nobarrier", "dm.mountopt=discard"]);
        assert_eq!(list(r#"["dm.mountopt=noatime,discard"]"#, &discard), ["dm.mountopt=noatime,discard"]);
        let several = [("dm.mkfsarg", "-a"), ("dm.mkfsarg", "-b")];
        assert_eq!(list("[]", &several), ["dm.mkfsarg=-a", "dm.mkfsarg=-b"]);
        let others = r#"["overlay2.override_kernel_check=true", "dm.thinp_percent=95", "dm.fs=xfs"]"#;
        assert_eq!(list(others, &[]), ["dm.fs=xfs"]);
        assert!(edited(Some(r#"{"storage-opts": ["dm.base_size=4G"]}"#), &[], &[]).is_err());
    }

    #[test]
    fn a_pool_goes_out_and_all_else_stays() {
        let text = "{\n  \"debug\": true,\n  \"log-level\": \"warn\"\n}\n";
        let wanted = options(&[("dm.thinpooldev", "/dev/mapper/p"), ("dm.basesize", "4G")]);
        let with = edited(Some(text), &wanted, &[]).expect("json").expect("another text");
        assert_eq!(without_pool(&with), Ok(Some(text.to_owned())));
        assert_eq!(without_pool(text), Ok(None));
        let others = r#"{"storage-driver": "overlay2", "storage-opts": ["overlay2.size=1G", "dm.fs=xfs"]}"#;
        let after = without_pool(others).expect("json").expect("another text");
        assert!(
            after.contains("overlay2.size=1G") && after.contains("\"overlay2\"") && !after.contains("dm."),
            "{after}"
        );
        assert!(without_pool("{").is_err());
    }

    #[test]
    fn a_file_that_is_not_there_begins_anew() {
        let after = edited(None, &options(&[("dm.thinpooldev", "/dev/mapper/p")]), &[]).expect("json").expect("a text");
        let expected = "{\n  \"storage-driver\": \"devicemapper\",\n  \"storage-opts\": [\n    \"dm.thinpooldev=/dev/mapper/p\"\n  ]\n}\n";
        assert_eq!(after, expected);
    }

    #[test]
    fn a_number_of_many_digits_keeps_its_value() {
        let text = r#"{"a": 1864474407350.9551616, "b": 100000000000000000000000, "c": -0.0, "d": 5e-324}"#;
        let after = edited(Some(text), &[], &[]).expect("json").expect("another text");
        let (before, after) = (object(text).expect("json"), object(&after).expect("json"));
        for key in ["a", "b", "c", "d"] {
            assert_eq!(after.get(key), before.get(key), "{key}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "",
            " \n",
            "{\"debug\": true,}",
            "\u{feff}{}",
            "[]",
            "{} x",
            "{\"storage-opts\": \"x\"}",
            "{\"storage-opts\": [1]}",
        ] {
            assert!(edited(Some(text), &[], &[]).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_other_key_or_option_is_lost(keys in prop::collection::vec("[a-z]{1,8}", 0..6), others in prop::collection::vec("dm\\.(fs|mkfsarg|mountopt|blocksize)=[a-z0-9/]{0,8}", 0..6)) {
            let mut before = Map::new();
            for key in &keys {
                before.insert(key.clone(), json!(key.len()));
            }
            before.insert(OPTIONS.to_owned(), json!(others));
            let text = Value::Object(before.clone()).to_string();
            let wanted = options(&[("dm.thinpooldev", "/dev/mapper/p")]);
            let after = edited(Some(&text), &wanted, &[]).expect("json").expect("another text");
            let after: Value = serde_json::from_str(&after).expect("json");
            for key in &keys {
                prop_assert_eq!(after.get(key), before.get(key));
            }
            let list = after[OPTIONS].as_array().expect("a list");
            for other in &others {
                prop_assert!(list.contains(&json!(other)));
            }
        }
    }
}
