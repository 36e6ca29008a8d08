//! The fixed outside of a function: what the datapath answers from without asking the controller.

use crate::control::messages::{Description, Doorbell, Window};

/// BARs 0..5, the expansion ROM, the configuration space and VGA: the indices of VFIO PCI devices.
pub const REGIONS: usize = 9;

/// MSI-X has at most this many vectors (PCI 3.0 §6.8.2.3).
const MAX_VECTORS: u64 = 2048;

/// A description whose parts are known to fit together.
#[derive(Debug)]
pub struct Outside {
    sizes: [u64; REGIONS],
    pub vectors: u16,
    pub without_intx: bool,
    doorbells: Vec<Doorbell>,
    isr: Vec<Window>,
    pending: Option<Window>,
}

/// What answers an access.
#[derive(Debug, PartialEq, Eq)]
pub enum Register {
    /// The driver notifies this queue.
    Doorbell(u16),
    /// The ISR status: reading clears.
    Isr,
    /// Bytes from here on of the MSI-X pending bit array.
    Pending(usize),
    /// The function, in the controller.
    Other,
}

impl Outside {
    /// The error is a sentence.
    pub fn new(description: Description) -> Result<Self, String> {
        let mut sizes = [0; REGIONS];
        for region in &description.regions {
            let size = usize::try_from(region.index).ok().and_then(|index| sizes.get_mut(index));
            *size.ok_or_else(|| format!("there is no region {}", region.index))? = region.size;
        }
        let vectors = u16::try_from(description.vectors).ok().filter(|_| description.vectors <= MAX_VECTORS);
        let outside = Self {
            sizes,
            vectors: vectors.ok_or_else(|| format!("{} vectors are more than {MAX_VECTORS}", description.vectors))?,
            without_intx: description.without_intx,
            doorbells: description.doorbells,
            isr: description.isr,
            pending: description.pending,
        };
        outside.windows_fit()?;
        Ok(outside)
    }

    fn windows_fit(&self) -> Result<(), String> {
        let doorbells = self.doorbells.iter().map(|bell| (bell.region, bell.offset, bell.size));
        let windows = self.isr.iter().chain(&self.pending).map(|window| (window.region, window.offset, window.size));
        for (region, offset, size) in doorbells.chain(windows) {
            let room = usize::try_from(region).map_or(0, |region| self.size(region));
            if offset.checked_add(size).is_none_or(|end| end > room) {
                return Err(format!("a window of {size} bytes at {offset:#x} is not inside region {region}"));
            }
        }
        Ok(())
    }

    /// Bytes of a region; 0: there is none.
    pub fn size(&self, region: usize) -> u64 {
        self.sizes.get(region).copied().unwrap_or(0)
    }

    /// Whether an access is of at least one byte and inside its region.
    pub fn contains(&self, region: u32, offset: u64, count: u32) -> bool {
        let end = offset.checked_add(u64::from(count));
        count > 0 && end.is_some_and(|end| end <= self.size(region as usize))
    }

    pub fn read(&self, region: u32, offset: u64, count: u32) -> Register {
        let exactly = |window: &&Window| window.offset == offset && count == 1;
        if self.isr.iter().filter(|window| window.region == u64::from(region)).any(|window| exactly(&window)) {
            return Register::Isr;
        }
        match &self.pending {
            Some(window) if inside(window, region, offset, count) => {
                Register::Pending((offset - window.offset) as usize)
            }
            _ => Register::Other,
        }
    }

    pub fn write(&self, region: u32, offset: u64, data: &[u8]) -> Register {
        self.doorbells
            .iter()
            .find_map(|bell| rung(bell, region, offset, data))
            .map_or(Register::Other, Register::Doorbell)
    }
}

fn inside(window: &Window, region: u32, offset: u64, count: u32) -> bool {
    let start = offset.checked_sub(window.offset);
    window.region == u64::from(region) && start.is_some_and(|start| start + u64::from(count) <= window.size)
}

/// The queue that a write notifies. Without a stride it is the 16-bit value (legacy), else the place (virtio 1.3 §4.1.4.4).
fn rung(bell: &Doorbell, region: u32, offset: u64, data: &[u8]) -> Option<u16> {
    let window = Window { region: bell.region, offset: bell.offset, size: bell.size };
    if !inside(&window, region, offset, data.len() as u32) {
        return None;
    }
    match bell.stride {
        0 => data.try_into().ok().filter(|_| offset == bell.offset).map(u16::from_le_bytes),
        stride => u16::try_from((offset - bell.offset) / stride).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::messages::Region;

    fn description() -> Description {
        Description {
            regions: vec![
                Region { index: 0, size: 64 },
                Region { index: 4, size: 0x4000 },
                Region { index: 7, size: 4096 },
            ],
            vectors: 3,
            doorbells: vec![
                Doorbell { region: 0, offset: 16, size: 2, stride: 0 },
                Doorbell { region: 4, offset: 0x3000, size: 12, stride: 4 },
            ],
            isr: vec![Window { region: 0, offset: 19, size: 1 }, Window { region: 4, offset: 0x1000, size: 1 }],
            pending: Some(Window { region: 4, offset: 0x2800, size: 8 }),
            without_intx: false,
        }
    }

    fn outside() -> Outside {
        Outside::new(description()).unwrap()
    }

    #[test]
    fn a_legacy_doorbell_is_the_value_and_a_modern_one_the_place() {
        assert_eq!(outside().write(0, 16, &[2, 1]), Register::Doorbell(0x102));
        assert_eq!(outside().write(4, 0x3008, &[9, 9]), Register::Doorbell(2));
        assert_eq!(outside().write(4, 0x3008, &[0; 4]), Register::Doorbell(2));
    }

    #[test]
    fn a_write_that_is_not_wholly_a_doorbell_goes_to_the_function() {
        for (region, offset, data) in
            [(0, 16, &[0; 4][..]), (0, 16, &[0]), (0, 17, &[0]), (4, 0x300b, &[0; 2]), (7, 16, &[0; 2])]
        {
            assert_eq!(outside().write(region, offset, data), Register::Other, "{region} {offset:#x} {}", data.len());
        }
    }

    #[test]
    fn only_a_read_of_exactly_the_isr_byte_takes_it() {
        assert_eq!(outside().read(0, 19, 1), Register::Isr);
        assert_eq!(outside().read(4, 0x1000, 1), Register::Isr);
        assert_eq!(outside().read(4, 0x1000, 4), Register::Other);
        assert_eq!(outside().read(4, 19, 1), Register::Other);
    }

    #[test]
    fn pending_bits_are_read_inside_their_window() {
        assert_eq!(outside().read(4, 0x2804, 4), Register::Pending(4));
        assert_eq!(outside().read(4, 0x2804, 8), Register::Other);
        assert_eq!(outside().read(4, 0x27fc, 8), Register::Other);
    }

    #[test]
    fn an_access_is_inside_its_region() {
        let outside = outside();
        assert!(outside.contains(0, 63, 1) && outside.contains(7, 0, 4096));
        for (region, offset, count) in
            [(0, 63, 2), (0, 64, 1), (0, 0, 0), (1, 0, 1), (9, 0, 1), (u32::MAX, 0, 1), (0, u64::MAX, 1)]
        {
            assert!(!outside.contains(region, offset, count), "{region} {offset:#x} {count}");
        }
    }

    #[test]
    fn windows_outside_their_region_are_refused() {
        let mut wrong = description();
        wrong.doorbells[0].offset = 63;
        assert!(Outside::new(wrong).unwrap_err().contains("not inside region 0"));
        let mut wrong = description();
        wrong.vectors = 2049;
        assert!(Outside::new(wrong).unwrap_err().contains("2049"));
    }
}
