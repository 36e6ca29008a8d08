//! What the pump asks of the worker, and what the worker tells the pump. The worker alone owns rings and ports; the pump
//! alone owns sockets and mappings. They share nothing that is written by both but atomics.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::dirty::Dirty;
use super::kick::Kick;
use crate::counters::FunctionCounters;
use crate::interrupt::Lines;
use crate::memory::Table;
use crate::offload::Offloads;
use crate::port::Wire;
use crate::ring::Hold;
use crate::ring::record::Place;

/// 0..1023, chosen by the controller.
pub type FunctionId = u32;

/// Fired by the worker when an order is carried out and nothing of the former state is touched any more.
pub type Receipt = SyncSender<()>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Receive,
    Transmit,
    Control,
}

/// A virtqueue as the driver set it up. Nothing in it has been checked against memory yet: the worker does.
#[derive(Clone, Debug)]
pub struct QueueSetup {
    pub queue: u16,
    pub role: Role,
    pub size: u32,
    pub descriptor: u64,
    pub driver: u64,
    pub device: u64,
    pub header: usize,
    pub mergeable: bool,
    pub event_index: bool,
    pub indirect: bool,
    pub packed: bool,
    pub in_order: bool,
    pub vector: u16,
    /// Where to begin: the index of the available ring, or of a packed ring's descriptor, its wrap counter in bit 15.
    pub position: u16,
    /// What outlives this process, where a front end keeps it.
    pub record: Option<Place>,
    /// Go on where a split ring's used ring says, whatever the position.
    pub resume: bool,
    /// Of a control queue: its first command was executed before the queue came here, and this is the answer.
    pub answer: Option<Vec<u8>>,
}

/// A queue of a frozen function, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    pub queue: u16,
    /// As that of a set-up.
    pub position: u16,
    /// To the command that a control queue waits with.
    pub answer: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub struct Filter {
    pub promiscuous: bool,
    pub all_multicast: bool,
    pub all_unicast: bool,
    pub no_multicast: bool,
    pub no_unicast: bool,
    pub no_broadcast: bool,
    pub addresses: Vec<[u8; 6]>,
    pub vlans: Option<Box<[u8; 512]>>,
}

/// How hashes are made, and whether frames go by them: see the effect of that name. Its numbers have been checked.
#[derive(Clone, Debug, Default)]
pub struct Hash {
    pub steer: bool,
    pub types: u32,
    pub key: Vec<u8>,
    /// Receive queues, as pairs; a power of two of them while `steer`.
    pub table: Box<[u16]>,
    pub unclassified: u16,
}

pub enum Order {
    AddFunction {
        function: FunctionId,
        representor: Option<OwnedFd>,
        lines: Arc<Lines>,
        counters: FunctionCounters,
    },
    RemoveFunction {
        function: FunctionId,
        done: Receipt,
    },
    /// What is there of this number is replaced.
    AddUplink {
        uplink: u8,
        wire: Wire,
        counters: FunctionCounters,
    },
    SetUplink {
        uplink: u8,
        up: bool,
        octets: usize,
    },
    RemoveUplink {
        uplink: u8,
    },
    /// Which uplink serves a function: the first, if nothing was said.
    Assign {
        function: FunctionId,
        uplink: u8,
    },
    /// Whether frames to unknown addresses go to all guests that may want them.
    SetFlooding {
        on: bool,
    },
    /// A new memory table; once the receipt has fired the worker holds no reference to the former one.
    SetMemory {
        function: FunctionId,
        table: Arc<Table>,
        done: Receipt,
    },
    StartQueue {
        function: FunctionId,
        setup: QueueSetup,
    },
    StopQueue {
        function: FunctionId,
        queue: u16,
        done: Receipt,
    },
    StopAll {
        function: FunctionId,
        done: Receipt,
    },
    /// Leave its rings and its driver alone, or go on.
    Freeze {
        function: FunctionId,
        on: bool,
        done: Receipt,
    },
    SetVector {
        function: FunctionId,
        queue: u16,
        vector: u16,
    },
    SetFilter {
        function: FunctionId,
        filter: Filter,
    },
    SetPairs {
        function: FunctionId,
        pairs: u16,
    },
    SetHash {
        function: FunctionId,
        hash: Hash,
    },
    SetCoalescing {
        function: FunctionId,
        queue: u16,
        hold: Hold,
    },
    SetLink {
        function: FunctionId,
        up: bool,
    },
    SetFabric {
        function: FunctionId,
        on: bool,
    },
    SetFrameLimit {
        function: FunctionId,
        octets: usize,
    },
    SetOffloads {
        function: FunctionId,
        offloads: Offloads,
    },
    Kick {
        function: FunctionId,
        queue: u16,
    },
    /// How the driver notifies a queue from now on.
    SetKick {
        function: FunctionId,
        queue: u16,
        kick: Kick,
        done: Receipt,
    },
    /// A queue that runs carries frames, or takes none and loses what the driver sends.
    SetEnabled {
        function: FunctionId,
        queue: u16,
        on: bool,
    },
    /// Stops a queue; where it stands, if it ran.
    TakeQueue {
        function: FunctionId,
        queue: u16,
        position: SyncSender<Option<u16>>,
    },
    /// Nothing: what was ordered before is carried out by then, and what came of it is in the outbox.
    Fence {
        done: Receipt,
    },
    /// Where the queues of a frozen function stand; None: it is not frozen.
    Stands {
        function: FunctionId,
        stands: SyncSender<Option<Vec<Stand>>>,
    },
    /// Where writes into the guest are logged from now on.
    SetDirty {
        function: FunctionId,
        dirty: Option<Arc<Dirty>>,
        done: Receipt,
    },
    /// Lets everyone know where this address is now (a reverse ARP request, RFC 903).
    Announce {
        function: FunctionId,
        address: [u8; 6],
    },
    /// The answer to a `Notice::Command`: written to the chain, which is then used.
    Complete {
        function: FunctionId,
        queue: u16,
        ticket: u64,
        reply: Vec<u8>,
    },
}

/// What the worker tells the pump (through a channel and an eventfd).
pub enum Notice {
    /// A chain of a control virtqueue is there; the queue waits for `Order::Complete` before it takes the next.
    Command { function: FunctionId, queue: u16, ticket: u64, data: Vec<u8>, room: usize },
    /// The driver broke a rule; the queue is stopped already.
    Fault { function: FunctionId, queue: u16, cause: String },
}
