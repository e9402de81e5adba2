//! The keys of a catalogue: see `docs/formats/catalogue.md`.

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::{Error, Result};

use super::super::edit::{Place, RunMeta};

/// First bytes of keys: what an entry is of.
pub(super) mod space {
    /// A run at which a piece begins.
    pub const HEAD: u8 = b'H';
    /// Where a run of a number is.
    pub const NUMBER: u8 = b'I';
    /// The newest sequence number that a table's runs have had.
    pub const NEWEST: u8 = b'N';
    /// A run.
    pub const RUN: u8 = b'R';
    /// What the runs of a sorted run come to.
    pub const TOTALS: u8 = b'S';
}

/// Bytes before the key of a run: space, table, level and sorted run.
pub(super) const PREFIX: usize = 1 + 4 + 1 + 8;

/// All of a table in a space.
pub(super) fn table(space: u8, table: TableId) -> Vec<u8> {
    let mut key = vec![space];
    key.extend_from_slice(&table.to_be_bytes());
    key
}

/// All of a sorted run in a space.
pub(super) fn sorted_run(space: u8, table: TableId, place: Place) -> Vec<u8> {
    let mut key = self::table(space, table);
    // Levels are below 64.
    key.push(place.level as u8);
    key.extend_from_slice(&place.sorted_run.to_be_bytes());
    key
}

/// A run of a number.
pub(super) fn number(id: RunId) -> Vec<u8> {
    let mut key = vec![space::NUMBER];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// A run, in the order of smallest keys.
pub(super) fn run(space: u8, table: TableId, place: Place, run: &RunMeta) -> Vec<u8> {
    let mut key = sorted_run(space, table, place);
    for &byte in &*run.min_key {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend_from_slice(&[0, 0]);
    key.extend_from_slice(&run.id.to_be_bytes());
    key
}

/// True for the runs at which pieces begin: one of 256 or so, whichever others there are.
pub(super) fn is_head(id: RunId) -> bool {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56 == 0
}

/// The smallest key of a run, from the key of its entry.
///
/// # Errors
/// `Corruption` for other bytes.
pub(super) fn min_key(key: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = key.get(PREFIX..).unwrap_or_default();
    let mut found = Vec::new();
    loop {
        match bytes {
            [0, 0xff, rest @ ..] => {
                found.push(0);
                bytes = rest;
            }
            [0, 0, _, _, _, _, _, _, _, _] => return Ok(found),
            [byte, rest @ ..] if *byte != 0 => {
                found.push(*byte);
                bytes = rest;
            }
            _ => return Err(strange()),
        }
    }
}

/// Table and place of an entry of a sorted run.
///
/// # Errors
/// `Corruption` for other bytes.
pub(super) fn place(key: &[u8]) -> Result<(TableId, Place)> {
    let (table, rest) = key
        .get(1..)
        .and_then(|key| key.split_first_chunk())
        .ok_or_else(strange)?;
    let (level, rest) = rest.split_first().ok_or_else(strange)?;
    let sorted_run = rest.first_chunk().ok_or_else(strange)?;
    let place = Place {
        level: u32::from(*level),
        sorted_run: u64::from_be_bytes(*sorted_run),
    };
    Ok((TableId::from_be_bytes(*table), place))
}

/// The key after all that begin with `prefix`, which does not end in 0xff throughout.
pub(super) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut key = prefix[..=last].to_vec();
    key[last] += 1;
    Some(key)
}

#[cold]
fn strange() -> Error {
    Error::corruption("an entry of the catalogue has a key that none has")
}
