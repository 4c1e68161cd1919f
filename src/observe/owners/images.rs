//! Which layers Docker's images and containers are made of, by its own files below image/devicemapper and containers.

use super::super::{Looked, Unseen, looked};
use super::{LARGEST, json};
use crate::sys::{block, plain};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a volume is for; `below` is the volume that it was made a snapshot of, none for the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    Layer { chain: String, below: Option<String> },
    Init { id: String, below: Option<String> },
    Container { id: String, below: Option<String> },
}

/// What Docker has made of its volumes.
#[derive(Debug, Default)]
pub struct Images {
    /// By the volume.
    pub uses: BTreeMap<String, Use>,
    /// Their names by their ids.
    pub containers: BTreeMap<String, String>,
    layers: BTreeMap<String, Layer>,
    tops: Vec<Image>,
}

/// A layer with all that lie under it, which have one name together: the chain's.
#[derive(Debug)]
struct Layer {
    volume: String,
    parent: Option<String>,
    diff: String,
}

#[derive(Debug)]
struct Image {
    id: String,
    /// As `docker images` prints them; else those that it was pulled by.
    tags: Vec<String>,
    /// The layers that it is made of.
    chains: BTreeSet<String>,
    top: Option<String>,
}

impl Images {
    /// Reads what is below Docker's folder; what is there and cannot be read is added to `damaged`.
    pub fn look(root: &str, damaged: &mut Vec<Unseen>) -> Images {
        let root = Path::new(root);
        let image = root.join("image/devicemapper");
        let mut found = Images::default();
        found.look_at_layers(&image.join("layerdb/sha256"), damaged);
        found.look_at_mounts(&image.join("layerdb/mounts"), damaged);
        found.look_at_images(&image, damaged);
        found.look_at_containers(&root.join("containers"), damaged);
        found
    }

    fn look_at_layers(&mut self, folder: &Path, damaged: &mut Vec<Unseen>) {
        for chain in names(folder, damaged) {
            let mut of = |file: &str| word(&folder.join(&chain).join(file), damaged);
            // One without the first is being made, or removed.
            let Some(volume) = of("cache-id") else { continue };
            let layer = Layer { volume, parent: of("parent"), diff: of("diff").unwrap_or_default() };
            self.layers.insert(format!("sha256:{chain}"), layer);
        }
        for (chain, layer) in &self.layers {
            let below = layer.parent.as_ref().and_then(|chain| self.volume_of(chain));
            self.uses.insert(layer.volume.clone(), Use::Layer { chain: chain.clone(), below });
        }
    }

    fn look_at_mounts(&mut self, folder: &Path, damaged: &mut Vec<Unseen>) {
        for id in names(folder, damaged) {
            let mut of = |file: &str| word(&folder.join(&id).join(file), damaged);
            let (mount, init, parent) = (of("mount-id"), of("init-id"), of("parent"));
            let image = parent.and_then(|chain| self.volume_of(&chain));
            let below = init.clone().or_else(|| image.clone());
            let init = init.map(|volume| (volume, Use::Init { id: id.clone(), below: image }));
            let mount = mount.map(|volume| (volume, Use::Container { id, below }));
            self.uses.extend(init.into_iter().chain(mount));
        }
    }

    fn volume_of(&self, chain: &str) -> Option<String> {
        self.layers.get(chain).map(|layer| layer.volume.clone())
    }

    fn look_at_images(&mut self, folder: &Path, damaged: &mut Vec<Unseen>) {
        let references: Option<References> = kept(json(&folder.join("repositories.json")), damaged);
        let mut tags = references.unwrap_or_default().by_image();
        let by_place: BTreeMap<(Option<&str>, &str), &String> =
            self.layers.iter().map(|(chain, layer)| ((layer.parent.as_deref(), layer.diff.as_str()), chain)).collect();
        let configs = folder.join("imagedb/content/sha256");
        for id in names(&configs, damaged) {
            let Some(config) = kept(json::<ImageFile>(&configs.join(&id)), damaged) else { continue };
            let mut top: Option<String> = None;
            let mut chains = BTreeSet::new();
            for diff in config.rootfs.diff_ids.unwrap_or_default() {
                let chain = by_place.get(&(top.as_deref(), diff.as_str()));
                top = chain.map(|chain| (*chain).clone());
                let Some(chain) = &top else { break };
                chains.insert(chain.clone());
            }
            let tags = tags.remove(&format!("sha256:{id}")).unwrap_or_default();
            self.tops.push(Image { id, tags, chains, top });
        }
    }

    fn look_at_containers(&mut self, folder: &Path, damaged: &mut Vec<Unseen>) {
        for id in names(folder, damaged) {
            let config = kept(json::<ContainerFile>(&folder.join(&id).join("config.v2.json")), damaged);
            if let Some(config) = config {
                self.containers.insert(id, config.name.trim_start_matches('/').to_owned());
            }
        }
    }

    /// The tags of all images that have this layer, those first whose last layer it is; where none of them has a tag,
    /// their ids as `docker images` prints them.
    pub fn names_of(&self, chain: &str) -> Vec<String> {
        let mut having: Vec<&Image> = self.tops.iter().filter(|image| image.chains.contains(chain)).collect();
        having.sort_by_key(|image| image.top.as_deref() != Some(chain));
        let tags: Vec<String> = having.iter().flat_map(|image| image.tags.clone()).collect();
        let short = |image: &&Image| image.id.chars().take(12).collect();
        if tags.is_empty() { having.iter().map(short).collect() } else { tags }
    }
}

/// repositories.json: by repository, what an image is called there.
#[derive(Debug, Default, Deserialize)]
struct References {
    #[serde(default, rename = "Repositories")]
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

impl References {
    /// The tags of each image; where it has none, the digests that it was pulled by.
    fn by_image(self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, image) in self.repositories.into_values().flatten() {
            found.entry(image).or_default().push(name);
        }
        for names in found.values_mut() {
            if names.iter().any(|name| !name.contains('@')) {
                names.retain(|name| !name.contains('@'));
            }
        }
        found
    }
}

#[derive(Debug, Deserialize)]
struct ImageFile {
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct ContainerFile {
    #[serde(rename = "Name")]
    name: String,
}

/// The entries of a folder that are called as Docker calls images, layers and containers.
fn names(folder: &Path, damaged: &mut Vec<Unseen>) -> Vec<String> {
    let is_one = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = looked(block::entries(folder)).unwrap_or_else(|why| {
        damaged.push(why);
        Vec::new()
    });
    found.into_iter().filter(is_one).collect()
}

/// What a file of one word says.
fn word(path: &Path, damaged: &mut Vec<Unseen>) -> Option<String> {
    let text = kept(looked(plain::text(path, LARGEST)), damaged);
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn kept<T>(result: Looked<Option<T>>, damaged: &mut Vec<Unseen>) -> Option<T> {
    result.unwrap_or_else(|why| {
        damaged.push(why);
        None
    })
}
