//! Nested columns in Feather files: back as they were, and for Arrow's reader too; damage is seen.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, FixedSizeListArray, Int8Array, Int16Array, Int32Array, Int64Array, ListArray,
    MapBuilder, RecordBatch, StringBuilder, StringViewArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int8Type, Int32Type, Schema};
use arrow::ipc::reader::FileReader;
use kodiak_core::block::Values;
use kodiak_core::conformance::format::{AMPLE, Written, fetch};
use kodiak_core::format::{Compression, Projection};
use kodiak_core::schema::TableSchema;
use kodiak_formats::feather;

const ROWS: i32 = 60;

/// Columns of every kind that has children, with nulls on every level.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let list = |n: i32| {
        (n % 5 > 0).then(|| {
            (0..n % 4)
                .map(|item| (item != 1).then_some(item * n))
                .collect::<Vec<_>>()
        })
    };
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>((0..ROWS).map(list));
    let words: DictionaryArray<Int32Type> = (0..ROWS)
        .map(|n| (n % 6 > 0).then(|| ["x", "yy"][n as usize % 2]))
        .collect();
    let short: DictionaryArray<Int8Type> = (0..ROWS).map(|n| (n % 7 > 0).then_some("short")).collect();
    let views: StringViewArray = (0..ROWS)
        .map(|n| (n % 3 > 0).then(|| "view ".repeat(n as usize % 4)))
        .collect();
    let item = Arc::new(Field::new("item", DataType::Int16, true));
    let pairs: Int16Array = (0..2 * ROWS as i16).map(|n| (n % 5 > 0).then_some(n)).collect();
    let fixed = FixedSizeListArray::new(item, 2, Arc::new(pairs), lists.nulls().cloned());
    let fields = Fields::from(vec![
        Field::new("words", words.data_type().clone(), true),
        Field::new("lists", lists.data_type().clone(), true),
        Field::new("empty", DataType::Utf8View, true),
    ]);
    let members: Vec<ArrayRef> = vec![
        Arc::new(words.clone()),
        Arc::new(lists.clone()),
        Arc::new(StringViewArray::from(vec![None::<&str>; ROWS as usize])),
    ];
    let structs = StructArray::new(fields, members, lists.nulls().cloned());
    let mut maps = MapBuilder::new(None, StringBuilder::new(), arrow::array::Int64Builder::new());
    for n in 0..ROWS {
        for entry in 0..n % 3 {
            maps.keys().append_value(format!("k{entry}"));
            maps.values().append_option((entry > 0).then_some(i64::from(n)));
        }
        maps.append(n % 4 > 0).expect("as many keys as values");
    }
    vec![
        ("lists", Arc::new(lists) as ArrayRef),
        ("words", Arc::new(words)),
        ("short", Arc::new(short)),
        ("views", Arc::new(views)),
        ("fixed", Arc::new(fixed)),
        ("structs", Arc::new(structs)),
        ("maps", Arc::new(maps.finish())),
    ]
}

/// A table of these columns, and two batches of its runs: the second is cut from the middle of arrays.
fn run() -> (TableSchema, Vec<RecordBatch>) {
    let mut fields = vec![Field::new("id", DataType::Int32, false)];
    let mut all: Vec<ArrayRef> = vec![Arc::new(Int32Array::from_iter_values(0..ROWS))];
    for (name, column) in columns() {
        fields.push(Field::new(name, column.data_type().clone(), true));
        all.push(column);
    }
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["id"]).expect("valid");
    all.push(Arc::new(Int64Array::from_iter_values(0..i64::from(ROWS))));
    all.push(Arc::new(Int8Array::from(vec![0; ROWS as usize])));
    let batch = RecordBatch::try_new(schema.run_columns(), all).expect("a run's columns");
    (schema, vec![batch.slice(0, 13), batch.slice(13, 40)])
}

#[test]
fn nested_columns_dictionaries_and_views_come_back() {
    let (schema, batches) = run();
    for compression in Compression::ALL {
        let written = Written::new(&feather::FACTORY, compression, &schema, &batches, AMPLE).expect("written");
        for (handle, batch) in written.layout.blocks.iter().zip(&batches) {
            let parts = [fetch(&written.bytes, &handle.parts[0])];
            let block = written
                .decode(handle, &parts, &Projection::All)
                .expect("decoded")
                .columns()
                .expect("columns");
            let Values::Columns(found, _) = block.values() else {
                panic!("a typed block has columns")
            };
            for (index, column) in found.columns().iter().enumerate() {
                assert_eq!(column, batch.column(index), "{}", batch.schema().field(index).name());
            }
            let some = Projection::Columns(Arc::from([6, 0]));
            let part = written
                .decode(handle, &parts, &some)
                .expect("decoded")
                .columns()
                .expect("columns");
            let Values::Columns(found, _) = part.values() else {
                panic!("a typed block has columns")
            };
            assert_eq!(found.column(0), batch.column(6));
        }
        // For everybody else dictionaries are their values, and views texts.
        let reader = FileReader::try_new(std::io::Cursor::new(&written.bytes), None).expect("a Feather file");
        for (read, batch) in reader.zip(&batches) {
            let read = read.expect("a batch");
            for (index, column) in read.columns().iter().enumerate() {
                let plain = cast(batch.column(index), column.data_type()).expect("plain");
                assert_eq!(column, &plain, "{}", batch.schema().field(index).name());
            }
            assert_eq!(read.schema().field(2).data_type(), &DataType::Utf8);
        }
    }
}

#[test]
fn damage_to_nested_columns_is_an_error_or_other_values_but_never_a_panic() {
    let (schema, batches) = run();
    let written = Written::new(&feather::FACTORY, Compression::None, &schema, &batches, AMPLE).expect("written");
    let handle = &written.layout.blocks[1];
    let whole = fetch(&written.bytes, &handle.parts[0]);
    let (mut state, mut refused) = (7u64, 0);
    for _ in 0..4000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut bytes = whole.to_vec();
        let at = (state >> 33) as usize % bytes.len();
        bytes[at] ^= 1 << (state >> 20 & 7);
        let part = arrow::buffer::Buffer::from(bytes.as_slice());
        let decoded = written.decode(handle, &[part], &Projection::All);
        refused += usize::from(decoded.and_then(|block| block.columns()).is_err());
    }
    assert!(refused > 100, "{refused} of 4000");
}

#[test]
fn types_that_cannot_be_held_are_refused_by_name_with_the_reason() {
    let refused = |data_type: DataType| {
        let columns = Schema::new(vec![
            Field::new("id", DataType::Int32, false),
            Field::new("odd", data_type, true),
        ]);
        let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
        let error = feather::FACTORY
            .capabilities
            .check("feather", &schema)
            .expect_err("refused");
        assert!(error.to_string().contains("\"odd\""), "{error}");
        error.to_string()
    };
    let words = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    assert!(refused(DataType::new_list(words, true)).contains("use Int32"));
    assert!(refused(DataType::Null).contains("nothing to store"));
    let deep = (0..20).fold(DataType::Int8, |inner, _| DataType::new_list(inner, true));
    assert!(refused(deep).contains("levels deep"));
}
