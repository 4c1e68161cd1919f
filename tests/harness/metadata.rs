//! Metadata of thin pools, taken apart and damaged on purpose (the layouts of the kernel's dm-thin-metadata.c and
//! persistent-data).

use super::sh;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 4096;

/// Where the metadata of a pool that is down lies.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub path: String,
    /// In bytes.
    pub offset: u64,
    pub length: u64,
}

/// What of it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A leaf of the first volume's map.
    Leaf,
    /// The tree of all maps.
    Maps,
    /// The tree with a line for each volume.
    Volumes,
    Superblock,
    /// The space map of the data, and that of the metadata.
    DataMap,
    MetadataMap,
    /// All but the superblock.
    All,
}

impl Metadata {
    /// That of a pool of LVM, in one stretch on its physical volume.
    pub fn of_lvm(vg: &str, pool: &str) -> Metadata {
        let text = |what: &str| sh(&format!("{what} 2>/dev/null"));
        let range = text(&format!("lvs -a --noheadings -o seg_pe_ranges {vg}/{pool}_tmeta"));
        let (path, extents) = range.trim().rsplit_once(':').expect("a range");
        let numbers: Vec<u64> = extents.split('-').map(|number| number.parse().expect("an extent")).collect();
        let start: u64 =
            text(&format!("pvs --noheadings --units b --nosuffix -o pe_start {path}")).parse().expect("a start");
        let extent: u64 =
            text(&format!("vgs --noheadings --units b --nosuffix -o vg_extent_size {vg}")).parse().expect("an extent");
        Metadata {
            path: path.to_owned(),
            offset: start + numbers[0] * extent,
            length: (numbers[1] + 1 - numbers[0]) * extent,
        }
    }

    pub fn of(path: &str) -> Metadata {
        let length =
            sh(&format!("blockdev --getsize64 {path} 2>/dev/null || stat -c %s {path}")).parse().expect("a size");
        Metadata { path: path.to_owned(), offset: 0, length }
    }

    /// Past the page cache, which another way to the same bytes may not know of.
    pub fn sum(&self) -> String {
        sh(&format!(
            "sync; echo 3 > /proc/sys/vm/drop_caches; tail -c +{} {} | head -c {} | md5sum",
            self.offset + 1,
            self.path,
            self.length
        ))
    }

    /// Into a file and back.
    pub fn save(&self, to: &str) {
        sh(&format!("tail -c +{} {} | head -c {} > {to}", self.offset + 1, self.path, self.length));
    }

    pub fn put_back(&self, from: &str) {
        sh(&format!(
            "dd if={from} of={} bs=1M oflag=seek_bytes seek={} conv=notrunc,fsync status=none; sync; echo 3 > /proc/sys/vm/drop_caches",
            self.path, self.offset
        ));
    }

    fn block(&self, number: u64) -> Vec<u8> {
        let mut block = vec![0; 4096];
        let file = OpenOptions::new().read(true).open(&self.path).expect("the metadata");
        file.read_exact_at(&mut block, self.offset + number * BLOCK).expect("a block");
        block
    }

    fn write(&self, number: u64, block: &[u8]) {
        let file = OpenOptions::new().write(true).open(&self.path).expect("the metadata");
        file.write_all_at(block, self.offset + number * BLOCK).expect("a block");
        file.sync_all().expect("synced");
    }

    /// The values of a node of a btree, and whether it is a leaf.
    fn values(&self, number: u64) -> (bool, Vec<u64>) {
        let block = self.block(number);
        let size = u64::from(half(&block, 24));
        let first = 32 + 8 * u64::from(half(&block, 20));
        let count = u64::from(half(&block, 16));
        (half(&block, 4) & 2 != 0, (0..count).map(|at| word(&block, first + at * size)).collect())
    }

    /// The block that carries a part.
    fn place(&self, part: Part) -> u64 {
        let superblock = self.block(0);
        match part {
            Part::Superblock | Part::All => 0,
            Part::DataMap => word(&superblock, 64 + 16),
            Part::MetadataMap => word(&superblock, 192 + 16),
            Part::Maps => word(&superblock, 320),
            Part::Volumes => word(&superblock, 328),
            Part::Leaf => {
                let mut at = self.values(word(&superblock, 320)).1[0];
                loop {
                    let (leaf, below) = self.values(at);
                    if leaf {
                        return at;
                    }
                    at = below[below.len() / 2];
                }
            }
        }
    }

    /// Turns bits of it over.
    pub fn damage(&self, part: Part) {
        if part == Part::All {
            for number in 1..self.length / BLOCK {
                self.write(number, &[0x5a; 4096]);
            }
            return;
        }
        let number = self.place(part);
        let mut block = self.block(number);
        block[64..128].iter_mut().for_each(|byte| *byte ^= 0x5a);
        self.write(number, &block);
    }

    /// Sets the mark needs_check, as the kernel does after a failed commit.
    pub fn mark(&self) {
        let mut block = self.block(0);
        block[4] |= 1;
        // SUPERBLOCK_CSUM_XOR
        let sum = crc32c(&block[4..]) ^ 0x0002_7406;
        block[..4].copy_from_slice(&sum.to_le_bytes());
        self.write(0, &block);
    }
}

fn half(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"))
}

fn word(block: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).expect("an offset");
    u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"))
}

/// As the kernel computes it: begun with ones, not turned over at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 })
    })
}
