//! Components that are wrong on purpose, to show that the harness notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kodiak::Result;
use kodiak::core::batch::{Batch, TableId};
use kodiak::core::compaction::{CompactionPlan, CompactionPolicy, PlanKind, PolicyFactory, VersionShape};
use kodiak::core::filter::{Filter, FilterFactory};
use kodiak::core::index::IndexFactory;
use kodiak::core::memtable::MemtableFactory;
use kodiak::core::registry::Component;
use kodiak::core::wal::{Appended, SegmentId, SyncMode, Wal, WalFactory, WalStats};
use kodiak::core::{Op, SeqNo};

use super::{filter, index, memtable, policy, wal};

/// A memtable that forgets every fiftieth insert.
pub static MEMTABLE: MemtableFactory = MemtableFactory {
    component: Component {
        name: "forgetful",
        summary: "Wrong: forgets every fiftieth insert.",
        options: &[],
    },
    capabilities: memtable::CAPABILITIES,
    create: |_, _| Ok(Arc::new(memtable::Tree::new(50))),
};

/// A filter that denies one key in 32.
pub static FILTER: FilterFactory = FilterFactory {
    component: Component {
        name: "denying",
        summary: "Wrong: denies one key in 32.",
        options: &[],
    },
    capabilities: filter::CAPABILITIES,
    build: |_, hashes, _| Ok(Some(filter::serialise(hashes.iter().copied()))),
    open: |bytes| Ok(Box::new(Denying(filter::Exact::open(&bytes)?))),
    false_positive_rate: |_| 0.0,
};

#[derive(Debug)]
struct Denying(filter::Exact);

impl Filter for Denying {
    fn may_contain(&self, hash: u64) -> bool {
        !hash.is_multiple_of(32) && self.0.may_contain(hash)
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }
}

/// An index that loses every fortieth change.
pub static INDEX: IndexFactory = IndexFactory {
    component: Component {
        name: "losing",
        summary: "Wrong: loses every fortieth change.",
        options: &[],
    },
    capabilities: index::CAPABILITIES,
    smallest_pool: |_| 0,
    pool: |bytes| Arc::new(index::Pool(bytes)),
    create: |context| index::create(context, Some(40)),
    open: |context| index::open(context, Some(40)),
};

/// A policy that moves the newest run of level 0 below the older ones, so that old versions come back.
pub static POLICY: PolicyFactory = PolicyFactory {
    component: Component {
        name: "burying",
        summary: "Wrong: newer versions go below older ones.",
        options: &[],
    },
    capabilities: policy::CAPABILITIES,
    create: |_, context| {
        Ok(Box::new(Burying {
            last: context.levels - 1,
        }))
    },
};

#[derive(Debug)]
struct Burying {
    last: usize,
}

impl CompactionPolicy for Burying {
    fn plan(&self, shape: &VersionShape) -> Option<CompactionPlan> {
        let [newest, older, ..] = shape.levels[0].sorted_runs.as_slice() else {
            return None;
        };
        let below = shape.levels[self.last].runs();
        let runs: Vec<_> = newest.runs.iter().chain(below).collect();
        if older.busy() || runs.iter().any(|run| run.busy) {
            return None;
        }
        Some(CompactionPlan {
            kind: PlanKind::Merge,
            inputs: runs.iter().map(|run| run.id).collect(),
            output_level: self.last,
            join: true,
            reason: "wrong on purpose".to_owned(),
            score: 1.0,
        })
    }

    fn pending_bytes(&self, _shape: &VersionShape) -> u64 {
        0
    }

    fn runs_allowed(&self, _level: usize) -> usize {
        1
    }

    fn size_ratio(&self) -> u64 {
        10
    }
}

/// A log that acknowledges every fiftieth batch without keeping it.
pub static WAL: WalFactory = WalFactory {
    component: Component {
        name: "losing",
        summary: "Wrong: loses every fiftieth batch.",
        options: &[],
    },
    capabilities: wal::CAPABILITIES,
    replay: wal::replay,
    open: |context, options, first| {
        Ok(Box::new(Losing {
            inner: wal::open(context, options, first)?,
            appends: AtomicUsize::new(0),
        }))
    },
};

#[derive(Debug)]
struct Losing {
    inner: Box<dyn Wal>,
    appends: AtomicUsize,
}

impl Wal for Losing {
    fn append(&self, batch: &Batch, now_micros: u64, mode: SyncMode) -> Result<Appended> {
        if self.appends.fetch_add(1, Ordering::Relaxed) % 50 == 49 {
            // It takes as many sequence numbers, for a table that is not there.
            let mut nothing = Batch::new();
            (0..batch.len()).for_each(|_| nothing.push(TableId::MAX, Op::Delete, b"", b""));
            return self.inner.append(&nothing, now_micros, mode);
        }
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
