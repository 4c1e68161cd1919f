//! Takes the unwinder into the program instead of loading libgcc_s at each start: `status` is run every minute and
//! spends most of its time on being loaded. Where the compiler has no static unwinder, nothing is changed.

#![allow(clippy::disallowed_methods, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let asked = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output();
    let found = asked.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let library = Path::new(found.trim());
    let gnu = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    if let (true, true, Some(folder)) = (gnu, library.is_absolute(), library.parent()) {
        println!("cargo:rustc-link-search=native={}", folder.display());
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
        // Asked for at once, since the archive is read before the standard library asks.
        for symbol in ["_Unwind_Resume", "_Unwind_FindEnclosingFunction"] {
            println!("cargo:rustc-link-arg-bins=-Wl,-u,{symbol}");
        }
    }
}
