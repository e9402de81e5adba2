//! Indexes that stand for themselves.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{context, small};
use kodiak_core::ErrorKind;
use kodiak_core::index::Updates;
use kodiak_core::storage::Storage;
use kodiak_indexes::{IndexFile, Map};
use kodiak_storage::{CrashOptions, FaultStorage, MemoryStorage, Moment, OpKind};
use parking_lot::Mutex;

const POOL: usize = 64 << 20;

fn put(map: &Map, key: &[u8], value: &[u8]) {
    let mut updates = Updates::new();
    updates.put(key, value);
    map.apply(&updates, None).expect("a sound batch");
}

#[test]
fn a_map_is_made_once_and_opened_with_what_was_committed() {
    let storage = Arc::new(MemoryStorage::new());
    for kind in ["bplus", "fractal"] {
        let path = format!("/{kind}");
        let map = Map::open(storage.clone(), &path, kind, POOL).expect("a new map");
        put(&map, b"a", b"1");
        let view = map.save().expect("space");
        put(&map, b"b", b"2");
        drop(map);
        let map = Map::open(storage.clone(), &path, kind, POOL).expect("it is there");
        assert_eq!(map.get(b"a").expect("sound").as_deref(), Some(&b"1"[..]));
        assert_eq!(map.get(b"b").expect("sound"), None, "it was not committed");
        assert_eq!(view.range(..).count(), 1, "a view outlives its map");
        assert_eq!(map.newest().expect("sound").root(), view.root());
    }
    let error = Map::open(storage.clone(), "/bplus", "fractal", POOL).expect_err("it is a B+ tree");
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
    let error = Map::open(storage.clone(), "/x", "lsm", POOL).expect_err("there is none");
    assert!(error.to_string().contains("bplus, fractal"), "{error}");
    let error = Map::open(storage.clone(), "/x", "fractal", 1000).expect_err("too small");
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
    assert_eq!(storage.len(Path::new("/x")).expect("len"), None, "nothing was made");
}

#[test]
fn the_file_of_another_map_is_refused_if_both_say_whose_they_are() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let factory = kodiak_indexes::ALL[0];
    let open = |path: &str, owner: &[u8]| {
        let mut context = context(factory, storage.clone(), small(factory));
        (context.path, context.owner) = (path.into(), owner.to_vec());
        Map::open_with(factory, context)
    };
    for name in ["users", "towns"] {
        let map = open(&format!("/{name}"), name.as_bytes()).expect("a new map");
        put(&map, b"a", name.as_bytes());
        map.save().expect("space");
    }
    storage
        .rename(Path::new("/towns"), Path::new("/users"))
        .expect("it is closed");
    let error = open("/users", b"users").expect_err("it is that of towns");
    assert_eq!(
        (error.kind(), error.file()),
        (ErrorKind::Corruption, Some(Path::new("/users")))
    );
    assert!(
        error
            .message()
            .contains("belongs to \"towns\", not to \"users\": restore the right one"),
        "{error}"
    );
    for owner in ["", "towns"] {
        let map = open("/users", owner.as_bytes()).expect("who does not say takes any");
        assert_eq!(map.get(b"a").expect("sound").as_deref(), Some(&b"towns"[..]));
    }
    let error = open("/new", &[b'o'; 97]).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(storage.len(Path::new("/new")).expect("len"), None, "nothing was made");
}

#[test]
fn a_second_one_of_the_same_file_is_refused_until_the_first_is_dropped() {
    let storage = Arc::new(MemoryStorage::new());
    let open = || Map::open(storage.clone(), "/map", "bplus", POOL);
    let first = open().expect("a new map");
    put(&first, b"a", b"1");
    let error = open().expect_err("it is open");
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    first.save().expect("space");
    drop(first);
    assert_eq!(
        open().expect("it is closed").get(b"a").expect("sound").as_deref(),
        Some(&b"1"[..])
    );
}

#[test]
fn a_look_into_a_file_that_is_written_to_takes_no_change_for_damage() {
    for &factory in kodiak_indexes::ALL {
        let storage = Arc::new(MemoryStorage::new());
        let map = Map::open_with(factory, context(factory, storage.clone(), small(factory))).expect("a new map");
        let mut updates = Updates::new();
        for number in 0..2000u32 {
            updates.put(&number.wrapping_mul(2_654_435_761).to_be_bytes(), &[1; 50]);
        }
        map.apply(&updates, None).expect("a sound batch");
        map.save().expect("space");
        let open = || IndexFile::open(&*storage, Path::new(common::PATH)).expect("a sound file");
        // The second one has nothing in memory yet.
        let (look, other) = (open(), open());
        let mut findings = Vec::new();
        look.verify(&mut |finding| findings.push(finding))
            .expect("nothing has changed");
        assert_eq!(findings, []);
        for round in 2..8u8 {
            let mut updates = Updates::new();
            for number in 0..2000u32 {
                updates.put(&number.wrapping_mul(2_654_435_761).to_be_bytes(), &[round; 50]);
            }
            map.apply(&updates, None).expect("a sound batch");
            map.save().expect("space");
        }
        let error = look
            .verify(&mut |finding| findings.push(finding))
            .expect_err("pages were used again");
        assert_eq!((error.kind(), findings.len()), (ErrorKind::Locked, 0), "{error}");
        let root = *other.roots().last().expect("a root");
        let error = other.dump(root, &mut |_| {}).expect_err("pages were used again");
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    }
}

#[test]
fn states_that_were_saved_over_leave_their_space() {
    for &factory in kodiak_indexes::ALL {
        let storage = Arc::new(MemoryStorage::new());
        let map = Map::open_with(factory, context(factory, storage, small(factory))).expect("a new map");
        let mut used = 0;
        for round in 0..60u32 {
            let mut updates = Updates::new();
            for number in 0..300u32 {
                updates.put(&number.to_be_bytes(), &round.to_be_bytes());
            }
            map.apply(&updates, None).expect("a sound batch");
            let view = map.save().expect("space");
            assert_eq!(map.roots(), [view.root()]);
            if round == 10 {
                used = map.stats().used_bytes + map.stats().free_bytes;
            }
        }
        let now = map.stats().used_bytes + map.stats().free_bytes;
        assert!(now <= 2 * used, "{}: {used} bytes became {now}", factory.component.name);
    }
}

#[test]
fn what_is_saved_is_there_though_whoever_made_the_file_was_killed_before_its_name_was_on_the_disk() {
    let storage = FaultStorage::with_seed(1);
    storage.create_dir_all(Path::new("/db")).expect("healthy");
    let image = Arc::new(Mutex::new(None));
    let (killed, watched) = (image.clone(), storage.clone());
    storage.on_op(Some(Arc::new(move |event| {
        if event.kind == OpKind::SyncDir && event.moment == Moment::Before && event.path == Path::new("/db") {
            *killed.lock() = Some(watched.kill_image());
        }
    })));
    Map::open(Arc::new(storage.clone()), "/db/map", "bplus", POOL).expect("a new map");
    storage.on_op(None);
    let storage = image.lock().take().expect("the directory is synced");
    let open =
        |storage: &FaultStorage| Map::open(Arc::new(storage.clone()), "/db/map", "bplus", POOL).expect("healthy");
    let map = open(&storage);
    put(&map, b"a", b"1");
    map.save().expect("space");
    let lost = storage.crash_image(&CrashOptions::SYNCED_ONLY);
    assert_eq!(open(&lost).get(b"a").expect("sound").as_deref(), Some(&b"1"[..]));
}
