//! The manifest: the log of version edits that says which runs make up the database.
//!
//! Three files in the database's directory (their bytes are in `docs/formats/manifest.md`):
//!
//! - `MANIFEST-nnnnnn`: a header, then records, each an edit; the first is a snapshot of the whole state. The file is
//!   preallocated, and replaced by a new one when it is full and whenever the database is opened for writing.
//! - `CURRENT`: names the manifest file in force; switched by writing a new one, syncing, renaming, syncing the directory.
//! - `MANIFEST-TAIL`: how long the manifest was when the last edit was acknowledged.
//!
//! An edit is acknowledged once its record *and* the tail are synced. So, on reading, everything below the tail must be
//! there and whole: a manifest that was cut, replaced by an older copy or zeroed does not pass for a shorter history. What
//! lies beyond the tail is at most one record that nobody was told of; it counts if it is whole, and is cut if not.
//!
//! A database with very many runs may have them in a `catalogue` beside it, an index, so that an opening need not read them all.

mod apply;
mod catalogue;
mod codec;
mod edit;
mod files;
mod replay;
mod runs;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::index::IndexFactory;
use kodiak_core::storage::{LogFile, Storage};
use kodiak_core::{Error, ErrorKind, Result};

pub use catalogue::catalogue_name;
pub(crate) use catalogue::{POOL as CATALOGUE_POOL, is_catalogue};
pub(crate) use codec::compression_from_byte;
pub use edit::{
    CatalogueMeta, Change, DeadRows, IndexMeta, Marks, Place, RunMeta, SecondaryMeta, SortedRunId, VersionEdit,
};
pub use files::{CURRENT, TAIL, file_name, parse_file_name};
pub(crate) use runs::Base;
pub use runs::Runs;
pub use state::{MAX_LEVELS, PlacedRun, SchemaState, SecondaryState, State, TableState};

use catalogue::Catalogue;
use files::{Current, HEADER_BYTES, Header, Tail, TailMark};
use replay::replay;

/// Room for edits in a fresh manifest file, beside three times its snapshot.
const ROOM: u64 = 256 << 10;

/// Where the runs of a database are to be.
#[derive(Debug, Clone, Copy, Default)]
pub enum Listing {
    /// Where they are.
    #[default]
    AsBefore,
    /// In the manifest.
    Manifest,
    /// In an index, once the manifest would have to tell of so many changes that it does not have.
    Catalogue(&'static IndexFactory, usize),
}

/// Changes that a catalogue does not have, from which on it gets them, where nobody says so.
const MANY_CHANGES: usize = 1000;

/// The manifest, open for appending. It is used by one thread at a time.
#[derive(Debug)]
pub struct Manifest {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    state: State,
    number: u64,
    file: Arc<dyn LogFile>,
    tail: Tail,
    /// Where the next record goes.
    length: u64,
    /// The number of the last record.
    records: u64,
    /// A write failed: what the files hold is not known, and they are given up before the next edit.
    poisoned: bool,
    /// The file that was to be put in force when that failed.
    interrupted: Option<Written>,
    listing: Listing,
    catalogue: Option<Catalogue>,
    was_listed: bool,
}

impl Manifest {
    /// True if `dir` holds a database; false if it holds none, or one whose creation was interrupted before anything could
    /// be written to it.
    ///
    /// # Errors
    /// `Corruption` if there are traces of a database but `CURRENT` or `MANIFEST-TAIL` is missing; `Io`.
    pub fn exists(storage: &dyn Storage, dir: &Path) -> Result<bool> {
        let names = match storage.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let has = |name: &str| names.iter().any(|known| known == name);
        if has(CURRENT) {
            return Ok(true);
        }
        let manifests = names.iter().filter(|name| parse_file_name(name).is_some()).count();
        let missing = || {
            Error::corruption(
                "the file is missing, but there are other traces of a database: restore it from a backup, or run `kodiak repair`",
            )
        };
        if has(TAIL) && !Tail::is_fresh(storage, &dir.join(TAIL))? {
            return Err(missing().with_file(dir.join(CURRENT)));
        }
        if manifests > 0 && !has(TAIL) {
            return Err(missing().with_file(dir.join(TAIL)));
        }
        Ok(false)
    }

    /// Creates the manifest of a new database that begins with `state` (for a checkpoint, that of the original; otherwise
    /// [`State::new`]). The directory must be there. Left-overs of an interrupted creation are removed.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a database; `Io`.
    pub fn create(storage: Arc<dyn Storage>, dir: &Path, state: State) -> Result<Self> {
        if Self::exists(&*storage, dir)? {
            return Err(Error::new(ErrorKind::AlreadyExists, "there is a database already").with_file(dir));
        }
        let mut left_over = false;
        for name in storage.list(dir)? {
            if name == files::CURRENT_NEW || parse_file_name(&name).is_some() {
                storage.remove(&dir.join(name))?;
                left_over = true;
            }
        }
        if left_over {
            // A power loss must not leave them without the tail that tells them from those of a database.
            storage.sync_dir(dir)?;
        }
        if storage.len(&dir.join(TAIL))?.is_some() {
            storage.remove(&dir.join(TAIL))?;
        }
        let tail = Tail::create(&*storage, &dir.join(TAIL))?;
        storage.sync_dir(dir)?;
        let written = write_snapshot(&*storage, dir, &state, 1)?;
        let mut manifest = Self::assemble(storage, dir, state, tail, &written);
        manifest.put_in_force(written)?;
        Ok(manifest)
    }

    /// Reads the manifest, changing nothing: for a database opened read-only, and for tools.
    ///
    /// # Errors
    /// `NotFound` if there is no database; `Corruption` naming file and offset; `Unsupported` for a newer version; `Io`.
    pub fn read(storage: &dyn Storage, dir: &Path) -> Result<State> {
        Self::dump(storage, dir, &mut |_, _| Ok(()))
    }

    /// Which edit was the last to be acknowledged: another value, and the files that the manifest names may be others. `None` if
    /// that cannot be told.
    pub fn mark(storage: &dyn Storage, dir: &Path) -> Option<(u64, u64)> {
        let mark = Tail::read(storage, &dir.join(TAIL)).ok()??;
        Some((mark.number, mark.length))
    }

    /// Reads the manifest and hands over each edit with the offset of its record.
    ///
    /// # Errors
    /// As [`read`](Self::read), and whatever `sink` returns.
    pub fn dump(
        storage: &dyn Storage,
        dir: &Path,
        sink: &mut dyn FnMut(u64, &VersionEdit) -> Result<()>,
    ) -> Result<State> {
        let open = &mut |identity, meta: &CatalogueMeta| catalogue::read(storage, dir, identity, meta);
        replay(storage, dir, sink, open)?.state.whole()
    }

    /// Opens the manifest for appending: reads it, and begins a new file with a snapshot of what was read, so that nothing
    /// the caller goes by can be lost any more. Older manifest files are removed.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn open(storage: Arc<dyn Storage>, dir: &Path) -> Result<Self> {
        Self::open_with(storage, dir, Listing::AsBefore)
    }

    /// [`open`](Self::open), with the runs where `listing` says from then on.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn open_with(storage: Arc<dyn Storage>, dir: &Path, listing: Listing) -> Result<Self> {
        let mut catalogue = None;
        let open = &mut |identity, meta: &CatalogueMeta| {
            let opened = catalogue.insert(Catalogue::open(&storage, dir, identity, meta)?);
            opened.view()
        };
        let replayed = replay(&*storage, dir, &mut |_, _| Ok(()), open)?;
        let mut state = replayed.state;
        let was_listed = state.is_listed();
        let elsewhere = match listing {
            Listing::AsBefore => false,
            Listing::Manifest => true,
            Listing::Catalogue(factory, _) => catalogue
                .as_ref()
                .is_some_and(|known| known.meta.kind != factory.component.name),
        };
        if elsewhere && catalogue.take().is_some() {
            state = state.whole()?;
            state.catalogue = None;
        }
        let number = replayed.current.number;
        // Older files go only when a switch made here is safe: a power loss may still take back the one that was read.
        let (mut older, mut catalogues) = (Vec::new(), Vec::new());
        for name in storage.list(dir)? {
            match parse_file_name(&name) {
                Some(other) if other < number => older.push(name),
                Some(other) if other > number => storage.remove(&dir.join(name))?,
                _ if name == files::CURRENT_NEW => storage.remove(&dir.join(name))?,
                _ if is_catalogue(&name) => catalogues.push(name),
                _ => {}
            }
        }
        let mut unlisted = Unlisted {
            storage: &storage,
            dir,
            listing,
            catalogue: &mut catalogue,
        };
        state = unlisted.settle(&state, number + 1).unwrap_or(state);
        let written = write_snapshot(&*storage, dir, &state, number + 1)?;
        let mut tail = Tail::open(&*storage, &dir.join(TAIL))?;
        if replayed.marked == Some(number) {
            // What was read may be there for readers only, if its sync failed before the process ended.
            tail.renew()?;
        } else {
            // The tail may lag by one file only: first it catches up.
            tail.write(&replayed.mark)?;
        }
        let mut manifest = Self::assemble(storage, dir, state, tail, &written);
        (manifest.listing, manifest.catalogue, manifest.was_listed) = (listing, catalogue, was_listed);
        manifest.put_in_force(written)?;
        manifest.release_roots();
        let named = manifest
            .state
            .catalogue
            .as_ref()
            .map(|meta| catalogue_name(meta.number));
        let others = catalogues.into_iter().filter(|name| Some(name) != named.as_ref());
        for name in older.into_iter().chain(others) {
            match manifest.storage.remove(&dir.join(name)) {
                // The draft of a catalogue, where another one was made.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(manifest)
    }

    /// With the runs where `listing` says, from when the manifest is next written anew.
    #[must_use]
    pub fn listing_in(mut self, listing: Listing) -> Self {
        self.listing = listing;
        self
    }

    /// True if a catalogue had runs when this was opened.
    pub(crate) fn was_listed(&self) -> bool {
        self.was_listed
    }

    /// The state after every edit so far. If a catalogue has runs, it does not tell of those: see [`State::whole`].
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Bytes of the manifest file in use.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Applies an edit and makes it survive a power loss; when this returns, files that the edit made superfluous may go.
    ///
    /// # Errors
    /// `Corruption` for an edit that does not fit the state: nothing is written then. `Io` if it could not be written or
    /// synced: the state is as before. Until the next edit succeeds, nobody knows whether the disk has this one, so files
    /// that it names must stay.
    pub fn append(&mut self, edit: &VersionEdit) -> Result<()> {
        self.recover()?;
        let mut next = self.state.clone();
        next.apply_in_place(edit)?;
        let record = files::record(self.state.identity, self.number, self.records + 1, edit)?;
        // A zero header must follow the last record, to mark the end.
        if self.length + record.len() as u64 + files::RECORD_HEADER as u64 <= self.file.len() {
            self.poisoned = true;
            self.file.write_at(self.length, &record)?;
            self.file.sync_data()?;
            self.length += record.len() as u64;
            self.records += 1;
            self.write_mark()?;
            self.poisoned = false;
        } else {
            next = self.replace(next)?;
        }
        self.state = next;
        self.release_roots();
        Ok(())
    }

    /// After a failed write: gives up the files that it concerned and writes the state as it is in memory to new ones, so that
    /// an edit of which nobody knows whether it is on disk is not. Does nothing if there was no failure; may be tried again.
    ///
    /// # Errors
    /// `Io`, as long as the cause (no space left, say) lasts.
    pub fn recover(&mut self) -> Result<()> {
        if !self.poisoned {
            return Ok(());
        }
        // Not through the old handle: what a failed sync has dropped, no later sync through it would save.
        self.tail.reopen(&*self.storage, &self.dir.join(TAIL))?;
        let current = Current::read(&*self.storage, &self.dir.join(CURRENT))?;
        let new = self.dir.join(files::CURRENT_NEW);
        if self.storage.len(&new)?.is_some() {
            self.storage.remove(&new)?;
        }
        if let Some(written) = self.interrupted.take_if(|written| written.number == current.number) {
            // Whether a power loss would take the switch back is not known: it is brought to its end.
            self.put_in_force(written)?;
        }
        self.replace(self.state.clone())?;
        tracing::info!(
            file = file_name(self.number),
            "the manifest was written anew after a failure"
        );
        Ok(())
    }

    /// Writes `state` to a new manifest file and puts that in force; returns it as it is in there, since runs may have moved to the
    /// catalogue.
    fn replace(&mut self, mut state: State) -> Result<State> {
        // Until CURRENT names the new file a failure (no space left, say) costs nothing but that file.
        let number = self.number + 1;
        let path = self.dir.join(file_name(number));
        if self.poisoned && self.storage.len(&path)?.is_some() {
            self.storage.remove(&path)?;
        }
        // After a failure nobody knows which root is named by the file that a crash would leave in force: all stay as they are.
        if !self.poisoned {
            state = self.unlisted().settle(&state, number).unwrap_or(state);
        }
        let written = write_snapshot(&*self.storage, &self.dir, &state, number)
            .inspect_err(|_| drop(self.storage.remove(&path)))?;
        self.put_in_force(written)?;
        Ok(state)
    }

    fn unlisted(&mut self) -> Unlisted<'_> {
        Unlisted {
            storage: &self.storage,
            dir: &self.dir,
            listing: self.listing,
            catalogue: &mut self.catalogue,
        }
    }

    /// The manifest in force, of which that is sure, names the root of the state.
    fn release_roots(&mut self) {
        if let (Some(catalogue), Some(meta)) = (&mut self.catalogue, &self.state.catalogue)
            && catalogue.meta.root != meta.root
        {
            catalogue.moved_to(meta.root);
        }
    }

    fn assemble(storage: Arc<dyn Storage>, dir: &Path, state: State, tail: Tail, written: &Written) -> Self {
        Self {
            storage,
            dir: dir.to_owned(),
            state,
            // The file in force is the one before, if there is one.
            number: written.number - 1,
            file: Arc::clone(&written.file),
            tail,
            length: 0,
            records: 0,
            poisoned: false,
            interrupted: None,
            listing: Listing::AsBefore,
            catalogue: None,
            was_listed: false,
        }
    }

    /// Puts a freshly written manifest file in force and removes the one before.
    fn put_in_force(&mut self, written: Written) -> Result<()> {
        let identity = self.state.identity;
        let mark = TailMark {
            identity,
            number: written.number,
            length: written.length,
            records: 1,
        };
        self.poisoned = true;
        let written = self.interrupted.insert(written);
        files::switch_current(
            &*self.storage,
            &self.dir,
            &Current {
                number: written.number,
                identity,
            },
        )?;
        self.tail.write(&mark)?;
        let old = self.dir.join(file_name(self.number));
        if let Some(Written { number, file, length }) = self.interrupted.take() {
            (self.number, self.file, self.length, self.records) = (number, file, length, 1);
        }
        self.poisoned = false;
        // A file that stays behind is removed by the next opening.
        if let Err(error) = self.storage.remove(&old)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, "a manifest that is no longer needed could not be removed");
        }
        Ok(())
    }

    fn write_mark(&mut self) -> Result<()> {
        self.tail.write(&TailMark {
            identity: self.state.identity,
            number: self.number,
            length: self.length,
            records: self.records,
        })
    }
}

/// What decides which runs go from a manifest to its catalogue.
struct Unlisted<'m> {
    storage: &'m Arc<dyn Storage>,
    dir: &'m Path,
    listing: Listing,
    catalogue: &'m mut Option<Catalogue>,
}

impl Unlisted<'_> {
    /// Before manifest file `number` is written: if there is much that the catalogue does not have, it gets it, and is made if there is none;
    /// returns the state then. That fails without harm: the manifest tells of everything, as without catalogue.
    fn settle(&mut self, state: &State, number: u64) -> Option<State> {
        let (factory, many) = match self.listing {
            Listing::Catalogue(factory, many) => (Some(factory), many),
            Listing::AsBefore => (None, MANY_CHANGES),
            Listing::Manifest => return None,
        };
        if state.unlisted() < many.max(1) {
            return None;
        }
        let catalogue = match (&mut *self.catalogue, factory) {
            (Some(catalogue), _) => Ok(&*catalogue),
            (None, Some(factory)) => {
                let made = Catalogue::create(self.storage, self.dir, (state.identity, number), factory);
                made.map(|made| &*self.catalogue.insert(made))
            }
            (None, None) => return None,
        };
        match catalogue.and_then(|catalogue| catalogue.update(state)) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(%error, "the catalogue was not brought up to date");
                None
            }
        }
    }
}

/// A manifest file that holds a snapshot, synced.
#[derive(Debug)]
struct Written {
    number: u64,
    file: Arc<dyn LogFile>,
    length: u64,
}

fn write_snapshot(storage: &dyn Storage, dir: &Path, state: &State, number: u64) -> Result<Written> {
    let record = files::record(state.identity, number, 1, &state.snapshot())?;
    let length = HEADER_BYTES as u64 + record.len() as u64;
    let file_bytes = (length + 3 * record.len() as u64 + ROOM).next_multiple_of(4096);
    let path = dir.join(file_name(number));
    let file = storage.create_log(&path, file_bytes)?;
    let mut bytes = Header {
        number,
        identity: state.identity,
        file_bytes,
    }
    .encode();
    bytes.extend_from_slice(&record);
    file.write_at(0, &bytes)?;
    file.sync_data()?;
    storage.sync_dir(dir)?;
    Ok(Written { number, file, length })
}

#[cfg(test)]
mod tests;
