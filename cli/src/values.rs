//! Values of key-value tables, as they are written on the command line and shown: numbers where the table counts, otherwise bytes.

use kodiak::{Error, Result, Table};
use serde_json::Value;

use crate::bytes::{Encoding, to_json};

/// How the values of one table are written and shown.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    encoding: Encoding,
    /// The table's merge operator is `counter`, and nobody asked for its bytes.
    counts: bool,
}

impl Values {
    /// Of a key-value table.
    pub fn of(table: &Table, encoding: Encoding) -> Self {
        Self {
            encoding,
            counts: !encoding.hex && table.options().get_merge_operator() == Some("counter"),
        }
    }

    /// The bytes of a value or operand that the user wrote.
    ///
    /// # Errors
    /// `InvalidInput` saying what is wrong with the text.
    pub fn parse(self, text: &str) -> Result<Vec<u8>> {
        if !self.counts {
            return self.encoding.parse(text);
        }
        let number: i64 = text.parse().map_err(|_| {
            Error::invalid_input(format!("the table counts: \"{text}\" is not a whole number of 64 bits"))
        })?;
        Ok(number.to_le_bytes().to_vec())
    }

    /// A value as text that [`parse`](Self::parse) reads.
    pub fn show(self, value: &[u8], out: &mut String) {
        match self.number(value) {
            Some(number) => out.push_str(&number.to_string()),
            None => self.encoding.show(value, out),
        }
    }

    /// A value as JSON.
    pub fn json(self, value: &[u8]) -> Value {
        self.number(value).map_or_else(|| to_json(value), Value::from)
    }

    fn number(self, value: &[u8]) -> Option<i64> {
        let bytes = value.try_into().ok().filter(|_| self.counts)?;
        Some(i64::from_le_bytes(bytes))
    }
}
