//! Making one publication.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use kodiak_core::format::Compression;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use super::columns::{Columns, Layout};
use super::dead::{self, Dead, Question};
use super::names::generation_of;
use super::record::{Files, PublishedFile, Record};
use super::remembered::{self, Known};
use super::{PUBLISHED_DIR, Published, delta, facts, lists, scripts};
use crate::components::export::Export;
use crate::components::outside::{FileKind, OutsideFile};
use crate::db::{Shared, Snapshot, TableInner, View};
use crate::exact::is_beyond;
use crate::maintenance::{link_or_copy, remove_if_there};
use crate::run::Run;
use crate::typed::Target;

/// Rows of a file of dead rows or of merged rows that are written at once.
pub(super) const CHUNK: usize = 64 << 10;

/// A publication to be made.
pub struct Publisher<'a> {
    /// The database.
    pub shared: &'a Shared,
    /// The table.
    pub inner: &'a Arc<TableInner>,
    /// Its schema.
    pub target: Target,
    /// The moment that is published: the runs hold all that was written until then.
    pub seq: SeqNo,
    /// Kept from before the view was loaded, so that its runs have every version that is read at that moment.
    pub _snapshot: Snapshot,
    /// The runs that hold it.
    pub view: Arc<View>,
    /// Where it goes.
    pub dir: PathBuf,
}

impl Publisher<'_> {
    /// Makes it in the place of `known`, the last one; without that if its files were touched. Returns what is to be known for the next one.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub fn replace(&self, known: Option<Known>) -> Result<(Published, Known)> {
        match self.publish(known.as_ref()) {
            Err(error) if known.is_some() && matches!(error.kind(), ErrorKind::Corruption | ErrorKind::NotFound) => {
                tracing::warn!(%error, table = self.inner.name, "the last publication is damaged; the table is published anew");
                self.publish(None)
            }
            published => published,
        }
    }

    /// Makes it, in the place of `known`, if that is the last one.
    ///
    /// # Errors
    /// `Corruption` or `NotFound` naming a file of the last publication that cannot be read; those of writing.
    fn publish(&self, last: Option<&Known>) -> Result<(Published, Known)> {
        let known = last.map(|last| &last.record);
        let storage = &*self.shared.storage;
        storage.create_dir_all(&self.dir)?;
        storage.sync_dir(&self.shared.dir)?;
        storage.sync_dir(&self.shared.dir.join(PUBLISHED_DIR))?;
        let hidden_below = self.inner.hidden_below(|| self.shared.now_micros());
        let present = self.present(last)?;
        let question = self.question(known, hidden_below)?;
        let dead = dead::find(&question)?;
        // A publication that was cut short may have left files, and a version of the Delta table that names them.
        let left = present.iter().flatten().filter_map(|name| generation_of(name)).max();
        let generation = left.unwrap_or(0).max(known.map_or(0, |known| known.generation)) + 1;
        let wanted = self.shared.settings.publish.delta;
        let (mut files, mut beyond) = (Files::new(), BTreeSet::new());
        let mut columns = Columns::new(self.inner, self.target.schema(), &self.view.version, wanted)?;
        let mut otherwise = 0;
        for (_, run) in self.view.version.runs()?.filter(|(_, run)| run.meta().entries > 0) {
            let (schema, operands) = facts(run, known)?;
            let lies = columns.in_files_of(schema)?;
            let lies = lies.ok_or_else(|| Error::corruption("a run reads otherwise than before"))?;
            otherwise += usize::from(!lies.by_name);
            let layout = lies.layout;
            let lies = (schema, operands, &*layout);
            let file = match self.unchanged(run, last, &question, &dead, lies) {
                Some(file) if present.as_ref().is_none_or(|names| names.contains(&file.file)) => file,
                _ => Arc::new(PublishedFile {
                    schema: Some(schema),
                    operands,
                    layout: Layout::clone(&layout),
                    ..self.file(run, known, present.as_ref(), &question, &dead, generation)?
                }),
            };
            let is_beyond = match known.filter(|known| known.file(run.id()).is_some()) {
                Some(known) => known.beyond.contains(&run.id()),
                None => is_beyond(run, self.target.schema())?,
            };
            beyond.extend(is_beyond.then(|| run.id()));
            files.insert(run.id(), file);
        }
        let merged = self.merged(&dead, &files, known, generation, hidden_below)?;
        let defaults = self.defaults(&files, known, generation)?;
        let mut record = Record::new(self.shared.identity, self.inner, self.target.schema(), self.seq);
        record.published_micros = self.shared.now_micros();
        (record.generation, record.expired_below) = (generation, hidden_below);
        (record.files, record.merged, record.defaults) = (files, merged, defaults);
        record.beyond = beyond;
        record.explain();
        record.tell_layouts();
        lists::write(storage, &self.dir, known, &mut record)?;
        // Everything that it names is there before the record is.
        storage.sync_dir(&self.dir)?;
        record.why_no_delta = delta::unwanted(wanted, otherwise);
        delta::commit(storage, &self.dir, known, &mut record, self.target.schema())?;
        let written = record.write(storage, &self.dir)?;
        scripts::write(storage, &self.dir, &record, self.inner, self.target.schema())?;
        delta::clean(storage, &self.dir, &record)?;
        self.inner.continuous.note_expiry(record.published_micros, hidden_below);
        let superseded = self.clean(&record, last, present)?;
        let published = self.summary(&record, question.fresh.len());
        Ok((published, Known::made(record, &written, superseded)))
    }

    /// One look at the directory, however many files it has; `None` if it is known what is there.
    ///
    /// # Errors
    /// `NotFound` naming a file that should be there beside the data files, which are linked again; `Io`.
    fn present(&self, last: Option<&Known>) -> Result<Option<HashSet<String>>> {
        if last.is_some_and(|last| last.trusted) {
            return Ok(None);
        }
        let present: HashSet<String> = self.shared.storage.list(&self.dir)?.into_iter().collect();
        let record = last.map(|last| &last.record);
        let lost = record.and_then(|record| record.names_made().find(|name| !present.contains(*name)));
        match lost {
            None => Ok(Some(present)),
            Some(lost) => {
                let message = "a file of the last publication is gone";
                Err(Error::new(ErrorKind::NotFound, message).with_file(self.dir.join(lost)))
            }
        }
    }

    /// The file of a run, if it is as the last publication has it.
    fn unchanged(
        &self,
        run: &Run,
        last: Option<&Known>,
        question: &Question<'_>,
        dead: &Dead,
        (schema, operands, layout): (u32, bool, &Layout),
    ) -> Option<Arc<PublishedFile>> {
        let old = last?.record.files.get(&run.id())?;
        let settled = run.meta().max_seq <= question.seq;
        let same = (old.schema, old.operands, old.settled, &old.layout) == (Some(schema), operands, settled, layout);
        let looked_at = question.fresh.contains(&run.id()) || dead.rows.contains_key(&run.id());
        (same && !looked_at).then(|| Arc::clone(old))
    }

    /// What must be found out: everything about runs that have come, or were not settled.
    fn question<'q>(&'q self, known: Option<&'q Record>, hidden_below: SeqNo) -> Result<Question<'q>> {
        let mut fresh = BTreeSet::new();
        for (_, run) in self.view.version.runs()? {
            let settled = known.is_some_and(|known| known.settled(run.id()));
            // Operands are merged anew each time, as what they apply to may have changed.
            if !settled || facts(run, known)?.1 {
                fresh.insert(run.id());
            }
        }
        Ok(Question {
            version: &self.view.version,
            fresh,
            seq: self.seq,
            hidden_below,
            expired_before: known.map_or(0, |known| known.expired_below),
            known,
        })
    }

    /// Links a run's file, and writes down its dead rows if they are others than before.
    fn file(
        &self,
        run: &Arc<Run>,
        known: Option<&Record>,
        present: Option<&HashSet<String>>,
        question: &Question<'_>,
        dead: &Dead,
        generation: u64,
    ) -> Result<PublishedFile> {
        let storage = &*self.shared.storage;
        let [path, _] = run.paths()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let old = known.and_then(|known| known.file(run.id()));
        if present.map_or(old.is_none(), |names| !names.contains(&name)) {
            link_or_copy(storage, &path, &self.dir.join(&name))?;
        }
        let fresh = question.fresh.contains(&run.id());
        let mut file = PublishedFile {
            file: name,
            run: run.id(),
            kind: run.meta().format.clone(),
            bytes: run.meta().data_bytes,
            rows: run.meta().entries,
            // What was written after the moment is dead now, and may live in the next publication.
            settled: run.meta().max_seq <= question.seq,
            ..PublishedFile::default()
        };
        let mut rows = dead.rows.get(&run.id()).cloned().unwrap_or_default();
        if let Some(old) = old.filter(|_| !fresh) {
            if rows.is_empty() {
                let settled = file.settled;
                file = PublishedFile { settled, ..old.clone() };
                return Ok(file);
            }
            if let Some(before) = old.dead.as_ref().filter(|_| !dead.complete) {
                rows.extend(read_rows(storage, &self.dir.join(before))?);
                rows.sort_unstable();
                rows.dedup();
            }
            if rows.len() as u64 == old.dead_rows {
                return Ok(old.clone());
            }
        }
        if !rows.is_empty() {
            let dead = format!("{:010}.dead-{generation}.parquet", run.id());
            self.write_rows(&dead, &rows)?;
            file.vector = delta::vector(storage, &self.dir, &rows)?;
            (file.dead, file.dead_rows) = (Some(dead), rows.len() as u64);
        }
        Ok(file)
    }

    pub(super) fn create(&self, name: &str, kind: FileKind, columns: &SchemaRef) -> Result<Export> {
        let path = self.dir.join(name);
        // Left over by a publication that was cut short.
        remove_if_there(&*self.shared.storage, &path)?;
        Export::create(kind, self.shared.storage.create(&path)?, columns, Compression::None)
    }

    fn write_rows(&self, name: &str, rows: &[u32]) -> Result<()> {
        let columns = Arc::new(Schema::new(vec![Field::new("row", DataType::Int64, false)]));
        let mut file = self.create(name, FileKind::Parquet, &columns)?;
        for rows in rows.chunks(CHUNK) {
            let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|&row| i64::from(row))));
            let batch = RecordBatch::try_new(Arc::clone(&columns), vec![rows]);
            file.write(&batch.map_err(|error| Error::corruption("dead rows are no column").with_source(error))?)?;
        }
        file.finish()
    }

    /// Removes files that only publications name that nobody is about to read any more, and, if somebody has looked at what is there,
    /// those that no publication names. What others have put there stays. Returns what is superseded and kept, that of the oldest first.
    fn clean(
        &self,
        record: &Record,
        last: Option<&Known>,
        present: Option<HashSet<String>>,
    ) -> Result<VecDeque<Vec<String>>> {
        let storage = &*self.shared.storage;
        let mut superseded = last.map(|last| last.superseded.clone()).unwrap_or_default();
        superseded.extend(last.map(|last| last.record.names_without(record)));
        let kept = match self.inner.continuous.is_on() {
            true => self.shared.settings.publish.kept,
            false => 0,
        };
        remembered::remove_superseded(storage, &self.dir, &mut superseded, kept)?;
        let Some(present) = present else {
            return Ok(superseded);
        };
        let named: HashSet<&str> = record
            .names()
            .chain(superseded.iter().flatten().map(String::as_str))
            .collect();
        for name in present {
            let own = [".parquet", ".arrow", ".orc", ".bin", ".new"]
                .iter()
                .any(|end| name.ends_with(end));
            let own = own || name.starts_with("files-") && generation_of(&name).is_some();
            if own && !named.contains(name.as_str()) {
                remove_if_there(storage, &self.dir.join(name))?;
            }
        }
        drop(named);
        Ok(superseded)
    }

    fn summary(&self, record: &Record, looked_at: usize) -> Published {
        Published {
            dir: self.dir.clone(),
            seq: record.sequence,
            rows: record.rows,
            files: record.files.len(),
            looked_at,
            dead_rows: record.data_files().map(|file| file.dead_rows).sum(),
            merged_rows: record.merged.as_ref().map_or(0, |merged| merged.rows),
            why_not_exact: record.why_not_exact.clone(),
            why_no_view: scripts::why_no_view(record),
            why_no_delta: record.why_no_delta.clone(),
        }
    }
}

/// The rows that a file of dead rows names.
fn read_rows(storage: &dyn Storage, path: &Path) -> Result<Vec<u32>> {
    let damaged = || Error::corruption("it is no file of dead rows").with_file(path);
    let file = OutsideFile::open(storage.open(path)?).map_err(|error| error.with_file(path))?;
    let mut rows = Vec::new();
    for batch in file.batches(&[0]).map_err(|error| error.with_file(path))? {
        let batch = batch.map_err(|error| error.with_file(path))?;
        let column = batch.column(0).as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
        for &row in column.values() {
            rows.push(u32::try_from(row).map_err(|_| damaged())?);
        }
    }
    Ok(rows)
}
