//! Operands of a merge operator, where the streams are merged.

use kodiak_core::{Op, Result, SeqNo, Slice};

use super::Merge;
use crate::read::resolve_merge;
use crate::typed::gather::Gather;

impl Merge {
    /// Merges the operands of a key, the next one of some stream, and passes all its versions.
    pub(super) fn merge_operands(&mut self, key: &[u8], gather: &mut Gather) -> Result<()> {
        let (mut operands, mut base): (Vec<Slice>, Option<Slice>) = (Vec::new(), None);
        while let Some((newest, seq)) = self.newest_of(key) {
            let stream = &self.streams[newest];
            let (block, row) = (&stream.block, stream.row);
            if seq > self.sight.seq {
                self.account.rows += 1;
                self.advance(newest, row + 1, false)?;
                continue;
            }
            let hidden = self.sight.hides(key, seq);
            if block.op(row) == Op::Merge && !hidden {
                operands.push(block.value(row)?);
                self.account.rows += 1;
                self.advance(newest, row + 1, false)?;
                continue;
            }
            if block.op(row) == Op::Put && !hidden {
                base = Some(block.value(row)?);
            }
            break;
        }
        // What is older does not matter.
        while let Some((newest, _)) = self.newest_of(key) {
            self.account.rows += 1;
            self.advance(newest, self.streams[newest].row + 1, true)?;
        }
        let value = resolve_merge(self.operator.as_deref(), key, base.as_deref(), &operands)?;
        gather.push_bytes(key, &value);
        Ok(())
    }

    /// The stream whose next row is the newest version of `key`, and when that was written.
    fn newest_of(&self, key: &[u8]) -> Option<(usize, SeqNo)> {
        let streams = self.streams.iter().enumerate();
        let on_key = streams.filter(|(_, stream)| stream.block.key(stream.row) == key);
        on_key
            .map(|(index, stream)| (index, stream.block.seq(stream.row)))
            .max_by_key(|(_, seq)| *seq)
    }
}
