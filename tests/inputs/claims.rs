//! What a consumer says of its volumes, as dmtool takes and tells it.

use super::{assert_plain, reports};
use dmtool::observe::Unseen;
use dmtool::observe::owners::Claims;
use dmtool::observe::register::LARGEST_ID;
use dmtool::observe::volumes::{Sources, inventory};
use dmtool::report::{clean, json, volumes};
use std::collections::BTreeSet;

pub fn all(found: Claims) {
    let ids: BTreeSet<u64> = found.claims.iter().map(|claim| claim.thin_id).collect();
    assert!(ids.iter().all(|id| *id <= LARGEST_ID));
    // What has a number twice is said so.
    assert!(ids.len() == found.claims.len() || !found.damaged.is_empty(), "{found:#?}");
    let pool = reports::bare("pool");
    let claims = [Ok(found)];
    let known = Err(Unseen("nobody looked".to_owned()));
    let active = Ok(Vec::new());
    let told = inventory(Sources { pool: &pool, active, known, lvm: None, claims: &claims });
    assert_eq!(told.volumes.len(), ids.len());
    let list = volumes::list(&told.volumes, false);
    assert_plain(&list);
    let words = |line: &str| line.split_whitespace().count();
    assert!(ids.is_empty() || list.lines().all(|line| words(line) == 6), "{list:?}");
    for volume in &told.volumes {
        assert_plain(&clean(&volumes::page("pool", volume, None)));
        assert!(volume.is_meant(&volume.name) && volume.is_meant(&format!("id:{}", volume.thin_id.expect("one"))));
    }
    reports::as_json(&json::volumes(&pool, &told));
}
