//! A host on which Docker runs a container of an image of two layers, and what can be wrong with its files.
#![allow(clippy::disallowed_methods, reason = "a test makes the files of Docker")]

use super::OwnerKind::{DockerContainer, DockerLayer};
use super::*;
use proptest::prelude::*;
use std::fs;

/// 64 digits, as Docker's names have.
fn hex(word: &str) -> String {
    format!("{word:0<64}")
}

struct Host(tempfile::TempDir);

impl Host {
    fn blank() -> Host {
        Host(tempfile::tempdir().expect("a folder"))
    }

    fn with(self, path: &str, text: &str) -> Host {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    fn with_volume(self, key: &str, id: u64) -> Host {
        let text = format!(
            r#"{{"device_id":{id},"size":10737418240,"transaction_id":{},"initialized":false,"deleted":false}}"#,
            id + 2
        );
        self.with(&format!("devicemapper/metadata/{key}"), &text)
    }

    fn with_layer(self, chain: &str, volume: &str, diff: &str, parent: Option<&str>) -> Host {
        let folder = format!("image/devicemapper/layerdb/sha256/{}", hex(chain));
        let host = self
            .with(&format!("{folder}/cache-id"), &hex(volume))
            .with(&format!("{folder}/diff"), &format!("sha256:{}", hex(diff)));
        match parent {
            Some(parent) => host.with(&format!("{folder}/parent"), &format!("sha256:{}", hex(parent))),
            None => host,
        }
    }

    fn with_image(self, id: &str, diffs: &[&str]) -> Host {
        let diffs: Vec<String> = diffs.iter().map(|diff| format!("\"sha256:{}\"", hex(diff))).collect();
        let text = format!(r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#, diffs.join(","));
        self.with(&format!("image/devicemapper/imagedb/content/sha256/{}", hex(id)), &text)
    }

    fn look(&self) -> Claims {
        docker(self.0.path().to_str().expect("a path")).expect("claims")
    }
}

/// Two images, the second on top of the first; a container of the second.
fn host() -> Host {
    let mounts = format!("image/devicemapper/layerdb/mounts/{}", hex("c0"));
    let references = format!(
        r#"{{"Repositories":{{"busy":{{"busy:latest":"sha256:{0}","busy@sha256:12":"sha256:{0}"}},"app":{{"app:1":"sha256:{1}","app:2":"sha256:{1}"}}}}}}"#,
        hex("1a"),
        hex("1b")
    );
    Host::blank()
        .with_volume("base", 1)
        .with_volume(&hex("f1"), 2)
        .with_volume(&hex("f2"), 3)
        .with_volume(&format!("{}-init", hex("f3")), 4)
        .with_volume(&hex("f3"), 5)
        .with(
            "devicemapper/metadata/deviceset-metadata",
            r#"{"next_device_id":6,"BaseDeviceUUID":"x","BaseDeviceFilesystem":"xfs"}"#,
        )
        .with(
            "devicemapper/metadata/transaction-metadata",
            r#"{"open_transaction_id":7,"device_hash":"","device_id":5}"#,
        )
        .with("devicemapper/metadata/.tmp123", "{")
        .with("devicemapper/metadata/json.migrated", "{")
        .with_layer("a1", "f1", "d1", None)
        .with_layer("a2", "f2", "d2", Some("a1"))
        .with_image("1a", &["d1"])
        .with_image("1b", &["d1", "d2"])
        .with("image/devicemapper/repositories.json", &references)
        .with(&format!("{mounts}/mount-id"), &hex("f3"))
        .with(&format!("{mounts}/init-id"), &format!("{}-init", hex("f3")))
        .with(&format!("{mounts}/parent"), &format!("sha256:{}", hex("a2")))
        .with(&format!("containers/{}/config.v2.json", hex("c0")), r#"{"ID":"c0","Name":"/web","State":{}}"#)
}

/// Thin id, kind, names, origin.
fn told(found: &Claims) -> Vec<(u64, OwnerKind, String, Option<u64>)> {
    let mut told: Vec<_> = found
        .claims
        .iter()
        .map(|claim| (claim.thin_id, claim.owner.kind, claim.owner.names.join(" "), claim.origin))
        .collect();
    told.sort_by_key(|one| one.0);
    told
}

#[test]
fn layers_images_and_containers() {
    let host = host();
    let found = host.look();
    let name = |name: &str| name.to_owned();
    assert_eq!(
        told(&found),
        [
            (1, DockerLayer, name("base"), None),
            (2, DockerLayer, name("busy:latest app:1 app:2"), Some(1)),
            (3, DockerLayer, name("app:1 app:2"), Some(2)),
            (4, DockerContainer, name("web (init)"), Some(3)),
            (5, DockerContainer, name("web"), Some(4)),
        ]
    );
    assert_eq!(found.damaged, []);
    assert_eq!(found.open, [Open { transaction_id: 7, thin_id: 5, key: "base".to_owned() }]);
    let web = found.claims.iter().find(|claim| claim.thin_id == 5).expect("it is there");
    assert_eq!((web.owner.id.clone(), web.key.clone()), (hex("c0"), hex("f3")));
    assert_eq!((web.size, web.transaction_id, web.state), (Some(Bytes(10 << 30)), Some(7), State::Used));
    let inode = file::folder(&host.0.path().join("devicemapper")).expect("a folder").expect("it is there").inode;
    let device = web.device.clone().expect("a name");
    assert!(device.starts_with("docker-") && device.ends_with(&format!("-{inode}-{}", hex("f3"))), "{device}");
}

#[test]
fn images_without_a_tag_have_their_ids() {
    let untagged = host().with("image/devicemapper/repositories.json", r#"{"Repositories":{}}"#).look();
    assert_eq!(told(&untagged)[1].2, "1a0000000000 1b0000000000");
    let digest = format!(r#"{{"Repositories":{{"busy":{{"busy@sha256:12":"sha256:{}"}}}}}}"#, hex("1a"));
    let pulled = host().with("image/devicemapper/repositories.json", &digest).look();
    assert_eq!((told(&pulled)[1].2.as_str(), told(&pulled)[2].2.as_str()), ("busy@sha256:12", "1b0000000000"));
}

#[test]
fn volumes_that_nothing_else_knows() {
    let found = Host::blank()
        .with_volume(&hex("f1"), 2)
        .with("devicemapper/metadata/gone-init", r#"{"device_id":3,"deleted":true}"#)
        .look();
    let states: Vec<State> = found.claims.iter().map(|claim| claim.state).collect();
    assert_eq!(states, [State::Used, State::Leaving]);
    let kinds: Vec<OwnerKind> = found.claims.iter().map(|claim| claim.owner.kind).collect();
    assert_eq!(kinds, [DockerLayer, DockerContainer]);
    assert_eq!((found.damaged, found.recorded), (Vec::new(), true));
    let nothing = Host::blank().look();
    assert_eq!((nothing.recorded, nothing.claims, nothing.damaged), (false, Vec::new(), Vec::new()));
    assert_eq!(docker("/nowhere/at/all").map(|found| found.recorded), Ok(false));
}

#[test]
fn damaged_files_are_named_and_hide_no_others() {
    let long = "x".repeat(64);
    for (path, text, said) in [
        ("devicemapper/metadata/bad", "{\"device_id\":", "EOF"),
        ("devicemapper/metadata/bad", "", "EOF"),
        ("devicemapper/metadata/bad", "{}", "no thin id"),
        ("devicemapper/metadata/bad", r#"{"device_id":16777216}"#, "16777216 is no thin id"),
        ("devicemapper/metadata/bad", r#"{"device_id":-1}"#, "invalid value"),
        ("devicemapper/metadata/bad", r#"{"device_id":9,"device_id":8}"#, "duplicate"),
        ("devicemapper/metadata/bad/folder", "", "no plain file"),
        ("devicemapper/metadata/transaction-metadata", "{}", "open_transaction_id"),
        ("devicemapper/devicemapper/json", "{}", "old Docker"),
        ("image/devicemapper/repositories.json", "[", "repositories.json"),
        (&format!("image/devicemapper/imagedb/content/sha256/{}", hex("1c")), "no json", "imagedb"),
        (&format!("containers/{}/config.v2.json", hex("c1")), "{}", "Name"),
        (&format!("devicemapper/metadata/{long}"), r#"{"device_id":5}"#, "thin id 5 is written down for each of"),
    ] {
        let found = host().with(path, text).look();
        let damaged: Vec<&str> = found.damaged.iter().map(|why| why.0.as_str()).collect();
        assert!(damaged.len() == 1 && damaged[0].contains(said), "{path} {text}: {damaged:?}");
        assert!(found.claims.len() >= 5, "{path} {text}");
    }
    let host = host();
    let large = fs::File::create(host.0.path().join("devicemapper/metadata/large")).expect("a file");
    large.set_len(1 << 40).expect("a hole");
    assert!(host.look().damaged[0].0.contains("nobody keeps there"));
}

#[test]
fn folders_of_user_namespaces_belong_to_it() {
    let found = host()
        .with("100000.100000/devicemapper/metadata/base", r#"{"device_id":9}"#)
        .with("1.x/devicemapper/metadata/base", r#"{"device_id":10}"#)
        .look();
    let ids: Vec<u64> = found.claims.iter().map(|claim| claim.thin_id).collect();
    assert!(found.claims.len() == 6 && ids.contains(&9), "{ids:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_makes_it_panic(at in 0_usize..5, text in r#"[\{\[]?("(device_id|Repositories|rootfs|Name|diff_ids)":)?[0-9a-z\{\}\[\]:,"]{0,30}\}?"#) {
        let image = format!("image/devicemapper/imagedb/content/sha256/{}", hex("1a"));
        let layer = format!("image/devicemapper/layerdb/sha256/{}/parent", hex("a1"));
        let paths = ["devicemapper/metadata/base", "devicemapper/metadata/transaction-metadata", "image/devicemapper/repositories.json", &image, &layer];
        let found = host().with(paths[at], &text).look();
        prop_assert!(found.claims.len() >= 4);
    }
}
