//! Which images of containerd have which snapshots, by its own database: an image's name leads to a manifest, a manifest's
//! label to its configuration, and the label of that to the snapshot of its last layer.

use super::super::bolt::{Bucket, Db, Entry, Pair, Wrong};
use std::collections::{BTreeMap, BTreeSet};

/// What a blob's labels say: the blobs that belong to it, and snapshots.
#[derive(Debug, Default)]
struct Blob {
    blobs: Vec<String>,
    snapshots: Vec<String>,
}

/// By namespace and snapshot, the images whose last layer it is.
pub type Images = BTreeMap<(String, String), Vec<String>>;

const TO_BLOB: &str = "containerd.io/gc.ref.content";
const TO_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.devmapper";

/// The images of meta.db.
///
/// # Errors
/// It is damaged.
pub fn images(bytes: &[u8]) -> Result<Images, Wrong> {
    let mut db = Db::new(bytes)?;
    let mut found = Images::new();
    for (namespace, of_namespace) in buckets(db.at(&["v1"])?.unwrap_or_default()) {
        let parts: BTreeMap<String, Bucket<'_>> = buckets(db.entries(of_namespace)?).collect();
        let (Some(images), Some(content)) = (parts.get("images"), parts.get("content")) else { continue };
        let blobs = blobs(&mut db, *content)?;
        for (image, bucket) in buckets(db.entries(*images)?) {
            let Some((_, target)) = buckets(db.entries(bucket)?).find(|(name, _)| name == "target") else { continue };
            let fields: BTreeMap<String, String> = values(db.entries(target)?).collect();
            for snapshot in fields.get("digest").map(|digest| below(&blobs, digest)).unwrap_or_default() {
                found.entry((namespace.clone(), snapshot)).or_default().push(image.clone());
            }
        }
    }
    Ok(found)
}

/// The blobs of a namespace's `content` bucket.
fn blobs<'a>(db: &mut Db<'a>, content: Bucket<'a>) -> Result<BTreeMap<String, Blob>, Wrong> {
    let mut found = BTreeMap::new();
    let Some((_, all)) = buckets(db.entries(content)?).find(|(name, _)| name == "blob") else { return Ok(found) };
    for (digest, bucket) in buckets(db.entries(all)?) {
        let Some((_, labels)) = buckets(db.entries(bucket)?).find(|(name, _)| name == "labels") else { continue };
        let mut blob = Blob::default();
        for (label, value) in values(db.entries(labels)?) {
            if label.starts_with(TO_BLOB) {
                blob.blobs.push(value);
            } else if label == TO_SNAPSHOT {
                blob.snapshots.push(value);
            }
        }
        found.insert(digest, blob);
    }
    Ok(found)
}

/// The snapshots that a blob leads to.
fn below(blobs: &BTreeMap<String, Blob>, digest: &str) -> BTreeSet<String> {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    let mut ahead = vec![digest];
    while let Some(digest) = ahead.pop() {
        let Some(blob) = blobs.get(digest).filter(|_| seen.insert(digest)) else { continue };
        ahead.extend(blob.blobs.iter().map(String::as_str));
        found.extend(blob.snapshots.iter().cloned());
    }
    found
}

fn buckets(entries: Vec<Pair<'_>>) -> impl Iterator<Item = (String, Bucket<'_>)> {
    entries.into_iter().filter_map(|(name, entry)| match entry {
        Entry::Bucket(bucket) => Some((String::from_utf8_lossy(name).into_owned(), bucket)),
        Entry::Value(_) => None,
    })
}

fn values(entries: Vec<Pair<'_>>) -> impl Iterator<Item = (String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    entries.into_iter().filter_map(move |(name, entry)| match entry {
        Entry::Value(value) => Some((text(name), text(value))),
        Entry::Bucket(_) => None,
    })
}
