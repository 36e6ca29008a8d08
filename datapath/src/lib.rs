//! The parts of the datapath, as a library: for its program, its measurements and its fuzz targets. Not for other crates.

// What these ask for is meant for the users of a library.
#![allow(clippy::len_without_is_empty, clippy::new_without_default)]

pub mod arguments;
pub mod control;
pub mod counters;
pub mod guard;
pub mod interrupt;
pub mod journal;
pub mod locked;
pub mod memory;
pub mod offload;
pub mod port;
pub mod pump;
pub mod ring;
pub mod sandbox;
pub mod slice;
pub mod switch;
pub mod vhost;
pub mod worker;
