//! Everything that needs a real kernel.

mod guests;
#[path = "../harness/mod.rs"]
mod harness;
