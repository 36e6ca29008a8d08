//! A descriptor of either layout, read once (virtio 1.3 §2.7.5, §2.8.13).

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// One buffer, or the place of an indirect table.
#[derive(Clone, Copy)]
pub struct Descriptor {
    pub iova: u64,
    pub len: u32,
    pub flags: u16,
    /// Split: the number of the next one in its chain. Packed: what the driver knows the buffer by.
    pub link: u16,
}

impl Descriptor {
    /// The two words of struct virtq_desc, as they lie in memory.
    #[inline(always)]
    pub fn split(words: [u64; 2]) -> Self {
        let [iova, rest] = words.map(u64::from_le);
        Descriptor { iova, len: rest as u32, flags: (rest >> 32) as u16, link: (rest >> 48) as u16 }
    }

    /// The two words of struct pvirtq_desc, as they lie in memory.
    #[inline(always)]
    pub fn packed(words: [u64; 2]) -> Self {
        let [iova, rest] = words.map(u64::from_le);
        Descriptor { iova, len: rest as u32, flags: (rest >> 48) as u16, link: (rest >> 32) as u16 }
    }

    #[inline(always)]
    pub fn writes(&self) -> bool {
        self.flags & WRITE != 0
    }

    #[inline(always)]
    pub fn continues(&self) -> bool {
        Descriptor::continued(self.flags)
    }

    #[inline(always)]
    pub fn continued(flags: u16) -> bool {
        flags & NEXT != 0
    }

    #[inline(always)]
    pub fn indirect(&self) -> bool {
        self.flags & INDIRECT != 0
    }

    /// Whether it is a whole chain by itself, of bytes of this direction.
    #[inline(always)]
    pub fn alone(&self, writes: bool) -> bool {
        self.flags & (NEXT | WRITE | INDIRECT) == if writes { WRITE } else { 0 } && self.len > 0
    }
}
