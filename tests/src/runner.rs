//! Carries out a history on a database and compares every answer with the model.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::{Builder, Components, Db, RecoveryMode, ScanOptions, Settings, Snapshot, SyncMode, Table};
use kodiak_storage::{BlockSize, CrashOptions, FaultStorage};

use crate::history::{Change, Key, Op, ScanOp, Write};
use crate::model::{Content, Fold, Journal, Model, SNAPSHOTS, TABLES, difference};

/// Where the database is in the storage.
const DIR: &str = "/db";

/// What a history is carried out with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The settings.
    pub settings: Settings,
    /// What the settings may pick from.
    pub components: Components,
}

impl Setup {
    /// Settings over Kodiak's own components.
    pub fn new(settings: Settings) -> Self {
        Self { settings, components: Components::new() }
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
            runner.step(op)?;
        }
        at = ops.len();
        runner.finish()
    }));
    let what = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind"))
        }
    };
    let op = ops.get(at).map_or_else(|| "the end".to_owned(), |op| format!("{op:?}"));
    Err(Failure { op: at, what: format!("{} -> {what}", op.chars().take(300).collect::<String>()) })
}

struct Runner<'a> {
    setup: &'a Setup,
    durable: bool,
    storage: FaultStorage,
    db: Option<Db>,
    tables: [Option<Table>; TABLES.len()],
    snapshots: [Option<(Snapshot, Model)>; SNAPSHOTS],
    model: Model,
    journal: Journal,
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
            snapshots: Default::default(),
            model: Model::default(),
            journal: Journal::default(),
        };
        runner.open(runner.setup.settings.wal.recovery)?;
        Ok(runner)
    }

    fn open(&mut self, recovery: RecoveryMode) -> Outcome {
        let mut settings = self.setup.settings.clone();
        settings.wal.recovery = recovery;
        let storage: Arc<dyn Storage> = Arc::new(self.storage.clone());
        let builder = Builder::new(settings).components(self.setup.components.clone()).storage(storage);
        let builder = builder.merge_operator(Arc::new(Fold)).map_err(failed("register the operator"))?;
        let db = builder.open(Path::new(DIR)).map_err(failed("open"))?;
        for (place, (name, _)) in TABLES.iter().enumerate() {
            let there = db.tables().iter().any(|table| table == name);
            self.tables[place] = if there { Some(db.table(name).map_err(failed("table"))?) } else { None };
        }
        self.db = Some(db);
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
                self.settled()
            }
            Op::Compact => {
                self.db()?.compact().map_err(failed("compact"))?;
                self.settled()
            }
            Op::WaitIdle => {
                self.db()?.wait_idle().map_err(failed("wait_idle"))?;
                self.check_all()
            }
            Op::Reopen { explicit } => self.reopen(*explicit),
            Op::Kill => {
                let image = self.storage.kill_image();
                let safe = self.setup.settings.wal.sync >= SyncMode::Normal;
                self.crash(image, safe)
            }
            Op::PowerLoss { survival, seed } => {
                let image = self.storage.crash_image(&CrashOptions::new(*survival, BlockSize::Page, *seed));
                let safe = self.setup.settings.wal.sync == SyncMode::Full;
                self.crash(image, safe)
            }
            Op::CreateTable(table) => self.create_table(*table),
            Op::DropTable(table) => self.drop_table(*table),
        }
    }

    fn settled(&mut self) -> Outcome {
        self.journal.settle(&self.model);
        self.check_all()
    }

    /// True if the write makes sense now.
    fn applies(&self, write: &Write) -> bool {
        self.tables[write.table].is_some() && (TABLES[write.table].1.merges() || !matches!(write.change, Change::Merge(..)))
    }

    fn write(&mut self, write: &Write) -> Outcome {
        if !self.applies(write) {
            return Ok(());
        }
        let Some(table) = &self.tables[write.table] else { return Ok(()) };
        let kind = TABLES[write.table].1;
        match &write.change {
            Change::Put(Key(key), value) => table.put(key, kind.encode(*value)),
            Change::Delete(Key(key)) => table.delete(key),
            Change::DeleteRange(Key(start), Key(end)) => table.delete_range(start.as_slice()..end.as_slice()),
            Change::Merge(Key(key), operand) => table.merge(key, kind.encode(*operand)),
        }
        .map_err(failed("write"))?;
        self.journal.commit(std::slice::from_ref(write));
        self.model.apply(write);
        Ok(())
    }

    fn batch(&mut self, writes: &[Write]) -> Outcome {
        let writes: Vec<Write> = writes.iter().filter(|write| self.applies(write)).cloned().collect();
        let mut batch = self.db()?.batch();
        for write in &writes {
            let Some(table) = &self.tables[write.table] else { continue };
            let kind = TABLES[write.table].1;
            match &write.change {
                Change::Put(Key(key), value) => batch.put(table, key, kind.encode(*value)),
                Change::Delete(Key(key)) => batch.delete(table, key),
                Change::DeleteRange(Key(start), Key(end)) => batch.delete_range(table, start, end),
                Change::Merge(Key(key), operand) => batch.merge(table, key, kind.encode(*operand)),
            };
        }
        self.db()?.write(batch).map_err(failed("write a batch"))?;
        writes.iter().for_each(|write| self.model.apply(write));
        self.journal.commit(&writes);
        Ok(())
    }

    /// What a read should see, if there is such a table and snapshot.
    fn content(&self, table: usize, at: Option<usize>) -> Option<(&Content, Option<&Snapshot>)> {
        match at {
            None => Some((self.model.tables[table].as_ref()?, None)),
            Some(slot) => {
                let (snapshot, model) = self.snapshots[slot].as_ref()?;
                Some((model.tables[table].as_ref()?, Some(snapshot)))
            }
        }
    }

    fn get(&self, place: usize, at: Option<usize>, Key(key): &Key) -> Outcome {
        let (Some(table), Some((content, snapshot))) = (&self.tables[place], self.content(place, at)) else {
            return Ok(());
        };
        let found = match snapshot {
            Some(snapshot) => table.get_at(snapshot, key),
            None => table.get(key),
        };
        same_value(content, key, found.map_err(failed("get"))?.as_deref())
    }

    fn multi_get(&self, place: usize, keys: &[Key]) -> Outcome {
        let (Some(table), Some((content, _))) = (&self.tables[place], self.content(place, None)) else { return Ok(()) };
        let found = table.multi_get(keys.iter().map(|key| &key.0)).map_err(failed("multi_get"))?;
        if found.len() != keys.len() {
            return Err(format!("{} answers for {} keys", found.len(), keys.len()));
        }
        keys.iter().zip(found).try_for_each(|(Key(key), found)| same_value(content, key, found.as_deref()))
    }

    fn scan(&self, scan: &ScanOp) -> Outcome {
        let (Some(table), Some((content, snapshot))) = (&self.tables[scan.table], self.content(scan.table, scan.at)) else {
            return Ok(());
        };
        let mut options = match &scan.prefix {
            Some(Key(prefix)) => ScanOptions::prefix(prefix),
            None => ScanOptions::new((bytes(&scan.start), bytes(&scan.end))),
        };
        if scan.reverse {
            options = options.rev();
        }
        if let Some(snapshot) = snapshot {
            options = options.at(snapshot);
        }
        if !scan.fill_cache {
            options = options.without_cache();
        }
        let mut cursor = table.scan_with(options).map_err(failed("scan"))?;
        let mut found: Vec<(Vec<u8>, Arc<[u8]>)> = Vec::new();
        let mut seek = scan.seek.as_ref().filter(|(after, _)| *after <= scan.limit);
        loop {
            if let Some((after, Key(key))) = seek
                && found.len() == *after
            {
                cursor.seek(key).map_err(failed("seek"))?;
                seek = None;
            }
            if found.len() >= scan.limit {
                break;
            }
            let entry = if scan.borrowed {
                let entry = cursor.next_ref().map_err(failed("next_ref"))?;
                entry.map(|(key, value)| (key.to_vec(), Arc::from(value)))
            } else {
                let entry = cursor.next().transpose().map_err(failed("next"))?;
                entry.map(|(key, value)| (key.to_vec(), Arc::from(&*value)))
            };
            match (entry, seek) {
                (Some(entry), _) => found.push(entry),
                // A seek still to come is carried out at the end, too.
                (None, Some((_, Key(key)))) => {
                    cursor.seek(key).map_err(failed("seek"))?;
                    seek = None;
                }
                (None, None) => break,
            }
        }
        let expected = Model::scan(content, scan);
        if found == expected {
            return Ok(());
        }
        let at = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
        let shown = |entry: Option<&(Vec<u8>, Arc<[u8]>)>| match entry {
            Some((key, value)) => format!("{} = {} bytes", key[..key.len().min(40)].escape_ascii(), value.len()),
            None => "the end".to_owned(),
        };
        Err(format!(
            "entry {at} should be {} but is {} ({} expected, {} found)",
            shown(expected.get(at)),
            shown(found.get(at)),
            expected.len(),
            found.len()
        ))
    }

    fn create_table(&mut self, place: usize) -> Outcome {
        let (name, kind) = TABLES[place];
        let created = self.db()?.create_table_with(name, kind.schema(), kind.options());
        match (created, self.tables[place].is_some()) {
            (Ok(table), false) => {
                self.tables[place] = Some(table);
                self.model.tables[place] = Some(Content::new());
                self.journal.replace_table(place, Some(Content::new()));
                Ok(())
            }
            (Err(error), true) if error.kind() == kodiak::ErrorKind::AlreadyExists => Ok(()),
            (Ok(_), true) => Err("a table was created twice".to_owned()),
            (Err(error), _) => Err(format!("create a table: {error}")),
        }
    }

    fn drop_table(&mut self, place: usize) -> Outcome {
        let Some(table) = self.tables[place].take() else { return Ok(()) };
        self.db()?.drop_table(TABLES[place].0).map_err(failed("drop a table"))?;
        if table.put(b"k", b"v").is_ok() {
            return Err("a dropped table takes writes".to_owned());
        }
        self.model.tables[place] = None;
        // What snapshots saw of it is out of reach, even if a table of that name comes again.
        self.snapshots.iter_mut().flatten().for_each(|(_, model)| model.tables[place] = None);
        self.journal.replace_table(place, None);
        Ok(())
    }

    fn forget_handles(&mut self) {
        self.tables = Default::default();
        self.snapshots = Default::default();
    }

    fn reopen(&mut self, explicit: bool) -> Outcome {
        self.forget_handles();
        match self.db.take() {
            Some(db) if explicit => db.close().map_err(failed("close"))?,
            db => drop(db),
        }
        self.open(self.setup.settings.wal.recovery)?;
        self.settled()
    }

    /// Goes on with what a crash left. `safe`: nothing acknowledged may be missing.
    fn crash(&mut self, image: FaultStorage, safe: bool) -> Outcome {
        self.forget_handles();
        self.db = None;
        self.storage = image;
        let strict = self.setup.settings.wal.recovery;
        if let Err(error) = self.open(strict) {
            // The strict modes may refuse a log that the crash has torn, and only that.
            let torn = matches!(strict, RecoveryMode::Absolute | RecoveryMode::TolerateTail);
            if !torn || !error.contains("corruption") {
                return Err(error);
            }
            self.open(RecoveryMode::PointInTime).map_err(|error| format!("after a refusal: {error}"))?;
        }
        let left = self.read_everything()?;
        self.journal.check(&left, !(safe && self.durable), self.durable)?;
        self.model = left;
        self.settled()
    }

    fn read_everything(&self) -> Outcome<Model> {
        let mut left = Model::default();
        for (place, table) in self.tables.iter().enumerate() {
            let Some(table) = table else { continue };
            let mut content = Content::new();
            for entry in table.scan(..).map_err(failed("scan"))? {
                let (key, value) = entry.map_err(failed("scan"))?;
                content.insert(key.to_vec(), Arc::from(&*value));
            }
            left.tables[place] = Some(content);
        }
        Ok(left)
    }

    fn check_all(&self) -> Outcome {
        let found = self.read_everything()?;
        let differ = |place: usize| difference(&self.model.tables[place], &found.tables[place]).map(|text| (place, text));
        match (0..TABLES.len()).find_map(differ) {
            Some((place, text)) => Err(format!("table {}: {text}", TABLES[place].0.escape_debug())),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Outcome {
        self.check_all()?;
        for reverse in [false, true] {
            for table in 0..TABLES.len() {
                for at in std::iter::once(None).chain((0..SNAPSHOTS).map(Some)) {
                    let (start, end) = (Bound::Unbounded, Bound::Unbounded);
                    let (limit, fill_cache, borrowed) = (usize::MAX, true, reverse);
                    let (prefix, seek) = (None, None);
                    self.scan(&ScanOp { table, at, start, end, prefix, reverse, limit, seek, fill_cache, borrowed })?;
                }
            }
        }
        for table in 0..TABLES.len() {
            let keys: Vec<_> = self.model.tables[table].iter().flatten().map(|(key, _)| Key(key.clone())).collect();
            keys.iter().step_by(3).try_for_each(|key| self.get(table, None, key))?;
        }
        self.db()?.wait_idle().map_err(failed("wait_idle"))?;
        if self.db()?.stats().to_string().is_empty() {
            return Err("the statistics say nothing".to_owned());
        }
        self.reopen(true)
    }
}

fn bytes(bound: &Bound<Key>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(Key(key)) => Bound::Included(key),
        Bound::Excluded(Key(key)) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

fn same_value(content: &Content, key: &[u8], found: Option<&[u8]>) -> Outcome {
    let expected = content.get(key).map(|value| &**value);
    if expected == found {
        return Ok(());
    }
    let shown = |value: Option<&[u8]>| match value {
        Some(value) => format!("{} bytes {}", value.len(), value[..value.len().min(24)].escape_ascii()),
        None => "no value".to_owned(),
    };
    let key = key[..key.len().min(40)].escape_ascii();
    Err(format!("key {key} should have {} but has {}", shown(expected), shown(found)))
}
