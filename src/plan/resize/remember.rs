//! The register follows a pool that grows: before its files do, and after its table did.

use super::Now;
use crate::observe::register::{Place, Record};
use crate::plan::bare::Known;
use crate::plan::refusal::Reasons;
use crate::units::{Bytes, Sectors};

/// What the register says of this pool.
pub fn register<'a>(known: &'a Known, now: &Now<'_>, reasons: &mut Reasons) -> Option<&'a Record> {
    match (&known.record, &known.standing) {
        (Ok(record), Some(standing)) if standing.carries(now.live) => return Some(record),
        (Ok(_), _) => reasons.add(format!("{} is on other devices than the register says.", known.name)),
        (Err(why), _) => reasons.add(format!("Could not look: {why}.")),
    }
    None
}

/// The sizes that metadata and data are to have underneath, where they grow.
pub type Sizes = (Option<Bytes>, Option<Bytes>);

/// The record before the first file grows.
pub fn announced(record: &Record, (metadata, data): Sizes) -> Record {
    let mut before = record.clone();
    for (place, size) in [(&mut before.metadata, metadata), (&mut before.data, data)] {
        if let (Place::File { grows_to, size: now, .. }, Some(size)) = (place, size) {
            *grows_to = Some(size).filter(|size| size > now);
        }
    }
    before
}

/// The record after the swap.
pub fn grown_record(record: &Record, (metadata, data): Sizes, to: Sectors) -> Record {
    let mut after = record.clone();
    after.table.length = to;
    for (place, grown) in [(&mut after.metadata, metadata), (&mut after.data, data)] {
        let (Place::File { size, .. } | Place::Device { size, .. }) = place;
        *size = grown.map_or(*size, |grown| grown.max(*size));
        if let Place::File { grows_to, .. } = place {
            *grows_to = None;
        }
    }
    after
}

/// The record as the pool is by now, where it missed a change of its table or its sizes. Transactions pass all the
/// time, and are no change.
pub fn caught_up(record: &Record, known: &Known) -> Option<Record> {
    let fresh = known.fresh.as_ref()?.as_ref().ok()?;
    let fresh = Record { volumes: record.volumes.clone(), ..fresh.clone() };
    let passed = Record { transaction_id: fresh.transaction_id, ..record.clone() };
    (fresh != passed).then_some(fresh)
}
