//! Checksum and segmentation (of TCP, and of UDP into datagrams) that a driver left undone (virtio 1.3 §5.1.6.2, §5.1.6.4): what its header asks for, who may
//! ask and who can take it, and the work itself for a receiver who cannot.

mod checksum;
mod finish;
mod header;
mod layout;
#[cfg(test)]
mod tests;
mod undone;

pub use finish::finish;
pub use header::{Header, LONGEST_HEADER, Offloads, Report, TUN_CSUM, TUN_USO};
pub use layout::LOOKED_AT;
pub use undone::undone;
