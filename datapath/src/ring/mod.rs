//! Virtqueues, served in batches. Either layout (`split`, `packed`) has the verbs pop, rewind, put, flush, suppress and arm; what
//! a chain means to a network device is in `transmit`, `receive` and `command`, which know nothing of the layout.
//!
//! Nothing here blocks, allocates per frame, or trusts the driver: a broken rule is a `Fault`, and the caller stops the
//! queue.

mod batch;
mod chain;
mod command;
mod descriptor;
mod fault;
mod index;
mod lane;
mod later;
mod layout;
mod moderation;
mod packed;
mod receive;
pub mod record;
mod split;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transmit;

pub use batch::{Batch, Chain, Payload, pour};
pub use command::Control;
pub use fault::{Breach, Fault};
pub use lane::Ahead;
pub use later::Carried;
pub use layout::Ring;
pub use moderation::{Hold, Moderation, Pace};
pub use receive::{Receive, Room};
pub use transmit::Transmit;

/// Chains handled at a time: enough to overlap their cache misses, few enough to stay in the first-level cache, and no more
/// than a word has bits.
pub const BATCH: usize = 64;
