//! VERSION: what the VMM proposes and what it is told.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::dma::{MAX_MAPS, PAGE};
use super::logging::MOST_BITMAP;
use super::wire::{Fields, MAX_TRANSFER};
use crate::control::socket::MAX_FDS;

const MAJOR: u16 = 0;
const MINOR: u16 = 1;

#[derive(Debug, Default, Deserialize)]
struct Proposal {
    #[serde(default)]
    capabilities: Proposed,
}

/// What is known of the VMM's capabilities; the types alone reject most nonsense.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Proposed {
    max_msg_fds: Option<u64>,
    max_data_xfer_size: Option<u64>,
    max_dma_maps: Option<u64>,
    pgsizes: Option<u64>,
    write_multiple: bool,
    migration: Option<Migration>,
}

#[derive(Debug, Deserialize)]
struct Migration {
    pgsize: Option<u64>,
}

#[derive(Serialize)]
struct Agreement {
    capabilities: Agreed,
}

#[derive(Serialize)]
struct Agreed {
    max_msg_fds: usize,
    max_data_xfer_size: u32,
    max_dma_maps: usize,
    pgsizes: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    write_multiple: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    migration: Option<AgreedMigration>,
}

#[derive(Serialize)]
struct AgreedMigration {
    pgsize: u64,
    max_bitmap_size: u64,
}

/// The body of the reply, and most bytes of migration data in one message. The reply is never longer than QEMU's proposal:
/// QEMU receives it in the same buffer. Of migration it speaks where the VMM did, or said nothing at all.
pub fn agree(body: &[u8]) -> Result<(Vec<u8>, u32), Errno> {
    let mut fields = Fields(body);
    let (major, minor) = (fields.u16()?, fields.u16()?);
    if major != MAJOR {
        return Err(Errno::INVAL);
    }
    let text = fields.rest();
    let proposed = parse(text)?;
    let migrates = text.is_empty() || proposed.migration.is_some();
    let capabilities = Agreed {
        max_msg_fds: MAX_FDS,
        max_data_xfer_size: MAX_TRANSFER,
        max_dma_maps: MAX_MAPS,
        pgsizes: PAGE,
        write_multiple: proposed.write_multiple,
        migration: migrates.then_some(AgreedMigration { pgsize: PAGE, max_bitmap_size: MOST_BITMAP }),
    };
    let transfer = proposed.max_data_xfer_size.map_or(MAX_TRANSFER, |most| most.min(MAX_TRANSFER.into()) as u32);
    let mut reply = [MAJOR.to_le_bytes(), minor.min(MINOR).to_le_bytes()].concat();
    serde_json::to_writer(&mut reply, &Agreement { capabilities }).expect("numbers can be written");
    reply.push(0);
    Ok((reply, transfer))
}

/// JSON with a terminating NUL, or nothing at all.
fn parse(text: &[u8]) -> Result<Proposed, Errno> {
    if text.is_empty() {
        return Ok(Proposed::default());
    }
    let json = text.split_last().filter(|(nul, _)| **nul == 0).ok_or(Errno::INVAL)?.1;
    let json: serde_json::Value = serde_json::from_slice(json).map_err(|_| Errno::INVAL)?;
    if !json.is_object() {
        return Err(Errno::INVAL); // serde would take a list for a structure
    }
    let proposed = serde_json::from_value::<Proposal>(json).map_err(|_| Errno::INVAL)?.capabilities;
    log::debug!("the VMM proposes {proposed:?}");
    match proposed.migration.as_ref().and_then(|migration| migration.pgsize) {
        Some(size) if !size.is_power_of_two() => Err(Errno::INVAL),
        _ => Ok(proposed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose(major: u16, minor: u16, json: &str) -> Result<Vec<u8>, Errno> {
        agree(&[&major.to_le_bytes()[..], &minor.to_le_bytes(), json.as_bytes()].concat()).map(|(reply, _)| reply)
    }

    #[test]
    fn the_limits_are_told_to_everyone() {
        for json in ["", "{}\0", "{\"capabilities\":{\"max_msg_fds\":8,\"news\":[1]}}\0"] {
            let reply = propose(0, 0, json).unwrap();
            assert_eq!(reply[..4], [0; 4]);
            assert_eq!(reply.last(), Some(&0));
            let told: serde_json::Value = serde_json::from_slice(&reply[4..reply.len() - 1]).unwrap();
            assert_eq!(told["capabilities"]["max_msg_fds"], 16);
            assert_eq!(told["capabilities"]["max_data_xfer_size"], 65536);
            assert_eq!(told["capabilities"].get("write_multiple"), None, "only if it was proposed");
        }
    }

    #[test]
    fn write_multiple_is_agreed_to() {
        let reply = propose(0, 0, "{\"capabilities\":{\"write_multiple\":true}}\0").unwrap();
        assert!(String::from_utf8_lossy(&reply).contains("\"write_multiple\":true"));
    }

    #[test]
    fn migration_is_spoken_of_where_the_vmm_did_or_said_nothing() {
        for (json, spoken) in
            [("", true), ("{}\0", false), ("{\"capabilities\":{\"migration\":{\"pgsize\":4096}}}\0", true)]
        {
            let reply = propose(0, 0, json).unwrap();
            let told: serde_json::Value = serde_json::from_slice(&reply[4..reply.len() - 1]).unwrap();
            let migration = serde_json::json!({"pgsize": 4096, "max_bitmap_size": 2 << 20});
            assert_eq!(told["capabilities"].get("migration"), spoken.then_some(&migration), "{json}");
        }
    }

    #[test]
    fn migration_data_comes_in_pieces_that_both_ends_take() {
        for (most, agreed) in [(4, 4), (0, 0), (1 << 30, MAX_TRANSFER)] {
            let json = format!("\0\0\0\0{{\"capabilities\":{{\"max_data_xfer_size\":{most}}}}}\0");
            assert_eq!(agree(json.as_bytes()).unwrap().1, agreed);
        }
        assert_eq!(agree(&[0; 4]).unwrap().1, MAX_TRANSFER);
    }

    #[test]
    fn the_minor_version_is_the_lower_of_both() {
        assert_eq!(propose(0, 9, "").unwrap()[2], 1);
        assert_eq!(propose(0, 0, "").unwrap()[2], 0);
    }

    #[test]
    fn a_reply_fits_where_qemu_proposed() {
        let qemu = "{\"capabilities\": {\"max_msg_fds\": 8, \"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, \
                    \"max_data_xfer_size\": 1048576, \"max_dma_maps\": 65535, \"pgsizes\": 4096, \"write_multiple\": true}}\0";
        assert!(propose(0, 0, qemu).unwrap().len() <= 4 + qemu.len());
    }

    #[test]
    fn nonsense_is_invalid() {
        for json in ["{}", "{\0", "\"\0", "\0", "{\"capabilities\":\"23\"}\0", "[]\0"] {
            assert_eq!(propose(0, 0, json), Err(Errno::INVAL), "{json:?}");
        }
        for value in
            ["\"max_msg_fds\":\"foo\"", "\"max_msg_fds\":-1", "\"migration\":\"23\"", "\"migration\":{\"pgsize\":4095}"]
        {
            assert_eq!(propose(0, 0, &format!("{{\"capabilities\":{{{value}}}}}\0")), Err(Errno::INVAL), "{value}");
        }
        assert_eq!(propose(1, 0, "{}\0"), Err(Errno::INVAL));
        assert_eq!(agree(&[0, 0, 0]), Err(Errno::INVAL));
    }
}
