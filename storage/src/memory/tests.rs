use super::*;

#[test]
fn it_passes_the_conformance_suite() {
    kodiak_core::conformance::storage::storage_suite(&|| {
        let dir = PathBuf::from("/database");
        let storage = MemoryStorage::new();
        storage.create_dir_all(&dir).expect("the root exists");
        (Arc::new(storage), dir)
    });
}

#[test]
fn a_mapping_shares_the_memory_of_the_file() {
    let storage = MemoryStorage::new();
    let path = Path::new("/f");
    let mut file = storage.create(path).expect("new");
    file.write_all(&[7; 100_000]).expect("memory");
    file.finish(false).expect("memory");
    let one = storage.open(path).expect("exists").map().expect("maps").expect("maps");
    let two = storage.open(path).expect("exists").map().expect("maps").expect("maps");
    assert_eq!(one.as_ptr(), two.as_ptr());
    assert_eq!(one.as_ptr() as usize % 4096, 0);
}

#[test]
fn a_seeded_storage_repeats_itself_and_its_clock_obeys() {
    let (one, two) = (MemoryStorage::with_seed(9), MemoryStorage::with_seed(9));
    let numbers: Vec<u64> = (0..5).map(|_| one.random()).collect();
    assert_eq!(numbers, (0..5).map(|_| two.random()).collect::<Vec<_>>());
    assert_ne!(numbers[0], MemoryStorage::with_seed(10).random());
    assert_eq!(one.now_micros(), FROZEN_MICROS);
    one.jump_clock(-3_600_000_000);
    assert_eq!(one.now_micros(), FROZEN_MICROS - 3_600_000_000);
    one.freeze_clock(5);
    assert_eq!(one.now_micros(), 5);
    one.run_clock();
    assert!(one.now_micros() > FROZEN_MICROS);
    let before = one.monotonic_nanos();
    assert!(one.monotonic_nanos() >= before);
}

#[test]
fn paths_are_resolved_without_leaving_the_root() {
    assert_eq!(normalise(Path::new("/a/./b/../c")), Path::new("a/c"));
    assert_eq!(normalise(Path::new("../../x")), Path::new("x"));
    assert_eq!(normalise(Path::new("/")), Path::new(""));
}
