//! `make demo`: boots a kernel with blank disks and shows dmtool there as an operator would use it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "harness/mod.rs"]
mod harness;

use harness::guest::{Boot, Disks, Ended, Guest};
use std::time::Duration;

fn main() {
    let disks = Disks::with_sizes(&[20 << 30, 20 << 30]);
    let mut guest = Guest::boot(disks, &Boot::Bare);
    let script = format!(
        "PATH={}:$PATH TERM=dumb sh {}/tests/demo.sh",
        std::path::Path::new(env!("CARGO_BIN_EXE_dmtool")).parent().expect("a folder").display(),
        env!("CARGO_MANIFEST_DIR")
    );
    let ended = guest.run(&script, Duration::from_secs(120), |line| {
        // The kernel's own word on disks without WRITE ZEROES, which is harmless.
        if !line.contains("WRITE_ZEROES") {
            println!("{line}");
        }
    });
    let ok = matches!(ended, Ended::Status(0));
    drop(guest);
    std::process::exit(i32::from(!ok));
}
