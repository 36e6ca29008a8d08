//! How far front end and function have come, for the controller.

use super::session::{Port, Session};
use crate::control::messages::{Agreement, Ring};

impl Session {
    pub fn agreement(&self) -> Agreement {
        Agreement {
            features: self.features,
            protocol_features: self.protocol.bits(),
            status: self.status.into(),
            mtu: self.mtu.into(),
            rings: (0..self.rings.len() as u32).map(|index| self.told_ring(index)).collect(),
        }
    }

    fn told_ring(&self, index: u32) -> Ring {
        let ring = &self.rings[index as usize];
        let [descriptor, driver, device] = ring.running.unwrap_or_default();
        let (started, enabled, position) = (ring.running.is_some(), self.enabled(index), ring.base.into());
        Ring { size: ring.size.into(), descriptor, driver, device, started, enabled, position }
    }
}

impl Port {
    /// With nobody.
    pub fn no_agreement(&self) -> Agreement {
        Agreement { features: 0, protocol_features: 0, status: 0, mtu: 0, rings: Vec::new() }
    }
}
