//! Databases as containerd 1.6 left them, and what can be wrong with such.
#![allow(clippy::disallowed_methods, reason = "a test makes the files")]

use super::super::bolt::tests::{Tree, database};
use super::*;
use proptest::prelude::*;

fn device_text(id: u64, name: &str, parent: &str, state: u64) -> String {
    format!(
        r#"{{"device_id":{id},"size":10737418240,"name":"{name}","parent_name":"{parent}","state":{state},"error":""}}"#
    )
}

fn value(text: &str) -> Tree {
    Tree::Value(text.as_bytes().to_vec())
}

fn bucket<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
    Tree::Bucket(entries.into_iter().map(|(key, tree)| (key.as_bytes().to_vec(), tree)).collect())
}

fn pool_db() -> Vec<u8> {
    database(&bucket([
        ("device_ids", bucket([("1", Tree::Value(vec![1])), ("2", Tree::Value(vec![1])), ("3", Tree::Value(vec![2]))])),
        (
            "devices",
            bucket([
                ("pool-snap-1", value(&device_text(1, "pool-snap-1", "", 10))),
                ("pool-snap-200", value(&device_text(2, "pool-snap-200", "pool-snap-1", 4))),
            ]),
        ),
    ]))
}

fn snapshot(id: &[u8], parent: &str) -> Tree {
    let fields = [("id", Tree::Value(id.to_vec())), ("kind", Tree::Value(vec![2])), ("parent", value(parent))];
    bucket(fields)
}

fn metadata_db(other: &str) -> Vec<u8> {
    let kept = format!("{other}/4/keep/it");
    let base = "default/2/sha256:ab";
    let snapshots = bucket([(base, snapshot(&[1], "")), (kept.as_str(), snapshot(&[0xc8, 1], base))]);
    database(&bucket([("v1", bucket([("parents", bucket([])), ("snapshots", snapshots)]))]))
}

fn host(pool: Option<&[u8]>, metadata: Option<&[u8]>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in [("pool.db", pool), ("metadata.db", metadata)] {
        if let Some(bytes) = bytes {
            std::fs::write(folder.path().join(name), bytes).expect("a database");
        }
    }
    folder
}

fn look(folder: &tempfile::TempDir) -> Looked<Claims> {
    containerd(folder.path().to_str().expect("a path"), "pool")
}

/// A file as it was recorded: its length, and what of it is no zeroes.
#[cfg(target_endian = "little")]
fn recorded(text: &str) -> Vec<u8> {
    let (length, lines) = text.strip_prefix("length ").and_then(|text| text.split_once('\n')).expect("a record");
    let number = |word: &str| usize::from_str_radix(word, 16).expect("a number");
    let mut bytes = vec![0; number(length)];
    for (at, line) in lines.lines().map(|line| line.split_once(' ').expect("a line")) {
        for (place, pair) in line.as_bytes().chunks(2).enumerate() {
            let pair = std::str::from_utf8(pair).expect("digits");
            bytes[number(at) + place] = u8::from_str_radix(pair, 16).expect("a byte");
        }
    }
    bytes
}

/// One image in two namespaces, and one container of it: Debian's containerd 1.6.
#[cfg(target_endian = "little")]
#[test]
fn a_host_as_it_was() {
    let [pool, metadata] = [include_str!("pool.txt"), include_str!("metadata.txt")].map(recorded);
    let (devices, wrong) = devices(&pool).expect("a list of devices");
    assert_eq!(wrong, Vec::<String>::new());
    let found = claims("docker-thinpool", &devices, &snapshots(&metadata).expect("a list of snapshots"));
    let told: Vec<_> = found.iter().map(|claim| (claim.thin_id, claim.owner.names[0].as_str(), claim.origin)).collect();
    let layer = "sha256:272f9ffbffb5cec7d1b2ed4925489841a11c127b561e07298dbcff36b14a2aca";
    assert_eq!(
        told,
        [
            (1, format!("default/{layer}").as_str(), None),
            (2, "default/stays", Some(1)),
            (3, format!("other/{layer}").as_str(), None)
        ]
    );
    assert_eq!((found[1].owner.id.as_str(), found[1].size), ("default/3/stays", Some(Bytes(10 << 30))));
}

#[test]
fn devices_and_their_snapshots() {
    let found = look(&host(Some(&pool_db()), Some(&metadata_db("default")))).expect("claims");
    assert_eq!((found.recorded, &found.damaged), (true, &Vec::new()));
    let [base, keep] = found.claims.as_slice() else { panic!("two: {found:#?}") };
    assert_eq!((base.thin_id, base.owner.id.as_str(), base.origin), (1, "default/2/sha256:ab", None));
    assert_eq!((keep.thin_id, keep.owner.names.as_slice()), (2, &["keep/it".to_owned()][..]));
    assert_eq!((keep.device.as_deref(), keep.origin), (Some("pool-snap-200"), Some(1)));
    assert_eq!((keep.size, keep.state), (Some(Bytes(10 << 30)), State::Used));
    let found = look(&host(Some(&pool_db()), Some(&metadata_db("k8s.io")))).expect("claims");
    let names: Vec<&String> = found.claims.iter().flat_map(|claim| &claim.owner.names).collect();
    assert_eq!(names, ["default/sha256:ab", "k8s.io/keep/it"]);
}

/// containerd's own database: an image of two layers, and one of the first of them alone.
fn meta_db() -> Vec<u8> {
    let text = |text: &str| value(text);
    let image = |digest: &str| bucket([("target", bucket([("digest", text(digest))]))]);
    let labels = |label: &str, to: &str| bucket([("labels", bucket([(label, text(to))])), ("size", text("1"))]);
    let blobs = bucket([
        ("sha256:i", labels("containerd.io/gc.ref.content.m.0", "sha256:m")),
        ("sha256:m", labels("containerd.io/gc.ref.content.config", "sha256:c")),
        ("sha256:c", labels("containerd.io/gc.ref.snapshot.devmapper", "keep/it")),
        ("sha256:d", labels("containerd.io/gc.ref.snapshot.devmapper", "sha256:ab")),
        // It leads back to itself.
        ("sha256:e", labels("containerd.io/gc.ref.content", "sha256:e")),
    ]);
    let images = bucket([
        ("app:1", image("sha256:i")),
        ("busy:latest", image("sha256:d")),
        ("circle", image("sha256:e")),
        ("lost", image("sha256:x")),
    ]);
    let namespace = bucket([("content", bucket([("blob", blobs)])), ("images", images)]);
    database(&bucket([("v1", bucket([("default", namespace), ("empty", bucket([])), ("version", text("3"))]))]))
}

#[test]
fn images_have_their_snapshots_and_those_below() {
    let images = images::images(&meta_db()).expect("images");
    let mut snapshots = snapshots(&metadata_db("default")).expect("snapshots");
    name(&mut snapshots, &images);
    assert_eq!(
        (&snapshots[&1].images.join(" "), &snapshots[&200].images.join(" ")),
        (&"busy:latest app:1".to_owned(), &"app:1".to_owned())
    );
    let (devices, _) = devices(&pool_db()).expect("devices");
    let names: Vec<_> = claims("pool", &devices, &snapshots).iter().map(|claim| claim.owner.names.join(" ")).collect();
    assert_eq!(names, ["busy:latest app:1 sha256:ab", "app:1 keep/it"]);
    // Snapshots that are each other's parent end, too.
    for (id, parent) in [(1, "default/4/keep/it"), (200, "default/2/sha256:ab")] {
        snapshots.entry(id).and_modify(|snapshot| snapshot.parent = Some(parent.to_owned()));
    }
    name(&mut snapshots, &images);
}

#[test]
fn what_is_away_and_what_is_damaged() {
    let nothing = look(&host(None, None)).expect("no claims");
    assert!(!nothing.recorded && nothing.claims.is_empty() && nothing.damaged.is_empty());
    let unnamed = look(&host(Some(&pool_db()), None)).expect("claims");
    assert_eq!((unnamed.claims[0].owner.id.as_str(), unnamed.damaged.len()), ("pool-snap-1", 0));
    let damaged = look(&host(Some(&pool_db()), Some(b"no database"))).expect("claims");
    assert_eq!((damaged.claims.len(), damaged.damaged.len()), (2, 1));
    assert!(look(&host(Some(b"no database"), None)).is_err());
    assert!(look(&host(Some(&database(&bucket([]))), None)).is_err(), "no list of devices");
}

#[test]
fn a_device_that_cannot_be_taken_apart_hides_no_other() {
    let bytes = database(&bucket([
        ("device_ids", bucket([("4", Tree::Value(vec![1]))])),
        (
            "devices",
            bucket([
                ("a", value("{")),
                ("b", value(r#"{"name":"b"}"#)),
                ("c", value(&device_text(1 << 24, "c", "", 4))),
                ("d", value(&device_text(7, "d", "", 13))),
                ("e", value(&device_text(7, "e", "", 12))),
            ]),
        ),
    ]));
    let found = look(&host(Some(&bytes), None)).expect("claims");
    let states: Vec<State> = found.claims.iter().map(|claim| claim.state).collect();
    assert_eq!(states, [State::Faulty, State::Leaving]);
    let said: Vec<String> = found.damaged.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 5, "{said:#?}");
    for (said, why) in
        said.iter().zip(["device a", "device b: it has no", "16777216", "thin id 4 is taken", "each of d, e"])
    {
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn numbers_of_snapshots() {
    assert_eq!((varint(&[0]), varint(&[0x7f]), varint(&[0x80, 1])), (Some(0), Some(127), Some(128)));
    assert_eq!((varint(&[]), varint(&[0x80]), varint(&[0xff; 11])), (None, None, None));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(damage in proptest::collection::vec((0_usize..8 * 4096, any::<u8>()), 1..8), bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
        let _ = device(&Entry::Value(&bytes));
        let _ = varint(&bytes);
        for mut database in [pool_db(), metadata_db("k8s.io"), meta_db()] {
            for (at, byte) in &damage {
                let length = database.len();
                database[at % length] = *byte;
            }
            let _ = (devices(&database), snapshots(&database), images::images(&database));
        }
    }
}
