//! Limits hold to the byte, and what is above them is refused without harm.

use std::sync::Arc;

use kodiak::{Builder, Db, Error, ErrorKind, MemoryStorage, Settings, Table, TableOptions, TableSchema};
use kodiak_tests::factors::small;

fn open(storage: &Arc<MemoryStorage>, settings: &Settings) -> Db {
    Builder::new(settings.clone())
        .storage(storage.clone())
        .open("/db")
        .expect("open")
}

fn refused(result: kodiak::Result<()>, setting: &str) {
    let error: Error = result.expect_err("above the limit");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(error.setting(), Some(setting), "{error}");
}

fn at_the_limits(settings: &Settings) {
    let (max_key, max_value) = (settings.limits.max_key as usize, settings.limits.max_value as usize);
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, settings);
    let options = TableOptions::new().merge_operator("append");
    let table = db
        .create_table_with("t", TableSchema::key_value(), options)
        .expect("create");
    let (key, value) = (vec![0xFF; max_key], vec![7; max_value]);
    let (long_key, long_value) = (vec![0xFF; max_key + 1], vec![7; max_value + 1]);
    let check = |table: &Table| {
        assert_eq!(table.get(&key).expect("get").as_deref(), Some(value.as_slice()));
        assert_eq!(
            table.get(&key[..max_key - 1]).expect("get").as_deref(),
            Some(&value[..max_value - 1])
        );
        assert_eq!(table.get(b"").expect("get").as_deref(), Some(&b""[..]));
        assert_eq!(table.scan(..).expect("scan").count(), 3);
    };
    table.put(&key, &value).expect("at both limits");
    table
        .put(&key[..max_key - 1], &value[..max_value - 1])
        .expect("one below");
    table.put(b"", b"").expect("nothing at all");
    refused(table.put(&long_key, b"v"), "limits.max_key");
    refused(table.put(b"k", &long_value), "limits.max_value");
    refused(table.delete(&long_key), "limits.max_key");
    refused(table.merge(&long_key, b"v"), "limits.max_key");
    refused(table.merge(b"k", &long_value), "limits.max_value");
    refused(
        table.delete_range(b"a".as_slice()..long_key.as_slice()),
        "limits.max_key",
    );
    let mut batch = db.batch();
    batch.put(&table, b"first", b"v").put(&table, &long_key, b"v");
    refused(db.write(batch), "limits.max_key");
    check(&table);
    db.flush().expect("flush");
    check(&table);
    drop(table);
    db.close().expect("close");
    let db = open(&storage, settings);
    check(&db.table("t").expect("table"));
    db.compact().expect("compact");
    check(&db.table("t").expect("table"));
}

#[test]
fn the_default_limits_hold_to_the_byte() {
    let mut settings = Settings::default();
    settings.cache.capacity = 32 << 20;
    assert_eq!(
        (settings.limits.max_key, settings.limits.max_value),
        (1 << 20, 10 << 20)
    );
    at_the_limits(&settings);
}

#[test]
fn small_limits_hold_to_the_byte_in_every_format() {
    for kind in kodiak::Components::new()
        .formats()
        .iter()
        .map(|factory| factory.component.name)
    {
        let mut settings = small();
        settings.format.kind = kind.to_owned();
        settings.limits.max_key = 3;
        settings.limits.max_value = 5000;
        at_the_limits(&settings);
    }
}

#[test]
fn a_database_opened_with_lower_limits_keeps_what_is_larger() {
    let storage = Arc::new(MemoryStorage::new());
    let mut settings = small();
    let db = open(&storage, &settings);
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    table.put([1; 5000], [2; 9000]).expect("put");
    db.flush().expect("flush");
    table.put([2; 5000], [2; 9000]).expect("put");
    drop(table);
    db.close().expect("close");
    (settings.limits.max_key, settings.limits.max_value) = (10, 10);
    let db = open(&storage, &settings);
    let table = db.table("t").expect("table");
    assert_eq!(table.scan(..).expect("scan").count(), 2);
    refused(table.put([3; 11], b"v"), "limits.max_key");
    db.compact().expect("compact");
    assert_eq!(table.get([2; 5000]).expect("get").map(|value| value.len()), Some(9000));
}
