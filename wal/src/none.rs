//! The log `none`: writes nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use kodiak_core::batch::Batch;
use kodiak_core::options::Options;
use kodiak_core::registry::Component;
use kodiak_core::wal::{Appended, SegmentId, SyncMode, Wal, WalCapabilities, WalContext, WalFactory, WalStats};
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

/// The factory of `none`.
pub const FACTORY: WalFactory = WalFactory {
    component: Component {
        name: "none",
        summary: "No log: what was not flushed is lost when the process ends. For bulk loads and caches.",
        options: &[],
    },
    capabilities: WalCapabilities {
        durable: false,
        needs_mapping: false,
        append_without_system_call: true,
    },
    // Another kind may have been in use before: its records are not lost by changing the setting.
    replay: crate::replay::replay,
    open,
};

fn open(context: WalContext, _options: &Options, first: SegmentId) -> Result<Box<dyn Wal>> {
    Ok(Box::new(NoLog {
        segment: AtomicU64::new(first),
        next_seq: AtomicU64::new(1),
        records: AtomicU64::new(0),
        max_record_bytes: context.max_record_bytes,
        context,
    }))
}

/// Counts segments and sequence numbers.
#[derive(Debug)]
struct NoLog {
    segment: AtomicU64,
    next_seq: AtomicU64,
    records: AtomicU64,
    max_record_bytes: u64,
    context: WalContext,
}

impl Wal for NoLog {
    fn append(&self, batch: &Batch, _now_micros: u64, mode: SyncMode) -> Result<Appended> {
        if mode == SyncMode::Full {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "without a log no write survives a power loss; choose another log, or another sync mode",
            )
            .with_setting("wal.kind"));
        }
        let len = batch.payload().len() as u64;
        if len > self.max_record_bytes {
            return Err(Error::invalid_input(format!(
                "a batch of {len} bytes is above the limit of {} bytes; split it, or raise the limit",
                self.max_record_bytes
            )));
        }
        self.records.fetch_add(1, Ordering::Relaxed);
        let first_seq = self.next_seq.fetch_add(batch.len() as u64, Ordering::AcqRel);
        Ok(Appended {
            first_seq,
            segment: self.segment.load(Ordering::Acquire),
        })
    }

    fn next_seq(&self) -> SeqNo {
        self.next_seq.load(Ordering::Acquire)
    }

    fn skip_to(&self, next_seq: SeqNo) {
        self.next_seq.store(next_seq, Ordering::Release);
    }

    /// There is nothing to sync.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn rotate(&self) -> Result<SegmentId> {
        Ok(self.segment.fetch_add(1, Ordering::AcqRel) + 1)
    }

    fn active_segment(&self) -> SegmentId {
        self.segment.load(Ordering::Acquire)
    }

    /// Removes segments that another kind of log has left.
    fn release(&self, before: SegmentId) -> Result<()> {
        for segment in crate::files::segments_in(&*self.context.storage, &self.context.dir)? {
            if segment < before {
                self.context
                    .storage
                    .remove(&crate::format::segment_path(&self.context.dir, segment))?;
            }
        }
        Ok(())
    }

    fn stats(&self) -> WalStats {
        WalStats {
            records: self.records.load(Ordering::Relaxed),
            ..WalStats::default()
        }
    }
}
