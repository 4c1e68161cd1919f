//! containerd's config.toml, read, and with a pool put into it and taken out again.

use super::text;
use dmtool::observe::consumers::snapshotter_by;
use dmtool::plan::configure::config_toml::{PLUGIN, Setting, default_root, edited, is_on, setting, without_pool};
use toml_edit::{DocumentMut, Item, Table, TableLike};

const CRI: &str = "io.containerd.grpc.v1.cri";

/// The first byte chooses what is set besides the pool; the rest is the file.
pub fn config_toml(data: &[u8]) {
    let (choice, data) = data.split_first().unwrap_or((&0, data));
    let text = text(data);
    let (discards, default) = (choice & 1 == 1, choice & 2 == 2);
    let set =
        |key: &str, value: &str, unless_there| Setting { key: key.to_owned(), value: value.to_owned(), unless_there };
    let mut settings = vec![
        set("pool_name", "docker-thinpool", false),
        set("root_path", &default_root(&text), true),
        set("base_image_size", "10G", choice & 4 == 4),
    ];
    settings.extend(discards.then(|| set("discard_blocks", "true", false)));
    let _ = (snapshotter_by(&text), setting(&text, "root_path"), is_on(&text, "discard_blocks"));
    let after = match edited(Some(&text), &settings, default) {
        Err(why) => return assert!(!why.is_empty()),
        Ok(after) => after.unwrap_or_else(|| text.clone().into_owned()),
    };
    assert_eq!(edited(Some(&after), &settings, default), Ok(None), "a second time: {after}");
    let (before, now) = (document(&text), document(&after));
    let set = settings.iter().map(|setting| format!("/plugins/{PLUGIN}/{}", setting.key));
    let chosen = default.then(|| format!("/plugins/{CRI}/containerd/snapshotter"));
    let ours: Vec<String> = set.chain(chosen).chain(["/version".to_owned()]).collect();
    same_but_for(&ours, "", before.as_table(), now.as_table());
    comments_stay(&text, &before, &after);
    assert_eq!(setting(&after, "pool_name").as_deref(), Some("docker-thinpool"), "{after}");
    assert!(!discards || is_on(&after, "discard_blocks"), "{after}");
    let read = snapshotter_by(&after).expect("it was taken apart before");
    assert_eq!(read.pool.as_deref(), Some("docker-thinpool"));
    let out = without_pool(&after).expect("it was taken apart before").expect("the pool goes");
    assert_eq!(without_pool(&out), Ok(None), "{out}");
    assert_eq!(setting(&out, "pool_name"), None);
    let ours = [format!("/plugins/{PLUGIN}"), format!("/plugins/{CRI}/containerd/snapshotter")];
    same_but_for(&ours, "", now.as_table(), document(&out).as_table());
}

fn document(text: &str) -> DocumentMut {
    text.parse().expect("TOML")
}

/// What is another's has the value that it had.
fn same_but_for(ours: &[String], path: &str, before: &dyn TableLike, after: &dyn TableLike) {
    for (key, item) in before.iter() {
        let path = format!("{path}/{key}");
        if ours.contains(&path) {
            continue;
        }
        match (item.as_table_like(), after.get(key).and_then(Item::as_table_like)) {
            (Some(one), Some(other)) => same_but_for(ours, &path, one, other),
            // A table that held ours alone may go with it.
            (Some(one), None) => same_but_for(ours, &path, one, &Table::new()),
            (None, _) => {
                let shown = |item: &Item| item.to_string().trim().to_owned();
                assert_eq!(after.get(key).map(shown), Some(shown(item)), "{path}");
            }
        }
    }
}

/// Comments on lines of their own stand there as they did. What has a quote of three may look like one and is none, and a
/// value of ours that is no text goes with what stands in it.
fn comments_stay(text: &str, before: &DocumentMut, after: &str) {
    let ours = before.get("plugins").and_then(|plugins| plugins.get(PLUGIN)).and_then(Item::as_table_like);
    let replaced = ours.is_some_and(|table| table.iter().any(|(_, item)| !item.is_str() && !item.is_bool()));
    let default = before.get("plugins").and_then(|plugins| plugins.get(CRI)?.get("containerd")?.get("snapshotter"));
    if text.contains("\"\"\"") || text.contains("'''") || replaced || default.is_some_and(|item| !item.is_str()) {
        return;
    }
    let comments = |text: &str| -> Vec<String> {
        text.lines().map(str::trim).filter(|line| line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(comments(text), comments(after), "{after}");
}
