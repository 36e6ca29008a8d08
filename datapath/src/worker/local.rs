//! What is one worker's own: what it polls, its timers, the floods it has under way, and memory to work with.

use std::collections::VecDeque;
use std::time::Duration;

use super::flood::Flood;
use super::forward::Way;
use super::orders::FunctionId;
use super::timers::{Clock, Timers};
use crate::memory::Source;
use crate::port::LONGEST;
use crate::ring::{Ahead, BATCH, Batch, Fault, Room};

/// Something that frames come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thing {
    /// Or an uplink's number after those.
    pub function: FunctionId,
    /// A transmit queue; None is the tap.
    pub queue: Option<u16>,
}

/// Something that is polled until it has no more to do.
#[derive(Clone, Copy)]
pub struct Item {
    pub thing: Thing,
    /// When it last had work.
    pub busy: Duration,
}

/// What becomes of an item after its part of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// It had work.
    Busy,
    Still,
    NoMore,
}

pub struct Local {
    pub items: VecDeque<Item>,
    /// Floods under way.
    pub floods: VecDeque<Flood>,
    pub timers: Timers,
    pub scratch: Scratch,
    /// How long a queue is polled after its last frame.
    pub patience: Duration,
    pub now: Duration,
    /// Chains that guests sent in the last turn, and frames that came otherwise.
    pub sent: usize,
    pub came: usize,
    /// The time that things took in turns that were measured, and whether this one is.
    pub costs: Vec<(Thing, Duration)>,
    pub measured: bool,
    /// Items, and floods, that have not had their part of the turn; and the place of the next item.
    pub left: (usize, usize),
    pub at: usize,
    /// Functions that a mistake of ours was met with.
    pub panicked: Vec<FunctionId>,
}

/// Memory that batches use one after the other, so that none is allocated; and what is to be seen to after a batch.
pub struct Scratch {
    pub sources: Batch<Source<'static>>,
    pub room: Room<'static>,
    pub ahead: Ahead,
    /// Ways of a batch's frames, and which take it.
    pub ways: Vec<(Way, u64)>,
    pub frame: Vec<u8>,
    /// A frame that has to be finished for its receiver.
    pub unfinished: Vec<u8>,
    pub faults: Vec<(FunctionId, Fault)>,
    /// Frames that came from taps and uplinks.
    pub came: usize,
    /// Floods that were begun.
    pub floods: Vec<Flood>,
    pub clock: Clock,
}

impl Local {
    pub fn new() -> Local {
        Local {
            items: VecDeque::new(),
            floods: VecDeque::new(),
            timers: Timers::default(),
            scratch: Scratch::new(Clock::default()),
            patience: Duration::ZERO,
            now: Duration::ZERO,
            sent: 0,
            came: 0,
            costs: Vec::new(),
            measured: false,
            left: (0, 0),
            at: 0,
            panicked: Vec::new(),
        }
    }

    /// Whether nothing is being polled.
    pub fn idle(&self) -> bool {
        self.items.is_empty() && self.floods.is_empty()
    }

    /// Whether something waits that is done while no worker is in a turn.
    pub fn concerned(&self) -> bool {
        !self.scratch.faults.is_empty() || !self.panicked.is_empty()
    }

    /// An item has had its part of the turn.
    #[inline]
    pub fn moved_on(&mut self, next: Polled) {
        if next == Polled::NoMore {
            self.items.remove(self.at);
            return;
        }
        if let Some(item) = self.items.get_mut(self.at).filter(|_| next == Polled::Busy) {
            item.busy = self.now;
        }
        self.at += 1;
    }

    /// Ends the polling of what `which` picks.
    pub fn let_go(&mut self, function: FunctionId, which: impl Fn(Option<u16>) -> bool) {
        self.items.retain(|item| item.thing.function != function || !which(item.thing.queue));
    }

    /// A thing took this time.
    pub fn cost(&mut self, thing: Thing, time: Duration) {
        match self.costs.iter_mut().find(|(other, _)| *other == thing) {
            Some((_, cost)) => *cost += time,
            None => self.costs.push((thing, time)),
        }
    }

    /// Takes what was noted in a batch. After a panic the memory is made anew: what it held may be half done.
    #[inline]
    pub fn collect(&mut self, panicked: bool) {
        self.timers.take(&mut self.scratch.clock);
        self.came += std::mem::take(&mut self.scratch.came);
        if !self.scratch.floods.is_empty() {
            self.floods.extend(self.scratch.floods.drain(..));
        }
        if panicked {
            let faults = std::mem::take(&mut self.scratch.faults);
            self.scratch = Scratch { faults, ..Scratch::new(std::mem::take(&mut self.scratch.clock)) };
        }
    }
}

impl Scratch {
    pub fn new(clock: Clock) -> Scratch {
        Scratch {
            sources: Batch::default(),
            room: Room::default(),
            ahead: Ahead::default(),
            ways: Vec::with_capacity(BATCH),
            frame: vec![0; LONGEST],
            unfinished: vec![0; LONGEST],
            faults: Vec::new(),
            came: 0,
            floods: Vec::new(),
            clock,
        }
    }
}
