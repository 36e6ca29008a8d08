// Generated from src/softdpu/datapath/counters.py by `python -m softdpu.datapath.generate`.

/// Function numbers are below this.
pub const FUNCTIONS: usize = 1024;
/// Uplinks have the numbers after those.
pub const UPLINKS: usize = 2;
/// Counters in a row.
pub const ROW: usize = 64;
/// Queues that have a row of their own.
pub const QUEUES: usize = 66;
/// Of a port's row: the ISR bits as they are.
pub const ISR: usize = 63;
pub const SLOT_ROWS: usize = 67;
pub const SLOT_BYTES: usize = 34304;
/// Workers have rows after the slots.
pub const WORKERS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    RepresentorInFrames,
    RepresentorInOctets,
    RepresentorOutFrames,
    RepresentorOutOctets,
    SwitchedFrames,
    SwitchedOctets,
    DropNoBuffer,
    DropFiltered,
    DropVlan,
    DropLinkDown,
    DropTooLong,
    DropTooShort,
    DropBadHeader,
    DropNoReceiver,
    DropRepresentorBusy,
    DropRepresentorDown,
    DropNotReady,
    QueueFaults,
    PeerFaults,
    DmaMaps,
    DmaUnmaps,
    Interrupts,
    UplinkInFrames,
    UplinkInOctets,
    TransmittedFrames,
    ReceivedFrames,
    SwitchInFrames,
    SwitchOutFrames,
    FloodCopies,
    UplinkOutFrames,
    UplinkOutOctets,
    DropBadDescriptor,
    DropUplinkBusy,
    DropUplinkDown,
    DropNoSuchMac,
    StuckInterrupts,
    DropQueueDisabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    Doorbells,
    Batches,
    ReceivedDesc,
    CompletedDesc,
    BadDescErrors,
    ExceedMaxChain,
    InvalidBuffer,
    Frames,
    Octets,
    Interrupts,
    SuppressedInterrupts,
    Size64OrLess,
    Size65To127,
    Size128To255,
    Size256To511,
    Size512To1023,
    Size1024To1522,
    Size1523To2047,
    Size2048To4095,
    Size4096To8191,
    Size8192To9022,
    Size9023OrMore,
    DropNoBuffer,
    DropNotReady,
    DropBadHeader,
    DropBadDescriptor,
    DropTooShort,
    UnsentFrames,
    UnsentOctets,
    UnsentGsoFrames,
    UnsentGsoOctets,
    NeedsCsum,
    CsumValid,
    GsoFrames,
    GsoOctets,
    Commands,
    CommandsOk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    Serves,
    Core,
    BusyNs,
    Queues,
    Ports,
}

/// See `softdpu.datapath.ledger`.
#[allow(dead_code, reason = "for tests: the controller does the sums")]
#[rustfmt::skip]
pub const CAME_IN: [Function; 4] = [
    Function::TransmittedFrames,
    Function::RepresentorInFrames,
    Function::UplinkInFrames,
    Function::SwitchInFrames,
];

/// See `softdpu.datapath.ledger`.
#[allow(dead_code, reason = "for tests: the controller does the sums")]
#[rustfmt::skip]
pub const COPIES: [Function; 1] = [
    Function::FloodCopies,
];

/// See `softdpu.datapath.ledger`.
#[allow(dead_code, reason = "for tests: the controller does the sums")]
#[rustfmt::skip]
pub const WENT_OUT: [Function; 4] = [
    Function::ReceivedFrames,
    Function::RepresentorOutFrames,
    Function::UplinkOutFrames,
    Function::SwitchOutFrames,
];

/// See `softdpu.datapath.ledger`.
#[allow(dead_code, reason = "for tests: the controller does the sums")]
#[rustfmt::skip]
pub const DROPS: [Function; 16] = [
    Function::DropNoBuffer,
    Function::DropFiltered,
    Function::DropVlan,
    Function::DropLinkDown,
    Function::DropTooLong,
    Function::DropTooShort,
    Function::DropBadHeader,
    Function::DropNoReceiver,
    Function::DropRepresentorBusy,
    Function::DropRepresentorDown,
    Function::DropNotReady,
    Function::DropBadDescriptor,
    Function::DropUplinkBusy,
    Function::DropUplinkDown,
    Function::DropNoSuchMac,
    Function::DropQueueDisabled,
];

/// What a queue drops is a part of what its port does.
#[allow(dead_code, reason = "for tests: the controller does the sums")]
#[rustfmt::skip]
pub const QUEUE_DROPS: [(Function, Queue); 5] = [
    (Function::DropNoBuffer, Queue::DropNoBuffer),
    (Function::DropNotReady, Queue::DropNotReady),
    (Function::DropBadHeader, Queue::DropBadHeader),
    (Function::DropBadDescriptor, Queue::DropBadDescriptor),
    (Function::DropTooShort, Queue::DropTooShort),
];
