//! Lines of device-mapper: the table and the status of a pool, and those of a volume.

use super::{assert_plain, reports, text};
use dmtool::health::{Thresholds, findings};
use dmtool::names::quoted;
use dmtool::observe::discards::{Chain, Floor, Queue};
use dmtool::observe::left::Pending;
use dmtool::observe::lvm::Lvm;
use dmtool::observe::register::Line;
use dmtool::observe::survey::Survey;
use dmtool::observe::thin::{Discard, PoolTable, parse_pool_status, parse_pool_table};
use dmtool::observe::volumes::parse_volume;
use dmtool::units::{Bytes, Sectors};

/// A name that nothing else here has.
const PLAIN: &str = "PLAIN";

/// Lines: the table of a pool, its status, the table and the status of a volume, a table that waits.
pub fn tables(data: &[u8]) {
    let text = text(data);
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (on_table, on_status, volume, of_volume, pending) = (next(), next(), next(), next(), next());
    for line in text.lines() {
        table(line);
        status(line);
    }
    if let Ok(volume) = parse_volume("v", Sectors(8), volume, of_volume) {
        assert!(volume.highest.is_none() || volume.mapped.is_some());
    }
    if let Ok(table) = parse_pool_table(on_table) {
        way_of_discards(&table, volume);
    }
    let pending = parse_pool_table(pending).map(|table| Pending { length: Sectors(65_536), table });
    let survey = |name: &str| {
        let mut pool = reports::bare(name);
        pool.live = Some(reports::live(name, on_table, on_status));
        let mut survey = reports::survey(vec![pool], Lvm::default(), Some(&pending));
        reports::on_files(&mut survey, name, of_volume.len() % 2 == 1);
        survey
    };
    reports::all(&survey(volume));
    if !text.contains(PLAIN) {
        hints_are_quoted(volume, &survey);
    }
}

/// A hint is a command for a shell: with any name it is the one for a plain name, with that name quoted in its place. Names
/// that mean something to dmtool are told of otherwise.
fn hints_are_quoted(name: &str, survey: &dyn Fn(&str) -> Survey) {
    if name.is_empty() || name.contains(['/', '-']) {
        return;
    }
    let hints = |name: &str| -> Vec<Option<String>> {
        findings(&survey(name), Thresholds::default()).into_iter().map(|finding| finding.hint).collect()
    };
    let wanted = hints(PLAIN).into_iter().map(|hint| Some(hint?.replace(PLAIN, &quoted(name))));
    assert_eq!(hints(name), wanted.collect::<Vec<_>>());
}

/// A data device that takes discards in units of the table's chunk size, as many at once as its low-water mark says.
fn way_of_discards(table: &PoolTable, name: &str) {
    let queue = Queue { granularity: Bytes(table.chunk.0), max: Bytes(table.low_water.0) };
    let chain = Chain {
        volumes: Vec::new(),
        device: name.to_owned(),
        queue,
        chunk: table.chunk_bytes(),
        asked: table.discard(),
        does: Some(Discard::NoPassdown),
        below: vec![Floor::Device { name: name.to_owned(), queue }, Floor::File { path: name.to_owned(), on: None }],
    };
    assert_eq!(chain.kernels_reason().is_some(), table.discard() == Discard::Passdown);
    assert_eq!(chain.layers().len(), 3);
}

fn table(line: &str) {
    if let Ok(line) = Line::try_from(line.to_owned()) {
        assert_eq!(Line::try_from(String::from(line.clone())), Ok(line));
    }
    let table = match parse_pool_table(line) {
        Ok(table) => table,
        Err(why) => return assert_plain(&why.0),
    };
    assert_eq!(parse_pool_table(&table.params()).as_ref(), Ok(&table));
    for discard in [Discard::Passdown, Discard::NoPassdown, Discard::Ignore] {
        let asked = table.with_discard(discard);
        assert_eq!((asked.discard(), &asked.with_discard(discard)), (discard, &asked));
        assert_eq!(parse_pool_table(&asked.params()).as_ref(), Ok(&asked));
        assert_eq!(asked.with_discard(Discard::Passdown), table.with_discard(Discard::Passdown));
    }
    let command = table.swap_command("p", Sectors(1));
    assert!(command.contains(&format!("'0 1 thin-pool {}'", table.params())));
}

fn status(line: &str) {
    match parse_pool_status(line) {
        Ok(status) => {
            let text = serde_json::to_string(&status).expect("JSON");
            assert_eq!(serde_json::from_str(&text).ok(), Some(status));
        }
        Err(why) => assert_plain(&why.0),
    }
}
