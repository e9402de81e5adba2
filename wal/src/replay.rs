//! Replaying a log: all segments in order, read ahead and checked by several threads.

mod ahead;
mod missing;

use std::path::Path;

use kodiak_core::options::Options;
use kodiak_core::wal::{RESCUE, RecoveryMode, ReplayReport, ReplaySink, SegmentId, WalContext, WalRecord};
use kodiak_core::{Error, Result};

use crate::files::segments_in;
use crate::format::{HeaderState, Link, SegmentHeader, segment_path};
use crate::reader::{Found, SegmentFile, SegmentReader, Tail};
use crate::rescue::rescue_headers;
use ahead::{Decoded, Job, Stored, Taken};
use missing::promised_from;

/// Segments decoded ahead of the one being handed over, and so held in memory where the storage cannot map.
const AHEAD: usize = 3;

/// Replays a log, whichever kind wrote it; the `replay` of every factory here.
pub(crate) fn replay(
    context: &WalContext,
    _options: &Options,
    from: SegmentId,
    mode: RecoveryMode,
    sink: &mut ReplaySink<'_>,
) -> Result<ReplayReport> {
    let mut report = ReplayReport {
        next_segment: from.max(1),
        ..ReplayReport::default()
    };
    let (mut files, mut numbers) = (Vec::new(), Vec::new());
    for segment in segments_in(&*context.storage, &context.dir)? {
        report.next_segment = report.next_segment.max(segment + 1);
        if segment >= from {
            let path = segment_path(&context.dir, segment);
            let file = SegmentFile::open(context.storage.as_ref(), &path, segment)?;
            let database = file.header().map_or(0, |(header, _)| header.database);
            if database != 0 && context.database != 0 && database != context.database {
                if mode != RecoveryMode::SkipCorrupt {
                    return Err(damage(&path, 0, "this segment is of the log of another database"));
                }
                report.skipped += 1;
                continue;
            }
            if database != 0 {
                report.database = database;
            }
            files.push(file);
            numbers.push(segment);
        }
    }
    report.incomplete = numbers.first() != Some(&from);
    let limit = context.max_record_bytes;
    if mode == RecoveryMode::SkipCorrupt {
        report.skipped += rescue_headers(&mut files, &numbers, limit)?;
    }
    let jobs: Vec<Job> = (0..files.len()).map(|index| Job::new(end_of(&files, index))).collect();
    let mut replay = Replay {
        from,
        mode,
        limit,
        report,
        hole: false,
        sink,
    };
    let ahead = AHEAD.min(rayon::current_num_threads());
    rayon::in_place_scope(|scope| {
        for (index, job) in jobs.iter().enumerate() {
            // The first segment is read here while the others are decoded; from then on the scope stays `ahead` of it.
            let spawned = if index == 0 {
                1..1 + ahead
            } else {
                index + ahead..index + ahead + 1
            };
            for later in spawned {
                if let (Some(job), Some(file)) = (jobs.get(later), files.get(later)) {
                    scope.spawn(move |_| job.run(file, limit, mode));
                }
            }
            replay.segment(&files, index, job)?;
        }
        let mut report = replay.report;
        // What was read of a file that is not there any more may be of the segment that was made of it. Others tell by the one behind.
        if let Some(last) = files.last() {
            report.incomplete |= context.storage.len(&last.path)?.is_none();
        }
        report.incomplete |= report.skipped > 0;
        Ok(report)
    })
}

/// What the next segment that was written says about the end of segment `index`.
fn end_of(files: &[SegmentFile], index: usize) -> Option<Link> {
    let (header, _) = files[index].header()?;
    let (next, _) = files[index + 1..].iter().find_map(SegmentFile::header)?;
    next.previous
        .filter(|link| link.segment == header.segment && link.id == header.id())
}

struct Replay<'s, 'f> {
    from: SegmentId,
    mode: RecoveryMode,
    limit: u64,
    report: ReplayReport,
    /// Records are missing: what follows is not part of the history until the log was opened anew.
    hole: bool,
    sink: &'s mut ReplaySink<'f>,
}

impl Replay<'_, '_> {
    fn segment(&mut self, files: &[SegmentFile], index: usize, job: &Job) -> Result<()> {
        let file = &files[index];
        let (header, seed) = match &file.state {
            HeaderState::Valid(header, seed) => (header, *seed),
            HeaderState::Blank => return Ok(()),
            HeaderState::Torn => return self.torn_header(file),
            HeaderState::Damaged => return self.damaged_header(file),
        };
        self.check_predecessor(files, index, header)?;
        if self.hole && self.mode != RecoveryMode::SkipCorrupt {
            if !header.fresh {
                tracing::warn!(file = %file.path.display(), "a log segment behind a gap is not replayed");
                return Ok(());
            }
            self.hole = false;
        }
        self.report.segments += 1;
        let end = job.end;
        let tail = match job.take() {
            Taken::Mine => {
                let bytes = file.load(end.map_or(u64::MAX, |link| link.end))?;
                let mut reader = SegmentReader::new(&bytes, header, seed, self.limit);
                self.stream(&mut reader, end.as_ref())
            }
            Taken::Decoded(decoded) => {
                let decoded = *decoded;
                self.report.skipped += decoded.skipped;
                self.decoded(&decoded, header, seed).and(decoded.tail)
            }
        }
        .map_err(|error| error.with_file(&file.path))?;
        self.report.closed = tail.closed;
        self.judge(files, index, &tail, end)
    }

    /// Hands over the records of a segment as they are read.
    fn stream(&mut self, reader: &mut SegmentReader<'_>, end: Option<&Link>) -> Result<Tail> {
        let mut skipped = 0;
        let tail = read_all(reader, end, self.mode, &mut skipped, |reader, found| {
            hand_over(&mut self.report, self.sink, reader.record(&found))
        });
        self.report.skipped += skipped;
        tail
    }

    /// Hands over the records of a segment that another thread has decoded.
    fn decoded(&mut self, decoded: &Decoded, header: &SegmentHeader, seed: u32) -> Result<()> {
        let mut lazy = SegmentReader::new(&decoded.bytes, header, seed, self.limit);
        for (found, stored) in &decoded.records {
            let record = match stored {
                Stored::Direct => lazy.record(found),
                Stored::Arena(range) => WalRecord {
                    payload: &decoded.arena[range.clone()],
                    ..lazy.record(found)
                },
                Stored::Later => {
                    lazy.seek(found.offset);
                    match lazy.next_record()? {
                        Some(record) => record,
                        None => return Err(damage_at(found.offset as u64, "a record changed while it was read")),
                    }
                }
            };
            hand_over(&mut self.report, self.sink, record)?;
        }
        Ok(())
    }

    /// Decides what the end of a segment means.
    fn judge(&mut self, files: &[SegmentFile], index: usize, tail: &Tail, end: Option<Link>) -> Result<()> {
        let missing = match end {
            Some(link) => link.end.saturating_sub(tail.end),
            None => tail.torn,
        };
        let last = files[index + 1..].iter().all(|later| later.header().is_none());
        self.report.incomplete |= missing > 0 && !last;
        if missing == 0 || self.mode == RecoveryMode::SkipCorrupt {
            return Ok(());
        }
        let file = &files[index];
        let promised = tail.promised.max(end.map_or(0, |link| link.synced));
        if tail.bad < promised || (!last && promised_from(&files[index + 1..], self.limit)?) {
            return Err(damage(
                &file.path,
                tail.bad,
                "a record that was synced to disk is damaged",
            ));
        }
        match self.mode {
            RecoveryMode::Absolute => {
                return Err(damage(&file.path, tail.bad, "the log ends in an incomplete record"));
            }
            RecoveryMode::TolerateTail if !last || tail.more => {
                return Err(damage(
                    &file.path,
                    tail.bad,
                    "a record before the end of the log is damaged",
                ));
            }
            _ => {}
        }
        tracing::info!(file = %file.path.display(), offset = tail.end, bytes = missing, "a log ends with something incomplete");
        self.report.torn_bytes += missing;
        self.hole = !last;
        Ok(())
    }

    fn torn_header(&mut self, file: &SegmentFile) -> Result<()> {
        if self.mode == RecoveryMode::Absolute {
            return Err(damage(&file.path, 0, "the segment's header is incomplete"));
        }
        self.report.torn_bytes += file.len();
        Ok(())
    }

    fn damaged_header(&mut self, file: &SegmentFile) -> Result<()> {
        if self.mode != RecoveryMode::SkipCorrupt {
            return Err(damage(&file.path, 0, "the segment's header is damaged"));
        }
        self.report.skipped += 1;
        Ok(())
    }
}

#[cold]
fn damage(path: &Path, offset: u64, what: &str) -> Error {
    damage_at(offset, what).with_file(path)
}

#[cold]
fn damage_at(offset: u64, what: &str) -> Error {
    Error::corruption(format!("{what}; {RESCUE}")).with_offset(offset)
}

#[inline]
fn hand_over(report: &mut ReplayReport, sink: &mut ReplaySink<'_>, record: WalRecord<'_>) -> Result<()> {
    report.records += 1;
    report.bytes += record.payload.len() as u64;
    if record.count > 0 {
        report.last_seq = report.last_seq.max(record.last_seq());
    }
    sink(record)
}

/// Reads a segment to its end, over damaged records if `mode` says so.
fn read_all(
    reader: &mut SegmentReader<'_>,
    end: Option<&Link>,
    mode: RecoveryMode,
    skipped: &mut u64,
    mut each: impl FnMut(&SegmentReader<'_>, Found) -> Result<()>,
) -> Result<Tail> {
    loop {
        match reader.advance() {
            Ok(Some(found)) => {
                each(reader, found)?;
                continue;
            }
            Ok(None) => {}
            Err(error) if mode != RecoveryMode::SkipCorrupt => return Err(error),
            Err(_) => {}
        }
        if mode == RecoveryMode::SkipCorrupt && reader.skip_damage() {
            *skipped += 1;
            continue;
        }
        // Where the next segment tells that the log went on there, nothing has to be searched for.
        let complete = end.is_some_and(|link| link.end <= reader.offset());
        let tail = if complete {
            Tail {
                end: reader.offset(),
                ..Tail::default()
            }
        } else {
            reader.tail()
        };
        if mode == RecoveryMode::SkipCorrupt && tail.torn > 0 {
            *skipped += 1;
        }
        return Ok(tail);
    }
}

#[cfg(test)]
mod tests;
