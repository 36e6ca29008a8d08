//! Both sides must mean the same by a message. A test on the Python side writes every message here, each behind its
//! length, and compares what comes back.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::messages::{FromController, FromDatapath};

/// A message of either direction.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Message {
    FromController(FromController),
    FromDatapath(FromDatapath),
}

/// Lengths are 32-bit, little-endian. Ends with stdin.
pub fn run() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut length = [0; 4];
    while input.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        input.read_exact(&mut bytes)?;
        let message: Message = rmp_serde::from_slice(&bytes).map_err(io::Error::other)?;
        let bytes = rmp_serde::to_vec_named(&message).map_err(io::Error::other)?;
        output.write_all(&(bytes.len() as u32).to_le_bytes())?;
        output.write_all(&bytes)?;
        output.flush()?;
    }
    Ok(())
}
