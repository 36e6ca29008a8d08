//! Ports that are not guests: taps and uplinks.

mod packet;
mod tap;
mod wire;
mod xdp;

pub use packet::Packets;
pub use tap::{LONGEST, Outcome, TUNSETOFFLOAD, Tap};
pub use wire::{Arrival, Reader, Sent, Wire};
pub use xdp::{Layout, Xdp};

#[cfg(test)]
mod tests;
