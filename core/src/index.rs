//! Indexes: durable ordered maps from byte keys to small byte values that commit by copy-on-write.
//!
//! An index is a file. [`Index::apply`] changes its working state; [`Index::commit`] makes that durable as a [`Root`], which
//! a manifest can name; a root opened later reads exactly what was committed, until it is released. So an index needs no log
//! of its own, and snapshots are free.
//!
//! **After a crash** every root whose commit had returned is there, and no other, save perhaps one whose commit was
//! running. Whoever names roots elsewhere opens the file, [resets](Index::reset_to) it to the root that was named, and
//! releases the others.

use std::any::Any;
use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::Result;
use crate::options::Options;
use crate::registry::{Component, impl_factory};
use crate::storage::Storage;

mod range;
mod updates;

pub use range::Range;
pub use updates::{RangeDelete, Updates};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 16 << 10;
/// The longest value or operand, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// The longest name of an owner, in bytes.
pub const MAX_OWNER: usize = 96;

/// What is done to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// It gets this value.
    Put(&'a [u8]),
    /// It is taken away.
    Delete,
    /// Its value is computed anew with this operand.
    Upsert(&'a [u8]),
}

/// A durable state of an index, by number. Later commits have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root(pub u64);

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "root {}", self.0)
    }
}

/// How an upsert computes the new value. The index may do so much later, on another thread, and more than once.
pub trait Upsert: Send + Sync + Debug {
    /// The name under which an index remembers its operator, at most 64 bytes.
    fn name(&self) -> &str;

    /// The value after `operand`, from the one before; `None` is no value, before and after. A pure function that knows an
    /// answer to every input, of at most [`MAX_VALUE`] bytes: what is longer makes the work fail that comes upon it.
    fn apply(&self, key: &[u8], existing: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>>;

    /// One operand that does what `older` and then `newer` do, or `None` if there is no such operand.
    fn combine(&self, _key: &[u8], _older: &[u8], _newer: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Told of a value, with its key, that a put or a delete has made dead.
pub type Displaced<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// A durable ordered map. Every method may be called from any thread; those that change wait for each other.
///
/// Keys have at most [`MAX_KEY`] bytes and order as bytes do; values have at most [`MAX_VALUE`].
///
/// **After an error** of `apply`, `bulk_load` or `commit` the working state is unknown: the index refuses everything but
/// [`rollback`](Self::rollback) and reads of committed roots, with `Unavailable`. If a sync failed, only opening the file
/// anew helps. Committed roots are never harmed.
pub trait Index: Send + Sync + Debug {
    /// Changes the working state. If `displaced` is given it is called once for every value that a put, delete or range
    /// delete makes dead: during this very call if the index displaces eagerly
    /// ([`IndexCapabilities::eager_displacement`]), else in this or a later call. Values that upserts change are not told.
    ///
    /// # Errors
    /// `InvalidInput` for a key or value that is too long, or an upsert without operator, and then nothing has changed;
    /// `Corruption` that names file and offset; `Io`.
    fn apply(&self, updates: &Updates, displaced: Option<Displaced<'_>>) -> Result<()>;

    /// Fills an empty working state from entries in strictly ascending order of keys: faster, and more tightly packed, than
    /// [`apply`](Self::apply).
    ///
    /// # Errors
    /// `InvalidInput` if the working state is not empty or the entries are out of order; the iterator's own; `Io`.
    fn bulk_load(&self, entries: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>) -> Result<()>;

    /// The value of `key` in the working state.
    ///
    /// # Errors
    /// `Corruption`, `Io`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Makes the working state durable and returns its root; the same as before if nothing has changed since.
    ///
    /// # Errors
    /// `Io`; the roots before are as they were.
    fn commit(&self) -> Result<Root>;

    /// Drops every change since the last commit, or reset.
    ///
    /// # Errors
    /// `Unavailable` after a failed sync.
    fn rollback(&self) -> Result<()>;

    /// Every committed root that has not been released, in order. There is at least one.
    fn roots(&self) -> Vec<Root>;

    /// Gives a root up. Its space is free for use again as soon as a later commit has made that known on disk, and the last
    /// view of it is gone. The newest root cannot be released.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for the newest.
    fn release(&self, root: Root) -> Result<()>;

    /// Makes `root` the working state, as it was committed, and gives up all roots after it; the next commit makes that durable.
    /// Views of those roots go on reading them.
    ///
    /// # Errors
    /// `NotFound`; `Io`, `Corruption`.
    fn reset_to(&self, root: Root) -> Result<()>;

    /// Opens a committed root for reading. The view reads it even after it has been released.
    ///
    /// # Errors
    /// `NotFound`.
    fn view(&self, root: Root) -> Result<Arc<dyn IndexView>>;

    /// Reads everything that the file needs to be opened, and every committed root, whole and from the file, and tells `finding` of
    /// everything that is wrong.
    ///
    /// # Errors
    /// `Io` only.
    fn verify(&self, finding: &mut dyn FnMut(IndexFinding)) -> Result<()>;

    /// Prints every node below `root` to `line`, for people.
    ///
    /// # Errors
    /// `NotFound`, `Corruption`, `Io`.
    fn dump(&self, root: Root, line: &mut dyn FnMut(String)) -> Result<()>;

    /// Numbers about it.
    fn stats(&self) -> IndexStats;
}

/// A committed state, for reading. It never changes.
pub trait IndexView: Send + Sync + Debug {
    /// Which it is.
    fn root(&self) -> Root;

    /// The value of `key`.
    ///
    /// # Errors
    /// `Corruption` that names file and offset; `Io`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Hands the value of `key` to `found`, if there is one: [`get`](Self::get) without a copy, where that can be.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn find(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
        if let Some(value) = self.get(key)? {
            found(&value);
        }
        Ok(())
    }

    /// A cursor, which stands nowhere until it is moved. It holds the view. For iterators there is [`range`](#method.range).
    fn cursor(self: Arc<Self>) -> Box<dyn IndexCursor>;
}

/// Walks over the entries of a view in either direction. Fallible moves leave it nowhere.
///
/// # Errors
/// Every move: `Corruption` that names file and offset; `Io`.
pub trait IndexCursor: Send + Debug {
    /// Moves to the first entry at or after `key`.
    fn seek(&mut self, key: &[u8]) -> Result<()>;

    /// Moves to the last entry before `key`.
    fn seek_before(&mut self, key: &[u8]) -> Result<()>;

    /// Moves to the first entry.
    fn seek_first(&mut self) -> Result<()>;

    /// Moves to the last entry.
    fn seek_last(&mut self) -> Result<()>;

    /// Moves to the next entry; from nowhere it stays there.
    fn next(&mut self) -> Result<()>;

    /// Moves to the entry before; from nowhere it stays there.
    fn prev(&mut self) -> Result<()>;

    /// The key where it stands, or `None` if it stands nowhere.
    fn key(&self) -> Option<&[u8]>;

    /// The value where it stands, or `None` if it stands nowhere.
    fn value(&self) -> Option<&[u8]>;
}

/// Something that is wrong in an index file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFinding {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// Numbers about an index since it was opened, and about its file as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IndexStats {
    /// Pieces found in the pool, and those that had to be read.
    pub hits: u64,
    /// See `hits`.
    pub misses: u64,
    /// Reads from the file, and their bytes.
    pub reads: u64,
    /// See `reads`.
    pub read_bytes: u64,
    /// Writes to the file, and their bytes.
    pub writes: u64,
    /// See `writes`.
    pub write_bytes: u64,
    /// Syncs of the file.
    pub syncs: u64,
    /// Roots made.
    pub commits: u64,
    /// Bytes of the file that are in use, by whatever root.
    pub used_bytes: u64,
    /// Bytes within the used part of the file that wait to be used again.
    pub free_bytes: u64,
    /// Levels of the working state: 0 if it is empty, 1 if it is one leaf.
    pub height: u32,
    /// Changed bytes that are in memory only.
    pub dirty_bytes: u64,
}

/// Memory that indexes share: what they keep of their files, changed or not. Where it is too small for all that change at once, they take
/// turns. Not counted is what belongs to a single call or cursor: the batch that is applied, and the part of a leaf that a cursor is in.
pub trait IndexPool: Any + Send + Sync + Debug {
    /// The most bytes that it keeps.
    fn budget(&self) -> usize;

    /// The bytes that it keeps now.
    fn used(&self) -> usize;

    /// The most that it has ever kept.
    fn peak(&self) -> usize;
}

/// What an index is made from.
#[derive(Debug, Clone)]
pub struct IndexContext {
    /// Where its file is.
    pub storage: Arc<dyn Storage>,
    /// Its file.
    pub path: PathBuf,
    /// The memory for it, made by [`IndexFactory::pool`] of this or another index of the same crate.
    pub pool: Arc<dyn IndexPool>,
    /// Its options, complete.
    pub options: Options,
    /// What upserts do; without it they are refused.
    pub upsert: Option<Arc<dyn Upsert>>,
    /// What the index is part of: bytes of the program's choice, at most [`MAX_OWNER`], which the file keeps, so that one that was put in
    /// the place of another is told. A file that keeps other bytes is refused; one that keeps none gets these with its next commit.
    /// Empty: not said, and every file will do.
    pub owner: Vec<u8>,
}

/// What an index can do.
#[derive(Debug, Clone, Copy)]
pub struct IndexCapabilities {
    /// Values that die are told by the very call that kills them.
    pub eager_displacement: bool,
    /// An upsert, like an insert, does not read the entry that it changes.
    pub blind_writes: bool,
    /// The places in which a point read looks, and which it may have to read.
    pub reads_per_get: &'static str,
}

impl IndexCapabilities {
    /// The capabilities as `(name, value)`.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        vec![
            ("eager_displacement", self.eager_displacement.to_string()),
            ("blind_writes", self.blind_writes.to_string()),
            ("reads_per_get", self.reads_per_get.to_owned()),
        ]
    }
}

/// Makes and opens indexes of one kind.
#[derive(Debug)]
pub struct IndexFactory {
    /// Name, summary and options.
    pub component: Component,
    /// What its indexes can do.
    pub capabilities: IndexCapabilities,
    /// The least memory that works with these options: about eight nodes. Entries that are larger than a node need more: such a
    /// node may exceed the pool while it is changed.
    pub smallest_pool: fn(options: &Options) -> usize,
    /// Makes a pool of so many bytes.
    pub pool: fn(bytes: usize) -> Arc<dyn IndexPool>,
    /// Makes a new, empty index, with one root. Its file is there, whole, once this has returned, whatever happens.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidSettings` for a pool that is too small; `InvalidInput` for an owner that is too long; `Io`.
    pub create: fn(context: IndexContext) -> Result<Box<dyn Index>>,
    /// Opens an index that `create` has made; the newest root is the working state. One handle at a time: nothing guards
    /// against a second one, which is the business of the database's lock.
    ///
    /// # Errors
    /// `NotFound`; `Corruption` for a file that is damaged, or another owner's; `Unsupported` for one of a newer version;
    /// `InvalidSettings` for one that another kind of index, or another upsert operator, has made; `InvalidInput` for an owner that is too
    /// long.
    pub open: fn(context: IndexContext) -> Result<Box<dyn Index>>,
}

impl_factory!(IndexFactory, "index");
