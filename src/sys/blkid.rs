//! Signatures on devices, through libblkid's low-level probing of the device itself (never its cache).

use anyhow::{Context, Result, anyhow};
use libblkid_rs::{BlkidProbe, BlkidProbeRet, BlkidSublks, BlkidSublksFlags};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::AsRawFd;

/// One thing that somebody wrote on a device for others to find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// As libblkid names it: ext4, xfs, `LVM2_member`, `crypto_LUKS`, swap, dos, gpt …
    pub kind: String,
    pub label: Option<String>,
    pub uuid: Option<String>,
    pub partition_table: bool,
    /// Its checksum does not hold.
    pub damaged: bool,
}

impl Signature {
    /// Whether LVM reads this as the label of a physical volume.
    pub fn is_a_label_of_lvm(&self) -> bool {
        self.kind == "LVM2_member" && !self.damaged
    }
}

/// Every signature on a device, partition tables among them; an empty list means that the device was read and
/// has none.
///
/// # Errors
/// The device could not be opened or read.
pub fn signatures(path: &str) -> Result<Vec<Signature>> {
    let file = File::open(path).with_context(|| format!("opening {path}"))?;
    probe(&file).with_context(|| format!("looking for signatures on {path}"))
}

fn probe(file: &File) -> Result<Vec<Signature>> {
    let mut probe = BlkidProbe::new()?;
    probe.set_device(file.as_raw_fd(), 0, 0)?;
    probe.enable_superblocks(true)?;
    // A signature with a wrong checksum still is somebody's.
    let wanted = vec![BlkidSublks::Label, BlkidSublks::Uuid, BlkidSublks::Type, BlkidSublks::Badcsum];
    probe.set_superblock_flags(BlkidSublksFlags::new(wanted))?;
    probe.enable_partitions(true)?;
    let mut found = Vec::new();
    while matches!(probe.do_probe()?, BlkidProbeRet::Success) {
        let value = |name: &str| probe.lookup_value(name).ok();
        let kind = value("TYPE");
        let partition_table = kind.is_none();
        found.push(Signature {
            kind: kind.or(value("PTTYPE")).ok_or_else(|| anyhow!("libblkid found something it has no name for"))?,
            label: value("LABEL"),
            uuid: value("UUID").or(value("PTUUID")),
            partition_table,
            damaged: value("SBBADCSUM").is_some(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_file_and_one_with_swap() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("device");
        let path = path.to_str().expect("a path");
        let mut bytes = vec![0; 1 << 20];
        std::fs::write(path, &bytes).expect("a file");
        assert_eq!(signatures(path).expect("looked"), []);
        // union swap_header of linux/swap.h: version, last page, bad pages, uuid, label; the mark ends the first page.
        bytes[1024..1032].copy_from_slice(&[1, 0, 0, 0, 255, 0, 0, 0]);
        bytes[1036..1052].copy_from_slice(&[0x11; 16]);
        bytes[1052..1056].copy_from_slice(b"mine");
        bytes[4086..4096].copy_from_slice(b"SWAPSPACE2");
        std::fs::write(path, &bytes).expect("a file");
        let found = signatures(path).expect("looked");
        let [Signature { kind, label, uuid, partition_table: false, damaged: false }] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!((kind.as_str(), label.as_deref()), ("swap", Some("mine")));
        assert_eq!(uuid.as_deref(), Some("11111111-1111-1111-1111-111111111111"));
        assert!(signatures("/nowhere").is_err());
    }
}
