//! A log that counts what goes through it, in the segments of Kodiak's own log: the trait asks that every kind can replay
//! what another has written.

use std::sync::atomic::{AtomicU64, Ordering};

use kodiak::core::SeqNo;
use kodiak::core::batch::Batch;
use kodiak::core::options::Options;
use kodiak::core::registry::Component;
use kodiak::core::wal::{
    Appended, RecoveryMode, ReplayReport, ReplaySink, SegmentId, SyncMode, Wal, WalCapabilities, WalContext,
    WalFactory, WalStats,
};
use kodiak::{Components, Result};

/// The log `counting`.
pub static FACTORY: WalFactory = WalFactory {
    component: Component {
        name: "counting",
        summary: "Counts appends, for a test.",
        options: &[],
    },
    capabilities: CAPABILITIES,
    replay,
    open: |context, options, first| {
        Ok(Box::new(Counting {
            inner: open(context, options, first)?,
        }))
    },
};

/// What it can do.
pub const CAPABILITIES: WalCapabilities = WalCapabilities {
    durable: true,
    needs_mapping: false,
    append_without_system_call: false,
};

/// Batches appended through `counting` in this process.
pub static APPENDS: AtomicU64 = AtomicU64::new(0);

fn inner() -> Result<&'static WalFactory> {
    Components::new().wals().find("segment")
}

/// Opens Kodiak's own log.
pub(super) fn open(context: WalContext, _options: &Options, first: SegmentId) -> Result<Box<dyn Wal>> {
    let inner = inner()?;
    (inner.open)(context, &Options::defaults(inner.component.options), first)
}

/// Replays Kodiak's own log.
pub(super) fn replay(
    context: &WalContext,
    _options: &Options,
    from: SegmentId,
    mode: RecoveryMode,
    sink: &mut ReplaySink<'_>,
) -> Result<ReplayReport> {
    let inner = inner()?;
    (inner.replay)(context, &Options::defaults(inner.component.options), from, mode, sink)
}

#[derive(Debug)]
struct Counting {
    inner: Box<dyn Wal>,
}

impl Wal for Counting {
    fn append(&self, batch: &Batch, now_micros: u64, mode: SyncMode) -> Result<Appended> {
        APPENDS.fetch_add(1, Ordering::Relaxed);
        self.inner.append(batch, now_micros, mode)
    }

    fn next_seq(&self) -> SeqNo {
        self.inner.next_seq()
    }

    fn skip_to(&self, next_seq: SeqNo) {
        self.inner.skip_to(next_seq);
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn rotate(&self) -> Result<SegmentId> {
        self.inner.rotate()
    }

    fn active_segment(&self) -> SegmentId {
        self.inner.active_segment()
    }

    fn release(&self, before: SegmentId) -> Result<()> {
        self.inner.release(before)
    }

    fn check(&self) -> Result<()> {
        self.inner.check()
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }

    fn stats(&self) -> WalStats {
        self.inner.stats()
    }
}
