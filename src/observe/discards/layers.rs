//! What each layer of the way does with a discard, in words.

use super::{Chain, Floor, Queue, Volume};
use crate::observe::mounts::Mount;
use crate::observe::thin::Discard;
use crate::units::Bytes;
use serde::Serialize;

/// One layer of the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// file-system, volume, pool, data, device, file.
    pub layer: &'static str,
    pub device: String,
    /// Whether discards go on from here.
    pub passes: bool,
    pub why: String,
    #[serde(rename = "granularity_bytes")]
    pub granularity: Option<Bytes>,
    #[serde(rename = "max_bytes")]
    pub max: Option<Bytes>,
}

impl Layer {
    fn new(layer: &'static str, device: &str, (passes, why): (bool, String), queue: Option<Queue>) -> Layer {
        let (granularity, max) = queue.map(|queue| (queue.granularity, queue.max)).unzip();
        Layer { layer, device: device.to_owned(), passes, why, granularity, max }
    }
}

impl Queue {
    fn takes_any(self) -> bool {
        self.max > Bytes(0)
    }
}

impl Volume {
    fn layers(&self) -> impl Iterator<Item = Layer> + '_ {
        let file_system = self
            .mount()
            .map(|mount| Layer::new("file-system", &mount.place, hands_on(mount, self.queue.takes_any()), None));
        let takes = self.queue.takes_any();
        let does = if takes { "takes them in whole chunks" } else { "takes none, since its pool ignores them" };
        file_system.into_iter().chain(std::iter::once(Layer::new(
            "volume",
            &self.dm_name,
            (takes, does.to_owned()),
            Some(self.queue),
        )))
    }
}

/// Whether a file system says by itself what was freed.
fn hands_on(mount: &Mount, is_taken: bool) -> (bool, String) {
    let by_itself = mount.options.iter().any(|option| option == "discard" || option.starts_with("discard="));
    let kind = &mount.kind;
    match (by_itself, is_taken) {
        (true, true) => (true, format!("{kind}, mounted with discard")),
        (true, false) => (false, format!("{kind}, mounted with discard, which its volume does not take")),
        (false, true) => (
            false,
            format!(
                "{kind}, mounted without discard: it hands on what was freed when it is told to, by dmtool volume trim"
            ),
        ),
        (false, false) => (false, format!("{kind}, mounted without discard")),
    }
}

impl Chain {
    /// Every layer, from the top down.
    pub fn layers(&self) -> Vec<Layer> {
        let mut layers: Vec<Layer> = self.volumes.iter().flat_map(Volume::layers).collect();
        layers.push(Layer::new("pool", &self.device, self.of_pool(), Some(self.queue)));
        for (at, floor) in self.below.iter().enumerate() {
            layers.push(match floor {
                Floor::Device { name, queue } => {
                    Layer::new(if at == 0 { "data" } else { "device" }, name, of_device(*queue), Some(*queue))
                }
                Floor::File { path, on } => Layer::new("file", path, of_file(on.as_ref()), None),
            });
        }
        layers
    }

    fn of_pool(&self) -> (bool, String) {
        let back = "has its chunks back";
        let text = match (self.does, self.asked) {
            (Some(Discard::Passdown), _) => return (true, format!("{back}, and hands discards on (passdown)")),
            (Some(Discard::NoPassdown), Discard::Passdown) => {
                let why = self.kernels_reason().unwrap_or_default();
                format!("{back}; passdown is asked for, and the kernel has turned it off: {why}")
            }
            (Some(Discard::NoPassdown), _) => format!("{back}, and keeps discards to itself (no_passdown)"),
            (Some(Discard::Ignore), _) => "takes no discards (ignore): nothing comes back to it".to_owned(),
            (None, _) => "has failed".to_owned(),
        };
        (false, text)
    }

    /// Why the kernel does not pass discards down although the table asks for it: the data device takes none, or less
    /// than a chunk at once, or in units that do not fit one (`disable_passdown_if_not_supported` of its dm-thin.c). It
    /// looks when a table is loaded.
    pub fn kernels_reason(&self) -> Option<String> {
        if self.asked != Discard::Passdown || self.does != Some(Discard::NoPassdown) {
            return None;
        }
        let Some(Floor::Device { name, queue }) = self.below.first() else { return None };
        let Chain { chunk, .. } = self;
        let fits = queue.granularity.0 > 0 && chunk.0.is_multiple_of(queue.granularity.0);
        Some(match queue {
            Queue { max: Bytes(0), .. } => format!("{name} takes no discards"),
            Queue { max, .. } if max < chunk => {
                format!("{name} takes at most {max} at once, which is less than a chunk of {chunk}")
            }
            Queue { granularity, .. } if !fits => {
                format!("{name} takes them in units of {granularity}, which do not fit a chunk of {chunk}")
            }
            Queue { .. } => format!(
                "{name} takes them by now, and did not when the table was loaded (no_passdown and then passdown load it anew)"
            ),
        })
    }
}

fn of_device(queue: Queue) -> (bool, String) {
    let Queue { granularity, max } = queue;
    if queue.takes_any() {
        (true, format!("takes up to {max} at once, in units of {granularity}"))
    } else {
        (false, "takes none".to_owned())
    }
}

/// A loop device makes a hole in its file.
fn of_file(on: Option<&Mount>) -> (bool, String) {
    let Some(mount) = on else { return (false, "has a hole there".to_owned()) };
    let (goes_on, _) = hands_on(mount, true);
    let then = if goes_on { "and tells its own disk" } else { "and tells its own disk at an fstrim" };
    (goes_on, format!("has a hole there: {} ({}) has the room back, {then}", mount.place, mount.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    fn queue(granularity: u64, max: u64) -> Queue {
        Queue { granularity: Bytes(granularity), max: Bytes(max) }
    }

    fn mount(options: &str) -> Mount {
        Mount {
            number: (254, 3),
            of_source: None,
            source: "/dev/mapper/vg-web".to_owned(),
            root: "/".to_owned(),
            place: "/srv".to_owned(),
            kind: "ext4".to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
        }
    }

    fn chain(asked: Discard, does: Discard, data: Queue) -> Chain {
        let taken = if does == Discard::Ignore { queue(0, 0) } else { queue(64 * KIB, 1 << 34) };
        Chain {
            volumes: vec![Volume { dm_name: "vg-web".to_owned(), thin_id: 1, queue: taken, mounts: vec![mount("rw")] }],
            device: "vg-pool-tpool".to_owned(),
            queue: data,
            chunk: Bytes(64 * KIB),
            asked,
            does: Some(does),
            below: vec![
                Floor::Device { name: "/dev/loop0".to_owned(), queue: data },
                Floor::File { path: "/data".to_owned(), on: Some(mount("rw,discard")) },
            ],
        }
    }

    #[test]
    fn all_the_way_down() {
        let chain = chain(Discard::Passdown, Discard::Passdown, queue(4 * KIB, 1 << 32));
        let layers = chain.layers();
        let words: Vec<(&str, bool)> = layers.iter().map(|layer| (layer.layer, layer.passes)).collect();
        assert_eq!(words, [("file-system", false), ("volume", true), ("pool", true), ("data", true), ("file", true)]);
        assert_eq!(layers[3].why, "takes up to 4 GiB at once, in units of 4 KiB");
        assert_eq!(chain.kernels_reason(), None);
    }

    #[test]
    fn the_kernels_reasons() {
        for (data, said) in [
            (queue(0, 0), "/dev/loop0 takes no discards"),
            (queue(512, 32 * KIB), "/dev/loop0 takes at most 32 KiB at once, which is less than a chunk of 64 KiB"),
            (queue(96 * KIB, 1 << 32), "/dev/loop0 takes them in units of 96 KiB, which do not fit a chunk of 64 KiB"),
            (
                queue(4 * KIB, 1 << 32),
                "/dev/loop0 takes them by now, and did not when the table was loaded (no_passdown and then passdown load it anew)",
            ),
        ] {
            let chain = chain(Discard::Passdown, Discard::NoPassdown, data);
            assert_eq!(chain.kernels_reason().as_deref(), Some(said));
            assert!(chain.layers()[2].why.ends_with(said) && !chain.layers()[2].passes);
        }
        assert_eq!(chain(Discard::NoPassdown, Discard::NoPassdown, queue(0, 0)).kernels_reason(), None);
    }

    #[test]
    fn a_pool_that_ignores_stops_all_above_it() {
        let chain = chain(Discard::Ignore, Discard::Ignore, queue(4 * KIB, 1 << 32));
        let passes: Vec<bool> = chain.layers().iter().map(|layer| layer.passes).collect();
        assert_eq!(passes, [false, false, false, true, true]);
        let mut mounted = chain;
        mounted.volumes[0].mounts = vec![mount("ro,discard"), mount("rw,discard=async")];
        assert!(mounted.layers()[0].why.contains("which its volume does not take"));
        assert!(mounted.volumes[0].mount().is_some_and(|mount| mount.has("rw")));
    }
}
