// Generated from src/softdpu/datapath/counters.py by `python -m softdpu.datapath.generate`.

/// Function numbers are below this.
pub const FUNCTIONS: usize = 1024;
/// Counters in a row.
pub const ROW: usize = 64;
/// Queues that have a row of their own.
pub const QUEUES: usize = 65;
pub const SLOT_ROWS: usize = 66;
pub const SLOT_BYTES: usize = 33792;

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
    TransmittedFrames,
    ReceivedFrames,
    SwitchInFrames,
    SwitchOutFrames,
    FloodCopies,
    UplinkInFrames,
    UplinkInOctets,
    UplinkOutFrames,
    UplinkOutOctets,
    DropBadDescriptor,
    DropUplinkBusy,
    DropUplinkDown,
    DropNoSuchMac,
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
}
