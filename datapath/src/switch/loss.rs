//! The ledger: every frame not delivered has one named cause; every frame that passes is counted by size.

use crate::counters::{Function, FunctionCounters, Queue, QueueCounters};
use crate::offload::Header;

/// Why a frame was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    NoBuffer,
    Filtered,
    Vlan,
    LinkDown,
    TooLong,
    TooShort,
    BadHeader,
    NoReceiver,
    RepresentorBusy,
    RepresentorDown,
    NotReady,
    BadDescriptor,
    UplinkBusy,
    UplinkDown,
    NoSuchMac,
    QueueDisabled,
}

impl Loss {
    pub fn counter(self) -> Function {
        match self {
            Loss::NoBuffer => Function::DropNoBuffer,
            Loss::Filtered => Function::DropFiltered,
            Loss::Vlan => Function::DropVlan,
            Loss::LinkDown => Function::DropLinkDown,
            Loss::TooLong => Function::DropTooLong,
            Loss::TooShort => Function::DropTooShort,
            Loss::BadHeader => Function::DropBadHeader,
            Loss::NoReceiver => Function::DropNoReceiver,
            Loss::RepresentorBusy => Function::DropRepresentorBusy,
            Loss::RepresentorDown => Function::DropRepresentorDown,
            Loss::NotReady => Function::DropNotReady,
            Loss::BadDescriptor => Function::DropBadDescriptor,
            Loss::UplinkBusy => Function::DropUplinkBusy,
            Loss::UplinkDown => Function::DropUplinkDown,
            Loss::NoSuchMac => Function::DropNoSuchMac,
            Loss::QueueDisabled => Function::DropQueueDisabled,
        }
    }

    pub fn count(self, counters: &FunctionCounters, frames: u64) {
        if frames > 0 {
            counters.add(self.counter(), frames);
        }
    }

    /// Counts frames of a queue: at their port, and at the queue for losses that tell of it.
    #[inline(always)]
    pub fn count_at(self, counters: &FunctionCounters, queue: u16, frames: u64) {
        if frames > 0 {
            self.lost_at(counters, queue, frames);
        }
    }

    #[cold]
    fn lost_at(self, counters: &FunctionCounters, queue: u16, frames: u64) {
        counters.add(self.counter(), frames);
        if let Some(counter) = self.of_queue() {
            counters.queue(queue).add(counter, frames);
        }
    }

    fn of_queue(self) -> Option<Queue> {
        match self {
            Loss::NoBuffer => Some(Queue::DropNoBuffer),
            Loss::NotReady => Some(Queue::DropNotReady),
            Loss::BadHeader => Some(Queue::DropBadHeader),
            Loss::BadDescriptor => Some(Queue::DropBadDescriptor),
            Loss::TooShort => Some(Queue::DropTooShort),
            _ => None,
        }
    }
}

/// Up to 255 frames of one batch by size. A byte a class, so that a frame costs no more than an addition.
#[derive(Clone, Copy, Default)]
pub struct Handful {
    frames: u64,
    octets: u64,
    sizes: [u64; 2],
}

/// Frames that passed a queue in one batch, any number of them: counted here first, so that the shared counters are touched
/// once a batch.
#[derive(Default)]
pub struct Tally {
    pub frames: u64,
    pub octets: u64,
    sizes: [u32; SIZES.len()],
    left: Left,
}

/// Frames of which something was left undone, or is known.
#[derive(Default)]
pub struct Left {
    frames: u64,
    needs_csum: u64,
    csum_valid: u64,
    gso_frames: u64,
    gso_octets: u64,
}

/// The longest frame of each class, in octets.
const SIZES: [(usize, Queue); 11] = [
    (64, Queue::Size64OrLess),
    (127, Queue::Size65To127),
    (255, Queue::Size128To255),
    (511, Queue::Size256To511),
    (1023, Queue::Size512To1023),
    (1522, Queue::Size1024To1522),
    (2047, Queue::Size1523To2047),
    (4095, Queue::Size2048To4095),
    (8191, Queue::Size4096To8191),
    (9022, Queue::Size8192To9022),
    (usize::MAX, Queue::Size9023OrMore),
];

/// One frame of each class, as a `Handful` counts it.
const ONE: [[u64; 2]; SIZES.len()] = {
    let (mut ones, mut class) = ([[0; 2]; SIZES.len()], 0);
    while class < SIZES.len() {
        ones[class][class / 8] = 1 << (8 * (class % 8));
        class += 1;
    }
    ones
};

impl Handful {
    #[inline(always)]
    pub fn add(&mut self, octets: usize) {
        self.frames += 1;
        self.octets += octets as u64;
        let [low, high] = ONE[class(octets)];
        self.sizes = [self.sizes[0] + low, self.sizes[1] + high];
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn octets(&self) -> u64 {
        self.octets
    }

    pub fn count(&self, counters: &QueueCounters<'_>) {
        if self.frames == 0 {
            return;
        }
        counters.add(Queue::Frames, self.frames);
        counters.add(Queue::Octets, self.octets);
        for (half, sizes) in SIZES.chunks(8).zip(self.sizes) {
            let mut left = sizes;
            while left != 0 {
                let place = left.trailing_zeros() & !7;
                let frames = left >> place & 0xff;
                counters.add(half[place as usize / 8].1, frames);
                left ^= frames << place;
            }
        }
    }
}

impl Tally {
    #[inline(always)]
    pub fn add(&mut self, octets: usize) {
        self.frames += 1;
        self.octets += octets as u64;
        self.sizes[class(octets)] += 1;
    }

    /// A frame that shows this header.
    pub fn add_with(&mut self, octets: usize, header: &Header) {
        self.add(octets);
        self.left.add(octets, header);
    }

    pub fn count(&self, counters: &QueueCounters<'_>) {
        if self.frames == 0 {
            return;
        }
        counters.add(Queue::Frames, self.frames);
        counters.add(Queue::Octets, self.octets);
        self.left.count(counters);
        for (frames, (_, counter)) in self.sizes.iter().zip(SIZES) {
            if *frames > 0 {
                counters.add(counter, u64::from(*frames));
            }
        }
    }
}

impl Left {
    /// A frame that shows this header.
    pub fn add(&mut self, octets: usize, header: &Header) {
        if header.plain() {
            return;
        }
        self.frames += 1;
        self.needs_csum += u64::from(header.partial());
        self.csum_valid += u64::from(header.valid());
        if header.segmented() {
            self.gso_frames += 1;
            self.gso_octets += octets as u64;
        }
    }

    #[inline(always)]
    pub fn count(&self, counters: &QueueCounters<'_>) {
        if self.frames > 0 {
            self.count_some(counters);
        }
    }

    #[inline(never)]
    fn count_some(&self, counters: &QueueCounters<'_>) {
        counters.add(Queue::NeedsCsum, self.needs_csum);
        counters.add(Queue::CsumValid, self.csum_valid);
        counters.add(Queue::GsoFrames, self.gso_frames);
        counters.add(Queue::GsoOctets, self.gso_octets);
    }
}

/// The place in `SIZES`, without a branch that frames of many lengths would mispredict: classes are powers of two, but for
/// the first and for two that are divided.
#[inline(always)]
fn class(octets: usize) -> usize {
    if octets <= 64 {
        return 0;
    }
    let divided = usize::from(octets > 1522) + usize::from(octets > 9022);
    (octets.ilog2() as usize - 5 + divided).min(SIZES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    #[test]
    fn a_handful_counts_what_a_tally_counts() {
        let memory = Counters::new().unwrap();
        let counters = [0, 1].map(|function| memory.function(function));
        let (mut handful, mut tally) = (Handful::default(), Tally::default());
        for octets in (0..255).map(|n| n * n) {
            handful.add(octets);
            tally.add(octets);
        }
        handful.count(&counters[0].queue(0));
        tally.count(&counters[1].queue(0));
        for counter in SIZES.iter().map(|(_, counter)| *counter).chain([Queue::Frames, Queue::Octets]) {
            let [counted, expected] = [0, 1].map(|function| counters[function].queue(0).get(counter));
            assert_eq!(counted, expected, "{}", counter as usize);
        }
    }

    #[test]
    fn a_frame_is_counted_in_the_first_class_that_it_fits() {
        for octets in 0..20_000 {
            let fits = SIZES.iter().position(|(longest, _)| octets <= *longest);
            assert_eq!(Some(class(octets)), fits, "{octets}");
        }
        assert_eq!(class(usize::MAX), 10);
    }
}
