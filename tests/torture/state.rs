//! What a run leaves, in words that are the same for each run that ends alike: names for numbers, and no ids.

use crate::harness::{sh, try_sh};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Folders that dmtool writes into.
const FOLDERS: [&str; 4] = ["/etc/lvm/profile", "/etc/docker", "/etc/containerd", "/var/lib/dmtool"];

/// One look by everybody's own tools, each behind a line with its name.
const LOOK: &str = "echo @table; dmsetup table; echo @info; dmsetup info -c --noheadings -o name,suspended,readonly,tables_loaded; \
    echo @pool; dmsetup status --target thin-pool; echo @loop; losetup --noheadings -O BACK-FILE,RO,DIO,AUTOCLEAR; \
    echo @lvm; vgs --noheadings -o vg_name,vg_extent_size,pv_count; pvs --noheadings -o pv_name,vg_name; \
    lvs -a --noheadings -o lv_full_name,lv_attr,lv_size,lv_profile,pool_lv,origin,seg_monitor,lv_tags; \
    echo @mount; findmnt -rno TARGET,SOURCE,FSTYPE -t ext4,xfs || true";

/// The state of everything that dmtool touches.
pub fn picture() -> String {
    wait_for_udev();
    let names = numbers();
    let mut lines: Vec<String> = Vec::new();
    let mut part = String::new();
    for line in sh(LOOK).lines() {
        if let Some(begins) = line.strip_prefix('@') {
            begins.clone_into(&mut part);
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() || line == "No devices found" || line.starts_with("power: ") || line.starts_with("bad: ") {
            continue;
        }
        lines.push(match part.as_str() {
            "table" => table(&words, &names),
            // name: start length thin-pool transaction metadata data held-root mode discard full needs-check
            "pool" if words.len() > 8 => format!("pool {} held {} {}", words[0], words[7], words[8..].join(" ")),
            // Whether a volume is open depends on who writes to it meanwhile (lvs(8), the sixth of lv_attr).
            "lvm" if words.len() > 2 && words[1].len() == 10 => {
                let closed = words[1].chars().enumerate().map(|(at, letter)| if at == 5 { '-' } else { letter });
                format!("lvm {} {} {}", words[0], closed.collect::<String>(), words[2..].join(" "))
            }
            part => format!("{part} {}", words.join(" ")),
        });
    }
    for folder in FOLDERS {
        files(Path::new(folder), &mut lines);
    }
    lines.sort();
    lines.dedup();
    lines.join("\n")
}

fn table(words: &[&str], names: &BTreeMap<String, String>) -> String {
    let name = |word: &&str| names.get(*word).cloned().unwrap_or_else(|| (*word).to_owned());
    let mut words: Vec<String> = words.iter().map(name).collect();
    // Which number a thin volume got depends on what was tried before.
    if words.get(3).is_some_and(|word| word == "thin") && words.len() > 5 {
        "ID".clone_into(&mut words[5]);
    }
    words.join(" ")
}

/// The files in a folder: what configures others with its text, the register without numbers and ids, others by name.
fn files(folder: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let shown = path.to_string_lossy().into_owned();
        if ["lost+found", ".etc", ".kept.sum"].iter().any(|own| entry.file_name().to_string_lossy().starts_with(own)) {
            continue;
        }
        if entry.file_type().expect("an entry").is_dir() {
            files(&path, lines);
        } else if shown.contains("pools/") && path.extension().is_some_and(|extension| extension == "json") {
            let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap_or_default()).unwrap_or_default();
            without_numbers(&mut record);
            lines.push(format!("{shown} {record}"));
        } else if shown.starts_with("/etc") {
            lines.push(format!("{shown} {:?}", String::from_utf8_lossy(&fs::read(&path).unwrap_or_default())));
        } else {
            // A copy of metadata that is complete is never written over, so that the next has a number.
            lines.push(shown.replace(|c: char| c.is_ascii_digit(), "N").replace(".N.", "."));
        }
    }
}

fn without_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in
                ["thin_id", "transaction_id", "next_thin_id", "uuid", "dm_uuid", "identity", "inode", "filesystem"]
            {
                fields.remove(key);
            }
            fields.values_mut().for_each(without_numbers);
        }
        Value::Array(values) => values.iter_mut().for_each(without_numbers),
        _ => {}
    }
}

/// What differs, a line each.
pub fn difference(wanted: &str, found: &str) -> Option<String> {
    let (was, is): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), found.lines().collect());
    let gone = was.iter().filter(|line| !is.contains(line)).map(|line| format!("- {line}"));
    let new = is.iter().filter(|line| !was.contains(line)).map(|line| format!("+ {line}"));
    let lines: Vec<String> = gone.chain(new).collect();
    (!lines.is_empty()).then(|| lines.join("\n    "))
}

/// The devices that stand still.
pub fn suspended() -> String {
    sh("dmsetup info -c --noheadings -o name,suspended | grep uspended || true")
}

pub fn wait_for_udev() {
    try_sh("udevadm settle --timeout=30");
}

/// The names of block devices by their numbers.
fn numbers() -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir("/sys/class/block").expect("the block devices").flatten() {
        let text = |file: &str| fs::read_to_string(entry.path().join(file)).ok().map(|text| text.trim_end().to_owned());
        let name = text("dm/name").or(text("loop/backing_file"));
        let name = name.unwrap_or_else(|| entry.file_name().to_string_lossy().into_owned());
        names.extend(text("dev").map(|number| (number, name)));
    }
    names
}
