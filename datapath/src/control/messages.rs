// Generated from src/softdpu/{pci/description,net/backend,virtio/effects,virtio/standing,datapath/messages}.py by `python -m softdpu.datapath.generate`.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub const PROTOCOL: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    #[serde(rename = "receive")]
    Receive,
    #[serde(rename = "transmit")]
    Transmit,
    #[serde(rename = "control")]
    Control,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    #[serde(rename = "event")]
    Event,
    #[serde(rename = "cqe")]
    Cqe,
    #[serde(rename = "adaptive")]
    Adaptive,
}

/// One region of the function: a BAR (0..5) or the configuration space (7); readable and writable, not mappable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub index: u64,
    pub size: u64,
}

/// A window of registers whose write notifies a queue, without the controller.
///
/// With a stride, queue = (offset of the write − `offset`) / stride (virtio 1.3 §4.1.4.4). With stride 0 it is the
/// little-endian 16-bit value written (legacy Queue Notify, §4.1.4.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doorbell {
    pub region: u64,
    pub offset: u64,
    pub size: u64,
    pub stride: u64,
}

/// A run of bytes in a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub region: u64,
    pub offset: u64,
    pub size: u64,
}

/// The fixed outside of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    pub regions: Vec<Region>,
    pub vectors: u64,
    pub doorbells: Vec<Doorbell>,
    pub isr: Vec<Window>,
    pub pending: Option<Window>,
    #[serde(default)]
    pub without_intx: bool,
}

/// What a vhost-user back end offers. The datapath adds the bits 26 (VHOST_F_LOG_ALL) and 30 (PROTOCOL_FEATURES).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackEnd {
    pub features: u64,
    pub protocol_features: u64,
    pub config: ByteBuf,
    pub queues: u64,
    pub queue_size: u64,
    pub client: bool,
}

/// A ring as the front end set it up. Addresses are guest-physical, 0 while they are not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    pub size: u64,
    pub descriptor: u64,
    pub driver: u64,
    pub device: u64,
    pub started: bool,
    pub enabled: bool,
    pub position: u64,
}

/// What the front end has agreed to by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    pub features: u64,
    pub protocol_features: u64,
    pub status: u64,
    pub mtu: u64,
    pub rings: Vec<Ring>,
}

/// Begin to serve a virtqueue. Addresses are guest-physical (IOVA) bytes; a started queue is restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartQueue {
    pub queue: u64,
    pub role: Role,
    pub size: u64,
    pub descriptor: u64,
    pub driver: u64,
    pub device: u64,
    pub header: u64,
    pub mergeable: bool,
    pub event_index: bool,
    pub indirect: bool,
    pub vector: u64,
    #[serde(default)]
    pub position: u64,
    #[serde(default)]
    pub packed: bool,
    #[serde(default)]
    pub in_order: bool,
    #[serde(default)]
    pub resume: bool,
    #[serde(default)]
    pub answer: Option<ByteBuf>,
}

/// Cease to serve a virtqueue; done when no worker touches it any more (virtio 1.3 §2.6.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopQueue {
    pub queue: u64,
}

/// Stop every queue; ISR, vectors, filter and pairs return to their power-on values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {}

/// The MSI-X vector of a queue changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetVector {
    pub queue: u64,
    pub vector: u64,
}

/// The MSI-X vector of configuration changes changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetConfigVector {
    pub vector: u64,
}

/// How the function interrupts: MSI-X enabled in its capability, INTx disabled in its command register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetInterrupts {
    pub msix: bool,
    pub intx_disabled: bool,
}

/// Interrupt the driver for a configuration change (ISR bit 1, or the configuration vector).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaiseConfig {}

/// Interrupts that a function has still to deliver, besides those that it knows of: ISR bits, MSI-X vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPending {
    pub isr: u64,
    pub vectors: Vec<u64>,
}

/// The driver read these ISR bits by way of the controller: clear them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgeIsr {
    pub bits: u64,
}

/// Which frames the driver receives (virtio 1.3 §5.1.6.5.1-3). MAC addresses are 6 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFilter {
    pub promiscuous: bool,
    pub all_multicast: bool,
    pub all_unicast: bool,
    pub no_multicast: bool,
    pub no_unicast: bool,
    pub no_broadcast: bool,
    pub addresses: Vec<ByteBuf>,
    pub vlans: Option<ByteBuf>,
}

/// How many receive/transmit queue pairs the driver uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPairs {
    pub pairs: u64,
}

/// Receive-side scaling when `steer`, else automatic steering; queues with a header of 20 report the hash.
///
/// Receive queues are numbered as pairs. Virtio 1.3 §5.1.6.4.3, §5.1.6.5.7.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetHash {
    pub steer: bool,
    pub types: u64,
    pub key: ByteBuf,
    pub table: Vec<u64>,
    pub unclassified: u64,
}

/// How interrupts of a receive or transmit queue are held back; with 0 of either they are not.
///
/// Time counts from the first buffer that is used, or at the pace of a network card: from the last interrupt ("event"),
/// anew from each buffer ("cqe"). "adaptive" takes no numbers: they follow how busy the queue is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetCoalescing {
    pub queue: u64,
    pub packets: u64,
    pub microseconds: u64,
    #[serde(default)]
    pub pace: Option<Pace>,
}

/// Whether the function's port passes frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLink {
    pub up: bool,
}

/// Whether the function's port takes part in the built-in switch; otherwise only its representor reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFabric {
    pub on: bool,
}

/// Longest frame that the port takes: bytes of Ethernet frame without FCS (MTU + 18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFrameLimit {
    pub octets: u64,
}

/// Stateless offloads in force: feature bits CSUM, HOST_TSO4/6, HOST_ECN, HOST_USO, and those of the guest's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOffloads {
    pub features: u64,
}

/// Which uplink serves the function, 0 for p0: of frames for outside, and of those from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUplink {
    pub uplink: u64,
}

/// The driver notified a queue by way of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kick {
    pub queue: u64,
}

/// Another device configuration of a vhost-user function (struct virtio_net_config); its front end is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDeviceConfig {
    pub config: ByteBuf,
}

/// Leave the function's rings and its driver alone, until told to go on; queues started meanwhile wait too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    pub on: bool,
}

/// Let everyone know where this address is now: a reverse ARP request in the guest's name (RFC 903).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    pub address: ByteBuf,
}

/// A virtqueue that is served, with nothing taken from it that has not been used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStanding {
    pub queue: u64,
    pub position: u64,
    #[serde(default)]
    pub answer: Option<ByteBuf>,
}

/// All of a function's queues that are served, and its interrupts that wait to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    #[serde(default)]
    pub queues: Vec<QueueStanding>,
    #[serde(default)]
    pub isr: u64,
    #[serde(default)]
    pub pending: Vec<u64>,
}

/// First message to a controller. Descriptor: the counters' memory (`softdpu.datapath.counters`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u64,
    pub pid: u64,
}

/// A function that the datapath already serves, with the state that the last controller sent.
///
/// Descriptor: its representor, if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    pub function: u64,
    pub state: ByteBuf,
    pub connected: bool,
}

/// An uplink that the datapath already has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedUplink {
    pub uplink: u64,
    pub interface: String,
    pub ifindex: u64,
    #[serde(default)]
    pub queues: u64,
}

/// All functions and uplinks have been named; open requests follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedAll {}

/// A register access that the function must answer. `data` is what is written, empty for a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub function: u64,
    pub request: u64,
    pub write: bool,
    pub region: u64,
    pub offset: u64,
    pub size: u64,
    pub data: ByteBuf,
    pub isr: u64,
}

/// A chain of a control virtqueue: its device-readable bytes, and how many bytes the answer may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub function: u64,
    pub request: u64,
    pub queue: u64,
    pub data: ByteBuf,
    pub room: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    #[serde(rename = "connected")]
    Connected,
    #[serde(rename = "disconnected")]
    Disconnected,
    #[serde(rename = "reset")]
    Reset,
    #[serde(rename = "queue_fault")]
    QueueFault,
    #[serde(rename = "peer_fault")]
    PeerFault,
}

/// Something that happened to a function. `cause` is a sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub function: u64,
    pub request: u64,
    pub kind: EventKind,
    pub queue: u64,
    pub cause: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MigrateVerb {
    #[serde(rename = "get_state")]
    GetState,
    #[serde(rename = "set_state")]
    SetState,
    #[serde(rename = "data_size")]
    DataSize,
    #[serde(rename = "read")]
    Read,
    #[serde(rename = "write")]
    Write,
}

/// What a VMM asks that moves a function: `state` is of set_state, `size` of read, `data` of write.
///
/// The answer's `data`: of get_state 4 bytes, of data_size 8, of read what there is, up to `size` bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrate {
    pub function: u64,
    pub request: u64,
    pub verb: MigrateVerb,
    pub state: u64,
    pub size: u64,
    pub data: ByteBuf,
}

/// How far a vhost-user function and its front end are: when it changes, and to each new controller. No answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    pub function: u64,
    pub agreement: Agreement,
}

/// Answer to a request of the controller. errno 0: done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub ticket: u64,
    pub errno: u64,
    pub reason: String,
}

/// Answer to `Positions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positioned {
    pub ticket: u64,
    pub standing: Standing,
}

/// Serve a new function. Descriptors: its listening socket, then its representor (a tap) if `representor`.
///
/// A vhost-user function in client mode has no listening socket: see `Connect`. The last descriptor, if `records`,
/// is a file in which such a function keeps where its packed rings stand, for a datapath that comes after this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    pub ticket: u64,
    pub function: u64,
    pub description: AnyDescription,
    pub representor: bool,
    pub state: ByteBuf,
    pub effects: Vec<AnyEffect>,
    #[serde(default)]
    pub records: bool,
}

/// The operator changed a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub ticket: u64,
    pub function: u64,
    pub state: ByteBuf,
    pub effects: Vec<AnyEffect>,
}

/// Where does a function stand that is frozen? Answered by `Positioned`, or by `Done` when it cannot be said.
///
/// The answer waits until no command of the function's is open with the controller, and every event that came before
/// has been sent. EBUSY: it is not frozen. EOPNOTSUPP: its VMM keeps that (vhost-user).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    pub ticket: u64,
    pub function: u64,
}

/// A front end that listens was reached: serve it. Descriptor: the connected socket. EBUSY: another is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    pub ticket: u64,
    pub function: u64,
}

/// Close a function's sockets, unmap its memory and forget it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destroy {
    pub ticket: u64,
    pub function: u64,
}

/// Answer to Access, Command, Event or Migrate: `data` is the value if `errno` is 0.
///
/// `state` is None when it did not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub function: u64,
    pub request: u64,
    pub errno: u64,
    pub data: ByteBuf,
    pub state: Option<ByteBuf>,
    pub effects: Vec<AnyEffect>,
}

/// How the memory of XDP sockets is divided: `count` chunks for what comes, and as many for what leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpSockets {
    pub count: u64,
    pub chunk: u64,
    pub several: bool,
    pub undone: bool,
}

/// Have an uplink, in place of one that is there.
///
/// Descriptor: a packet socket with PACKET_VNET_HDR, not blocking. With `xdp` instead: the memory, the link of the
/// XDP program, a packet socket that keeps the interface promiscuous, and one XDP socket a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinUplink {
    pub ticket: u64,
    pub uplink: u64,
    pub interface: String,
    pub ifindex: u64,
    pub mtu: u64,
    pub up: bool,
    #[serde(default)]
    pub xdp: Option<XdpSockets>,
}

/// The interface of an uplink changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeUplink {
    pub ticket: u64,
    pub uplink: u64,
    pub mtu: u64,
    pub up: bool,
}

/// Have this uplink no more. One that is not there is no error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveUplink {
    pub ticket: u64,
    pub uplink: u64,
}

/// How the built-in switch works. `flooding`: frames to unknown addresses go to guests that may want them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSwitch {
    pub ticket: u64,
    pub flooding: bool,
}

/// End the datapath: every guest loses its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    pub ticket: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AnyEffect {
    StartQueue(StartQueue),
    StopQueue(StopQueue),
    Reset(Reset),
    SetVector(SetVector),
    SetConfigVector(SetConfigVector),
    SetInterrupts(SetInterrupts),
    RaiseConfig(RaiseConfig),
    AcknowledgeIsr(AcknowledgeIsr),
    SetFilter(SetFilter),
    SetPairs(SetPairs),
    SetHash(SetHash),
    SetCoalescing(SetCoalescing),
    SetLink(SetLink),
    SetFabric(SetFabric),
    SetFrameLimit(SetFrameLimit),
    SetOffloads(SetOffloads),
    Kick(Kick),
    SetUplink(SetUplink),
    SetDeviceConfig(SetDeviceConfig),
    Freeze(Freeze),
    SetPending(SetPending),
    Announce(Announce),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AnyDescription {
    Description(Description),
    BackEnd(BackEnd),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum FromDatapath {
    Hello(Hello),
    Attached(Attached),
    AttachedAll(AttachedAll),
    Access(Access),
    Command(Command),
    Event(Event),
    Done(Done),
    Negotiated(Negotiated),
    AttachedUplink(AttachedUplink),
    Positioned(Positioned),
    Migrate(Migrate),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum FromController {
    Create(Create),
    Update(Update),
    Destroy(Destroy),
    Answer(Answer),
    Shutdown(Shutdown),
    Connect(Connect),
    JoinUplink(JoinUplink),
    ChangeUplink(ChangeUplink),
    LeaveUplink(LeaveUplink),
    ChangeSwitch(ChangeSwitch),
    Positions(Positions),
}
