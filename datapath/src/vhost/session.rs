//! What a front end has agreed to, and what the function has to offer it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;

use super::inflight::Inflight;
use super::kept::Kept;
use super::memory::Memory;
use super::rings::Ring;
use super::wire::{Header, number};
use crate::control::messages::BackEnd;
use crate::counters::{FunctionCounters, QUEUES};
use crate::interrupt::Lines;
use crate::memory::Log;
use crate::offload::Offloads;
use crate::pump::stream::Stream;
use crate::pump::world::World;
use crate::worker::orders::{FunctionId, Order};

/// Feature bits that matter here.
pub mod feature {
    pub const MRG_RXBUF: u32 = 15;
    pub const LOG_ALL: u32 = 26;
    pub const INDIRECT_DESC: u32 = 28;
    pub const EVENT_IDX: u32 = 29;
    pub const PROTOCOL_FEATURES: u32 = 30;
    pub const VERSION_1: u32 = 32;
    pub const RING_PACKED: u32 = 34;
    pub const IN_ORDER: u32 = 35;
}

/// Added to what the controller has on offer.
const OURS: u64 = 1 << feature::LOG_ALL | 1 << feature::PROTOCOL_FEATURES;

/// Bits between driver and VMM, which some VMMs pass on although they were not offered: MAC, STATUS, STANDBY,
/// SPEED_DUPLEX, CTRL_VQ and what is done by it.
const THEIRS: u64 = 1 << 2 | 1 << 5 | 0b1011_1111 << 16 | 0b11 << 62;

const MTU: std::ops::RangeInclusive<u64> = 68..=65535;
/// Bytes of a frame beside its packet: header, and a VLAN tag.
const ETHERNET: usize = 18;
const STATUS_NEEDS_RESET: u8 = 0x40;

/// What a front end may ask for.
pub struct Offer {
    pub features: u64,
    pub protocol: Protocol,
    pub config: Vec<u8>,
    pub rings: usize,
    pub size: u32,
}

/// What remains while front ends come and go.
pub struct Port {
    pub id: FunctionId,
    pub offer: Offer,
    pub lines: Arc<Lines>,
    pub counters: FunctionCounters,
    /// Octets of the longest frame, as the operator has it.
    pub frame_limit: usize,
    /// Where packed rings stand, for the next process.
    pub kept: Option<Kept>,
}

/// One front end.
pub struct Session {
    pub stream: Stream<Header>,
    /// It has said something that makes sense.
    pub spoken: bool,
    pub features: u64,
    pub protocol: Protocol,
    pub status: u8,
    pub mtu: u16,
    pub memory: Memory,
    pub rings: Vec<Ring>,
    pub pairs: u16,
    /// Where our own requests go.
    pub channel: Option<OwnedFd>,
    /// Where pages that were written are marked, who is told, and whether that is going on.
    pub log: Option<Arc<Log>>,
    pub log_event: Option<Arc<OwnedFd>>,
    pub logging: bool,
    pub inflight: Option<Inflight>,
    /// Where device state is to be read from, and whether moving it failed.
    pub transfer: Option<OwnedFd>,
    pub transfer_failed: bool,
}

/// What a message comes to. The error of a verdict is a sentence: why the connection cannot go on.
pub enum Done {
    /// Acknowledged if that is asked for.
    Quietly,
    With(Vec<u8>),
    WithFd(Vec<u8>, OwnedFd),
    /// Not done, which the front end must be asking to hear: else it would go on as if it were.
    Refused(String),
}

pub type Verdict = Result<Done, String>;

impl Offer {
    /// The error is a sentence.
    pub fn new(back_end: BackEnd) -> Result<Self, String> {
        let (rings, size) = (back_end.queues, back_end.queue_size);
        if rings < 2 || rings % 2 != 0 || rings >= QUEUES as u64 {
            return Err(format!("{rings} rings are not pairs, at most {}", (QUEUES - 1) / 2));
        }
        if !(1..=32768).contains(&size) {
            return Err(format!("a ring cannot have {size} descriptors"));
        }
        Ok(Self {
            features: back_end.features | OURS,
            protocol: Protocol::from_bits_truncate(back_end.protocol_features) & super::dispatch::SERVED,
            config: back_end.config.into_vec(),
            rings: rings as usize,
            size: size as u32,
        })
    }
}

impl Session {
    pub fn new(socket: OwnedFd, offer: &Offer) -> Self {
        Self {
            stream: Stream::new(socket),
            spoken: false,
            features: 0,
            protocol: Protocol::empty(),
            status: 0,
            mtu: 0,
            memory: Memory::default(),
            rings: (0..offer.rings).map(|_| Ring::default()).collect(),
            pairs: 1,
            channel: None,
            log: None,
            log_event: None,
            logging: false,
            inflight: None,
            transfer: None,
            transfer_failed: false,
        }
    }

    pub fn has(&self, bit: u32) -> bool {
        self.features >> bit & 1 != 0
    }

    pub fn set_features(&mut self, port: &Port, body: &[u8], world: &World) -> Verdict {
        let features = number(body)?;
        let stray = features & !(port.offer.features | THEIRS);
        if stray != 0 {
            return Err(format!("the bits {stray:#x} were not offered"));
        }
        let runs = self.rings.iter().any(|ring| ring.running.is_some());
        if runs && (features ^ self.features) & !(1 << feature::LOG_ALL) != 0 {
            return Err(format!("{features:#x} is not {:#x}, with which rings run", self.features));
        }
        self.features = features;
        world.worker.send(Order::SetOffloads { function: port.id, offloads: Offloads::negotiated(features) });
        self.review(port, world);
        self.share_log(port, world);
        Ok(Done::Quietly)
    }

    pub fn set_protocol_features(&mut self, port: &Port, body: &[u8]) -> Verdict {
        let bits = number(body)?;
        let stray = bits & !port.offer.protocol.bits();
        if stray != 0 {
            return Err(format!("the bits {stray:#x} were not offered"));
        }
        self.protocol = Protocol::from_bits_truncate(bits);
        Ok(Done::Quietly)
    }

    pub fn set_status(&mut self, port: &Port, body: &[u8], world: &mut World) -> Verdict {
        match u8::try_from(number(body)?) {
            Ok(0) => self.reset(port, world),
            Ok(status) => self.status = status,
            Err(_) => return Err("a device status has 8 bits".into()),
        }
        Ok(Done::Quietly)
    }

    pub fn reset(&mut self, port: &Port, world: &mut World) {
        self.reset_rings(port, world);
        self.status = 0;
    }

    /// A ring was stopped by the worker, because its driver broke a rule.
    pub fn ring_fault(&mut self, port: &Port, queue: u16, world: &World) {
        if let Some(ring) = self.rings.get_mut(usize::from(queue)) {
            ring.running = None;
            ring.report_error();
        }
        self.status |= STATUS_NEEDS_RESET;
        self.review(port, world);
        self.tell_config_changed();
    }

    pub fn set_mtu(&mut self, port: &Port, body: &[u8], world: &World) -> Verdict {
        let mtu = number(body)?;
        let fits = MTU.contains(&mtu) && mtu as usize + ETHERNET <= port.frame_limit;
        if !fits {
            let most = port.frame_limit.saturating_sub(ETHERNET);
            return Ok(Done::Refused(format!("an MTU of {mtu} is not between {} and {most}", MTU.start())));
        }
        self.mtu = mtu as u16;
        self.limit_frames(port, world);
        Ok(Done::Quietly)
    }

    /// The longest frame is as long as both operator and front end allow.
    pub fn limit_frames(&self, port: &Port, world: &World) {
        let theirs = if self.mtu == 0 { usize::MAX } else { usize::from(self.mtu) + ETHERNET };
        let octets = port.frame_limit.min(theirs);
        world.worker.send(Order::SetFrameLimit { function: port.id, octets });
    }

    pub fn announce(&self, port: &Port, body: &[u8], world: &World) -> Verdict {
        let [a, b, c, d, e, f, ..] = number(body)?.to_le_bytes();
        world.worker.send(Order::Announce { function: port.id, address: [a, b, c, d, e, f] });
        Ok(Done::Quietly)
    }

    // ---- memory

    pub fn set_mem_table(&mut self, port: &Port, body: &[u8], fds: &[OwnedFd], world: &mut World) -> Verdict {
        match Memory::new(body, fds) {
            Ok(memory) => {
                let _former = std::mem::replace(&mut self.memory, memory);
                self.share_memory(port, world)
            }
            Err(why) => Ok(Done::Refused(why)),
        }
    }

    pub fn add_mem_reg(&mut self, port: &Port, body: &[u8], fds: &[OwnedFd], world: &mut World) -> Verdict {
        match self.memory.add(body, fds) {
            Ok(()) => self.share_memory(port, world),
            Err(why) => Ok(Done::Refused(why)),
        }
    }

    pub fn rem_mem_reg(&mut self, port: &Port, body: &[u8], world: &mut World) -> Verdict {
        match self.memory.remove(body) {
            Ok(_region) => self.share_memory(port, world),
            Err(why) => Ok(Done::Refused(why)),
        }
    }

    /// When this returns, the worker touches nothing of the former memory any more.
    fn share_memory(&mut self, port: &Port, world: &mut World) -> Verdict {
        let (done, settled) = sync_channel(1);
        let table = Arc::new(self.memory.table());
        world.worker.send(Order::SetMemory { function: port.id, table, done });
        let _ = settled.recv();
        self.move_rings(port, world)
    }
}
