//! The plan of `dmtool setup --loop`: a pool on two sparse files. No file that was there before is ever used, and the
//! register says which ones are dmtool's.

use super::Plan;
use super::bare::{self, Around, Known};
use super::refusal::{Reasons, Refusal};
use super::sizing::LARGEST_METADATA;
use super::step::Step;
use crate::names::{DmName, quoted};
use crate::observe::device::Above;
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::{DOCKERS_LOW_WATER, FORMAT, Line, OWN_FOLDERS, Place, Record};
use crate::observe::standing::{Room, There};
use crate::observe::thin::PoolTable;
use crate::observe::{Looked, Unseen};
use crate::units::{Bytes, GIB, KIB, MIB};
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Debug, Clone)]
pub struct Request {
    pub name: DmName,
    /// Without a slash at its end.
    pub dir: Option<String>,
    pub data: Option<Bytes>,
    pub metadata: Option<Bytes>,
    pub chunk: Option<Bytes>,
    pub zero: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The pool of that name, up or in the register.
    pub pool: Looked<Option<Pool>>,
    pub known: Option<Known>,
    pub above: Vec<Above>,
    /// Of all device-mapper devices.
    pub names: Looked<BTreeSet<String>>,
    pub data: Looked<There>,
    pub metadata: Looked<There>,
    pub room: Looked<Room>,
    /// The copy of a register is beside the files.
    pub copy: bool,
}

/// The kernel's smallest (thin-provisioning.rst: "less than 2MB … will not be accepted").
const SMALLEST_METADATA: Bytes = Bytes(2 * MIB);
/// Less than this in a file system is not worth a pool.
const SMALLEST_ROOM: Bytes = Bytes(16 * MIB);

impl Facts {
    fn around(&self) -> Around<'_> {
        Around { above: &self.above, names: &self.names }
    }
}

impl Request {
    pub fn dir(&self) -> String {
        self.dir.clone().unwrap_or_else(|| format!("/var/lib/dmtool/{}", self.name))
    }

    /// The pool to make. Docker's sizes (100G and 2G), chunks and table.
    pub fn record(&self) -> Record {
        let chunk = self.chunk.unwrap_or(Bytes(64 * KIB)).whole_sectors();
        let place = |name: &str, size: Bytes| Place::File {
            path: format!("{}/{name}", self.dir()),
            size,
            inode: None,
            filesystem: None,
            grows_to: None,
        };
        let (data, metadata) = (self.data.unwrap_or(Bytes(100 * GIB)), self.metadata.unwrap_or(Bytes(2 * GIB)));
        let table = PoolTable {
            metadata_device: String::new(),
            data_device: String::new(),
            chunk,
            low_water: DOCKERS_LOW_WATER,
            features: if self.zero { Vec::new() } else { vec!["skip_block_zeroing".to_owned()] },
        };
        Record {
            dmtool: FORMAT,
            name: self.name.clone(),
            kind: Kind::Loop,
            table: Line::new(data.whole_sectors(), &table),
            transaction_id: 0,
            metadata: place("metadata", metadata),
            data: place("data", data),
            volumes: Vec::new(),
            next_thin_id: 0,
            remembered: false,
        }
    }
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let name = &request.name;
    let mut reasons = Reasons::default();
    let mut plan = Plan::default();
    let record = match (&facts.pool, &facts.known) {
        (Err(why), _) => {
            reasons.add(format!("Could not look: {why}."));
            None
        }
        (Ok(Some(pool)), None) => {
            reasons.add_with_hint(
                format!("The pool {name} is there already, and in no register."),
                format!("take another name with --pool, or remember this one: dmtool activate {name} --remember"),
            );
            pool.recorded()
        }
        (Ok(_), Some(known)) => {
            known.record.as_ref().map_err(|why| reasons.add(format!("Could not look: {why}."))).ok()
        }
        (Ok(None), None) => None,
    };
    match (record, &facts.known, &facts.pool) {
        (Some(record), Some(known), Ok(Some(pool))) if !record.is_unfinished() => {
            same(request, record, &mut reasons);
            reasons.merge(bare::bring_up(pool, known, facts.around(), &mut plan));
        }
        (Some(record), Some(_), _) => {
            same(request, record, &mut reasons);
            begin(record, true, facts, &mut plan, &mut reasons);
        }
        _ if reasons.is_empty() => begin(&request.record(), false, facts, &mut plan, &mut reasons),
        _ => {}
    }
    reasons.settle(format!("setup of {name} is refused, nothing was changed"))?;
    Ok(plan)
}

/// Sizes count at creation only; what else is asked for must be so.
fn same(request: &Request, record: &Record, reasons: &mut Reasons) {
    let name = &request.name;
    let dir = request.dir();
    if request.dir.is_some() && record.data.path() != format!("{dir}/data") {
        reasons.add(format!("{name} has its data in {}, not in {dir}.", record.data.path()));
    }
    if let Some(chunk) = request.chunk.filter(|chunk| *chunk != record.chunk()) {
        reasons.add(format!("{name} has chunks of {}, not of {chunk}.", record.chunk()));
    }
    // What is asked for again must not be quietly another size while nothing is made yet.
    let sizes = [("data", request.data, &record.data), ("metadata", request.metadata, &record.metadata)];
    for (what, asked, place) in sizes.into_iter().filter(|_| record.is_unfinished()) {
        if let Some(asked) = asked.filter(|asked| *asked != place.size()) {
            let begun = place.size();
            reasons.add(format!("The setup of {name} was begun with {begun} of {what}, not {asked}."));
        }
    }
    if request.zero && record.table.words.has("skip_block_zeroing") {
        reasons.add(format!("{name} does not zero its new chunks."));
    }
}

/// Makes the files, or goes on where a run that was killed left off, and the pool on them.
fn begin(record: &Record, begun: bool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    sizes(record, reasons);
    let dir = Path::new(record.data.path()).parent();
    if let Some(own) = OWN_FOLDERS.iter().find(|own| dir.is_some_and(|dir| dir.starts_with(own))) {
        reasons.add_with_hint(
            format!("{own} is a folder in which dmtool keeps its own files, which come and go."),
            "take another name with --pool, or another folder with --dir",
        );
    }
    match &facts.room {
        Ok(room) => fits(record, room, plan, reasons),
        Err(why) => reasons.add(format!("Could not look: {why}.")),
    }
    facts.around().name_is_free(record.name.as_str()).unwrap_or_else(|why| reasons.add(why));
    if facts.copy && !begun {
        let copy = record.copy().unwrap_or_default();
        reasons.add_with_hint(
            format!("{} is there: a pool of this name was here, and its register is lost.", copy.display()),
            format!("put it back: install -D -m 600 {} {}", quoted(&copy.to_string_lossy()), record.path().display()),
        );
    }
    plan.put(Step::Record { record: Box::new(record.clone()), made: false }, begun);
    for (place, there) in [(&record.metadata, &facts.metadata), (&record.data, &facts.data)] {
        if let Err(why) = file(place, begun, there, plan) {
            reasons.add(why.0);
        }
    }
    plan.todo(Step::Record { record: Box::new(record.clone()), made: true });
    for (place, there) in [(&record.metadata, &facts.metadata), (&record.data, &facts.data)] {
        let attached = matches!(there, Ok(There::File(there)) if there.loop_device.is_some());
        plan.put(Step::Attach { path: place.path().to_owned() }, attached);
    }
    plan.todo(Step::MakePool { record: Box::new(record.clone()), length: record.table.length });
}

fn sizes(record: &Record, reasons: &mut Reasons) {
    let (data, metadata) = (record.data.size(), record.metadata.size());
    if data < record.chunk() {
        reasons.add(format!("{data} of data are less than a chunk ({}).", record.chunk()));
    }
    if metadata < SMALLEST_METADATA {
        reasons.add(format!("{metadata} of metadata are less than a pool needs ({SMALLEST_METADATA})."));
    }
    if metadata > LARGEST_METADATA {
        reasons.add(format!("{metadata} of metadata are more than a pool can use ({LARGEST_METADATA})."));
    }
}

fn fits(record: &Record, room: &Room, plan: &mut Plan, reasons: &mut Reasons) {
    let path = record.data.path();
    if room.read_only {
        reasons.add(format!("The file system of {path} is read-only."));
    }
    if room.free < SMALLEST_ROOM {
        reasons.add(format!("The file system of {path} has {} free, which is too little for a pool.", room.free));
    }
    let all = Bytes(record.data.size().0.saturating_add(record.metadata.size().0));
    if all > room.free {
        plan.warnings.push(format!(
            "the files are sparse: they can grow to {all}, and their file system has {} free. When that is full, \
             writes to the pool fail",
            room.free
        ));
    }
}

/// A file of a run that was killed is known by the register, and by being a hole from end to end.
fn file(place: &Place, begun: bool, there: &Looked<There>, plan: &mut Plan) -> Result<(), Unseen> {
    let (path, size) = (place.path().to_owned(), place.size());
    match there {
        Ok(There::Missing) => plan.todo(Step::MakeFile { path, size }),
        Ok(There::File(there)) if begun && there.allocated.0 == 0 && there.length <= size => {
            plan.put(Step::MakeFile { path: path.clone(), size }, true);
            if there.length < size {
                plan.todo(Step::GrowFile { path, size });
            }
        }
        Ok(_) => return Err(Unseen(format!("{path} is there already, and dmtool did not make it."))),
        Err(why) => return Err(Unseen(format!("Could not look: {why}."))),
    }
    Ok(())
}
