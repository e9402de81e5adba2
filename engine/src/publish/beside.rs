//! Files of rows that a publication has beside the data files: what was merged of partial updates, and defaults of columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use kodiak_core::{Error, Result, SeqNo, Slice};

use super::dead::Dead;
use super::publisher::{CHUNK, Publisher};
use super::record::{Files, PublishedFile, Record};
use crate::components::export::plain_columns;
use crate::components::outside::FileKind;
use crate::typed::own_columns;

impl Publisher<'_> {
    /// Writes the rows that no file has as they are: those whose newest versions are updates of some columns. Also an empty file
    /// if there is no other, or one lacks columns, for readers to know the columns.
    pub(super) fn merged(
        &self,
        dead: &Dead,
        files: &Files,
        known: Option<&Record>,
        generation: u64,
        hidden_below: SeqNo,
    ) -> Result<Option<PublishedFile>> {
        let whole = !files.is_empty() && files.values().all(|file| file.layout.is_plain());
        if dead.merged.is_empty() && whole {
            return Ok(None);
        }
        let kind = self.kind(files);
        // The one that there is, if it says no more than the columns.
        let known = known.filter(|known| known.schema == Some(self.target.schema().number()));
        let known = known.and_then(|known| known.merged.as_ref());
        if let Some(known) = known.filter(|known| dead.merged.is_empty() && known.rows == 0 && known.kind == word(kind))
            && self.is_there(known)?
        {
            return Ok(Some(known.clone()));
        }
        let name = format!("merged-{generation}.{}", extension(kind));
        let columns = self.columns(kind);
        let mut file = self.create(&name, kind, &columns)?;
        let mut rows = 0;
        for keys in dead.merged.chunks(CHUNK / 8) {
            let mut values: Vec<Slice> = Vec::with_capacity(keys.len());
            for key in keys {
                let value = self.inner.get(&self.view, key, self.seq, hidden_below)?;
                values.push(value.ok_or_else(|| Error::corruption("an updated row is gone"))?);
            }
            let keys = BinaryArray::from_iter_values(keys);
            let values = BinaryArray::from_iter_values(values.iter().map(|value| &**value));
            let wrong = |error| Error::corruption("merged rows do not fit the table's schema").with_source(error);
            let own = own_columns(&self.target, keys, values)?;
            let plain = own.iter().zip(columns.fields());
            let plain = plain.map(|(column, field)| cast(column, field.data_type()).map_err(wrong));
            let batch = RecordBatch::try_new(Arc::clone(&columns), plain.collect::<Result<_>>()?).map_err(wrong)?;
            rows += batch.num_rows() as u64;
            file.write(&batch)?;
        }
        file.finish()?;
        self.written(name, kind, rows).map(Some)
    }

    /// Writes the defaults of the columns that files say to have them, if any do.
    pub(super) fn defaults(
        &self,
        files: &Files,
        known: Option<&Record>,
        generation: u64,
    ) -> Result<Option<PublishedFile>> {
        let wanted = defaults_of(files);
        if wanted.is_empty() {
            return Ok(None);
        }
        let kind = self.kind(files);
        let same = |known: &&Record| {
            known.schema == Some(self.target.schema().number()) && defaults_of(&known.files) == wanted
        };
        if let Some(known) = known.filter(same).and_then(|known| known.defaults.as_ref())
            && known.kind == word(kind)
            && self.is_there(known)?
        {
            return Ok(Some(known.clone()));
        }
        let schema = self.target.schema();
        let whole = self.columns(kind);
        let indexes: Vec<usize> = (0..whole.fields().len())
            .filter(|&index| wanted.contains(whole.field(index).name().as_str()))
            .collect();
        let wrong = |error| Error::corruption("the defaults of columns are no row").with_source(error);
        let columns = Arc::new(whole.project(&indexes).map_err(wrong)?);
        let values = indexes.iter().zip(columns.fields()).map(|(&index, field)| {
            let value = schema.initial(index)?;
            let value = value.ok_or_else(|| Error::corruption("a column has lost its default"))?;
            cast(&value, field.data_type()).map_err(wrong)
        });
        let row = RecordBatch::try_new(Arc::clone(&columns), values.collect::<Result<_>>()?).map_err(wrong)?;
        let name = format!("defaults-{generation}.{}", extension(kind));
        let mut file = self.create(&name, kind, &columns)?;
        file.write(&row)?;
        file.finish()?;
        self.written(name, kind, 1).map(Some)
    }

    /// What files beside the data files are.
    fn kind(&self, files: &Files) -> FileKind {
        let format = match files.values().next() {
            Some(file) => file.kind.as_str(),
            None => self.shared.resolved.format_at(0).factory.component.name,
        };
        match format {
            "feather" => FileKind::Feather,
            "orc" => FileKind::Orc,
            _ => FileKind::Parquet,
        }
    }

    /// The table's columns, of the types that data files have.
    fn columns(&self, kind: FileKind) -> SchemaRef {
        let columns = self.target.schema().columns();
        match kind {
            FileKind::Feather => plain_columns(columns),
            FileKind::Orc | FileKind::Parquet => Arc::clone(columns),
        }
    }

    /// True if a file of the last publication is there.
    fn is_there(&self, known: &PublishedFile) -> Result<bool> {
        Ok(self.shared.storage.len(&self.dir.join(&known.file))? == Some(known.bytes))
    }

    /// What the record says of a file that was written.
    fn written(&self, name: String, kind: FileKind, rows: u64) -> Result<PublishedFile> {
        Ok(PublishedFile {
            bytes: self.shared.storage.len(&self.dir.join(&name))?.unwrap_or(0),
            file: name,
            kind: word(kind).to_owned(),
            rows,
            ..PublishedFile::default()
        })
    }
}

/// The columns of which files have the default.
pub(super) fn defaults_of(files: &Files) -> BTreeSet<&str> {
    let names = files.values().flat_map(|file| &file.layout.defaults);
    names.map(String::as_str).collect()
}

/// What the record calls a kind of file.
fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Feather => "feather",
        FileKind::Orc => "orc",
        FileKind::Parquet => "parquet",
    }
}

/// What the names of such files end with.
fn extension(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Feather => "arrow",
        FileKind::Orc => "orc",
        FileKind::Parquet => "parquet",
    }
}
