//! Everything that needs a real kernel.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../torture/mod.rs"]
mod matrix;

mod activation;
mod ansible;
mod autoextend;
mod bare;
mod claims;
mod configure;
mod configured;
mod containerd;
mod discards;
mod docker;
mod docker_stopped;
mod faults;
mod features;
mod guests;
mod half_told;
mod halfway;
mod health;
mod hostile;
mod injected;
mod kinds;
mod loop_pool;
mod meanwhile;
mod metadata;
mod monitoring;
mod one_fault;
mod options;
mod orphans;
mod owners;
mod package;
mod passed_over;
mod races;
mod refusals;
mod register;
mod repair;
mod repair_cut;
mod resize;
mod resize_raw;
mod setup;
mod sizes;
mod status;
mod still;
mod strangers;
mod stripes;
mod teardown;
mod torture;
mod trim;
mod unwritten;
mod valgrind;
mod volume_list;
mod volume_meant;
mod volumes;
