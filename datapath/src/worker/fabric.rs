//! All functions, and what the switch between them has learned.

use std::collections::VecDeque;

use super::flood::Flood;
use super::forward::Way;
use super::function::Function;
use super::orders::FunctionId;
use super::timers::Clock;
use super::uplink::Uplink;
use crate::counters::{FUNCTIONS, UPLINKS};
use crate::memory::Source;
use crate::port::LONGEST;
use crate::ring::{BATCH, Batch, Fault, Room};
use crate::switch::Learning;

pub struct Fabric {
    /// By number. One whose frames are being sent is taken out for that time.
    pub functions: Vec<Option<Box<Function>>>,
    /// Those that take part in the switch and have a driver.
    pub members: Vec<FunctionId>,
    pub learning: Learning,
    /// By number. One whose frames are being switched is taken out for that time.
    pub uplinks: [Option<Box<Uplink>>; UPLINKS],
    /// Those under way.
    pub floods: VecDeque<Flood>,
    /// Whether frames to addresses not known go to every guest that may want them.
    pub flooding: bool,
    /// Seconds since the start.
    pub now: u32,
}

/// Memory that batches use one after the other, so that none is allocated; and the faults that receivers showed meanwhile.
pub struct Scratch {
    pub sources: Batch<Source<'static>>,
    pub room: Room<'static>,
    /// Ways of a batch's frames, and which take it.
    pub ways: Vec<(Way, u64)>,
    pub frame: Vec<u8>,
    /// A frame that has to be finished for its receiver.
    pub unfinished: Vec<u8>,
    pub faults: Vec<(FunctionId, Fault)>,
    pub clock: Clock,
}

impl Fabric {
    pub fn new() -> Fabric {
        Fabric {
            functions: (0..FUNCTIONS).map(|_| None).collect(),
            members: Vec::new(),
            learning: Learning::new(FUNCTIONS, UPLINKS),
            uplinks: Default::default(),
            floods: VecDeque::new(),
            flooding: true,
            now: 0,
        }
    }

    pub fn get(&mut self, id: FunctionId) -> Option<&mut Function> {
        self.functions.get_mut(id as usize)?.as_deref_mut()
    }

    pub fn uplink(&mut self, number: u8) -> Option<&mut Uplink> {
        self.uplinks.get_mut(usize::from(number))?.as_deref_mut()
    }

    /// A function came, went, or changed: is it a member still? What was learned of one that is not is forgotten.
    pub fn review(&mut self, id: FunctionId) {
        let member = self.get(id).is_some_and(|function| function.fabric && function.ready());
        match self.members.binary_search(&id) {
            Err(place) if member => self.members.insert(place, id),
            Ok(place) if !member => _ = self.members.remove(place),
            _ => {}
        }
        if !member {
            self.learning.forget(id);
        }
    }
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch {
            sources: Batch::default(),
            room: Room::default(),
            ways: Vec::with_capacity(BATCH),
            frame: vec![0; LONGEST],
            unfinished: vec![0; LONGEST],
            faults: Vec::new(),
            clock: Clock::default(),
        }
    }
}
