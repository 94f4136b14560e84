//! Where the secrets of a snapshot are.

use keyfob_core::{Result, SecretValue};

use crate::error::{corrupt, cut_off};
use crate::id::Digest;

/// Where one secret is, and what it must be.
#[derive(Clone, Copy)]
pub(crate) struct Location {
    /// Which block of the file that holds it.
    pub(crate) block: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) digest: Digest,
}

const ENTRY: usize = 12 + Digest::BYTES;

pub(crate) fn encode(locations: &[Location]) -> SecretValue {
    let mut bytes = Vec::with_capacity(locations.len() * ENTRY);
    for location in locations {
        for number in [location.block, location.offset, location.length] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(location.digest.as_bytes());
    }
    SecretValue::new(bytes)
}

/// # Errors
/// `Corrupt` when these are not the locations of so many secrets.
pub(crate) fn decode(bytes: &SecretValue, secrets: usize) -> Result<Vec<Location>> {
    let (entries, rest) = bytes.expose_secret().as_chunks::<ENTRY>();
    if entries.len() != secrets || !rest.is_empty() {
        return Err(corrupt("the index of the snapshot does not fit its manifest"));
    }
    entries.iter().map(location).collect()
}

fn location(entry: &[u8; ENTRY]) -> Result<Location> {
    let (numbers, digest) = entry.split_last_chunk().ok_or_else(cut_off)?;
    let (numbers, _) = numbers.as_chunks::<4>();
    let &[block, offset, length] = numbers else {
        return Err(cut_off());
    };
    Ok(Location {
        block: u32::from_be_bytes(block),
        offset: u32::from_be_bytes(offset),
        length: u32::from_be_bytes(length),
        digest: Digest(*digest),
    })
}
