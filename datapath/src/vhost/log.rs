//! Dirty logging: what the front end wants logged, and where.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use vhost::vhost_user::message::VhostUserLog;

use super::rings::Ring;
use super::session::{Done, Port, Session, Verdict, feature};
use super::wire::whole;
use crate::memory::Log;
use crate::pump::descriptors::prepare_eventfd;
use crate::pump::world::World;
use crate::worker::dirty::Dirty;
use crate::worker::orders::Order;

/// What the device writes of a split ring: flags, index, entries, event; of a packed one: its descriptors, and its event.
const USED_HEAD: u64 = 4;
const USED_ENTRY: u64 = 8;
const USED_EVENT: u64 = 2;
const DESCRIPTOR: u64 = 16;
const EVENT: u64 = 4;

impl Session {
    /// The answer tells that the worker logs there from now on.
    pub fn set_log_base(&mut self, port: &Port, body: &[u8], fds: &[OwnedFd], world: &World) -> Verdict {
        let VhostUserLog { mmap_size, mmap_offset } = whole(body)?;
        let [fd] = fds else { return Err("it lacks its descriptor".into()) };
        let log = Log::map(fd.as_fd(), mmap_offset, mmap_size).map_err(|error| format!("it cannot serve: {error}"))?;
        self.log = Some(Arc::new(log));
        self.share_log(port, world);
        Ok(Done::With(body.to_vec()))
    }

    pub fn set_log_fd(&mut self, port: &Port, mut fds: Vec<OwnedFd>, world: &World) -> Verdict {
        let fd = fds.pop().ok_or("it lacks its descriptor")?;
        prepare_eventfd(&fd).map_err(|_| "its descriptor is not an eventfd")?;
        self.log_event = Some(Arc::new(fd));
        self.share_log(port, world);
        Ok(Done::Quietly)
    }

    /// When this returns, the worker logs as the features and addresses of this moment ask for.
    pub fn share_log(&mut self, port: &Port, world: &World) {
        let log = self.log.clone().filter(|_| self.has(feature::LOG_ALL));
        if log.is_none() && !self.logging {
            return;
        }
        self.logging = log.is_some();
        let packed = self.has(feature::RING_PACKED);
        let rings = || self.rings.iter().map(|ring| written(ring, packed)).collect();
        let dirty = log.map(|log| Arc::new(Dirty { log, event: self.log_event.clone(), rings: rings() }));
        let (done, settled) = sync_channel(1);
        world.worker.send(Order::SetDirty { function: port.id, dirty, done });
        let _ = settled.recv();
    }
}

/// The guest addresses and lengths of what the device writes of a ring.
fn written(ring: &Ring, packed: bool) -> Vec<(u64, u64)> {
    let (Some([descriptors, ..]), Some(log)) = (ring.running, ring.log) else { return Vec::new() };
    let size = u64::from(ring.size);
    if packed {
        vec![(descriptors, DESCRIPTOR * size), (log, EVENT)]
    } else {
        vec![(log, USED_HEAD + USED_ENTRY * size + USED_EVENT)]
    }
}
