//! GET_INFO and GET_REGION_INFO: answered from the fixed outside.

use rustix::io::Errno;

use super::irqs;
use super::outside::{Outside, REGIONS};
use super::wire::Fields;

const CAN_RESET: u32 = 1;
const IS_PCI: u32 = 2;
const DEVICE_SIZE: u32 = 16;

const READABLE: u32 = 1;
const WRITABLE: u32 = 2;
const REGION_SIZE: u32 = 32;

pub fn device(body: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields(body);
    let size = fields.u32()?;
    fields.take::<{ DEVICE_SIZE as usize - 4 }>()?;
    if size < DEVICE_SIZE {
        return Err(Errno::INVAL);
    }
    let told = [DEVICE_SIZE, CAN_RESET | IS_PCI, REGIONS as u32, irqs::TYPES.len() as u32];
    Ok(told.iter().flat_map(|field| field.to_le_bytes()).collect())
}

/// No region has capabilities, so the reply is never longer than the least that may be asked for.
pub fn region(body: &[u8], outside: &Outside) -> Result<Vec<u8>, Errno> {
    let mut fields = Fields(body);
    let (size, _flags, index) = (fields.u32()?, fields.u32()?, fields.u32()?);
    fields.take::<{ REGION_SIZE as usize - 12 }>()?;
    if size < REGION_SIZE || index as usize >= REGIONS {
        return Err(Errno::INVAL);
    }
    let bytes = outside.size(index as usize);
    let flags = if bytes > 0 { READABLE | WRITABLE } else { 0 };
    let head = [REGION_SIZE, flags, index, 0].into_iter().flat_map(u32::to_le_bytes);
    Ok(head.chain([bytes, 0].into_iter().flat_map(u64::to_le_bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::messages::{Description, Region};

    fn outside() -> Outside {
        let regions = vec![Region { index: 0, size: 64 }, Region { index: 7, size: 4096 }];
        Outside::new(Description {
            regions,
            vectors: 0,
            doorbells: vec![],
            isr: vec![],
            pending: None,
            without_intx: false,
        })
        .unwrap()
    }

    fn ask(size: u32, index: u32) -> Vec<u8> {
        let mut body: Vec<u8> = [size, 0, index].into_iter().flat_map(u32::to_le_bytes).collect();
        body.resize(32, 0);
        body
    }

    #[test]
    fn a_region_tells_its_size_and_an_absent_one_zero() {
        let told = region(&ask(64, 7), &outside()).unwrap();
        assert_eq!(
            (told.len(), &told[..12], &told[16..24]),
            (32, &[32, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0][..], &4096u64.to_le_bytes()[..])
        );
        assert_eq!(region(&ask(32, 1), &outside()).unwrap()[4..8], [0; 4]);
    }

    #[test]
    fn a_short_question_or_an_unknown_region_is_invalid() {
        assert_eq!(region(&ask(31, 0), &outside()), Err(Errno::INVAL));
        assert_eq!(region(&ask(32, 9), &outside()), Err(Errno::INVAL));
        assert_eq!(region(&ask(32, 0)[..31], &outside()), Err(Errno::INVAL));
        assert_eq!(device(&[16, 0, 0, 0, 0, 0, 0, 0]), Err(Errno::INVAL));
        assert_eq!(device(&ask(15, 0)), Err(Errno::INVAL));
    }

    #[test]
    fn the_device_is_pci_and_can_be_reset() {
        assert_eq!(device(&ask(32, 0)[..16]).unwrap(), [16, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0]);
    }
}
