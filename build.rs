//! Takes the unwinder into the program instead of loading libgcc_s at each start: `status` is run every minute and
//! spends most of its time on being loaded. Where the compiler has no static unwinder, nothing is changed.

#![allow(clippy::disallowed_methods, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    pack_relocations();
    take_in("gcc_eh", &["_Unwind_Resume", "_Unwind_FindEnclosingFunction"]);
}

/// Links a library into the program, where the compiler has it as an archive.
fn take_in(library: &str, symbols: &[&str]) {
    let asked = Command::new("cc").arg(format!("-print-file-name=lib{library}.a")).output();
    let found = asked.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let path = Path::new(found.trim());
    let gnu = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    if let (true, true, Some(folder)) = (gnu, path.is_absolute(), path.parent()) {
        println!("cargo:rustc-link-search=native={}", folder.display());
        println!("cargo:rustc-link-lib=static:-bundle={library}");
        // Asked for at once, since the archive is read before the standard library asks.
        for symbol in symbols {
            println!("cargo:rustc-link-arg-bins=-Wl,-u,{symbol}");
        }
    }
}

/// Relocations in their packed form (DT_RELR), where the C library of this machine can read it: the plain ones are
/// seventeen pages that each start reads in.
fn pack_relocations() {
    let version = Command::new("ldd").arg("--version").output();
    let text = version.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let number = text.lines().next().and_then(|line| line.rsplit(' ').next()).and_then(|word| word.split_once('.'));
    // "Support for the DT_RELR relative relocation format" (news of glibc 2.36).
    let reads = number
        .is_some_and(|(major, minor)| (major.parse().unwrap_or(0_u32), minor.parse().unwrap_or(0_u32)) >= (2, 36));
    if reads {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
