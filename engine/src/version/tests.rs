//! What a version makes of runs, and how long a database of very many takes to open.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;

use kodiak_core::format::Compression;
use kodiak_core::schema::TableSchema;
use kodiak_core::storage::Storage;
use kodiak_storage::{LocalStorage, MemoryStorage};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::components::Components;
use crate::db::TableOptions;
use crate::manifest::{Change, Listing, Manifest, Place, PlacedRun, RunMeta, State, VersionEdit};
use crate::primary::Numbered;
use crate::run::{BlockCache, OpenRuns};
use crate::typed::{SchemaVersion, Schemas};
use crate::{Builder, Settings};

/// Runs of which level 0 has four, and level 6 the others, side by side; their numbers say nothing about their keys.
fn state(count: u64, seed: u64) -> State {
    let mut random = StdRng::seed_from_u64(seed);
    let mut keys: Vec<u64> = (0..count).collect();
    keys.shuffle(&mut random);
    let mut edit = VersionEdit::new().with(Change::CreateTable {
        id: 1,
        name: "t".to_owned(),
        schema: TableSchema::key_value().to_bytes(),
        options: TableOptions::new().to_bytes(),
    });
    for (id, key) in (1..).zip(keys) {
        let level = if id % (count / 4).max(1) == 0 { 0 } else { 6 };
        let key = |last: u8| Arc::from([format!("key {key:012} ").as_bytes(), &[last; 24]].concat());
        let run = RunMeta {
            id,
            format: "feather".to_owned(),
            compression: Compression::None,
            data_bytes: 64 << 20,
            sidecar_bytes: 1 << 20,
            sidecar_crc: random.random(),
            entries: 1 << 20,
            tombstones: u64::from(random.random_range(0..1000) == 0),
            range_deletes: u64::from(random.random_range(0..2000) == 0),
            blocks: 2000,
            min_key: key(b'a'),
            max_key: key(b'z'),
            min_seq: id * 1000,
            max_seq: id * 1000 + 999,
            oldest_micros: 1,
            newest_micros: 2,
        };
        let sorted_run = if level == 0 { id } else { 0 };
        edit.push(Change::AddRun {
            table: 1,
            place: Place { level, sorted_run },
            run: Arc::new(run),
        });
    }
    let mut state = State::new(7);
    state.apply(&edit).expect("it fits");
    state
}

fn context() -> Arc<RunContext> {
    let components = Components::new();
    let schema = SchemaVersion::new(TableSchema::key_value(), true, 0);
    Arc::new(RunContext {
        storage: Arc::new(MemoryStorage::new()),
        dir: "/db/tables/000001".into(),
        schemas: Arc::new(Schemas::new(vec![schema])),
        formats: components.formats().clone(),
        filters: components.filters().clone(),
        cache: Arc::new(BlockCache::new(0)),
        open_runs: Arc::new(OpenRuns::new(10)),
        removals: Arc::default(),
        replaced: AtomicUsize::new(0),
        dropped: AtomicBool::new(false),
    })
}

fn same(one: &Version, other: &Version) {
    for (one, other) in one.levels.iter().zip(&other.levels) {
        assert_eq!(one.sorted_runs.len(), other.sorted_runs.len());
        for (one, other) in one.sorted_runs.iter().zip(&other.sorted_runs) {
            let ids = |sorted: &SortedRun| sorted.runs().expect("read").map(|run| run.id()).collect::<Vec<_>>();
            assert_eq!((one.id, ids(one)), (other.id, ids(other)));
            assert_eq!(one.totals(), other.totals());
        }
    }
}

#[test]
fn runs_loaded_together_added_and_taken_away_one_by_one_make_the_same_version() {
    let context = context();
    for seed in 0..4 {
        let (many, few) = (state(3000, seed), state(40, seed));
        for state in [many, few] {
            let table = &state.tables[&1];
            let loaded = Version::stored(table, &context).expect("read");
            let mut added = Version::empty(7);
            for placed in table.runs.values() {
                let run = Run::new((*placed.run).clone(), Arc::clone(&context));
                added.add(placed.place.level as usize, placed.place.sorted_run, Arc::new(run));
            }
            same(&loaded, &added);
            // Every other run goes.
            let mut left = table.as_ref().clone();
            for id in table.runs.keys().filter(|id| id % 2 == 0) {
                let run = Arc::clone(added.find(id).expect("read").expect("it is there"));
                assert!(added.place(&run).is_some());
                added.remove(&run).expect("it is there");
                assert!(added.remove(&run).is_none());
                left.runs.remove(id);
            }
            let loaded = Version::stored(&left, &context).expect("read");
            let levels = loaded.levels.len();
            added.levels.truncate(levels);
            same(&loaded, &added);
        }
    }
}

/// A manifest with so many runs, all in its catalogue.
fn catalogued(count: u64) -> Manifest {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let dir = std::path::Path::new("/db");
    storage.create_dir_all(dir).expect("a directory");
    drop(Manifest::create(Arc::clone(&storage), dir, state(count, 1)).expect("a manifest"));
    let listing = Listing::Catalogue(Components::new().indexes().find("bplus").expect("an index"), 1);
    // The first opening puts the runs into the catalogue, the second one finds them there.
    drop(Manifest::open_with(Arc::clone(&storage), dir, listing).expect("open"));
    Manifest::open_with(Arc::clone(&storage), dir, listing).expect("open")
}

#[test]
fn a_run_is_found_where_the_catalogue_has_placed_it_and_only_its_piece_is_read() {
    let count = 3000;
    let manifest = catalogued(count);
    let table = &manifest.state().tables[&1];
    assert!(table.runs.is_empty() && table.runs.base().is_some());
    let context = context();
    let version = Version::stored(table, &context).expect("read");
    assert!(!version.is_read() && version.known_runs().count() == 0);
    let placed = table.runs.find(count / 2).expect("read").expect("it is there");
    let run = version.placed(&placed).expect("read").expect("it is there");
    assert_eq!(run.id(), count / 2);
    let read = version.known_runs().count();
    assert!((1..count as usize / 2).contains(&read), "{read} runs were read");
    for id in 1..=count {
        let placed = table.runs.find(id).expect("read").expect("it is there");
        let run = version.placed(&placed).expect("read").map(|run| run.id());
        assert_eq!(run, Some(id));
    }
    assert!(version.is_read());
    let elsewhere = PlacedRun {
        place: Place {
            level: 3,
            sorted_run: 0,
        },
        ..placed
    };
    assert!(version.placed(&elsewhere).expect("read").is_none());
}

#[test]
fn runs_are_found_by_number_before_all_have_been_read_and_after() {
    let manifest = catalogued(3000);
    let table = &manifest.state().tables[&1];
    let context = context();
    let mut version = Version::stored(table, &context).expect("read");
    let flushed = RunMeta {
        id: 5000,
        ..(*table.runs.find(7).expect("read").expect("it is there").run).clone()
    };
    version.add(0, 5000, Arc::new(Run::new(flushed, context)));
    let runs = Numbered::new(&version, Some(&table.runs));
    assert!(runs.all().is_none() && runs.listed().is_some());
    for id in [5000, 9, 1500, 3000] {
        let run = runs.look_up(id).expect("read").expect("it is there");
        assert_eq!(run.id(), id);
    }
    assert!(!version.is_read(), "a few took all to be read");
    assert!(runs.look_up(4000).expect("read").is_none());
    assert!(version.is_read());
    let all = runs.all().expect("all have been read");
    for id in (1..=3000).chain([5000]) {
        assert_eq!(all.find(id).map(|run| run.id()), Some(id));
    }
    assert!(all.find(4000).is_none());
    assert!(Numbered::new(&version, Some(&table.runs)).listed().is_none());
}

/// `KODIAK_RUNS=100000 cargo test --release -p kodiak --lib many_runs -- --nocapture` tells how long each part takes.
#[test]
#[allow(clippy::print_stdout, reason = "it is asked for")]
fn a_database_of_many_runs_opens() {
    // Storage in memory takes long to list a directory with many files beside it.
    let (count, storage): (u64, Box<dyn Storage>) = match std::env::var("KODIAK_RUNS") {
        Ok(text) => (text.parse().expect("a number"), Box::new(LocalStorage::new())),
        Err(_) => (2000, Box::new(MemoryStorage::new())),
    };
    let home = tempfile::tempdir().expect("a directory");
    let dir = &home.path().join("db");
    let table = &dir.join("tables/000001");
    storage.create_dir_all(table).expect("a directory");
    storage.create_dir_all(&dir.join("wal")).expect("a directory");
    for id in 1..=count {
        for ending in ["feather", "meta"] {
            let file = storage.create(&table.join(format!("{id:010}.{ending}")));
            file.and_then(|file| file.finish(false)).expect("a file");
        }
    }
    let storage: Arc<dyn Storage> = Arc::from(storage);
    drop(Manifest::create(Arc::clone(&storage), dir, state(count, 1)).expect("a manifest"));
    let timed =
        |what: &str, begun: Instant| println!("{count} runs: {what} {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    let begun = Instant::now();
    let state = Manifest::read(&*storage, dir).expect("read");
    timed("manifest read", begun);
    let begun = Instant::now();
    let version = Version::stored(&state.tables[&1], &context()).expect("read");
    timed("version made", begun);
    assert_eq!(version.runs().expect("read").count() as u64, count);
    let begun = Instant::now();
    let mut manifest = Manifest::open(Arc::clone(&storage), dir).expect("open");
    timed("manifest read and written anew", begun);
    let begun = Instant::now();
    let edit = VersionEdit::new().with(Change::RemoveRun { table: 1, run: 1 });
    manifest.append(&edit).expect("append");
    timed("an edit", begun);
    drop(manifest);
    let open = |what: &str, builder: Builder| {
        let begun = Instant::now();
        let db = builder.storage(Arc::clone(&storage)).open(dir);
        timed(what, begun);
        let db = db.expect("open");
        let levels = &db.stats().tables[0].levels;
        assert_eq!(levels.iter().map(|level| level.runs as u64).sum::<u64>(), count - 1);
        db.close().expect("close");
    };
    let mut settings = Settings::default();
    open("opened for reading", Builder::new(settings.clone()).read_only());
    open("opened", Builder::new(settings.clone()));
    settings.index.catalogue = "bplus".to_owned();
    open("opened, the catalogue made", Builder::new(settings.clone()));
    open("opened with a catalogue", Builder::new(settings.clone()));
    let begun = Instant::now();
    let manifest = Manifest::open(Arc::clone(&storage), dir).expect("open");
    timed("manifest with a catalogue read and written anew", begun);
    let begun = Instant::now();
    let version = Version::stored(&manifest.state().tables[&1], &context()).expect("read");
    timed("version with a catalogue made", begun);
    let begun = Instant::now();
    let key = format!("key {:012} ", count / 2);
    for sorted in version.sorted_runs() {
        sorted.first_candidate(key.as_bytes()).expect("read");
    }
    timed("runs of one key read", begun);
    drop((manifest, version));
    open(
        "opened with a catalogue for reading",
        Builder::new(settings).read_only(),
    );
}
