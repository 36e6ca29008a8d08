//! Which frame goes where, and why not: addresses learned, receivers' filters, flows. Pure: no rings, no descriptors, no
//! clock.

mod filter;
mod flow;
mod frame;
mod learning;
mod loss;

pub use filter::Rules;
pub use flow::Steering;
pub use frame::{Frame, Station};
#[cfg(test)]
pub use learning::AGEING;
pub use learning::Learning;
pub use loss::{Loss, Tally};
