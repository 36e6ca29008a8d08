//! The rings: how the front end sets them up, and when the worker runs them.
//!
//! A ring is started by its kick descriptor (or the word that there is none) once size, addresses and memory are known, and
//! stopped by GET_VRING_BASE. Apart from that it is enabled or disabled; a started, disabled one carries no frames.

use std::os::fd::OwnedFd;
use std::sync::mpsc::sync_channel;

use vhost::vhost_user::message::{VhostUserVringAddr, VhostUserVringState};

use super::kept::Start;
use super::session::{Done, Port, Session, Verdict, feature};
use super::wire::{INDEX_MASK, NO_FD, number, whole};
use crate::interrupt::Irq;
use crate::pump::descriptors::prepare_eventfd;
use crate::pump::world::World;
use crate::ring::record::Place;
use crate::worker::kick::Kick;
use crate::worker::orders::{Order, QueueSetup, Role};

/// struct virtio_net_hdr of a legacy driver without mergeable buffers, and of all others.
const LEGACY_HEADER: usize = 10;
const HEADER: usize = 12;

/// VHOST_VRING_F_LOG.
const LOGGED: u32 = 1;

/// Descriptor table, available ring and used ring, or what a packed ring has in their place.
pub type Areas = [u64; 3];

#[derive(Default)]
pub struct Ring {
    pub size: u32,
    /// In the front end's own addresses.
    pub areas: Option<Areas>,
    /// As what guest address the device's part of it is logged, if it is.
    pub log: Option<u64>,
    pub base: u16,
    /// What the front end last said of that, or was told.
    told: u16,
    /// The front end has said how it kicks.
    pub started: bool,
    /// What SET_VRING_ENABLE said last, if anything.
    pub enabled: Option<bool>,
    /// In the guest's addresses: as the worker runs it.
    pub running: Option<Areas>,
    error: Option<OwnedFd>,
}

impl Ring {
    /// Tells the front end that it was stopped because a rule was broken.
    pub fn report_error(&self) {
        if let Some(error) = &self.error {
            let _ = rustix::io::write(error, &1u64.to_ne_bytes()); // a full one has been signalled already
        }
    }
}

impl Session {
    pub fn set_vring_num(&mut self, port: &Port, body: &[u8], world: &World) -> Verdict {
        let VhostUserVringState { index, num: size } = whole(body)?;
        let (packed, most) = (self.has(feature::RING_PACKED), port.offer.size);
        let ring = self.idle(index)?;
        if size == 0 || size > most || !packed && !size.is_power_of_two() {
            return Err(format!("ring {index} cannot have {size} descriptors: the most is {most}"));
        }
        ring.size = size;
        self.start(port, index, world)
    }

    pub fn set_vring_base(&mut self, body: &[u8]) -> Verdict {
        let VhostUserVringState { index, num: base } = whole(body)?;
        // Of a packed ring the upper half is where its used descriptors go on: where the available ones do.
        let ring = self.idle(index)?;
        (ring.base, ring.told) = (base as u16, base as u16);
        Ok(Done::Quietly)
    }

    pub fn set_vring_addr(&mut self, port: &Port, body: &[u8], world: &World) -> Verdict {
        let VhostUserVringAddr { index, flags, descriptor, available, used, log } = whole(body)?;
        let ring = self.ring(index)?;
        ring.areas = Some([descriptor, available, used]);
        ring.log = (flags & LOGGED != 0).then_some(log);
        let done = self.start(port, index, world);
        self.share_log(port, world);
        done
    }

    /// Stops the ring; the answer is where it stands.
    pub fn get_vring_base(&mut self, port: &Port, body: &[u8], world: &mut World) -> Verdict {
        let VhostUserVringState { index, .. } = whole(body)?;
        self.ring(index)?;
        self.halt(port, index, world);
        let packed = self.has(feature::RING_PACKED);
        let ring = self.ring(index)?;
        (ring.started, ring.told) = (false, ring.base);
        let base = u32::from(ring.base);
        let base = if packed { base | base << 16 } else { base };
        let queue = index as u16;
        world.settle(|done| Order::SetKick { function: port.id, queue, kick: Kick::Elsewhere, done });
        port.lines.unassign(Irq::Msix, usize::from(queue)..usize::from(queue) + 1);
        self.review(port, world);
        Ok(Done::With([index, base].into_iter().flat_map(u32::to_ne_bytes).collect()))
    }

    pub fn set_vring_kick(&mut self, port: &Port, body: &[u8], fds: Vec<OwnedFd>, world: &World) -> Verdict {
        let (index, eventfd) = self.eventfd(body, fds)?;
        let kick = eventfd.map_or(Kick::Never, Kick::Eventfd);
        world.settle(|done| Order::SetKick { function: port.id, queue: index as u16, kick, done });
        self.ring(index)?.started = true;
        self.start(port, index, world)
    }

    pub fn set_vring_call(&mut self, port: &Port, body: &[u8], fds: Vec<OwnedFd>) -> Verdict {
        let (index, eventfd) = self.eventfd(body, fds)?;
        let line = index as usize;
        match eventfd {
            Some(eventfd) => port.lines.assign(Irq::Msix, line, vec![eventfd]),
            None => port.lines.unassign(Irq::Msix, line..line + 1),
        }
        Ok(Done::Quietly)
    }

    pub fn set_vring_err(&mut self, body: &[u8], fds: Vec<OwnedFd>) -> Verdict {
        let (index, eventfd) = self.eventfd(body, fds)?;
        self.ring(index)?.error = eventfd;
        Ok(Done::Quietly)
    }

    pub fn set_vring_enable(&mut self, port: &Port, body: &[u8], world: &World) -> Verdict {
        let VhostUserVringState { index, num } = whole(body)?;
        let on = match num {
            0 => false,
            1 => true,
            _ => return Err(format!("ring {index} can be neither enabled nor disabled by {num}")),
        };
        self.ring(index)?.enabled = Some(on);
        self.tell_enabled(port, index, world);
        self.review(port, world);
        Ok(Done::Quietly)
    }

    /// All rings stop and are as if the front end had said nothing of them, but for where they stand: VMMs that reset when
    /// a link goes down ask for that afterwards (QEMU 7.2 does), and go on there when it comes up.
    pub fn reset_rings(&mut self, port: &Port, world: &mut World) {
        for index in 0..self.rings.len() as u32 {
            self.halt(port, index, world);
            let (function, queue, kick) = (port.id, index as u16, Kick::Elsewhere);
            world.settle(|done| Order::SetKick { function, queue, kick, done });
            let ring = &mut self.rings[index as usize];
            *ring = Ring { base: ring.base, told: ring.base, error: ring.error.take(), ..Ring::default() };
        }
        port.lines.reset();
        self.review(port, world);
    }

    /// The front end's memory changed: rings whose place in the guest is another now move there.
    pub fn move_rings(&mut self, port: &Port, world: &mut World) -> Verdict {
        for index in 0..self.rings.len() as u32 {
            let ring = &self.rings[index as usize];
            let areas = ring.areas.and_then(|areas| self.place(areas).ok());
            if ring.running.is_some() && ring.running != areas {
                self.halt(port, index, world);
            }
            if ring_waits(&self.rings[index as usize]) && areas.is_some() {
                self.start(port, index, world)?;
            }
        }
        Ok(Done::Quietly)
    }

    /// Runs a ring as soon as all is known that it needs.
    fn start(&mut self, port: &Port, index: u32, world: &World) -> Verdict {
        let ring = &self.rings[index as usize];
        let Some(areas) = ring.areas.filter(|_| ring.started && ring.size > 0 && !self.memory.is_empty()) else {
            return Ok(Done::Quietly);
        };
        let areas = self.place(areas).map_err(|user| {
            format!("ring {index} has a part at {user:#x}, which is in no region of the front end's memory")
        })?;
        if ring.running != Some(areas) {
            let position = if ring.running.is_some() { self.take(port, index, world) } else { None };
            let setup = self.setup(port, index, areas, position);
            let ring = &mut self.rings[index as usize];
            (ring.base, ring.running) = (setup.position, Some(areas));
            self.share_log(port, world);
            world.worker.send(Order::StartQueue { function: port.id, setup });
            self.tell_enabled(port, index, world);
            self.review(port, world);
        }
        Ok(Done::Quietly)
    }

    /// Where areas lie in the guest; else the address that lies nowhere.
    fn place(&self, areas: Areas) -> Result<Areas, u64> {
        let [descriptor, driver, device] = areas.map(|user| self.memory.guest(user).ok_or(user));
        Ok([descriptor?, driver?, device?])
    }

    fn setup(&self, port: &Port, index: u32, areas: Areas, position: Option<u16>) -> QueueSetup {
        let ring = &self.rings[index as usize];
        let [descriptor, driver, device] = areas;
        let mergeable = self.has(feature::MRG_RXBUF);
        QueueSetup {
            queue: index as u16,
            role: if index % 2 == 0 { Role::Receive } else { Role::Transmit },
            size: ring.size,
            descriptor,
            driver,
            device,
            header: if mergeable || self.has(feature::VERSION_1) { HEADER } else { LEGACY_HEADER },
            mergeable,
            event_index: self.has(feature::EVENT_IDX),
            indirect: self.has(feature::INDIRECT_DESC),
            vector: index as u16,
            packed: self.has(feature::RING_PACKED),
            in_order: self.has(feature::IN_ORDER),
            position: position.unwrap_or(ring.base),
            record: self.record(port, index, areas),
            resume: false,
            answer: None,
        }
    }

    /// What outlives this process of a ring that starts: the front end's word of it, else the controller's.
    fn record(&self, port: &Port, index: u32, areas: Areas) -> Option<Place> {
        if let Some(inflight) = &self.inflight {
            return inflight.place(index);
        }
        let kept = port.kept.as_ref()?;
        if !self.has(feature::RING_PACKED) {
            kept.forget(index);
            return None; // its own index tells
        }
        let ring = &self.rings[index as usize];
        kept.place(index, &Start { position: ring.told, size: ring.size, areas })
    }

    /// Stops a ring that the worker runs, and remembers where it stands.
    fn halt(&mut self, port: &Port, index: u32, world: &mut World) {
        if self.rings[index as usize].running.is_some() {
            let position = self.take(port, index, world);
            world.forget_notices(port.id, Some(index as u16));
            let ring = &mut self.rings[index as usize];
            (ring.running, ring.base) = (None, position.unwrap_or(ring.base));
        }
    }

    /// None: its driver broke a rule before.
    fn take(&self, port: &Port, index: u32, world: &World) -> Option<u16> {
        let (position, stands) = sync_channel(1);
        world.worker.send(Order::TakeQueue { function: port.id, queue: index as u16, position });
        stands.recv().ok().flatten()
    }

    pub fn enabled(&self, index: u32) -> bool {
        self.rings[index as usize].enabled.unwrap_or(!self.has(feature::PROTOCOL_FEATURES))
    }

    fn tell_enabled(&self, port: &Port, index: u32, world: &World) {
        world.worker.send(Order::SetEnabled { function: port.id, queue: index as u16, on: self.enabled(index) });
    }

    /// How many pairs the driver uses: those whose receive rings run and are enabled, from the first on.
    pub fn review(&mut self, port: &Port, world: &World) {
        let carries = |index: &u32| self.rings[*index as usize].running.is_some() && self.enabled(*index);
        let pairs = (0..self.rings.len() as u32).step_by(2).take_while(carries).count().max(1) as u16;
        if pairs != self.pairs {
            self.pairs = pairs;
            world.worker.send(Order::SetPairs { function: port.id, pairs });
        }
    }

    pub fn ring(&mut self, index: u32) -> Result<&mut Ring, String> {
        let count = self.rings.len();
        self.rings.get_mut(index as usize).ok_or_else(|| format!("there is no ring {index}: there are {count}"))
    }

    /// A ring that may be set up.
    fn idle(&mut self, index: u32) -> Result<&mut Ring, String> {
        let ring = self.ring(index)?;
        if ring.running.is_some() { Err(format!("ring {index} runs: GET_VRING_BASE stops it")) } else { Ok(ring) }
    }

    fn eventfd(&mut self, body: &[u8], mut fds: Vec<OwnedFd>) -> Result<(u32, Option<OwnedFd>), String> {
        let word = number(body)?;
        let (index, fd) = ((word & INDEX_MASK) as u32, fds.pop());
        self.ring(index)?;
        if word & !(INDEX_MASK | NO_FD) != 0 || (word & NO_FD != 0) == fd.is_some() {
            let came = if fd.is_some() { "a" } else { "no" };
            return Err(format!("{word:#x} came with {came} descriptor"));
        }
        if let Some(fd) = &fd {
            prepare_eventfd(fd).map_err(|_| format!("the descriptor for ring {index} is not an eventfd"))?;
        }
        Ok((index, fd))
    }
}

/// Whether a ring would run if its memory were there.
fn ring_waits(ring: &Ring) -> bool {
    ring.started && ring.running.is_none()
}
