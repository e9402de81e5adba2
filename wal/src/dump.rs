//! The history of a log, for people.

use std::path::{Path, PathBuf};

use kodiak_core::batch::BatchOp;
use kodiak_core::storage::Storage;
use kodiak_core::wal::SegmentId;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use crate::format::{HeaderState, SegmentHeader, segment_of_name};
use crate::reader::{ReadStats, SegmentFile, SegmentReader};

/// One thing found in a log.
#[derive(Debug)]
#[non_exhaustive]
pub enum DumpLine<'a> {
    /// A segment begins.
    Segment {
        /// Its file.
        path: &'a Path,
        /// Its number.
        segment: SegmentId,
        /// The file's length in bytes.
        len: u64,
        /// Its header, or `None` for a file prepared but not yet used.
        header: Option<&'a SegmentHeader>,
    },
    /// A batch.
    Record {
        /// The offset of its header in the segment.
        offset: u64,
        /// When it was written, microseconds since 1970.
        timestamp_micros: u64,
        /// The sequence number of its first operation.
        first_seq: SeqNo,
        /// How many operations it holds.
        count: u32,
        /// Bytes of its operations.
        bytes: usize,
    },
    /// An operation of the batch before.
    Op {
        /// Its sequence number.
        seq: SeqNo,
        /// The operation.
        op: BatchOp<'a>,
    },
    /// Bytes that cannot be read; the dump goes on behind them if it can.
    Damage {
        /// Where they begin.
        offset: u64,
        /// What is wrong with them.
        what: String,
    },
    /// The segment ends.
    End {
        /// The end of its last whole batch.
        offset: u64,
        /// The log was closed there in good order.
        closed: bool,
        /// Bytes of something incomplete behind it.
        torn: u64,
        /// What was read.
        stats: ReadStats,
    },
}

/// Largest batch that is put together for a dump.
const LIMIT: u64 = 1 << 32;

/// Tells the history of a log: `path` is its directory, or one of its segments. Nothing is changed, and damage does not end
/// it, but is one of the lines.
///
/// # Errors
/// `NotFound`; `InvalidInput` if `path` is a file not named as a segment; `Unsupported` for a newer version; `Io`; whatever
/// `line` returns.
pub fn dump(storage: &dyn Storage, path: &Path, line: &mut dyn FnMut(DumpLine<'_>) -> Result<()>) -> Result<()> {
    for (segment, path) in segments(storage, path)? {
        let file = SegmentFile::open(storage, &path, segment)?;
        line(DumpLine::Segment {
            path: &path,
            segment,
            len: file.len(),
            header: file.header().map(|(header, _)| header),
        })?;
        match &file.state {
            HeaderState::Valid(header, seed) => {
                let bytes = file.load(u64::MAX)?;
                let reader = SegmentReader::new(&bytes, header, *seed, LIMIT);
                dump_segment(reader, line).map_err(|error| error.with_file(&path))?;
            }
            HeaderState::Blank => {}
            HeaderState::Torn => line(DumpLine::Damage {
                offset: 0,
                what: "the header is incomplete".to_owned(),
            })?,
            HeaderState::Damaged => line(DumpLine::Damage {
                offset: 0,
                what: "the header is damaged".to_owned(),
            })?,
        }
    }
    Ok(())
}

fn segments(storage: &dyn Storage, path: &Path) -> Result<Vec<(SegmentId, PathBuf)>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(segment) = segment_of_name(name) {
        return Ok(vec![(segment, path.to_owned())]);
    }
    let names = storage.list(path).map_err(|error| match storage.len(path) {
        Ok(Some(_)) => Error::new(
            ErrorKind::InvalidInput,
            "not a log segment: the name of one is twenty digits and \".wal\"",
        )
        .with_file(path),
        _ => error,
    })?;
    let mut segments: Vec<_> = names
        .iter()
        .filter_map(|name| Some((segment_of_name(name)?, path.join(name))))
        .collect();
    segments.sort_unstable();
    Ok(segments)
}

fn dump_segment(mut reader: SegmentReader<'_>, line: &mut dyn FnMut(DumpLine<'_>) -> Result<()>) -> Result<()> {
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                line(DumpLine::Record {
                    offset: record.offset,
                    timestamp_micros: record.timestamp_micros,
                    first_seq: record.first_seq,
                    count: record.count,
                    bytes: record.payload.len(),
                })?;
                for (seq, op) in (record.first_seq..).zip(record.ops()) {
                    match op {
                        Ok(op) => line(DumpLine::Op { seq, op })?,
                        Err(error) => {
                            line(DumpLine::Damage {
                                offset: record.offset,
                                what: error.message().to_owned(),
                            })?;
                        }
                    }
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                line(DumpLine::Damage {
                    offset: reader.offset(),
                    what: error.message().to_owned(),
                })?;
            }
        }
        let tail = reader.tail();
        if tail.more && reader.skip_damage() {
            let what = format!("bytes that are not a record, up to {}", reader.offset());
            line(DumpLine::Damage { offset: tail.bad, what })?;
            continue;
        }
        let (torn, closed) = (tail.torn, tail.closed);
        return line(DumpLine::End {
            offset: tail.end,
            closed,
            torn,
            stats: reader.stats(),
        });
    }
}
