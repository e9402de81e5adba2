//! Reading a catalogue.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kodiak_core::batch::TableId;
use kodiak_core::compaction::RunId;
use kodiak_core::index::IndexView;
use kodiak_core::varint::Reader;
use kodiak_core::{Error, Result, SeqNo};

use super::super::codec;
use super::super::edit::Place;
use super::super::state::PlacedRun;
use super::keys::{self, space};
use crate::version::Totals;

/// Takes an entry.
type Sink<'s> = &'s mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// A catalogue as of one root: of each run what it is and where it hangs.
#[derive(Debug)]
pub(crate) struct CatalogueView {
    view: Arc<dyn IndexView>,
    file: PathBuf,
}

impl Eq for CatalogueView {}

impl PartialEq for CatalogueView {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && self.view.root() == other.view.root()
    }
}

impl CatalogueView {
    /// Of the root of an index file.
    pub fn new(view: Arc<dyn IndexView>, file: &Path) -> Self {
        Self {
            view,
            file: file.to_owned(),
        }
    }

    fn wrong(&self, error: Error) -> Error {
        if error.file().is_some() {
            return error;
        }
        error.with_file(&self.file)
    }

    fn lacks(&self, what: impl std::fmt::Display) -> Error {
        let message = format!("the catalogue lacks {what}: run `kodiak repair`, which rebuilds the manifest");
        Error::corruption(message).with_file(&self.file)
    }

    /// Hands over every entry from `from` on and before `to`.
    fn scan(&self, from: &[u8], to: Option<&[u8]>, sink: Sink<'_>) -> Result<()> {
        let mut cursor = Arc::clone(&self.view).cursor();
        cursor.seek(from)?;
        while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
            if to.is_some_and(|to| key >= to) {
                break;
            }
            sink(key, value).map_err(|error| self.wrong(error))?;
            cursor.next()?;
        }
        Ok(())
    }

    fn scan_prefix(&self, prefix: &[u8], sink: Sink<'_>) -> Result<()> {
        self.scan(prefix, keys::after(prefix).as_deref(), sink)
    }

    /// True if it has no entries at all.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn is_empty(&self) -> Result<bool> {
        let mut cursor = Arc::clone(&self.view).cursor();
        cursor.seek_first()?;
        Ok(cursor.key().is_none())
    }

    /// The run of a number, and its table.
    ///
    /// # Errors
    /// `Corruption` that names the file; `Io`.
    pub fn find(&self, id: RunId) -> Result<Option<(TableId, PlacedRun)>> {
        let Some(key) = self.view.get(&keys::number(id))? else {
            return Ok(None);
        };
        let value = self.view.get(&key)?;
        let value = value.ok_or_else(|| self.lacks(format!("run {id}")))?;
        let (table, placed) = entry(&key, &value).map_err(|error| self.wrong(error))?;
        if placed.run.id != id {
            return Err(self.lacks(format!("run {id}")));
        }
        Ok(Some((table, placed)))
    }

    /// What the runs of each sorted run of a table come to.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn totals(&self, table: TableId) -> Result<Vec<(Place, Totals)>> {
        let mut found = Vec::new();
        self.scan_prefix(&keys::table(space::TOTALS, table), &mut |key, value| {
            let mut reader = Reader::new(value);
            let totals = Totals {
                runs: reader.u64()?,
                bytes: reader.u64()?,
                entries: reader.u64()?,
                tombstones: reader.u64()?,
                range_deletes: reader.u64()?,
            };
            found.push((keys::place(key)?.1, totals));
            Ok(())
        })?;
        Ok(found)
    }

    /// No run that was ever in the catalogue is newer.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn newest(&self, table: TableId) -> Result<SeqNo> {
        match self.view.get(&keys::table(space::NEWEST, table))? {
            Some(value) => Reader::new(&value).u64().map_err(|error| self.wrong(error)),
            None => Ok(0),
        }
    }

    /// The tables that have runs, or have had any.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn tables(&self) -> Result<Vec<TableId>> {
        let mut found = Vec::new();
        self.scan_prefix(&[space::NEWEST], &mut |key, _| {
            let id = key.get(1..).and_then(|id| id.try_into().ok());
            let id = id.ok_or_else(|| Error::corruption("an entry of the catalogue has a key that none has"))?;
            found.push(TableId::from_be_bytes(id));
            Ok(())
        })?;
        Ok(found)
    }

    /// Where the pieces of a sorted run begin, but for the first: the smallest key of each, and its key in the catalogue.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn heads(&self, table: TableId, place: Place) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        self.scan_prefix(&keys::sorted_run(space::HEAD, table, place), &mut |key, _| {
            let mut from = key.to_vec();
            from[0] = space::RUN;
            found.push((keys::min_key(key)?, from));
            Ok(())
        })?;
        Ok(found)
    }

    /// The runs of a piece that begins at a head, or at the start, and ends at the next one, or with the sorted run.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn piece(
        &self,
        table: TableId,
        place: Place,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<Vec<PlacedRun>> {
        let all = keys::sorted_run(space::RUN, table, place);
        let (from, end) = (from.unwrap_or(&all), keys::after(&all));
        let mut found = Vec::new();
        self.scan(from, to.or(end.as_deref()), &mut |key, value| {
            found.push(entry(key, value)?.1);
            Ok(())
        })?;
        Ok(found)
    }

    /// Hands over every run of a table.
    ///
    /// # Errors
    /// As [`find`](Self::find), and those of `sink`.
    pub fn each(&self, table: TableId, sink: &mut dyn FnMut(PlacedRun) -> Result<()>) -> Result<()> {
        let (mut runs, mut known) = (0, 0);
        self.scan_prefix(&keys::table(space::RUN, table), &mut |key, value| {
            runs += 1;
            sink(entry(key, value)?.1)
        })?;
        self.totals(table)?.iter().for_each(|(_, totals)| known += totals.runs);
        if runs != known {
            return Err(self.lacks(format!("runs of table {table}: it has {runs}, not {known}")));
        }
        Ok(())
    }
}

/// A run, from its entry.
fn entry(key: &[u8], value: &[u8]) -> Result<(TableId, PlacedRun)> {
    let (table, place) = keys::place(key)?;
    let run = Arc::new(codec::decode_run(value)?);
    Ok((table, PlacedRun { place, run }))
}
