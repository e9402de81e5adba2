//! Schemas and their stored form.

use super::*;
use arrow::datatypes::TimeUnit;

fn typed() -> TableSchema {
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let list = DataType::List(Arc::new(Field::new("item", DataType::Decimal128(20, 2), true)));
    let named = Field::new("origin", text, false).with_metadata([("a".into(), "b".into())].into());
    let columns = Schema::new(vec![
        Field::new(
            "time",
            DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Rome".into())),
            false,
        ),
        named,
        Field::new("fares", list, true),
    ]);
    TableSchema::new(Arc::new(columns), &["origin", "-time"]).expect("valid")
}

#[test]
fn schemas_come_back_from_their_bytes() {
    for schema in [typed(), TableSchema::key_value()] {
        let bytes = schema.to_bytes();
        assert_eq!(TableSchema::from_bytes(&bytes).expect("just written"), schema);
        assert_eq!(schema.to_bytes(), bytes, "the form is stable");
    }
}

#[test]
fn damaged_schemas_are_corruption_and_newer_ones_unsupported() {
    let bytes = typed().to_bytes();
    for cut in 0..bytes.len() {
        let error = TableSchema::from_bytes(&bytes[..cut]).expect_err("cut short");
        assert_eq!(error.kind(), ErrorKind::Corruption);
    }
    for index in 1..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x10;
        assert_eq!(
            TableSchema::from_bytes(&damaged).expect_err("damaged").kind(),
            ErrorKind::Corruption
        );
    }
    let newer = [&[EVOLVED_VERSION + 1], &bytes[1..]].concat();
    assert_eq!(
        TableSchema::from_bytes(&newer).expect_err("newer").kind(),
        ErrorKind::Unsupported
    );
}

fn add(name: &str, data_type: DataType, initial: Option<arrow::array::ArrayRef>) -> SchemaChange {
    let field = Field::new(name, data_type, initial.is_none());
    SchemaChange::Add { field, initial }
}

fn names(schema: &TableSchema) -> Vec<&str> {
    let fields = schema.columns().fields();
    fields.iter().map(|field| field.name().as_str()).collect()
}

/// `typed` after every kind of change: `fares` is gone, and another column has its name.
fn altered() -> TableSchema {
    let initial: arrow::array::ArrayRef = Arc::new(arrow::array::Int16Array::from(vec![7]));
    let changes = [
        SchemaChange::Drop("fares".to_owned()),
        add("fares", DataType::Int16, Some(initial)),
        add("more", DataType::Utf8, None),
        SchemaChange::Rename {
            from: "time".to_owned(),
            to: "at".to_owned(),
        },
        SchemaChange::Widen {
            column: "fares".to_owned(),
            to: DataType::Int64,
        },
        SchemaChange::Order(["more", "origin", "fares", "at"].map(str::to_owned).to_vec()),
    ];
    typed().altered(3, &changes).expect("valid")
}

#[test]
fn columns_keep_their_numbers_whatever_they_are_called() {
    let (before, after) = (typed(), altered());
    assert_eq!(names(&after), ["more", "origin", "fares", "at"]);
    assert_eq!((before.number(), after.number()), (0, 3));
    let numbers: Vec<u32> = (0..4).map(|index| after.column_number(index)).collect();
    assert_eq!(numbers, [4, 1, 3, 0], "a name that comes again is another column");
    assert_eq!(after.index_of_number(2), None);
    let key: Vec<(usize, bool)> = after.key().iter().map(|key| (key.index, key.descending)).collect();
    assert_eq!(key, [(1, false), (3, true)]);
    let initial = after.initial(2).expect("stored").expect("a default");
    assert_eq!(initial.as_ref(), &arrow::array::Int64Array::from(vec![7]));
    assert!(after.initial(0).expect("stored").is_none());
    assert!(!before.same_columns(&after) && before.same_columns(&typed()));
}

#[test]
fn altered_schemas_come_back_from_their_bytes_and_damage_is_seen() {
    let schema = altered();
    let bytes = schema.to_bytes();
    assert_eq!(TableSchema::from_bytes(&bytes).expect("just written"), schema);
    for cut in 0..bytes.len() {
        assert!(TableSchema::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    // With a checksum that fits, so that the decoder itself sees the damage.
    for index in bytes.len() - 24..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x55;
        let crc = crc32fast::hash(&damaged[5..]).to_le_bytes();
        damaged[1..5].copy_from_slice(&crc);
        if let Err(error) = TableSchema::from_bytes(&damaged) {
            assert_eq!(error.kind(), ErrorKind::Corruption, "byte {index}");
        }
    }
}

#[test]
fn the_bytes_of_an_altered_schema_end_as_documented() {
    let bytes = altered().to_bytes();
    assert_eq!(bytes[0], 2);
    let end: String = bytes[bytes.len() - 19..]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(end, "0305040001000301080700000000000000".to_owned() + "0000");
}

#[test]
fn a_layout_has_what_readers_of_every_time_need() {
    let (before, after) = (typed(), altered());
    let layout = TableSchema::layout(&after, &[&before], 4)
        .expect("one table")
        .expect("columns are gone");
    assert_eq!(names(&layout), ["more", "origin", "fares", "at", "_dropped_2"]);
    assert_eq!((layout.number(), layout.column_number(4)), (4, 2));
    assert_eq!(TableSchema::from_bytes(&layout.to_bytes()).expect("stored"), layout);
    let again = TableSchema::layout(&after, &[&before], 9)
        .expect("one table")
        .expect("columns");
    assert!(layout.same_layout(&again));
    let wider = [SchemaChange::AllowNull("fares".to_owned())];
    let wider = after.altered(5, &wider).expect("valid");
    assert_eq!(TableSchema::layout(&wider, &[&after], 6).expect("one table"), None);
}

#[test]
fn runs_of_altered_tables_tell_the_numbers_of_their_columns() {
    let (before, after) = (typed().run_columns(), altered().run_columns());
    let number = |field: &Field| field.metadata().get("PARQUET:field_id").cloned();
    assert!(before.fields().iter().all(|field| number(field).is_none()));
    let numbers: Vec<_> = after.fields().iter().map(|field| number(field)).collect();
    let expected = [Some("4"), Some("1"), Some("3"), Some("0"), None, None];
    assert_eq!(numbers, expected.map(|number| number.map(str::to_owned)));
}

#[test]
fn alterations_that_make_no_sense_name_the_column() {
    let text: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["x"]));
    let rename = |from: &str, to: &str| SchemaChange::Rename {
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let widen = |column: &str, to| SchemaChange::Widen {
        column: column.to_owned(),
        to,
    };
    let required = SchemaChange::Add {
        field: Field::new("new", DataType::Int8, false),
        initial: None,
    };
    for (change, said) in [
        (SchemaChange::Drop("origin".to_owned()), "\"origin\" is part of the key"),
        (SchemaChange::Drop("none".to_owned()), "no column \"none\""),
        (add("time", DataType::Int8, None), "\"time\" already"),
        (add("_x", DataType::Int8, None), "reserved"),
        (add("x", DataType::Int8, Some(text)), "default of column \"x\""),
        (required, "\"new\" may not be null"),
        (rename("time", "origin"), "\"origin\" already"),
        (rename("time", "_seq"), "reserved"),
        (widen("time", DataType::Int64), "\"time\" is part of the key"),
        (widen("fares", DataType::Int64), "\"fares\""),
        (
            SchemaChange::AllowNull("time".to_owned()),
            "\"time\" is part of the key",
        ),
        (SchemaChange::Order(vec!["time".to_owned()]), "does not name \"origin\""),
        (
            SchemaChange::Order(vec!["time".to_owned(), "time".to_owned()]),
            "\"time\" twice",
        ),
    ] {
        let error = typed().altered(1, &[change]).expect_err(said);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(said), "{error}");
    }
    assert!(TableSchema::key_value().altered(1, &[]).is_err());
}
