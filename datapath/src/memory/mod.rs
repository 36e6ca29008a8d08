//! Guest memory: the only room of this crate with much `unsafe`. A `Table` turns guest-physical addresses into `Source`s,
//! `Sink`s and `Area`s, which have checked the range. It never hands out references to what a guest can change.

mod area;
mod barrier;
mod burst;
mod exchange;
mod log;
mod mapping;
mod pages;
mod sigbus;
mod span;
mod table;

pub use area::Area;
pub use barrier::barrier;
pub use burst::{AHEAD, HEADER, Slot, receive_burst, send_burst};
pub use exchange::{ADDRESS, Chunks, DESCRIPTOR, Exchange, Exchanges, kick, refilled};
pub use log::Log;
pub use pages::{Pages, TooMuch};
pub use sigbus::{install as survive_truncation, poisonings};
pub use span::{MOST_PIECES, Sink, Source, gather, scatter};
pub use table::{Protection, Refusal, Region, Table, Translate, Window};

/// Where it is kept what of a guest's memory the device has written.
pub trait Marks: Send + Sync {
    /// Marks the pages of what has been written.
    fn mark(&self, guest: u64, len: u64);
}

#[cfg(test)]
mod tests;
