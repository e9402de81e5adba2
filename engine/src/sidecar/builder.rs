//! Writing sidecars.

use kodiak_core::format::FileLayout;
use kodiak_core::varint::{put_bytes, put_u64};
use kodiak_core::{Error, Result, SeqNo};

use super::fences::FencesBuilder;
use super::sections::{self, Section};
use super::statistics::StatisticsBuilder;
use super::{RangeTombstone, SidecarMeta, blocks, encode_meta, encode_range_deletes, times};

/// What a sidecar is written from.
#[derive(Debug, Default)]
pub struct SidecarBuilder {
    /// Facts about the run.
    pub meta: SidecarMeta,
    /// The blocks and shared parts of the data file.
    pub layout: FileLayout,
    /// The first entry of each block.
    pub fences: FencesBuilder,
    /// Kind, prefix length and bytes of the filter, if there is one.
    pub filter: Option<(String, Option<usize>, Vec<u8>)>,
    /// Range deletes, in any order.
    pub range_deletes: Vec<RangeTombstone>,
    /// Sequence numbers and when they were written (microseconds since 1970), ascending by sequence number.
    pub times: Vec<(SeqNo, u64)>,
    /// Bounds of the columns in each block, or nothing.
    pub statistics: StatisticsBuilder,
}

impl SidecarBuilder {
    /// The bytes of the file.
    ///
    /// # Errors
    /// `InvalidInput` if the parts contradict each other: another number of fences than of blocks, or fence keys of more
    /// than 4 GiB.
    pub fn write(&self) -> Result<Vec<u8>> {
        if self.fences.len() != self.layout.blocks.len() {
            return Err(Error::invalid_input(format!(
                "a run of {} blocks has {} fence keys",
                self.layout.blocks.len(),
                self.fences.len()
            )));
        }
        let mut out = sections::Writer::new();
        out.section(Section::Fences, |bytes| self.fences.encode(bytes))?;
        out.section(Section::Blocks, |bytes| {
            blocks::encode(&self.layout, bytes);
            Ok(())
        })?;
        if let Some((kind, prefix, filter)) = &self.filter {
            out.section(Section::Filter, |bytes| {
                bytes.extend_from_slice(filter);
                Ok(())
            })?;
            out.section(Section::FilterKind, |bytes| {
                put_bytes(bytes, kind.as_bytes());
                put_u64(bytes, prefix.map_or(0, |prefix| prefix as u64));
                Ok(())
            })?;
        }
        if !self.range_deletes.is_empty() {
            out.section(Section::RangeDeletes, |bytes| {
                encode_range_deletes(&self.range_deletes, bytes);
                Ok(())
            })?;
        }
        if !self.times.is_empty() {
            if !times::ascend(&self.times) {
                return Err(Error::invalid_input("times of sequence numbers must ascend"));
            }
            out.section(Section::Times, |bytes| {
                times::encode(&self.times, bytes);
                Ok(())
            })?;
        }
        if !self.statistics.is_empty() {
            out.section(Section::Statistics, |bytes| {
                self.statistics.encode(bytes);
                Ok(())
            })?;
        }
        out.section(Section::Meta, |bytes| {
            let shared = &self.layout.shared;
            encode_meta(&self.meta, shared, bytes);
            Ok(())
        })?;
        out.finish()
    }
}
