//! Sorted runs.

use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::entry::prefix_of;

use super::piece::{Listed, MOST, Piece};
use crate::manifest::RunMeta;
use crate::read::ScanBounds;
use crate::run::Run;

/// What the runs of a sorted run come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many there are.
    pub runs: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Rows, point tombstones included.
    pub entries: u64,
    /// Point tombstones.
    pub tombstones: u64,
    /// Range deletes.
    pub range_deletes: u64,
}

impl Totals {
    /// One more run.
    pub fn add(&mut self, run: &RunMeta) {
        self.runs += 1;
        self.bytes = self.bytes.saturating_add(run.bytes());
        self.entries = self.entries.saturating_add(run.entries);
        self.tombstones = self.tombstones.saturating_add(run.tombstones);
        self.range_deletes = self.range_deletes.saturating_add(run.range_deletes);
    }

    /// These, and those of others.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            runs: self.runs.saturating_add(other.runs),
            bytes: self.bytes.saturating_add(other.bytes),
            entries: self.entries.saturating_add(other.entries),
            tombstones: self.tombstones.saturating_add(other.tombstones),
            range_deletes: self.range_deletes.saturating_add(other.range_deletes),
        }
    }

    /// One run less.
    pub fn remove(&mut self, run: &RunMeta) {
        self.runs = self.runs.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(run.bytes());
        self.entries = self.entries.saturating_sub(run.entries);
        self.tombstones = self.tombstones.saturating_sub(run.tombstones);
        self.range_deletes = self.range_deletes.saturating_sub(run.range_deletes);
    }
}

/// A place among the runs of a sorted run, in key order; also one behind the last run of a piece, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    piece: usize,
    run: usize,
}

/// Runs of a sorted run that are next to each other: those from the first place on that lie before the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from: At,
    /// The end.
    pub to: At,
}

impl Span {
    /// True if it has no runs.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// Runs that do not overlap, in key order; searched as one. They are kept in pieces, so that a changed copy has most of them in common
/// with the one before, and read piece by piece when they are first needed, if a catalogue lists them.
#[derive(Debug, Clone, Default)]
pub struct SortedRun {
    /// Its number: larger is newer within its level.
    pub id: u64,
    pieces: Arc<Pieces>,
    totals: Totals,
}

#[derive(Debug, Clone, Default)]
struct Pieces {
    /// In key order.
    pieces: Vec<Arc<Piece>>,
    /// The first eight bytes of the head of each.
    heads: Vec<u64>,
}

impl Pieces {
    fn of(pieces: Vec<Arc<Piece>>) -> Self {
        let heads = pieces.iter().map(|piece| prefix_of(&piece.head)).collect();
        Self { pieces, heads }
    }

    fn set_head(&mut self, at: usize) {
        self.heads[at] = prefix_of(&self.pieces[at].head);
    }

    /// How many pieces have heads up to and including `key`.
    fn up_to(&self, key: &[u8]) -> usize {
        let prefix = prefix_of(key);
        let low = self.heads.partition_point(|&head| head < prefix);
        let tied = self.heads[low..].partition_point(|&head| head == prefix);
        low + self.pieces[low..low + tied].partition_point(|piece| &*piece.head <= key)
    }
}

impl SortedRun {
    /// Of runs in any order.
    pub fn new(id: u64, mut runs: Vec<Arc<Run>>) -> Self {
        runs.sort_by(|one, other| one.min_key().cmp(other.min_key()));
        Self::in_order(id, runs)
    }

    /// Of runs in key order.
    pub fn in_order(id: u64, runs: Vec<Arc<Run>>) -> Self {
        let mut totals = Totals::default();
        runs.iter().for_each(|run| totals.add(run.meta()));
        let pieces = if runs.len() <= MOST {
            let piece = (!runs.is_empty()).then(|| Arc::new(Piece::of(runs)));
            piece.into_iter().collect()
        } else {
            runs.chunks(MOST / 2)
                .map(|runs| Arc::new(Piece::of(runs.to_vec())))
                .collect()
        };
        Self {
            id,
            pieces: Arc::new(Pieces::of(pieces)),
            totals,
        }
    }

    /// Of runs that are read when they are first needed and come to `totals`: pieces, each with a key that none of its runs begins before.
    pub(super) fn listed(id: u64, totals: Totals, pieces: Vec<(Arc<[u8]>, Arc<Listed>)>) -> Self {
        let pieces = pieces
            .into_iter()
            .map(|(head, listed)| Arc::new(Piece::listed(head, listed)));
        Self {
            id,
            pieces: Arc::new(Pieces::of(pieces.collect())),
            totals,
        }
    }

    /// Leaves out a run that is listed, and has not been read.
    pub(super) fn leave_out(&mut self, run: &RunMeta) {
        self.totals.remove(run);
        let at = self.piece_of(&run.min_key);
        if let Some(piece) = Arc::make_mut(&mut self.pieces).pieces.get_mut(at) {
            Arc::make_mut(piece).leave_out(run.id);
        }
    }

    /// What its runs come to.
    #[inline]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// True if it has no runs.
    pub fn is_empty(&self) -> bool {
        self.totals.runs == 0
    }

    /// True if one of its runs holds range deletes.
    pub fn range_deletes(&self) -> bool {
        self.totals.range_deletes > 0
    }

    /// True if one of its runs holds tombstones, of keys or ranges.
    pub fn tombstones(&self) -> bool {
        self.totals.tombstones > 0 || self.totals.range_deletes > 0
    }

    /// Reads all runs that have not been read.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn load(&self) -> Result<()> {
        self.pieces.pieces.iter().try_for_each(|piece| piece.chunk().map(drop))
    }

    /// True if all runs have been read.
    pub fn is_read(&self) -> bool {
        self.pieces.pieces.iter().all(|piece| piece.peek().is_some())
    }

    /// All runs, in key order.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn runs(&self) -> Result<impl Iterator<Item = &Arc<Run>> + Clone> {
        self.load()?;
        Ok(self.known_runs())
    }

    /// The runs that have been read, in key order.
    pub fn known_runs(&self) -> impl Iterator<Item = &Arc<Run>> + Clone {
        let read = self.pieces.pieces.iter().filter_map(|piece| piece.peek());
        read.flat_map(|chunk| &chunk.runs)
    }

    /// All runs, as a span.
    pub fn all(&self) -> Span {
        Span {
            from: At::default(),
            to: self.end(),
        }
    }

    fn end(&self) -> At {
        At {
            piece: self.pieces.pieces.len(),
            run: 0,
        }
    }

    /// The piece that holds the runs that begin last at or before `key`, unless an earlier one does, for want of such in that piece.
    #[inline]
    fn piece_of(&self, key: &[u8]) -> usize {
        match self.pieces.pieces.len() {
            0 | 1 => 0,
            _ => self.pieces.up_to(key).saturating_sub(1),
        }
    }

    /// The place of the first run whose largest key is not below `key`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn first_candidate(&self, key: &[u8]) -> Result<At> {
        self.first_candidate_to(self.piece_of(key), key)
    }

    /// [`first_candidate`](Self::first_candidate), where `piece` is [that of](Self::piece_of) the key.
    #[inline]
    fn first_candidate_to(&self, piece: usize, key: &[u8]) -> Result<At> {
        let Some(holder) = self.pieces.pieces.get(piece) else {
            return Ok(At::default());
        };
        let chunk = holder.chunk()?;
        let run = chunk.first_candidate(key);
        // A run before the piece could only reach up to the first one that begins here.
        let settled = piece == 0 || run > 0 || chunk.runs.first().is_some_and(|run| run.min_key() < key);
        if settled {
            return Ok(At { piece, run });
        }
        self.earlier_candidate(key, At { piece, run })
    }

    /// [`first_candidate`](Self::first_candidate), if it is `found` or before the piece of that.
    #[cold]
    fn earlier_candidate(&self, key: &[u8], mut found: At) -> Result<At> {
        for piece in (0..found.piece).rev() {
            let chunk = self.pieces.pieces[piece].chunk()?;
            let run = chunk.first_candidate(key);
            if run < chunk.runs.len() {
                found = At { piece, run };
            }
            if run > 0 {
                break;
            }
        }
        Ok(found)
    }

    /// The place of the first run whose smallest key is above `key`, or at it if `or_at`.
    fn first_beginning(&self, key: &[u8], or_at: bool) -> Result<At> {
        let piece = self.piece_of(key);
        let Some(holder) = self.pieces.pieces.get(piece) else {
            return Ok(At::default());
        };
        let before = |run: &Arc<Run>| run.min_key() < key || !or_at && run.min_key() == key;
        let run = holder.chunk()?.runs.partition_point(before);
        if !(or_at && run == 0 && piece > 0) {
            return Ok(At { piece, run });
        }
        // Runs that begin with the same key may be in two pieces.
        let mut found = At { piece, run };
        while found.run == 0 && found.piece > 0 {
            let piece = found.piece - 1;
            let chunk = self.pieces.pieces[piece].chunk()?;
            let run = chunk.runs.partition_point(before);
            found = At { piece, run };
        }
        Ok(found)
    }

    /// The runs whose range includes `key`: one, or two where a range delete ends at the next run's first key.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    #[inline]
    pub fn candidates<'v>(&'v self, key: &'v [u8]) -> Result<impl Iterator<Item = &'v Arc<Run>>> {
        let last = self.piece_of(key);
        let first = self.first_candidate_to(last, key)?;
        // These have been read: the search began at the last of them.
        let pieces = self.pieces.pieces.iter().take(last + 1).skip(first.piece);
        let runs = pieces.filter_map(|piece| piece.peek()).flat_map(|chunk| &chunk.runs);
        Ok(runs.skip(first.run).take_while(move |run| run.min_key() <= key))
    }

    /// The runs that may hold keys of `bounds`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn meeting(&self, bounds: &ScanBounds) -> Result<Span> {
        let from = match bounds.start.is_empty() {
            true => At::default(),
            false => self.first_candidate(&bounds.start)?,
        };
        let to = match &bounds.end {
            Some(end) => self.first_beginning(end, true)?,
            None => self.end(),
        };
        Ok(Span { from, to: to.max(from) })
    }

    /// The place of the first run from `at` on, before `end`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn settle(&self, mut at: At, end: At) -> Result<Option<At>> {
        while at < end {
            let Some(piece) = self.pieces.pieces.get(at.piece) else {
                break;
            };
            if at.run < piece.chunk()?.runs.len() {
                return Ok(Some(at));
            }
            at = At {
                piece: at.piece + 1,
                run: 0,
            };
        }
        Ok(None)
    }

    /// The place of the run after the one at `at`, before `end`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn after(&self, at: At, end: At) -> Result<Option<At>> {
        let next = At { run: at.run + 1, ..at };
        self.settle(next, end)
    }

    /// The place of the last run before `at`, from `start` on.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn before(&self, mut at: At, start: At) -> Result<Option<At>> {
        while at > start {
            if let Some(run) = at.run.checked_sub(1) {
                let found = At { run, ..at };
                return Ok((found >= start).then_some(found));
            }
            let Some(piece) = at.piece.checked_sub(1) else { break };
            let run = self.pieces.pieces[piece].chunk()?.runs.len();
            at = At { piece, run };
        }
        Ok(None)
    }

    /// The place behind the last run that begins at or before `key`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn beginning_after(&self, key: &[u8]) -> Result<At> {
        self.first_beginning(key, false)
    }

    /// The run at a place.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn run(&self, at: At) -> Result<Option<&Arc<Run>>> {
        match self.pieces.pieces.get(at.piece) {
            Some(piece) => Ok(piece.chunk()?.runs.get(at.run)),
            None => Ok(None),
        }
    }

    /// The runs of a span, in key order.
    pub fn within(&self, span: Span) -> impl Iterator<Item = Result<&Arc<Run>>> {
        let mut next = span.from;
        std::iter::from_fn(move || {
            let found = self.settle(next, span.to).transpose()?;
            let at = match found {
                Ok(at) => at,
                Err(error) => {
                    next = span.to;
                    return Some(Err(error));
                }
            };
            next = At { run: at.run + 1, ..at };
            self.run(at).transpose()
        })
    }

    /// True if a run may hold keys from `first` up to and including `last`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn overlaps(&self, first: &[u8], last: &[u8]) -> Result<bool> {
        let Some(at) = self.settle(self.first_candidate(first)?, self.end())? else {
            return Ok(false);
        };
        Ok(self.run(at)?.is_some_and(|run| run.min_key() <= last))
    }

    pub(super) fn insert(&mut self, run: Arc<Run>) {
        self.totals.add(run.meta());
        let at = self.piece_of(run.min_key());
        let pieces = Arc::make_mut(&mut self.pieces);
        let Some(piece) = pieces.pieces.get_mut(at) else {
            *pieces = Pieces::of(vec![Arc::new(Piece::of(vec![run]))]);
            return;
        };
        let piece = Arc::make_mut(piece);
        piece.add(run);
        let upper = piece.cut();
        pieces.set_head(at);
        if let Some(upper) = upper {
            pieces.heads.insert(at + 1, prefix_of(&upper.head));
            pieces.pieces.insert(at + 1, Arc::new(upper));
        }
    }

    /// The piece that has a run, if it has been read.
    fn holder(&self, run: &Run) -> Option<usize> {
        // Runs that begin with the same key may be in two pieces.
        let last = self.pieces.up_to(run.min_key()).max(1);
        let mut pieces = self.pieces.pieces.iter().enumerate().take(last).rev();
        let mut next = pieces.next();
        while let Some((at, piece)) = next {
            if piece.has(run) {
                return Some(at);
            }
            if &*piece.head < run.min_key() {
                return None;
            }
            next = pieces.next();
        }
        None
    }

    /// True if the run is there. It has been read.
    pub(super) fn has(&self, run: &Run) -> bool {
        self.holder(run).is_some()
    }

    /// Takes out a run that has been read.
    pub(super) fn remove(&mut self, run: &Run) -> Option<Arc<Run>> {
        let at = self.holder(run)?;
        let pieces = Arc::make_mut(&mut self.pieces);
        let piece = Arc::make_mut(&mut pieces.pieces[at]);
        let removed = piece.remove(run)?;
        self.totals.remove(removed.meta());
        if piece.peek().is_some_and(|chunk| chunk.runs.is_empty()) {
            pieces.pieces.remove(at);
            pieces.heads.remove(at);
        } else {
            pieces.set_head(at);
        }
        Some(removed)
    }
}
