//! Altering tables: other columns from one moment on, without touching what is there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use kodiak_core::schema::{SchemaChange, TableSchema};
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use super::{SchemaVersion, Target};
use crate::db::{Shared, Table, TableInner, closing, poisoned_gate};
use crate::maintenance::TableFile;
use crate::manifest::{Change, VersionEdit};
use crate::secondary::check_alteration;

/// Changes of a table's columns, made by [`Table::alter`]; nothing happens before [`commit`](Self::commit).
///
/// They apply one after the other, and come into force together. No file is rewritten: every column has a number for good, by
/// which rows of older schemas are read as the newest one has them, and compactions write by the newest.
///
/// - Snapshots that are held read by the schema of their moment, with all the data that they had. While there are any, flushes
///   and compactions keep the columns that they need.
/// - Rows are written by the newest schema: record batches must have its columns, but for new ones with a default. A
///   [`WriteBatch`](crate::WriteBatch) that was filled before fails with `Conflict`.
/// - The columns of the key can be renamed and moved, nothing else: user keys are made of them.
#[derive(Debug, Clone)]
#[must_use = "nothing is altered before `commit` is called"]
pub struct Alteration<'a> {
    table: &'a Table,
    changes: Vec<SchemaChange>,
}

impl Table {
    /// Changes the columns of a typed table while it is in use; says how by the methods of [`Alteration`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::array::Int32Array;
    /// # use arrow::datatypes::{DataType, Field, Schema};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = kodiak::Db::open(dir.path(), kodiak::Settings::default())?;
    /// # let columns = Arc::new(Schema::new(vec![
    /// #     Field::new("city", DataType::Utf8, false),
    /// #     Field::new("people", DataType::Int32, true),
    /// # ]));
    /// # let cities = db.create_table("cities", kodiak::TableSchema::new(columns, &["city"])?)?;
    /// cities
    ///     .alter()
    ///     .rename_column("people", "population")
    ///     .widen_column("population", DataType::Int64)
    ///     .add_column(Field::new("mayor", DataType::Utf8, true))
    ///     .add_column_with(Field::new("founded", DataType::Int32, false), Arc::new(Int32Array::from(vec![0])))
    ///     .commit()?;
    /// assert_eq!(cities.schema().columns().fields().len(), 4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn alter(&self) -> Alteration<'_> {
        Alteration {
            table: self,
            changes: Vec::new(),
        }
    }
}

impl Alteration<'_> {
    /// A new last column, which may be null, and is in the rows that are there.
    pub fn add_column(self, field: Field) -> Self {
        self.change(SchemaChange::Add { field, initial: None })
    }

    /// A new last column with a default: the only value of `initial`, of the field's type. The rows that are there have it, and
    /// rows written from now on that are not given the column: it may be missing in what is inserted, ingested or imported, and
    /// in updates, where it counts for rows that do not exist yet. A null that is given is a null.
    pub fn add_column_with(self, field: Field, initial: ArrayRef) -> Self {
        self.change(SchemaChange::Add {
            field,
            initial: Some(initial),
        })
    }

    /// A value column goes, and what is in it with the next compactions. A column that is added under its name later is
    /// another one, without its values.
    pub fn drop_column(self, name: impl Into<String>) -> Self {
        self.change(SchemaChange::Drop(name.into()))
    }

    /// A column gets another name.
    pub fn rename_column(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.change(SchemaChange::Rename {
            from: from.into(),
            to: to.into(),
        })
    }

    /// The columns come in this order; all of them are named.
    pub fn order_columns<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.change(SchemaChange::Order(names.into_iter().map(Into::into).collect()))
    }

    /// A value column gets a type that holds every value of its present one exactly; see
    /// [`widens`](kodiak_core::schema::widens) for the types.
    pub fn widen_column(self, name: impl Into<String>, to: DataType) -> Self {
        self.change(SchemaChange::Widen {
            column: name.into(),
            to,
        })
    }

    /// A value column may be null from now on.
    pub fn allow_null(self, name: impl Into<String>) -> Self {
        self.change(SchemaChange::AllowNull(name.into()))
    }

    fn change(mut self, change: SchemaChange) -> Self {
        self.changes.push(change);
        self
    }

    /// Makes the changes, all or none; when this returns, they survive a power loss. Writers wait for it, and it waits for an
    /// ingestion that is under way.
    ///
    /// # Errors
    /// `InvalidInput` naming the column, for a change that makes no sense, a key-value table, or a type that a format in the
    /// settings cannot hold; `NotFound` if the table was dropped; `Unavailable` if the database is closed or open for reading
    /// only. After `Io` the table is as before; whether it is after the next opening is not known.
    pub fn commit(self) -> Result<()> {
        let (shared, inner) = (&self.table.open.shared, &self.table.inner);
        shared.check_writable()?;
        if self.changes.is_empty() {
            return Ok(());
        }
        // An ingestion writes by the schema that it began with.
        let _ingesting = shared.ingesting.lock();
        let _writing = inner.altering.write().map_err(|_| poisoned_gate())?;
        let before = inner.schemas.current();
        let wanted = before.schema.altered(before.number() + 1, &self.changes)?;
        shared.check_formats(&wanted)?;
        let _changing = shared.changing(inner)?;
        let _alone = shared.gate.write().map_err(|_| poisoned_gate())?;
        check_alteration(inner, &before.schema, &wanted)?;
        // Rows written before survive whatever this survives.
        shared.check_writable()?.sync()?;
        let number = shared.register(inner, true, |number| before.schema.altered(number, &self.changes))?;
        inner.continuous.changed();
        tracing::info!(table = inner.name, schema = number, "altered");
        Ok(())
    }
}

impl Shared {
    /// Makes a schema known, on disk and in memory; returns its number, which `schema` is given. For one in force the caller
    /// keeps writers out.
    fn register(
        &self,
        table: &TableInner,
        in_force: bool,
        schema: impl FnOnce(u32) -> Result<TableSchema>,
    ) -> Result<u32> {
        // Nothing else gets a number meanwhile.
        let mut manifest = self.manifest.lock();
        let manifest = manifest.as_mut().ok_or_else(closing)?;
        if table.dropped.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("table \"{}\" was dropped", table.name),
            ));
        }
        let last = table.schemas.all().last().map_or(0, |version| version.number());
        let number = last
            .checked_add(1)
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the numbers of schemas are used up"))?;
        let schema = schema(number)?;
        let change = Change::AddSchema {
            table: table.id,
            number,
            in_force,
            schema: schema.to_bytes(),
        };
        let edit = VersionEdit::new().with(change);
        let mut after = manifest.state().clone();
        after.apply(&edit)?;
        // First, so that repair without the manifest knows every schema that a row may be of. One too many does no harm.
        if let Some(after) = after.tables.get(&table.id) {
            TableFile::of(self.identity, table.id, after).write(&*self.storage, &table.runs.dir)?;
        }
        manifest.append(&edit)?;
        let since: SeqNo = self.next_seq();
        table.schemas.push(SchemaVersion::new(schema, in_force, since));
        if in_force {
            // A snapshot taken from now on has this number or a larger one, those taken before have smaller ones.
            self.recovered(since);
        }
        Ok(number)
    }

    /// The schema of runs that are written now, and the snapshots that they must serve. Whatever goes into the runs must have
    /// been settled before, so that nothing of it is of a newer schema.
    ///
    /// That is the newest one; while snapshots are held that read by older ones, a layout which besides has the columns that
    /// these need.
    ///
    /// # Errors
    /// Those of making a layout known.
    pub(crate) fn output_target(&self, table: &TableInner) -> Result<(Target, Vec<SeqNo>)> {
        // In this order: a snapshot that is taken in between reads by this schema, or a newer one.
        let current = table.schemas.current();
        let snapshots = self.snapshots.list();
        let mut older: Vec<Arc<SchemaVersion>> = Vec::new();
        if current.number() > 0 {
            for &seq in snapshots.iter().rev() {
                let version = table.schemas.at(seq);
                if version.number() < current.number() && older.iter().all(|known| known.number() != version.number()) {
                    older.push(version);
                }
            }
        }
        let version = match older.is_empty() {
            true => current,
            false => self.layout(table, current, &older)?,
        };
        Ok((Target::new(&table.schemas, version), snapshots))
    }

    /// The layout for readers at `current` and `older`, newest first.
    fn layout(
        &self,
        table: &TableInner,
        current: Arc<SchemaVersion>,
        older: &[Arc<SchemaVersion>],
    ) -> Result<Arc<SchemaVersion>> {
        let older: Vec<&TableSchema> = older.iter().map(|version| &*version.schema).collect();
        let layout = |number| TableSchema::layout(&current.schema, &older, number);
        let Some(wanted) = layout(current.number() + 1)? else {
            return Ok(current);
        };
        let known = |version: &&Arc<SchemaVersion>| version.schema.same_layout(&wanted);
        if let Some(version) = table.schemas.all().iter().find(known) {
            return Ok(Arc::clone(version));
        }
        let number = self.register(table, false, |number| {
            layout(number)?.ok_or_else(|| Error::corruption("a layout has lost its columns"))
        })?;
        table.schemas.find(number)
    }
}
