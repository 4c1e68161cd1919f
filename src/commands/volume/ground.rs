//! What the verbs share that make, change and remove volumes: their facts, and how they speak of a volume.

use crate::commands::activation;
use crate::names::{LvmName, means};
use crate::observe::metadata::details::Details;
use crate::observe::pools::{self, Below, Kind, Pool};
use crate::observe::{Host, Unseen, consumers, stilled};
use crate::plan::volume::Facts;
use crate::units::Bytes;

pub fn look(host: &mut Host) -> Facts {
    let ground = activation::look(host);
    let told = pools::counted(ground.pools.as_deref().unwrap_or_default());
    Facts { ground, consumers: consumers::consumers(), stilled: stilled::read(), told, ids: None }
}

/// As [`look`], for a volume that is to be made in this pool.
pub fn look_before_one_is_made(host: &mut Host, pool: &str) -> Facts {
    let mut facts = look(host);
    let live = find(&facts, pool).filter(|pool| pool.lvm.is_some()).and_then(|pool| pool.live.as_ref());
    facts.ids = live.map(|live| match live.metadata.as_ref().ok().and_then(Below::suspended) {
        // It would hold whoever reads it.
        Some(still) => Err(Unseen(format!("{still} is suspended"))),
        None => Details::ids_of_a_live_pool(&live.metadata_node()?),
    });
    facts
}

/// The pool with this name.
pub fn find<'a>(facts: &'a Facts, name: &str) -> Option<&'a Pool> {
    facts.ground.pools.iter().flatten().find(|pool| means(name, &pool.name, &pool.dm_names()))
}

/// The device of a volume with this name.
pub fn device(pool: &Pool, name: &str) -> String {
    match LvmName::parse(&pool.name) {
        Ok(of) if pool.kind == Kind::Lvm => format!("/dev/{}/{name}", of.vg),
        _ => format!("/dev/mapper/{}-{name}", pool.name),
    }
}

/// A sentence on a volume that is there: what is true of it, its device, its size.
pub fn sentence(facts: &Facts, (pool, name): (&str, &str), what: &str) -> String {
    let found = find(facts, pool).and_then(|pool| {
        let row = facts.ground.lvm.iter().flat_map(|lvm| &lvm.lvs).find(|row| {
            row.lv_name == name && row.segtype == "thin" && pool.name == format!("{}/{}", row.vg_name, row.pool_lv)
        });
        let kept = pool.recorded().and_then(|record| record.volumes.iter().find(|volume| volume.name == name));
        let size = row.map(|row| Bytes(row.lv_size)).or(kept.map(|volume| volume.size))?;
        Some(format!("{name} {what}: {}, {size}.", device(pool, name)))
    });
    found.unwrap_or_else(|| format!("{name} {what}."))
}
