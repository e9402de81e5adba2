//! Tables of random schemas, nested columns and dictionaries among them, go into files of each kind, and come back as they were.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use kodiak::core::format::Compression;
use kodiak::core::storage::Storage;
use kodiak::export::Export;
use kodiak::outside::{FileKind, OutsideFile};
use kodiak::{Builder, Components, Fitting, MemoryStorage, Settings, Table};
use kodiak_core::conformance::extent;
use kodiak_tests::schemas;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const KINDS: [FileKind; 3] = [FileKind::Feather, FileKind::Parquet, FileKind::Orc];

/// All rows, which are in the order of the key.
fn all(table: &Table) -> RecordBatch {
    let batches = table.read().batches().expect("read");
    let batches: Vec<RecordBatch> = batches.map(|batch| batch.expect("rows")).collect();
    concat_batches(table.schema().columns(), &batches).expect("one schema")
}

#[test]
fn tables_come_back_from_exported_files() {
    let components = Components::new();
    for seed in 0..extent("KODIAK_SEEDS", [40, 200, 1000]) {
        let mut rng = StdRng::seed_from_u64(seed);
        let kind = KINDS[seed as usize % KINDS.len()];
        // Tables that both their own format and the file can hold.
        let own = *["feather", "parquet", "orc"].choose(&mut rng).expect("three");
        let refuses = |of: &DataType| {
            [own, kind.name()].iter().any(|format| {
                let factory = components.formats().find(format).expect("a format");
                (factory.capabilities.refuses)(of).is_some()
            })
        };
        let mut settings = Settings::default();
        settings.format.kind = own.to_owned();
        settings.format.block_size = Some(4 << 10);
        let storage = Arc::new(MemoryStorage::new());
        let opened = Builder::new(settings)
            .storage(Arc::clone(&storage) as Arc<_>)
            .open("db");
        let db = opened.expect("a new database");
        let table = db.create_table("t", schemas::schema(&mut rng, &refuses, false));
        let table = table.expect("types that it holds");
        let schema = table.schema();
        for _ in 0..3 {
            let rows = schemas::rows(&mut rng, &schema, schema.columns(), 300, 400);
            table.insert(&rows).expect("written");
            db.flush().expect("flushed");
        }
        let before = all(&table);

        let path = Path::new("exported");
        let file = storage.create(path).expect("a new file");
        let compression = *Compression::ALL.choose(&mut rng).expect("three");
        let columns = SchemaRef::clone(schema.columns());
        let mut export = Export::create(kind, file, &columns, compression).expect("types that it holds");
        for batch in table.read().batches().expect("read") {
            export.write(&batch.expect("rows")).expect("written");
        }
        export.finish().expect("finished");

        let file = OutsideFile::open(storage.open(path).expect("a file")).expect("a file of ours");
        let columns: Vec<usize> = (0..file.schema().fields().len()).collect();
        let copy = db.create_table("copy", schema.as_ref().clone()).expect("the same");
        let fitting = Fitting::new(&schema);
        for batch in file.batches(&columns).expect("columns that are read") {
            let (rows, misfits) = fitting.fit(&batch.expect("rows")).expect("types alike");
            assert_eq!(misfits, [], "seed {seed}, {}: {}", kind.name(), schema.columns());
            copy.insert(&rows).expect("written");
        }
        db.flush().expect("flushed");
        assert_eq!(all(&copy), before, "seed {seed}, {own} to {}", kind.name());
    }
}
