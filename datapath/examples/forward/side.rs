//! A light driver's side of a queue of either layout.

use softdpu_datapath::ring::testing::{Driver, Guest, NO_INTERRUPT, PackedDriver, WRITE};
use softdpu_datapath::worker::orders::{QueueSetup, Role};

use super::{Case, RING};

const DISABLE: u16 = 1;

pub struct Side {
    ring: Ring,
    receives: bool,
    len: u32,
}

enum Ring {
    Split(Driver),
    Packed(PackedDriver),
}

impl Side {
    pub fn new(case: Case, guest: &Guest, queue: u16, role: Role) -> Side {
        let ring = if case.packed {
            let mut driver = guest.packed(queue, role, RING.into());
            driver.setup.in_order = case.in_order;
            driver.set_events((0, false), DISABLE);
            Ring::Packed(driver)
        } else {
            let mut driver = guest.queue(queue, role, RING.into());
            driver.setup.in_order = case.in_order;
            driver.set_flags(NO_INTERRUPT);
            Ring::Split(driver)
        };
        Side { ring, receives: role == Role::Receive, len: 0 }
    }

    pub fn setup(&self) -> &QueueSetup {
        match &self.ring {
            Ring::Split(driver) => &driver.setup,
            Ring::Packed(driver) => &driver.setup,
        }
    }

    pub fn describe(&mut self, index: u16, iova: u64, len: u32) {
        self.len = len;
        match &self.ring {
            Ring::Split(driver) => driver.describe(index, iova, len, if self.receives { WRITE } else { 0 }, 0),
            Ring::Packed(driver) => driver.describe(index, (iova, len, index, 0)),
        }
    }

    /// Makes the next `n` buffers available, again or for the first time.
    pub fn give(&mut self, n: u16) {
        match &mut self.ring {
            Ring::Split(driver) => driver.again(n),
            Ring::Packed(driver) => driver.again(n, self.len, self.receives),
        }
    }
}
