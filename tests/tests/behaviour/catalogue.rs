//! Databases whose runs are in a catalogue.

use std::path::Path;
use std::sync::Arc;

use kodiak::core::format::Compression;
use kodiak::core::options::OptionValue;
use kodiak::core::storage::Storage;
use kodiak::manifest::{Change, Listing, Manifest, Place, RunMeta, State, VersionEdit};
use kodiak::{Builder, Components, Db, ErrorKind, MemoryStorage, Settings, TableSchema};
use kodiak_storage::FaultStorage;
use kodiak_tests::factors::small;

use super::mends::power_losses;

const DIR: &str = "/db";

fn listing(kind: &str, changes: usize) -> Listing {
    let components = Components::new();
    Listing::Catalogue(components.indexes().find(kind).expect("an index"), changes)
}

fn add(id: u64) -> Change {
    let key = id.to_be_bytes();
    let run = RunMeta {
        id,
        format: "feather".to_owned(),
        compression: Compression::None,
        data_bytes: 100,
        sidecar_bytes: 10,
        sidecar_crc: 1,
        entries: 7,
        tombstones: 0,
        range_deletes: 0,
        blocks: 1,
        min_key: key.into(),
        max_key: key.into(),
        min_seq: id,
        max_seq: id,
        oldest_micros: 1,
        newest_micros: 1,
    };
    Change::AddRun {
        table: 1,
        place: Place {
            level: 1,
            sorted_run: 1,
        },
        run: Arc::new(run),
    }
}

/// Opens a database's manifest a few times, changes it, and keeps its runs now here, now there.
fn work(storage: &Arc<dyn Storage>, kind: &str, mut told: impl FnMut(State)) {
    let dir = Path::new(DIR);
    let mut next = 100;
    for listing in [
        listing(kind, 1),
        listing(kind, 4),
        listing("bplus", 1),
        Listing::Manifest,
        listing(kind, 1),
        listing(kind, 1),
    ] {
        let mut manifest = Manifest::open_with(Arc::clone(storage), dir, listing).expect("open");
        for _ in 0..2 {
            let edit = VersionEdit::new()
                .with(Change::RemoveRun {
                    table: 1,
                    run: next - 90,
                })
                .with(add(next));
            next += 1;
            manifest.append(&edit).expect("append");
            told(plain(&manifest.state().whole().expect("whole")));
        }
    }
}

/// The state but for where it is kept.
fn plain(state: &State) -> State {
    let mut state = state.clone();
    state.catalogue = None;
    state
}

#[test]
fn a_power_loss_at_any_moment_leaves_a_catalogue_that_fits_the_manifest() {
    for (seed, kind) in [(1, "bplus"), (2, "fractal")] {
        let dir = Path::new(DIR);
        let storage = FaultStorage::with_seed(seed);
        storage.create_dir_all(dir).expect("a directory");
        let mut edit = VersionEdit::new().with(Change::CreateTable {
            id: 1,
            name: "t".to_owned(),
            schema: TableSchema::key_value().to_bytes(),
            options: Vec::new(),
        });
        (10..40).for_each(|id| {
            edit.push(add(id));
        });
        let mut state = State::new(7);
        state.apply(&edit).expect("it fits");
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        drop(Manifest::create(shared, dir, state.clone()).expect("create"));
        let mut told = vec![state];
        let images = power_losses(&storage, |storage| {
            let storage: Arc<dyn Storage> = storage;
            work(&storage, kind, |state| told.push(state));
        });
        assert!(images.len() > 400, "{} power losses", images.len());
        let mut reached = 0;
        for image in images {
            let read =
                plain(&Manifest::read(&image, dir).unwrap_or_else(|error| panic!("after {reached} edits: {error}")));
            // Nothing that was acknowledged is lost; what comes back may be one edit ahead.
            let at = told.iter().position(|state| *state == read);
            let at = at.unwrap_or_else(|| panic!("a state that never was, after {reached} edits"));
            assert!(at >= reached.max(1) - 1, "edit {reached} is lost, {at} is left");
            reached = reached.max(at);
            let image: Arc<dyn Storage> = Arc::new(image);
            let manifest = Manifest::open_with(Arc::clone(&image), dir, listing(kind, 1)).expect("open");
            assert_eq!(plain(&manifest.state().whole().expect("whole")), read);
            drop(manifest);
            assert_eq!(plain(&Manifest::read(&*image, dir).expect("read")), read);
        }
        assert_eq!(reached + 1, told.len());
    }
}

fn settings(kind: &str) -> Settings {
    let mut settings = small();
    kind.clone_into(&mut settings.index.catalogue);
    settings.index.catalogue_changes = 1;
    settings
}

fn open(storage: &Arc<MemoryStorage>, settings: Settings) -> Db {
    let storage: Arc<dyn Storage> = Arc::clone(storage) as _;
    Builder::new(settings).storage(storage).open(DIR).expect("open")
}

fn fill(db: &Db, round: u32) {
    let table = db.table("t").expect("table");
    for number in 0..200u32 {
        table.put(number.to_be_bytes(), round.to_be_bytes()).expect("put");
    }
    db.flush().expect("flush");
}

fn check(db: &Db, round: u32) {
    let table = db.table("t").expect("table");
    for number in (0..200u32).step_by(7) {
        let value = table.get(number.to_be_bytes()).expect("get");
        assert_eq!(value.as_deref(), Some(&round.to_be_bytes()[..]));
    }
    assert_eq!(table.scan(..).expect("scan").count(), 200);
}

#[test]
fn a_database_changes_its_catalogue_with_the_setting_and_keeps_its_rows() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage, small());
    db.create_table("t", TableSchema::key_value()).expect("create");
    fill(&db, 0);
    db.close().expect("close");
    for (round, kind) in (1..).zip(["bplus", "bplus", "fractal", "manifest", "bplus", "manifest"]) {
        let db = open(&storage, settings(kind));
        check(&db, round - 1);
        fill(&db, round);
        check(&db, round);
        assert!(db.verify().expect("verify").problems.is_empty());
        db.close().expect("close");
        let reader = Builder::new(settings("manifest"))
            .storage(Arc::clone(&storage) as _)
            .read_only();
        check(&reader.open(DIR).expect("open"), round);
        let files = storage.list(Path::new(DIR)).expect("list");
        let catalogues = files.iter().filter(|name| name.starts_with("CATALOGUE")).count();
        assert_eq!(catalogues, usize::from(kind != "manifest"), "{files:?}");
        let report = Builder::new(small())
            .storage(Arc::clone(&storage) as _)
            .verify(DIR)
            .expect("verify");
        assert!(report.problems.is_empty(), "{report}");
    }
}

/// A closed database whose catalogue has runs.
fn filled() -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::new());
    for round in 0..3 {
        let db = open(&storage, settings("bplus"));
        if round == 0 {
            db.create_table("t", TableSchema::key_value()).expect("create");
        }
        fill(&db, round);
        db.close().expect("close");
    }
    storage
}

#[test]
fn tables_with_a_primary_index_read_of_their_runs_what_they_need() {
    for kind in ["bplus", "fractal"] {
        let storage = Arc::new(MemoryStorage::new());
        let with_index = || {
            let mut settings = settings("bplus");
            kind.clone_into(&mut settings.index.primary);
            // Level 0 has more than four runs in the end, which compactions leave alone: so nothing reads all of the catalogue.
            (settings.backpressure.l0_slowdown, settings.backpressure.l0_stop) = (1000, 1000);
            let trigger = OptionValue::Int(500);
            settings.compaction.options.insert("l0_trigger".to_owned(), trigger);
            settings
        };
        for round in 0..6u32 {
            let db = open(&storage, with_index());
            if round == 0 {
                db.create_table("t", TableSchema::key_value()).expect("create");
            } else {
                check(&db, round - 1);
            }
            // A range delete in a run of the catalogue hides what runs before it have.
            let table = db.table("t").expect("table");
            if round == 2 {
                table.put(500u32.to_be_bytes(), b"gone").expect("put");
                db.flush().expect("flush");
                table
                    .delete_range(400u32.to_be_bytes()..600u32.to_be_bytes())
                    .expect("delete");
            }
            let snapshot = db.snapshot();
            fill(&db, round);
            check(&db, round);
            assert_eq!(table.get(500u32.to_be_bytes()).expect("get"), None);
            if round > 0 {
                let before = table.get_at(&snapshot, 7u32.to_be_bytes()).expect("get");
                assert_eq!(before.as_deref(), Some(&(round - 1).to_be_bytes()[..]));
            }
            assert!(db.verify().expect("verify").problems.is_empty());
            drop(snapshot);
            // Every other time the log has something for the next opening.
            if round % 2 == 0 {
                table.put(7u32.to_be_bytes(), round.to_be_bytes()).expect("put");
            }
            drop(table);
            db.close().expect("close");
        }
    }
}

#[test]
fn files_that_were_left_over_go_after_the_opening_and_those_of_runs_stay() {
    let storage = filled();
    // A number that was reserved, and never used.
    let (table, left) = (Path::new(DIR).join("tables/000001"), "0000002000.feather");
    storage
        .create(&table.join(left))
        .and_then(|file| file.finish(true))
        .expect("a file");
    let db = open(&storage, settings("bplus"));
    let begun = std::time::Instant::now();
    while storage.len(&table.join(left)).expect("len").is_some() {
        assert!(begun.elapsed().as_secs() < 60, "the file stays");
        std::thread::yield_now();
    }
    check(&db, 2);
    assert!(db.verify().expect("verify").problems.is_empty());
}

#[test]
fn repair_rebuilds_a_manifest_whose_catalogue_is_gone() {
    let storage = filled();
    let files = storage.list(Path::new(DIR)).expect("list");
    let name = files
        .iter()
        .find(|name| name.starts_with("CATALOGUE"))
        .expect("a catalogue");
    storage.remove(&Path::new(DIR).join(name)).expect("remove");
    let builder = || Builder::new(settings("bplus")).storage(Arc::clone(&storage) as _);
    let error = builder().open(DIR).expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::Corruption);
    let told = error.to_string();
    assert!(told.contains(name.as_str()) && told.contains("kodiak repair"), "{told}");
    let report = builder().repair(DIR).expect("repair");
    assert!(!report.problems.is_empty());
    check(&open(&storage, settings("bplus")), 2);
}

#[test]
fn an_unknown_catalogue_is_refused_with_those_that_there_are() {
    let error = Builder::new(settings("skiplist"))
        .storage(Arc::new(MemoryStorage::new()))
        .open(DIR);
    let told = error.expect_err("there is none").to_string();
    for part in ["index.catalogue", "skiplist", "bplus", "fractal", "manifest"] {
        assert!(told.contains(part), "{told}");
    }
}
