//! Commits, and giving roots up.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result};

use super::account::{self, Entry};
use super::piece::{self, HEADER, Kind, PAGE, Ptr};
use super::slot::{Names, Slot};
use super::space::{Dead, Extent, Fresh, RootInfo, Space};
use super::{Store, count};

/// A whole account is written after so many partial ones at the latest.
const LONGEST_CHAIN: usize = 64;
/// A commit of more pages than this, 4 MiB, syncs twice: an opening after a crash reads what the last commit wrote if that synced
/// once. For more the second sync is the least of what the commit takes.
const MOST_CHECKED: u64 = 1024;

/// A commit whose account has been put together, but not written.
pub(super) struct Prepared {
    generation: u64,
    root: RootInfo,
    /// The roots that the account names.
    named: BTreeSet<u64>,
    account: Vec<u8>,
    /// The account is whole.
    whole: bool,
    /// The commit syncs once, and its account names what it has written.
    once: bool,
}

/// Writes a file with one, empty root.
pub(super) fn write_first(storage: &dyn Storage, path: &Path, names: &Names) -> Result<()> {
    let root = RootInfo { top: None, level: 0 };
    let space = Space {
        end: 2,
        ..Space::default()
    };
    let mut bytes = vec![0; HEADER];
    let entry = Entry {
        generation: 1,
        roots: &[(1, root)],
        previous: None,
        checked: false,
    };
    account::encode(&mut bytes, &space, entry, &[])?;
    let raw_len = bytes.len() - HEADER;
    let crc = piece::seal(&mut bytes, Kind::Space, 0, raw_len, false, 2, 1);
    let slot = Slot {
        generation: 1,
        names: names.clone(),
        account: Ptr {
            page: 2,
            len: bytes.len() as u32,
            crc,
            birth: 1,
        },
        synced: true,
    };
    let file = storage.create_log(path, 3 * PAGE)?;
    file.write_at(2 * PAGE, &bytes)?;
    file.write_at(0, &slot.encode())?;
    file.write_at(PAGE, &slot.encode())?;
    file.sync_data()
}

impl Store {
    /// # Errors
    /// `Unavailable` if a sync has failed.
    pub(crate) fn check_sound(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            let message = "a sync of the index failed, and what it was to save may be lost: open the file anew";
            return Err(Error::new(ErrorKind::Unavailable, message).with_file(&self.path));
        }
        Ok(())
    }

    /// Makes a state durable whose nodes have all been written; returns its number.
    ///
    /// # Errors
    /// `Io`; if a sync failed, nothing more can be committed.
    pub(crate) fn commit(&self, root: RootInfo) -> Result<u64> {
        self.check_sound()?;
        self.settle()?;
        let prepared = self.prepare(root)?;
        self.complete(prepared)
    }

    /// Puts the account of a commit together. From here on views may still come and go, and roots be released, but nothing else may
    /// happen until the commit is complete.
    pub(super) fn prepare(&self, root: RootInfo) -> Result<Prepared> {
        let (space, chain) = (self.space.lock(), self.chain.lock());
        let generation = space.generation + 1;
        let old = space.roots.iter().map(|(id, root)| (*id, *root));
        let roots: Vec<_> = old.chain([(generation, root)]).collect();
        let once = space.fresh_pages() <= MOST_CHECKED;
        let pages: u64 = chain.extents.iter().map(|extent| extent.pages).sum();
        let whole = chain.renew || chain.extents.len() >= LONGEST_CHAIN || pages > 3 * chain.whole_pages + 16;
        let previous = self.slot.lock().account;
        let entry = Entry {
            generation,
            roots: &roots,
            previous: (!whole).then_some(&previous),
            checked: once,
        };
        let mut account = vec![0; HEADER];
        account::encode(&mut account, &space, entry, &chain.extents)?;
        Ok(Prepared {
            generation,
            root,
            named: roots.into_iter().map(|(id, _)| id).collect(),
            account,
            whole,
            once,
        })
    }

    /// Writes the account of a commit and the slot that names it.
    pub(super) fn complete(&self, prepared: Prepared) -> Result<u64> {
        let Prepared {
            generation,
            root,
            named,
            mut account,
            whole,
            once,
        } = prepared;
        let account = self.write(Kind::Space, 0, &mut account)?;
        let mut slot = Slot {
            generation,
            account,
            synced: !once,
            ..self.slot.lock().clone()
        };
        let saved = if once { Ok(()) } else { self.sync() };
        let saved = saved.and_then(|()| {
            self.write_slot(generation, &slot)?;
            self.sync()?;
            // Whether an opening finds this does not matter: it then has nothing to check.
            slot.synced = true;
            if once {
                self.write_slot(generation, &slot)
            } else {
                Ok(())
            }
        });
        // After a failure of any of them nobody knows which slot the disk has.
        saved.inspect_err(|_| self.poisoned.store(true, Ordering::Release))?;
        *self.slot.lock() = slot;
        self.finish(generation, root, named, Extent::of(&account), whole)?;
        count(&self.counters.commits, 1);
        Ok(generation)
    }

    fn write_slot(&self, number: u64, slot: &Slot) -> Result<()> {
        count(&self.counters.writes, 1);
        count(&self.counters.write_bytes, super::slot::SLOT as u64);
        self.file.write_at(PAGE * (number % 2), &slot.encode())
    }

    /// Before the first write after an opening: makes sure that the commit it found is on the disk, as the next one, which syncs once,
    /// takes the place of the one before. And if it had to pass over a commit that was half written, takes that one's slot away:
    /// what is written from now on could else make it look whole again.
    ///
    /// # Errors
    /// `Io`; `Unavailable` if a sync has failed.
    pub(super) fn settle(&self) -> Result<()> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        self.check_sound()?;
        let slot = self.slot.lock().clone();
        let saved = self.write_again(&slot).and_then(|()| self.sync());
        saved.inspect_err(|_| self.poisoned.store(true, Ordering::Release))?;
        self.settled.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes the newest slot again, and what its commit has written, unless that is known to be on the disk. A sync that failed may have
    /// left them where the system reads them, but from where no later sync saves them.
    fn write_again(&self, slot: &Slot) -> Result<()> {
        let found = self.found.lock();
        for ptr in &found.unsynced {
            let mut bytes = self.read_bytes(ptr)?;
            bytes.resize((ptr.pages() * PAGE) as usize, 0);
            self.file.write_at(ptr.offset(), &bytes)?;
        }
        // Nor would a sync save the length: only that of a file which has grown since.
        let len = self.file.len();
        if !found.unsynced.is_empty() || len > self.space.lock().end * PAGE {
            self.file.grow(len + PAGE)?;
        }
        self.write_slot(slot.generation, slot)?;
        if !found.doubled {
            return Ok(());
        }
        let other = Slot {
            synced: true,
            ..slot.clone()
        };
        self.write_slot(slot.generation + 1, &other)
    }

    fn sync(&self) -> Result<()> {
        count(&self.counters.syncs, 1);
        self.file.sync_data()
    }

    /// The slot is on the disk: what only the state before needed is free.
    fn finish(
        &self,
        generation: u64,
        root: RootInfo,
        named: BTreeSet<u64>,
        account: Extent,
        whole: bool,
    ) -> Result<()> {
        let mut space = self.space.lock();
        let mut chain = self.chain.lock();
        if whole {
            let old = std::mem::take(&mut *chain);
            for extent in &old.extents {
                space.free.add(*extent)?;
            }
            (chain.whole_pages, chain.reach) = (account.pages, old.reach);
        }
        chain.extents.push(account);
        space.bury(generation);
        space.roots.insert(generation, root);
        // Also those that have been released since the account was put together.
        space.durable = named;
        let freed = space.reap()?;
        self.forget(&freed);
        let reached = space.end;
        space.cut_tail();
        self.give_back(reached, &mut chain);
        Ok(())
    }

    /// Gives up whatever was written since the last commit.
    ///
    /// # Errors
    /// `Corruption` if the account is wrong.
    pub(crate) fn rollback(&self) -> Result<()> {
        let mut space = self.space.lock();
        let fresh: Vec<Extent> = space
            .fresh
            .iter()
            .map(|(&page, &Fresh { pages, .. })| Extent { page, pages })
            .collect();
        space.rollback().map_err(|error| error.with_file(&self.path))?;
        self.forget(&fresh);
        Ok(())
    }

    /// Gives a root up; its space is free after the next commit.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for the newest.
    pub(crate) fn release(&self, id: u64) -> Result<()> {
        let mut space = self.space.lock();
        if !space.roots.contains_key(&id) {
            return Err(no_root(id).with_file(&self.path));
        }
        if space.roots.keys().next_back() == Some(&id) {
            let message = format!("root {id} is the newest, which the index needs: commit before releasing it");
            return Err(Error::invalid_input(message).with_file(&self.path));
        }
        space.roots.remove(&id);
        Ok(())
    }

    /// Keeps a root's nodes until [`unpin`](Self::unpin).
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn pin(&self, id: u64) -> Result<RootInfo> {
        let mut space = self.space.lock();
        let root = *space.roots.get(&id).ok_or_else(|| no_root(id).with_file(&self.path))?;
        *space.pins.entry(id).or_default() += 1;
        Ok(root)
    }

    /// Ends one [`pin`](Self::pin).
    pub(crate) fn unpin(&self, id: u64) {
        let mut space = self.space.lock();
        let Some(pins) = space.pins.get_mut(&id) else { return };
        *pins -= 1;
        if *pins > 0 {
            return;
        }
        space.pins.remove(&id);
        if space.roots.contains_key(&id) {
            return;
        }
        // A contradiction in the account is found by the next commit, or by `verify`. The pool forgets the pieces before
        // the writer, which may be another thread, can give their pages to others.
        let freed = space.reap().unwrap_or_default();
        self.forget(&freed);
    }

    /// Makes a root the newest that counts: those after it are given up. `later` are the pieces that only they use. Nothing may
    /// have been written since the last commit.
    ///
    /// # Errors
    /// `NotFound`; `Corruption` if the account is wrong.
    pub(crate) fn reset(&self, id: u64, later: &[Ptr]) -> Result<RootInfo> {
        let mut space = self.space.lock();
        let root = *space.roots.get(&id).ok_or_else(|| no_root(id).with_file(&self.path))?;
        let death = space.generation + 1;
        space.dead.retain(|dead| !(dead.birth <= id && id < dead.death));
        space.dead.extend(later.iter().map(|ptr| Dead {
            extent: Extent::of(ptr),
            birth: ptr.birth,
            death,
        }));
        space.roots.retain(|&other, _| other <= id);
        // A partial account could not tell of what has come back to life.
        self.chain.lock().renew = true;
        Ok(root)
    }

    /// The accounts that the file would be opened with.
    pub(crate) fn accounts(&self) -> Vec<Extent> {
        let chain = self.chain.lock();
        chain.extents.clone()
    }
}

fn no_root(id: u64) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no root {id} in this index, or it has been released"),
    )
}
