//! Whose the thin devices of a pool are, beside what Debian's Docker 20.10 and containerd 1.6 say of them themselves.

use super::configure::unmask_units;
use super::containerd::run_one;
use super::docker::{ON_THE_POOL, import_busybox, start_docker, stop_docker};
use crate::harness::*;
use predicates::str::contains;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const LIST: &str = "volume list docker/thinpool --exact";
/// Not where daemon.json would have it.
const ROOT: &str = "/var/lib/docker/own";
const DOCKER: &str = "/usr/bin/docker";

/// A list by its thin ids. What is still to be written would change the figures from one look to the next.
fn listed() -> (BTreeMap<u64, Value>, Value) {
    sh("sync");
    let (status, list) = json(LIST);
    assert_eq!((status, &list["complete"]), (0, &true.into()), "{list:#}");
    let volumes = list["volumes"].as_array().expect("volumes").iter();
    let by_id = volumes.map(|volume| (volume["thin_id"].as_u64().expect("a number"), volume.clone())).collect();
    (by_id, list["warnings"].clone())
}

/// What thin_ls says of each thin id, through a metadata snapshot: mapped, held alone, shared, and the transaction.
fn by_thin_ls() -> BTreeMap<u64, [u64; 4]> {
    sh("dmsetup message docker-thinpool 0 reserve_metadata_snap");
    let said = sh(
        "thin_ls -m --no-headers -o DEV,MAPPED_BYTES,EXCLUSIVE_BYTES,SHARED_BYTES,TRANSACTION /dev/mapper/docker-thinpool_tmeta",
    );
    sh("dmsetup message docker-thinpool 0 release_metadata_snap");
    let words = |line: &str| line.split_whitespace().map(|word| word.parse().expect("a number")).collect::<Vec<u64>>();
    said.lines().map(words).map(|words| (words[0], [words[1], words[2], words[3], words[4]])).collect()
}

/// All of the pool is in the list, with the figures that thin_ls has.
fn assert_as_thin_ls(list: &BTreeMap<u64, Value>) {
    let figures = ["mapped_bytes", "exclusive_bytes", "shared_bytes", "transaction_id"];
    let ours = list.iter().map(|(id, volume)| (*id, figures.map(|figure| volume[figure].as_u64().unwrap_or(u64::MAX))));
    assert_eq!(ours.collect::<BTreeMap<_, _>>(), by_thin_ls());
}

/// The names of all owners of a kind.
fn names(list: &BTreeMap<u64, Value>, kind: &str) -> BTreeSet<String> {
    let of_kind = list.values().filter(|volume| volume["owner"]["kind"] == kind);
    let names = of_kind.flat_map(|volume| volume["owner"]["names"].as_array().expect("names"));
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

fn lines(script: &str) -> BTreeSet<String> {
    sh(script).lines().map(str::to_owned).collect()
}

/// What stays the same of a list when the consumer is stopped.
fn kept(list: &BTreeMap<u64, Value>) -> Vec<[&Value; 6]> {
    let fields = ["thin_id", "name", "size_bytes", "transaction_id", "origin", "owner"];
    list.values().map(|volume| fields.map(|field| &volume[field])).collect()
}

/// Size, mapped sectors and the highest of them as the kernel says them of each volume, active or made so for the moment.
fn assert_as_the_kernel(list: &BTreeMap<u64, Value>) {
    for (id, volume) in list {
        let sectors = volume["size_bytes"].as_u64().expect("a size") / 512;
        let made =
            format!("dmsetup create --readonly probe --table '0 {sectors} thin /dev/mapper/docker-thinpool {id}'");
        let status = sh(&format!("{made} && dmsetup status probe && dmsetup remove --retry probe"));
        let bytes = |word: usize| status.split(' ').nth(word).and_then(|word| word.parse::<u64>().ok());
        assert_eq!(volume["mapped_bytes"].as_u64(), bytes(3).map(|mapped| mapped * 512), "{volume:#} {status}");
        assert_eq!(
            volume["highest_mapped_bytes"].as_u64(),
            bytes(4).map(|last| (last + 1) * 512),
            "{volume:#} {status}"
        );
    }
}

#[test]
fn volumes_of_docker_as_docker_names_them() {
    boots(|machine| {
        machine.boot(|| {
            dmtool("setup /dev/xvdf --yes").assert().success();
            assert!(!try_sh("test -e /etc/docker/daemon.json").0, "the command line alone says which pool and folder");
            start_docker(&format!("{ON_THE_POOL} --data-root {ROOT}"));
            import_busybox();
            sh(&format!(
                "{DOCKER} tag busy busy:second && \
                 {DOCKER} run --network none --name stopped busy sh -c 'dd if=/dev/urandom of=/file bs=1M count=5' && \
                 {DOCKER} commit stopped && {DOCKER} run -di --network none --name running busy cat"
            ));
            let (running, warnings) = listed();
            assert_eq!(warnings, Value::Null);
            assert_as_thin_ls(&running);
            assert_as_docker(&running);
            assert_as_the_old_tool();
            sh("dmsetup message docker-thinpool 0 'create_thin 5000'");
            an_orphan_is_found_and_removed(5000);
            assert_eq!(kept(&listed().0), kept(&running));
            // On a busy machine dockerd ends before a container that does not want to.
            sh(&format!("{DOCKER} kill running"));
            stop_docker();
            sh(&format!(
                "mount /dev/xvdg /var/lib/docker && mkdir -p /etc/docker && \
                 echo '{{\"data-root\": \"{ROOT}\", \"storage-opts\": [\"dm.thinpooldev=/dev/mapper/docker-thinpool\"]}}' > /etc/docker/daemon.json"
            ));
            let (stopped, warnings) = listed();
            assert_eq!(warnings, Value::Null);
            assert_eq!(kept(&stopped), kept(&running));
            assert!(stopped.values().all(|volume| volume["active"] == false), "{stopped:#?}");
            assert_as_thin_ls(&stopped);
            assert_as_the_kernel(&stopped);
            what_is_damaged_is_named_and_the_rest_is_listed(&stopped);
            // Docker's disk is away.
            sh("umount /var/lib/docker");
            let (away, warnings) = listed();
            assert!(away.keys().eq(stopped.keys()) && away.values().all(|volume| volume["owner"].is_null()));
            assert!(warnings.to_string().contains(ROOT), "{warnings}");
            dmtool("volume orphans docker/thinpool --remove --yes").assert().code(3).stderr(contains("no record"));
            as_new_for_dockers_first_use();
        });
    });
}

/// One that was made by hand, and nothing else.
fn an_orphan_is_found_and_removed(id: u64) {
    let before = listed().0;
    let (_, found) = json("volume orphans docker/thinpool");
    let found = found["orphans"].as_array().expect("orphans").clone();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&found[0]["thin_id"], &found[0]["is"]), (&id.into(), &"orphan".into()));
    dmtool("volume orphans docker/thinpool --remove --yes").assert().success();
    let after = listed().0;
    assert!(before.keys().filter(|one| **one != id).eq(after.keys()), "{after:#?}");
}

/// Docker takes over no pool that was used; after a recycle it does, with a folder that is new.
fn as_new_for_dockers_first_use() {
    sh("mkfs.ext4 -qF /dev/xvdg && rm -r /etc/docker");
    dmtool("volume recycle docker/thinpool --yes").assert().success();
    assert!(sh("dmsetup status docker-thinpool").contains("thin-pool 0 "));
    start_docker(ON_THE_POOL);
    import_busybox();
    assert_eq!(sh(&format!("{DOCKER} run --rm --network none busy sh -c 'echo inside'")), "inside");
    stop_docker();
}

fn assert_as_docker(list: &BTreeMap<u64, Value>) {
    let containers = lines(&format!("{DOCKER} ps -a --format '{{{{.Names}}}}'"));
    let with_init = containers.iter().flat_map(|name| [name.clone(), format!("{name} (init)")]).collect();
    assert_eq!(names(list, "docker-container"), with_init);
    let images = sh(&format!("{DOCKER} images --format '{{{{.Repository}}}}:{{{{.Tag}}}} {{{{.ID}}}}'"));
    let images = images.lines().filter_map(|line| line.split_once(' '));
    let shown: BTreeSet<String> =
        images.map(|(name, id)| if name == "<none>:<none>" { id } else { name }.to_owned()).collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    let ours = names(list, "docker-layer");
    assert_eq!(ours, shown.iter().cloned().chain(["base".to_owned()]).collect());
    for name in containers.iter().chain(&shown) {
        let data = ["DeviceId", "DeviceSize", "DeviceName"].map(|key| format!("{{{{.GraphDriver.Data.{key}}}}}"));
        let said = sh(&format!("{DOCKER} inspect --format '{}' {name}", data.join(" ")));
        let words: Vec<&str> = said.split(' ').collect();
        let volume = &list[&words[0].parse().expect("a thin id")];
        assert_eq!(volume["size_bytes"].to_string(), words[1], "{name}");
        let names = volume["owner"]["names"].as_array().expect("names");
        assert!(names.contains(&name.as_str().into()), "{name}: {volume:#}");
        let key = words[2].rsplit('-').next().expect("what Docker calls the volume");
        assert_eq!(volume["name"].as_str(), key.get(..12), "{name}");
        let id = if containers.contains(name) {
            sh(&format!("{DOCKER} inspect --format '{{{{.Id}}}}' {name}"))
        } else {
            key.to_owned()
        };
        assert_eq!(volume["owner"]["id"], id, "{name}");
        assert_eq!(volume["active"], name == "running", "{name}");
    }
    // As an operator asks for one: by the container's name, whose device is up.
    let device = sh(&format!("{DOCKER} inspect --format '{{{{.GraphDriver.Data.DeviceName}}}}' running"));
    let show = json("volume show docker/thinpool running").1;
    assert_eq!(show["device"], format!("/dev/mapper/{device}"));
    assert!(!show["uses"].to_string().is_empty() && show["uses"] != Value::Null, "{show:#}");
    dmtool("volume show docker/thinpool stopped").assert().success().stdout(contains("Docker, a container"));
    dmtool("volume show docker/thinpool busy:second").assert().success().stdout(contains("busy:latest"));
}

/// What Docker's own device tool printed: the pool with its use, the volumes, and a volume with its sectors.
fn assert_as_the_old_tool() {
    let status = sh("dmsetup status docker-thinpool");
    let words: Vec<&str> = status.split(' ').collect();
    let pool = json("status docker/thinpool").1["pools"][0].clone();
    assert_eq!(
        (&pool["dm_name"], pool["transaction_id"].to_string()),
        (&"docker-thinpool".into(), words[3].to_owned())
    );
    for (space, word, block) in [("metadata", words[4], 4096), ("data", words[5], 524_288)] {
        let (used, total) = word.split_once('/').expect("used and total");
        for (key, blocks) in [("used_bytes", used), ("total_bytes", total)] {
            assert_eq!(pool[space][key], blocks.parse::<u64>().expect("blocks") * block, "{space} {key}");
        }
    }
    let inspect = |key: &str| sh(&format!("{DOCKER} inspect --format '{{{{.GraphDriver.Data.{key}}}}}' running"));
    let (id, device) = (inspect("DeviceId"), inspect("DeviceName"));
    let status = sh(&format!("sync; dmsetup status {device}"));
    let words: Vec<u64> = status.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [_, sectors, mapped, highest] = words[..] else { panic!("{status}") };
    let file = format!("cat {ROOT}/devicemapper/metadata/$(echo {device} | sed 's/.*-//')");
    let file: Value = serde_json::from_str(&sh(&file)).expect("Docker's own file");
    let page = dmtool(&format!("volume show docker/thinpool id:{id}")).output().expect("a page");
    let page = String::from_utf8_lossy(&page.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        format!("thin id: {id} "),
        // Docker writes down the one that it ends with, metadata has the one that it began with.
        format!("transaction: {} ", file["transaction_id"].as_u64().expect("a transaction") - 1),
        format!("size: 10 GiB ({sectors} sectors)"),
        format!("({mapped} sectors) ends at:"),
        format!("({} sectors) transaction:", highest + 1),
    ] {
        assert!(page.contains(&said), "{said}: {page}");
    }
}

/// Each kind of damage to a file of its own, all of them at once: the volume is listed as nobody's, the others as before.
fn what_is_damaged_is_named_and_the_rest_is_listed(before: &BTreeMap<u64, Value>) {
    let folder = format!("{ROOT}/devicemapper/metadata");
    let files = sh(&format!("cp -a {ROOT} /var/lib/docker/whole; cd {folder} && ls | grep -v metadata$"));
    let files: Vec<&str> = files.lines().collect();
    let damages = [
        "truncate -s 20 FILE",
        "sed -i 's/\"device_id\":[0-9]*/\"device_id\":16777216/' FILE",
        "rm FILE && mkfifo FILE",
        "ln -sf $(basename FILE) FILE",
        "rm FILE && truncate -s 100M FILE",
        "ln -sf nowhere FILE",
    ];
    assert!(files.len() > damages.len(), "{files:?}");
    let mut hurt = BTreeSet::new();
    for (file, damage) in files.iter().zip(damages) {
        let path = format!("{folder}/{file}");
        let text: Value = serde_json::from_str(&sh(&format!("cat {path}"))).expect("a file of Docker's");
        hurt.insert(text["device_id"].as_u64().expect("a thin id"));
        sh(&damage.replace("FILE", &path));
    }
    let (list, warnings) = listed();
    let warnings: Vec<&str> = warnings.as_array().expect("warnings").iter().filter_map(Value::as_str).collect();
    assert!(list.keys().eq(before.keys()));
    for (id, volume) in &list {
        if hurt.contains(id) {
            assert_eq!((&volume["owner"], &volume["name"]), (&Value::Null, &format!("id:{id}").into()));
        } else {
            assert_eq!(volume["owner"], before[id]["owner"]);
        }
    }
    for file in &files[..damages.len()] {
        let path = format!("{folder}/{file}");
        let names_it = |warning: &&&str| warning.split(' ').any(|word| word.trim_end_matches(':') == path);
        assert_eq!(warnings.iter().filter(names_it).count(), 1, "{file}: {warnings:#?}");
    }
    assert_eq!(warnings.len(), damages.len(), "{warnings:#?}");
    dmtool(LIST).assert().success().stderr(contains(format!("{folder}/{}", files[0])));
    // Names are away, and whose it is can be said all the same.
    sh(&format!(
        "rm -r {ROOT} && cp -a /var/lib/docker/whole {ROOT} && cd {ROOT} && truncate -s 20 image/devicemapper/repositories.json && \
         for config in containers/*/config.v2.json; do rm $config && mkfifo $config; done"
    ));
    let (list, warnings) = listed();
    let warnings = warnings.to_string();
    assert!(warnings.contains("repositories.json") && warnings.matches("config.v2.json").count() == 2, "{warnings}");
    for (id, volume) in &list {
        assert_eq!(volume["owner"]["kind"], before[id]["owner"]["kind"]);
        assert_eq!(volume["owner"]["id"], before[id]["owner"]["id"]);
    }
    sh(&format!("rm -r {ROOT} && mv /var/lib/docker/whole {ROOT}"));
    assert_eq!(kept(&listed().0), kept(before));
}

const CTR: &str = "ctr snapshots --snapshotter devmapper";
const BUSY: &str = "docker.io/library/busy:latest";

#[test]
fn snapshots_of_containerd_as_ctr_names_them() {
    boots(|machine| {
        machine.systemd("", || {
            unmask_units();
            sh("mkfs.ext4 -q /dev/xvdg && mkdir -p /var/lib/containerd && mount /dev/xvdg /var/lib/containerd");
            dmtool("setup /dev/xvdf --for containerd --restart --yes").assert().success();
            run_one();
            sh(&format!(
                "ctr images tag {BUSY} registry.example/other:1 && \
                 ctr run --snapshotter devmapper --detach {BUSY} goes-on sh -c 'while true; do echo x >/dev/null; done' && \
                 dmsetup message docker-thinpool 0 'create_thin 4000'"
            ));
            let (up, warnings) = listed();
            assert_eq!(warnings, Value::Null);
            assert_as_ctr(&up);
            sh("ctr task kill --signal KILL goes-on; systemctl stop containerd");
            let (down, warnings) = listed();
            assert_eq!(warnings, Value::Null);
            assert_eq!(kept(&down), kept(&up));
            assert_as_thin_ls(&down);
            // A list of devices that is damaged, and one that is away.
            let file = "/var/lib/containerd/io.containerd.snapshotter.v1.devmapper/docker-thinpool.db";
            for damage in ["cp -a FILE /run/kept.db && truncate -s 5000 FILE", "rm FILE"] {
                sh(&damage.replace("FILE", file));
                let (list, warnings) = listed();
                assert!(list.keys().eq(down.keys()) && warnings.to_string().contains(file), "{warnings} {list:#?}");
                dmtool("volume orphans docker/thinpool --remove --yes").assert().code(3);
                assert_eq!(listed().0.len(), down.len());
            }
            sh(&format!("cp -a /run/kept.db {file}"));
            assert_eq!(kept(&listed().0), kept(&down));
            an_orphan_is_found_and_removed(4000);
            try_sh("umount /var/lib/containerd");
        });
    });
}

fn assert_as_ctr(list: &BTreeMap<u64, Value>) {
    // Each snapshot is a device: its key, what it is a snapshot of, and the device while it is mounted.
    let said = sh(&format!("{CTR} ls | tail -n +2"));
    let (mut seen, mut by_key) = (BTreeSet::new(), BTreeMap::new());
    for (id, volume) in list.iter().filter(|(id, _)| **id != 4000) {
        assert_eq!(volume["owner"]["kind"], "containerd", "{volume:#}");
        let names = volume["owner"]["names"].as_array().expect("names");
        let key = names.last().and_then(Value::as_str).expect("a key").to_owned();
        assert!(volume["owner"]["id"].as_str().is_some_and(|id| id.ends_with(&key)), "{volume:#}");
        by_key.insert(key, (*id, volume));
    }
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, volume) = by_key[words[0]];
        let parent = if words.len() == 3 { &by_key[words[1]].1["name"] } else { &Value::Null };
        assert_eq!(&volume["origin"], parent, "{line}");
        seen.insert(words[0].to_owned());
        // Of a committed one `ctr` says a device without a number.
        let mounts = match words.last() {
            Some(&"Committed") => String::new(),
            _ => sh(&format!("{CTR} mounts /x {} | grep -o '/dev/mapper/[^ ]*'", words[0])),
        };
        let name = volume["name"].as_str().expect("a name");
        assert!(mounts.is_empty() || mounts.ends_with(&format!("docker-thinpool-{name}")), "{line} {mounts}");
    }
    assert!(by_key.keys().eq(&seen), "{said}\n{by_key:#?}");
    let containers = lines("ctr containers ls -q");
    assert!(containers.len() == 2 && containers.iter().all(|name| seen.contains(name)), "{containers:?} {seen:?}");
    // The layer of both images has both their names, and no container has.
    let images = lines("ctr images ls -q");
    assert_eq!(images.len(), 2);
    let of_images = names(list, "containerd").difference(&seen).cloned().collect::<BTreeSet<_>>();
    assert_eq!(of_images, images);
    for image in &images {
        let show = json(&format!("volume show docker/thinpool {image}")).1;
        let layer = by_key.keys().find(|key| key.starts_with("sha256:")).expect("a layer");
        assert_eq!(show["volume"]["thin_id"], by_key[layer].0, "{show:#}");
    }
    let show = json("volume show docker/thinpool goes-on").1;
    let device = show["device"].as_str().expect("a device").to_owned();
    assert!(sh("cat /proc/mounts").contains(&device), "{show:#}");
    assert_eq!(show["volume"]["size_bytes"].to_string(), sh(&format!("blockdev --getsize64 {device}")));
    // Made by hand, and in nobody's books.
    assert_eq!((&list[&4000]["owner"], &list[&4000]["name"]), (&Value::Null, &"id:4000".into()));
}
