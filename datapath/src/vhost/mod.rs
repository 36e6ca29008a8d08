//! The second export: a function whose PCI side and registers are the VMM's, and whose rings are handed over with the
//! vhost-user protocol. The layouts and numbers of its messages are the `vhost` crate's; reading them is not, because this
//! side never waits for a front end.
//!
//! A message is carried out in turn and becomes orders to the worker, the same as those of a vfio-user function. One that
//! breaks a rule closes the connection, and the front end may come again.

mod agreement;
mod config;
mod device_state;
mod dispatch;
mod function;
mod inflight;
mod kept;
mod life;
mod log;
mod memory;
mod rings;
mod session;
mod wire;

pub use function::Function;
