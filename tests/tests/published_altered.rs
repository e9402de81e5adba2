//! Other tools read what is published of altered tables, row for row, also where files of older schemas are published as they are.
//!
//! Needs the virtual environment that `tests/interop/setup.sh` makes; without it, the test prints that it was skipped.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use kodiak::{Alteration, Components, Db, Settings, Table, TableSchema};
use kodiak_tests::expected::write_rows;
use kodiak_tests::schemas;
use kodiak_tests::tools::{Python, Session};

/// With the tools that read its publications if its types are those of Delta tables.
const FORMATS: [(&str, &[&str]); 3] = [
    (
        "parquet",
        &["pyarrow", "polars", "duckdb", "deltalake", "polars, delta"],
    ),
    ("feather", &["pyarrow", "polars"]),
    ("orc", &["pyarrow", "polars"]),
];

/// Types of new columns: those that Delta tables have, and others.
fn types() -> (Vec<DataType>, Vec<DataType>) {
    let item = |of: DataType| Arc::new(Field::new("item", of, true));
    let parts = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
    ]);
    let entries = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Int32, true),
    ]);
    let entries = Arc::new(Field::new("entries", DataType::Struct(entries), false));
    let common = vec![
        DataType::Boolean,
        DataType::Int8,
        DataType::Int64,
        DataType::Float64,
        DataType::LargeUtf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Decimal128(12, 2),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        DataType::List(item(DataType::Struct(parts.clone()))),
        DataType::Struct(parts),
        DataType::Map(entries, false),
    ];
    let others = vec![
        DataType::UInt16,
        DataType::Date64,
        DataType::Time32(TimeUnit::Second),
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Rome".into())),
        DataType::Duration(TimeUnit::Second),
        DataType::FixedSizeBinary(3),
        DataType::List(item(DataType::Timestamp(TimeUnit::Second, None))),
    ];
    (common, others)
}

struct Case<'a> {
    dir: &'a Path,
    name: String,
    table: Table,
    db: Db,
    tools: &'a [&'a str],
}

impl Case<'_> {
    /// Rows with these keys, whatever columns the table has.
    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        let schema = self.table.schema();
        let column = |field: &Arc<Field>| -> ArrayRef {
            if field.name() == "id" {
                return Arc::new(Int64Array::from_iter_values(ids.clone()));
            }
            let some = |id: i64| (!field.is_nullable() || id % 3 > 0).then_some(id as u64);
            let numbers: Vec<Option<u64>> = ids.clone().map(some).collect();
            schemas::array(field, &numbers)
        };
        let columns = schema.columns().fields().iter().map(column).collect();
        RecordBatch::try_new(Arc::clone(schema.columns()), columns).expect("columns")
    }

    /// Publishes the table, has the tools read it, and returns the data files by name, with the numbers by which the file system
    /// knows them.
    fn publish(&self, session: &mut Session) -> BTreeMap<String, u64> {
        let published = self.table.publish().expect(&self.name);
        write_rows(&self.dir.join("expected.arrow"), &self.table);
        let mut tools = self.tools.to_vec();
        if published.why_no_delta.is_some() {
            tools.retain(|tool| !tool.contains("delta"));
        } else if published.dead_rows == 0 {
            tools.push("deltalake, pyarrow");
        }
        let case = serde_json::json!({
            "table": "t",
            "published": published.dir.strip_prefix(self.dir).expect("within"),
            "expected": "expected.arrow",
            "rows": published.rows,
            "tools": tools,
        });
        let answer = session
            .ask(&case)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert_eq!(
            answer["compared"].as_object().map(|by| by.len()),
            Some(tools.len()),
            "{answer}"
        );
        let record = std::fs::read(published.dir.join("PUBLISHED.json")).expect("a record");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        let files =
            kodiak_tests::published::files(&kodiak::LocalStorage::new(), &published.dir, &record).expect("lists");
        let names = files.iter().map(|file| file["file"].as_str().expect("text").to_owned());
        names
            .map(|name| {
                let known = std::fs::metadata(published.dir.join(&name)).expect("a file").ino();
                (name, known)
            })
            .collect()
    }
}

type Alter = for<'a> fn(Alteration<'a>, &[DataType]) -> Alteration<'a>;

/// What is done to tables, and whether their files are rewritten for it where there can be a Delta table.
const ALTERATIONS: [(&str, Alter, bool); 7] = [
    (
        "added",
        |table, types| {
            let fields = types.iter().enumerate();
            fields.fold(table, |table, (number, of)| {
                table.add_column(Field::new(format!("new {number}"), of.clone(), true))
            })
        },
        false,
    ),
    ("moved", |table, _| table.order_columns(["number", "id", "text"]), false),
    ("dropped", |table, _| table.drop_column("text"), false),
    ("nullable", |table, _| table.allow_null("number"), false),
    ("renamed", |table, _| table.rename_column("text", "words"), true),
    (
        "widened",
        |table, _| table.widen_column("number", DataType::Int64),
        true,
    ),
    (
        "added with a default",
        |table, _| {
            let initial: ArrayRef = Arc::new(StringArray::from(vec!["default"]));
            let again = Field::new("text", DataType::Utf8, true);
            table.drop_column("text").add_column_with(again, initial)
        },
        true,
    ),
];

#[test]
fn other_tools_read_altered_tables_whose_files_are_published_as_they_are() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "altered tables") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut session = python.session("read_published.py", dir.path());
    let components = Components::new();
    let (common, others) = types();
    for (format, tools) in FORMATS {
        let held = |of: &&DataType| {
            let factory = components.formats().find(format).expect("a format");
            (factory.capabilities.refuses)(of).is_none()
        };
        let all: Vec<DataType> = common.iter().chain(&others).filter(held).cloned().collect();
        let both: [&[DataType]; 2] = [&common, &all];
        for (types, (name, alter, rewritten)) in both.iter().flat_map(|types| ALTERATIONS.map(|case| (types, case))) {
            if name != "added" && types.len() == all.len() {
                continue;
            }
            let mut settings = Settings::default();
            format.clone_into(&mut settings.format.kind);
            let place = format!("{format}-{}-{}", name.replace(' ', "-"), types.len());
            let db = Db::open(dir.path().join(&place), settings).expect("open");
            let columns = Schema::new(vec![
                Field::new("id", DataType::Int64, false),
                Field::new("text", DataType::Utf8, true),
                Field::new("number", DataType::Int32, false),
            ]);
            let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
            let table = db.create_table("t", schema).expect("create");
            let case = Case {
                dir: dir.path(),
                name: format!("{format}, {name}"),
                table,
                db,
                tools,
            };
            let first = RecordBatch::try_new(
                Arc::clone(case.table.schema().columns()),
                vec![
                    Arc::new(Int64Array::from_iter_values(0..90)),
                    Arc::new(StringArray::from_iter(
                        (0..90).map(|id| (id % 4 > 0).then(|| format!("text {id}"))),
                    )),
                    Arc::new(Int32Array::from_iter_values(0..90)),
                ],
            );
            let first = first.expect("columns");
            case.table.insert(&first.slice(0, 60)).expect("insert");
            case.db.flush().expect("flush");
            case.table.insert(&first.slice(60, 30)).expect("insert");
            let before = case.publish(&mut session);
            alter(case.table.alter(), types).commit().expect("alter");
            let after = case.publish(&mut session);
            let rewritten = rewritten && format == "parquet";
            assert_eq!(before != after, rewritten, "{}: {before:?}, {after:?}", case.name);
            // Files of both schemas, with dead rows among those of the older one, and some that are gone again.
            case.table.insert(&case.rows(50..120)).expect("insert");
            case.table.delete_keys(&case.rows(100..105)).expect("delete");
            let both = case.publish(&mut session);
            assert!(after.iter().all(|file| both.contains_key(file.0)), "{}", case.name);
            case.db.compact().expect("compact");
            case.publish(&mut session);
        }
    }
}

/// Types of columns, and wider ones. The formats and tools that hold them differ.
fn widenings() -> Vec<(DataType, DataType)> {
    use DataType as D;
    vec![
        (D::Int32, D::Int64),
        (D::Int8, D::Int16),
        (D::UInt8, D::Int16),
        (D::UInt16, D::UInt64),
        (D::Float32, D::Float64),
        (D::Float16, D::Float32),
        (D::Date32, D::Date64),
        (D::Time32(TimeUnit::Second), D::Time64(TimeUnit::Microsecond)),
        (D::Time32(TimeUnit::Millisecond), D::Time64(TimeUnit::Nanosecond)),
        (D::Decimal128(9, 2), D::Decimal128(30, 4)),
        (D::Decimal64(12, 2), D::Decimal128(20, 2)),
        (D::Utf8, D::LargeUtf8),
        (D::Binary, D::LargeBinary),
        (D::FixedSizeBinary(3), D::Binary),
    ]
}

#[test]
fn other_tools_read_older_files_under_other_names_as_wider_types_and_with_defaults() {
    let Some(python) = Python::find(env!("CARGO_TARGET_TMPDIR"), "altered tables") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut session = python.session("read_published.py", dir.path());
    let components = Components::new();
    for (format, tools) in FORMATS {
        let factory = components.formats().find(format).expect("a format");
        let held = |of: &DataType| (factory.capabilities.refuses)(of).is_none();
        let widenings: Vec<_> = widenings()
            .into_iter()
            .filter(|(of, to)| held(of) && held(to))
            .collect();
        let mut fields = vec![
            Field::new("id", DataType::Int64, false),
            Field::new("text", DataType::Utf8, true),
            Field::new("A", DataType::Utf8, true),
            Field::new("filename", DataType::Utf8, true),
        ];
        for (number, (of, _)) in widenings.iter().enumerate() {
            fields.push(Field::new(format!("wide {number}"), of.clone(), true));
        }
        let mut settings = Settings::default();
        format.clone_into(&mut settings.format.kind);
        let db = Db::open(dir.path().join(format), settings).expect("open");
        let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["id"]).expect("valid");
        let table = db.create_table("t", schema).expect("create");
        let case = Case {
            dir: dir.path(),
            name: format.to_owned(),
            table,
            db,
            tools,
        };
        case.table.insert(&case.rows(0..60)).expect("insert");
        case.db.flush().expect("flush");
        case.table.insert(&case.rows(60..90)).expect("insert");
        let before = case.publish(&mut session);
        let mut alteration = case
            .table
            .alter()
            .rename_column("text", "x")
            .rename_column("A", "text")
            .rename_column("filename", "a")
            .drop_column("x")
            .add_column(Field::new("b", DataType::Int8, true));
        for (number, (_, to)) in widenings.iter().enumerate() {
            alteration = alteration.widen_column(format!("wide {number}"), to.clone());
        }
        let (common, others) = types();
        for (number, of) in common.iter().chain(&others).filter(|of| held(of)).enumerate() {
            let field = Field::new(format!("default {number}"), of.clone(), true);
            let initial = schemas::array(&field, &[Some(number as u64)]);
            alteration = alteration.add_column_with(field, initial);
        }
        alteration.commit().expect("alter");
        let after = case.publish(&mut session);
        assert_eq!(before, after, "{format}");
        // Of both schemas, with dead rows among the older ones.
        case.table.insert(&case.rows(50..120)).expect("insert");
        case.table.delete_keys(&case.rows(100..105)).expect("delete");
        case.publish(&mut session);
        let alteration = case
            .table
            .alter()
            .rename_column("id", "key")
            .rename_column("default 0", "id");
        alteration.commit().expect("alter");
        let both = case.publish(&mut session);
        assert!(after.iter().all(|file| both.contains_key(file.0)), "{format}");
        case.db.compact().expect("compact");
        case.publish(&mut session);
    }
}
