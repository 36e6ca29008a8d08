//! Which frames a function receives (virtio 1.3 §5.1.6.5.1-3).

use super::frame::{Frame, Mac};
use super::loss::Loss;
use crate::worker::orders::Filter;

/// A filter, ready to be asked once a frame.
pub struct Rules {
    flags: Filter,
    own: Option<Mac>,
    sorted: Vec<Mac>,
}

impl Rules {
    pub fn new(flags: Filter) -> Rules {
        let mut sorted: Vec<Mac> = flags.addresses.iter().copied().map(Mac::new).collect();
        let own = sorted.first().copied();
        sorted.sort_unstable();
        Rules { flags, own, sorted }
    }

    /// What holds before the driver has said anything: all frames pass.
    pub fn open() -> Rules {
        Rules::new(Filter {
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            addresses: Vec::new(),
            vlans: None,
        })
    }

    /// Why a frame is refused, if it is. Promiscuous mode passes every VLAN too.
    #[inline(always)]
    pub fn refusal(&self, frame: &Frame<'_, '_>) -> Option<Loss> {
        if self.flags.promiscuous {
            return None;
        }
        if !self.takes_vlan(frame) {
            return Some(Loss::Vlan);
        }
        (!self.takes_address(frame.destination())).then_some(Loss::Filtered)
    }

    /// Whether frames to an address are this function's concern, whatever their VLAN.
    pub fn wants(&self, mac: Mac) -> bool {
        self.flags.promiscuous || self.takes_address(mac)
    }

    fn takes_vlan(&self, frame: &Frame<'_, '_>) -> bool {
        let (Some(vlans), Some(vlan)) = (&self.flags.vlans, frame.vlan()) else { return true };
        vlans[usize::from(vlan / 8)] & 1 << (vlan % 8) != 0
    }

    #[inline(always)]
    fn takes_address(&self, mac: Mac) -> bool {
        if mac.is_broadcast() {
            !self.flags.no_broadcast
        } else if mac.is_group() {
            !self.flags.no_multicast && (self.flags.all_multicast || self.lists(mac))
        } else {
            !self.flags.no_unicast && (self.flags.all_unicast || self.own == Some(mac) || self.lists(mac))
        }
    }

    #[inline(never)]
    fn lists(&self, mac: Mac) -> bool {
        self.sorted.binary_search(&mac).is_ok()
    }
}
