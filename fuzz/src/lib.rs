//! Fuzz targets: each takes any bytes, makes a program of them, and asserts what must hold whatever the program did.
//! libFuzzer runs them from `fuzz_targets/`, the stable harness (`src/bin/mutate.rs`) from the table below.

mod driver;
mod header;
mod input;
mod memory;
mod process;
mod rig;
mod rings;
mod vfio;
mod vhost;

pub use header::header;
pub use vfio::vfio;
pub use vhost::vhost;

pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: &[(&str, Target)] =
    &[("split", split), ("packed", packed), ("vhost", vhost), ("vfio", vfio), ("header", header)];

/// Two guests on one worker with split rings.
pub fn split(data: &[u8]) {
    rings::rings(data, driver::Layout::Split);
}

/// The same with packed rings.
pub fn packed(data: &[u8]) {
    rings::rings(data, driver::Layout::Packed);
}
