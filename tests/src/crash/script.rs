//! Seeded scripts of steps on a database.

use kodiak::core::options::OptionValue;
use kodiak::settings::Maintenance;
use kodiak::{
    Builder, Db, IndexDefinition, IndexOptions, Result, Settings, SyncMode, Table, TableOptions, TableSchema,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The directory of the database in every storage.
pub const DIR: &str = "/db";
/// The secondary index of tables that have one.
pub const INDEX: &str = "by_value";

/// What is done to one key, or range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A value is given.
    Put(Vec<u8>),
    /// The value is taken away.
    Delete,
    /// The values of all keys from this one to the end (exclusive) are taken away.
    DeleteRange(Vec<u8>),
    /// An operand is appended.
    Merge(Vec<u8>),
}

/// One operation of a batch.
#[derive(Debug, Clone)]
pub struct Change {
    /// The table, by its place among the creations.
    pub table: usize,
    /// The key.
    pub key: Vec<u8>,
    /// What is done.
    pub action: Action,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// A batch.
    Write(Vec<Change>),
    /// The next table is created, under this name.
    Create(&'static str),
    /// A table is dropped.
    Drop(usize),
    /// `Db::flush`.
    Flush,
    /// `Db::compact`.
    Compact,
    /// `Db::sync`.
    Sync,
    /// A table chooses its indexes: none, as the settings say, or a B+ tree, and deletion vectors.
    Choose(usize, usize),
    /// The database is closed and opened.
    Reopen,
}

/// Where a script runs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The log.
    pub wal: &'static str,
    /// When writes are acknowledged.
    pub sync: SyncMode,
    /// Seed of the script.
    pub seed: u64,
    /// Writes in it.
    pub writes: usize,
    /// False: one table, and nothing happens in the background but what a step asks for.
    pub background: bool,
    /// All tables are published whenever their runs change; then the runs are Parquet files, so that Delta tables are, too.
    pub publish: bool,
}

impl Setup {
    /// Settings so small that a short script rotates, flushes and compacts.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.memtable.size = if self.background { 64 << 10 } else { 16 << 20 };
        settings.format.block_size = Some(1 << 10);
        settings.compaction.target_run_size = 64 << 10;
        if self.publish {
            "parquet".clone_into(&mut settings.format.kind);
            settings.publish.continuous = true;
            settings.publish.key_value = true;
        }
        settings.compaction.levels = 4;
        settings.wal.kind = self.wal.to_owned();
        settings.wal.sync = self.sync;
        settings.wal.segment_size = 64 << 10;
        settings.cache.capacity = 1 << 20;
        settings.metrics.enabled = false;
        // One script in three goes without a primary index.
        ["fence", "bplus", "fractal"][self.seed as usize % 3].clone_into(&mut settings.index.primary);
        settings.index.pool = 256 << 10;
        settings.secondary.kind = ["fractal", "bplus"][self.seed as usize / 2 % 2].to_owned();
        settings.secondary.pool = 256 << 10;
        if settings.secondary.kind == "fractal" {
            for (name, bytes) in [("node_size", 16 << 10), ("basement_size", 4 << 10)] {
                settings
                    .secondary
                    .options
                    .insert(name.to_owned(), OptionValue::Int(bytes));
            }
        }
        // Half of the others have deletion vectors, and rewrite runs with few dead rows.
        settings.index.deletion_vectors = settings.index.primary != "fence" && (self.seed / 3).is_multiple_of(2);
        settings.compaction.dead_share = 0.1;
        if settings.index.primary == "fractal" {
            for (name, bytes) in [("node_size", 16 << 10), ("basement_size", 4 << 10)] {
                settings.index.options.insert(name.to_owned(), OptionValue::Int(bytes));
            }
        }
        settings
    }

    /// A builder with these settings.
    pub fn builder(&self) -> Builder {
        Builder::new(self.settings())
    }

    /// The steps.
    pub fn steps(&self) -> Vec<Step> {
        Generator::new(self.seed, self.background).steps(self.writes)
    }
}

struct Generator {
    random: StdRng,
    several: bool,
    written: usize,
}

impl Generator {
    fn new(seed: u64, several: bool) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            several,
            written: 0,
        }
    }

    fn steps(mut self, writes: usize) -> Vec<Step> {
        let mut steps = vec![Step::Create("a")];
        let mut tables = vec![0];
        if self.several {
            steps.push(Step::Create("b"));
            tables.push(1);
        }
        for write in 0..writes {
            if self.several && write == writes / 4 {
                steps.push(Step::Create("c"));
                tables.push(2);
            }
            if self.several && write == writes / 2 {
                steps.push(Step::Drop(2));
                steps.push(Step::Create("c"));
                tables[2] = 3;
            }
            steps.push(self.write(&tables));
            let step = match self.random.random_range(0..100) {
                0..3 => Some(Step::Flush),
                3 => Some(Step::Compact),
                4..7 => Some(Step::Sync),
                7 => Some(Step::Reopen),
                8 => Some(Step::Choose(tables[0], self.written)),
                _ => None,
            };
            steps.extend(step);
        }
        steps
    }

    fn key(&mut self) -> Vec<u8> {
        format!("k{:02}", self.random.random_range(0..40)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        self.written += 1;
        let fill = if self.random.random_range(0..20) == 0 {
            8000
        } else {
            1200
        };
        let mut value = format!("{}:", self.written).into_bytes();
        value.resize(
            value.len() + self.random.random_range(0..fill),
            b'a' + (self.written % 26) as u8,
        );
        value
    }

    fn write(&mut self, tables: &[usize]) -> Step {
        let table = tables[self.random.random_range(0..tables.len())];
        let change = match self.random.random_range(0..100) {
            // The same in every table, so that half of a batch is noticed.
            0..25 => {
                let count = self.random.random_range(1..4);
                let changes = (0..count).flat_map(|_| {
                    let (key, value) = (self.key(), self.value());
                    let put = move |&table: &usize| Change {
                        table,
                        key: key.clone(),
                        action: Action::Put(value.clone()),
                    };
                    tables.iter().map(put).collect::<Vec<_>>()
                });
                return Step::Write(changes.collect());
            }
            25..40 => Change {
                table,
                key: self.key(),
                action: Action::Delete,
            },
            40..46 => {
                let key = self.key();
                let end = [key.as_slice(), b"~"].concat();
                Change {
                    table,
                    key,
                    action: Action::DeleteRange(end),
                }
            }
            46..48 => Change {
                table,
                key: b"k1".to_vec(),
                action: Action::DeleteRange(b"k2".to_vec()),
            },
            48..60 => {
                let operand = format!("+{}", self.written).into_bytes();
                self.written += 1;
                Change {
                    table,
                    key: self.key(),
                    action: Action::Merge(operand),
                }
            }
            _ => Change {
                table,
                key: self.key(),
                action: Action::Put(self.value()),
            },
        };
        Step::Write(vec![change])
    }
}

fn choice(what: usize) -> IndexOptions {
    match what % 4 {
        0 => IndexOptions::new(),
        1 => IndexOptions::new().primary("fence").maintenance(Maintenance::Eager),
        2 => IndexOptions::new().primary("bplus").deletion_vectors(true),
        _ => IndexOptions::new().primary("bplus").secondary("bplus"),
    }
}

/// A database in the middle of a script.
#[derive(Debug)]
pub struct Running {
    db: Option<Db>,
    /// By creation.
    tables: Vec<Option<Table>>,
    names: Vec<&'static str>,
    /// Tables get a secondary index.
    indexed: bool,
}

impl Running {
    /// Nothing is open yet.
    pub fn new() -> Self {
        Self {
            db: None,
            tables: Vec::new(),
            names: Vec::new(),
            indexed: false,
        }
    }

    /// Nothing is open yet; tables will get a secondary index, if the script is to have them.
    pub fn of(setup: &Setup) -> Self {
        Self {
            indexed: setup.seed.is_multiple_of(2),
            ..Self::new()
        }
    }

    /// Opens the database and the tables that the script knows.
    ///
    /// # Errors
    /// Those of opening.
    pub fn open(&mut self, builder: Builder) -> Result<()> {
        let db = builder.open(DIR)?;
        for (table, name) in self.tables.iter_mut().zip(&self.names) {
            if table.is_some() {
                *table = match db.table(name) {
                    // Its drop was told as failed, and yet took effect.
                    Err(error) if error.kind() == kodiak::ErrorKind::NotFound => None,
                    found => Some(found?),
                };
            }
        }
        self.db = Some(db);
        Ok(())
    }

    /// True if a database is open.
    pub fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// The open database.
    pub fn db(&self) -> Option<&Db> {
        self.db.as_ref()
    }

    /// A table, by creation.
    pub fn table(&self, table: usize) -> Option<&Table> {
        self.tables.get(table).and_then(Option::as_ref)
    }

    /// Closes the database; its table handles stay, as a careless program's would.
    ///
    /// # Errors
    /// Those of closing.
    pub fn close(&mut self) -> Result<()> {
        self.db.take().map_or(Ok(()), Db::close)
    }

    /// Carries a step out.
    ///
    /// # Errors
    /// Those of the step.
    pub fn step(&mut self, step: &Step, builder: impl FnOnce() -> Builder) -> Result<()> {
        if let Step::Reopen = step {
            self.close()?;
            return self.open(builder());
        }
        let Some(db) = &self.db else {
            if let Step::Create(name) = step {
                self.names.push(name);
                self.tables.push(None);
            }
            return Err(kodiak::Error::new(
                kodiak::ErrorKind::Unavailable,
                "no database is open",
            ));
        };
        match step {
            Step::Write(changes) => self.write(db, changes),
            Step::Create(name) => {
                let options = TableOptions::new().merge_operator("append");
                // Counted even if it fails: the numbers of later tables do not depend on that.
                let created = db.create_table_with(name, TableSchema::key_value(), options);
                self.names.push(name);
                let (table, result) = match created {
                    Ok(table) => {
                        // Whether that succeeds or not, the table is there.
                        let indexed = self.indexed.then(|| IndexDefinition::on(INDEX, ["value"]));
                        drop(indexed.map(|definition| table.create_index(definition)));
                        (Some(table), Ok(()))
                    }
                    Err(error) => (None, Err(error)),
                };
                self.tables.push(table);
                result
            }
            Step::Drop(table) => {
                db.drop_table(self.names[*table])?;
                self.tables[*table] = None;
                Ok(())
            }
            Step::Flush => db.flush(),
            Step::Compact => db.compact(),
            Step::Sync => db.sync(),
            Step::Choose(table, what) => {
                let missing = || kodiak::Error::new(kodiak::ErrorKind::NotFound, "the table was not created");
                self.table(*table).ok_or_else(missing)?.set_indexes(choice(*what))
            }
            Step::Reopen => Ok(()),
        }
    }

    fn write(&self, db: &Db, changes: &[Change]) -> Result<()> {
        let missing = || kodiak::Error::new(kodiak::ErrorKind::NotFound, "the table was not created");
        if let [change] = changes {
            let table = self.table(change.table).ok_or_else(missing)?;
            return match &change.action {
                Action::Put(value) => table.put(&change.key, value),
                Action::Delete => table.delete(&change.key),
                Action::DeleteRange(end) => table.delete_range(change.key.as_slice()..end.as_slice()),
                Action::Merge(operand) => table.merge(&change.key, operand),
            };
        }
        let mut batch = db.batch();
        for change in changes {
            let table = self.table(change.table).ok_or_else(missing)?;
            match &change.action {
                Action::Put(value) => batch.put(table, &change.key, value),
                Action::Delete => batch.delete(table, &change.key),
                Action::DeleteRange(end) => batch.delete_range(table, &change.key, end),
                Action::Merge(operand) => batch.merge(table, &change.key, operand),
            };
        }
        db.write(batch)
    }
}

impl Default for Running {
    fn default() -> Self {
        Self::new()
    }
}
