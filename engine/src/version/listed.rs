//! Sorted runs whose runs are in a catalogue.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::Result;

use super::piece::{Listed, Listing};
use super::sorted::SortedRun;
use crate::manifest::{Base, Place};
use crate::run::{Run, RunContext};

/// A piece of a sorted run in a catalogue.
#[derive(Debug)]
struct CataloguePiece {
    base: Base,
    place: Place,
    /// The catalogue's key of its first run, but for the first piece.
    from: Option<Vec<u8>>,
    /// The catalogue's key of the first run of the next piece, if there is one.
    to: Option<Vec<u8>>,
    context: Arc<RunContext>,
}

impl Listing for CataloguePiece {
    fn read(&self) -> Result<Vec<Arc<Run>>> {
        let placed = self.base.piece(self.place, self.from.as_deref(), self.to.as_deref())?;
        let run = |placed: crate::manifest::PlacedRun| {
            let meta = Arc::unwrap_or_clone(placed.run);
            Arc::new(Run::new(meta, Arc::clone(&self.context)))
        };
        Ok(placed.into_iter().map(run).collect())
    }
}

/// The sorted runs of a table that has runs in a catalogue, without those that are gone from there, in the order of versions.
///
/// # Errors
/// Those of reading the catalogue.
pub(super) fn sorted_runs(base: &Base, context: &Arc<RunContext>) -> Result<BTreeMap<(u32, Reverse<u64>), SortedRun>> {
    let mut found = BTreeMap::new();
    for (place, totals) in base.listed()? {
        let heads = base.heads(place)?;
        let (keys, begins): (Vec<_>, Vec<_>) = heads.into_iter().unzip();
        // Whatever is before the first head is a piece, too.
        let keys = std::iter::once(Vec::new()).chain(keys);
        let from = std::iter::once(None).chain(begins.iter().cloned().map(Some));
        let to = begins.iter().cloned().map(Some).chain(std::iter::once(None));
        let pieces = keys.zip(from.zip(to)).map(|(head, (from, to))| {
            let piece = CataloguePiece {
                base: base.clone(),
                place,
                from,
                to,
                context: Arc::clone(context),
            };
            (Arc::from(head), Arc::new(Listed::new(Box::new(piece))))
        });
        let sorted = SortedRun::listed(place.sorted_run, totals, pieces.collect());
        found.insert((place.level, Reverse(place.sorted_run)), sorted);
    }
    for placed in base.removed.values() {
        let place = (placed.place.level, Reverse(placed.place.sorted_run));
        if let Some(sorted) = found.get_mut(&place) {
            sorted.leave_out(&placed.run);
        }
    }
    Ok(found)
}
