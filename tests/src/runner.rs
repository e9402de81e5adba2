//! Carries out a history on a database and compares every answer with the model.

mod copies;
mod index_order;
mod indexes;
mod openings;
mod published;
mod reads;
mod shapes;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kodiak::{Components, Db, IndexOptions, RecoveryMode, Settings, Snapshot, SyncMode, Table};
use kodiak_storage::{BlockSize, CrashOptions, FaultStorage};

use crate::history::{Change, Key, Op, Value, Write};
use crate::model::{Content, Journal, Kind, Model, SNAPSHOTS, TABLES, TICK};
use copies::Copies;
pub use indexes::{ANY_VALUES, CHOICES};
use published::Trails;
use shapes::{typed_row, write_bytes};

/// Where the database is in the storage.
const DIR: &str = "/db";

/// What a history is carried out with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The settings.
    pub settings: Settings,
    /// What the settings may pick from.
    pub components: Components,
    /// Called before each operation, with its number: to make the clock jump, say.
    pub disturb: Option<fn(&FaultStorage, usize)>,
}

impl Setup {
    /// Settings over Kodiak's own components.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            components: Components::new(),
            disturb: None,
        }
    }
}

/// A wrong answer, an error, or a panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The operation at which it showed.
    pub op: usize,
    /// What happened.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "operation {}: {}", self.op, self.what)
    }
}

type Outcome<T = ()> = Result<T, String>;

/// Carries out a history from an empty storage on, and compares everything.
///
/// # Errors
/// The first answer that differs from the model's, the first error, or the first panic.
pub fn run(ops: &[Op], setup: &Setup) -> Result<(), Failure> {
    let mut at = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut runner = Runner::new(setup)?;
        for (index, op) in ops.iter().enumerate() {
            at = index;
            if let Some(disturb) = setup.disturb {
                disturb(&runner.storage, index);
            }
            runner.step(op)?;
            runner.look_after(op)?;
        }
        at = ops.len();
        runner.finish()
    }));
    let what = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            format!(
                "panic: {}",
                text.or(panic.downcast_ref::<&str>().copied())
                    .unwrap_or("of an unknown kind")
            )
        }
    };
    let op = ops.get(at).map_or_else(|| "the end".to_owned(), |op| format!("{op:?}"));
    Err(Failure {
        op: at,
        what: format!("{} -> {what}", op.chars().take(300).collect::<String>()),
    })
}

/// Handles, in the order of [`TABLES`].
type Tables = [Option<Table>; TABLES.len()];

/// The names of each table's indexes.
type Indexes = [BTreeSet<String>; TABLES.len()];

struct Runner<'a> {
    setup: &'a Setup,
    durable: bool,
    storage: FaultStorage,
    db: Option<Db>,
    tables: Tables,
    indexes: Indexes,
    /// What of its indexes each table has chosen.
    chosen: [IndexOptions; TABLES.len()],
    snapshots: [Option<(Snapshot, Model)>; SNAPSHOTS],
    model: Model,
    journal: Journal,
    copies: Copies,
    trails: Trails,
    /// Parts of indexes that were looked at.
    looks: u64,
}

/// An error of the engine, as a failure.
fn failed(what: &str) -> impl FnOnce(kodiak::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl<'a> Runner<'a> {
    fn new(setup: &'a Setup) -> Outcome<Self> {
        let resolved = setup.components.resolve(&setup.settings).map_err(failed("resolve"))?;
        let mut runner = Self {
            setup,
            durable: resolved.wal.factory.capabilities.durable,
            storage: FaultStorage::with_seed(1),
            db: None,
            tables: Default::default(),
            indexes: Default::default(),
            chosen: Default::default(),
            snapshots: Default::default(),
            model: Model::default(),
            journal: Journal::default(),
            copies: Copies::default(),
            trails: Trails::default(),
            looks: 0,
        };
        runner.open(runner.setup.settings.wal.recovery)?;
        Ok(runner)
    }

    fn open(&mut self, recovery: RecoveryMode) -> Outcome {
        let (db, tables) = self.open_at(Path::new(DIR), recovery)?;
        self.db = Some(db);
        self.tables = tables;
        Ok(())
    }

    fn db(&self) -> Outcome<&Db> {
        self.db.as_ref().ok_or_else(|| "the database is not open".to_owned())
    }

    fn step(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Write(write) => self.write(write),
            Op::Batch(writes) => self.batch(writes),
            Op::Get { table, at, key } => self.get(*table, *at, key),
            Op::MultiGet { table, keys } => self.multi_get(*table, keys),
            Op::Scan(scan) => self.scan(scan),
            Op::Snapshot(slot) => {
                self.snapshots[*slot] = Some((self.db()?.snapshot(), self.model.clone()));
                Ok(())
            }
            Op::DropSnapshot(slot) => {
                self.snapshots[*slot] = None;
                Ok(())
            }
            Op::Sync => {
                self.db()?.sync().map_err(failed("sync"))?;
                if self.durable {
                    self.journal.settle(&self.model);
                }
                Ok(())
            }
            Op::Flush => {
                self.db()?.flush().map_err(failed("flush"))?;
                self.flush_trails();
                self.settled()
            }
            Op::Compact => {
                self.db()?.compact().map_err(failed("compact"))?;
                self.flush_trails();
                self.settled()
            }
            Op::CompactRange { table, range } => {
                let Some(handle) = &self.tables[*table] else {
                    return Ok(());
                };
                let (kind, (from, to)) = (TABLES[*table].1, range);
                let compacted = handle.compact_range(kind.key(from)..kind.key(to));
                compacted.map_err(failed("compact_range"))?;
                self.check_all()
            }
            Op::WaitIdle => {
                self.db()?.wait_idle().map_err(failed("wait_idle"))?;
                self.check_published(true)?;
                self.check_all()
            }
            Op::Alter { table, what } => self.alter(*table, *what),
            Op::Index { table, what } => self.index(*table, *what),
            Op::Choose { table, what } => self.choose(*table, *what),
            Op::ReadIndexes { table, at } => self.read_indexes(*table, *at),
            Op::Reopen { explicit } => self.reopen(*explicit),
            Op::Kill => {
                let image = self.storage.kill_image();
                let safe = self.setup.settings.wal.sync >= SyncMode::Normal;
                self.crash(image, safe)
            }
            Op::PowerLoss { survival, seed } => {
                let image = self
                    .storage
                    .crash_image(&CrashOptions::new(*survival, BlockSize::Page, *seed));
                let safe = self.setup.settings.wal.sync == SyncMode::Full;
                self.crash(image, safe)
            }
            Op::CreateTable(table) => self.create_table(*table),
            Op::DropTable(table) => self.drop_table(*table),
            Op::Ingest { table, entries } => self.ingest(*table, entries),
            Op::Checkpoint => self.checkpoint(),
            Op::Backup => self.backup(),
            Op::Restore(backup) => self.restore(*backup),
            Op::Advance(ticks) => self.advance(*ticks),
        }
    }

    fn settled(&mut self) -> Outcome {
        self.journal.settle(&self.model);
        self.check_all()
    }

    /// True if the write makes sense now.
    fn applies(&self, write: &Write) -> bool {
        self.tables[write.table].is_some()
            && (TABLES[write.table].1.merges() || !matches!(write.change, Change::Merge(..)))
    }

    fn write(&mut self, write: &Write) -> Outcome {
        if !self.applies(write) {
            return Ok(());
        }
        let Some(table) = &self.tables[write.table] else {
            return Ok(());
        };
        let kind = TABLES[write.table].1;
        let tick = self.model.tick;
        let schema = self.typed_schema(write.table);
        let encode = |value: Value| match &schema {
            Some(schema) => write_bytes(kind, schema, kind.encode(value, tick)),
            None => kind.encode(value, tick),
        };
        let refused = self.are_refused(std::slice::from_ref(write));
        let written = match (&write.change, typed_row(kind, schema.as_deref(), &write.change)) {
            (Change::Put(..), Some(row)) => table.insert(&row),
            (Change::Delete(..), Some(row)) => table.delete_keys(&row),
            (Change::Merge(..), Some(row)) => table.update(&row),
            (change, _) => match kind.change(change) {
                Change::Put(Key(key), value) => table.put(key, encode(value)),
                Change::Delete(Key(key)) => table.delete(key),
                Change::DeleteRange(Key(start), Key(end)) => table.delete_range(start..end),
                Change::Merge(Key(key), operand) => table.merge(key, encode(operand)),
            },
        };
        if !self.judge(written, refused)? {
            return Ok(());
        }
        self.journal.commit(std::slice::from_ref(write), tick);
        self.extend_trails(std::slice::from_ref(write));
        self.model.apply(write);
        Ok(())
    }

    fn batch(&mut self, writes: &[Write]) -> Outcome {
        let writes: Vec<Write> = writes.iter().filter(|write| self.applies(write)).cloned().collect();
        let (mut batch, tick) = (self.db()?.batch(), self.model.tick);
        for write in &writes {
            let Some(table) = &self.tables[write.table] else {
                continue;
            };
            let kind = TABLES[write.table].1;
            let schema = self.typed_schema(write.table);
            let encode = |value: Value| match &schema {
                Some(schema) => write_bytes(kind, schema, kind.encode(value, tick)),
                None => kind.encode(value, tick),
            };
            match (&write.change, typed_row(kind, schema.as_deref(), &write.change)) {
                (Change::Put(..), Some(row)) => batch.insert(table, &row),
                (Change::Delete(..), Some(row)) => batch.delete_keys(table, &row),
                (Change::Merge(..), Some(row)) => batch.update(table, &row),
                (change, _) => match kind.change(change) {
                    Change::Put(Key(key), value) => batch.put(table, key, encode(value)),
                    Change::Delete(Key(key)) => batch.delete(table, key),
                    Change::DeleteRange(Key(start), Key(end)) => batch.delete_range(table, start, end),
                    Change::Merge(Key(key), operand) => batch.merge(table, key, encode(operand)),
                },
            };
        }
        let refused = self.are_refused(&writes);
        let written = self.db()?.write(batch);
        if !self
            .judge(written, refused)
            .map_err(|error| format!("a batch: {error}"))?
        {
            return Ok(());
        }
        writes.iter().for_each(|write| self.model.apply(write));
        self.extend_trails(&writes);
        self.journal.commit(&writes, tick);
        Ok(())
    }

    fn advance(&mut self, ticks: u64) -> Outcome {
        if self.setup.disturb.is_none() {
            let tick = self.model.tick + ticks;
            self.storage.jump_clock(TICK.as_micros() as i64 * ticks as i64);
            self.model.advance(tick);
            let snapshots = self.snapshots.iter_mut().flatten();
            snapshots.for_each(|(_, model)| model.advance(tick));
        }
        Ok(())
    }

    fn create_table(&mut self, place: usize) -> Outcome {
        let (name, kind) = TABLES[place];
        if kind == Kind::Expiring && self.setup.disturb.is_some() {
            // What is there would depend on the clock.
            return Ok(());
        }
        let created = self.db()?.create_table_with(name, kind.schema(), kind.options());
        match (created, self.tables[place].is_some()) {
            (Ok(table), false) => {
                self.tables[place] = Some(table);
                self.model.tables[place] = Some(Content::new());
                self.journal.replace_table(place, Some(Content::new()));
                self.begin_trail(place);
                Ok(())
            }
            (Err(error), true) if error.kind() == kodiak::ErrorKind::AlreadyExists => Ok(()),
            (Ok(_), true) => Err("a table was created twice".to_owned()),
            (Err(error), _) => Err(format!("create a table: {error}")),
        }
    }

    fn drop_table(&mut self, place: usize) -> Outcome {
        let Some(table) = self.tables[place].take() else {
            return Ok(());
        };
        self.indexes[place].clear();
        self.chosen[place] = IndexOptions::new();
        self.db()?.drop_table(TABLES[place].0).map_err(failed("drop a table"))?;
        if table.put(b"k", b"v").is_ok() {
            return Err("a dropped table takes writes".to_owned());
        }
        self.model.tables[place] = None;
        // What snapshots saw of it is out of reach, even if a table of that name comes again.
        self.snapshots
            .iter_mut()
            .flatten()
            .for_each(|(_, model)| model.tables[place] = None);
        self.journal.replace_table(place, None);
        self.end_trail(place);
        Ok(())
    }
}
