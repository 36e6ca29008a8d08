"""The messages between controller and datapath, declared once; the Rust side is generated from this file.

One message is one packet of a SOCK_SEQPACKET socket: a MessagePack map whose ``type`` names the structure. File
descriptors travel with the packet, in the order that the structure's docstring gives.

The datapath keeps, for each function, the last state that the controller sent and every request not yet answered.
A controller that attaches is sent ``Hello``, one ``Attached`` a function, ``AttachedAll``, and then each open request
again: so it goes on where the last one ended.
"""

from typing import Literal, TypeAlias

import msgspec

from softdpu.net.backend import Agreement, BackEnd
from softdpu.pci.description import Description
from softdpu.virtio.effects import AnyEffect
from softdpu.virtio.standing import Standing

PROTOCOL = 3
FUNCTIONS = 1024  # function numbers are 0..1023
UPLINKS = 2  # uplinks are 0..1, named p0 and p1

AnyDescription: TypeAlias = Description | BackEnd


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=str):
    """Base of all messages."""


# ---- from the datapath to the controller


class Hello(Message, frozen=True):
    """First message to a controller. Descriptor: the counters' memory (``softdpu.datapath.counters``)."""

    protocol: int
    pid: int


class Attached(Message, frozen=True):
    """A function that the datapath already serves, with the state that the last controller sent.

    Descriptor: its representor, if it has one.
    """

    function: int
    state: bytes
    connected: bool


class AttachedUplink(Message, frozen=True):
    """An uplink that the datapath already has."""

    uplink: int
    interface: str
    ifindex: int
    queues: int = 0  # XDP sockets; 0: it is a packet socket


class AttachedAll(Message, frozen=True):
    """All functions and uplinks have been named; open requests follow."""


class Access(Message, frozen=True):
    """A register access that the function must answer. ``data`` is what is written, empty for a read."""

    function: int
    request: int
    write: bool
    region: int
    offset: int
    size: int
    data: bytes
    isr: int  # ISR bits at this moment


class Command(Message, frozen=True):
    """A chain of a control virtqueue: its device-readable bytes, and how many bytes the answer may have."""

    function: int
    request: int
    queue: int
    data: bytes
    room: int


class Event(Message, frozen=True):
    """Something that happened to a function. ``cause`` is a sentence for the log."""

    function: int
    request: int
    kind: Literal["connected", "disconnected", "reset", "queue_fault", "peer_fault"]
    queue: int  # of a queue_fault, else 0
    cause: str


class Migrate(Message, frozen=True):
    """What a VMM asks that moves a function: ``state`` is of set_state, ``size`` of read, ``data`` of write.

    The answer's ``data``: of get_state 4 bytes, of data_size 8, of read what there is, up to ``size`` bytes.
    """

    function: int
    request: int
    verb: Literal["get_state", "set_state", "data_size", "read", "write"]
    state: int
    size: int
    data: bytes


class Negotiated(Message, frozen=True):
    """How far a vhost-user function and its front end are: when it changes, and to each new controller. No answer."""

    function: int
    agreement: Agreement


class Done(Message, frozen=True):
    """Answer to a request of the controller. errno 0: done."""

    ticket: int
    errno: int
    reason: str


class Positioned(Message, frozen=True):
    """Answer to ``Positions``."""

    ticket: int
    standing: Standing


# ---- from the controller to the datapath


class Create(Message, frozen=True):
    """Serve a new function. Descriptors: its listening socket, then its representor (a tap) if ``representor``.

    A vhost-user function in client mode has no listening socket: see ``Connect``. The last descriptor, if ``records``,
    is a file in which such a function keeps where its packed rings stand, for a datapath that comes after this one.
    """

    ticket: int
    function: int
    description: AnyDescription
    representor: bool
    state: bytes
    effects: tuple[AnyEffect, ...]
    records: bool = False


class Update(Message, frozen=True):
    """The operator changed a function."""

    ticket: int
    function: int
    state: bytes
    effects: tuple[AnyEffect, ...]


class Positions(Message, frozen=True):
    """Where does a function stand that is frozen? Answered by ``Positioned``, or by ``Done`` when it cannot be said.

    The answer waits until no command of the function's is open with the controller, and every event that came before
    has been sent. EBUSY: it is not frozen. EOPNOTSUPP: its VMM keeps that (vhost-user).
    """

    ticket: int
    function: int


class Connect(Message, frozen=True):
    """A front end that listens was reached: serve it. Descriptor: the connected socket. EBUSY: another is served."""

    ticket: int
    function: int


class Destroy(Message, frozen=True):
    """Close a function's sockets, unmap its memory and forget it."""

    ticket: int
    function: int


class Answer(Message, frozen=True):
    """Answer to Access, Command, Event or Migrate: ``data`` is the value if ``errno`` is 0.

    ``state`` is None when it did not change.
    """

    function: int
    request: int
    errno: int
    data: bytes
    state: bytes | None
    effects: tuple[AnyEffect, ...]


class XdpSockets(msgspec.Struct, frozen=True):
    """How the memory of XDP sockets is divided: ``count`` chunks for what comes, and as many for what leaves."""

    count: int  # entries of each ring: a power of two
    chunk: int  # bytes: a power of two
    several: bool  # a frame may take several chunks
    undone: bool  # what comes may lack its checksum, as a virtual interface leaves it


class JoinUplink(Message, frozen=True):
    """Have an uplink, in place of one that is there.

    Descriptor: a packet socket with PACKET_VNET_HDR, not blocking. With ``xdp`` instead: the memory, the link of the
    XDP program, a packet socket that keeps the interface promiscuous, and one XDP socket a queue.
    """

    ticket: int
    uplink: int
    interface: str
    ifindex: int
    mtu: int  # bytes of an Ethernet payload
    up: bool  # the interface is up and has a carrier
    xdp: XdpSockets | None = None


class ChangeUplink(Message, frozen=True):
    """The interface of an uplink changed."""

    ticket: int
    uplink: int
    mtu: int
    up: bool


class LeaveUplink(Message, frozen=True):
    """Have this uplink no more. One that is not there is no error."""

    ticket: int
    uplink: int


class ChangeSwitch(Message, frozen=True):
    """How the built-in switch works. ``flooding``: frames to unknown addresses go to guests that may want them."""

    ticket: int
    flooding: bool


class Shutdown(Message, frozen=True):
    """End the datapath: every guest loses its devices."""

    ticket: int


FromDatapath: TypeAlias = (
    Hello
    | Attached
    | AttachedAll
    | Access
    | Command
    | Event
    | Done
    | Negotiated
    | AttachedUplink
    | Positioned
    | Migrate
)
FromController: TypeAlias = (
    Create
    | Update
    | Destroy
    | Answer
    | Shutdown
    | Connect
    | JoinUplink
    | ChangeUplink
    | LeaveUplink
    | ChangeSwitch
    | Positions
)
