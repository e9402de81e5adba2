//! Files that nobody uses any more, and the thread that removes them.
//!
//! To remove a large file takes tens of milliseconds: the file system frees its blocks, the system its cached and mapped pages.
//! Whoever happens to use a replaced run last, a read or a write of a program, should not wait for that.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kodiak_core::compaction::RunId;
use parking_lot::{Condvar, Mutex};

use super::context::RunContext;
use super::reader::RunReader;

/// The files of a run that has been replaced, and what the process holds of them.
#[derive(Debug)]
pub struct Removal {
    pub context: Arc<RunContext>,
    /// Its files are mapped for as long as there is a reader.
    pub reader: Option<Arc<RunReader>>,
    pub paths: Vec<PathBuf>,
    pub id: RunId,
    pub blocks: u32,
}

impl Removal {
    /// Removes the files now; the run was not replaced, or nobody is told.
    pub fn carry_out(self) {
        drop(self.reader);
        self.context.cache.forget(self.id, self.blocks);
        for path in self.paths {
            // A file that stays behind is an orphan, which the next opening removes.
            if let Err(error) = self.context.storage.remove(&path) {
                tracing::warn!(%error, "an obsolete file could not be removed");
            }
        }
    }
}

/// What is to be removed. Nothing waits there unless somebody [`serves`](Self::serve) it.
#[derive(Debug, Default)]
pub struct Removals {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Removal>,
    /// Being carried out.
    begun: usize,
    /// There is a thread that carries them out.
    served: bool,
}

impl Removals {
    /// From now on a thread will [`serve`](Self::serve), until [`end`](Self::end).
    pub fn begin(&self) {
        self.queue.lock().served = true;
    }

    /// Takes no more; whoever serves returns once nothing is left.
    pub fn end(&self) {
        self.queue.lock().served = false;
        self.changed.notify_all();
    }

    /// Has the files of a replaced run removed by the thread that serves, or removes them itself if there is none.
    pub fn hand_over(&self, removal: Removal) {
        let mut queue = self.queue.lock();
        if !queue.served {
            drop(queue);
            return self.carry_out(removal);
        }
        queue.waiting.push(removal);
        drop(queue);
        self.changed.notify_all();
    }

    /// Removes the files of a replaced run.
    pub fn carry_out(&self, removal: Removal) {
        let context = Arc::clone(&removal.context);
        removal.carry_out();
        let queue = self.queue.lock();
        context.replaced.fetch_sub(1, Ordering::AcqRel);
        drop(queue);
        self.changed.notify_all();
    }

    /// Waits until the files of all replaced runs of a table are gone, or the time is over: somebody may go on reading them.
    pub fn settle(&self, table: &RunContext, patience: Duration) {
        let mut queue = self.queue.lock();
        let some = |_: &mut Queue| table.replaced.load(Ordering::Acquire) > 0;
        self.changed.wait_while_for(&mut queue, some, patience);
    }

    /// Carries out what is handed over, until the [`end`](Self::end). `done` is called whenever nothing is left.
    pub fn serve(&self, done: impl Fn()) {
        let mut queue = self.queue.lock();
        loop {
            let removals = std::mem::take(&mut queue.waiting);
            if removals.is_empty() {
                if !queue.served {
                    return;
                }
                self.changed.wait(&mut queue);
                continue;
            }
            queue.begun = removals.len();
            drop(queue);
            removals.into_iter().for_each(|removal| self.carry_out(removal));
            queue = self.queue.lock();
            queue.begun = 0;
            if queue.waiting.is_empty() {
                done();
            }
        }
    }

    /// True if nothing waits and nothing is under way.
    pub fn is_empty(&self) -> bool {
        let queue = self.queue.lock();
        queue.waiting.is_empty() && queue.begun == 0
    }
}

#[cfg(test)]
mod tests;
