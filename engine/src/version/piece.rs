//! Pieces of sorted runs: runs that are next to each other, which are changed, and may be read from a catalogue, together.

use std::fmt;
use std::sync::{Arc, OnceLock};

use kodiak_core::compaction::RunId;
use kodiak_core::entry::prefix_of;
use kodiak_core::{Error, Result};
use parking_lot::Mutex;

use crate::run::Run;

/// A piece is cut in two above so many runs.
pub(super) const MOST: usize = 256;

/// Runs in key order.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    pub runs: Vec<Arc<Run>>,
    /// Of each run the first eight bytes of the largest key, so that a search seldom touches the runs themselves.
    pub ends: Vec<u64>,
}

impl Chunk {
    /// Of runs in key order.
    pub fn new(runs: Vec<Arc<Run>>) -> Self {
        let ends = runs.iter().map(|run| prefix_of(run.max_key())).collect();
        Self { runs, ends }
    }

    /// Index of the first run whose largest key is not below `key`.
    #[inline]
    pub fn first_candidate(&self, key: &[u8]) -> usize {
        let prefix = prefix_of(key);
        let low = self.ends.partition_point(|&end| end < prefix);
        let tied = self.ends[low..].partition_point(|&end| end == prefix);
        low + self.runs[low..low + tied].partition_point(|run| run.max_key() < key)
    }

    fn insert(&mut self, run: Arc<Run>) {
        let at = self.runs.partition_point(|other| other.min_key() < run.min_key());
        self.ends.insert(at, prefix_of(run.max_key()));
        self.runs.insert(at, run);
    }

    fn position(&self, run: &Run) -> Option<usize> {
        let from = self.runs.partition_point(|other| other.min_key() < run.min_key());
        let tied = self.runs[from..]
            .iter()
            .take_while(|other| other.min_key() == run.min_key());
        tied.enumerate()
            .find(|(_, other)| other.id() == run.id())
            .map(|(at, _)| from + at)
    }
}

/// Reads runs from where they are listed, in key order.
pub(crate) trait Listing: Send + Sync + fmt::Debug {
    /// The runs.
    ///
    /// # Errors
    /// `Corruption` that names file and offset; `Io`.
    fn read(&self) -> Result<Vec<Arc<Run>>>;
}

/// Runs that are listed elsewhere, and read once: each run is one object, whichever versions it is in.
#[derive(Debug)]
pub(crate) struct Listed {
    runs: OnceLock<Vec<Arc<Run>>>,
    /// Until they have been read: it holds pages of the catalogue.
    listing: Mutex<Option<Box<dyn Listing>>>,
}

impl Listed {
    /// Not read so far.
    pub fn new(listing: Box<dyn Listing>) -> Self {
        Self {
            runs: OnceLock::new(),
            listing: Mutex::new(Some(listing)),
        }
    }

    fn runs(&self) -> Result<&[Arc<Run>]> {
        if let Some(runs) = self.runs.get() {
            return Ok(runs);
        }
        // One at a time: nobody may see an object of a run that another one sees differently.
        let mut listing = self.listing.lock();
        if let Some(unread) = &*listing {
            let runs = unread.read()?;
            let runs = self.runs.get_or_init(|| runs);
            *listing = None;
            return Ok(runs);
        }
        Ok(self.runs.get().map_or(&[], Vec::as_slice))
    }
}

/// What a piece that has not been read is made of.
#[derive(Debug, Clone)]
struct Source {
    listed: Arc<Listed>,
    /// Not these of them,
    without: Vec<RunId>,
    /// but these beside them.
    with: Vec<Arc<Run>>,
}

impl Source {
    /// `None` if something is to be left out that is not listed.
    fn chunk(&self, listed: &[Arc<Run>]) -> Option<Chunk> {
        let kept = listed.iter().filter(|run| !self.without.contains(&run.id()));
        let mut runs: Vec<_> = kept.cloned().collect();
        if runs.len() + self.without.len() != listed.len() {
            return None;
        }
        runs.extend(self.with.iter().cloned());
        runs.sort_by(|one, other| one.min_key().cmp(other.min_key()));
        Some(Chunk::new(runs))
    }
}

/// A piece.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// No run of it begins before this key, nor does any of a later piece, while those of earlier pieces do.
    pub head: Arc<[u8]>,
    chunk: OnceLock<Chunk>,
    source: Option<Source>,
}

impl Piece {
    /// Of at least one run; they are in key order.
    pub fn of(runs: Vec<Arc<Run>>) -> Self {
        let head = runs
            .first()
            .map(|run| Arc::clone(&run.meta().min_key))
            .unwrap_or_default();
        Self {
            head,
            chunk: OnceLock::from(Chunk::new(runs)),
            source: None,
        }
    }

    /// Of runs that are read when they are first needed, none of which begins before `head`.
    pub fn listed(head: Arc<[u8]>, listed: Arc<Listed>) -> Self {
        let (without, with) = (Vec::new(), Vec::new());
        Self {
            head,
            chunk: OnceLock::new(),
            source: Some(Source { listed, without, with }),
        }
    }

    /// Its runs, which are read now if they were not before.
    ///
    /// # Errors
    /// Those of [`Listing::read`].
    #[inline]
    pub fn chunk(&self) -> Result<&Chunk> {
        match self.chunk.get() {
            Some(chunk) => Ok(chunk),
            None => self.load(),
        }
    }

    #[cold]
    fn load(&self) -> Result<&Chunk> {
        let chunk = match &self.source {
            Some(source) => source.chunk(source.listed.runs()?).ok_or_else(|| {
                let message = "the catalogue lacks runs that the manifest takes out of it: run `kodiak repair`, which rebuilds \
                               the manifest";
                Error::corruption(message)
            })?,
            None => Chunk::default(),
        };
        Ok(self.chunk.get_or_init(|| chunk))
    }

    /// Its runs, if they have been read, by way of this piece or another.
    pub fn peek(&self) -> Option<&Chunk> {
        if self.chunk.get().is_none() {
            let source = self.source.as_ref()?;
            let listed = source.listed.runs.get()?;
            let chunk = source.chunk(listed)?;
            return Some(self.chunk.get_or_init(|| chunk));
        }
        self.chunk.get()
    }

    /// With another run.
    pub fn add(&mut self, run: Arc<Run>) {
        if run.min_key() < &*self.head {
            self.head = Arc::clone(&run.meta().min_key);
        }
        if self.peek().is_some()
            && let Some(chunk) = self.chunk.get_mut()
        {
            chunk.insert(run);
            self.source = None;
        } else if let Some(source) = &mut self.source {
            source.with.push(run);
        }
    }

    /// Without a run of which nobody knows whether it has been read; the piece has it.
    pub fn leave_out(&mut self, id: RunId) {
        if self.peek().is_some()
            && let Some(chunk) = self.chunk.get_mut()
        {
            if let Some(at) = chunk.runs.iter().position(|run| run.id() == id) {
                chunk.runs.remove(at);
                chunk.ends.remove(at);
            }
            self.source = None;
        } else if let Some(source) = &mut self.source {
            source.without.push(id);
        }
    }

    /// Takes a run out, if it is there and has been read.
    pub fn remove(&mut self, run: &Run) -> Option<Arc<Run>> {
        let at = self.peek()?.position(run)?;
        let chunk = self.chunk.get_mut()?;
        chunk.ends.remove(at);
        let removed = chunk.runs.remove(at);
        self.source = None;
        if let Some(first) = chunk.runs.first() {
            self.head = Arc::clone(&first.meta().min_key);
        }
        Some(removed)
    }

    /// True if the run is there and has been read.
    pub fn has(&self, run: &Run) -> bool {
        self.peek().is_some_and(|chunk| chunk.position(run).is_some())
    }

    /// The upper half of a piece that has grown too large; the lower one stays.
    pub fn cut(&mut self) -> Option<Self> {
        let chunk = self.chunk.get_mut().filter(|chunk| chunk.runs.len() > MOST)?;
        let middle = chunk.runs.len() / 2;
        let upper = chunk.runs.split_off(middle);
        chunk.ends.truncate(middle);
        Some(Self::of(upper))
    }
}
