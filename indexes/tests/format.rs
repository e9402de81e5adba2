//! The bytes of an index file are those of `docs/formats/index.md`.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{PATH, put};
use kodiak_core::ErrorKind;
use kodiak_core::index::{Index, IndexContext, IndexFactory, Updates};
use kodiak_core::storage::Storage;
use kodiak_indexes::IndexFile;
use kodiak_storage::MemoryStorage;

fn context(factory: &IndexFactory, storage: Arc<dyn Storage>) -> IndexContext {
    common::context(factory, storage, common::small(factory))
}

fn bytes(storage: &dyn Storage) -> Vec<u8> {
    let file = storage.open(Path::new(PATH)).expect("it exists");
    file.read(0, file.len() as usize).expect("within the file").to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file with two commits; the second has a leaf of three entries.
fn small(factory: &IndexFactory) -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::new());
    let index = (factory.create)(context(factory, storage.clone())).expect("a new index");
    let mut updates = Updates::new();
    updates.put(b"apple", b"12").put(b"apricot", b"").upsert(b"pear", b"7");
    index.apply(&updates, None).expect("a sound batch");
    index.commit().expect("space");
    drop(index);
    bytes(&*storage)
}

#[test]
fn slots_leaves_and_accounts_are_as_documented() {
    let account_1 = "0200000000000000 2a000000 80ded722 0100000000000000";
    let leaf = "0300000000000000 54000000 7039078e 0200000000000000";
    let account_2 = "0400000000000000 64000000 90a9c3ac 0200000000000000";
    let start = "4b4f4449414b4958 02000000 00100000";
    for (factory, kind) in kodiak_indexes::ALL.iter().zip(["05 62706c7573", "07 6672616374616c"]) {
        let file = small(factory);
        let names = format!("{kind} 06 617070656e64 00");
        let parts = [
            (0, format!("{start} 0200000000000000 {account_2} 01 {names}")),
            (4096, format!("{start} 0100000000000000 {account_1} 01 {names}")),
            // The first account: whole, with one empty root, nothing free and nothing dead.
            (
                2 * 4096,
                "80ded722 04 02 00 00 0a000000 0a000000 0100000000000000 0200000000000000".to_owned(),
            ),
            (2 * 4096 + 32, "01 00 01 01 00 00 02 00 00 00 00".to_owned()),
            (
                3 * 4096,
                "7039078e 01 01 00 00 34000000 34000000 0200000000000000 0300000000000000".to_owned(),
            ),
            (3 * 4096 + 32, "03000000 1c000000 00000000".to_owned()),
            (
                3 * 4096 + 44,
                "14 02 6170706c65 3132 1c 00 61707269636f74 10 04 70656172 70656137".to_owned(),
            ),
            (3 * 4096 + 72, "00000000 09000000 12000000 00".to_owned()),
            // The second: partial, with two roots, the extent of the leaf, and the leaf as what is to be checked.
            (
                4 * 4096,
                "90a9c3ac 04 02 00 00 44000000 44000000 0200000000000000 0400000000000000".to_owned(),
            ),
            (
                4 * 4096 + 32,
                format!("02 01 {account_1} 02 010000 020001 {leaf} 01 0301 00 01 03 54 7039078e 00"),
            ),
        ];
        for (at, expected) in parts {
            let expected = expected.replace(' ', "");
            assert_eq!(hex(&file[at..at + expected.len() / 2]), expected, "{kind} at {at}");
        }
    }
}

#[test]
fn a_slot_says_whose_index_it_is() {
    for (factory, kind) in kodiak_indexes::ALL.iter().zip(["05 62706c7573", "07 6672616374616c"]) {
        let storage = Arc::new(MemoryStorage::new());
        let mut owned = context(factory, storage.clone());
        owned.owner = b"me".to_vec();
        drop((factory.create)(owned).expect("a new index"));
        let file = bytes(&*storage);
        let expected = format!("{kind} 06 617070656e64 02 6d65 00").replace(' ', "");
        for slot in [0, 4096] {
            assert_eq!(hex(&file[slot + 49..slot + 49 + expected.len() / 2]), expected);
        }
        let file = IndexFile::open(&*storage, Path::new(PATH)).expect("a sound file");
        assert_eq!(
            (file.kind(), file.owner()),
            (factory.component.name.to_owned(), b"me".to_vec())
        );
    }
}

#[test]
fn files_of_older_versions_get_an_owner_with_the_next_commit() {
    for (factory, golden) in kodiak_indexes::ALL.iter().zip([
        include_bytes!("golden/bplus-1.index.lz4").as_slice(),
        include_bytes!("golden/fractal-2.index.lz4").as_slice(),
    ]) {
        let storage = Arc::new(MemoryStorage::new());
        put(
            &*storage,
            &lz4_flex::block::decompress_size_prepended(golden).expect("as it was packed"),
        );
        let mut owned = context(factory, storage.clone());
        owned.owner = b"me".to_vec();
        let index = (factory.open)(owned).expect("it does not say whose it is");
        let owner = || {
            IndexFile::open(&*storage, Path::new(PATH))
                .expect("a sound file")
                .owner()
        };
        assert_eq!(owner(), b"");
        index
            .apply(Updates::new().put(b"key", b"value"), None)
            .expect("a sound batch");
        index.commit().expect("space");
        assert_eq!(owner(), b"me");
        drop(index);
        let mut other = context(factory, storage.clone());
        other.owner = b"you".to_vec();
        let error = (factory.open)(other).expect_err("another's");
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert!(error.message().contains("\"me\", not to \"you\""), "{error}");
    }
}

#[test]
fn a_file_as_version_1_wrote_it_still_opens_and_takes_commits() {
    for (factory, golden) in kodiak_indexes::ALL.iter().zip([
        include_bytes!("golden/bplus-1.index.lz4").as_slice(),
        include_bytes!("golden/fractal-1.index.lz4").as_slice(),
    ]) {
        let file = lz4_flex::block::decompress_size_prepended(golden).expect("as it was packed");
        let storage = Arc::new(MemoryStorage::new());
        put(&*storage, &file);
        let index = (factory.open)(context(factory, storage.clone())).expect("an old file");
        check_rich(&*index);
        let mut updates = Updates::new();
        updates.put(b"key 00100", b"of version 2");
        index.apply(&updates, None).expect("a sound batch");
        index.commit().expect("space");
        drop(index);
        assert_eq!(bytes(&*storage)[4096 + 8], 2, "commit 7 has written its slot");
        let index = (factory.open)(context(factory, storage)).expect("one slot of either version");
        let value = index.get(b"key 00100").expect("a sound file");
        assert_eq!(value.as_deref(), Some(&b"of version 2"[..]));
        kodiak_core::conformance::index::assert_sound(&*index);
    }
}

#[test]
fn a_file_as_version_2_wrote_it_still_opens() {
    for (factory, golden) in kodiak_indexes::ALL.iter().zip([
        include_bytes!("golden/bplus-2.index.lz4").as_slice(),
        include_bytes!("golden/fractal-2.index.lz4").as_slice(),
    ]) {
        let file = lz4_flex::block::decompress_size_prepended(golden).expect("as it was packed");
        let storage = Arc::new(MemoryStorage::new());
        put(&*storage, &file);
        let index = (factory.open)(context(factory, storage)).expect("an old file");
        check_rich(&*index);
        // What this version writes has not changed either.
        assert!(
            rich(factory) == file,
            "{}: the bytes differ: it is a new version",
            factory.component.name
        );
    }
}

/// A file with nodes, buffers, range deletes, upserts, dead and free extents and several roots.
fn rich(factory: &IndexFactory) -> Vec<u8> {
    let storage = Arc::new(MemoryStorage::new());
    let index = (factory.create)(context(factory, storage.clone())).expect("a new index");
    for round in 0..4u32 {
        let mut updates = Updates::new();
        for number in 0..250u32 {
            let key = number.wrapping_mul(2_654_435_761).wrapping_add(round * 77) % 3000;
            updates.put(format!("key {key:05}").as_bytes(), &[b'a' + round as u8; 20]);
        }
        updates.delete_range(
            format!("key {:05}", round * 700).as_bytes(),
            Some(format!("key {:05}", round * 700 + 300).as_bytes()),
        );
        updates.upsert(format!("key {:05}", round * 100).as_bytes(), b"+operand");
        index.apply(&updates, None).expect("a sound batch");
        index.commit().expect("space");
    }
    for root in [1, 3] {
        index.release(kodiak_core::index::Root(root)).expect("an older root");
    }
    index.commit().expect("space");
    drop(index);
    bytes(&*storage)
}

fn check_rich(index: &dyn Index) {
    kodiak_core::conformance::index::assert_sound(index);
    assert_eq!(
        index.roots().iter().map(|root| root.0).collect::<Vec<_>>(),
        [2, 4, 5, 6]
    );
    let view = index.view(kodiak_core::index::Root(6)).expect("the newest");
    let entries = kodiak_core::conformance::index::entries(&view).expect("a sound file");
    assert!(entries.len() > 500, "{}", entries.len());
    assert_eq!(
        view.get(b"key 02200").expect("a sound file"),
        None,
        "within the last range delete"
    );
    assert_eq!(
        view.get(b"key 00100").expect("a sound file").as_deref(),
        Some(&b"key+operand"[..])
    );
}

#[test]
#[ignore = "writes files, for a new version of the format: cargo test -p kodiak-indexes --test format write_golden_files -- --ignored"]
fn write_golden_files() {
    for factory in kodiak_indexes::ALL {
        let packed = lz4_flex::block::compress_prepend_size(&rich(factory));
        let path = format!(
            "{}/tests/golden/{}-2.index.lz4",
            env!("CARGO_MANIFEST_DIR"),
            factory.component.name
        );
        std::fs::write(path, packed).expect("the folder is there");
    }
}

#[test]
fn newer_versions_are_refused() {
    for factory in kodiak_indexes::ALL {
        let mut file = small(factory);
        for slot in [0, 4096] {
            file[slot + 8] = 3;
            let crc = crc32fast::hash(&file[slot..slot + 508]);
            file[slot + 508..slot + 512].copy_from_slice(&crc.to_le_bytes());
        }
        let storage = Arc::new(MemoryStorage::new());
        put(&*storage, &file);
        let error = (factory.open)(context(factory, storage.clone())).expect_err("a newer version");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(
            error.to_string().contains("version 3") && error.file().is_some(),
            "{error}"
        );
        assert!(bytes(&*storage) == file, "a refused file was touched");
    }
}

#[test]
fn another_kind_of_index_is_told_so() {
    let file = small(kodiak_indexes::ALL[0]);
    let storage = Arc::new(MemoryStorage::new());
    put(&*storage, &file);
    let error = (kodiak_indexes::ALL[1].open)(context(kodiak_indexes::ALL[1], storage)).expect_err("the other kind");
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
    assert!(error.to_string().contains("\"bplus\""), "{error}");
}
