//! Locators: where the newest version of a key is in the runs, as an index stores it. Bytes in `docs/formats/locator.md`.

use kodiak_core::compaction::RunId;
use kodiak_core::entry::MAX_SEQ;
use kodiak_core::index::Upsert;
use kodiak_core::varint::{Reader, put_u64};
use kodiak_core::{Error, Op, Result, SeqNo};

/// Where a version of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locator {
    /// The run.
    pub run: RunId,
    /// The block of its data file.
    pub block: u32,
    /// The row in the block.
    pub row: u32,
    /// When the version was written.
    pub seq: SeqNo,
    /// What it does.
    pub op: Op,
}

/// The first byte of the operand that takes a locator away; that of a locator is its operation.
const FORGET: u8 = 0x80;

impl Locator {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.op as u8);
        put_u64(out, self.run);
        put_u64(out, u64::from(self.block));
        put_u64(out, u64::from(self.row));
        put_u64(out, self.seq);
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let op = Op::from_byte(reader.u8()?)?;
        let number = |reader: &mut Reader<'_>| Ok::<_, Error>(reader.len(u32::MAX as usize)? as u32);
        let locator = Self {
            op,
            run: reader.u64()?,
            block: number(&mut reader)?,
            row: number(&mut reader)?,
            seq: reader.u64()?,
        };
        if !reader.is_empty() || op == Op::RangeDelete || locator.seq > MAX_SEQ {
            return Err(Error::corruption("a locator of the primary index is malformed"));
        }
        Ok(locator)
    }
}

/// Appends the operand that takes a key's locator away if it is of a version up to `seq`.
pub fn put_forget(out: &mut Vec<u8>, seq: SeqNo) {
    out.push(FORGET);
    put_u64(out, seq);
}

/// What an upsert does to a key's locator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// This one, unless the present one is of a newer version.
    Set(SeqNo),
    /// None, if the present one is of a version up to this.
    Forget(SeqNo),
}

impl Operand {
    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&FORGET, rest) => Reader::new(rest).u64().ok().map(Self::Forget),
            _ => Locator::decode(bytes).ok().map(|locator| Self::Set(locator.seq)),
        }
    }
}

/// The operator of primary indexes: the locator of the newest version wins, and of two for one version the later one.
#[derive(Debug)]
pub struct NewestWins;

impl NewestWins {
    /// The name that an index file keeps; its number is the version of locators and operands.
    pub const NAME: &'static str = "kodiak.locator.1";
}

impl Upsert for NewestWins {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn apply(&self, _key: &[u8], existing: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
        let present = existing.and_then(|bytes| Locator::decode(bytes).ok());
        let newer_than = |seq: SeqNo| present.is_some_and(|present| present.seq > seq);
        match Operand::decode(operand) {
            Some(Operand::Set(seq)) if !newer_than(seq) => Some(operand.to_vec()),
            Some(Operand::Forget(seq)) if !newer_than(seq) => None,
            _ => existing.map(<[u8]>::to_vec),
        }
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        let newest = match (Operand::decode(older)?, Operand::decode(newer)?) {
            (Operand::Set(one), Operand::Set(two)) | (Operand::Forget(one), Operand::Forget(two)) => two >= one,
            (Operand::Set(one), Operand::Forget(two)) => two >= one,
            // What is present may be older than what is forgotten, and newer than what is set.
            (Operand::Forget(one), Operand::Set(two)) if two < one => return None,
            (Operand::Forget(_), Operand::Set(_)) => true,
        };
        Some(if newest { newer } else { older }.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(run: RunId, seq: SeqNo) -> Vec<u8> {
        let mut out = Vec::new();
        let (block, row, op) = (run as u32, 300, Op::Put);
        Locator {
            run,
            block,
            row,
            seq,
            op,
        }
        .encode(&mut out);
        out
    }

    fn forget(seq: SeqNo) -> Vec<u8> {
        let mut out = Vec::new();
        put_forget(&mut out, seq);
        out
    }

    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        let locator = Locator {
            run: 7,
            block: 300,
            row: 5,
            seq: 1_000_000,
            op: Op::Delete,
        };
        let mut bytes = Vec::new();
        locator.encode(&mut bytes);
        assert_eq!(bytes, [1, 7, 0xac, 0x02, 5, 0xc0, 0x84, 0x3d]);
        assert_eq!(Locator::decode(&bytes).expect("what was written"), locator);
        assert_eq!(forget(300), [0x80, 0xac, 0x02]);
        for cut in 0..bytes.len() {
            Locator::decode(&bytes[..cut]).expect_err("cut short");
        }
        bytes.push(0);
        Locator::decode(&bytes).expect_err("a byte too many");
        Locator::decode(&[3, 1, 1, 1, 1]).expect_err("a range delete is in no row");
    }

    #[test]
    fn the_newest_version_wins_and_of_one_version_the_later_run() {
        let apply = |existing: Option<&[u8]>, operand: &[u8]| NewestWins.apply(b"k", existing, operand);
        assert_eq!(apply(None, &set(3, 10)), Some(set(3, 10)));
        assert_eq!(apply(Some(&set(3, 10)), &set(4, 10)), Some(set(4, 10)));
        assert_eq!(apply(Some(&set(3, 11)), &set(4, 10)), Some(set(3, 11)));
        assert_eq!(apply(Some(&set(3, 11)), &forget(10)), Some(set(3, 11)));
        assert_eq!(apply(Some(&set(3, 10)), &forget(10)), None);
        assert_eq!(apply(Some(&set(3, 10)), b"nonsense"), Some(set(3, 10)));
        assert_eq!(apply(Some(b"nonsense"), &set(3, 10)), Some(set(3, 10)));
    }

    #[test]
    fn combined_operands_do_what_they_do_one_after_the_other() {
        let operands: Vec<Vec<u8>> = (1..5)
            .flat_map(|seq| [set(seq, seq), set(seq + 10, seq), forget(seq)])
            .collect();
        let states: Vec<_> = std::iter::once(None)
            .chain((1..6).map(|seq| Some(set(40, seq))))
            .collect();
        let mut combined = 0;
        for (older, newer) in operands
            .iter()
            .flat_map(|one| operands.iter().map(move |two| (one, two)))
        {
            let Some(both) = NewestWins.combine(b"k", older, newer) else {
                continue;
            };
            combined += 1;
            for state in &states {
                let between = NewestWins.apply(b"k", state.as_deref(), older);
                let expected = NewestWins.apply(b"k", between.as_deref(), newer);
                assert_eq!(
                    NewestWins.apply(b"k", state.as_deref(), &both),
                    expected,
                    "{older:?} {newer:?} {state:?}"
                );
            }
        }
        assert!(combined > 100, "only {combined} pairs have a combination");
    }
}
