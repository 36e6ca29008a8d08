//! Two guests, each a front end on a socket of its own, and the frames of the first for the second.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vhost::VhostBackend;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vmm_sys_util::eventfd::EventFd;

use crate::arguments::Arguments;
use crate::frame::frame;
use crate::memory::Memory;
use crate::ring::{HEADER, PART, Place, Ring, SHORT, Way, room, stride};

/// CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4.
const OFFLOADS: u64 = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 11;
const MRG_RXBUF: u64 = 1 << 15;
const PROTOCOL_FEATURES: u64 = 1 << 30;
const VERSION_1: u64 = 1 << 32;
const RING_PACKED: u64 = 1 << 34;
/// How long a back end may take to pass the first frames on.
const PATIENCE: Duration = Duration::from_secs(10);

/// A queue with the eventfd that tells the back end of it.
pub struct Queue<R> {
    pub ring: R,
    pub place: Place,
    /// How many buffers are the driver's.
    pub mine: u16,
    /// The buffers that are offered and taken next.
    pub next_offered: u16,
    pub next_taken: u16,
    size: u16,
    kick: EventFd,
    call: EventFd,
}

impl<R: Ring> Queue<R> {
    fn new(ring: R, place: Place, size: u16) -> io::Result<Queue<R>> {
        let [kick, call] = [EventFd::new(libc::EFD_NONBLOCK)?, EventFd::new(libc::EFD_NONBLOCK)?];
        Ok(Queue { ring, place, mine: size, next_offered: 0, next_taken: 0, size, kick, call })
    }

    /// Offers buffers, and kicks if the back end sleeps.
    #[inline]
    pub fn offer(&mut self, count: u16) {
        self.mine -= count;
        self.next_offered = (self.next_offered + count) % self.size;
        self.ring.offer(count);
        if self.ring.must_kick() {
            let _ = self.kick.write(1);
        }
    }

    /// Takes back what was used; how many.
    #[inline]
    pub fn take(&mut self) -> u16 {
        let count = self.ring.used();
        self.mine += count;
        self.next_taken = (self.next_taken + count) % self.size;
        count
    }

    /// `count` buffers from `first` on.
    pub fn buffers(&self, first: u16, count: u16) -> impl Iterator<Item = u64> {
        let (place, size) = (self.place, self.size);
        (0..count).map(move |number| place.buffer((first + number) % size))
    }
}

pub struct Guest<R> {
    pub memory: Memory,
    pub receive: Queue<R>,
    pub transmit: Queue<R>,
    /// The back end forgets the guest when this is closed.
    _link: Option<Frontend>,
}

impl<R: Ring> Guest<R> {
    fn new(number: u8, arguments: &Arguments) -> io::Result<Guest<R>> {
        let stride = stride(arguments.octets);
        let buffers = u64::from(arguments.ring) * stride;
        let memory = Memory::new((6 * PART + 2 * buffers) as usize, arguments.small_pages)?;
        let [into, out] =
            [0, 1].map(|queue| Place { parts: queue * 3 * PART, buffers: 6 * PART + queue * buffers, stride });
        let frame = frame(number, arguments.octets);
        (0..arguments.ring).for_each(|index| memory.write(out.buffer(index), &frame));
        let length = (HEADER + arguments.octets) as u32;
        let receive = Queue::new(
            R::new(&memory, into, Way::Receive, arguments.ring, room(arguments.octets)),
            into,
            arguments.ring,
        )?;
        let transmit = Queue::new(R::new(&memory, out, Way::Transmit, arguments.ring, length), out, arguments.ring)?;
        Ok(Guest { memory, receive, transmit, _link: None })
    }

    fn connect(number: u8, socket: &Path, arguments: &Arguments) -> io::Result<Guest<R>> {
        let mut guest = Guest::new(number, arguments)?;
        let told = |error: vhost::Error| io::Error::other(format!("{}: {error}", socket.display()));
        let link = Frontend::connect(socket, 2).map_err(told)?;
        guest.introduce(link, arguments).map_err(told)?;
        Ok(guest)
    }

    fn introduce(&mut self, mut link: Frontend, arguments: &Arguments) -> vhost::Result<()> {
        let wanted = features::<R>(arguments);
        link.set_owner()?;
        let offered = link.get_features()?;
        if offered & wanted != wanted {
            let missing = wanted & !offered;
            let missing = io::Error::other(format!("the back end does not offer the features {missing:#x}"));
            return Err(vhost::vhost_user::Error::ReqHandlerError(missing).into());
        }
        let protocol = link.get_protocol_features()?;
        link.set_protocol_features(protocol & VhostUserProtocolFeatures::REPLY_ACK)?;
        link.set_features(wanted)?;
        link.set_mem_table(&[self.memory.region()])?;
        for (index, queue) in [&self.receive, &self.transmit].into_iter().enumerate() {
            link.set_vring_num(index, arguments.ring)?;
            link.set_vring_base(index, R::BASE)?;
            link.set_vring_addr(index, &queue.place.addresses(&self.memory, arguments.ring))?;
            link.set_vring_call(index, &queue.call)?;
            link.set_vring_kick(index, &queue.kick)?;
        }
        (0..2).try_for_each(|index| link.set_vring_enable(index, true))?;
        self._link = Some(link);
        Ok(())
    }
}

fn features<R: Ring>(arguments: &Arguments) -> u64 {
    let packed = if R::PACKED { RING_PACKED } else { 0 };
    let mergeable = if arguments.mergeable { MRG_RXBUF } else { 0 };
    let long = if arguments.octets > SHORT { OFFLOADS } else { 0 };
    VERSION_1 | PROTOCOL_FEATURES | packed | mergeable | long
}

pub struct Pair<R> {
    pub guests: [Guest<R>; 2],
    octets: usize,
}

impl<R: Ring> Pair<R> {
    /// Both guests on the sockets; returns when frames pass between them both ways.
    pub fn connect(arguments: &Arguments) -> io::Result<Pair<R>> {
        let mut pair = Pair::join(arguments, &arguments.sockets)?;
        pair.greet(|| std::thread::sleep(Duration::from_millis(1)))?;
        Ok(pair)
    }

    /// Both guests on the sockets, with receive buffers offered.
    pub fn join(arguments: &Arguments, sockets: &[PathBuf]) -> io::Result<Pair<R>> {
        Pair::of([0, 1].map(|number| Guest::connect(number, &sockets[usize::from(number)], arguments)), arguments)
    }

    /// Both guests, without a socket: the back end is in this process.
    pub fn alone(arguments: &Arguments) -> io::Result<Pair<R>> {
        Pair::of([0, 1].map(|number| Guest::new(number, arguments)), arguments)
    }

    fn of(guests: [io::Result<Guest<R>>; 2], arguments: &Arguments) -> io::Result<Pair<R>> {
        let [first, second] = guests;
        let mut pair = Pair { guests: [first?, second?], octets: arguments.octets };
        pair.guests.iter_mut().for_each(|guest| guest.receive.offer(arguments.ring));
        Ok(pair)
    }

    /// Frames both ways, looked at; a switch learns from them who is where. `wait` lets the back end work.
    pub fn greet(&mut self, mut wait: impl FnMut()) -> io::Result<()> {
        [(1, 0), (0, 1), (1, 0)].into_iter().try_for_each(|(from, to)| self.send_one(from, to, &mut wait))
    }

    /// Frames used out of the ring's order, on the way that is measured.
    pub fn disorder(&self) -> u64 {
        self.guests[0].transmit.ring.disorder() + self.guests[1].receive.ring.disorder()
    }

    /// One frame, looked at when it arrives; sent again while the back end is not ready.
    fn send_one(&mut self, from: usize, to: usize, wait: &mut impl FnMut()) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        let first = self.guests[to].receive.next_taken;
        while self.guests[to].receive.next_taken == first {
            if Instant::now() > end {
                return Err(io::Error::other(format!(
                    "no frame of guest {from} comes to guest {to}: it is not connected"
                )));
            }
            self.guests[from].transmit.offer(1);
            self.settle(from, to, wait);
        }
        self.look(from, to, first)
    }

    /// Waits until what was sent is used, and 20 ms more for what is on its way.
    fn settle(&mut self, from: usize, to: usize, wait: &mut impl FnMut()) {
        let end = Instant::now() + PATIENCE;
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(20) && Instant::now() < end {
            let [used, came] = [self.guests[from].transmit.take(), self.guests[to].receive.take()];
            self.guests[to].receive.offer(came);
            if used + came > 0 || self.guests[from].transmit.mine < self.guests[from].transmit.size {
                quiet = Instant::now();
            }
            wait();
        }
    }

    fn look(&self, from: usize, to: usize, index: u16) -> io::Result<()> {
        let guest = &self.guests[to];
        let got = guest.memory.read(guest.receive.place.buffer(index), HEADER + self.octets);
        if got[HEADER..] == frame(from as u8, self.octets)[HEADER..] {
            Ok(())
        } else {
            Err(io::Error::other(format!("the frame of guest {from} came to guest {to} with other bytes")))
        }
    }
}
