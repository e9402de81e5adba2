//! Databases with a bit of everything, and which of their files has what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use kodiak::core::options::OptionValue;
use kodiak::core::storage::Storage;
use kodiak::{Builder, Db, IndexDefinition, MemoryStorage, Settings, TableSchema};

pub const DIR: &str = "/db";
pub const INDEX: &str = "by_value";

/// The bytes of a file; `None` for a directory.
pub type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;
/// What the tables of a database hold.
pub type Contents = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Feather, fence keys, the log of mapped segments.
    Plain,
    /// ORC, both kinds of indexes fractal, runs in a catalogue.
    Catalogue,
    /// Parquet, merge-on-write, the other log.
    Vectors,
    /// The format `row`, with a B+ tree.
    Rows,
}

pub struct Example {
    pub settings: Settings,
    pub files: Files,
    /// Whether the database was closed in good order, so that its log has a known end.
    pub closed: bool,
    /// What the tables held after each round of writes. The last round is in the log alone.
    pub rounds: Vec<Contents>,
    /// The table's name and the round, of the files of each run.
    pub runs: BTreeMap<PathBuf, (String, usize)>,
}

fn settings(kind: Kind) -> Settings {
    let mut settings = Settings::default();
    settings.memtable.size = 4 << 20;
    settings.format.block_size = Some(1 << 10);
    settings.compaction.target_run_size = 64 << 10;
    settings.wal.segment_size = 64 << 10;
    settings.cache.capacity = 1 << 20;
    settings.index.pool = 1 << 20;
    settings.secondary.pool = 1 << 20;
    settings.metrics.enabled = false;
    let mut small_nodes = |fractal: bool| {
        let sizes: &[(&str, u64)] = match fractal {
            false => &[("page_size", 4 << 10)],
            true => &[("node_size", 16 << 10), ("basement_size", 4 << 10)],
        };
        for (name, size) in sizes {
            let value = OptionValue::Int(*size);
            settings.secondary.options.insert((*name).to_owned(), value.clone());
            if kind != Kind::Plain {
                settings.index.options.insert((*name).to_owned(), value);
            }
        }
        (settings.secondary.kind) = if fractal { "fractal" } else { "bplus" }.to_owned();
    };
    small_nodes(kind == Kind::Catalogue);
    let (format, primary, wal) = match kind {
        Kind::Plain => ("feather", "fence", "mapped"),
        Kind::Catalogue => ("orc", "fractal", "mapped"),
        Kind::Vectors => ("parquet", "bplus", "segment"),
        Kind::Rows => ("row", "bplus", "segment"),
    };
    format.clone_into(&mut settings.format.kind);
    primary.clone_into(&mut settings.index.primary);
    wal.clone_into(&mut settings.wal.kind);
    settings.index.deletion_vectors = kind == Kind::Vectors;
    // Each round has runs of its own.
    settings.compaction.dead_share = 0.0;
    for name in ["read_triggered", "delete_triggered"] {
        let value = OptionValue::Bool(false);
        settings.compaction.options.insert(name.to_owned(), value);
    }
    if kind == Kind::Catalogue {
        "bplus".clone_into(&mut settings.index.catalogue);
        settings.index.catalogue_changes = 1;
    }
    settings
}

impl Example {
    /// An example of which `salt` chooses the values: two have the same names of files.
    pub fn new(kind: Kind, closed: bool, salt: u8) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let mut example = Self {
            settings: settings(kind),
            files: Files::new(),
            closed,
            rounds: Vec::new(),
            runs: BTreeMap::new(),
        };
        let db = example.builder(&storage).open(DIR).expect("open");
        for name in ["a", "b"] {
            let table = db.create_table(name, TableSchema::key_value()).expect("create");
            if name == "a" {
                table
                    .create_index(IndexDefinition::on(INDEX, ["value"]))
                    .expect("index");
            }
        }
        let typed = TableSchema::new(columns(), &["id"]).expect("schema");
        let typed = db.create_table("t", typed).expect("create");
        typed.create_index(IndexDefinition::on(INDEX, ["town"])).expect("index");
        for round in 0..4u8 {
            example.write(&db, round, salt);
            if round < 3 {
                match round {
                    0 => db.compact().expect("compact"),
                    _ => db.flush().expect("flush"),
                }
                example.note_runs(&*storage, usize::from(round));
            }
            if round == 2 && kind != Kind::Rows {
                typed.publish().expect("publish");
            }
        }
        db.wait_idle().expect("idle");
        if kind == Kind::Catalogue && closed {
            // The next opening puts the list of runs into the catalogue.
            drop(typed);
            db.close().expect("close");
            let db = example.builder(&storage).open(DIR).expect("open");
            db.wait_idle().expect("idle");
            db.close().expect("close");
            example.files = files_of(&*storage);
        } else if closed {
            drop(typed);
            db.close().expect("close");
            example.files = files_of(&*storage);
        } else {
            db.sync().expect("sync");
            example.files = files_of(&*storage);
        }
        example
    }

    pub fn builder(&self, storage: &Arc<impl Storage + 'static>) -> Builder {
        Builder::new(self.settings.clone()).storage(Arc::clone(storage) as Arc<dyn Storage>)
    }

    fn write(&mut self, db: &Db, round: u8, salt: u8) {
        for name in ["a", "b"] {
            let table = db.table(name).expect("table");
            let (keys, len) = if round == 3 { (200, 300) } else { (90, 40) };
            let removed = [10 + round, 20 + 4 * round, 21 + 4 * round];
            // What is written and removed in one round would have values that no round ends with.
            let written =
                |key: &u8| !removed.contains(key) && (round.is_multiple_of(3) || key.is_multiple_of(round + 2));
            for key in (0..keys).filter(written) {
                let value = [vec![key, round, salt], vec![key ^ round; len]].concat();
                table.put([b'k', key], value).expect("put");
            }
            table.delete([b'k', 10 + round]).expect("delete");
            let range = [b'k', 20 + 4 * round]..[b'k', 22 + 4 * round];
            table
                .delete_range(range.start.as_slice()..range.end.as_slice())
                .expect("delete_range");
        }
        let ids: Vec<i64> = (0..60).filter(|id| id % (i64::from(round) + 2) < 2).collect();
        let town = |id: &i64| format!("town {} of round {round}, {salt}", id % 7);
        let rows: [ArrayRef; 2] = [
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(StringArray::from_iter_values(ids.iter().map(town))),
        ];
        let rows = RecordBatch::try_new(columns(), rows.to_vec()).expect("rows");
        db.table("t").expect("table").insert(&rows).expect("insert");
        self.rounds.push(read_all(db).expect("read"));
    }

    /// Remembers which files the newest runs have.
    fn note_runs(&mut self, storage: &dyn Storage, round: usize) {
        for (table, name) in [(1, "a"), (2, "b"), (3, "t")] {
            let dir = Path::new(DIR).join(format!("tables/{table:06}"));
            for file in storage.list(&dir).expect("list") {
                let run = file.starts_with(|first: char| first.is_ascii_digit()) && !file.contains(".index");
                if run {
                    let path = dir.join(file);
                    self.runs.entry(path).or_insert_with(|| (name.to_owned(), round));
                }
            }
        }
    }

    pub fn last(&self) -> &Contents {
        &self.rounds[self.rounds.len() - 1]
    }

    /// The round in which a key got the value that it has, or lost it.
    pub fn newest(&self, table: &str, key: &[u8]) -> usize {
        let at = |round: usize| self.rounds[round][table].get(key);
        (1..self.rounds.len())
            .rev()
            .find(|&round| at(round) != at(round - 1))
            .unwrap_or(0)
    }

    /// All keys that a table has ever had.
    pub fn keys(&self, table: &str) -> BTreeSet<&Vec<u8>> {
        self.rounds.iter().flat_map(|contents| contents[table].keys()).collect()
    }
}

fn columns() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("town", DataType::Utf8, true),
    ]))
}

fn differ(what: &str) -> kodiak::Error {
    kodiak::Error::new(kodiak::ErrorKind::Corruption, format!("{what} differs from the scan"))
}

/// Everything in a database, read in every way; these must agree.
///
/// # Errors
/// Those of reading; `Corruption` where two ways do not agree.
pub fn read_all(db: &Db) -> Result<Contents, kodiak::Error> {
    let mut contents = Contents::new();
    for name in db.tables() {
        let table = db.table(&name)?;
        let items = table
            .scan(..)?
            .map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())));
        let rows: BTreeMap<Vec<u8>, Vec<u8>> = items.collect::<Result<_, _>>()?;
        for (key, value) in &rows {
            let got = table.get(key)?;
            if got.as_deref() != Some(value) {
                return Err(differ(&format!("a get of {}", key.escape_ascii())));
            }
        }
        let mut read = 0;
        for batch in table.read().batches()? {
            read += batch?.num_rows();
        }
        if read != rows.len() {
            return Err(differ(&format!("a read of {name}")));
        }
        if name != "b" {
            let mut found = 0;
            for entry in table.index(INDEX)?.entries()? {
                entry?;
                found += 1;
            }
            if found != rows.len() {
                return Err(differ(&format!("the index of {name}")));
            }
        }
        contents.insert(name, rows);
    }
    Ok(contents)
}

/// Everything below the directory of the database.
pub fn files_of(storage: &dyn Storage) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![PathBuf::from(DIR)];
    while let Some(dir) = dirs.pop() {
        for name in storage.list(&dir).expect("list") {
            let path = dir.join(name);
            let Some(len) = storage.len(&path).expect("len") else {
                files.insert(path.clone(), None);
                dirs.push(path);
                continue;
            };
            let file = storage.open(&path).expect("open");
            files.insert(path, Some(file.read(0, len as usize).expect("read").to_vec()));
        }
    }
    files
}
