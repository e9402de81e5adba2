//! The dump of a log tells its whole history, and goes on behind damage.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::batch::Batch;
use kodiak_core::conformance::wal::{context, open};
use kodiak_core::storage::Storage;
use kodiak_core::wal::SyncMode;
use kodiak_core::{ErrorKind, Op};
use kodiak_storage::MemoryStorage;
use kodiak_wal::{DumpLine, dump};

const DIR: &str = "/db/wal";

fn history(storage: &dyn Storage, path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    dump(storage, path, &mut |line| {
        lines.push(match line {
            DumpLine::Segment { segment, header, .. } => {
                format!("segment {segment} {}", if header.is_some() { "used" } else { "blank" })
            }
            DumpLine::Record {
                timestamp_micros,
                first_seq,
                count,
                ..
            } => {
                format!("record {timestamp_micros} {first_seq} {count}")
            }
            DumpLine::Op { seq, op } => {
                format!(
                    "{seq} {:?} {} {} {}",
                    op.op,
                    op.table,
                    op.key.escape_ascii(),
                    op.value.escape_ascii()
                )
            }
            DumpLine::Damage { offset, what } => format!("damage {offset} {what}"),
            DumpLine::End {
                closed, torn, stats, ..
            } => format!("end {closed} {torn} {}", stats.records),
            other => format!("{other:?}"),
        });
        Ok(())
    })
    .expect("dumps");
    lines
}

fn log() -> Arc<dyn Storage> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let wal = open(kodiak_wal::ALL[0], &context(&storage, Path::new(DIR)), 1);
    wal.skip_to(10);
    let mut batch = Batch::new();
    batch.push(1, Op::Put, b"a", b"1");
    batch.push(2, Op::Delete, b"b", b"");
    wal.append(&batch, 1000, SyncMode::Normal).expect("appends");
    batch.clear();
    batch.push(1, Op::RangeDelete, b"c", b"d");
    wal.append(&batch, 2000, SyncMode::Normal).expect("appends");
    wal.rotate().expect("rotates");
    wal.append(&batch, 3000, SyncMode::Normal).expect("appends");
    storage
}

#[test]
fn a_dump_tells_the_history() {
    let storage = log();
    let all = history(storage.as_ref(), Path::new(DIR));
    let first = [
        "segment 1 used",
        "record 1000 10 2",
        "10 Put 1 a 1",
        "11 Delete 2 b ",
        "record 2000 12 1",
        "12 RangeDelete 1 c d",
        "end false 0 2",
    ];
    let second = [
        "segment 2 used",
        "record 3000 13 1",
        "13 RangeDelete 1 c d",
        "end true 0 1",
    ];
    assert_eq!(all, [&first[..], &second[..]].concat());
    let file = Path::new(DIR).join("00000000000000000002.wal");
    assert_eq!(history(storage.as_ref(), &file), second);
}

#[test]
fn a_dump_goes_on_behind_damage() {
    let storage = log();
    let path = Path::new(DIR).join("00000000000000000001.wal");
    storage
        .open_log(&path)
        .expect("there")
        .write_at(64 + 41, b"\xFF")
        .expect("inside");
    let lines = history(storage.as_ref(), &path);
    assert_eq!(lines[1], "damage 64 bytes that are not a record, up to 120");
    assert_eq!(
        lines[2..],
        ["record 2000 12 1", "12 RangeDelete 1 c d", "end false 0 1"]
    );
    storage
        .open_log(&path)
        .expect("there")
        .write_at(3, b"\xFF")
        .expect("inside");
    assert_eq!(
        history(storage.as_ref(), &path),
        ["segment 1 blank", "damage 0 the header is damaged"]
    );
}

#[test]
fn a_file_that_is_no_segment_is_refused() {
    let storage = log();
    storage.create_log(Path::new("/db/other"), 10).expect("new");
    for (path, kind) in [
        ("/db/other", ErrorKind::InvalidInput),
        ("/db/nothing", ErrorKind::NotFound),
    ] {
        let error = dump(storage.as_ref(), Path::new(path), &mut |_| Ok(())).expect_err("no log");
        assert_eq!(error.kind(), kind, "{path}: {error}");
    }
}
