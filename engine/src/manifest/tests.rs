use std::collections::BTreeMap;

use kodiak_core::compaction::RunId;
use kodiak_core::format::Compression;
use kodiak_storage::MemoryStorage;

use super::*;

mod changes;

const DIR: &str = "db";

type Files = BTreeMap<String, Vec<u8>>;

fn storage_with(files: &Files) -> Arc<dyn Storage> {
    let storage = MemoryStorage::new();
    storage.create_dir_all(Path::new(DIR)).expect("a directory");
    for (name, bytes) in files {
        // As logs, because that is how the manifest opens them.
        let file = storage
            .create_log(&Path::new(DIR).join(name), bytes.len() as u64)
            .expect("a file");
        file.write_at(0, bytes).expect("written");
    }
    Arc::new(storage)
}

fn files_of(storage: &dyn Storage) -> Files {
    let dir = Path::new(DIR);
    let read = |name: String| {
        let bytes = files::read_all(storage, &dir.join(&name)).expect("readable");
        (name, bytes)
    };
    storage.list(dir).expect("listed").into_iter().map(read).collect()
}

fn read(files: &Files) -> Result<State> {
    Manifest::read(&*storage_with(files), Path::new(DIR))
}

fn run(id: u64) -> Arc<RunMeta> {
    Arc::new(RunMeta {
        id,
        format: "feather".to_owned(),
        compression: Compression::Lz4,
        data_bytes: 300,
        sidecar_bytes: 40,
        sidecar_crc: 0xDEAD_BEEF,
        entries: 10,
        tombstones: 1,
        range_deletes: 0,
        blocks: 2,
        min_key: Arc::from(&b"a"[..]),
        max_key: Arc::from(&b"z"[..]),
        min_seq: 1,
        max_seq: 200,
        oldest_micros: 1_000,
        newest_micros: 2_000,
    })
}

fn add(id: u64) -> Change {
    Change::AddRun {
        table: 1,
        place: Place {
            level: 0,
            sorted_run: id,
        },
        run: run(id),
    }
}

fn create_table() -> Change {
    Change::CreateTable {
        id: 1,
        name: "t".to_owned(),
        schema: vec![7, 8],
        options: Vec::new(),
    }
}

fn schema(table: u32, number: u32) -> Change {
    Change::AddSchema {
        table,
        number,
        in_force: number == 1,
        schema: vec![number as u8; 2],
    }
}

fn mark(anew: Option<bool>, run: RunId, rows: &[u32]) -> VersionEdit {
    let dead = DeadRows {
        rows: rows.iter().copied().collect(),
        newest: 10,
        operands: 0,
    };
    let dead = anew.map(|anew| Marks {
        anew,
        runs: vec![(run, dead)],
    });
    VersionEdit::new().with(Change::MarkDead { table: 1, dead })
}

/// A database with a table and three edits, the last of which matters.
fn example() -> (Files, State) {
    let storage = storage_with(&Files::new());
    let mut manifest = Manifest::create(Arc::clone(&storage), Path::new(DIR), State::new(42)).expect("created");
    manifest
        .append(&VersionEdit::new().with(create_table()))
        .expect("appended");
    let edit = VersionEdit::new()
        .with(add(1))
        .with(Change::LastSeq(200))
        .with(Change::WalFrom(3));
    manifest.append(&edit).expect("appended");
    manifest.append(&VersionEdit::new().with(add(2))).expect("appended");
    (files_of(&*storage), manifest.state().clone())
}

fn manifest_length(files: &Files) -> usize {
    let tail = &files[TAIL];
    let marks = [0, 4096].map(|at| u64::from_le_bytes(tail[at + 28..at + 36].try_into().expect("eight bytes")));
    marks.into_iter().max().expect("two") as usize
}

#[test]
fn edits_come_back_after_reopening() {
    let (files, state) = example();
    assert_eq!(read(&files).expect("read"), state);
    assert_eq!(
        (
            state.next_run,
            state.next_table,
            state.next_sorted_run,
            state.used_levels()
        ),
        (3, 2, 3, 1)
    );
    let storage = storage_with(&files);
    for round in 0..3 {
        let mut manifest = Manifest::open(Arc::clone(&storage), Path::new(DIR)).expect("open");
        assert_eq!(manifest.state().runs().count(), 2 + round as usize);
        manifest
            .append(&VersionEdit::new().with(add(10 + round)))
            .expect("appended");
        assert_eq!(
            Manifest::read(&*storage, Path::new(DIR)).expect("read"),
            *manifest.state()
        );
    }
    let names: Vec<_> = files_of(&*storage).into_keys().collect();
    assert_eq!(names, [CURRENT, "MANIFEST-000004", TAIL], "older files are removed");
}

#[test]
fn a_full_file_is_replaced() {
    let (files, _) = example();
    let storage = storage_with(&files);
    let mut manifest = Manifest::open(Arc::clone(&storage), Path::new(DIR)).expect("open");
    let before = manifest.number;
    let mut id = 100;
    while manifest.number < before + 3 {
        let mut edit = VersionEdit::new().with(add(id));
        if id > 100 {
            edit.push(Change::RemoveRun { table: 1, run: id - 1 });
        }
        manifest.append(&edit).expect("appended");
        assert!(manifest.length() < 1 << 20);
        id += 1;
    }
    assert_eq!(
        Manifest::read(&*storage, Path::new(DIR)).expect("read"),
        *manifest.state()
    );
    assert_eq!(manifest.state().runs().count(), 3);
}

/// Damaged files never pass with another state, and the error names a file.
fn check(files: &Files, state: &State, may_pass: bool, what: &str) {
    match read(files) {
        Ok(read) => assert!(may_pass && read == *state, "{what} passed"),
        Err(error) => {
            assert!(error.file().is_some(), "{what}: {error}");
            assert!(
                matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Unsupported),
                "{what}: {error}"
            );
        }
    }
}

fn damage(files: &Files, name: &str, bytes: Vec<u8>) -> Files {
    let mut files = files.clone();
    files.insert(name.to_owned(), bytes);
    files
}

#[test]
fn every_truncation_is_seen() {
    let (files, state) = example();
    for (name, bytes) in &files {
        let step = |at: usize| {
            if at < manifest_length(&files) + 100 || name == TAIL {
                1
            } else {
                4093
            }
        };
        let mut at = 0;
        while at < bytes.len() {
            check(
                &damage(&files, name, bytes[..at].to_vec()),
                &state,
                false,
                &format!("{name} cut at {at}"),
            );
            at += if name == TAIL { 37 } else { step(at) };
        }
    }
}

#[test]
fn every_flipped_bit_is_seen_or_does_not_matter() {
    let (files, state) = example();
    let length = manifest_length(&files);
    for (name, bytes) in &files {
        for bit in 0..bytes.len().min(length.max(5000) + 64) * 8 {
            let at = bit / 8;
            if name == TAIL && (64..4096).contains(&at) {
                continue;
            }
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (bit % 8);
            // One slot of the tail may be damaged: the other one stands. Beyond the tail nothing was acknowledged.
            let may_pass = name == TAIL || (name.starts_with("MANIFEST-0") && at >= length);
            if may_pass && at > length + 64 && name != TAIL {
                break;
            }
            check(
                &damage(&files, name, flipped),
                &state,
                may_pass,
                &format!("{name} bit {bit}"),
            );
        }
    }
}

#[test]
fn missing_files_are_seen() {
    let (files, _) = example();
    for name in files.keys() {
        let mut left = files.clone();
        left.remove(name);
        let error = read(&left).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert!(error.file().is_some_and(|file| file.ends_with(name)), "{error}");
        let create = Manifest::create(storage_with(&left), Path::new(DIR), State::new(1));
        assert!(
            create.is_err(),
            "a database must not be created over the remains of one"
        );
    }
    assert_eq!(read(&Files::new()).expect_err("none").kind(), ErrorKind::NotFound);
}

#[test]
fn older_copies_are_seen() {
    let (old, _) = example();
    let storage = storage_with(&old);
    let mut manifest = Manifest::open(Arc::clone(&storage), Path::new(DIR)).expect("open");
    let middle = files_of(&*storage);
    manifest.append(&VersionEdit::new().with(add(9))).expect("appended");
    let new = files_of(&*storage);
    // The manifest as it was before its last edit.
    let error = read(&damage(&new, "MANIFEST-000002", middle["MANIFEST-000002"].clone())).expect_err("older manifest");
    assert!(error.to_string().contains("MANIFEST-000002"), "{error}");
    // Manifest and CURRENT as they were before it was opened.
    let mut files = damage(&new, CURRENT, old[CURRENT].clone());
    files.insert("MANIFEST-000001".to_owned(), old["MANIFEST-000001"].clone());
    assert!(
        read(&files)
            .expect_err("older CURRENT")
            .to_string()
            .contains("older copy")
    );
    // The file of another database under the right name.
    let other = storage_with(&Files::new());
    Manifest::create(Arc::clone(&other), Path::new(DIR), State::new(43)).expect("created");
    let other = files_of(&*other);
    for name in ["MANIFEST-000001", CURRENT, TAIL] {
        assert!(
            read(&damage(&old, name, other[name].clone())).is_err(),
            "{name} of another database"
        );
    }
}

/// An edit that tells of dead rows of a run of table 1, perhaps that these are all, or that it has no deletion vectors.
#[test]
fn what_was_not_acknowledged_is_cut_or_counts_whole() {
    let (files, state) = example();
    let length = manifest_length(&files);
    let edit = VersionEdit::new().with(add(3));
    let set = |index| VersionEdit::new().with(Change::SetIndex { table: 1, index });
    for (edit, wanted) in [
        (
            set(Some(IndexMeta {
                id: 300,
                kind: "bplus".to_owned(),
                root: 7,
            })),
            "818040 0a 01 ac02 05 62706c7573 07",
        ),
        (set(None), "818040 01 01"),
        (
            mark(Some(false), 2, &[3, 4]),
            "828040 1b 01 00 01 02 0a 00 14 3a300000 01000000 00000100 10000000 0300 0400",
        ),
        (mark(None, 2, &[]), "828040 01 01"),
    ] {
        let mut bytes = Vec::new();
        edit.encode(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, wanted.replace(' ', ""));
        assert_eq!(VersionEdit::decode(&bytes).expect("decoded"), edit);
    }
    let record = files::record(42, 1, 5, &edit).expect("small");
    for cut in 0..=record.len() {
        let mut bytes = files["MANIFEST-000001"].clone();
        bytes[length..length + cut].copy_from_slice(&record[..cut]);
        let read = read(&damage(&files, "MANIFEST-000001", bytes)).expect("a torn record is no damage");
        if cut < record.len() {
            assert_eq!(read, state, "cut at {cut}");
        } else {
            assert_eq!(read.runs().count(), 3);
        }
    }
}

#[test]
fn a_switch_can_be_interrupted_anywhere_and_again() {
    let (old, state) = example();
    let storage = storage_with(&old);
    Manifest::open(Arc::clone(&storage), Path::new(DIR)).expect("open");
    let new = files_of(&*storage);
    // The new file is written, CURRENT is not switched.
    let mut files = old.clone();
    files.insert("MANIFEST-000002".to_owned(), new["MANIFEST-000002"].clone());
    files.insert("CURRENT.new".to_owned(), new[CURRENT][..5].to_vec());
    assert_eq!(
        *Manifest::open(storage_with(&files), Path::new(DIR))
            .expect("open")
            .state(),
        state
    );
    // CURRENT is switched, the tail is not; and the next opening stops at the same place.
    files.insert(CURRENT.to_owned(), new[CURRENT].clone());
    let storage = storage_with(&files);
    assert_eq!(
        *Manifest::open(Arc::clone(&storage), Path::new(DIR))
            .expect("open")
            .state(),
        state
    );
    let after = files_of(&*storage);
    assert_eq!(after.keys().collect::<Vec<_>>(), [CURRENT, "MANIFEST-000003", TAIL]);
    assert_eq!(read(&after).expect("read"), state);
    let mut tail_of_two = after.clone();
    let slot = tail_of_two.get_mut(TAIL).expect("there");
    let newest = usize::from(slot[4096 + 20] == 3) * 4096;
    slot[newest..newest + 64].fill(0xAA);
    assert_eq!(
        *Manifest::open(storage_with(&tail_of_two), Path::new(DIR))
            .expect("open")
            .state(),
        state
    );
}

#[test]
fn an_interrupted_creation_can_be_repeated() {
    let (files, _) = example();
    let mut partial = Files::new();
    assert!(!Manifest::exists(&*storage_with(&partial), Path::new(DIR)).expect("none"));
    partial.insert(TAIL.to_owned(), vec![0; 100]);
    assert!(!Manifest::exists(&*storage_with(&partial), Path::new(DIR)).expect("fresh"));
    partial.insert(TAIL.to_owned(), vec![0; 8192]);
    partial.insert("MANIFEST-000001".to_owned(), files["MANIFEST-000001"].clone());
    let storage = storage_with(&partial);
    Manifest::create(Arc::clone(&storage), Path::new(DIR), State::new(9)).expect("created");
    assert_eq!(Manifest::read(&*storage, Path::new(DIR)).expect("read"), State::new(9));
    let again = Manifest::create(storage, Path::new(DIR), State::new(9)).expect_err("there is one");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let (files, _) = example();
    let mut bytes = files["MANIFEST-000001"].clone();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    let files = damage(&files, "MANIFEST-000001", bytes);
    let storage = storage_with(&files);
    let error = Manifest::open(Arc::clone(&storage), Path::new(DIR)).expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(files_of(&*storage), files, "untouched");
}
