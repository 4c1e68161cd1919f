//! What came of a trim: what the file systems handed on, what the pool had back, and why it was no more.

use super::health::filled;
use crate::observe::discards::{Chain, Trimmed};
use crate::observe::pools::{Live, Pool};
use crate::observe::thin::Discard;
use crate::plan::trim::{Facts, Target};
use crate::units::{Bytes, DataBlocks};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub volumes: Vec<Volume>,
    /// What the pool uses less than before.
    #[serde(rename = "returned_bytes")]
    pub returned: Bytes,
    /// Whether what came back left the pool, too, and what did not come back.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    pub name: String,
    pub thin_id: Option<u64>,
    pub mount: String,
    /// What its file system says that it handed on.
    #[serde(rename = "handed_on_bytes")]
    pub handed_on: Bytes,
    /// What of it lay in the pool.
    #[serde(rename = "unmapped_bytes")]
    pub unmapped: Bytes,
    /// Why that is nothing.
    pub why: Option<String>,
}

fn less(before: Bytes, now: Bytes) -> Bytes {
    Bytes(before.0.saturating_sub(now.0))
}

/// What the trims of this run came to; none where there was none.
pub fn outcome(pool: &Pool, now: &Facts) -> Option<Outcome> {
    let chain = now.chain.as_ref()?.as_ref().ok()?;
    // Of several, each is preceded by what its file system wrote out.
    let most = now.trimmed.values().map(|trimmed| trimmed.pool_used).max()?;
    let used = pool.figures()?.data_used;
    let returned = DataBlocks(most.0.saturating_sub(used.0)).bytes(chain.chunk);
    let one = |volume: &Target| {
        let mount = volume.mount.as_ref()?.place.clone();
        let Trimmed { handed_on, unmapped, .. } = *now.trimmed.get(&mount)?;
        let why = (unmapped == Bytes(0)).then(|| why_nothing(volume, handed_on, chain.chunk));
        Some(Volume { name: volume.name.clone(), thin_id: volume.thin_id, mount, handed_on, unmapped, why })
    };
    let volumes: Vec<Volume> = now.volumes.iter().flatten().filter_map(one).collect();
    let notes = notes(&volumes, returned, chain);
    (!volumes.is_empty()).then_some(Outcome { volumes, returned, notes })
}

fn why_nothing(volume: &Target, handed_on: Bytes, chunk: Bytes) -> String {
    let mut why = if handed_on == Bytes(0) {
        format!("it has no free run of a whole chunk ({chunk}) that it had not handed on before")
    } else {
        "none of that lay in the pool".to_owned()
    };
    if let Some((mapped, in_use)) = volume.mapped.zip(volume.in_use)
        && less(mapped, in_use) >= chunk
    {
        let _ = write!(
            why,
            "; it has {mapped} there and its files take {in_use}: the rest is its own, or free in pieces smaller than a \
             chunk ({chunk})"
        );
    }
    if volume.mount.as_ref().is_some_and(|mount| mount.has("discard")) {
        why.push_str("; it is mounted with discard, and hands on by itself what is deleted");
    }
    why
}

fn notes(volumes: &[Volume], returned: Bytes, chain: &Chain) -> Vec<String> {
    let mut notes = Vec::new();
    let unmapped = Bytes(volumes.iter().map(|volume| volume.unmapped.0).fold(0, u64::saturating_add));
    let rest = less(unmapped, returned);
    if rest > Bytes(0) {
        let more = if returned > Bytes(0) { " more" } else { "" };
        notes.push(format!(
            "{rest}{more} lay in blocks that snapshots share: they come back with the last of these (or were taken anew \
             meanwhile)"
        ));
    }
    if returned > Bytes(0) && chain.does != Some(Discard::Passdown) {
        let why = chain.kernels_reason().map_or("it is set to no_passdown".to_owned(), |why| {
            format!("the kernel has turned passdown off, since {why}")
        });
        notes.push(format!("what came back stays in the pool, which hands nothing on: {why}"));
    }
    notes
}

/// As people read it.
pub fn text(pool: &Pool, outcome: Option<&Outcome>) -> String {
    let Some(outcome) = outcome else {
        return format!("No volume of {} is mounted here, so there is nothing to trim.", pool.name);
    };
    let mut lines: Vec<String> = outcome.volumes.iter().map(volume_line).collect();
    let used = pool.figures().zip(pool.live.as_ref().and_then(Live::chunk));
    let now = used.map_or(String::new(), |(figures, chunk)| {
        format!(", and uses {} of {} now", figures.data_used.bytes(chunk), figures.data_total.bytes(chunk))
    });
    lines.push(match outcome.returned {
        Bytes(0) => format!("Nothing came back to {}.", pool.name),
        returned => format!("{} has {returned} back{now}.", pool.name),
    });
    lines.extend(outcome.notes.iter().map(|note| format!("{note}.")));
    lines.iter().map(|line| filled(line, 0)).collect::<Vec<_>>().join("\n")
}

fn volume_line(volume: &Volume) -> String {
    let Volume { name, mount, handed_on, unmapped, .. } = volume;
    match &volume.why {
        None => format!("{name} on {mount} handed on {handed_on}, of which {unmapped} lay in the pool."),
        Some(why) => format!("{name} on {mount} handed on {handed_on}: {why}."),
    }
}

/// As JSON has it.
pub fn value(outcome: Option<&Outcome>) -> Value {
    let nothing = json!({"volumes": [], "returned_bytes": 0, "notes": []});
    outcome.map_or(nothing, |outcome| json!(outcome))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::discards::{Floor, Queue};
    use crate::observe::mounts::Mount;

    const CHUNK: Bytes = Bytes(64 << 10);

    fn mib(count: u64) -> Bytes {
        Bytes(count << 20)
    }

    fn target(mapped: Bytes, in_use: Bytes, options: &str) -> Target {
        let mount = Mount {
            number: (254, 3),
            of_source: None,
            source: "/dev/mapper/loop-web".to_owned(),
            root: "/".to_owned(),
            place: "/srv".to_owned(),
            kind: "ext4".to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
        };
        let name = "web".to_owned();
        let dm_name = Some("loop-web".to_owned());
        Target {
            name,
            thin_id: Some(1),
            dm_name,
            mapped: Some(mapped),
            mount: Some(mount),
            suspended: false,
            in_use: Some(in_use),
        }
    }

    #[test]
    fn why_nothing_came_of_a_volume() {
        let why = |volume: &Target, handed_on: Bytes| why_nothing(volume, handed_on, CHUNK);
        let full = target(mib(10), mib(10), "rw");
        assert_eq!(
            why(&full, Bytes(0)),
            "it has no free run of a whole chunk (64 KiB) that it had not handed on before"
        );
        assert_eq!(why(&full, mib(1)), "none of that lay in the pool");
        assert!(
            why(&target(mib(20), mib(10), "rw"), Bytes(0)).contains("free in pieces smaller than a chunk (64 KiB)")
        );
        assert!(why(&target(mib(10), mib(10), "rw,discard"), Bytes(0)).contains("hands on by itself"));
    }

    #[test]
    fn what_stays_behind() {
        let queue = Queue { granularity: Bytes(0), max: Bytes(0) };
        let chain = |asked, does| Chain {
            volumes: Vec::new(),
            device: "loop".to_owned(),
            queue,
            chunk: CHUNK,
            asked,
            does: Some(does),
            below: vec![Floor::Device { name: "/dev/sdb".to_owned(), queue }],
        };
        let passes = chain(Discard::Passdown, Discard::Passdown);
        let (name, mount) = ("web".to_owned(), "/srv".to_owned());
        let volume = Volume { name, thin_id: Some(1), mount, handed_on: mib(70), unmapped: mib(60), why: None };
        let said = |returned, chain: &Chain| notes(std::slice::from_ref(&volume), returned, chain);
        assert!(said(mib(60), &passes).is_empty());
        assert!(said(mib(0), &passes)[0].starts_with("60 MiB lay in blocks that snapshots share"));
        assert!(said(mib(20), &passes)[0].starts_with("40 MiB more lay"));
        let kept = said(mib(60), &chain(Discard::NoPassdown, Discard::NoPassdown));
        assert_eq!(kept, ["what came back stays in the pool, which hands nothing on: it is set to no_passdown"]);
        let off = said(mib(60), &chain(Discard::Passdown, Discard::NoPassdown));
        assert!(off[0].ends_with("turned passdown off, since /dev/sdb takes no discards"), "{off:?}");
    }
}
