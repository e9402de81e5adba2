//! Nested columns: as others read them, and their bytes.

use kodiak_core::conformance::format::{nested_table, random_nested};

use super::*;

/// True for what the other reader takes, too, and gives back as it was.
fn common(of: &DataType) -> bool {
    match of {
        // It has a few of them within lists.
        DataType::Timestamp(..) | DataType::FixedSizeBinary(_) | DataType::Dictionary(..) => false,
        DataType::List(item) | DataType::LargeList(item) => common(item.data_type()),
        DataType::FixedSizeList(..) => false,
        DataType::Struct(fields) => fields.iter().all(|field| common(field.data_type())),
        DataType::Map(entries, _) => common(entries.data_type()),
        _ => true,
    }
}

#[test]
fn another_reader_finds_the_same_in_nested_columns() {
    let mut compared = 0;
    for seed in 1..40 {
        let mut draw = Draw(seed);
        let types = (0..6).map(|_| random_nested(&mut draw));
        let types: Vec<DataType> = types.filter(|of| common(of) && types::refuses(of).is_none()).collect();
        let (schema, batches) = nested_table(&mut draw, &types, &[100, 1, 300]);
        let all = arrow::compute::concat_batches(&schema.run_columns(), &batches).expect("one schema");
        let (bytes, _) = write(&schema, &batches, Compression::ALL[seed as usize % 3]);
        let reader = ArrowReaderBuilder::try_new(bytes::Bytes::from(bytes)).expect("a tail that another reader takes");
        let read: Vec<_> = reader
            .build()
            .map(|batch| batch.expect("stripes that another reader takes"))
            .collect();
        let read = arrow::compute::concat_batches(&read[0].schema(), &read).expect("one schema");
        for (index, field) in schema.run_columns().fields().iter().enumerate() {
            let found = arrow::compute::cast(read.column(index), field.data_type()).expect("the same values");
            assert_eq!(&found, all.column(index), "{field}");
            compared += usize::from(field.data_type().is_nested());
        }
    }
    assert!(compared > 20, "only {compared} columns");
}

#[test]
fn the_bytes_of_a_column_of_lists_are_golden() {
    let rows = [Some(vec![Some(1), None]), Some(vec![]), None, Some(vec![Some(7)])];
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
    let fields = vec![
        Field::new("key", DataType::Int8, false),
        Field::new("list", lists.data_type().clone(), true),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), &["key"]).expect("a keyed table");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![1, 2, 3, 4])),
        Arc::new(lists),
        Arc::new(Int64Array::from(vec![1; 4])),
        Arc::new(Int8Array::from(vec![0; 4])),
    ];
    let batch = RecordBatch::try_new(schema.run_columns(), columns).expect("the run's columns");
    let (bytes, layout) = write(&schema, &[batch], Compression::None);
    let data = fetch(&bytes, layout.blocks[0].parts[0]);
    // The key, which rows are lists, three lengths, which items are there, and they, in a delta run.
    let golden = [
        &[0xFC, 1, 2, 3, 4][..],
        &[0xFF, 0b1101_0000],
        &[0x4E, 2, 2, 0, 1],
        &[0xFF, 0b1010_0000],
        &[0xC0, 1, 2, 12],
    ];
    let golden = golden.concat();
    assert_eq!(data[..golden.len()], golden, "{:02x?}", data.as_slice());
    let numbers: Vec<u32> = types::columns(&schema)
        .expect("types that it holds")
        .iter()
        .map(|column| column.number)
        .collect();
    assert_eq!(numbers, [1, 2, 4, 5]);
}
