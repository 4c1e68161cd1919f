//! `make bench`: dmtool beside what people use instead, in one booted kernel, in turns, as ratios of medians; one table at
//! the end, as README has it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss
)]

#[path = "bench/docker.rs"]
mod docker;
#[path = "harness/mod.rs"]
mod harness;
#[path = "bench/metadata.rs"]
mod metadata;
#[path = "bench/resize.rs"]
mod resize;
#[path = "bench/setup.rs"]
mod setup;
#[path = "bench/status.rs"]
mod status;
#[path = "bench/table.rs"]
mod table;
#[path = "bench/volumes.rs"]
mod volumes;

use harness::guest::{Boot, Disks, Ended, Guest};
use std::time::Duration;
use table::{Row, time};

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");
const INSIDE: &str = "DMTOOL_BENCH_INSIDE";

fn main() {
    if std::env::var_os(INSIDE).is_some() {
        std::process::exit(i32::from(!inside()));
    }
    let mut guest = Guest::boot(Disks::blank(), &Boot::Bare);
    let binary = std::env::current_exe().expect("the path of this program");
    // `cargo bench -- status` measures only what has that in its name.
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let command = format!("{INSIDE}=1 {} '{only}'", binary.display());
    let ended = guest.run(&command, Duration::from_secs(3000), |line| {
        if !line.contains("WRITE_ZEROES") {
            println!("{line}");
        }
    });
    let ok = matches!(ended, Ended::Status(0));
    drop(guest);
    std::process::exit(i32::from(!ok));
}

type Measure = (&'static str, fn() -> Vec<Row>);

/// What is measured, by the name that it can be asked for; each leaves the disks as it found them.
const MEASURED: [Measure; 8] = [
    ("setup", setup::setup),
    ("activate", setup::activate),
    ("status, check, volume list", status::all),
    ("resize, stall", resize::stall),
    ("resize, lvm", resize::lvm),
    ("metadata check, volume list --exact", metadata::maps),
    ("volumes", volumes::by_hand),
    ("docker", docker::answers),
];

fn inside() -> bool {
    println!("One booted user-mode kernel, one CPU, disks in memory. A process costs more here than on hardware");
    println!("(see /bin/true), so ratios between commands mostly count processes.\n");
    let nothing = table::median(&mut (0..21).map(|_| time("/bin/true")).collect::<Vec<_>>());
    let only = std::env::args().nth(1).unwrap_or_default();
    let mut rows = Vec::new();
    for (_, measure) in MEASURED.iter().filter(|(name, _)| name.contains(&only)) {
        rows.extend(measure());
    }
    table::print(nothing, &rows)
}
