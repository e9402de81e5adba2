//! Other tools read what is published of a table, and find the table: after each of many publications in random histories of
//! inserts, updates, deletes, range deletes, expiry, alterations, flushes and compactions, over random schemas.
//!
//! Needs the virtual environment that `tests/interop/setup.sh` makes; without it, the test prints that it was skipped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use kodiak::core::format::Compression;
use kodiak::core::keycodec::KeyCodec;
use kodiak::settings::FormatLevel;
use kodiak::{Builder, Components, Db, Settings, Table, TableOptions, TableSchema};
use kodiak_core::conformance::extent;
use kodiak_tests::clocked::ClockedStorage;
use kodiak_tests::expected::write_rows;
use kodiak_tests::schemas;
use kodiak_tests::tools::{Python, Session};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt, SeedableRng};

/// Histories of each format: one of each kind of table, with deletion vectors and without, leveled and tiered.
const SEEDS: [u64; 3] = [16, 16, 200];
/// The name of every table: one that must be quoted.
const TABLE: &str = "the \"table\" isn't plain";
/// About so many keys are in use.
const KEYS: u64 = 400;
/// How long rows live in tables where they expire.
const TTL: Duration = Duration::from_secs(5);
/// Formats by level: one for all, or one for the flushed runs and another below.
const FORMATS: [&[&str]; 5] = [
    &["parquet"],
    &["feather"],
    &["orc"],
    &["feather", "parquet"],
    &["parquet", "orc"],
];

/// Reads Delta tables that need no deletion vectors: those without dead rows, if it is not too soon to say so in the log.
const WITHOUT_VECTORS: &str = "deltalake, pyarrow";

/// The tools that read publications of formats.
fn tools(formats: &[&str]) -> &'static [&'static str] {
    match formats {
        ["parquet"] => &["pyarrow", "polars", "duckdb", "deltalake", "polars, delta"],
        _ => &["pyarrow", "polars"],
    }
}

#[test]
fn other_tools_read_exactly_the_table_that_is_published() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "publications") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let first = extent("KODIAK_FIRST_SEED", [0; 3]);
    let all: Vec<(usize, u64)> = (first..first + extent("KODIAK_SEEDS", SEEDS))
        .flat_map(|seed| (0..FORMATS.len()).map(move |formats| (formats, seed)))
        .collect();
    let next = AtomicU64::new(0);
    let work = || {
        let mut session = python.session("read_published.py", dir.path());
        let (mut compared, mut wrong) = (BTreeMap::new(), Vec::new());
        while let Some(&(formats, seed)) = all.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let mut history = History::new(dir.path(), FORMATS[formats], seed);
            if let Err(error) = history.play(&mut session, &mut compared) {
                wrong.push(format!("{}: {error}", history.name));
            }
        }
        (compared, wrong)
    };
    let mut compared: BTreeMap<String, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        for thread in [scope.spawn(work), scope.spawn(work)] {
            let found = thread.join().expect("the history's panic");
            wrong.extend(found.1);
            for (tool, times) in found.0 {
                *compared.entry(tool).or_default() += times;
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(compared.contains_key(WITHOUT_VECTORS), "{compared:?}");
    // Types that a tool lacks keep it from some of the tables, not from most.
    for tool in FORMATS.iter().flat_map(|formats| tools(formats)) {
        let times = compared.get(*tool).copied().unwrap_or(0);
        assert!(times >= all.len() as u64 / 5, "{tool} has read too few: {compared:?}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Keys and values.
    Bytes,
    /// Typed rows.
    Rows,
    /// Typed rows, and updates of some columns.
    Updated,
    /// Typed rows that expire.
    Expiring,
}

/// A table with what happens to it.
struct History<'a> {
    dir: &'a Path,
    name: String,
    formats: &'static [&'static str],
    kind: Kind,
    /// Only types that Delta tables have, too.
    common: bool,
    altered: bool,
    storage: Arc<ClockedStorage>,
    db: Db,
    table: Table,
    rng: StdRng,
}

/// True for the types that Delta tables have.
fn is_common(of: &DataType) -> bool {
    use DataType as D;
    match of {
        D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::Float32 | D::Float64 | D::Date32 => true,
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => true,
        D::Timestamp(TimeUnit::Microsecond, zone) => zone.as_deref().is_none_or(|zone| zone == "UTC"),
        D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) => true,
        D::Dictionary(_, inner) => is_common(inner),
        D::List(inner) | D::LargeList(inner) | D::FixedSizeList(inner, _) | D::Map(inner, _) => {
            is_common(inner.data_type())
        }
        D::Struct(fields) => fields.iter().all(|field| is_common(field.data_type())),
        _ => false,
    }
}

/// True of types that hold times of which pyarrow does not read all from ORC files.
fn has_coarse_times(of: &DataType) -> bool {
    // Such a type is named within those that have it inside.
    let name = of.to_string();
    let all = name.matches("Timestamp(").count();
    all > name.matches("Timestamp(ns").count()
}

/// True if one of the formats cannot hold a type.
fn refuses(formats: &[&str], common: bool, of: &DataType) -> bool {
    if common && !is_common(of) {
        return true;
    }
    let components = Components::new();
    formats.iter().any(|format| {
        let factory = components.formats().find(format).expect("a format");
        (factory.capabilities.refuses)(of).is_some()
    })
}

fn settings(formats: &[&str], seed: u64, rng: &mut StdRng) -> Settings {
    let mut settings = Settings::default();
    settings.format.kind = formats[0].to_owned();
    settings.format.block_size = [512, 4 << 10, 64 << 10].choose(rng).copied();
    settings.format.compression = *Compression::ALL.choose(rng).expect("three");
    settings.format.levels = formats[1..]
        .iter()
        .map(|kind| FormatLevel {
            from: 1,
            kind: Some((*kind).to_owned()),
            block_size: None,
            compression: Compression::ALL.choose(rng).copied(),
            options: Default::default(),
        })
        .collect();
    settings.memtable.size = 64 << 10;
    settings.compaction.target_run_size = 64 << 10;
    if seed / 4 % 2 == 1 {
        ["bplus", "fractal"][rng.random_range(0..2)].clone_into(&mut settings.index.primary);
        settings.index.deletion_vectors = true;
    }
    if seed / 8 % 2 == 1 {
        "tiered".clone_into(&mut settings.compaction.preset);
    }
    settings
}

impl<'a> History<'a> {
    fn new(dir: &'a Path, formats: &'static [&'static str], seed: u64) -> Self {
        let kind = [Kind::Bytes, Kind::Rows, Kind::Updated, Kind::Expiring][seed as usize % 4];
        let mut rng = StdRng::seed_from_u64(seed);
        // Without spaces, which Polars does not find Delta tables under.
        let name = format!("{}-{kind:?}-{seed}", formats.join("-"));
        let storage = Arc::new(ClockedStorage::default());
        let db = Builder::new(settings(formats, seed, &mut rng))
            .storage(Arc::clone(&storage) as Arc<_>)
            .open(dir.join(&name))
            .expect(&name);
        let options = match kind {
            Kind::Updated => TableOptions::new().merge_operator("last-non-null"),
            Kind::Expiring => TableOptions::new().ttl(TTL),
            _ => TableOptions::new(),
        };
        let common = formats == ["parquet"] && rng.random();
        // Of most ORC tables pyarrow is to read all times.
        let readable = formats.contains(&"orc") && rng.random_bool(0.7);
        let refuses = |of: &DataType| refuses(formats, common, of) || readable && has_coarse_times(of);
        let schema = match kind {
            Kind::Bytes => TableSchema::key_value(),
            _ => schemas::schema(&mut rng, &refuses, kind == Kind::Updated),
        };
        let table = db.create_table_with(TABLE, schema, options).expect(&name);
        Self {
            dir,
            name,
            formats,
            kind,
            common,
            // Alterations bring compactions about, which would make layouts of many runs rare.
            altered: kind != Kind::Bytes && rng.random_bool(0.4),
            storage,
            db,
            table,
            rng,
        }
    }

    fn play(&mut self, session: &mut Session, compared: &mut BTreeMap<String, u64>) -> Result<(), String> {
        for round in 0..10 {
            for _ in 0..self.rng.random_range(1..5) {
                self.write();
            }
            match self.rng.random_range(0..8) {
                0 => self.db.compact().expect(&self.name),
                1 | 2 => self.db.flush().expect(&self.name),
                3 if self.kind == Kind::Expiring => self.storage.advance(2_000_000),
                4 | 5 if self.altered => self.alter(round),
                6 if round > 5 => self.table.withdraw().expect(&self.name),
                _ => {}
            }
            if self.rng.random_bool(0.6) || round == 9 {
                self.publish(session, compared)?;
            }
        }
        Ok(())
    }

    fn write(&mut self) {
        let rng = &mut self.rng;
        if self.kind == Kind::Bytes {
            for _ in 0..rng.random_range(1..300) {
                let key = format!("k{:04}", rng.random_range(0..2000));
                match rng.random_range(0..10) {
                    0 => self.table.delete(key),
                    1 => self.table.delete_range(key.clone()..format!("{key}~")),
                    _ => self.table.put(key, rng.next_u64().to_le_bytes()),
                }
                .expect(&self.name);
            }
            return;
        }
        let schema = self.table.schema();
        let count = rng.random_range(1..250);
        let rows = schemas::rows(rng, &schema, schema.columns(), count, KEYS);
        match rng.random_range(0..8) {
            0 => self.table.delete_keys(&rows),
            1 => {
                let keys = KeyCodec::new(&schema).encode(rows.columns()).expect("keys");
                let mut keys: Vec<&[u8]> = keys.iter().flatten().collect();
                keys.sort_unstable();
                let start = rng.random_range(0..keys.len());
                let end = (start + rng.random_range(0..5)).min(keys.len() - 1);
                self.table.delete_range(keys[start]..keys[end])
            }
            2 => self.table.bulk_insert([Ok(rows)]).map(drop),
            3 | 4 if self.kind == Kind::Updated => {
                let mut columns: Vec<usize> = (0..rows.num_columns())
                    .filter(|&column| schema.is_key_column(column) || rng.random())
                    .collect();
                columns.shuffle(rng);
                self.table.update(&rows.project(&columns).expect("columns"))
            }
            _ => self.table.insert(&rows),
        }
        .expect(&self.name);
    }

    /// Changes the columns.
    fn alter(&mut self, round: usize) {
        let schema = self.table.schema();
        let fields = schema.columns().fields();
        let refuses = |of: &DataType| refuses(self.formats, self.common, of);
        let names: Vec<&String> = schema.value_columns().map(|column| fields[column].name()).collect();
        let one = names.choose(&mut self.rng).map(|name| (*name).clone());
        let alteration = self.table.alter();
        let alteration = match (self.rng.random_range(0..6), one) {
            (0, Some(one)) => alteration.drop_column(one),
            (1, Some(one)) => alteration.rename_column(one, format!("renamed {round}")),
            (2, Some(one)) => {
                let from = schema.columns().field_with_name(&one).expect("a column").data_type();
                match wider(from).filter(|to| !refuses(to)) {
                    Some(to) => alteration.widen_column(one, to),
                    None => alteration.allow_null(one),
                }
            }
            (3, _) => {
                let mut names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
                names.shuffle(&mut self.rng);
                alteration.order_columns(names)
            }
            (_, _) => {
                let field = Field::new(
                    format!("added {round}"),
                    schemas::value_type(&mut self.rng, &refuses),
                    self.kind == Kind::Updated || self.rng.random(),
                );
                // Without a default, files that are there stay as they are.
                match field.is_nullable() && self.rng.random() {
                    true => alteration.add_column(field),
                    false => {
                        let initial = schemas::array(&field, &[Some(self.rng.next_u64())]);
                        alteration.add_column_with(field, initial)
                    }
                }
            }
        };
        alteration.commit().expect(&self.name);
    }

    /// Publishes the table, and asks the tools what they find.
    fn publish(&mut self, session: &mut Session, compared: &mut BTreeMap<String, u64>) -> Result<(), String> {
        let published = self.table.publish().expect(&self.name);
        let expected = format!("{}.arrow", self.name);
        write_rows(&self.dir.join(&expected), &self.table);
        // What comes later is not seen.
        self.write();
        if self.rng.random_bool(0.2) {
            self.db.compact().expect(&self.name);
        }
        let twins = |why: &String| why.contains("capital letters");
        assert!(
            !self.common || published.why_no_delta.as_ref().is_none_or(twins),
            "{published:?}"
        );
        let delta = published.why_no_delta.is_none();
        let mut tools = tools(self.formats).to_vec();
        tools.retain(|tool| delta || !tool.contains("delta"));
        if delta && published.dead_rows == 0 && published.files <= 10 {
            tools.push(WITHOUT_VECTORS);
        }
        let case = serde_json::json!({
            "table": TABLE,
            "published": published.dir.strip_prefix(self.dir).expect("within"),
            "expected": expected,
            "rows": published.rows,
            "tools": tools,
        });
        let answer = match session.ask(&case) {
            // Of defaults nothing is told.
            Err(error) if self.formats.contains(&"orc") && error.contains("out of range for nanosecond") => {
                let why = published.why_not_exact.join(" ");
                assert!(
                    self.altered || why.contains("pyarrow does not read"),
                    "{}: {why}",
                    self.name
                );
                return Ok(());
            }
            answer => answer?,
        };
        for tool in answer["compared"].as_object().expect("by tool").keys() {
            *compared.entry(tool.clone()).or_default() += 1;
        }
        Ok(())
    }
}

#[test]
fn delta_readers_go_by_checkpoints_when_older_versions_are_gone() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "checkpoints") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut session = python.session("read_published.py", dir.path());
    let mut settings = Settings::default();
    "parquet".clone_into(&mut settings.format.kind);
    settings.set("compaction.l0_trigger", "8").expect("a setting");
    let db = Db::open(dir.path().join("db"), settings).expect("open");
    let columns = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
    ]));
    let table = TableSchema::new(Arc::clone(&columns), &["id"]).expect("valid");
    let table = db.create_table("t", table).expect("create");
    for round in 0..36i64 {
        let ids: Vec<i64> = (0..8).map(|number| (round * 5 + number * 7) % 60).collect();
        let texts: StringArray = ids.iter().map(|id| Some(format!("{round}: {id}"))).collect();
        let rows = RecordBatch::try_new(
            Arc::clone(&columns),
            vec![Arc::new(Int64Array::from(ids)), Arc::new(texts)],
        );
        let rows = rows.expect("columns");
        table.insert(&rows).expect("insert");
        table.delete_keys(&rows.slice(0, 2)).expect("delete");
        let published = table.publish().expect("publish");
        if ![9, 10, 11, 20, 21, 30, 35].contains(&round) {
            continue;
        }
        write_rows(&dir.path().join("expected.arrow"), &table);
        let case = serde_json::json!({
            "table": "t",
            "published": published.dir.strip_prefix(dir.path()).expect("within"),
            "expected": "expected.arrow",
            "rows": published.rows,
            "tools": ["deltalake", "polars, delta"],
        });
        let answer = session.ask(&case).unwrap_or_else(|error| panic!("{round}: {error}"));
        assert_eq!(
            answer["compared"].as_object().map(|tools| tools.len()),
            Some(2),
            "{answer}"
        );
        let log = std::fs::read_dir(published.dir.join("_delta_log")).expect("a log");
        let versions = log
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .filter(|name| name.ends_with(".json"));
        let kept = if round < 20 { round + 1 } else { round % 10 + 11 };
        assert_eq!(versions.count() as i64, kept, "round {round}");
    }
}

/// A type that holds all values of another one, if there is any.
fn wider(of: &DataType) -> Option<DataType> {
    Some(match of {
        DataType::Int8 => DataType::Int16,
        DataType::Int16 | DataType::UInt16 => DataType::Int32,
        DataType::Int32 | DataType::UInt32 => DataType::Int64,
        DataType::UInt8 => DataType::UInt32,
        DataType::Float32 => DataType::Float64,
        DataType::Utf8 => DataType::LargeUtf8,
        DataType::Decimal32(_, scale) => DataType::Decimal128(30, *scale),
        _ => return None,
    })
}
