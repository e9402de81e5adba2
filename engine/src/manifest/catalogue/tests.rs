//! What a catalogue makes of the history of a database.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kodiak_core::ErrorKind;
use kodiak_core::format::Compression;
use kodiak_core::index::{IndexFactory, MAX_KEY, Root};
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use kodiak_storage::MemoryStorage;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::components::stored_indexes;
use crate::manifest::{Change, Listing, Manifest, Place, RunMeta, State, VersionEdit};

const DIR: &str = "/db";

fn factory(kind: &str) -> &'static IndexFactory {
    stored_index(kind).expect("it comes with the engine")
}

fn fresh() -> Arc<dyn Storage> {
    let storage = MemoryStorage::new();
    storage.create_dir_all(Path::new(DIR)).expect("a directory");
    Arc::new(storage)
}

fn run(id: u64, first: &[u8], last: &[u8]) -> Arc<RunMeta> {
    Arc::new(RunMeta {
        id,
        format: "feather".to_owned(),
        compression: Compression::None,
        data_bytes: id * 100,
        sidecar_bytes: 10,
        sidecar_crc: id as u32,
        entries: id * 7,
        tombstones: id % 3,
        range_deletes: u64::from(id.is_multiple_of(5)),
        blocks: 3,
        min_key: first.into(),
        max_key: last.into(),
        min_seq: id,
        max_seq: id + 1,
        oldest_micros: 1,
        newest_micros: 2,
    })
}

fn create_table(id: u32) -> Change {
    Change::CreateTable {
        id,
        name: format!("t{id}"),
        schema: TableSchema::key_value().to_bytes(),
        options: Vec::new(),
    }
}

/// The state without its catalogue.
fn plain(state: &State) -> State {
    let mut state = state.whole().expect("whole");
    state.catalogue = None;
    state
}

/// Edits at random that fit a state: runs come, go and move, tables are made and dropped.
fn random_edit(random: &mut StdRng, state: &State) -> VersionEdit {
    let mut edit = VersionEdit::new();
    let mut next = state.next_run.max(1);
    let tables: Vec<u32> = state.tables.keys().copied().collect();
    if tables.len() < 2 || random.random_range(0..40) == 0 {
        return edit.with(create_table(state.next_table.max(1)));
    }
    if tables.len() > 3 {
        return edit.with(Change::DropTable(tables[random.random_range(0..tables.len())]));
    }
    let table = tables[random.random_range(0..tables.len())];
    let known: Vec<_> = state.tables[&table].runs.values().cloned().collect();
    let mut gone = Vec::new();
    for _ in 0..random.random_range(0..6) {
        let Some(placed) = known.get(random.random_range(0..known.len().max(1))) else {
            break;
        };
        if gone.contains(&placed.run.id) {
            continue;
        }
        gone.push(placed.run.id);
        let run = placed.run.id;
        match random.random_range(0..3) {
            0 => edit.push(Change::MoveRun {
                table,
                run,
                place: Place {
                    level: 6,
                    ..placed.place
                },
            }),
            _ => edit.push(Change::RemoveRun { table, run }),
        };
    }
    for _ in 0..random.random_range(1..8) {
        // Keys with zeros, of which none is the same twice.
        let key = |last: u8| [&[0, random_byte(next), 0][..], &next.to_be_bytes(), &[last]].concat();
        let place = Place {
            level: random.random_range(0..3),
            sorted_run: random.random_range(0..2),
        };
        let run = run(next, &key(0), &key(9));
        edit.push(Change::AddRun { table, place, run });
        next += 1;
    }
    edit.with(Change::LastSeq(next + 2))
}

fn random_byte(number: u64) -> u8 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8 % 4
}

/// What the pieces of a catalogue hold is what it holds.
fn check_pieces(manifest: &Manifest) {
    for table in manifest.state().tables.values() {
        let Some(base) = table.runs.base() else { continue };
        for (place, totals) in base.listed().expect("read") {
            let heads = base.heads(place).expect("read");
            let mut from = vec![None];
            from.extend(heads.iter().map(|(_, key)| Some(key.as_slice())));
            let mut found = 0;
            for (at, begin) in from.iter().enumerate() {
                let end = from.get(at + 1).copied().flatten();
                let runs = base.piece(place, *begin, end).expect("read");
                assert!(at == 0 || *runs[0].run.min_key == *heads[at - 1].0);
                assert!(runs.windows(2).all(|pair| pair[0].run.max_key < pair[1].run.min_key));
                assert!(runs.iter().all(|placed| placed.place == place));
                found += runs.len() as u64;
            }
            assert_eq!(found, totals.runs);
        }
    }
}

#[test]
fn whatever_happens_a_database_with_a_catalogue_has_the_runs_of_one_without() {
    for (seed, kind) in (0..).zip(stored_indexes()) {
        let mut random = StdRng::seed_from_u64(seed);
        let (storage, dir) = (fresh(), Path::new(DIR));
        let mut expected = State::new(7);
        drop(Manifest::create(Arc::clone(&storage), dir, expected.clone()).expect("create"));
        let mut listed = 0;
        for _ in 0..30 {
            let listing = match random.random_range(0..8) {
                0 => Listing::Manifest,
                1 => Listing::AsBefore,
                2 => Listing::Catalogue(factory("bplus"), 5),
                _ => Listing::Catalogue(factory(kind), random.random_range(1..40)),
            };
            let mut manifest = Manifest::open_with(Arc::clone(&storage), dir, listing).expect("open");
            listed += usize::from(manifest.was_listed());
            assert_eq!(plain(manifest.state()), expected);
            check_pieces(&manifest);
            for _ in 0..random.random_range(0..30) {
                let edit = random_edit(&mut random, &expected);
                expected.apply(&edit).expect("it fits");
                manifest.append(&edit).expect("append");
            }
            assert_eq!(plain(manifest.state()), expected);
            assert_eq!(plain(&Manifest::read(&*storage, dir).expect("read")), expected);
            // Of a catalogue with nothing to tell there is one root, or two, of which the newest is not in use.
            let meta = manifest.state().catalogue.clone();
            drop(manifest);
            let names = storage.list(dir).expect("list");
            let files: Vec<_> = names.iter().filter(|name| is_catalogue(name)).collect();
            assert!(files.len() <= 1 + usize::from(meta.is_none()), "{files:?}");
        }
        assert!(listed > 10, "{listed} of 30 openings had a catalogue");
    }
}

#[test]
fn a_full_manifest_file_brings_the_catalogue_up_to_date() {
    let (storage, dir) = (fresh(), Path::new(DIR));
    let mut manifest = Manifest::create(Arc::clone(&storage), dir, State::new(7)).expect("create");
    manifest = manifest.listing_in(Listing::Catalogue(factory("bplus"), 10));
    manifest
        .append(&VersionEdit::new().with(create_table(1)))
        .expect("append");
    let place = Place {
        level: 0,
        sorted_run: 1,
    };
    let key = |id: u64| [&id.to_be_bytes()[..], &[7; 4000]].concat();
    for id in 1..400 {
        let run = run(id, &key(id), &key(id));
        manifest
            .append(&VersionEdit::new().with(Change::AddRun { table: 1, place, run }))
            .expect("append");
    }
    let meta = manifest.state().catalogue.clone().expect("there is a catalogue");
    assert!(manifest.state().unlisted() < 300);
    assert_eq!(manifest.state().whole().expect("whole").runs().count(), 399);
    assert!(meta.root > 1, "more than one update");
    let error = manifest.append(&VersionEdit::new().with(Change::RemoveRun { table: 1, run: 400 }));
    assert_eq!(error.expect_err("it is not there").kind(), ErrorKind::Corruption);
    let again = Change::AddRun {
        table: 1,
        place,
        run: run(3, &key(3), &key(3)),
    };
    assert!(
        manifest.append(&VersionEdit::new().with(again)).is_err(),
        "it is in the catalogue"
    );
}

#[test]
fn a_run_whose_key_is_too_long_for_an_index_stays_in_the_manifest() {
    let (storage, dir) = (fresh(), Path::new(DIR));
    let mut manifest = Manifest::create(Arc::clone(&storage), dir, State::new(7)).expect("create");
    let place = Place {
        level: 1,
        sorted_run: 1,
    };
    let long = vec![0; MAX_KEY];
    let runs = [run(1, &long, &long), run(2, b"a", b"b"), run(3, b"c", &[b'd'; 2 << 20])];
    let mut edit = VersionEdit::new().with(create_table(1));
    for run in runs {
        edit.push(Change::AddRun { table: 1, place, run });
    }
    manifest.append(&edit).expect("append");
    let expected = manifest.state().clone();
    drop(manifest);
    for _ in 0..3 {
        let listing = Listing::Catalogue(factory("bplus"), 1);
        let manifest = Manifest::open_with(Arc::clone(&storage), dir, listing).expect("open");
        assert_eq!(plain(manifest.state()), expected);
        assert_eq!(
            manifest
                .state()
                .runs()
                .map(|(_, placed)| placed.run.id)
                .collect::<Vec<_>>(),
            [1, 3]
        );
    }
}

fn with_catalogue() -> (Arc<dyn Storage>, State) {
    let (storage, dir) = (fresh(), Path::new(DIR));
    let mut manifest = Manifest::create(Arc::clone(&storage), dir, State::new(7)).expect("create");
    let mut edit = VersionEdit::new().with(create_table(1));
    for id in 1..=40 {
        let (place, key) = (
            Place {
                level: 1,
                sorted_run: 1,
            },
            [id as u8],
        );
        edit.push(Change::AddRun {
            table: 1,
            place,
            run: run(id, &key, &key),
        });
    }
    manifest.append(&edit).expect("append");
    drop(manifest);
    let manifest =
        Manifest::open_with(Arc::clone(&storage), dir, Listing::Catalogue(factory("bplus"), 1)).expect("open");
    let state = plain(manifest.state());
    (storage, state)
}

#[test]
fn a_catalogue_that_is_gone_or_damaged_is_corruption_that_names_it() {
    let (storage, state) = with_catalogue();
    let dir = Path::new(DIR);
    let names = storage.list(dir).expect("list");
    let name = names.iter().find(|name| is_catalogue(name)).expect("there is one");
    let path = dir.join(name);
    let len = storage.len(&path).expect("len").expect("there");
    let bytes = storage
        .open(&path)
        .expect("open")
        .read(0, len as usize)
        .expect("read")
        .to_vec();
    let rewrite = |bytes: &[u8]| {
        if storage.len(&path).expect("len").is_some() {
            storage.remove(&path).expect("remove");
        }
        let mut file = storage.create(&path).expect("create");
        std::io::Write::write_all(&mut file, bytes).expect("write");
        file.finish(true).expect("finish");
    };
    let mut damaged = 0;
    for at in (0..bytes.len()).step_by(61) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        rewrite(&bytes);
        match Manifest::read(&*storage, dir) {
            Ok(read) => assert_eq!(plain(&read), state, "byte {at} is in use"),
            Err(error) => {
                assert_eq!(
                    (error.kind(), error.file()),
                    (ErrorKind::Corruption, Some(&*path)),
                    "byte {at}: {error}"
                );
                damaged += 1;
            }
        }
    }
    assert!(damaged > 20, "{damaged} bytes were in use");
    storage.remove(&path).expect("remove");
    for error in [
        Manifest::read(&*storage, dir).expect_err("it is gone"),
        Manifest::open(Arc::clone(&storage), dir).expect_err("it is gone"),
    ] {
        assert_eq!((error.kind(), error.file()), (ErrorKind::Corruption, Some(&*path)));
        assert!(error.to_string().contains("kodiak repair"), "{error}");
    }
    rewrite(&bytes);
    assert_eq!(plain(&Manifest::read(&*storage, dir).expect("read")), state);
}

#[test]
fn entries_have_the_documented_bytes() {
    let (storage, dir) = (fresh(), Path::new(DIR));
    let mut manifest = Manifest::create(Arc::clone(&storage), dir, State::new(7)).expect("create");
    // Of the first numbers, this one begins a piece.
    let id = (1..).find(|id| keys::is_head(*id)).expect("one of 256");
    assert_eq!(id, HEAD);
    let place = Place {
        level: 2,
        sorted_run: 3,
    };
    let edit = VersionEdit::new().with(create_table(1)).with(Change::AddRun {
        table: 1,
        place,
        run: run(id, b"a\0b", b"c"),
    });
    manifest.append(&edit).expect("append");
    drop(manifest);
    let manifest =
        Manifest::open_with(Arc::clone(&storage), dir, Listing::Catalogue(factory("bplus"), 1)).expect("open");
    let meta = manifest.state().catalogue.clone().expect("there is a catalogue");
    let view = stored_view(&*storage, &dir.join(catalogue_name(meta.number)), b"", Root(meta.root)).expect("open");
    let (mut found, mut cursor) = (BTreeMap::new(), view.cursor());
    cursor.seek_first().expect("read");
    while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
        found.insert(hex(key), hex(value));
        cursor.next().expect("read");
    }
    let number = format!("{id:016x}");
    let place = format!("00000001{:02x}{:016x}", 2, 3);
    let run = format!("{place}6100ff620000{number}");
    let mut stored = Vec::new();
    crate::manifest::codec::put_run(&mut stored, &self::run(id, b"a\0b", b"c"));
    let expected = BTreeMap::from([
        (format!("48{run}"), String::new()),
        (format!("49{number}"), format!("52{run}")),
        ("4e00000001".to_owned(), hex(&varint(id + 1))),
        (format!("52{run}"), hex(&stored)),
        (
            format!("53{place}"),
            [1, id * 100 + 10, id * 7, id % 3, u64::from(id.is_multiple_of(5))]
                .map(|number| hex(&varint(number)))
                .concat(),
        ),
    ]);
    assert_eq!(found, expected);
    let change = VersionEdit::new().with(Change::Catalogue(CatalogueMeta {
        number: 5,
        kind: "bplus".to_owned(),
        root: 300,
    }));
    let mut bytes = Vec::new();
    change.encode(&mut bytes);
    assert_eq!(hex(&bytes), "0d0a01050562706c7573ac02");
    bytes[2] = 2;
    let error = VersionEdit::decode(&bytes).expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// The first number of a run at which a piece begins.
const HEAD: u64 = 233;

fn varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    kodiak_core::varint::put_u64(&mut bytes, number);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
