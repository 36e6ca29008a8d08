//! Ports that are not guests: taps.

mod tap;

pub use tap::{LONGEST, Outcome, Tap};

#[cfg(test)]
mod tests;
