//! The engine's turns for what belongs to no function: uplinks, and floods under way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::engine::{Engine, Item, watch};
use super::fabric::Scratch;
use super::orders::FunctionId;
use super::represent::Next;
use super::uplink::Uplink;
use crate::counters::FUNCTIONS;

/// The uplink of a port's number; None for a function's.
fn uplink_of(port: FunctionId) -> Option<u8> {
    (port as usize).checked_sub(FUNCTIONS).and_then(|number| number.try_into().ok())
}

impl Engine {
    pub(super) fn add_uplink(&mut self, uplink: Uplink) {
        let number = uplink.number;
        self.remove_uplink(number);
        let Some(slot) = self.fabric.uplinks.get_mut(usize::from(number)) else {
            return log::error!("there is no uplink p{number}");
        };
        let uplink = slot.insert(Box::new(uplink));
        for socket in uplink.wire.sockets() {
            if let Err(error) = watch(&self.epoll, uplink.port(), socket) {
                log::error!("uplink p{number}: a socket cannot be watched, so nothing comes from it: {error}");
            }
        }
        self.uplink_readable(number);
    }

    pub(super) fn remove_uplink(&mut self, number: u8) {
        let Some(uplink) = self.fabric.uplinks.get_mut(usize::from(number)).and_then(Option::take) else { return };
        uplink.wire.sockets().into_iter().for_each(|socket| self.unwatch(socket));
        self.let_go(uplink.port(), |_| true);
        self.fabric.learning.forget(uplink.port());
        self.closer.close(uplink);
    }

    fn uplink_readable(&mut self, number: u8) {
        if let Some(uplink) = self.fabric.uplink(number).filter(|uplink| !uplink.polled) {
            uplink.polled = true;
            let port = uplink.port();
            self.poll_port(port);
        }
    }

    /// Frames are in an uplink. False if the port is a function's.
    pub(super) fn readable_outside(&mut self, port: FunctionId) -> bool {
        uplink_of(port).map(|number| self.uplink_readable(number)).is_some()
    }

    /// One burst of an uplink. None if the item is a function's.
    pub(super) fn turn_outside(&mut self, item: Item) -> Option<Option<Item>> {
        uplink_of(item.function).map(|number| self.turn_uplink(item, number))
    }

    fn turn_uplink(&mut self, item: Item, number: u8) -> Option<Item> {
        let slot = self.fabric.uplinks.get_mut(usize::from(number))?;
        if slot.as_ref().is_some_and(|uplink| uplink.flooding) {
            return Some(item);
        }
        let mut uplink = slot.take()?;
        let next = self.guarded(|fabric, scratch| uplink.arrive(fabric, scratch));
        let again = next.is_none_or(|next| next == Next::Again);
        uplink.polled = again;
        self.fabric.uplinks[usize::from(number)] = Some(uplink);
        again.then_some(item)
    }

    /// Uplinks that the kernel has not taken all frames of are told again.
    pub(super) fn tend_uplinks(&mut self) {
        for number in 0..self.fabric.uplinks.len() as u8 {
            if self.fabric.uplink(number).is_some_and(|uplink| uplink.backlog > 0) {
                self.uplink_readable(number);
            }
        }
    }

    /// A slice of each flood that was under way when the turn began.
    pub(super) fn turn_floods(&mut self) {
        for _ in 0..self.fabric.floods.len() {
            let Some(mut flood) = self.fabric.floods.pop_front() else { return };
            let done = self.guarded(|fabric, scratch| flood.go_on(fabric, scratch)).unwrap_or(true);
            if done {
                self.release(flood.from());
            } else {
                self.fabric.floods.push_back(flood);
            }
        }
    }

    fn release(&mut self, port: FunctionId) {
        match uplink_of(port) {
            Some(number) => self.fabric.uplink(number).into_iter().for_each(|uplink| uplink.flooding = false),
            None => self.fabric.get(port).into_iter().for_each(|function| function.flooding = false),
        }
    }

    /// Does something with all functions. A panic costs the frames that it was about, and nobody a queue.
    fn guarded<R>(&mut self, work: impl FnOnce(&mut super::fabric::Fabric, &mut Scratch) -> R) -> Option<R> {
        let (fabric, scratch) = (&mut self.fabric, &mut self.scratch);
        let outcome = catch_unwind(AssertUnwindSafe(|| work(fabric, scratch)));
        for (receiver, fault) in std::mem::take(&mut self.scratch.faults) {
            self.fault(receiver, fault);
        }
        if outcome.is_err() {
            self.scratch = Scratch::new();
        }
        outcome.ok()
    }
}
