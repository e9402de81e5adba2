//! An open index: the working state behind a lock, and what is done to it.

use std::sync::Arc;

use kodiak_core::index::{Displaced, Index, IndexContext, IndexFinding, IndexStats, IndexView, Root, Updates, Upsert};
use kodiak_core::{Error, Result};
use parking_lot::Mutex;

use super::Shape;
use super::bulk;
use super::view::View;
use super::work::{Link, Writer};
use super::working::Work;
use crate::data::batch;
use crate::data::buffer::Buffer;
use crate::data::merge::Rules;
use crate::data::ranges::Ranges;
use crate::pool::BufferPool;
use crate::pool::turns::Writing;
use crate::store::Store;
use crate::store::slot::Names;
use crate::store::space::RootInfo;

/// An open index of either kind.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(in crate::tree) store: Arc<Store>,
    pub(in crate::tree) shape: Shape,
    pub(in crate::tree) upsert: Option<Arc<dyn Upsert>>,
    work: Mutex<Work>,
}

fn pool_of(context: &IndexContext) -> Result<Arc<BufferPool>> {
    let pool: Arc<dyn std::any::Any + Send + Sync> = context.pool.clone();
    pool.downcast().map_err(|_| {
        Error::invalid_input("the pool was made by another crate's index: make it with the factory's own `pool`")
            .with_file(&context.path)
    })
}

fn names(context: &IndexContext, shape: &Shape) -> Names {
    let upsert = context.upsert.as_ref().map_or("", |upsert| upsert.name());
    Names {
        kind: shape.kind.to_owned(),
        upsert: upsert.to_owned(),
        owner: context.owner.clone(),
    }
}

impl Tree {
    /// # Errors
    /// Those of `IndexFactory::create`.
    pub(crate) fn create(context: IndexContext, shape: Shape) -> Result<Box<dyn Index>> {
        check_pool(&context, &shape)?;
        Store::create(&*context.storage, &context.path, &names(&context, &shape))?;
        Self::open(context, shape)
    }

    /// # Errors
    /// Those of `IndexFactory::open`.
    pub(crate) fn open(context: IndexContext, shape: Shape) -> Result<Box<dyn Index>> {
        check_pool(&context, &shape)?;
        let (storage, path) = (&*context.storage, &context.path);
        let pool = pool_of(&context)?;
        let store = Store::open(storage, path, pool, names(&context, &shape), shape.compress)?;
        store.pool.need(shape.least_turn());
        let work = Work::at(newest(&store)?.1);
        Ok(Box::new(Self {
            store: Arc::new(store),
            shape,
            upsert: context.upsert,
            work: Mutex::new(work),
        }))
    }

    pub(in crate::tree) fn writer<'a>(&'a self, displaced: Option<Displaced<'a>>) -> Writer<'a> {
        Writer::new(&self.store, &self.shape, self.upsert.as_deref(), displaced)
    }

    /// Does something to the working state; an error leaves it broken.
    fn change<T>(&self, with: impl FnOnce(&mut Work) -> Result<T>) -> Result<T> {
        let mut work = self.work.lock();
        work.check(&self.store)?;
        let result = with(&mut work);
        work.broken = result.is_err();
        result
    }

    /// Drops everything since the last commit.
    fn back_to_newest(&self, work: &mut Work) -> Result<()> {
        self.store.check_sound()?;
        self.store.rollback()?;
        *work = Work::at(newest(&self.store)?.1);
        Ok(())
    }

    /// The most bytes that are staged.
    fn most_staged(&self) -> usize {
        (self.shape.buffer_bytes / 8).min(self.store.pool.most_idle() / 8)
    }

    /// True for changes that are not worth going through the tree for.
    fn is_small(&self, buffer: &Buffer) -> bool {
        buffer.ranges.is_empty() && buffer.bytes() < self.most_staged() / 8
    }

    fn stage(&self, work: &mut Work, buffer: &Buffer) -> Result<()> {
        let rules = Rules {
            upsert: self.upsert.as_deref(),
            displaced: None,
        };
        let tally = &self.store.tally;
        let turn = tally.turn(work.staged.most_added(&buffer.points));
        work.staged.add(&rules, tally, &buffer.points)?;
        let exceeds = self.writer(None).exceeds();
        // What is staged by many indexes must not add up to more than they may keep.
        if work.staged.memory() < self.most_staged() && !exceeds {
            return Ok(());
        }
        drop(turn);
        self.apply_staged(work)
    }

    /// Brings what is staged into the tree.
    fn apply_staged(&self, work: &mut Work) -> Result<()> {
        match work.staged.take() {
            Some(buffer) => self.apply_buffer(work, &buffer, None),
            None => Ok(()),
        }
    }

    fn apply_buffer(&self, work: &mut Work, buffer: &Buffer, mut displaced: Option<Displaced<'_>>) -> Result<()> {
        work.recent.note(&buffer.points);
        // The closure's own type has no lifetime that the writer's would have to outlive.
        let wanted = displaced.is_some();
        let mut tell = |key: &[u8], value: &[u8]| {
            if let Some(displaced) = &mut displaced {
                displaced(key, value);
            }
        };
        let mut writer = self.writer(wanted.then_some(&mut tell));
        let writing = Writing::new(&self.store.pool);
        let turn = |share: usize| self.store.tally.turn(share.max(self.shape.least_turn()));
        for (from, to) in buffer.ranges.iter() {
            let mut range = Ranges::default();
            range.add(from, to);
            let _turn = turn(writing.share());
            work.apply(&mut writer, buffer, 0..0, &range)?;
        }
        let none = Ranges::default();
        let mut start = 0;
        while start < buffer.points.len() {
            let share = writing.share();
            let end = (start + self.slice_len(work, share, buffer)).min(buffer.points.len());
            let _turn = turn(share);
            work.apply(&mut writer, buffer, start..end, &none)?;
            start = end;
        }
        Ok(())
    }

    /// How many changes are applied at once, so that what they change stays within a share of the pool.
    fn slice_len(&self, work: &Work, share: usize, buffer: &Buffer) -> usize {
        let count = buffer.points.len().max(1);
        if self.shape.buffers_at(work.level) {
            let bytes = (self.shape.buffer_bytes / 4).min(share / 8);
            return (count * bytes / buffer.bytes().max(1)).clamp(1, count);
        }
        (share / 4 / self.shape.leaf_bytes).clamp(1, 1 << 14)
    }
}

fn check_pool(context: &IndexContext, shape: &Shape) -> Result<()> {
    let (have, need) = (context.pool.budget(), shape.smallest_pool);
    if have >= need {
        return Ok(());
    }
    let message =
        format!("a pool of {have} bytes is too small for nodes of this size: it takes {need}, about eight of them");
    Err(Error::settings("pool", message).with_file(&context.path))
}

fn newest(store: &Store) -> Result<(u64, RootInfo)> {
    let space = store.space.lock();
    let newest = space.roots.last_key_value().map(|(id, root)| (*id, *root));
    newest.ok_or_else(|| Error::corruption("the file has no root").with_file(&store.path))
}

impl Index for Tree {
    fn apply(&self, updates: &Updates, mut displaced: Option<Displaced<'_>>) -> Result<()> {
        if updates.is_empty() {
            return Ok(());
        }
        let mut work = self.work.lock();
        work.check(&self.store)?;
        // What is wrong with the batch is found before anything changes.
        let told = displaced.as_mut().map(|displaced| &mut **displaced as Displaced<'_>);
        let buffer = batch::to_buffer(updates, self.upsert.as_deref(), told)?;
        work.changed = true;
        // Not if somebody wants to be told what dies: a commit, which may have to apply what is staged, tells nobody.
        let result = if displaced.is_none() && self.is_small(&buffer) {
            self.stage(&mut work, &buffer)
        } else {
            self.apply_staged(&mut work)
                .and_then(|()| self.apply_buffer(&mut work, &buffer, displaced))
        };
        work.broken = result.is_err();
        result
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>) -> Result<()> {
        self.change(|work| {
            self.apply_staged(work)?;
            if work.top.is_some() {
                let message = "a bulk load needs an empty index: apply the entries instead";
                return Err(Error::invalid_input(message).with_file(&self.store.path));
            }
            work.changed = true;
            if let Some((level, link)) = bulk::load(&mut self.writer(None), entries)? {
                (work.level, work.top) = (level, Some(link));
            }
            Ok(())
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let work = self.work.lock();
        work.check(&self.store)?;
        super::read::get_working(&self.store, self.upsert.as_deref(), &work, key)
    }

    fn commit(&self) -> Result<Root> {
        self.change(|work| {
            let released = {
                let space = self.store.space.lock();
                !space.roots.keys().eq(space.durable.iter())
            };
            if !work.changed && !released {
                return Ok(Root(newest(&self.store)?.0));
            }
            self.apply_staged(work)?;
            let top = match &mut work.top {
                None => None,
                Some(top) => {
                    self.writer(None).write_all(top)?;
                    match top {
                        Link::Disk(ptr) => Some(*ptr),
                        _ => return Err(Error::corruption("the root was not written").with_file(&self.store.path)),
                    }
                }
            };
            let level = if top.is_some() { work.level } else { 0 };
            let root = self.store.commit(RootInfo { top, level })?;
            work.changed = false;
            Ok(Root(root))
        })
    }

    fn rollback(&self) -> Result<()> {
        self.back_to_newest(&mut self.work.lock())
    }

    fn roots(&self) -> Vec<Root> {
        self.store.space.lock().roots.keys().map(|&id| Root(id)).collect()
    }

    fn release(&self, root: Root) -> Result<()> {
        self.store.release(root.0)
    }

    fn reset_to(&self, root: Root) -> Result<()> {
        let mut work = self.work.lock();
        self.back_to_newest(&mut work)?;
        let later = super::verify::later_pieces(&self.store, root.0)?;
        let info = self.store.reset(root.0, &later)?;
        *work = Work::at(info);
        Ok(())
    }

    fn view(&self, root: Root) -> Result<Arc<dyn IndexView>> {
        Ok(Arc::new(View::open(&self.store, self.upsert.clone(), root)?))
    }

    fn verify(&self, finding: &mut dyn FnMut(IndexFinding)) -> Result<()> {
        // What is in use must not change meanwhile.
        let _work = self.work.lock();
        super::verify::verify(&self.store, finding)
    }

    fn dump(&self, root: Root, line: &mut dyn FnMut(String)) -> Result<()> {
        super::dump::dump(&self.store, root, line)
    }

    fn stats(&self) -> IndexStats {
        let height = {
            let work = self.work.lock();
            if work.top.is_some() {
                u32::from(work.level) + 1
            } else {
                0
            }
        };
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        let counters = &self.store.counters;
        let space = self.store.space.lock();
        let free = space.free.pages() * crate::store::piece::PAGE;
        IndexStats {
            hits: counters.hits.sum(),
            misses: load(&counters.misses),
            reads: load(&counters.reads),
            read_bytes: load(&counters.read_bytes),
            writes: load(&counters.writes),
            write_bytes: load(&counters.write_bytes),
            syncs: load(&counters.syncs),
            commits: load(&counters.commits),
            used_bytes: space.end * crate::store::piece::PAGE - free,
            free_bytes: free,
            height,
            dirty_bytes: self.store.pool.dirty() as u64,
        }
    }
}
