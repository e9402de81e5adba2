//! Small databases with a table of people, its indexes, and what these should find.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use kodiak::core::options::OptionValue;
use kodiak::core::storage::Storage;
use kodiak::settings::Maintenance;
use kodiak::{Builder, Db, IndexDefinition, Settings, Snapshot, Table, TableOptions, TableSchema};

use crate::common::small;

pub const KINDS: [&str; 2] = ["bplus", "fractal"];
pub const MAINTENANCE: [Maintenance; 2] = [Maintenance::Lazy, Maintenance::Eager];

/// Small databases, with the smallest nodes and pool.
pub fn settings(kind: &str, maintenance: Maintenance) -> Settings {
    let mut settings = small();
    kind.clone_into(&mut settings.secondary.kind);
    settings.secondary.maintenance = maintenance;
    settings.secondary.pool = 1 << 20;
    let sizes: &[(&str, u64)] = match kind {
        "bplus" => &[("page_size", 4 << 10)],
        "fractal" => &[("node_size", 16 << 10), ("basement_size", 4 << 10)],
        _ => &[],
    };
    for (name, size) in sizes {
        let value = OptionValue::Int(*size);
        settings.secondary.options.insert((*name).to_owned(), value);
    }
    settings
}

pub fn open(storage: &Arc<impl Storage + 'static>, settings: Settings) -> Db {
    let builder = Builder::new(settings).storage(Arc::clone(storage) as Arc<dyn Storage>);
    builder.open("/db").expect("open")
}

/// Key, age, town, and what is in no index.
pub type Person = (i64, Option<i32>, Option<String>, i64);

pub fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("age", DataType::Int32, true),
        Field::new("town", DataType::Utf8, true),
        Field::new("note", DataType::Int64, true),
    ]))
}

pub fn people(db: &Db, merging: bool) -> Table {
    let schema = TableSchema::new(columns(), &["id"]).expect("schema");
    let options = match merging {
        true => TableOptions::new().merge_operator("last-non-null"),
        false => TableOptions::new(),
    };
    db.create_table_with("people", schema, options).expect("table")
}

pub fn batch(people: &[Person]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(people.iter().map(|person| person.0)));
    let ages: ArrayRef = Arc::new(people.iter().map(|person| person.1).collect::<Int32Array>());
    let towns: ArrayRef = Arc::new(people.iter().map(|person| person.2.as_deref()).collect::<StringArray>());
    let notes: ArrayRef = Arc::new(Int64Array::from_iter_values(people.iter().map(|person| person.3)));
    RecordBatch::try_new(columns(), vec![ids, ages, towns, notes]).expect("batch")
}

pub fn ids(ids: &[i64]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter([("id", ids)]).expect("keys")
}

pub fn age(age: Option<i32>) -> RecordBatch {
    let ages: ArrayRef = Arc::new(Int32Array::from(vec![age]));
    RecordBatch::try_from_iter([("age", ages)]).expect("age")
}

/// The people of record batches.
pub fn rows(batches: impl Iterator<Item = kodiak::Result<RecordBatch>>) -> Vec<Person> {
    let mut rows = Vec::new();
    for batch in batches {
        let batch = batch.expect("batch");
        let column = |name| batch.column_by_name(name).expect("a column");
        let (ids, ages) = (
            column("id").as_primitive::<Int64Type>(),
            column("age").as_primitive::<Int32Type>(),
        );
        let (towns, notes) = (
            column("town").as_string::<i32>(),
            column("note").as_primitive::<Int64Type>(),
        );
        rows.extend((0..batch.num_rows()).map(|row| {
            let age = ages.is_valid(row).then(|| ages.value(row));
            let town = towns.is_valid(row).then(|| towns.value(row).to_owned());
            (ids.value(row), age, town, notes.value(row))
        }));
    }
    rows
}

pub fn by_age() -> IndexDefinition {
    IndexDefinition::on("by_age", ["age"])
}

pub fn by_town() -> IndexDefinition {
    IndexDefinition::on("by_town", ["-town", "age"])
}

/// All people in the order of an index.
pub fn sorted(mut people: Vec<Person>, index: &str) -> Vec<Person> {
    match index {
        "by_age" => people.sort_by_key(|person| (person.1, person.0)),
        // Nulls come first in either direction.
        _ => people.sort_by_key(|person| {
            let town = person.2.clone();
            (town.is_some(), Reverse(town), person.1, person.0)
        }),
    }
    people
}

/// Compares what indexes find with a scan, now or at a snapshot.
pub fn check(table: &Table, indexes: &[&str], snapshot: Option<&Snapshot>) {
    let mut scan = table.read();
    if let Some(snapshot) = snapshot {
        scan = scan.at(snapshot);
    }
    let all = rows(scan.batches().expect("scan"));
    for name in indexes {
        let read = || {
            let read = table.index(name).expect("index");
            match snapshot {
                Some(snapshot) => read.at(snapshot),
                None => read,
            }
        };
        let expected = sorted(all.clone(), name);
        let what = format!("{name} at {:?}", snapshot.map(Snapshot::seq));
        assert_eq!(rows(read().batches().expect(name)), expected, "{what}");
        let backward: Vec<Person> = expected.iter().rev().cloned().collect();
        assert_eq!(rows(read().rev().batches().expect(name)), backward, "{what}, backward");
        let few = rows(read().rev().limit(3).batches().expect(name));
        assert_eq!(few, backward[..backward.len().min(3)], "{what}, limited");
        if *name == "by_age" {
            let (from, to) = (age(Some(3)), age(Some(7)));
            let within = |person: &&Person| person.1.is_some_and(|age| (3..7).contains(&age));
            let expected: Vec<Person> = expected.iter().filter(within).cloned().collect();
            assert_eq!(
                rows(read().key_range(&from..&to).batches().expect(name)),
                expected,
                "{what}, 3..7"
            );
            let nulls = all.iter().filter(|person| person.1.is_none()).count();
            assert_eq!(
                read().prefix(&age(None)).keys().expect(name).count(),
                nulls,
                "{what}, nulls"
            );
        }
        // What the index itself has.
        let mut covered = Vec::new();
        for batch in read().project(["age", "id"]).batches().expect(name) {
            let batch = batch.expect("batch");
            let (ages, ids) = (
                batch.column(0).as_primitive::<Int32Type>(),
                batch.column(1).as_primitive::<Int64Type>(),
            );
            covered
                .extend((0..batch.num_rows()).map(|row| (ids.value(row), ages.is_valid(row).then(|| ages.value(row)))));
        }
        let expected: Vec<_> = sorted(all.clone(), name)
            .iter()
            .map(|person| (person.0, person.1))
            .collect();
        let (more, less): (Vec<_>, Vec<_>) = (
            covered.iter().filter(|row| !expected.contains(row)).collect(),
            expected.iter().filter(|row| !covered.contains(row)).collect(),
        );
        assert_eq!(
            covered, expected,
            "{what}, columns of the index; {more:?} too many, {less:?} missing"
        );
    }
}

pub fn check_sound(db: &Db) {
    let report = db.verify().expect("verify");
    assert!(report.is_clean(), "{report}");
}
