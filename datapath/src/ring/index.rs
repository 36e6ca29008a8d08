//! Where a ring stands.

/// An index, modulo 2¹⁶, in 32 bits: an aligned u16 would be loaded together with its neighbour, and such a load waits until
/// what was just stored into the neighbour alone has reached the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Index(u32);

impl Index {
    #[inline(always)]
    pub fn new(index: u16) -> Index {
        Index(index.into())
    }

    #[inline(always)]
    pub fn get(self) -> u16 {
        self.0 as u16
    }

    /// The index so many places on.
    #[inline(always)]
    pub fn after(self, count: u16) -> Index {
        Index::new(self.get().wrapping_add(count))
    }

    /// How many places this one is behind `end`.
    #[inline(always)]
    pub fn until(self, end: Index) -> u16 {
        end.get().wrapping_sub(self.get())
    }
}
