//! Indexes by what an extractor takes out of entries.

use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::settings::Maintenance;
use kodiak::{Builder, ErrorKind, IndexDefinition, KeyExtractor, MemoryStorage, TableSchema};

use crate::support::*;

/// The tag of an entry is what its value has before the first colon.
#[derive(Debug)]
struct Tag;

impl KeyExtractor for Tag {
    fn name(&self) -> &str {
        "tag"
    }

    fn extract(&self, _key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        let end = value.iter().position(|&byte| byte == b':')?;
        Some(value[..end].to_vec())
    }
}

#[test]
fn key_value_tables_are_indexed_by_what_an_extractor_takes_out() {
    let storage = Arc::new(MemoryStorage::new());
    let builder =
        || Builder::new(settings("bplus", Maintenance::Eager)).storage(Arc::clone(&storage) as Arc<dyn Storage>);
    let db = builder()
        .key_extractor(Arc::new(Tag))
        .expect("register")
        .open("/db")
        .expect("open");
    let table = db.create_table("notes", TableSchema::key_value()).expect("table");
    let error = table
        .create_index(IndexDefinition::extracted("by_tag", "unknown"))
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    table
        .create_index(IndexDefinition::extracted("by_tag", "tag"))
        .expect("create_index");
    table
        .create_index(IndexDefinition::on("by_value", ["value"]))
        .expect("create_index");
    for n in 0..60 {
        table
            .put(format!("key{n:02}"), format!("tag{}:{n}", n % 7))
            .expect("put");
    }
    table.put("no", "tag").expect("put");
    table.delete("key03").expect("delete");
    let tagged = |table: &kodiak::Table| {
        let entries = table
            .index("by_tag")
            .expect("index")
            .range("tag3".."tag4")
            .entries()
            .expect("read");
        let entries: Vec<(String, String)> = entries
            .map(|entry| entry.expect("entry"))
            .map(|(key, value)| (key.escape_ascii().to_string(), value.escape_ascii().to_string()))
            .collect();
        let keys: Vec<String> = (10..60).step_by(7).map(|n| format!("key{n:02}")).collect();
        assert_eq!(entries.iter().map(|entry| entry.0.clone()).collect::<Vec<_>>(), keys);
        assert!(entries.iter().all(|entry| entry.1.starts_with("tag3:")));
        let all = table.index("by_tag").expect("index").keys().expect("keys").count();
        assert_eq!(all, 59, "the entry without tag is not in it");
        assert_eq!(
            table.index("by_value").expect("index").keys().expect("keys").count(),
            60
        );
    };
    tagged(&table);
    db.flush().expect("flush");
    tagged(&table);
    db.close().expect("close");

    // Without the extractor the table is read, and not written.
    let db = builder().open("/db").expect("open");
    let table = db.table("notes").expect("table");
    assert_eq!(table.scan(..).expect("scan").count(), 60);
    let error = table.put("key99", "tag9:99").expect_err("not maintained");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.message().contains("by_tag") && error.message().contains("\"tag\""),
        "{error}"
    );
    db.close().expect("close");
    let db = builder()
        .key_extractor(Arc::new(Tag))
        .expect("register")
        .open("/db")
        .expect("open");
    tagged(&db.table("notes").expect("table"));
    check_sound(&db);
}

#[test]
fn a_range_of_the_other_kind_is_refused_naming_the_right_method_and_all_is_taken_by_either() {
    let storage = Arc::new(MemoryStorage::new());
    let builder = Builder::new(settings("bplus", Maintenance::Eager)).storage(storage as Arc<dyn Storage>);
    let db = builder.key_extractor(Arc::new(Tag)).expect("register").open("/db");
    let table = db.expect("open").create_table("notes", TableSchema::key_value());
    let table = table.expect("table");
    table.put("a", "tag1:1").expect("put");
    let definitions = [
        IndexDefinition::on("by_value", ["value"]),
        IndexDefinition::extracted("by_tag", "tag"),
    ];
    for definition in definitions {
        table.create_index(definition).expect("create_index");
    }
    let read = |name: &str| table.index(name).expect("index");
    for name in ["by_value", "by_tag"] {
        assert_eq!(read(name).range(..).keys().expect("all").count(), 1, "{name}");
        assert_eq!(read(name).key_range(..).keys().expect("all").count(), 1, "{name}");
    }
    let error = read("by_value")
        .range("a".."b")
        .keys()
        .map(drop)
        .expect_err("by columns");
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.message().contains("(value)"),
        "{error}"
    );
    assert!(error.message().contains("`key_range`"), "{error}");
    let error = read("by_tag").key_range(age(None)..).keys().map(drop);
    let error = error.expect_err("by bytes");
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.message().contains("by `range`"),
        "{error}"
    );
}
