//! The frames of one batch, by the place of their chains, and what holds for many of them at once: frames come in
//! conversations, so most questions are asked once a run of frames, and some once a batch.

use std::ops::Index;

use super::frame::Frame;
use super::loss::Handful;
use crate::counters::QueueCounters;
use crate::ring::BATCH;

#[derive(Default)]
pub struct Frames<'b, 'm> {
    places: Places<'b, 'm>,
    survey: Survey,
}

struct Places<'b, 'm>([Option<Frame<'b, 'm>>; BATCH]);

/// What was seen of the frames as they came. Places are bits.
#[derive(Clone, Copy, Default)]
struct Survey {
    present: u64,
    /// Where a run begins: a frame that is not like the one before.
    heads: u64,
    /// Those in one piece, with nothing left undone.
    plain: u64,
    /// Bytes of the longest, on a wire.
    longest: usize,
    sizes: Handful,
    /// Fields of the last.
    last: [u64; 2],
}

impl Default for Places<'_, '_> {
    fn default() -> Self {
        Places([None; BATCH])
    }
}

impl<'b, 'm> Frames<'b, 'm> {
    /// Takes up to `BATCH` frames, the first in place 0. None: there is no frame in that place.
    pub fn fill(&mut self, frames: impl Iterator<Item = Option<Frame<'b, 'm>>>) {
        self.fill_with(frames, |_| None, |frame| frame);
    }

    /// The same, of what frames may be made of: `usual` is for frames of which the compiler knows more than of `other`.
    #[inline(always)]
    pub fn fill_with<T: Copy>(
        &mut self,
        of: impl Iterator<Item = T>,
        usual: impl Fn(T) -> Option<Frame<'b, 'm>>,
        mut other: impl FnMut(T) -> Option<Frame<'b, 'm>>,
    ) {
        // Apart from `self` until the end, so that it is kept in registers.
        let mut survey = Survey::default();
        for (number, (place, it)) in self.places.0.iter_mut().zip(of).enumerate() {
            if let Some(frame) = usual(it) {
                survey.see(number, &frame);
                *place = Some(frame);
            } else if let Some(frame) = other(it) {
                survey.see(number, &frame);
                *place = Some(frame);
            }
        }
        self.survey = survey;
    }

    /// One frame, in place 0.
    pub fn one(frame: Option<Frame<'b, 'm>>) -> Self {
        let mut frames = Frames::default();
        frames.fill([frame].into_iter());
        frames
    }

    /// Where there are frames.
    #[inline(always)]
    pub fn present(&self) -> u64 {
        self.survey.present
    }

    /// Where there are frames in one piece, with nothing left undone.
    #[inline(always)]
    pub fn plain(&self) -> u64 {
        self.survey.plain
    }

    /// The frames of `group` that are longer on a wire.
    #[inline(always)]
    pub fn longer(&self, group: u64, octets: usize) -> u64 {
        if self.survey.longest <= octets {
            0
        } else {
            self.search(group & self.survey.present, |frame| frame.longest() > octets)
        }
    }

    /// The frames of `group`, run by run: one of the run, and the places of those in it.
    #[inline(always)]
    pub fn runs(&self, group: u64) -> impl Iterator<Item = (&Frame<'b, 'm>, u64)> {
        let mut heads = self.survey.heads;
        let group = group & self.survey.present;
        std::iter::from_fn(move || {
            let first = self.places.0.get(heads.trailing_zeros() as usize)?.as_ref()?;
            let from = heads & heads.wrapping_neg();
            heads &= heads - 1;
            let to = heads & heads.wrapping_neg();
            Some((first, group & to.wrapping_sub(from)))
        })
        .filter(|(_, places)| *places != 0)
    }

    /// Counts the frames of `group` by their sizes.
    #[inline(always)]
    pub fn count(&self, group: u64, counters: &QueueCounters<'_>) {
        if group == self.survey.present {
            self.survey.sizes.count(counters);
        } else {
            self.add_up(group).count(counters);
        }
    }

    /// Bytes of the frames of `group`.
    #[inline(always)]
    pub fn octets(&self, group: u64) -> u64 {
        if group == self.survey.present { self.survey.sizes.octets() } else { self.add_up(group).octets() }
    }

    #[inline(never)]
    fn add_up(&self, group: u64) -> Handful {
        let mut sizes = Handful::default();
        bits(group).filter_map(|place| self[place].as_ref()).for_each(|frame| sizes.add(frame.len()));
        sizes
    }

    #[inline(never)]
    fn search(&self, group: u64, which: impl Fn(&Frame<'b, 'm>) -> bool) -> u64 {
        let found = bits(group).filter(|place| self[*place].as_ref().is_some_and(&which));
        found.fold(0, |all, place| all | 1 << place)
    }
}

impl Survey {
    #[inline(always)]
    fn see(&mut self, place: usize, frame: &Frame<'_, '_>) {
        let head = (self.present == 0) | (frame.fields() != self.last);
        self.last = frame.fields();
        self.present |= 1 << place;
        self.heads |= u64::from(head) << place;
        self.plain |= u64::from(frame.header.plain() && frame.payload.single().is_some()) << place;
        self.longest = self.longest.max(frame.longest());
        self.sizes.add(frame.len());
    }
}

impl<'b, 'm> Index<usize> for Frames<'b, 'm> {
    type Output = Option<Frame<'b, 'm>>;

    #[inline(always)]
    fn index(&self, place: usize) -> &Self::Output {
        &self.places.0[place]
    }
}

/// The numbers of the bits that are set.
pub fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Source;
    use crate::offload::Header;
    use crate::ring::Payload;

    /// A frame a byte, which says what is in it; 0: no frame. Each is one byte longer than the one before.
    fn filled<'b>(kinds: &[u8], bytes: &'b mut [[u8; BATCH + 16]; BATCH]) -> Frames<'b, 'b> {
        kinds.iter().zip(bytes.iter_mut()).for_each(|(kind, bytes)| *bytes = [*kind; BATCH + 16]);
        let mut frames = Frames::default();
        frames.fill(kinds.iter().zip(bytes.iter()).enumerate().map(|(place, (kind, bytes))| {
            let piece = Source::from(&bytes[..16 + place]);
            Frame::new(Payload::of(piece), Header::default()).filter(|_| *kind != 0)
        }));
        frames
    }

    fn runs(frames: &Frames<'_, '_>, group: u64) -> Vec<(u64, u64)> {
        frames.runs(group).map(|(frame, places)| (frame.destination().value() & 0xff, places)).collect()
    }

    #[test]
    fn frames_in_a_row_are_one_run_whatever_is_missing_between_them() {
        let mut bytes = [[0; BATCH + 16]; BATCH];
        let frames = filled(&[0, 0, 0, 7, 7, 0, 7, 8, 7], &mut bytes);
        assert_eq!(frames.present(), 0b1_1101_1000);
        assert_eq!(runs(&frames, u64::MAX), [(7, 0b101_1000), (8, 0b1000_0000), (7, 0b1_0000_0000)]);
        assert_eq!(runs(&frames, 0b1_0100_0001), [(7, 0b100_0000), (7, 0b1_0000_0000)]);
        assert_eq!(runs(&frames, 0b10_0000), []);
    }

    #[test]
    fn a_whole_batch_and_none_are_runs_too() {
        let mut bytes = [[0; BATCH + 16]; BATCH];
        assert_eq!(runs(&filled(&[9; BATCH], &mut bytes), u64::MAX), [(9, u64::MAX)]);
        assert_eq!(runs(&Frames::default(), u64::MAX), []);
        let kinds: [u8; BATCH] = std::array::from_fn(|place| place as u8 + 1);
        assert_eq!(runs(&filled(&kinds, &mut bytes), u64::MAX).len(), BATCH);
    }

    #[test]
    fn plain_is_one_piece_with_nothing_left_undone() {
        let (whole, parts) = ([0; 60], [[0; 30]; 2]);
        let one = [Source::from(&whole[..])];
        let two = parts.each_ref().map(|part| Source::from(&part[..]));
        let mut frames = Frames::default();
        let undone = Header::new([1, 0, 0, 0, 0, 0, 14, 0, 6, 0]);
        let given = [(&one[..], Header::default()), (&two[..], Header::default()), (&one[..], undone)];
        frames.fill(given.into_iter().map(|(pieces, header)| Frame::new(Payload::new(pieces, 60, 0), header)));
        assert_eq!((frames.present(), frames.plain()), (0b111, 0b001));
    }

    #[test]
    fn lengths_are_those_of_the_group() {
        let mut bytes = [[0; BATCH + 16]; BATCH];
        let frames = filled(&[5; 20], &mut bytes);
        assert_eq!(frames.octets(frames.present()), (16..36).sum::<u64>());
        assert_eq!(frames.octets(0b110), 17 + 18);
        assert_eq!(frames.longer(u64::MAX, 33), 0b11 << 18);
        assert_eq!(frames.longer(0b11, 16), 0b10);
        assert_eq!(frames.longer(u64::MAX, 35), 0);
    }
}
