use kodiak_storage::MemoryStorage;

use super::*;
use crate::maintenance::read_small;

#[test]
fn records_of_earlier_versions_are_read_and_written_with_lists() {
    let text = r#"{"format": 3, "database": "0000000000000001", "table": "a", "table_number": 2, "sequence": 7,
        "published_micros": 1, "rows": 3, "columns": ["id"], "exact": false, "why_not_exact": [], "merged": null, "files": [
        {"file": "0000000010.parquet", "kind": "parquet", "bytes": 1, "rows": 2, "run": 10, "schema": 1, "names": {"y": "x"}},
        {"file": "0000000004.parquet", "kind": "parquet", "bytes": 1, "rows": 2, "run": 4, "schema": 2, "dead": "d", "dead_rows": 1}],
        "delta_version": null, "delta_schema": null, "why_no_delta": null, "generation": 1, "expired_below": 0}"#;
    let (storage, dir) = (MemoryStorage::new(), Path::new("/published"));
    storage.create_dir_all(dir).expect("a directory");
    write_file(&storage, &dir.join(RECORD_FILE), text.as_bytes()).expect("written");
    let read = || {
        let bytes = read_small(&storage, &dir.join(RECORD_FILE)).expect("read");
        Record::parse(&storage, dir, (1, 2), &bytes)
    };
    let old = read().expect("as earlier versions wrote it");
    assert_eq!(old.files.keys().collect::<Vec<_>>(), [&4, &10]);
    assert_eq!(old.files[&10].layout.names["y"], "x");
    let mut new = Record {
        format: FORMAT,
        generation: 2,
        ..old.clone()
    };
    lists::write(&storage, dir, Some(&old), &mut new).expect("written");
    new.tell_layouts();
    new.write(&storage, dir).expect("written");
    let found = read().expect("a record");
    assert_eq!(found, new);
    assert_eq!(
        (found.lists.len(), found.lists[0].lines, found.layouts.len()),
        (1, 2, 1)
    );
    // A list that is not as it was makes the next publication begin anew.
    write_file(&storage, &dir.join("files-2.csv"), b"run\n").expect("written");
    assert_eq!(read(), None);
}
