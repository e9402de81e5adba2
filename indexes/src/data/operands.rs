//! Operands of upserts of one key that wait to be applied.

use kodiak_core::Result;
use kodiak_core::index::{MAX_VALUE, Upsert};
use kodiak_core::varint::{Reader, put_bytes};

/// Operands, oldest first, each with its length before it. To add newer ones takes no longer the more there are.
#[derive(Debug)]
pub(crate) struct Operands {
    bytes: Vec<u8>,
    /// Where the last one starts.
    last: usize,
}

/// Where the last of some operands starts.
fn last(operands: &[u8]) -> Result<usize> {
    let mut reader = Reader::new(operands);
    let mut last = 0;
    while !reader.is_empty() {
        last = reader.position();
        reader.bytes()?;
    }
    Ok(last)
}

impl Operands {
    /// A single one.
    pub(crate) fn one(operand: &[u8]) -> Self {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, operand);
        Self { bytes, last: 0 }
    }

    /// Those that an entry has.
    ///
    /// # Errors
    /// `Corruption` if it is malformed.
    pub(crate) fn of(value: Vec<u8>) -> Result<Self> {
        Ok(Self {
            last: last(&value)?,
            bytes: value,
        })
    }

    /// Appends newer ones; what can be combined is.
    ///
    /// # Errors
    /// `Corruption` if they are malformed.
    pub(crate) fn add(&mut self, upsert: Option<&dyn Upsert>, key: &[u8], newer: &[u8]) -> Result<()> {
        let mut rest = Reader::new(newer);
        let first = rest.bytes()?;
        let previous = Reader::new(&self.bytes[self.last..]).bytes()?;
        let combined = upsert.and_then(|upsert| upsert.combine(key, previous, first));
        if let Some(combined) = combined.filter(|combined| combined.len() <= MAX_VALUE) {
            self.bytes.truncate(self.last);
            put_bytes(&mut self.bytes, &combined);
            if rest.is_empty() {
                return Ok(());
            }
        } else {
            rest = Reader::new(newer);
        }
        let rest = rest.take(rest.remaining())?;
        self.last = self.bytes.len() + last(rest)?;
        self.bytes.extend_from_slice(rest);
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds numbers up to 9.
    #[derive(Debug)]
    struct Digits;

    impl Upsert for Digits {
        fn name(&self) -> &str {
            "digits"
        }

        fn apply(&self, _key: &[u8], _existing: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
            Some(operand.to_vec())
        }

        fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
            let sum = older[0] + newer[0];
            (sum < 10).then(|| vec![sum])
        }
    }

    #[test]
    fn operands_are_the_same_whether_they_come_one_by_one_or_together() {
        let digits = |operands: &Operands| {
            let mut reader = Reader::new(operands.as_slice());
            let mut digits = Vec::new();
            while !reader.is_empty() {
                digits.push(reader.bytes().expect("well formed")[0]);
            }
            digits
        };
        let mut single = Operands::one(&[4]);
        for digit in [5, 3, 7, 2, 9, 1] {
            let newer = Operands::one(&[digit]);
            single.add(Some(&Digits), b"k", newer.as_slice()).expect("well formed");
        }
        assert_eq!(digits(&single), [9, 3, 9, 9, 1]);
        let mut waiting = Operands::of([[1, 4], [1, 5]].concat()).expect("well formed");
        let newer = [[1, 3], [1, 7], [1, 8]].concat();
        waiting.add(Some(&Digits), b"k", &newer).expect("well formed");
        assert_eq!(digits(&waiting), [4, 8, 7, 8]);
        waiting.add(Some(&Digits), b"k", &[1, 1, 1, 6]).expect("well formed");
        assert_eq!(digits(&waiting), [4, 8, 7, 9, 6]);
        waiting.add(None, b"k", &[1, 1]).expect("well formed");
        assert_eq!(digits(&waiting), [4, 8, 7, 9, 6, 1]);
        assert!(waiting.add(None, b"k", &[9, 1]).is_err());
        assert!(Operands::of(vec![1, 1, 5]).is_err());
    }
}
