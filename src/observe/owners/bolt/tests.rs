//! A small writer of databases, and what the reader makes of them whole and damaged.
#![allow(clippy::disallowed_methods, reason = "a test makes the files")]

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: usize = 4096;

/// What a database is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    Value(Vec<u8>),
    Bucket(BTreeMap<Vec<u8>, Tree>),
}

/// What stands on a page: its kind, and for each element its flags, key and value; in a branch the value is a number.
type Element = (u32, Vec<u8>, Vec<u8>);

fn page(number: u64, kind: u16, elements: &[Element]) -> Vec<u8> {
    let mut heads = Vec::new();
    let mut data = Vec::new();
    for (at, (flags, key, value)) in elements.iter().enumerate() {
        let offset = u32::try_from((elements.len() - at) * HEADER + data.len()).expect("a small page");
        let [of_key, of_value] = [key, value].map(|bytes| u32::try_from(bytes.len()).expect("a small page"));
        let words = if kind == BRANCH { vec![offset, of_key] } else { vec![*flags, offset, of_key, of_value] };
        heads.extend(words.into_iter().flat_map(u32::to_ne_bytes));
        data.extend_from_slice(key);
        let own = if kind == BRANCH { &mut heads } else { &mut data };
        own.extend_from_slice(value);
    }
    let length = HEADER + heads.len() + data.len();
    let more = u32::try_from(length.div_ceil(PAGE) - 1).expect("a small page");
    let mut bytes = number.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(u16::try_from(elements.len()).expect("a small page").to_ne_bytes());
    bytes.extend(more.to_ne_bytes());
    [bytes, heads, data].concat()
}

/// Puts a bucket on the pages, split below a branch where it has more than some entries, and gives the number of its root.
fn put(pages: &mut Vec<u8>, entries: &BTreeMap<Vec<u8>, Tree>) -> u64 {
    const ON_A_LEAF: usize = 8;
    let elements: Vec<Element> = entries.iter().map(|(key, tree)| written(pages, key, tree)).collect();
    let mut add = |kind: u16, elements: &[Element]| {
        let number = u64::try_from(pages.len() / PAGE).expect("a number");
        pages.extend(page(number, kind, elements));
        pages.resize(pages.len().next_multiple_of(PAGE), 0);
        number
    };
    if elements.len() <= ON_A_LEAF {
        return add(LEAF, &elements);
    }
    let leaves: Vec<Element> = elements
        .chunks(ON_A_LEAF)
        .map(|chunk| (0, chunk[0].1.clone(), add(LEAF, chunk).to_ne_bytes().to_vec()))
        .collect();
    add(BRANCH, &leaves)
}

fn written(pages: &mut Vec<u8>, key: &[u8], tree: &Tree) -> Element {
    let entries = match tree {
        Tree::Value(bytes) => return (0, key.to_vec(), bytes.clone()),
        Tree::Bucket(entries) => entries,
    };
    let values = |tree: &Tree| if let Tree::Value(bytes) = tree { Some(bytes.clone()) } else { None };
    // Small buckets without others in them stand in the leaf.
    let small: Option<Vec<Element>> =
        entries.iter().map(|(key, tree)| values(tree).map(|bytes| (0, key.clone(), bytes))).collect();
    let inline = small.filter(|elements| elements.len() < 4).map(|elements| page(0, LEAF, &elements));
    let root = if inline.is_some() { 0 } else { put(pages, entries) };
    let mut value = [root.to_ne_bytes(), 0_u64.to_ne_bytes()].concat();
    value.extend(inline.unwrap_or_default());
    (IS_BUCKET, key.to_vec(), value)
}

fn meta_page(number: u64, root: u64, end: u64, transaction: u64) -> Vec<u8> {
    let mut meta: Vec<u8> = [MAGIC, VERSION, 4096, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    meta.extend([root, 0, 2, end, transaction].into_iter().flat_map(u64::to_ne_bytes));
    meta.extend(fnv(&meta).to_ne_bytes());
    let mut bytes = page(number, 4, &[]);
    bytes.extend(meta);
    bytes.resize(PAGE, 0);
    bytes
}

/// A database that holds this bucket.
pub(in super::super) fn database(root: &Tree) -> Vec<u8> {
    let Tree::Bucket(entries) = root else { panic!("a database is a bucket") };
    let mut pages = vec![0; 2 * PAGE];
    pages.extend(page(2, 0x10, &[]));
    pages.resize(3 * PAGE, 0);
    let root = put(&mut pages, entries);
    let end = u64::try_from(pages.len() / PAGE).expect("a number");
    pages.splice(..2 * PAGE, [meta_page(0, root, end, 6), meta_page(1, 99, end, 5)].concat());
    pages
}

/// All that the reader finds.
fn all<'a>(db: &mut Db<'a>, bucket: Bucket<'a>) -> Result<Tree, Wrong> {
    let mut found = BTreeMap::new();
    for (key, entry) in db.entries(bucket)? {
        let tree = match entry {
            Entry::Value(bytes) => Tree::Value(bytes.to_vec()),
            Entry::Bucket(bucket) => all(db, bucket)?,
        };
        found.insert(key.to_vec(), tree);
    }
    Ok(Tree::Bucket(found))
}

fn read_back(bytes: &[u8]) -> Result<Tree, Wrong> {
    let mut db = Db::new(bytes)?;
    let root = Bucket::At(db.meta.root);
    all(&mut db, root)
}

/// Some of all: a value over several pages, buckets in a leaf and on pages of their own, a branch.
fn sample() -> Tree {
    let value = |text: &str| Tree::Value(text.as_bytes().to_vec());
    let many = (0..40).map(|at| (format!("{at:03}").into_bytes(), value("x"))).collect();
    let deep =
        BTreeMap::from([(b"many".to_vec(), Tree::Bucket(many)), (b"large".to_vec(), Tree::Value(vec![7; 9000]))]);
    Tree::Bucket(BTreeMap::from([
        (b"deep".to_vec(), Tree::Bucket(deep)),
        (b"few".to_vec(), Tree::Bucket(BTreeMap::from([(b"a".to_vec(), value("1"))]))),
        (b"none".to_vec(), Tree::Bucket(BTreeMap::new())),
        (b"value".to_vec(), value("v")),
    ]))
}

#[test]
fn what_was_put_in_is_found() {
    let bytes = database(&sample());
    assert_eq!(read_back(&bytes), Ok(sample()));
    let mut db = Db::new(&bytes).expect("a database");
    let many = db.at(&["deep", "many"]).expect("whole").expect("a bucket");
    assert!(many.len() == 40 && many.is_sorted_by_key(|(key, _)| *key), "{many:?}");
    assert_eq!(db.at(&["few"]), Ok(Some(vec![(&b"a"[..], Entry::Value(b"1"))])));
    assert_eq!((db.at(&["deep", "nothing"]), db.at(&["value", "more"])), (Ok(None), Ok(None)));
}

#[test]
fn the_newest_whole_meta_page_counts() {
    let mut bytes = database(&sample());
    assert_eq!(newest(&bytes).map(|meta| meta.transaction), Some(6));
    bytes[HEADER + 16] ^= 1;
    assert_eq!(newest(&bytes).map(|meta| meta.transaction), Some(5), "its sum is wrong");
    assert_eq!(read_back(&bytes), Err("a page's number is none that it has"));
    bytes[PAGE + HEADER] ^= 1;
    assert_eq!(read_back(&bytes), Err("neither of its meta pages is whole"));
}

#[test]
fn damaged_trees_are_said_so() {
    let whole = database(&sample());
    let root = usize::try_from(newest(&whole).expect("a database").root).expect("small") * PAGE;
    // One that leads back to itself.
    let mut circle = whole.clone();
    circle[root..root + 40].copy_from_slice(&page(
        u64::try_from(root / PAGE).expect("small"),
        BRANCH,
        &[(0, b"key-abcd".to_vec(), u64::try_from(root / PAGE).expect("small").to_ne_bytes().to_vec())],
    ));
    assert_eq!(read_back(&circle), Err("its pages lead in circles"));
    for (at, bytes, said) in [
        (root, 1, "a page has another's number"),
        (root + 8, 0x10, "a page of its tree is something else"),
        (root + 10, 255, SHORT),
        (root + 12, 255, SHORT),
        (root + HEADER + 6, 255, SHORT),
    ] {
        let mut damaged = whole.clone();
        damaged[at] = bytes;
        assert_eq!(read_back(&damaged), Err(said), "byte {at}");
    }
    assert_eq!(read_back(&whole[..root]), Err(SHORT));
}

/// Each of its elements has all the bytes behind its head for a key: so small a file would come to gigabytes.
#[test]
fn elements_that_lie_one_over_the_other() {
    let mut bytes = database(&sample());
    let root = usize::try_from(newest(&bytes).expect("a database").root).expect("small") * PAGE;
    let count = 0x7000_u16;
    let pages = (usize::from(count) * HEADER * 2).div_ceil(PAGE);
    bytes.resize(root + pages * PAGE, b'k');
    let mut page = vec![0; HEADER];
    page[..8].copy_from_slice(&u64::try_from(root / PAGE).expect("small").to_ne_bytes());
    page[8..10].copy_from_slice(&LEAF.to_ne_bytes());
    page[10..12].copy_from_slice(&count.to_ne_bytes());
    page[12..16].copy_from_slice(&u32::try_from(pages - 1).expect("few").to_ne_bytes());
    for at in 0..usize::from(count) {
        let offset = (usize::from(count) - at) * HEADER;
        let length = pages * PAGE - HEADER - usize::from(count) * HEADER;
        let words = [0, offset, length, 0].map(|word| u32::try_from(word).expect("small"));
        page.extend(words.into_iter().flat_map(u32::to_ne_bytes));
    }
    bytes[root..root + page.len()].copy_from_slice(&page);
    assert_eq!(read_back(&bytes), Err("its elements lie one over the other"));
}

#[test]
fn files_that_are_away_empty_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("some.db");
    assert_eq!(read(&path), Ok(None));
    std::fs::write(&path, "").expect("a file");
    assert!(read(&path).expect_err("empty").0.contains("empty"));
    std::fs::write(&path, vec![0; 5 * PAGE]).expect("a file");
    assert!(read(&path).expect_err("blank").0.contains("neither"));
    let bytes = database(&sample());
    std::fs::write(&path, &bytes).expect("a file");
    assert_eq!(read(&path), Ok(Some(bytes)));
}

fn trees() -> impl Strategy<Value = Tree> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let leaf = bytes().prop_map(Tree::Value);
    let any = leaf.prop_recursive(3, 60, 20, move |inner| {
        proptest::collection::btree_map(bytes(), inner, 0..20).prop_map(Tree::Bucket)
    });
    any.prop_map(|tree| match tree {
        Tree::Value(_) => Tree::Bucket(BTreeMap::from([(b"only".to_vec(), tree)])),
        bucket @ Tree::Bucket(_) => bucket,
    })
}

proptest! {
    #[test]
    fn any_tree_comes_back(tree in trees()) {
        prop_assert_eq!(read_back(&database(&tree)), Ok(tree));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_back(&bytes);
        let mut db = Db { bytes: &bytes, meta: Meta { page_size: 64, root: 2, end: u64::MAX, transaction: 1 }, left: 1000, room: 10_000 };
        for bucket in [Bucket::At(2), Bucket::Inline(&bytes)] {
            let _ = all(&mut db, bucket);
        }
    }

    #[test]
    fn no_damage_makes_it_panic(damage in proptest::collection::vec((2 * PAGE..12 * PAGE, any::<u8>()), 1..20)) {
        let mut bytes = database(&sample());
        for (at, byte) in damage {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        let _ = read_back(&bytes);
    }
}
