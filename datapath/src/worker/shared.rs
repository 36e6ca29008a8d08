//! What belongs to no function: uplinks, and floods under way.

use std::sync::atomic::Ordering::Relaxed;

use super::engine::{Engine, watch};
use super::local::Polled;
use super::orders::FunctionId;
use super::represent::Next;
use super::turn::Turn;
use super::uplink::{self, Uplink};
use crate::counters::FUNCTIONS;

/// The uplink of a port's number; None for a function's.
fn uplink_of(port: FunctionId) -> Option<u8> {
    (port as usize).checked_sub(FUNCTIONS).and_then(|number| number.try_into().ok())
}

impl Engine {
    pub(super) fn add_uplink(&mut self, uplink: Uplink) {
        let number = uplink.number;
        self.remove_uplink(number);
        let home = self.least_loaded();
        self.crew.settle(uplink::port(number), None, home);
        let Some(slot) = self.fabric.uplinks.get_mut(usize::from(number)) else {
            return log::error!("there is no uplink p{number}");
        };
        let uplink = slot.insert(Box::new(uplink));
        for socket in uplink.wire.sockets() {
            if let Err(error) = watch(&self.crew.desks[home].epoll, uplink.port(), socket) {
                log::error!("uplink p{number}: a socket cannot be watched, so nothing comes from it: {error}");
            }
        }
        self.readable(uplink::port(number));
    }

    pub(super) fn remove_uplink(&mut self, number: u8) {
        let Some(uplink) = self.fabric.uplinks.get_mut(usize::from(number)).and_then(Option::take) else { return };
        uplink.wire.sockets().into_iter().for_each(|socket| self.unwatch(uplink.port(), socket));
        self.let_go(uplink.port(), |_| true);
        self.fabric.learning.forget(uplink.port());
        self.closer.close(uplink);
    }
}

impl Turn<'_> {
    fn uplink_readable(&mut self, number: u8) {
        if let Some(uplink) = self.fabric.uplink(number).filter(|uplink| !uplink.polled.swap(true, Relaxed)) {
            self.poll_port(uplink.port());
        }
    }

    /// Frames are in an uplink. False if the port is a function's.
    pub(super) fn readable_outside(&mut self, port: FunctionId) -> bool {
        uplink_of(port).map(|number| self.uplink_readable(number)).is_some()
    }

    /// One burst of an uplink. None if the port is a function's.
    pub(super) fn turn_outside(&mut self, port: FunctionId) -> Option<Polled> {
        uplink_of(port).map(|number| self.turn_uplink(number))
    }

    fn turn_uplink(&mut self, number: u8) -> Polled {
        let Some(uplink) = self.fabric.uplink(number) else { return Polled::NoMore };
        if uplink.floods.any() {
            return Polled::Still;
        }
        let next = self.guarded(|fabric, scratch| uplink.arrive(fabric, scratch));
        let again = next.is_none_or(|next| next == Next::Again);
        uplink.polled.store(again, Relaxed);
        if again { Polled::Still } else { Polled::NoMore }
    }

    /// Uplinks that the kernel has not taken all frames of are told again.
    pub(super) fn tend_uplinks(&mut self) {
        for uplink in self.fabric.uplinks.iter().flatten() {
            if uplink.backlog.load(Relaxed) > 0 && !uplink.polled.load(Relaxed) {
                self.readable(uplink.port());
            }
        }
    }

    /// A slice of each flood that was under way when the items had had their part of the turn.
    pub(super) fn turn_floods(&mut self) {
        self.local.left.1 = self.local.left.1.min(self.local.floods.len());
        while self.local.left.1 > 0 && !self.local.concerned() {
            self.local.left.1 -= 1;
            self.local.came += 1;
            let Some(mut flood) = self.local.floods.pop_front() else { return };
            if !self.guarded(|fabric, scratch| flood.go_on(fabric, scratch)).unwrap_or(true) {
                self.local.floods.push_back(flood);
            }
        }
    }
}
