//! Generated keys and values of fixed sizes.

use kodiak::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Dataset, mix};

/// In which order generated keys are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOrder {
    /// In no order: each key anywhere in the key space.
    Random,
    /// Ascending.
    Sequential,
}

/// Keys of sixteen hexadecimal digits (and padding), values of which half can be compressed away.
#[derive(Debug)]
pub struct KeyValue {
    entries: u64,
    key_size: usize,
    value_size: usize,
    order: KeyOrder,
}

const DIGITS: usize = 16;

impl KeyValue {
    /// `entries` entries.
    ///
    /// # Errors
    /// `InvalidInput` for keys of fewer than 16 bytes.
    pub fn new(entries: u64, key_size: usize, value_size: usize, order: KeyOrder) -> Result<Self> {
        if key_size < DIGITS {
            return Err(Error::invalid_input(format!(
                "generated keys have at least {DIGITS} bytes, not {key_size}"
            )));
        }
        Ok(Self {
            entries,
            key_size,
            value_size,
            order,
        })
    }

    /// Even numbers are the entries' keys, odd ones are absent: `mix` is a bijection, so that none meets another.
    fn number(&self, number: u64, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let number = match self.order {
            KeyOrder::Random => mix(number),
            KeyOrder::Sequential => number,
        };
        out.extend(
            (0..DIGITS)
                .rev()
                .map(|digit| HEX[(number >> (4 * digit) & 15) as usize]),
        );
        out.resize(out.len() + self.key_size - DIGITS, b'.');
    }
}

impl Dataset for KeyValue {
    fn len(&self) -> u64 {
        self.entries
    }

    fn key(&self, index: u64, out: &mut Vec<u8>) {
        self.number(2 * index, out);
    }

    fn absent_key(&self, index: u64, out: &mut Vec<u8>) {
        self.number(2 * index + 1, out);
    }

    fn value(&self, index: u64, version: u32, out: &mut Vec<u8>) {
        let end = out.len() + self.value_size;
        let random = out.len() + self.value_size.div_ceil(2);
        let mut state = mix(index).wrapping_add(u64::from(version) << 1);
        while out.len() < random {
            state = mix(state);
            out.extend_from_slice(&state.to_le_bytes());
        }
        out.truncate(end);
        out.resize(end, b'k');
    }

    fn describe(&self) -> String {
        let order = match self.order {
            KeyOrder::Random => "random",
            KeyOrder::Sequential => "sequential",
        };
        format!(
            "{} generated entries, {order} keys of {} bytes, values of {} bytes",
            self.entries, self.key_size, self.value_size
        )
    }
}
