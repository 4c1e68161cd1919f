//! The trees of metadata, found without a superblock that leads to them: thin_repair 0.9 crashes in its own search where
//! there are many candidates (its order of them is none: two that are equal are each before the other).
//!
//! Layouts: struct thin_disk_superblock and disk_device_details of the kernel's dm-thin-metadata.c, struct node_header of
//! persistent-data/dm-btree-internal.h. A changed block is written anew elsewhere, so that older trees lie about, and the
//! newest pair of trees that fit each other is what the pool was.

use super::node::{BLOCK, Node, Read, crc32c, int, long};
use super::superblock;
use crate::observe::{Looked, Unseen, looked};
use crate::sys::blocks::Blocks;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// `SUPERBLOCK_CSUM_XOR`.
const SUPERBLOCK_XOR: u32 = 160_774;
/// Where the two roots stand in the superblock.
pub const MAPS_AT: usize = 320;
pub const VOLUMES_AT: usize = 328;
/// The size of a line about a volume (struct disk_device_details).
pub const DETAILS: u32 = 24;
/// Trees have few levels; more are a loop.
pub const DEEPEST: usize = 16;

/// Both trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots {
    pub maps: u64,
    pub volumes: u64,
    /// The highest time in them; the superblock's must not be lower.
    time: u32,
}

#[cfg(test)]
impl Roots {
    pub fn at(maps: u64, volumes: u64) -> Roots {
        Roots { maps, volumes, time: 0 }
    }
}

/// What stands in a superblock besides.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub transaction_id: u64,
    pub chunk_sectors: u64,
    pub data_blocks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From thin ids to the roots of maps.
    Maps,
    /// From a volume's chunks to the pool's.
    Map,
    /// From thin ids to lines about volumes.
    Volumes,
}

/// A node with all that is below it.
#[derive(Debug, Clone, Copy)]
struct Summary {
    kind: Kind,
    low: u64,
    high: u64,
    entries: u64,
    mappings: u64,
    time: u32,
    /// How many mappings are of that time.
    latest: u64,
}

struct Search<'a> {
    blocks: &'a dyn Read,
    count: u64,
    known: HashMap<u64, Option<Summary>>,
    referenced: HashSet<u64>,
}

/// The trees of a pool's last commit, or of the last one that is still whole.
///
/// # Errors
/// The metadata cannot be read, or no two trees in it fit each other.
pub fn find(metadata: &Path) -> Looked<Roots> {
    find_in(&looked(Blocks::open(metadata))?)
}

/// As [`find`], in these blocks.
///
/// # Errors
/// As [`find`]'s.
pub fn find_in(blocks: &dyn Read) -> Looked<Roots> {
    let count = blocks.count();
    let mut search = Search { blocks, count, known: HashMap::new(), referenced: HashSet::new() };
    // A superblock that is damaged elsewhere leads to them.
    let first = blocks.read(0)?;
    let named = (long(&first, MAPS_AT).unwrap_or(0), long(&first, VOLUMES_AT).unwrap_or(0));
    if let Some((roots, _)) = search.pair(named.0, named.1) {
        return Ok(roots);
    }
    search.best().ok_or_else(|| Unseen("no two trees in the metadata fit each other".to_owned()))
}

impl Search<'_> {
    /// The newest of all pairs.
    fn best(&mut self) -> Option<Roots> {
        let mut of_kind: BTreeMap<u64, Kind> = BTreeMap::new();
        for number in 1..self.count {
            if let Some(summary) = self.summary(number, 0) {
                of_kind.insert(number, summary.kind);
            }
        }
        let roots = |kind: Kind| {
            let of_kind = of_kind.iter().filter(move |(_, found)| **found == kind).map(|(number, _)| *number);
            of_kind.filter(|number| !self.referenced.contains(number)).collect::<Vec<u64>>()
        };
        let (maps, volumes) = (roots(Kind::Maps), roots(Kind::Volumes));
        let mut best: Option<(Roots, Score)> = None;
        for maps in &maps {
            for volumes in &volumes {
                let Some((roots, score)) = self.pair(*maps, *volumes) else { continue };
                if best.as_ref().is_none_or(|(_, known)| score > *known) {
                    best = Some((roots, score));
                }
            }
        }
        best.map(|(roots, _)| roots)
    }

    /// Two trees that speak of the same volumes, with as many mappings in one as the other says.
    fn pair(&mut self, maps: u64, volumes: u64) -> Option<(Roots, Score)> {
        let of_maps = self.summary(maps, 0).filter(|summary| summary.kind == Kind::Maps)?;
        let of_volumes = self.summary(volumes, 0).filter(|summary| summary.kind == Kind::Volumes)?;
        if (of_maps.entries, of_maps.mappings) != (of_volumes.entries, of_volumes.mappings) {
            return None;
        }
        let mut mapped = BTreeMap::new();
        self.walk(maps, 0, &mut |key, value, _| {
            mapped.insert(key, value);
        });
        let mut said = BTreeMap::new();
        let (mut transaction, mut snapped) = (0, 0);
        self.walk(volumes, 0, &mut |key, value, line| {
            said.insert(key, value);
            transaction = transaction.max(line.map_or(0, |(transaction, _)| transaction));
            snapped = sum_of([snapped, line.map_or(0, |(_, time)| u64::from(time))]);
        });
        let fits = mapped.len() == said.len()
            && mapped.iter().all(|(id, root)| {
                said.get(id) == Some(&self.summary(*root, 0).map_or(u64::MAX, |summary| summary.mappings))
            });
        let time = of_maps.time.max(of_volumes.time);
        let latest = if of_maps.time == time { of_maps.latest } else { 0 };
        let mappings = of_maps.mappings;
        fits.then_some((Roots { maps, volumes, time }, Score { transaction, time, snapped, latest, mappings }))
    }

    /// Every entry of a tree: its key, its value, and the line about a volume.
    fn walk(&self, root: u64, depth: usize, take: &mut dyn FnMut(u64, u64, Option<(u64, u32)>)) {
        // Its summary found no loop, but what is read now may have changed since.
        let Some(node) = self.node(root).filter(|_| depth <= DEEPEST) else { return };
        for (at, (key, value)) in node.keys.iter().zip(&node.values).enumerate() {
            if node.internal {
                self.walk(*value, depth + 1, take);
            } else {
                take(*key, *value, node.lines.get(at).copied());
            }
        }
    }

    /// What a block is the root of, if it and all below it is whole.
    fn summary(&mut self, number: u64, depth: usize) -> Option<Summary> {
        if number == 0 || number >= self.count || depth > DEEPEST {
            return None;
        }
        if let Some(known) = self.known.get(&number) {
            return *known;
        }
        // A block that leads to itself is none.
        self.known.insert(number, None);
        let found = self.node(number).and_then(|node| self.summarise(&node, depth));
        self.known.insert(number, found);
        found
    }

    fn summarise(&mut self, node: &Node, depth: usize) -> Option<Summary> {
        let (low, high) = (node.keys.first().copied().unwrap_or(0), node.keys.last().copied().unwrap_or(0));
        let ordered = node.keys.iter().zip(node.keys.iter().skip(1)).all(|(one, next)| one < next);
        if !ordered {
            return None;
        }
        let entries = node.keys.len() as u64;
        let leaf = |kind, mappings, time, latest| Summary { kind, low, high, entries, mappings, time, latest };
        if !node.internal && node.value_size == DETAILS {
            let time = node.lines.iter().map(|(_, time)| *time).max().unwrap_or(0);
            return Some(leaf(Kind::Volumes, sum_of(node.values.iter().copied()), time, 0));
        }
        if node.value_size != 8 {
            return None;
        }
        // Each value of a map has a time in its lower 24 bits, and so is above all blocks of metadata but for the first
        // chunk; an empty leaf is one of a map, as a new volume has it.
        let leads_on = !node.values.is_empty() && node.values.iter().all(|value| *value < self.count && *value > 0);
        if !leads_on {
            if node.internal {
                return None;
            }
            let times = || node.values.iter().map(|value| u32::try_from(value & 0x00ff_ffff).unwrap_or(0));
            let time = times().max().unwrap_or(0);
            let latest = times().filter(|found| *found == time).count() as u64;
            return Some(leaf(Kind::Map, entries, time, latest));
        }
        let below: Option<Vec<Summary>> = node.values.iter().map(|child| self.summary(*child, depth + 1)).collect();
        let below = below?;
        let kind = below.first()?.kind;
        if below.iter().any(|child| child.kind != kind) {
            return None;
        }
        let sum = |figure: fn(&Summary) -> u64| sum_of(below.iter().map(figure));
        let (mappings, time) = (sum(|child| child.mappings), below.iter().map(|child| child.time).max().unwrap_or(0));
        let latest = sum_of(below.iter().filter(|child| child.time == time).map(|child| child.latest));
        self.referenced.extend(node.values.iter().copied());
        if node.internal {
            let follow = below.iter().zip(below.iter().skip(1)).all(|(one, next)| one.high < next.low);
            let high = below.last()?.high;
            let entries = sum(|child| child.entries);
            return follow.then_some(Summary { kind, low, high, entries, mappings, time, latest });
        }
        (kind == Kind::Map).then_some(leaf(Kind::Maps, mappings, time, latest))
    }

    fn node(&self, number: u64) -> Option<Node> {
        Node::parse(&self.blocks.read(number).ok()?, number)
    }
}

/// What damaged metadata says may come to more than there is.
fn sum_of(figures: impl IntoIterator<Item = u64>) -> u64 {
    figures.into_iter().fold(0, u64::saturating_add)
}

/// Which of two pairs is newer: transactions and times never go back, and what is written to since the last snapshot is
/// of its time, also where a chunk that two volumes shared was copied for one and no chunk more is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    transaction: u64,
    time: u32,
    /// The times of the last snapshots of all volumes, added up: with one too low the kernel would take a chunk for a
    /// volume's own that a snapshot shares, and write over it.
    snapped: u64,
    latest: u64,
    mappings: u64,
}

/// Whether a superblock has the sum that it says.
pub fn is_whole(block: &[u8; BLOCK]) -> bool {
    int(block, 0) == Some(crc32c(block.get(4..).unwrap_or_default()) ^ SUPERBLOCK_XOR)
}

/// A superblock that leads to these trees, made of what stands there where that is one.
pub fn superblock_for(found: &[u8; BLOCK], blocks: u64, roots: Roots, figures: Figures) -> [u8; BLOCK] {
    let whole = superblock(found).is_some() && is_whole(found);
    let mut block = if whole { *found } else { [0; BLOCK] };
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = block.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    if !whole {
        put(32, &super::MAGIC.to_le_bytes());
        put(40, &2_u32.to_le_bytes());
        put(48, &figures.transaction_id.to_le_bytes());
        put(64, &figures.data_blocks.to_le_bytes());
        put(192, &blocks.to_le_bytes());
        put(336, &u32::try_from(figures.chunk_sectors).unwrap_or(0).to_le_bytes());
        // In sectors.
        put(340, &8_u32.to_le_bytes());
        put(344, &blocks.to_le_bytes());
    }
    let time = int(found, 44).filter(|_| whole).unwrap_or(0).max(roots.time);
    put(44, &time.to_le_bytes());
    put(MAPS_AT, &roots.maps.to_le_bytes());
    put(VOLUMES_AT, &roots.volumes.to_le_bytes());
    let sum = crc32c(block.get(4..).unwrap_or_default()) ^ SUPERBLOCK_XOR;
    if let Some(place) = block.get_mut(..4) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::super::node::tests::made;
    use super::*;

    #[test]
    fn figures_that_lie_are_added_up() {
        let line = [u64::MAX.to_le_bytes(), [0; 8], [0xff; 8]].concat();
        let (one, other) = ([(1, line.clone()), (2, line.clone())], [(3, line)]);
        let root = [(1, 2_u64.to_le_bytes().to_vec()), (3, 3_u64.to_le_bytes().to_vec())];
        let blocks =
            [[0; BLOCK], made(1, true, 8, &root), made(2, false, 24, &one), made(3, false, 24, &other)].to_vec();
        let mut search = Search { blocks: &blocks, count: 4, known: HashMap::new(), referenced: HashSet::new() };
        let root = search.summary(1, 0).expect("a tree");
        assert_eq!((root.kind, root.entries, root.mappings, root.time), (Kind::Volumes, 3, u64::MAX, u32::MAX));
        assert!(find_in(&blocks).is_err(), "no map goes with it");
    }

    #[test]
    fn a_superblock_leads_to_its_trees() {
        let roots = Roots { maps: 7, volumes: 9, time: 3 };
        let figures = Figures { transaction_id: 5, chunk_sectors: 128, data_blocks: 100 };
        let block = superblock_for(&[0; BLOCK], 1024, roots, figures);
        let found = superblock(&block).expect("a superblock");
        assert_eq!((found.transaction_id, found.chunk.0, found.data_total.0), (5, 128, 100));
        assert_eq!((long(&block, MAPS_AT), long(&block, VOLUMES_AT), int(&block, 44)), (Some(7), Some(9), Some(3)));
        // One that is whole keeps what it says.
        let other = Figures { transaction_id: 1, chunk_sectors: 1, data_blocks: 1 };
        let again = superblock_for(&block, 1024, Roots { maps: 8, ..roots }, other);
        assert_eq!(superblock(&again).map(|found| found.transaction_id), Some(5));
        assert_eq!(long(&again, MAPS_AT), Some(8));
    }
}
