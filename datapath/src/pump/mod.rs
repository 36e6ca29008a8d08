//! The pump: one thread that serves every VMM's socket and the controller's. It decides nothing about registers, and it
//! never waits for anyone but the worker, and for that one only where memory or queues are taken away.

mod access;
mod connection;
pub mod descriptors;
mod dispatch;
mod dma;
pub mod effects;
pub mod export;
mod function;
mod info;
mod irqs;
mod logging;
mod migration;
mod orders;
mod outside;
pub mod poll;
pub mod requests;
pub mod stream;
mod uplinks;
mod version;
mod wire;
pub mod world;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use export::Export;
use poll::{Flags, Token};
use uplinks::Uplinks;
use world::World;

use crate::control::Control;
use crate::counters::Counters;
use crate::worker::orders::Notice;
use crate::worker::{Notices, WorkerHandle};

/// With neither controller nor VMM for this long, nobody needs the process any more.
const IDLE: Duration = Duration::from_secs(30);

/// How long listeners are left alone when the process has no descriptor left.
const REST: Duration = Duration::from_secs(1);

pub struct Pump {
    world: World,
    functions: BTreeMap<u32, Box<dyn Export>>,
    /// Each function's tap once more, for the next controller: who holds one can give it to another datapath.
    representors: BTreeMap<u32, OwnedFd>,
    counters: Counters,
    uplinks: Uplinks,
    /// Since when there is neither controller nor VMM.
    idle_since: Option<Instant>,
    ended: bool,
}

impl Pump {
    pub fn new(worker: WorkerHandle, notices: Notices, control: Control, counters: Counters) -> io::Result<Self> {
        let world = World::new(worker, notices, control)?;
        Ok(Self {
            world,
            functions: BTreeMap::new(),
            representors: BTreeMap::new(),
            counters,
            uplinks: Uplinks::default(),
            idle_since: None,
            ended: false,
        })
    }

    /// Serves until the controller ends it or nobody is left.
    pub fn run(mut self) -> io::Result<()> {
        while !self.ended {
            let Some(timeout) = self.patience() else {
                log::info!("nobody has been connected for {} s: good-bye", IDLE.as_secs());
                return Ok(());
            };
            let events = self.world.poller.wait(timeout)?;
            self.world.leisure = events.len() == 1;
            for (token, flags) in events {
                self.dispatch(token, flags);
            }
            self.hear_worker();
            self.world.watch_controller();
            self.wake_listeners();
            self.give_up_waiting();
        }
        Ok(())
    }

    /// How long to wait for events (None: for ever); None at all: nobody will come any more.
    fn patience(&mut self) -> Option<Option<Duration>> {
        let rest = (!self.world.resting.is_empty()).then_some(REST).into_iter().chain(self.world.next_deadline()).min();
        if self.world.control.controller().is_some() || self.functions.values().any(|function| function.has_peer()) {
            self.idle_since = None;
            return Some(rest);
        }
        let left = IDLE.checked_sub(self.idle_since.get_or_insert_with(Instant::now).elapsed())?;
        Some(Some(rest.map_or(left, |rest| rest.min(left))))
    }

    fn dispatch(&mut self, token: Token, flags: Flags) {
        match token {
            Token::Vmm(id, _) | Token::Listener(id) | Token::Resample(id, _) | Token::Stranger(id, _) => {
                self.guarded(id, |function, world| function.happened(token, flags, world))
            }
            Token::Notices => self.world.collect_notices(),
            Token::Controller => self.hear_controller(),
            Token::Control => self.change_controller(),
        }
    }

    fn hear_worker(&mut self) {
        while let Some(notice) = self.world.next_notice() {
            let (Notice::Command { function: id, .. } | Notice::Fault { function: id, .. }) = &notice;
            self.guarded(*id, |function, world| function.notice(notice, world));
        }
    }

    /// Does something with a function. A panic costs its VMM the connection, and nobody else anything.
    fn guarded(&mut self, id: u32, action: impl FnOnce(&mut dyn Export, &mut World)) {
        let Some(function) = self.functions.get_mut(&id) else { return };
        let world = &mut self.world;
        if catch_unwind(AssertUnwindSafe(|| action(function.as_mut(), world))).is_err() {
            log::error!("function {id}: its peer is disconnected because of the mistake in this program named above");
            function.recover(world);
        }
    }

    /// Accesses that the controller has not answered in time fail, before the VMM would take the silence for the end.
    fn give_up_waiting(&mut self) {
        while let Some(&(deadline, id, request)) = self.world.deadlines.front() {
            let open = self.functions.get(&id).is_some_and(|function| function.waits(request));
            if open && deadline > Instant::now() {
                return;
            }
            self.world.deadlines.pop_front();
            if open {
                self.guarded(id, |function, world| function.give_up(request, world));
            }
        }
    }

    fn wake_listeners(&mut self) {
        let resting = std::mem::take(&mut self.world.resting);
        let (rested, resting): (Vec<_>, _) = resting.into_iter().partition(|(_, since)| since.elapsed() >= REST);
        self.world.resting = resting;
        for function in rested.iter().filter_map(|(id, _)| self.functions.get(id)) {
            function.wake(&self.world);
        }
    }
}

#[cfg(test)]
mod tests;
