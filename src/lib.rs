//! dmtool provisions and maintains LVM and device-mapper thin pools.
//!
//! The way of the data: arguments → request → facts → plan → show, confirm → apply → report. Each arrow is a room:
//!
//! - [`cli`]: all verbs, the global flags, the dispatch. No logic.
//! - [`commands`]: one file per verb: its arguments, its request, its call of `drive`, the pipeline.
//! - [`observe`]: facts, what the machine is like now: devices and signatures, LVM's reports, tables and status of
//!   device-mapper, profiles. Parsers are pure and tested on recorded text. What could not be read is absent with its
//!   reason.
//! - [`plan`]: pure functions from a request and facts to a list of steps, or to a refusal with every reason.
//! - [`health`]: facts become findings, by a table of checks, each with the command that mends it. Pure, as plans are.
//! - [`apply`]: the executor, with the one match from a step to the wall.
//! - [`report`]: the only room that prints: text, tables, JSON, questions, progress, errors.
//! - [`sys`]: the wall, the only room with unsafe code, ioctls, foreign functions, processes and writes.
//! - [`units`], [`names`]: sizes and names as types. [`exit`]: how a run ends.
//!
//! Arrows: `commands` may use every room; `observe` and `apply` use `sys`; `plan` and `health` use the types of
//! `observe` and nothing that can fail on the machine; `report` uses data types only; nobody uses `commands` but `cli`. The test
//! `tests/walls.rs` holds them to it.

pub mod apply;
pub mod cli;
pub mod commands;
pub mod exit;
pub mod health;
pub mod names;
pub mod observe;
pub mod plan;
pub mod report;
pub mod sys;
pub mod units;
