//! The wall: the only room with unsafe code, ioctls, foreign functions, processes and writes. What comes out
//! of it is plain data; what goes in has been validated by its type or is checked here once more.

#![allow(clippy::disallowed_methods, reason = "this is where the machine is changed")]

pub mod apart;
pub mod blkid;
pub mod block;
pub mod blocks;
pub mod copy;
pub mod dm;
pub mod dmeventd;
pub mod dump;
pub mod exec;
pub mod file;
pub mod lock;
pub mod loopdev;
pub mod lvm2cmd;
pub mod plain;
pub mod signal;
pub mod surroundings;
pub mod trim;
pub mod udev;
