use std::path::Path;
use std::sync::Arc;

use kodiak::core::options::OptionValue;
use kodiak::{Builder, ErrorKind, MemoryStorage, inspect};

use super::common::*;

#[test]
fn dumps_tell_what_manifest_and_sidecars_hold() {
    let storage = Arc::new(MemoryStorage::new());
    // Nothing is compacted by itself, or the runs looked at could be gone.
    let mut settings = small();
    settings.compaction.options = [("l0_trigger".to_owned(), OptionValue::Int(16))].into();
    let db = Builder::new(settings)
        .storage(storage.clone())
        .open("/db")
        .expect("open");
    fill(&db);
    db.flush().expect("flush");
    db.table("users")
        .expect("table")
        .delete_range("a".as_bytes().."b".as_bytes())
        .expect("delete_range");
    db.flush().expect("flush");
    let dump = inspect::manifest(&*storage, Path::new("/db")).expect("manifest");
    assert!(dump.edits.len() > 4 && dump.edits.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(dump.state.tables.len(), 2);
    let text = dump.to_string();
    for part in [
        "create table 1 \"users\"",
        "add to table 2, level 0",
        "feather none",
        "next run",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let newest = table_files(&*storage, "/db/tables/000001", ".feather")
        .pop()
        .expect("a run");
    let dump = inspect::sidecar(&*storage, &newest).expect("that of a data file");
    assert_eq!(dump.range_deletes.len(), 1);
    assert!(dump.to_string().contains("\"a\" to \"b\""), "{dump}");
    let oldest = table_files(&*storage, "/db/tables/000001", ".meta").remove(0);
    let dump = inspect::sidecar(&*storage, &oldest).expect("sidecar");
    assert_eq!(
        dump.blocks.iter().map(|block| u64::from(block.rows)).sum::<u64>(),
        dump.meta.entries
    );
    assert!(dump.to_string().contains("block 0 at "), "{dump}");
    let mut found = Vec::new();
    let components = kodiak::components::Components::new();
    inspect::run(storage.clone(), &components, &newest, &mut |entry| {
        found.push((entry.key.to_vec(), entry.op, entry.value.to_vec()));
        Ok(())
    })
    .expect("run");
    assert_eq!(found, [(b"a".to_vec(), kodiak::core::Op::RangeDelete, b"b".to_vec())]);
    let mut entries = 0;
    inspect::run(storage.clone(), &components, &oldest, &mut |_| {
        entries += 1;
        Ok(())
    })
    .expect("run");
    assert_eq!(entries, dump.meta.entries + dump.meta.range_deletes);
    let error =
        inspect::run(storage.clone(), &components, Path::new("/db/CURRENT"), &mut |_| Ok(())).expect_err("no run");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    drop(db);
    flip(&*storage, &oldest, 100);
    let error = inspect::sidecar(&*storage, &oldest).expect_err("damaged");
    assert!(
        error.kind() == ErrorKind::Corruption && error.file() == Some(&oldest),
        "{error}"
    );
    assert_eq!(
        inspect::manifest(&*storage, Path::new("/nowhere"))
            .expect_err("missing")
            .kind(),
        ErrorKind::NotFound
    );
}
