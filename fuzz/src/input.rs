//! Bytes as decisions. When they are used up every decision is the first one, so a program ends.

pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Input(data)
    }

    pub fn ended(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.number(1) as u8
    }

    pub fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    pub fn u64(&mut self) -> u64 {
        self.number(8)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    /// 0..n
    pub fn below(&mut self, n: usize) -> usize {
        let number = if n <= 256 { self.number(1) } else { self.number(4) };
        number as usize % n.max(1)
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self, n: usize) -> u64 {
        let mut wide = [0; 8];
        let taken = self.bytes(n);
        wide[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(wide)
    }
}
