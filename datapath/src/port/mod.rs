//! Ports that are not guests: taps.

mod tap;

pub use tap::{LONGEST, Outcome, TUNSETOFFLOAD, Tap};

#[cfg(test)]
mod tests;
