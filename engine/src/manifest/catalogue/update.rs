//! Changing a catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::batch::TableId;
use kodiak_core::index::{Index, MAX_KEY, MAX_VALUE, Root, Updates};
use kodiak_core::varint::put_u64;

use super::super::codec;
use super::super::edit::Place;
use super::super::runs::Runs;
use super::super::state::{PlacedRun, State};
use super::keys::{self, space};
use super::{Catalogue, CatalogueView};
use crate::version::Totals;

/// Changes that are applied at once.
const BATCH: usize = 16 << 10;

impl Catalogue {
    /// Brings the catalogue to the runs of `state`, which may have a base in this very catalogue, and commits that; returns the state with
    /// the new base. Runs whose keys are too long for an index stay beside it. What the manifest in force names stays until
    /// [`moved_to`](Catalogue::moved_to).
    ///
    /// # Errors
    /// Those of the index. It is as it was for readers, and may be tried again.
    pub fn update(&self, state: &State) -> Result<State> {
        let named = Root(self.meta.root);
        if self.index.roots().last() != Some(&named) {
            self.index.reset_to(named)?;
        }
        let updated = self.write(state);
        if updated.is_err()
            && let Err(error) = self.index.rollback()
        {
            tracing::warn!(%error, "the catalogue is given up until the next opening");
        }
        updated
    }

    fn write(&self, state: &State) -> Result<State> {
        let before = self.view()?;
        let mut writer = Writer {
            index: &*self.index,
            updates: Updates::new(),
            fresh: before.is_empty()?.then(Vec::new),
        };
        for table in before.tables()? {
            if !state.tables.contains_key(&table) {
                writer.drop_table(&before, table)?;
            }
        }
        let mut beside = BTreeMap::new();
        for (&id, table) in &state.tables {
            beside.insert(id, writer.table(&before, id, &table.runs)?);
        }
        writer.end()?;
        let root = self.index.commit()?;
        let mut meta = self.meta.clone();
        meta.root = root.0;
        let view = Arc::new(CatalogueView::new(self.index.view(root)?, &self.path));
        let mut next = state.clone();
        next.rebase(meta, &view)?;
        for (id, runs) in beside {
            next.put_beside(id, runs);
        }
        Ok(next)
    }
}

struct Writer<'c> {
    index: &'c dyn Index,
    updates: Updates,
    /// The entries of a catalogue that has had none, in any order: put in at once, they are packed tightly.
    fresh: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Writer<'_> {
    fn put(&mut self, key: Vec<u8>, value: &[u8]) -> Result<()> {
        if let Some(fresh) = &mut self.fresh {
            fresh.push((key, value.to_vec()));
            return Ok(());
        }
        self.updates.put(&key, value);
        self.flush_full()
    }

    fn flush(&mut self) -> Result<()> {
        self.index.apply(&self.updates, None)?;
        self.updates.clear();
        Ok(())
    }

    fn flush_full(&mut self) -> Result<()> {
        if self.updates.len() < BATCH {
            Ok(())
        } else {
            self.flush()
        }
    }

    fn end(mut self) -> Result<()> {
        let Some(mut fresh) = self.fresh.take() else {
            return self.flush();
        };
        fresh.sort_unstable();
        self.index.bulk_load(&mut fresh.into_iter().map(Ok))
    }

    fn drop_table(&mut self, before: &CatalogueView, table: TableId) -> Result<()> {
        before.each(table, &mut |placed| {
            self.updates.delete(&keys::number(placed.run.id));
            self.flush_full()
        })?;
        for space in [space::HEAD, space::NEWEST, space::RUN, space::TOTALS] {
            let prefix = keys::table(space, table);
            self.updates.delete_range(&prefix, keys::after(&prefix).as_deref());
        }
        Ok(())
    }

    /// Returns the runs that stay beside the catalogue.
    fn table(&mut self, before: &CatalogueView, table: TableId, runs: &Runs) -> Result<Vec<PlacedRun>> {
        let removed = || runs.base().into_iter().flat_map(|base| base.removed.values());
        for placed in removed() {
            let (place, run) = (placed.place, &placed.run);
            // It may hang elsewhere now, which comes below.
            self.updates.delete(&keys::number(run.id));
            self.updates.delete(&keys::run(space::RUN, table, place, run));
            if keys::is_head(run.id) {
                self.updates.delete(&keys::run(space::HEAD, table, place, run));
            }
            self.flush_full()?;
        }
        let mut totals: BTreeMap<Place, Totals> = before.totals(table)?.into_iter().collect();
        for placed in removed() {
            if let Some(sum) = totals.get_mut(&placed.place) {
                sum.remove(&placed.run);
            }
        }
        let (mut beside, mut value) = (Vec::new(), Vec::new());
        for placed in runs.values() {
            let (place, run) = (placed.place, &placed.run);
            let key = keys::run(space::RUN, table, place, run);
            value.clear();
            codec::put_run(&mut value, run);
            if key.len() > MAX_KEY || value.len() > MAX_VALUE {
                beside.push(placed.clone());
                continue;
            }
            if keys::is_head(run.id) {
                self.put(keys::run(space::HEAD, table, place, run), b"")?;
            }
            self.put(keys::number(run.id), &key)?;
            self.put(key, &value)?;
            totals.entry(place).or_default().add(run);
        }
        for (place, sum) in totals {
            self.totals(table, place, &sum)?;
        }
        value.clear();
        put_u64(&mut value, runs.newest());
        self.put(keys::table(space::NEWEST, table), &value)?;
        Ok(beside)
    }

    fn totals(&mut self, table: TableId, place: Place, sum: &Totals) -> Result<()> {
        let key = keys::sorted_run(space::TOTALS, table, place);
        if sum.runs == 0 {
            self.updates.delete(&key);
            return Ok(());
        }
        let mut value = Vec::new();
        for number in [sum.runs, sum.bytes, sum.entries, sum.tombstones, sum.range_deletes] {
            put_u64(&mut value, number);
        }
        self.put(key, &value)
    }
}
