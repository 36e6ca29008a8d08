//! Which frame goes where, and why not: addresses learned, receivers' filters, flows. Pure: no rings, no descriptors, no
//! clock.

mod behind;
mod filter;
mod flow;
mod frame;
mod frames;
mod learning;
mod loss;
mod steering;
mod toeplitz;

pub use behind::Behind;
pub use filter::Rules;
pub use frame::{Frame, Station};
pub use frames::{Frames, bits};
#[cfg(test)]
pub use learning::AGEING;
pub use learning::Learning;
pub use loss::{Handful, Left, Loss, Tally};
pub use steering::Steering;
