//! The databases of containerd: bbolt's file format, read only. The file is read whole and never mapped, and its lock,
//! which a daemon that runs holds for ever, is not asked for: a commit writes only pages that the tree before it does not
//! use, and then one of two meta pages, so what was read is whole where the newest meta page is still the same after.
//!
//! A file is 64-bit words of the machine that made it, in pages. Each page begins with its number, what it is, how many
//! elements it has and how many more pages it takes. Elements say where their key and value are, from where they stand
//! themselves; a value can be a bucket: the number of the page its tree begins at, or, with number 0, the page itself.

use super::super::{Looked, Unseen, looked};
use crate::sys::plain::Plain;
use std::path::Path;
use std::time::Duration;

/// More than containerd's databases ever have (metadata of one image layer is some hundred bytes).
const LARGEST: u64 = 256 << 20;
/// Of a page; it is that of the machine.
const PAGES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 16;
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// What a page, or an element, begins with.
const HEADER: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// Of an element whose value is a bucket.
const IS_BUCKET: u32 = 1;

/// Why a file is no such database, or a damaged one.
pub type Wrong = &'static str;

/// What stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    Value(&'a [u8]),
    Bucket(Bucket<'a>),
}

/// A key, and what stands under it.
pub type Pair<'a> = (&'a [u8], Entry<'a>);

/// A bucket, where its tree begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket<'a> {
    At(u64),
    Inline(&'a [u8]),
}

/// A database in memory.
pub struct Db<'a> {
    bytes: &'a [u8],
    meta: Meta,
    /// How many elements may still be read: a damaged file cannot lead in circles, or through the same pages again.
    left: usize,
    /// How many bytes of keys and values they may still have: nor can its elements lie one over the other. A bucket that
    /// stands in another's value is read once more by itself.
    room: usize,
}

/// A meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meta {
    page_size: usize,
    root: u64,
    /// The number after the last page's.
    end: u64,
    transaction: u64,
}

impl<'a> Db<'a> {
    /// # Errors
    /// Neither meta page is whole.
    pub fn new(bytes: &'a [u8]) -> Result<Db<'a>, Wrong> {
        let meta = newest(bytes).ok_or("neither of its meta pages is whole")?;
        Ok(Db { bytes, meta, left: bytes.len() / HEADER, room: bytes.len().saturating_mul(4) })
    }

    /// All that is in the bucket of this path; none where there is no such bucket.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn at(&mut self, path: &[&str]) -> Result<Option<Vec<Pair<'a>>>, Wrong> {
        let mut found = self.entries(Bucket::At(self.meta.root))?;
        for name in path {
            let entry = found.into_iter().find(|(key, _)| *key == name.as_bytes());
            let Some((_, Entry::Bucket(bucket))) = entry else { return Ok(None) };
            found = self.entries(bucket)?;
        }
        Ok(Some(found))
    }

    /// All that is in a bucket, by its keys.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn entries(&mut self, bucket: Bucket<'a>) -> Result<Vec<Pair<'a>>, Wrong> {
        let mut found = Vec::new();
        let mut ahead = vec![bucket];
        while let Some(next) = ahead.pop() {
            let page = match next {
                Bucket::At(number) => self.page(number)?,
                Bucket::Inline(page) => page,
            };
            let kind = u16_at(page, 8).ok_or(SHORT)?;
            let count = usize::from(u16_at(page, 10).ok_or(SHORT)?);
            self.left = self.left.checked_sub(count).ok_or("its pages lead in circles")?;
            match (kind, next) {
                (LEAF, _) => {
                    for at in 0..count {
                        let (pair, length) = leaf(page, at)?;
                        self.room = self.room.checked_sub(length).ok_or("its elements lie one over the other")?;
                        found.push(pair);
                    }
                }
                // From the last on, so that the first is taken first.
                (BRANCH, Bucket::At(_)) => {
                    for at in (0..count).rev() {
                        ahead.push(Bucket::At(u64_at(page, element(at) + 8).ok_or(SHORT)?));
                    }
                }
                _ => return Err("a page of its tree is something else"),
            }
        }
        Ok(found)
    }

    /// A page with those that it goes on in.
    fn page(&self, number: u64) -> Result<&'a [u8], Wrong> {
        if number < 2 || number >= self.meta.end {
            return Err("a page's number is none that it has");
        }
        let size = self.meta.page_size;
        let start = usize::try_from(number).ok().and_then(|number| number.checked_mul(size)).ok_or(SHORT)?;
        let rest = self.bytes.get(start..).ok_or(SHORT)?;
        if u64_at(rest, 0).ok_or(SHORT)? != number {
            return Err("a page has another's number");
        }
        let more = u32_at(rest, 12).and_then(|more| usize::try_from(more).ok()).ok_or(SHORT)?;
        let length = more.checked_add(1).and_then(|pages| pages.checked_mul(size)).ok_or(SHORT)?;
        rest.get(..length).ok_or(SHORT)
    }
}

const SHORT: Wrong = "something reaches beyond its end";

/// Where an element of a page stands.
fn element(at: usize) -> usize {
    HEADER + at * HEADER
}

/// One element of a leaf (its flags, where its key is, how long key and value are), and how many bytes it has.
fn leaf(page: &[u8], at: usize) -> Result<(Pair<'_>, usize), Wrong> {
    let start = element(at);
    let word = |at: usize| u32_at(page, start + at * 4).and_then(|word| usize::try_from(word).ok()).ok_or(SHORT);
    let key = start.checked_add(word(1)?).ok_or(SHORT)?;
    let value = key.checked_add(word(2)?).ok_or(SHORT)?;
    let end = value.checked_add(word(3)?).ok_or(SHORT)?;
    let (name, value) = (page.get(key..value).ok_or(SHORT)?, page.get(value..end).ok_or(SHORT)?);
    if u32_at(page, start).ok_or(SHORT)? & IS_BUCKET == 0 {
        return Ok(((name, Entry::Value(value)), end - key));
    }
    let bucket = match u64_at(value, 0).ok_or(SHORT)? {
        0 => Bucket::Inline(value.get(HEADER..).ok_or(SHORT)?),
        number => Bucket::At(number),
    };
    Ok(((name, Entry::Bucket(bucket)), end - key))
}

/// The meta page that counts: the whole one with the higher transaction.
fn newest(bytes: &[u8]) -> Option<Meta> {
    let first = meta(bytes, 0);
    // The second is where the first says, or wherever there is one that says so itself.
    let sizes = PAGES.start().ilog2()..=PAGES.end().ilog2();
    let second = sizes.map(|bits| 1 << bits).find_map(|size| meta(bytes, size).filter(|found| found.page_size == size));
    first.into_iter().chain(second).max_by_key(|meta| meta.transaction)
}

/// The meta page that begins here, where it is whole.
fn meta(bytes: &[u8], start: usize) -> Option<Meta> {
    let meta = bytes.get(start + HEADER..)?;
    (u32_at(meta, 0)? == MAGIC && u32_at(meta, 4)? == VERSION).then_some(())?;
    (fnv(meta.get(..56)?) == u64_at(meta, 56)?).then_some(())?;
    let page_size = usize::try_from(u32_at(meta, 8)?).ok()?;
    (page_size.is_power_of_two() && PAGES.contains(&page_size)).then_some(())?;
    Some(Meta { page_size, root: u64_at(meta, 16)?, end: u64_at(meta, 40)?, transaction: u64_at(meta, 48)? })
}

/// FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The bytes of a database as they were between two commits; none where there is no file.
///
/// # Errors
/// It cannot be read, is none, or changes all the time.
pub fn read(path: &Path) -> Looked<Option<Vec<u8>>> {
    let Some(file) = looked(Plain::open(path))? else { return Ok(None) };
    let wrong = |why: &str| Unseen(format!("reading {}: {why}", path.display()));
    for _ in 0..TRIES {
        // Its meta pages are read first, and once more when all of it is.
        let bytes = looked(file.whole(LARGEST))?;
        let after = newest(&looked(file.first(2 << 16))?);
        match newest(&bytes) {
            before if before != after => std::thread::sleep(PAUSE),
            // It is made, and nothing is written into it yet.
            None if bytes.is_empty() => std::thread::sleep(PAUSE),
            None => return Err(wrong("neither of its meta pages is whole")),
            Some(_) => return Ok(Some(bytes)),
        }
    }
    Err(wrong("it is changed all the time, or empty"))
}

#[cfg(test)]
pub(super) mod tests;
