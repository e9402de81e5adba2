//! Changes: which fit, what they do to indexes and vectors, and their bytes.

use super::*;

#[test]
fn a_change_of_runs_that_tells_of_no_dead_rows_ends_deletion_vectors() {
    let mut state = State::new(42);
    let mut apply = |edit: &VersionEdit| -> Result<Option<Vec<(RunId, u64)>>> {
        state.apply(edit)?;
        let mut copy = State::default();
        copy.apply(&state.snapshot())?;
        assert_eq!(copy, state, "a snapshot has the dead rows");
        let dead = state.tables[&1].dead.as_ref();
        Ok(dead.map(|dead| dead.iter().map(|(&run, dead)| (run, dead.count())).collect()))
    };
    let with = |mut edit: VersionEdit, change: Change| {
        edit.changes.insert(0, change);
        edit
    };
    let created = VersionEdit::new().with(create_table()).with(add(2));
    assert_eq!(apply(&created).expect("fits"), None);
    apply(&mark(Some(false), 2, &[0])).expect_err("it has no vectors to add to");
    assert_eq!(apply(&mark(Some(true), 2, &[1])).expect("fits"), Some(vec![(2, 1)]));
    apply(&mark(Some(false), 2, &[10])).expect_err("the run has 10 rows");
    apply(&mark(Some(false), 3, &[0])).expect_err("there is no such run");
    assert_eq!(apply(&mark(Some(false), 2, &[1, 9])).expect("fits"), Some(vec![(2, 2)]));
    let added = with(mark(Some(false), 3, &[4]), add(3));
    assert_eq!(apply(&added).expect("fits"), Some(vec![(2, 2), (3, 1)]));
    let removed = Change::RemoveRun { table: 1, run: 2 };
    let removed = with(mark(Some(false), 3, &[5]), removed);
    assert_eq!(apply(&removed).expect("fits"), Some(vec![(3, 2)]));
    assert_eq!(apply(&VersionEdit::new().with(add(4))).expect("fits"), None);
    assert_eq!(apply(&mark(Some(true), 4, &[5])).expect("fits"), Some(vec![(4, 1)]));
    assert_eq!(apply(&mark(None, 4, &[])).expect("fits"), None);
}

#[test]
fn unknown_changes_are_refused_unless_optional() {
    let error = VersionEdit::decode(&[99, 1, 0]).expect_err("required");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        VersionEdit::decode(&[0x80, 0x80, 0x40, 1, 0]).expect("optional"),
        VersionEdit::new()
    );
    assert!(VersionEdit::decode(&[3, 2, 1, 0]).is_err(), "bytes too many");
}

#[test]
fn edits_that_do_not_fit_change_nothing() {
    let (files, before) = example();
    let mut manifest = Manifest::open(storage_with(&files), Path::new(DIR)).expect("open");
    let place = Place {
        level: 1,
        sorted_run: 5,
    };
    for change in [
        add(1),
        Change::RemoveRun { table: 1, run: 77 },
        Change::RemoveRun { table: 2, run: 1 },
        Change::MoveRun {
            table: 1,
            run: 77,
            place,
        },
        Change::MoveRun {
            table: 1,
            run: 1,
            place: Place {
                level: MAX_LEVELS,
                sorted_run: 5,
            },
        },
        Change::DropTable(9),
        create_table(),
        Change::CreateTable {
            id: 5,
            name: "t".to_owned(),
            schema: Vec::new(),
            options: Vec::new(),
        },
        Change::LastSeq(1),
        Change::WalFrom(1),
        Change::Identity(7),
        Change::NextIds {
            run: 1,
            table: 0,
            sorted_run: 0,
        },
        Change::Flushed { table: 3, segment: 1 },
        schema(2, 1),
        schema(1, 0),
    ] {
        let edit = VersionEdit::new().with(Change::LastSeq(999)).with(change.clone());
        let error = manifest.append(&edit).expect_err("does not fit");
        assert_eq!(error.kind(), ErrorKind::Corruption, "{change:?}");
        assert_eq!(*manifest.state(), before, "{change:?}");
    }
    let good = VersionEdit::new()
        .with(schema(1, 1))
        .with(schema(1, 3))
        .with(Change::MoveRun {
            table: 1,
            run: 1,
            place,
        })
        .with(Change::RemoveRun { table: 1, run: 2 })
        .with(Change::Flushed { table: 1, segment: 3 })
        .with(Change::TableOptions {
            table: 1,
            options: vec![1],
        });
    manifest.append(&good).expect("fits");
    assert_eq!(manifest.state().tables[&1].runs.get(1).expect("there").place, place);
    let numbers: Vec<u32> = manifest.state().tables[&1].schemas.keys().copied().collect();
    assert_eq!(numbers, [1, 3]);
    let backward = VersionEdit::new().with(schema(1, 2));
    assert!(manifest.append(&backward).is_err(), "numbers rise");
    let mut again = State::default();
    again.apply(&manifest.state().snapshot()).expect("a snapshot");
    assert_eq!(again, *manifest.state());
    manifest
        .append(&VersionEdit::new().with(Change::DropTable(1)))
        .expect("fits");
    assert!(manifest.state().tables.is_empty());
    assert_eq!(manifest.state().next_table, 2, "numbers are not given out again");
}

#[test]
fn a_change_of_runs_that_names_no_index_leaves_the_table_without() {
    let storage = storage_with(&Files::new());
    let mut manifest = Manifest::create(Arc::clone(&storage), DIR.as_ref(), State::new(42)).expect("create");
    let index = IndexMeta {
        id: 9,
        kind: "bplus".to_owned(),
        root: 3,
    };
    let set = Change::SetIndex {
        table: 1,
        index: Some(index.clone()),
    };
    let named = |manifest: &Manifest| manifest.state().tables[&1].index.clone();
    let place = Place {
        level: 1,
        sorted_run: 5,
    };
    let mut append = |changes: &[Change]| {
        let changes = changes.to_vec();
        manifest.append(&VersionEdit { changes }).expect("fits");
        // A reader of the file must come to the same state, and so must one of a snapshot.
        let read = Manifest::read(&*storage, DIR.as_ref()).expect("read");
        assert_eq!(read, *manifest.state());
        let mut copy = State::default();
        copy.apply(&read.snapshot()).expect("a snapshot fits");
        assert_eq!(copy, read);
        named(&manifest)
    };
    assert_eq!(append(&[create_table(), add(1), set.clone()]), Some(index.clone()));
    assert_eq!(
        append(&[Change::MoveRun {
            table: 1,
            run: 1,
            place
        }]),
        Some(index.clone())
    );
    assert_eq!(append(&[add(2)]), None);
    assert_eq!(
        append(&[Change::RemoveRun { table: 1, run: 1 }, set.clone()]),
        Some(index)
    );
    assert_eq!(append(&[Change::RemoveRun { table: 1, run: 2 }]), None);
    assert_eq!(
        manifest.state().next_run,
        10,
        "the number of the index file is not given out again"
    );
}

#[test]
fn the_bytes_are_as_documented() {
    let edit = VersionEdit::new()
        .with(create_table())
        .with(add(2))
        .with(Change::LastSeq(300))
        .with(schema(1, 300));
    let mut bytes = Vec::new();
    edit.encode(&mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Create table 1 "t"; add run 2 to table 1 on level 0; the last sequence number is 300; layout 300 of table 1.
    let run = "01 00 02 02 07 66656174686572 01 ac02 28 efbeadde 0a 01 00 02 01 61 01 7a 01 c801 e807 d00f";
    let wanted = format!("02 07 01 01 74 02 07 08 00 05 23 {run} 08 02 ac02 0c 07 01 ac02 00 02 2c2c").replace(' ', "");
    assert_eq!(hex, wanted);
    assert_eq!(VersionEdit::decode(&bytes).expect("decoded"), edit);
    let record = files::record(42, 1, 5, &VersionEdit::new().with(Change::WalFrom(3))).expect("small");
    let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "030000006050ef700500000000000000090103");
    let current = Current {
        number: 5,
        identity: 0x0123_4567_89AB_CDEF,
    }
    .encode();
    assert_eq!(current, "kodiak 1 MANIFEST-000005 0123456789abcdef 1394913f\n");
    for cut in 0..bytes.len() {
        let _ = VersionEdit::decode(&bytes[..cut]);
    }
}

#[test]
fn secondary_indexes_have_their_bytes_and_lose_their_files_with_a_change_of_runs() {
    let file = IndexMeta {
        id: 300,
        kind: "bplus".to_owned(),
        root: 7,
    };
    let name = || "by".to_owned();
    let set = |index| Change::SetSecondary {
        table: 1,
        name: name(),
        index,
    };
    let index = Some(SecondaryMeta { file, exact: true });
    let create = Change::AddSecondary {
        table: 1,
        name: name(),
        definition: vec![9, 8],
    };
    let drop = Change::DropSecondary { table: 1, name: name() };
    for (change, wanted) in [
        (&create, "10 07 01 02 6279 02 0908"),
        (&drop, "11 04 01 02 6279"),
        (&set(index.clone()), "908040 0e 01 02 6279 ac02 05 62706c7573 07 01"),
        (&set(None), "908040 04 01 02 6279"),
    ] {
        let edit = VersionEdit::new().with(change.clone());
        let mut bytes = Vec::new();
        edit.encode(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, wanted.replace(' ', ""));
        assert_eq!(VersionEdit::decode(&bytes).expect("decoded"), edit);
    }
    let mut state = State::new(42);
    let mut apply = |changes: &[Change]| {
        let changes = changes.to_vec();
        let applied = state.apply(&VersionEdit { changes });
        let mut copy = State::default();
        copy.apply(&state.snapshot()).expect("a snapshot fits");
        assert_eq!(copy, state);
        applied.map(|()| state.tables[&1].secondary.get("by").map(|known| known.index.clone()))
    };
    assert_eq!(apply(&[create_table(), create.clone()]).expect("fits"), Some(None));
    assert_eq!(apply(&[set(index.clone())]).expect("fits"), Some(index.clone()));
    assert_eq!(apply(&[add(1)]).expect("fits"), Some(None));
    assert_eq!(apply(&[add(2), set(index.clone())]).expect("fits"), Some(index));
    apply(std::slice::from_ref(&create)).expect_err("it is there");
    assert_eq!(apply(std::slice::from_ref(&drop)).expect("fits"), None);
    apply(&[drop]).expect_err("it is gone");
    apply(&[set(None)]).expect_err("it is gone");
}

#[test]
fn the_end_of_a_log_holds_until_something_is_flushed_or_dropped() {
    let end = VersionEdit::new().with(Change::LogEnd(300));
    let mut bytes = Vec::new();
    end.encode(&mut bytes);
    assert_eq!(bytes, [0x83, 0x80, 0x40, 2, 0xAC, 0x02]);
    assert_eq!(VersionEdit::decode(&bytes).expect("decodes"), end);
    for (change, holds) in [
        (Change::LastSeq(400), true),
        (add(7), true),
        (Change::Flushed { table: 1, segment: 90 }, false),
        (Change::WalFrom(90), false),
        (Change::DropTable(1), false),
    ] {
        let (files, _) = example();
        let storage = storage_with(&files);
        let mut manifest = Manifest::open(Arc::clone(&storage), Path::new(DIR)).expect("open");
        manifest.append(&end).expect("append");
        drop(manifest);
        let mut manifest = Manifest::open(Arc::clone(&storage), Path::new(DIR)).expect("open");
        assert_eq!(manifest.state().log_end, Some(300), "it is in the snapshot");
        manifest
            .append(&VersionEdit::new().with(change.clone()))
            .expect("append");
        assert_eq!(manifest.state().log_end, holds.then_some(300), "{change:?}");
    }
}

#[test]
fn times_add_up_for_a_table_of_which_all_are_known() {
    let times = |anew, samples: &[(u64, u64)]| Change::AddTimes {
        table: 1,
        anew,
        samples: samples.to_vec(),
    };
    let edit = VersionEdit::new().with(times(true, &[(5, 10), (10, 13)]));
    let mut bytes = Vec::new();
    edit.encode(&mut bytes);
    assert_eq!(bytes, [0x84, 0x80, 0x40, 8, 1, 1, 5, 2, 5, 0x14, 5, 6]);
    assert_eq!(VersionEdit::decode(&bytes).expect("decodes"), edit);
    let mut state = State::new(42);
    let mut apply = |changes: &[Change]| {
        let changes = changes.to_vec();
        let applied = state.apply(&VersionEdit { changes });
        let mut copy = State::default();
        copy.apply(&state.snapshot()).expect("a snapshot fits");
        assert_eq!(copy, state);
        applied.map(|()| state.tables[&1].times.as_deref().cloned())
    };
    // Without runs, nothing is unknown; with one of which nothing was told, it stays so.
    assert_eq!(apply(&[create_table(), add(1)]).expect("fits"), None);
    assert_eq!(apply(&[times(false, &[(3, 3)]), add(2)]).expect("fits"), None);
    assert_eq!(apply(&[times(true, &[(5, 10)])]).expect("fits"), Some(vec![(5, 10)]));
    assert_eq!(
        apply(&[times(false, &[(4, 9), (5, 10), (7, 12)])]).expect("fits"),
        Some(vec![(4, 9), (5, 10), (7, 12)])
    );
    apply(&[times(false, &[(8, 9), (7, 12)])]).expect_err("they do not ascend");
    apply(&[Change::DropTable(1), times(true, &[])]).expect_err("there is no table");
    let mut fresh = State::new(42);
    let changes = vec![create_table(), times(false, &[(9, 1)]), add(1)];
    fresh.apply(&VersionEdit { changes }).expect("fits");
    assert_eq!(fresh.tables[&1].times.as_deref(), Some(&vec![(9, 1)]));
}
