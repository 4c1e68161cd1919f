//! containerd's config.toml with a pool in it: all else stays as it was, comments too.

use crate::units::parse_size;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// The snapshotter's name among the plugins (containerd's docs/snapshotters/devmapper.md).
pub const PLUGIN: &str = "io.containerd.snapshotter.v1.devmapper";
const CRI: &str = "io.containerd.grpc.v1.cri";

/// Every option of the snapshotter but the pool's name, and whether it is yes or no (Config of its config.go).
pub const KNOWN: [(&str, bool); 6] = [
    ("async_remove", true),
    ("base_image_size", false),
    ("discard_blocks", true),
    ("fs_options", false),
    ("fs_type", false),
    ("root_path", false),
];

/// A setting of the snapshotter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: String,
    /// What stands there already stays.
    pub unless_there: bool,
}

/// The text with these settings, and with the snapshotter as the one of the CRI plugin where it is to be the default;
/// none where it says all that already.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn edited(text: Option<&str>, settings: &[Setting], default: bool) -> Result<Option<String>, String> {
    let before = text.unwrap_or_default();
    let mut document = parsed(before)?;
    let plugins = child(document.as_table_mut(), "plugins")?;
    let table = child(plugins, PLUGIN)?;
    for setting in settings {
        set(table, setting)?;
    }
    if default {
        let containerd = child(child(plugins, CRI)?, "containerd")?;
        let value = Setting { key: "snapshotter".to_owned(), value: "devmapper".to_owned(), unless_there: false };
        set(containerd, &value)?;
    }
    let after = document.to_string();
    Ok((after != before).then_some(after))
}

/// The text without the snapshotter's table, and without it as the one of the CRI plugin; none where it has neither.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn without_pool(text: &str) -> Result<Option<String>, String> {
    let mut document = parsed(text)?;
    if let Some(plugins) = document.get_mut("plugins").and_then(Item::as_table_like_mut) {
        plugins.remove(PLUGIN);
        let containerd =
            plugins.get_mut(CRI).and_then(|cri| cri.get_mut("containerd")).and_then(Item::as_table_like_mut);
        if let Some(containerd) = containerd
            && containerd.get("snapshotter").and_then(Item::as_str) == Some("devmapper")
        {
            containerd.remove("snapshotter");
        }
    }
    let after = document.to_string();
    Ok((after != text).then_some(after))
}

/// A setting of the snapshotter as the text has it; none where it has none, or cannot be taken apart.
pub fn setting(text: &str, key: &str) -> Option<String> {
    let document: DocumentMut = text.parse().ok()?;
    Some(document.get("plugins")?.get(PLUGIN)?.get(key)?.as_str()?.to_owned())
}

/// Whether the text switches an option of the snapshotter on.
pub fn is_on(text: &str, key: &str) -> bool {
    let document = text.parse::<DocumentMut>().ok();
    document.as_ref().and_then(|document| document.get("plugins")?.get(PLUGIN)?.get(key)?.as_bool()).unwrap_or(false)
}

/// The snapshotter's folder where nothing names another: below containerd's own as the text has it.
pub fn default_root(text: &str) -> String {
    let document = text.parse::<DocumentMut>().ok();
    let root = document.as_ref().and_then(|document| document.get("root")?.as_str());
    let root = root.filter(|root| !root.is_empty()).unwrap_or("/var/lib/containerd").trim_end_matches('/');
    format!("{root}/{PLUGIN}")
}

fn parsed(text: &str) -> Result<DocumentMut, String> {
    if text.starts_with('\u{feff}') {
        return Err("it begins with a byte order mark".to_owned());
    }
    let mut document: DocumentMut =
        text.parse().map_err(|why: toml_edit::TomlError| format!("it is no TOML: {}", why.to_string().trim()))?;
    match document.get("version").map(Item::as_integer) {
        Some(Some(2)) => {}
        // Nothing in it has a meaning of another version.
        None if document.is_empty() => {
            document.insert("version", toml_edit::value(2));
        }
        None => {
            return Err(
                "it is in the old format; have its plugins by their full names, and \"version = 2\" as its first line"
                    .to_owned(),
            );
        }
        Some(_) => return Err("it is of another version than 2, the one that is known here".to_owned()),
    }
    let off = document.get("disabled_plugins").and_then(Item::as_array);
    if off.is_some_and(|off| off.iter().any(|name| name.as_str() == Some(PLUGIN))) {
        return Err("the snapshotter stands among its disabled_plugins".to_owned());
    }
    Ok(document)
}

/// A table in a table, made where it is missing.
fn child<'a>(parent: &'a mut dyn TableLike, key: &str) -> Result<&'a mut dyn TableLike, String> {
    if !parent.contains_key(key) {
        let mut table = Table::new();
        // It has a heading only where something stands in it.
        table.set_implicit(true);
        parent.insert(key, Item::Table(table));
    }
    parent.get_mut(key).and_then(|item| item.as_table_like_mut()).ok_or_else(|| format!("its \"{key}\" is no table"))
}

fn set(table: &mut dyn TableLike, Setting { key, value, unless_there }: &Setting) -> Result<(), String> {
    let is_flag = KNOWN.iter().any(|(known, flag)| known == key && *flag);
    let new = if is_flag { Value::from(value == "true") } else { Value::from(value.as_str()) };
    let Some(item) = table.get_mut(key) else {
        table.insert(key, Item::Value(new));
        return Ok(());
    };
    let old = item.as_value_mut().ok_or_else(|| format!("its \"{key}\" is no value"))?;
    let same = match old {
        Value::Boolean(old) => is_flag && *old.value() == (value == "true"),
        Value::String(old) => {
            let size = |text: &str| parse_size(text).ok();
            let as_large = key == "base_image_size" && size(old.value()).is_some_and(|old| Some(old) == size(value));
            old.value() == value || as_large || (*unless_there && !old.value().is_empty())
        }
        _ => false,
    };
    if !same {
        let decor = old.decor().clone();
        *old = new;
        *old.decor_mut() = decor;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Vec<Setting> {
        let of = |(key, value): &(&str, &str)| Setting {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            unless_there: *key == "root_path",
        };
        pairs.iter().map(of).collect()
    }

    const WANTED: [(&str, &str); 4] = [
        ("pool_name", "docker-thinpool"),
        ("root_path", "/var/lib/containerd/devmapper"),
        ("base_image_size", "10G"),
        ("discard_blocks", "true"),
    ];

    #[test]
    fn a_pool_comes_in_and_comments_stay() {
        let text = "# ours\nversion = 2 # the new one\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    # where\n    \
                    bin_dir = \"/usr/lib/cni\" # Debian's\n";
        let after = edited(Some(text), &settings(&WANTED), false).expect("toml").expect("another text");
        let ours = "\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\npool_name = \"docker-thinpool\"\n\
                    root_path = \"/var/lib/containerd/devmapper\"\nbase_image_size = \"10G\"\ndiscard_blocks = true\n";
        assert_eq!(after, format!("{text}{ours}"));
        assert_eq!(edited(Some(&after), &settings(&WANTED), false), Ok(None), "the second time there is nothing to do");
        assert_eq!(without_pool(&after), Ok(Some(text.to_owned())), "and it goes out again");
        assert_eq!(without_pool(text), Ok(None));
        let default = edited(Some(&after), &[], true).expect("toml").expect("another text");
        assert!(
            default.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"devmapper\"\n"),
            "{default}"
        );
        assert_eq!(edited(Some(&default), &settings(&WANTED), true), Ok(None));
    }

    #[test]
    fn what_stands_there_is_changed_in_its_place() {
        let text = "version = 2\n[plugins]\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\n  pool_name = \"old\" # ours\n  \
                    root_path = \"/srv/x\"\n  base_image_size = \"10GB\"\n  fs_type = \"xfs\"\n";
        let after = edited(Some(text), &settings(&WANTED), false).expect("toml").expect("another text");
        let expected = text.replace("\"old\"", "\"docker-thinpool\"") + "discard_blocks = true\n";
        assert_eq!(after, expected);
        assert_eq!(setting(&after, "fs_type").as_deref(), Some("xfs"));
        // Inline, and dotted.
        for text in [
            "version = 2\nplugins = { \"io.containerd.snapshotter.v1.devmapper\" = { pool_name = \"old\" } }\n",
            "version = 2\nplugins.\"io.containerd.snapshotter.v1.devmapper\".pool_name = \"old\"\n",
        ] {
            let after = edited(Some(text), &settings(&WANTED), true).expect("toml").expect("another text");
            assert_eq!(setting(&after, "pool_name").as_deref(), Some("docker-thinpool"), "{after}");
            assert_eq!(edited(Some(&after), &settings(&WANTED), true), Ok(None), "{after}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_begins_anew() {
        for text in [None, Some(""), Some("# nothing yet\n")] {
            let after = edited(text, &settings(&WANTED), false).expect("toml").expect("a text");
            assert!(
                after.contains("version = 2\n") && after.contains("[plugins.\"io.containerd.snapshotter"),
                "{after}"
            );
            assert!(!after.contains("[plugins]"), "{after}");
            assert_eq!(edited(Some(&after), &settings(&WANTED), false), Ok(None), "{after}");
        }
    }

    #[test]
    fn what_is_malformed_or_of_another_format_is_refused() {
        for (text, said) in [
            ("version = 2\n[plugins", "no TOML"),
            ("disabled_plugins = [\"cri\"]\n", "version = 2"),
            ("version = 3\n", "another version"),
            ("version = \"2\"\n", "another version"),
            ("\u{feff}version = 2\n", "byte order mark"),
            ("version = 2\nplugins = 1\n", "no table"),
            ("version = 2\ndisabled_plugins = [\"io.containerd.snapshotter.v1.devmapper\"]\n", "disabled_plugins"),
        ] {
            let why = edited(Some(text), &settings(&WANTED), false).expect_err(text);
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
