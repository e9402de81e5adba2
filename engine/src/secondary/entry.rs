//! The entries of an index, as the trees hold them, and how changes of them merge. Bytes in `docs/formats/secondary.md`.

use kodiak_core::entry::MAX_SEQ;
use kodiak_core::index::Upsert;
use kodiak_core::varint::{Reader, put_u64};
use kodiak_core::{Error, Result, SeqNo};

/// The first byte of the keys of rows that are known by operands only, or have too long an entry; the user key follows.
pub const PENDING: u8 = 0;
/// The first byte of the keys of entries, followed by the index key and the user key.
pub const ENTRY: u8 = 1;

const LIVE: u8 = 0;
const VOID: u8 = 1;
const FORGET: u8 = 2;

/// Appends the key of an entry.
pub fn entry_key(index_key: &[u8], user_key: &[u8], out: &mut Vec<u8>) {
    out.push(ENTRY);
    out.extend_from_slice(index_key);
    out.extend_from_slice(user_key);
}

/// Appends the key of a row that is known by operands only.
pub fn pending_key(user_key: &[u8], out: &mut Vec<u8>) {
    out.push(PENDING);
    out.extend_from_slice(user_key);
}

/// What an index knows of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Bytes of the index key.
    pub len: usize,
    /// The newest version of the row that has this index key.
    pub seq: SeqNo,
    /// From here on the row has another index key or none, if that is known.
    pub void: Option<SeqNo>,
}

impl Mark {
    /// Appends the stored form, which is also the operand that adds it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.void.is_some() { VOID } else { LIVE });
        put_u64(out, self.len as u64);
        put_u64(out, self.seq);
        if let Some(void) = self.void {
            put_u64(out, void);
        }
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// `Corruption` for bytes that `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let mut mark = Self {
            len: reader.len(kodiak_core::index::MAX_KEY)?,
            seq: reader.u64()?,
            void: None,
        };
        if kind == VOID {
            mark.void = Some(reader.u64()?);
        }
        if kind > VOID || !reader.is_empty() || mark.seq > MAX_SEQ || mark.void.is_some_and(|void| void > MAX_SEQ) {
            return Err(Error::corruption("an entry of a secondary index is malformed"));
        }
        Ok(mark)
    }

    /// This, and then `other`, whichever was there first.
    fn and(self, other: Self) -> Self {
        let seq = self.seq.max(other.seq);
        let void = self.void.max(other.void).filter(|void| *void > seq);
        Self { seq, void, ..other }
    }
}

/// Appends the operand that takes an entry away if its newest version is not newer than `seq`.
pub fn put_forget(out: &mut Vec<u8>, seq: SeqNo) {
    out.push(FORGET);
    put_u64(out, seq);
}

enum Operand {
    Add(Mark),
    Forget(SeqNo),
}

impl Operand {
    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&FORGET, rest) => Reader::new(rest).u64().ok().map(Self::Forget),
            _ => Mark::decode(bytes).ok().map(Self::Add),
        }
    }
}

/// The operator of secondary indexes: of what is added the newest counts, in whatever order it comes.
#[derive(Debug)]
pub struct NewestMark;

impl NewestMark {
    /// The name that an index file keeps; its number is the version of entries and operands.
    pub const NAME: &'static str = "kodiak.secondary.1";
}

impl Upsert for NewestMark {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn apply(&self, _key: &[u8], existing: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
        let present = existing.and_then(|bytes| Mark::decode(bytes).ok());
        match (Operand::decode(operand), present) {
            (Some(Operand::Add(_)), None) => Some(operand.to_vec()),
            (Some(Operand::Add(added)), Some(present)) => {
                let mut out = Vec::with_capacity(operand.len());
                present.and(added).encode(&mut out);
                Some(out)
            }
            (Some(Operand::Forget(seq)), Some(present)) if present.seq <= seq => None,
            _ => existing.map(<[u8]>::to_vec),
        }
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        match (Operand::decode(older)?, Operand::decode(newer)?) {
            (Operand::Add(one), Operand::Add(two)) => {
                let mut out = Vec::with_capacity(newer.len());
                one.and(two).encode(&mut out);
                Some(out)
            }
            (Operand::Forget(one), Operand::Forget(two)) => Some(if two >= one { newer } else { older }.to_vec()),
            // What is present may be newer than what is forgotten.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(seq: SeqNo, void: Option<SeqNo>) -> Vec<u8> {
        let mut out = Vec::new();
        Mark { len: 5, seq, void }.encode(&mut out);
        out
    }

    fn forget(seq: SeqNo) -> Vec<u8> {
        let mut out = Vec::new();
        put_forget(&mut out, seq);
        out
    }

    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        assert_eq!(mark(300, None), [0, 5, 0xac, 0x02]);
        assert_eq!(mark(300, Some(301)), [1, 5, 0xac, 0x02, 0xad, 0x02]);
        assert_eq!(forget(300), [2, 0xac, 0x02]);
        let bytes = mark(300, Some(301));
        for cut in 0..bytes.len() {
            Mark::decode(&bytes[..cut]).expect_err("cut short");
        }
        Mark::decode(&[0, 5, 1, 1]).expect_err("a byte too many");
        let (mut entry, mut pending) = (Vec::new(), Vec::new());
        entry_key(b"ix", b"key", &mut entry);
        pending_key(b"key", &mut pending);
        assert_eq!((&entry[..], &pending[..]), (&b"\x01ixkey"[..], &b"\x00key"[..]));
    }

    #[test]
    fn marks_add_up_in_whatever_order_they_come() {
        let marks = [
            mark(3, None),
            mark(3, Some(6)),
            mark(7, None),
            mark(7, Some(9)),
            mark(5, Some(6)),
        ];
        for one in &marks {
            for two in &marks {
                let apply = |first: &[u8], second: &[u8]| {
                    let first = NewestMark.apply(b"k", None, first);
                    NewestMark.apply(b"k", first.as_deref(), second)
                };
                assert_eq!(apply(one, two), apply(two, one), "{one:?} {two:?}");
            }
        }
        let apply = |existing: &[u8], operand: &[u8]| NewestMark.apply(b"k", Some(existing), operand);
        assert_eq!(
            apply(&mark(7, None), &mark(3, Some(6))),
            Some(mark(7, None)),
            "written anew since"
        );
        assert_eq!(apply(&mark(7, None), &forget(6)), Some(mark(7, None)));
        assert_eq!(apply(&mark(7, Some(9)), &forget(7)), None);
        assert_eq!(apply(&mark(7, None), b"nonsense"), Some(mark(7, None)));
    }

    #[test]
    fn combined_operands_do_what_they_do_one_after_the_other() {
        let operands = [mark(3, None), mark(3, Some(6)), mark(7, None), forget(3), forget(7)];
        let states = [None, Some(mark(2, None)), Some(mark(5, Some(8))), Some(mark(9, None))];
        for older in &operands {
            for newer in &operands {
                let Some(both) = NewestMark.combine(b"k", older, newer) else {
                    continue;
                };
                for state in &states {
                    let between = NewestMark.apply(b"k", state.as_deref(), older);
                    let expected = NewestMark.apply(b"k", between.as_deref(), newer);
                    let found = NewestMark.apply(b"k", state.as_deref(), &both);
                    assert_eq!(found, expected, "{older:?} {newer:?} {state:?}");
                }
            }
        }
    }
}
