//! All functions, and what the switch between them has learned: what workers share. In their turns they have it by a plain
//! reference; what is here without a lock or an atomic changes only while no worker is in a turn.

use std::sync::atomic::AtomicU64;

use super::function::Function;
use super::notices::Outbox;
use super::orders::FunctionId;
use super::uplink::Uplink;
use crate::counters::{FUNCTIONS, UPLINKS};
use crate::switch::Learning;

pub struct Fabric {
    /// By number.
    pub functions: Vec<Option<Box<Function>>>,
    /// Those that take part in the switch and have a driver, even one that is left alone for a while.
    pub members: Vec<FunctionId>,
    pub learning: Learning,
    /// By number.
    pub uplinks: [Option<Box<Uplink>>; UPLINKS],
    /// Whether frames to addresses not known go to every guest that may want them.
    pub flooding: bool,
    pub outbox: Outbox,
    /// The last command's number.
    pub tickets: AtomicU64,
}

impl Fabric {
    pub fn new(outbox: Outbox) -> Fabric {
        Fabric {
            functions: (0..FUNCTIONS).map(|_| None).collect(),
            members: Vec::new(),
            learning: Learning::new(FUNCTIONS, UPLINKS),
            uplinks: Default::default(),
            flooding: true,
            outbox,
            tickets: AtomicU64::new(0),
        }
    }

    #[inline]
    pub fn function(&self, id: FunctionId) -> Option<&Function> {
        self.functions.get(id as usize)?.as_deref()
    }

    pub fn uplink(&self, number: u8) -> Option<&Uplink> {
        self.uplinks.get(usize::from(number))?.as_deref()
    }

    pub fn get(&mut self, id: FunctionId) -> Option<&mut Function> {
        self.functions.get_mut(id as usize)?.as_deref_mut()
    }

    pub fn uplink_mut(&mut self, number: u8) -> Option<&mut Uplink> {
        self.uplinks.get_mut(usize::from(number))?.as_deref_mut()
    }

    /// A function came, went, or changed: is it a member still? What was learned of one that is not is forgotten.
    pub fn review(&mut self, id: FunctionId) {
        let member =
            self.function(id).is_some_and(|function| function.fabric && (function.ready() || function.parked()));
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

const _: () = {
    const fn shared<T: Sync + Send>() {}
    shared::<Fabric>();
};
