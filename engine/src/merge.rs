//! Merge operators: values that are computed from operands when they are read, so that writers need not read first.

use std::fmt::Debug;
use std::sync::Arc;

use kodiak_core::{Error, ErrorKind, Result};

/// Combines merge operands.
///
/// **Promise.** `merge` is a pure function, and applying the operands in several steps gives what applying them at once
/// does: the engine merges at reads, flushes and compactions, whichever comes first. Used from any thread.
pub trait MergeOperator: Send + Sync + Debug {
    /// The name under which a table remembers its operator.
    fn name(&self) -> &str;

    /// The value after applying `operands`, oldest first and at least one, to `base` (`None`: the key has no value).
    ///
    /// # Errors
    /// `Corruption` or `InvalidInput` for operands that the operator cannot read; the read that needed it fails. Flushes and
    /// compactions keep such operands as they are.
    fn merge(&self, key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Vec<u8>>;

    /// Looks at a value or operand of `key` before it is written: what is refused here cannot make later reads fail.
    ///
    /// # Errors
    /// `InvalidInput` for what [`merge`](Self::merge) could not read; the write fails. By default everything is taken.
    fn check(&self, _key: &[u8], _value: &[u8]) -> Result<()> {
        Ok(())
    }

    /// One operand that does what `older` and then `newer` do, or `None` if there is no such operand.
    fn combine(&self, _key: &[u8], _older: &[u8], _newer: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Adds signed 64-bit integers, little-endian; a missing value counts as 0 and sums wrap around.
#[derive(Debug, Clone, Copy)]
pub struct Counter;

impl Counter {
    fn read(bytes: &[u8]) -> Result<i64> {
        bytes.try_into().map(i64::from_le_bytes).map_err(|_| {
            Error::invalid_input(format!(
                "a counter has 8 bytes (a little-endian 64-bit integer), not {}",
                bytes.len()
            ))
        })
    }
}

impl MergeOperator for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Vec<u8>> {
        let start = base.map_or(Ok(0), Self::read)?;
        let sum = operands.iter().try_fold(start, |sum, operand| {
            Ok::<_, Error>(sum.wrapping_add(Self::read(operand)?))
        })?;
        Ok(sum.to_le_bytes().to_vec())
    }

    fn check(&self, _key: &[u8], value: &[u8]) -> Result<()> {
        Self::read(value).map(drop)
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        let sum = Self::read(older).ok()?.wrapping_add(Self::read(newer).ok()?);
        Some(sum.to_le_bytes().to_vec())
    }
}

/// Appends operands to the value.
#[derive(Debug, Clone, Copy)]
pub struct Append;

impl MergeOperator for Append {
    fn name(&self) -> &str {
        "append"
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Vec<u8>> {
        let mut value = base.unwrap_or_default().to_vec();
        operands.iter().for_each(|operand| value.extend_from_slice(operand));
        Ok(value)
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        Some([older, newer].concat())
    }
}

/// Keeps the newest operand that is not empty; an empty operand changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct LastNonNull;

impl MergeOperator for LastNonNull {
    fn name(&self) -> &str {
        "last-non-null"
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Vec<u8>> {
        let newest = operands.iter().rev().find(|operand| !operand.is_empty());
        Ok(newest.copied().or(base).unwrap_or_default().to_vec())
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        Some(if newer.is_empty() {
            older.to_vec()
        } else {
            newer.to_vec()
        })
    }
}

/// The built-in operators with those that a program registered.
#[derive(Debug, Clone)]
pub struct MergeOperators(Vec<Arc<dyn MergeOperator>>);

impl Default for MergeOperators {
    fn default() -> Self {
        Self(vec![Arc::new(Counter), Arc::new(Append), Arc::new(LastNonNull)])
    }
}

impl MergeOperators {
    /// Adds an operator, which must be registered again at every opening.
    ///
    /// # Errors
    /// `InvalidInput` if the name is taken.
    pub fn register(&mut self, operator: Arc<dyn MergeOperator>) -> Result<()> {
        if self.0.iter().any(|known| known.name() == operator.name()) {
            return Err(Error::invalid_input(format!(
                "a merge operator named \"{}\" exists already",
                operator.name()
            )));
        }
        self.0.push(operator);
        Ok(())
    }

    /// The operator of a name.
    ///
    /// # Errors
    /// `InvalidSettings` that lists the known ones.
    pub fn find(&self, name: &str) -> Result<Arc<dyn MergeOperator>> {
        self.0.iter().find(|operator| operator.name() == name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.0.iter().map(|operator| operator.name()).collect();
            Error::new(
                ErrorKind::InvalidSettings,
                format!(
                    "unknown merge operator \"{name}\"; known are: {} (a program's own operators are registered before opening)",
                    known.join(", ")
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_in_steps_gives_what_applying_at_once_does() {
        let counters: Vec<[u8; 8]> = [5i64, -7, i64::MAX].iter().map(|n| n.to_le_bytes()).collect();
        let counters: Vec<&[u8]> = counters.iter().map(|bytes| bytes.as_slice()).collect();
        let texts: Vec<&[u8]> = vec![b"a", b"", b"c"];
        let cases: [(&dyn MergeOperator, &[&[u8]]); 3] =
            [(&Counter, &counters), (&Append, &texts), (&LastNonNull, &texts)];
        for (operator, operands) in cases {
            for base in [None, Some(operands[0])] {
                let at_once = operator.merge(b"k", base, operands).expect("valid");
                let first = operator.merge(b"k", base, &operands[..1]).expect("valid");
                let stepwise = operator.merge(b"k", Some(&first), &operands[1..]).expect("valid");
                assert_eq!(at_once, stepwise, "{}", operator.name());
                let combined = operator.combine(b"k", operands[0], operands[1]).expect("combines");
                let combined = operator.merge(b"k", base, &[&combined, operands[2]]).expect("valid");
                assert_eq!(at_once, combined, "{}", operator.name());
            }
        }
    }

    #[test]
    fn a_counter_of_the_wrong_length_is_refused() {
        assert!(Counter.merge(b"k", Some(b"abc"), &[&[0; 8]]).is_err());
        assert!(Counter.combine(b"k", b"abc", &[0; 8]).is_none());
        assert!(Counter.check(b"k", b"abc").is_err() && Counter.check(b"k", &[0; 8]).is_ok());
    }
}
