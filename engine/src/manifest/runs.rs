//! The runs of a table, as the manifest knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::{Result, SeqNo};

use super::catalogue::CatalogueView;
use super::edit::Place;
use super::state::PlacedRun;
use crate::version::Totals;

/// A chunk is cut in two above so many runs.
const MOST: usize = 512;

/// Runs by number. Copies share what they have in common, so that an edit of many runs costs little more than one of few.
///
/// While a database with a [catalogue](crate::manifest) is open for writing, these are the runs that the catalogue does not have; what
/// [`Manifest::read`](super::Manifest::read) and [`State::whole`](super::State::whole) return has all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs {
    /// In ascending order, none empty.
    chunks: Vec<Arc<Vec<PlacedRun>>>,
    base: Option<Base>,
}

/// The runs of a table that a catalogue has, and what has become of them.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// Where they are.
    catalogue: Arc<CatalogueView>,
    table: TableId,
    /// Those of them that are gone, or hang elsewhere: then they are among the runs beside the catalogue.
    pub removed: Arc<BTreeMap<RunId, PlacedRun>>,
    /// What the runs of each sorted run come to, with those beside the catalogue.
    totals: Arc<BTreeMap<Place, Totals>>,
    /// No run that was ever among them has a newer sequence number.
    newest: SeqNo,
}

impl PartialEq for Base {
    fn eq(&self, other: &Self) -> bool {
        let same = self.catalogue == other.catalogue && self.table == other.table;
        same && self.removed == other.removed && self.totals == other.totals && self.newest == other.newest
    }
}

impl Eq for Base {}

impl Base {
    /// The runs of `table` as a catalogue has them.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn of(catalogue: &Arc<CatalogueView>, table: TableId) -> Result<Self> {
        Ok(Self {
            removed: Arc::default(),
            totals: Arc::new(catalogue.totals(table)?.into_iter().collect()),
            newest: catalogue.newest(table)?,
            catalogue: Arc::clone(catalogue),
            table,
        })
    }

    /// What the catalogue says that the runs of each sorted run come to.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn listed(&self) -> Result<Vec<(Place, Totals)>> {
        self.catalogue.totals(self.table)
    }

    /// [`CatalogueView::heads`] of a sorted run.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn heads(&self, place: Place) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.catalogue.heads(self.table, place)
    }

    /// [`CatalogueView::piece`] of a sorted run.
    ///
    /// # Errors
    /// Those of reading the catalogue.
    pub fn piece(&self, place: Place, from: Option<&[u8]>, to: Option<&[u8]>) -> Result<Vec<PlacedRun>> {
        self.catalogue.piece(self.table, place, from, to)
    }

    /// A run that the catalogue has and that is where it says.
    fn find(&self, id: RunId) -> Result<Option<PlacedRun>> {
        if self.removed.contains_key(&id) {
            return Ok(None);
        }
        let found = self.catalogue.find(id)?.filter(|(table, _)| *table == self.table);
        Ok(found.map(|(_, placed)| placed))
    }

    fn added(&mut self, placed: &PlacedRun) {
        let totals = Arc::make_mut(&mut self.totals);
        totals.entry(placed.place).or_default().add(&placed.run);
        self.newest = self.newest.max(placed.run.max_seq);
    }

    fn taken(&mut self, placed: &PlacedRun) {
        let totals = Arc::make_mut(&mut self.totals);
        if let Some(sum) = totals.get_mut(&placed.place) {
            sum.remove(&placed.run);
            if sum.runs == 0 {
                totals.remove(&placed.place);
            }
        }
    }
}

impl Runs {
    /// Those of a table in a catalogue.
    pub(crate) fn listed(base: Base) -> Self {
        Self {
            chunks: Vec::new(),
            base: Some(base),
        }
    }

    /// The runs that a catalogue has.
    pub(crate) fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    /// The chunk that has a run, or would have it, and the place in it.
    fn search(&self, id: RunId) -> (usize, Result<usize, usize>) {
        let last = |chunk: &Arc<Vec<PlacedRun>>| chunk.last().map_or(0, |placed| placed.run.id);
        let at = self.chunks.partition_point(|chunk| last(chunk) < id);
        let at = at.min(self.chunks.len().saturating_sub(1));
        let place = match self.chunks.get(at) {
            Some(chunk) => chunk.binary_search_by_key(&id, |placed| placed.run.id),
            None => Err(0),
        };
        (at, place)
    }

    /// A run.
    pub fn get(&self, id: RunId) -> Option<&PlacedRun> {
        let (chunk, place) = self.search(id);
        self.chunks.get(chunk)?.get(place.ok()?)
    }

    /// True if the run is there.
    pub fn contains_key(&self, id: RunId) -> bool {
        self.get(id).is_some()
    }

    /// True if the run is there, or in the catalogue.
    pub(crate) fn has(&self, id: RunId) -> Result<bool> {
        let listed = |base: &Base| -> Result<bool> { Ok(base.find(id)?.is_some()) };
        Ok(self.contains_key(id) || self.base.as_ref().map_or(Ok(false), listed)?)
    }

    /// A run that is there, or in the catalogue.
    pub(crate) fn find(&self, id: RunId) -> Result<Option<PlacedRun>> {
        match (self.get(id), &self.base) {
            (Some(placed), _) => Ok(Some(placed.clone())),
            (None, Some(base)) => base.find(id),
            (None, None) => Ok(None),
        }
    }

    /// Adds a run, in the place of one of its number.
    pub fn insert(&mut self, placed: PlacedRun) {
        if let Some(base) = &mut self.base {
            base.added(&placed);
        }
        let (chunk, place) = self.search(placed.run.id);
        let Some(holder) = self.chunks.get_mut(chunk) else {
            self.chunks.push(Arc::new(vec![placed]));
            return;
        };
        let runs = Arc::make_mut(holder);
        match place {
            Ok(at) => runs[at] = placed,
            Err(at) => runs.insert(at, placed),
        }
        if runs.len() > MOST {
            // Numbers mostly ascend.
            let upper = runs.split_off(MOST - MOST / 8);
            self.chunks.insert(chunk + 1, Arc::new(upper));
        }
    }

    /// Takes a run away.
    pub fn remove(&mut self, id: RunId) -> Option<PlacedRun> {
        let (chunk, place) = self.search(id);
        let at = place.ok()?;
        let holder = self.chunks.get_mut(chunk)?;
        let runs = Arc::make_mut(holder);
        let removed = runs.remove(at);
        let left = runs.len();
        if left == 0 {
            self.chunks.remove(chunk);
        } else if let Some(next) = self.chunks.get(chunk + 1)
            && left + next.len() <= MOST / 2
        {
            let next = self.chunks.remove(chunk + 1);
            Arc::make_mut(&mut self.chunks[chunk]).extend(next.iter().cloned());
        }
        if let Some(base) = &mut self.base {
            base.taken(&removed);
        }
        Some(removed)
    }

    /// Takes a run away that is there, or in the catalogue.
    pub(crate) fn take(&mut self, id: RunId) -> Result<Option<PlacedRun>> {
        if let Some(removed) = self.remove(id) {
            return Ok(Some(removed));
        }
        let Some(base) = &mut self.base else { return Ok(None) };
        let found = base.find(id)?;
        if let Some(placed) = &found {
            base.taken(placed);
            Arc::make_mut(&mut base.removed).insert(id, placed.clone());
        }
        Ok(found)
    }

    /// The runs, by number.
    pub fn values(&self) -> impl Iterator<Item = &PlacedRun> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Their numbers, in ascending order.
    pub fn keys(&self) -> impl Iterator<Item = RunId> + Clone {
        self.values().map(|placed| placed.run.id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Levels down to the deepest one that holds a run; 0 if there is none.
    pub(crate) fn used_levels(&self) -> usize {
        let own = self.values().map(|placed| placed.place.level);
        let listed = self
            .base
            .iter()
            .flat_map(|base| base.totals.keys().map(|place| place.level));
        own.chain(listed).max().map_or(0, |level| level as usize + 1)
    }

    /// A sequence number that no run's is above. Memtables are flushed in the order in which they were filled: what is not newer is in a
    /// run, or was dropped by a compaction.
    pub(crate) fn newest(&self) -> SeqNo {
        let own = self.values().map(|placed| placed.run.max_seq).max();
        own.unwrap_or(0).max(self.base.as_ref().map_or(0, |base| base.newest))
    }

    /// Changes of the catalogue that these make.
    pub(crate) fn changes(&self) -> usize {
        self.len() + self.base.as_ref().map_or(0, |base| base.removed.len())
    }

    /// Hands over all of them, those that the catalogue has included.
    ///
    /// # Errors
    /// Those of reading it, and those of `sink`.
    pub(crate) fn each(&self, sink: &mut dyn FnMut(&PlacedRun) -> Result<()>) -> Result<()> {
        if let Some(base) = &self.base {
            base.catalogue.each(base.table, &mut |placed| {
                let gone = base.removed.contains_key(&placed.run.id);
                if gone { Ok(()) } else { sink(&placed) }
            })?;
        }
        self.values().try_for_each(sink)
    }

    /// All of them, those that the catalogue has included.
    ///
    /// # Errors
    /// Those of reading it.
    pub(crate) fn whole(&self) -> Result<Self> {
        let mut all = Vec::new();
        self.each(&mut |placed| {
            all.push(placed.clone());
            Ok(())
        })?;
        Ok(all.into_iter().collect())
    }
}

impl FromIterator<PlacedRun> for Runs {
    fn from_iter<I: IntoIterator<Item = PlacedRun>>(runs: I) -> Self {
        let mut runs: Vec<PlacedRun> = runs.into_iter().collect();
        runs.sort_unstable_by_key(|placed| placed.run.id);
        let chunks = runs.chunks(MOST - MOST / 8).map(|chunk| Arc::new(chunk.to_vec()));
        Self {
            chunks: chunks.collect(),
            base: None,
        }
    }
}
