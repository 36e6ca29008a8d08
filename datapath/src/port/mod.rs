//! Ports that are not guests: taps and uplinks.

mod packet;
mod tap;

pub use packet::{Arrival, Packets, Sent};
pub use tap::{LONGEST, Outcome, TUNSETOFFLOAD, Tap};

#[cfg(test)]
mod tests;
