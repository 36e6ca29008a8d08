//! The log of a device that may be moved over vfio-user: a bit for each page that it has written, in memory of ours. Its VMM
//! asks for it piece by piece, and what was told is forgotten.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::Marks;

/// Bytes of guest memory to a bit, and bits to a word.
const PAGE: u64 = 4096;
const BITS: u64 = 64;

/// What one log may take: words for 1 TiB of guest memory, and more parts than there can be maps at a time.
const MOST_WORDS: u64 = 4 << 20;
const MOST_PARTS: usize = 16384;

/// A snapshot: it is replaced when the guest has memory that it does not cover. The bits are shared with the next one.
#[derive(Default)]
pub struct Pages {
    /// In order, and none over another.
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    /// The first page, and the one after the last.
    start: u64,
    end: u64,
    words: Arc<Box<[AtomicU64]>>,
}

/// There would be more to log than is logged for one device.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMuch;

impl Pages {
    /// A log of these ranges of guest memory, and of whatever is marked in this one. Ranges (address, length) are whole pages,
    /// in order, and none over another.
    pub fn covering(&self, ranges: &[(u64, u64)]) -> Result<Pages, TooMuch> {
        let ranges: Vec<(u64, u64)> = ranges.iter().map(|(start, len)| (start / PAGE, (start + len) / PAGE)).collect();
        let overlaps = |part: &Part| {
            let next = ranges.partition_point(|(_, end)| *end <= part.start);
            ranges.get(next).is_some_and(|(start, _)| *start < part.end)
        };
        let mut parts: Vec<Part> = self.parts.iter().filter(|part| overlaps(part) || part.marked()).cloned().collect();
        let gaps = ranges.iter().flat_map(|range| self.gaps(*range)).collect::<Vec<_>>();
        let words = parts.iter().map(|part| part.end - part.start).chain(gaps.iter().map(|(start, end)| end - start));
        if words.map(|pages| pages.div_ceil(BITS)).sum::<u64>() > MOST_WORDS || parts.len() + gaps.len() > MOST_PARTS {
            return Err(TooMuch);
        }
        parts.extend(gaps.into_iter().map(|(start, end)| Part::new(start, end)));
        parts.sort_by_key(|part| part.start);
        Ok(Pages { parts })
    }

    /// What of a range of pages is in no part.
    fn gaps(&self, (start, end): (u64, u64)) -> Vec<(u64, u64)> {
        let (mut gaps, mut at) = (Vec::new(), start);
        for part in self.within(start, end) {
            if at < part.start {
                gaps.push((at, part.start));
            }
            at = part.end;
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }

    /// The parts that have pages of a range.
    fn within(&self, start: u64, end: u64) -> impl Iterator<Item = &Part> {
        let first = self.parts.partition_point(|part| part.end <= start);
        self.parts[first..].iter().take_while(move |part| part.start < end)
    }

    /// Whether anything of a range of guest memory is logged.
    pub fn covers(&self, address: u64, len: u64) -> bool {
        self.within(address / PAGE, address.saturating_add(len).div_ceil(PAGE)).next().is_some()
    }

    /// The marks of a range of guest memory, which are no more after this. The bitmap has a bit for each `unit` bytes from
    /// `address` on, lowest first, in whole 64-bit words. `address` and `len` are whole pages.
    pub fn take(&self, address: u64, len: u64, unit: u64) -> Vec<u8> {
        let mut bitmap = vec![0; (len.div_ceil(unit).div_ceil(BITS) * (BITS / 8)) as usize];
        let (start, end) = (address / PAGE, (address + len) / PAGE);
        for part in self.within(start, end) {
            part.take(start.max(part.start), end.min(part.end), |page| {
                let offset = page * PAGE - address;
                for bit in offset / unit..=(offset + PAGE - 1) / unit {
                    bitmap[(bit / 8) as usize] |= 1 << (bit % 8);
                }
            });
        }
        bitmap
    }
}

impl Marks for Pages {
    /// The bits are set even where they are set already: the VMM takes them at any moment, and one that it takes must not
    /// have been seen before the write was to be seen.
    fn mark(&self, guest: u64, len: u64) {
        if len == 0 {
            return;
        }
        let (first, end) = (guest / PAGE, guest.saturating_add(len - 1) / PAGE + 1);
        for part in self.within(first, end) {
            for page in first.max(part.start)..end.min(part.end) {
                let (word, bit) = part.place(page);
                part.words[word].fetch_or(bit, SeqCst);
            }
        }
    }
}

impl Part {
    /// The words are zero pages of the kernel's until something is marked there.
    fn new(start: u64, end: u64) -> Part {
        let words = vec![0u64; (end - start).div_ceil(BITS) as usize].into_boxed_slice();
        // SAFETY: an AtomicU64 has size, alignment and values of a u64, and the box belongs to nobody else.
        let words = unsafe { Box::from_raw(Box::into_raw(words) as *mut [AtomicU64]) };
        Part { start, end, words: Arc::new(words) }
    }

    /// The word of a page, and its bit there.
    fn place(&self, page: u64) -> (usize, u64) {
        let at = page - self.start;
        ((at / BITS) as usize, 1 << (at % BITS))
    }

    fn marked(&self) -> bool {
        self.words.iter().any(|word| word.load(Relaxed) != 0)
    }

    /// Visits the pages of a range that are marked, and takes the marks away.
    fn take(&self, start: u64, end: u64, mut visit: impl FnMut(u64)) {
        let (start, end) = (start - self.start, end - self.start);
        for index in start / BITS..end.div_ceil(BITS) {
            let first = index * BITS;
            let mask = u64::MAX << start.saturating_sub(first) & u64::MAX >> (first + BITS).saturating_sub(end).min(63);
            let word = &self.words[index as usize];
            if word.load(Relaxed) & mask == 0 {
                continue;
            }
            let mut marks = word.fetch_and(!mask, SeqCst) & mask;
            while marks != 0 {
                visit(self.start + first + u64::from(marks.trailing_zeros()));
                marks &= marks - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of 32 pages from the 16th on.
    fn pages() -> Pages {
        Pages::default().covering(&[(16 * PAGE, 32 * PAGE)]).unwrap()
    }

    fn bits(pages: &Pages, unit: u64) -> u64 {
        let bitmap = pages.take(16 * PAGE, 16 * PAGE, unit);
        u64::from_le_bytes(bitmap.try_into().unwrap())
    }

    #[test]
    fn each_page_has_its_bit_lowest_first_and_is_told_once() {
        let pages = pages();
        for (guest, len) in [(16 * PAGE, 1), (19 * PAGE - 1, 2), (24 * PAGE, 0), (31 * PAGE + 4095, 1)] {
            pages.mark(guest, len);
        }
        assert_eq!(bits(&pages, PAGE), 0x800d);
        assert_eq!(bits(&pages, PAGE), 0);
    }

    #[test]
    fn only_what_was_asked_for_is_forgotten() {
        let pages = pages();
        pages.mark(16 * PAGE, 32 * PAGE);
        assert_eq!(pages.take(20 * PAGE, 3 * PAGE, PAGE), [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bits(&pages, PAGE), 0xff8f);
        assert_eq!(pages.take(32 * PAGE, 16 * PAGE, PAGE)[..2], [0xff, 0xff]);
    }

    #[test]
    fn bits_may_stand_for_less_or_more_than_a_page() {
        let pages = pages();
        let mark = || [(16, 1), (22, 4)].iter().for_each(|(page, count)| pages.mark(page * PAGE, count * PAGE));
        for (unit, expected) in [(PAGE / 2, 0b1111_1111_0000_0000_0011), (2 * PAGE, 0b1_1001), (16 * PAGE, 1)] {
            mark();
            assert_eq!(bits(&pages, unit), expected, "{unit}");
        }
        assert_eq!(bits(&pages, PAGE), 0);
    }

    #[test]
    fn what_is_not_logged_is_left_out() {
        let pages = pages();
        pages.mark(0, u64::MAX);
        pages.mark(48 * PAGE, u64::MAX);
        let all = pages.take(0, 128 * PAGE, PAGE);
        assert_eq!(all.iter().map(|byte| byte.count_ones()).sum::<u32>(), 32);
        assert_eq!((all[1], all[2], all[5], all[6]), (0, 0xff, 0xff, 0));
        assert!(pages.covers(0, 17 * PAGE) && !pages.covers(0, 16 * PAGE) && !pages.covers(48 * PAGE, PAGE));
    }

    #[test]
    fn memory_that_comes_is_logged_and_what_is_marked_is_kept_when_it_goes() {
        let first = pages();
        first.mark(17 * PAGE, 1);
        let second = first.covering(&[(10 * PAGE, 20 * PAGE), (100 * PAGE, PAGE)]).unwrap();
        first.mark(18 * PAGE, 1); // by a worker that has not heard of the second
        second.mark(10 * PAGE, 7 * PAGE);
        second.mark(100 * PAGE, 1);
        let third = second.covering(&[]).unwrap();
        assert_eq!(bits(&third, PAGE), 0b111);
        assert_eq!(third.take(10 * PAGE, 6 * PAGE, PAGE)[0], 0b11_1111);
        assert!(third.covers(100 * PAGE, PAGE), "it is marked");
        assert_eq!(third.take(100 * PAGE, PAGE, PAGE)[0], 1);
        assert!(third.covering(&[]).unwrap().parts.is_empty());
    }

    #[test]
    fn a_log_is_bounded() {
        let tib = 1 << 40;
        assert!(Pages::default().covering(&[(0, tib)]).is_ok());
        assert_eq!(Pages::default().covering(&[(0, tib), (2 * tib, PAGE)]).err(), Some(TooMuch));
        let scattered: Vec<_> = (0..=MOST_PARTS as u64).map(|n| (2 * n * PAGE, PAGE)).collect();
        assert!(Pages::default().covering(&scattered[1..]).is_ok());
        assert_eq!(Pages::default().covering(&scattered).err(), Some(TooMuch));
    }
}
