use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

#[test]
fn columns_are_written_down_with_their_types() {
    let text = "year:int16 NOT NULL, a b : text # a name, and more\n at:timestamp(us, +01:00),price (EUR):decimal(10, 2)\n\n x:y:bool";
    let schema = parse(text).expect("valid");
    let found: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| (field.name().as_str(), field.data_type().clone(), field.is_nullable()))
        .collect();
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+01:00".into()));
    assert_eq!(
        found,
        [
            ("year", DataType::Int16, false),
            ("a b", DataType::Utf8, true),
            ("at", zoned, true),
            ("price (EUR)", DataType::Decimal128(10, 2), true),
            ("x:y", DataType::Boolean, true),
        ]
    );
}

#[test]
fn nested_types_have_words() {
    let of = |text: &str| parse_column(text).expect(text).data_type().clone();
    let item = |of: DataType| -> FieldRef { Arc::new(Field::new("item", of, true)) };
    assert_eq!(of("a:list<int64>"), DataType::List(item(DataType::Int64)));
    let members = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b: c", DataType::Utf8, false),
    ]);
    let text = "a:struct<a: int64,\n \"b: c\": utf8 not null>";
    assert_eq!(of(text), DataType::Struct(members.clone()));
    assert_eq!(
        of("a: LARGE_LIST< struct<a:int64, \"b: c\":text not null > not null>"),
        DataType::LargeList(Arc::new(Field::new("item", DataType::Struct(members), false)))
    );
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int64, true),
    ]);
    let entries = Arc::new(Field::new("entries", DataType::Struct(entries), false));
    assert_eq!(of("a:map<utf8, int64>"), DataType::Map(entries, false));
    assert_eq!(
        of("a:dictionary<int32, utf8>"),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    );
    assert_eq!(
        of("a:fixed_list<element: int8 not null, 3>"),
        DataType::FixedSizeList(Arc::new(Field::new("element", DataType::Int8, false)), 3)
    );
}

#[test]
fn what_cannot_be_understood_is_refused_with_the_column_and_the_place() {
    let deep = format!("a:{}int8{}", "list<".repeat(40), ">".repeat(40));
    for (text, said) in [
        ("", "no columns"),
        ("year", "character 1: \"year\""),
        (
            "id:int8, year:integer16",
            "character 15: column \"year\": the unknown type \"integer16\"",
        ),
        ("a:int8, a:int8", "character 9: two columns are called \"a\""),
        ("at:timestamp(hours)", "column \"at\""),
        ("p:decimal(99, 1)", "column \"p\""),
        (":int8", "COLUMN:TYPE"),
        ("id:int8,\n  x:list<>", "line 2, character 5: column \"x\""),
        ("a:list<int8", "character 7: \"<\" is not closed"),
        ("a:list<int8> much", "character 14: column \"a\": \"much\""),
        (
            "a:struct<int8>",
            "character 10: column \"a\": \"int8\": write NAME:TYPE",
        ),
        ("a:struct<b:int8, b:int8>", "character 18: column \"a\": two columns"),
        (
            "a:struct<b:list<intt>>",
            "character 17: column \"a\": the unknown type \"intt\"",
        ),
        ("a:fixed_list<int8, 0>", "character 20: column \"a\""),
        ("a:dictionary<text, text>", "character 14: column \"a\""),
        ("\"a:int8", "character 1: the quote"),
        ("\"a\" b:int8", "character 5: a colon"),
        (&deep, "inside of one another"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

/// A name with what means something in schemas.
fn name(rng: &mut StdRng) -> String {
    let parts = ["a", "B", "ü", " ", "\"", ",", ":", "<", ")", "#", "\n"];
    let count = rng.random_range(1..6);
    (0..count).map(|_| *parts.choose(rng).expect("some")).collect()
}

fn plain_type(rng: &mut StdRng) -> DataType {
    use DataType as D;
    let units = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ];
    let unit = *units.choose(rng).expect("four");
    let (digits, scale) = (rng.random_range(1..=76), rng.random_range(-3..9));
    let all = [
        D::Boolean,
        D::Int8,
        D::Int64,
        D::UInt16,
        D::Float16,
        D::Float64,
        D::Utf8,
        D::LargeUtf8,
        D::Utf8View,
        D::Binary,
        D::LargeBinary,
        D::BinaryView,
        D::Date32,
        D::Date64,
        D::Interval(IntervalUnit::MonthDayNano),
        D::Time32(TimeUnit::Second),
        D::Time64(TimeUnit::Nanosecond),
        D::Timestamp(unit, None),
        D::Timestamp(unit, Some("+01:00".into())),
        D::Duration(unit),
        D::FixedSizeBinary(7),
        D::Decimal32(digits.min(9), scale),
        D::Decimal64(digits.min(18), scale),
        D::Decimal128(digits.min(38), scale),
        D::Decimal256(digits, scale),
    ];
    all.choose(rng).expect("some").clone()
}

fn any_type(rng: &mut StdRng, depth: usize) -> DataType {
    use DataType as D;
    if depth == 0 || rng.random_bool(0.5) {
        return plain_type(rng);
    }
    let mut field = |usual: Option<&str>| -> FieldRef {
        let name = match usual.filter(|_| rng.random()) {
            Some(usual) => usual.to_owned(),
            None => name(rng),
        };
        Arc::new(Field::new(name, any_type(rng, depth - 1), rng.random()))
    };
    let (item, value, members) = (field(Some("item")), field(Some("value")), [field(None), field(None)]);
    match rng.random_range(0..6) {
        0 => D::List(item),
        1 => D::LargeList(item),
        2 => D::FixedSizeList(item, rng.random_range(1..5)),
        3 => {
            let same = members[0].name() == members[1].name();
            let count = rng.random_range(0..=if same { 1 } else { 2 });
            D::Struct(members.into_iter().take(count).collect())
        }
        4 => {
            let key = Arc::new(Field::new("key", any_type(rng, depth - 1), false));
            let entries = D::Struct(Fields::from(vec![key, value]));
            D::Map(Arc::new(Field::new("entries", entries, false)), rng.random())
        }
        _ => D::Dictionary(Box::new(D::Int16), Box::new(any_type(rng, depth - 1))),
    }
}

#[test]
fn columns_that_are_shown_can_be_read_again() {
    for seed in 0..2000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(1..4);
        let fields = (0..count).map(|number| {
            let name = format!("{}{number}", name(&mut rng));
            Field::new(name, any_type(&mut rng, 3), rng.random())
        });
        let fields: Fields = fields.collect();
        let shown: Vec<String> = fields.iter().map(|field| show(field)).collect();
        for separator in [", ", "\n", " # key, \"\n"] {
            let text = shown.join(separator);
            let read = parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}: {text}"));
            assert_eq!(read.fields(), &fields, "seed {seed}: {text}");
        }
    }
}

#[test]
fn no_text_is_too_much() {
    let parts = [
        "list<", "struct<", "map<int8", "a", "b:", "\"", "int8", ">", "(", ")", ",", ":", "#", "\n", " ", "ü", "not",
        " null", "9",
    ];
    let mut understood = 0;
    for seed in 0..20_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(0..14);
        let text: String = (0..count).map(|_| *parts.choose(&mut rng).expect("some")).collect();
        understood += usize::from(parse(&text).is_ok());
        let _ = parse_column(&text);
    }
    assert!(understood > 10, "{understood}");
}
