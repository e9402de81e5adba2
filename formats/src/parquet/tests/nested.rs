//! Nested columns: as others read them, and their bytes.

use arrow::util::display::array_value_to_string;
use kodiak_core::conformance::format::{nested_table, random_nested};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::*;
use crate::parquet::levels;

/// Blocks of random nested columns.
fn random_tables() -> impl Iterator<Item = (TableSchema, Vec<RecordBatch>)> {
    (1..30).map(|seed| {
        let mut draw = Draw(seed);
        let types: Vec<DataType> = (0..4).map(|_| random_nested(&mut draw)).collect();
        nested_table(&mut draw, &types, &[100, 1, 300])
    })
}

/// That all rows of two columns are equal, whatever the names of what is inside, and whether it is a dictionary.
pub(crate) fn same(found: &ArrayRef, wanted: &ArrayRef) -> bool {
    let text = |array: &ArrayRef, row| array_value_to_string(array, row).expect("a value that can be shown");
    found.len() == wanted.len() && (0..found.len()).all(|row| text(found, row) == text(wanted, row))
}

#[test]
fn another_reader_finds_the_same_in_nested_columns() {
    for (schema, batches) in random_tables() {
        let all = arrow::compute::concat_batches(&schema.run_columns(), &batches).expect("one schema");
        let (bytes, _) = write(&schema, &batches, Compression::None, 64 << 10);
        let (_, read) = outsider(&bytes);
        let read = arrow::compute::concat_batches(&read[0].schema(), &read).expect("one schema");
        for (index, field) in schema.run_columns().fields().iter().enumerate() {
            assert!(same(read.column(index), all.column(index)), "{field}");
        }
    }
}

#[test]
fn pages_of_nested_columns_begin_with_rows_that_the_page_index_tells() {
    for (schema, batches) in random_tables() {
        let (bytes, _) = write(&schema, &batches, Compression::None, 8 << 20);
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes::Bytes::from(bytes), options);
        // Of the last block alone: the pages of the others are passed over.
        let before: usize = batches[..2].iter().map(RecordBatch::num_rows).sum();
        let chosen = vec![RowSelector::skip(before), RowSelector::select(batches[2].num_rows())];
        let reader = builder
            .expect("a footer")
            .with_row_selection(RowSelection::from(chosen));
        let read: Vec<_> = reader
            .build()
            .expect("a reader")
            .map(|rows| rows.expect("rows"))
            .collect();
        let read = arrow::compute::concat_batches(&read[0].schema(), &read).expect("one schema");
        for (index, field) in schema.run_columns().fields().iter().enumerate() {
            assert!(same(read.column(index), batches[2].column(index)), "{field}");
        }
    }
}

#[test]
fn members_of_structs_have_bounds_and_items_of_lists_have_none() {
    let member = Arc::new(Field::new("member", DataType::Int32, true));
    let members: ArrayRef = Arc::new(Int32Array::from(vec![Some(5), Some(-3), None, Some(9)]));
    let nulls = Some(vec![true, true, true, false].into());
    let pairs = StructArray::new(vec![Arc::clone(&member)].into(), vec![members], nulls);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>((0..4).map(|row| Some(vec![Some(row); 2])));
    let fields = vec![
        Field::new("pair", pairs.data_type().clone(), true),
        Field::new("key", DataType::Int64, false),
        Field::new("list", lists.data_type().clone(), true),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["key"]).expect("a keyed table");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(pairs),
        Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
        Arc::new(lists),
        Arc::new(Int64Array::from(vec![1; 4])),
        Arc::new(Int8Array::from(vec![0; 4])),
    ];
    let batch = RecordBatch::try_new(schema.run_columns(), columns).expect("the run's columns");
    let (bytes, _) = write(&schema, &[batch], Compression::None, 8 << 20);
    let (metadata, _) = outsider(&bytes);
    let group = metadata.row_group(0);
    let statistics = group.column(0).statistics().expect("bounds");
    let parquet::file::statistics::Statistics::Int32(bounds) = statistics else {
        panic!("of integers: {statistics:?}");
    };
    assert_eq!(
        (bounds.min_opt(), bounds.max_opt()),
        (Some(&-3), Some(&5)),
        "what is hidden has none"
    );
    assert_eq!(bounds.null_count_opt(), Some(2));
    assert!(group.column(2).statistics().is_none());
    assert_eq!(group.column(2).num_values(), 8);
    assert_eq!(group.sorting_columns().map(|columns| columns[0].column_idx), Some(1));
    let names: Vec<String> = (0..5).map(|leaf| group.column(leaf).column_path().string()).collect();
    assert_eq!(names, ["pair.member", "key", "list.list.element", "_seq", "_op"]);
}

#[test]
fn the_bytes_of_a_page_of_lists_are_golden() {
    let rows = [Some(vec![Some(1), None]), Some(vec![]), None, Some(vec![Some(7)])];
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
    let fields = vec![
        Field::new("key", DataType::Int64, false),
        Field::new("list", lists.data_type().clone(), true),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["key"]).expect("a keyed table");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
        Arc::new(lists),
        Arc::new(Int64Array::from(vec![1; 4])),
        Arc::new(Int8Array::from(vec![0; 4])),
    ];
    let batch = RecordBatch::try_new(schema.run_columns(), columns).expect("the run's columns");
    let (bytes, layout) = write(&schema, &[batch], Compression::None, 8 << 20);
    let page = fetch(&bytes, layout.blocks[0].parts[1]);
    let (header, at) = page::PageHeader::read(&page).expect("a header");
    assert_eq!((header.values, header.rows, header.nulls), (5, 4, 3));
    assert_eq!((header.repetitions, header.definitions), (2, 3));
    // A group of packed repetition levels 0 1 0 0 0, one of definition levels 3 2 1 0 3, and the two values.
    let golden = [3, 0b10, 3, 0b00_01_10_11, 0b11, 1, 0, 0, 0, 7, 0, 0, 0];
    assert_eq!(page[at..], golden);
}

#[test]
fn levels_that_contradict_each_other_are_refused() {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let lists = DataType::List(Arc::new(Field::new("item", DataType::List(item), true)));
    let fields = vec![
        Field::new("key", DataType::Int64, false),
        Field::new("list", lists, true),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["key"]).expect("a keyed table");
    let column = &Plan::new(&schema).expect("types that it holds").columns[1];
    assert_eq!(
        (column.repetition, column.definition, column.items.as_slice()),
        (2, 5, &[2, 4][..])
    );
    let read = |repetitions: &[u8], definitions: &[u8], rows: usize| {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        levels::put(repetitions, 2, &mut first);
        levels::put(definitions, 5, &mut second);
        let mut budget = Budget::new(AMPLE);
        levels::Levels::read(column, &first, &second, rows, repetitions.len(), &mut budget).is_ok()
    };
    assert!(read(&[0, 2, 1, 0], &[5, 4, 3, 0], 2));
    assert!(!read(&[0, 2, 1, 0], &[5, 4, 3, 0], 3), "another number of rows");
    assert!(!read(&[1, 0], &[5, 5], 1), "an item before any row");
    assert!(!read(&[0, 1], &[1, 5], 1), "a further item of an empty list");
    assert!(
        !read(&[0, 2], &[3, 5], 1),
        "a further item of an empty list within another"
    );
    assert!(!read(&[0, 1], &[5, 1], 1), "a further item that is none");
}
