//! What a run leaves, in words that are the same for each run that ends alike: names for numbers, and no ids.

use crate::harness::{sh, try_sh};
use std::collections::BTreeMap;

/// Folders that dmtool writes into.
const FOLDERS: &str = "/etc/lvm/profile /etc/docker /etc/containerd /var/lib/dmtool";

/// The state of everything that dmtool touches.
pub fn picture() -> String {
    wait_for_udev();
    let names = numbers();
    let mut lines: Vec<String> = Vec::new();
    for line in sh("dmsetup table").lines().filter(|line| *line != "No devices found" && !line.starts_with("power: ")) {
        let mut words: Vec<String> =
            line.split(' ').map(|word| names.get(word).cloned().unwrap_or_else(|| word.to_owned())).collect();
        // Which number a thin volume got depends on what was tried before.
        if words.get(3).is_some_and(|word| word == "thin") && words.len() > 5 {
            "ID".clone_into(&mut words[5]);
        }
        lines.push(words.join(" "));
    }
    for line in sh("dmsetup info -c --noheadings -o name,suspended,readonly,tables_loaded").lines() {
        lines.push(format!("info {line}"));
    }
    for line in sh("dmsetup status --target thin-pool").lines().filter(|line| *line != "No devices found") {
        let words: Vec<&str> = line.split_whitespace().collect();
        // name: start length thin-pool transaction metadata data held-root mode discard full needs-check
        lines.push(format!("pool {} held {} {}", words[0], words[7], words[8..].join(" ")));
    }
    lines.extend(sh("losetup --noheadings -O BACK-FILE,RO,DIO,AUTOCLEAR").lines().map(|line| format!("loop {line}")));
    let lvm = "vgs --noheadings -o vg_name,vg_extent_size,pv_count; pvs --noheadings -o pv_name,vg_name; \
               lvs -a --noheadings -o lv_full_name,lv_attr,lv_size,lv_profile,pool_lv,origin,seg_monitor,lv_tags";
    lines.extend(sh(lvm).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")));
    lines.extend(sh("findmnt -rno TARGET,SOURCE,FSTYPE -t ext4,xfs || true").lines().map(str::to_owned));
    let files = format!(
        "for d in {FOLDERS}; do [ ! -d $d ] || find $d -type f -o -type l; done | grep -v -e '/lost+found' -e /.etc/ -e /.kept.sum | sort | while read f; do \
         case $f in *pools/*.json) echo \"$f $(jq -Sc 'del(.. | .thin_id?, .transaction_id?, .next_thin_id?, .uuid?, .identity?)' $f)\";; \
         /etc/*) echo \"$f $(md5sum < $f)\";; *) echo $f;; esac; done"
    );
    lines.extend(sh(&files).lines().map(str::to_owned));
    lines.sort();
    lines.join("\n")
}

/// What differs, a line each.
pub fn difference(wanted: &str, found: &str) -> Option<String> {
    let (was, is): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), found.lines().collect());
    let gone = was.iter().filter(|line| !is.contains(line)).map(|line| format!("- {line}"));
    let new = is.iter().filter(|line| !was.contains(line)).map(|line| format!("+ {line}"));
    let lines: Vec<String> = gone.chain(new).collect();
    (!lines.is_empty()).then(|| lines.join("\n    "))
}

pub fn wait_for_udev() {
    try_sh("udevadm settle --timeout=30");
}

/// The names of block devices by their numbers.
fn numbers() -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let listing = "for b in /sys/class/block/*; do n=${b##*/}; [ ! -e $b/dm/name ] || n=$(cat $b/dm/name); \
                   [ ! -e $b/loop/backing_file ] || n=$(cat $b/loop/backing_file); echo \"$(cat $b/dev) $n\"; done";
    for line in sh(listing).lines() {
        if let Some((number, name)) = line.split_once(' ') {
            names.insert(number.to_owned(), name.to_owned());
        }
    }
    names
}
