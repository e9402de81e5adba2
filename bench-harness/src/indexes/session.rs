//! One index, and work on it that is measured.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use kodiak::core::index::{Index, IndexContext, IndexFactory, IndexPool, IndexStats, IndexView, Updates, Upsert};
use kodiak::core::options::{OptionValue, Options};
use kodiak::{Error, ErrorKind, LocalStorage, Result};

use super::{BATCH, ENTRY, KEY, Row, VALUE};

/// Adds bytes to bytes.
#[derive(Debug)]
struct Add;

impl Upsert for Add {
    fn name(&self) -> &str {
        "bench-add"
    }

    fn apply(&self, _key: &[u8], existing: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
        let mut value = existing.map_or_else(|| vec![0; VALUE], <[u8]>::to_vec);
        for (value, operand) in value.iter_mut().zip(operand) {
            *value = value.wrapping_add(*operand);
        }
        Some(value)
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        Some(
            older
                .iter()
                .zip(newer)
                .map(|(one, two)| one.wrapping_add(*two))
                .collect(),
        )
    }
}

/// Keys all over, none twice: both multipliers are odd.
pub(super) fn key(number: u64) -> [u8; KEY] {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(21);
    mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93).to_be_bytes()
}

/// Nanoseconds that this thread has spent on a processor; 0 where the system does not tell.
pub(super) fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// Work on one index.
pub(super) struct Session<'a> {
    pub factory: &'static IndexFactory,
    pub index: Box<dyn Index>,
    pub pool: usize,
    pub times: usize,
    pub rows: &'a mut Vec<Row>,
    pub tell: &'a mut dyn FnMut(&Row),
}

/// The bytes of nodes and basements of a fractal tree with such a pool.
pub(super) fn node_bytes(pool: usize) -> (usize, usize) {
    let node = (pool / 16).max(16 << 10);
    (node, (node / 32).max(4 << 10))
}

/// The options that say so.
pub(super) fn sizes(pool: usize) -> [(&'static str, OptionValue); 2] {
    let (node, basement) = node_bytes(pool);
    [size("node_size", node), size("basement_size", basement)]
}

/// Makes an index for which `pool` says how large nodes are, with a pool of `memory` bytes.
pub(super) fn create(factory: &'static IndexFactory, pool: usize, memory: usize, dir: &Path) -> Result<Box<dyn Index>> {
    create_with(factory, &sizes(pool), (factory.pool)(memory), dir)
}

/// An option that is a number of bytes.
pub(super) fn size(name: &'static str, bytes: usize) -> (&'static str, OptionValue) {
    (name, OptionValue::Int(bytes as u64))
}

/// Makes an index with those of the given options that it has.
pub(super) fn create_with(
    factory: &'static IndexFactory,
    given: &[(&'static str, OptionValue)],
    pool: Arc<dyn IndexPool>,
    dir: &Path,
) -> Result<Box<dyn Index>> {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let file = format!("{}.index", FILES.fetch_add(1, Ordering::Relaxed));
    let known = factory.component.options;
    let given = given
        .iter()
        .filter(|(name, _)| known.iter().any(|option| option.name == *name))
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    (factory.create)(IndexContext {
        storage: Arc::new(LocalStorage::new()),
        path: dir.join(file),
        pool,
        options: Options::resolve(known, given)?,
        upsert: Some(Arc::new(Add)),
        owner: Vec::new(),
    })
}

impl Session<'_> {
    fn measure(
        &mut self,
        work: impl Into<Cow<'static, str>>,
        operations: usize,
        run: impl FnOnce(&dyn Index) -> Result<()>,
    ) -> Result<()> {
        let index = std::slice::from_ref(&self.index);
        let row = measured(index, operations, || run(&*self.index))?;
        let row = Row {
            index: self.factory.component.name,
            times: self.times,
            work: work.into(),
            ..row
        };
        (self.tell)(&row);
        self.rows.push(row);
        Ok(())
    }

    /// Applies changes in batches, and commits whenever half a pool of entries has gone in.
    pub(super) fn write(
        &mut self,
        work: impl Into<Cow<'static, str>>,
        count: usize,
        mut change: impl FnMut(&dyn Index, u64, &mut Updates) -> Result<()>,
    ) -> Result<()> {
        let per_commit = (self.pool / 2 / ENTRY).max(BATCH);
        self.measure(work, count, |index| {
            let mut updates = Updates::new();
            let mut since = 0;
            for start in (0..count).step_by(BATCH) {
                let end = (start + BATCH).min(count);
                updates.clear();
                for number in start..end {
                    change(index, number as u64, &mut updates)?;
                }
                index.apply(&updates, None)?;
                since += end - start;
                if since >= per_commit || end == count {
                    since = 0;
                    commit(index)?;
                }
            }
            Ok(())
        })
    }

    pub(super) fn reads(&mut self, count: u64, operations: u64, step: u64) -> Result<()> {
        self.measure("point reads", operations as usize, |index| {
            let view = newest(index)?;
            for number in 0..operations {
                if view.get(&key(number.wrapping_mul(step) % count))?.is_none() {
                    return Err(Error::corruption("an entry that was written is missing"));
                }
            }
            Ok(())
        })
    }

    pub(super) fn scan(&mut self, count: usize) -> Result<()> {
        self.measure("scan", count, |index| {
            let mut cursor = newest(index)?.cursor();
            let mut found = 0;
            cursor.seek_first()?;
            while cursor.key().is_some() {
                found += 1;
                cursor.next()?;
            }
            if found == count {
                return Ok(());
            }
            Err(Error::corruption(format!("a scan found {found} of {count} entries")))
        })
    }
}

/// Does something with indexes; returns what each operation cost, in a row that does not say of what.
pub(super) fn measured(indexes: &[Box<dyn Index>], operations: usize, run: impl FnOnce() -> Result<()>) -> Result<Row> {
    let bytes = || {
        let stats = indexes.iter().map(|index| index.stats());
        stats.fold((0, 0), |(written, read), stats: IndexStats| {
            (written + stats.write_bytes, read + stats.read_bytes)
        })
    };
    let before = bytes();
    let (start, busy_before) = (Instant::now(), busy());
    run()?;
    let (nanos, busy) = (start.elapsed().as_nanos() as f64, busy() - busy_before);
    let after = bytes();
    let each = |total: f64| total / operations.max(1) as f64;
    Ok(Row {
        index: "",
        times: 0,
        work: Cow::Borrowed(""),
        operations,
        nanos: each(nanos),
        busy: each(busy),
        written: each((after.0 - before.0) as f64),
        read: each((after.1 - before.1) as f64),
    })
}

/// Commits, and gives up all roots but the new one.
pub(super) fn commit(index: &dyn Index) -> Result<()> {
    let newest = index.commit()?;
    for root in index.roots().into_iter().filter(|root| *root < newest) {
        index.release(root)?;
    }
    Ok(())
}

/// A view of the newest root.
pub(super) fn newest(index: &dyn Index) -> Result<Arc<dyn IndexView>> {
    let root = index.roots().last().copied();
    index.view(root.ok_or_else(|| Error::new(ErrorKind::NotFound, "the index has no root"))?)
}
