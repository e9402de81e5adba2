//! What programs expect of the interface beyond put, get and scan.

use std::collections::BTreeMap;
use std::sync::Arc;

use kodiak::{
    Builder, Db, MemoryStorage, Result, Scan, ScanBounds, ScanOptions, Settings, Table, TableOptions, TableSchema,
};
use kodiak_tests::factors::small;

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn open(settings: Settings) -> (Db, Table) {
    let db = Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    (db, table)
}

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Keys in two runs and in memory, some deleted: and what is left of them.
fn filled() -> (Db, Table, BTreeMap<Vec<u8>, Vec<u8>>) {
    let (db, table) = open(small());
    let mut model = BTreeMap::new();
    for (round, step) in [1, 2, 7].into_iter().enumerate() {
        for number in (0..900).step_by(step) {
            let value = format!("{round} {number}");
            table.put(key(number), &value).expect("put");
            model.insert(key(number).to_vec(), value.into_bytes());
        }
        for number in (round as u32..900).step_by(31) {
            table.delete(key(number)).expect("delete");
            model.remove(key(number).as_slice());
        }
        if round < 2 {
            table.flush().expect("flush");
        }
    }
    (db, table, model)
}

fn collected(scan: Scan) -> Entries {
    let entry = |entry: Result<(kodiak::Slice, kodiak::Slice)>| {
        let (key, value) = entry.expect("an entry");
        (key.to_vec(), value.to_vec())
    };
    scan.map(entry).collect()
}

#[test]
fn a_scan_is_turned_round_wherever_it_stands() {
    let (_db, table, model) = filled();
    for range in [key(0)..key(900), key(100)..key(101), key(350)..key(640), key(9)..key(3)] {
        let forward: Entries = model
            .range(ScanBounds::new(range.clone()).start..)
            .filter(|(key, _)| key.as_slice() < range.end.as_slice())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let backward: Entries = forward.iter().rev().cloned().collect();
        let scan = || table.scan(range.clone()).expect("scan");
        assert_eq!(collected(scan().rev()), backward);
        assert_eq!(collected(scan().rev().rev()), forward);
        let mut begun = scan();
        begun.by_ref().take(5).for_each(|entry| drop(entry.expect("an entry")));
        assert_eq!(collected(begun.rev()), backward, "from its end, whatever was read");
        let mut ended = scan();
        assert_eq!(ended.by_ref().count(), forward.len());
        assert_eq!(collected(ended.rev()), backward);
    }
}

#[test]
fn a_limit_counts_entries_however_a_scan_is_moved() {
    let (_db, table, model) = filled();
    let expected: Vec<_> = model.keys().cloned().collect();
    let keys = |scan: Scan| collected(scan).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    for limit in [0, 1, 5, 300, 5000] {
        let scan = |options: ScanOptions<'static>| table.scan_with(options.limit(limit)).expect("scan");
        let len = limit.min(expected.len());
        assert_eq!(keys(scan(ScanOptions::new(..))), expected[..len]);
        let backward: Vec<_> = expected.iter().rev().take(limit).cloned().collect();
        assert_eq!(keys(scan(ScanOptions::new(..).rev())), backward);
        let mut moved = scan(ScanOptions::new(..));
        let first = moved.by_ref().take(3).count();
        moved.seek(key(500)).expect("seek");
        let rest = keys(moved);
        let from_there: Vec<_> = model.range(key(500).to_vec()..).map(|(key, _)| key.clone()).collect();
        assert_eq!(rest, from_there[..from_there.len().min(limit - first)]);
    }
}

#[test]
fn a_prefix_is_narrowed_by_a_range() {
    let (_db, table) = open(small());
    for name in ["a", "user:", "user:ada", "user:bob", "user:cem", "users"] {
        table.put(name, "").expect("put");
    }
    let names = |options: ScanOptions<'static>| {
        let text = |(key, _): (Vec<u8>, Vec<u8>)| String::from_utf8(key).expect("text");
        let scan = table.scan_with(options).expect("scan");
        collected(scan).into_iter().map(text).collect::<Vec<_>>()
    };
    let users = || ScanOptions::prefix("user:");
    assert_eq!(names(users().within("user:b"..)), ["user:bob", "user:cem"]);
    assert_eq!(names(users().within("user:b"..="user:bob").rev()), ["user:bob"]);
    assert_eq!(names(users().within(.."a")), [""; 0]);
    assert_eq!(names(users().within(..)), ["user:", "user:ada", "user:bob", "user:cem"]);
}

#[test]
fn first_and_last_entries_are_those_that_have_a_value() {
    let (_db, table) = open(small());
    assert!(table.is_empty().expect("read"));
    assert!(table.first_key_value().expect("read").is_none());
    assert!(table.last_key_value().expect("read").is_none());
    for number in 0..300 {
        table.put(key(number), [1]).expect("put");
    }
    table.delete_range(..key(10)).expect("delete");
    table.flush().expect("flush");
    table.delete(key(299)).expect("delete");
    let first = table.first_key_value().expect("read").expect("an entry");
    let last = table.last_key_value().expect("read").expect("an entry");
    assert_eq!(
        (first.0, last.0),
        (key(10).as_slice().to_vec().into(), key(298).to_vec().into())
    );
    assert!(!table.is_empty().expect("read"));
}

#[test]
fn a_range_without_an_end_and_a_prefix_are_deleted() {
    let mut settings = small();
    settings.limits.max_key = 20;
    let (db, table) = open(settings);
    let longest = [0xff; 20];
    let all: [&[u8]; 7] = [b"", b"a", b"ab", b"b", b"\xff", b"\xff\xffx", &longest];
    let left = |deleted: &dyn Fn(&Table) -> Result<()>| {
        for name in all {
            table.put(name, "v").expect("put");
        }
        db.flush().expect("flush");
        let before = db.snapshot();
        deleted(&table).expect("deleted");
        let seen = |scan: Scan| collected(scan).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let at = table.scan_with(ScanOptions::new(..).at(&before)).expect("scan");
        assert_eq!(seen(at), all, "a snapshot sees what was there");
        seen(table.scan(..).expect("scan"))
    };
    assert_eq!(
        left(&|table| table.delete_prefix("a")),
        [b"" as &[u8], b"b", b"\xff", b"\xff\xffx", &longest]
    );
    assert_eq!(
        left(&|table| table.delete_prefix(b"\xff")),
        [b"" as &[u8], b"a", b"ab", b"b"]
    );
    assert_eq!(left(&|table| table.delete_prefix(longest)), all[..6]);
    assert_eq!(left(&|table| table.delete_range("ab"..)), [b"" as &[u8], b"a"]);
    assert_eq!(
        left(&|table| table.delete_range("ab"..="b")),
        [b"" as &[u8], b"a", b"\xff", b"\xff\xffx", &longest]
    );
    assert_eq!(left(&|table| table.delete_range(..)), [b"" as &[u8]; 0]);
    table.delete_range(..).expect("nothing is there");
    table.put(longest, "v").expect("put");
    table.delete_range(longest..).expect("the last key alone");
    assert!(table.is_empty().expect("read"));
}

#[test]
fn several_keys_of_several_tables_are_read_at_one_moment() {
    let (db, table) = open(small());
    let other = db.create_table("other", TableSchema::key_value()).expect("create");
    for (table, value) in [(&table, "1"), (&other, "2")] {
        table.put("a", value).expect("put");
        table.put("b", value).expect("put");
    }
    let before = db.snapshot();
    table.delete("a").expect("delete");
    other.put("b", "3").expect("put");
    let texts = |found: Vec<Option<kodiak::Slice>>| {
        let text = |value: kodiak::Slice| String::from_utf8_lossy(&value).into_owned();
        found.into_iter().map(|value| value.map(text)).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    let at = |table: &Table| texts(table.multi_get_at(&before, ["b", "c", "a"]).expect("read"));
    assert_eq!(at(&table), [some("1"), None, some("1")]);
    assert_eq!(at(&other), [some("2"), None, some("2")]);
    assert_eq!(texts(table.multi_get(["a", "b"]).expect("read")), [None, some("1")]);
    let (elsewhere, _) = open(small());
    let error = table
        .multi_get_at(&elsewhere.snapshot(), ["a"])
        .expect_err("of another database");
    assert_eq!(error.kind(), kodiak::ErrorKind::InvalidInput);
}

#[test]
fn a_table_is_flushed_and_compacted_by_itself() {
    let (db, table) = open(small());
    let other = db.create_table("other", TableSchema::key_value()).expect("create");
    for _ in 0..2 {
        table.put("k", "v").expect("put");
        other.put("k", "v").expect("put");
        table.flush().expect("flush");
    }
    let stats = db.stats();
    assert_eq!([&stats.tables[0], &stats.tables[1]], [&table.stats(), &other.stats()]);
    assert_eq!((table.stats().sorted_runs(), table.stats().memtable_entries), (2, 0));
    assert_eq!((other.stats().sorted_runs(), other.stats().memtable_entries), (0, 2));
    table.compact().expect("compact");
    assert_eq!((table.stats().sorted_runs(), other.stats().memtable_entries), (1, 2));
}

#[test]
fn the_size_of_a_range_is_known_without_reading_it() {
    let (_db, table, _) = filled();
    let size = |from: u32, to: u32| table.approximate_size(key(from)..key(to)).expect("size");
    let all = table.approximate_size(..).expect("size");
    let levels = table.stats().levels;
    assert_eq!(all.entries, levels.iter().map(|level| level.entries).sum::<u64>());
    assert!(all.bytes <= levels.iter().map(|level| level.bytes).sum());
    assert_eq!(size(0, 5000), all);
    assert_eq!((size(900, 5000), size(7, 7), size(8, 7)), Default::default());
    let (half, one) = (size(0, 450), size(450, 451));
    assert!(
        half.entries < all.entries && half.bytes < all.bytes,
        "{half:?} of {all:?}"
    );
    assert!(half.entries > all.entries / 3, "{half:?} of {all:?}");
    assert!(one.entries > 0 && one.entries < half.entries, "{one:?} of {all:?}");
}

#[test]
fn a_range_is_compacted_and_the_rest_left_alone() {
    let mut settings = small();
    settings.compaction.target_run_size = 64 << 10;
    settings.format.kind = "feather".to_owned();
    let (db, table) = open(settings);
    let filled = |round: u8| (0..4000).map(move |number| (key(number), [round; 240]));
    for (key, value) in filled(0) {
        table.put(key, value).expect("put");
    }
    table.compact().expect("compact");
    db.wait_idle().expect("idle");
    let runs = || table.stats().levels.iter().map(|level| level.runs).sum::<usize>();
    let size = |from: u32, to: u32| table.approximate_size(key(from)..key(to)).expect("size").entries;
    assert!(runs() > 8, "{} runs", runs());
    assert!(size(1000, 1500) >= 500);
    table.delete_range(key(1000)..key(1500)).expect("delete");
    for (key, value) in filled(1).skip(1400).take(200) {
        table.put(key, value).expect("put");
    }
    let before = db.stats().compactions;
    table.compact_range(key(1000)..key(1600)).expect("compact");
    let first = db.stats().compactions;
    assert!(first.bytes_read - before.bytes_read < 4000 * 240 / 2, "{first:?}");
    assert!(size(1100, 1300) <= size(0, 100), "the range is gone");
    assert_eq!(table.stats().sorted_runs(), 1);
    let left: Entries = filled(0)
        .take(1000)
        .chain(filled(1).skip(1400).take(200))
        .chain(filled(0).skip(1600))
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    assert_eq!(collected(table.scan(..).expect("scan")), left);
    table.compact_range(key(1000)..key(1600)).expect("compact");
    table.compact_range(key(7)..key(7)).expect("an empty range");
    assert_eq!(db.stats().compactions.jobs, first.jobs, "nothing was left to be done");
    table.compact_range(..).expect("everything");
    assert_eq!(collected(table.scan(..).expect("scan")), left);
}

#[test]
fn columns_that_a_cursor_made_of_row_blocks_are_kept() {
    let mut settings = small();
    settings.format.kind = "row".to_owned();
    settings.cache.capacity = 1 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), settings).expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for number in 0..2000 {
        table.put(key(number), [7; 50]).expect("put");
    }
    table.compact().expect("compact");
    let all = || collected(table.scan(..).expect("scan"));
    let entries = all();
    assert_eq!(entries.len(), 2000);
    let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    let kept = db.stats().cache;
    assert!(kept.used >= bytes as u64, "{kept:?} of {bytes} bytes");
    assert!(kept.used <= kept.capacity, "{kept:?}");
    assert_eq!(all(), entries);
    assert_eq!(table.get(key(5)).expect("get").as_deref(), Some(&[7; 50][..]));
    let then = db.stats().cache;
    assert_eq!(
        (then.used, then.misses),
        (kept.used, kept.misses),
        "nothing was made again"
    );
}

#[test]
fn a_table_is_opened_or_made_with_its_options() {
    let (db, _table) = open(small());
    let day = std::time::Duration::from_secs(86_400);
    let options = || TableOptions::new().ttl(day).merge_operator("append");
    let made = |options| db.table_or_create_with("log", TableSchema::key_value(), options);
    made(options()).expect("made").merge("k", "a").expect("merge");
    made(options()).expect("opened").merge("k", "b").expect("merge");
    let log = db.table("log").expect("there");
    assert_eq!(log.get("k").expect("get").as_deref(), Some(&b"ab"[..]));
    let refused = |options| made(options).expect_err("other options").to_string();
    assert!(refused(TableOptions::new().merge_operator("append")).contains("TTL"));
    assert!(refused(options().merge_operator("counter")).contains("merge operator"));
}

#[test]
fn a_batch_is_written_again_from_a_copy() {
    let (db, table) = open(small());
    let mut batch = db.batch();
    batch.put(&table, "a", "1").delete(&table, "b");
    db.write(batch.clone()).expect("written");
    table.put("b", "2").expect("put");
    db.write(batch).expect("written");
    assert_eq!(
        collected(table.scan(..).expect("scan")),
        [(b"a".to_vec(), b"1".to_vec())]
    );
    let mut wrong = db.batch();
    wrong.put(&table, vec![0; 17 << 20], "too long");
    wrong.clone().check().expect_err("a copy has the mistake, too");
}

#[test]
fn a_batch_is_cleared_and_filled_again() {
    let (db, table) = open(small());
    let mut batch = db.batch();
    batch.put(&table, "a", "1").put(&table, vec![0; 17 << 20], "too long");
    batch.check().expect_err("a key that is too long");
    batch.clear();
    assert!(batch.is_empty() && batch.size_bytes() == 0);
    batch.check().expect("nothing wrong with nothing");
    batch.put(&table, "b", "2");
    assert!(batch.size_bytes() >= 2, "{}", batch.size_bytes());
    db.write(batch).expect("written");
    assert!(table.get("a").expect("get").is_none());
    assert_eq!(table.get("b").expect("get").as_deref(), Some(&b"2"[..]));
}
