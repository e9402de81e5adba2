use std::path::Path;
use std::sync::Arc;

use kodiak_core::ErrorKind;
use kodiak_core::index::MAX_OWNER;
use kodiak_core::storage::Storage;
use kodiak_storage::MemoryStorage;

use super::Store;
use super::account::{self, Account, Entry};
use super::piece::{HEADER, Header, Kind, Ptr};
use super::slot::{Names, Slot};
use super::space::{Dead, Extent, RootInfo, Space};
use crate::pool::BufferPool;

const PATH: &str = "/index";

fn names() -> Names {
    Names {
        kind: "bplus".to_owned(),
        ..Names::default()
    }
}

fn open(storage: &dyn Storage) -> kodiak_core::Result<Store> {
    let pool = BufferPool::new(1 << 20);
    Store::open(storage, Path::new(PATH), pool, names(), false)
}

/// A new file, and what a leaf in it was written to.
fn store(storage: &dyn Storage) -> (Store, Ptr) {
    Store::create(storage, Path::new(PATH), &names()).expect("a healthy storage");
    let store = open(storage).expect("a new file");
    let leaf = write(&store);
    (store, leaf)
}

fn write(store: &Store) -> Ptr {
    store
        .write(Kind::Leaf, 0, &mut vec![7; HEADER + 100])
        .expect("a healthy storage")
}

fn leaf(ptr: Ptr) -> RootInfo {
    RootInfo {
        top: Some(ptr),
        level: 0,
    }
}

/// Replaces the leaf of root 2, gives the root up, of which there is a view, and commits: only the view needs the leaf.
fn outlive_by_a_view(store: &Store, old: Ptr) -> RootInfo {
    store.commit(leaf(old)).expect("space");
    store.pin(2).expect("the newest root");
    store.kill(&old).expect("in use");
    let new = leaf(write(store));
    store.commit(new).expect("space");
    for id in [1, 2] {
        store.release(id).expect("an older root");
    }
    store.commit(new).expect("space");
    new
}

#[test]
fn a_slot_has_room_for_the_longest_names() {
    let longest = Names {
        kind: "k".repeat(64),
        upsert: "u".repeat(64),
        owner: vec![0xFF; MAX_OWNER],
    };
    longest.check().expect("no name is too long");
    let slot = Slot {
        generation: u64::MAX,
        names: longest.clone(),
        account: Ptr {
            page: 2,
            len: 4096,
            crc: 7,
            birth: 1,
        },
        synced: true,
    };
    assert_eq!(Slot::decode(&slot.encode()).expect("as it was written"), slot);
    let lengthen: [fn(&mut Names); 3] = [
        |names| names.kind.push('k'),
        |names| names.upsert.push('u'),
        |names| names.owner.push(0),
    ];
    for lengthen in lengthen {
        let mut names = longest.clone();
        lengthen(&mut names);
        let error = names.check().expect_err("there is no room");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn an_account_may_come_to_lie_where_a_view_ends_while_it_is_written() {
    for whole in [true, false] {
        let storage = Arc::new(MemoryStorage::new());
        let (store, old) = store(&*storage);
        let new = outlive_by_a_view(&store, old);
        store.chain.lock().renew = whole;
        let prepared = store.prepare(new).expect("a sound state");
        store.unpin(2);
        let root = store.complete(prepared).expect("space");
        let account = *store.accounts().last().expect("that of the commit");
        assert_eq!(
            account.page, old.page,
            "the account has not taken the place of the leaf"
        );
        let again = open(&*storage).unwrap_or_else(|error| panic!("whole: {whole}: {error}"));
        assert_eq!(again.space.lock().generation, root);
        assert_eq!(
            again.space.lock().free.iter().collect::<Vec<_>>(),
            store.space.lock().free.iter().collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_root_that_is_released_while_a_commit_is_written_is_kept_as_long_as_the_file_names_it() {
    let storage = Arc::new(MemoryStorage::new());
    let (store, old) = store(&*storage);
    store.commit(leaf(old)).expect("space");
    store.kill(&old).expect("in use");
    let new = leaf(write(&store));
    store.commit(new).expect("space");
    let prepared = store.prepare(new).expect("a sound state");
    store.release(2).expect("an older root");
    store.complete(prepared).expect("space");
    // Written, but never committed.
    for _ in 0..4 {
        write(&store);
    }
    let again = open(&*storage).expect("a sound file");
    assert!(again.space.lock().roots.contains_key(&2), "the file names it");
    let bytes = again.read_bytes(&old).expect("a healthy storage");
    assert!(
        super::piece::unseal(bytes, &old).is_ok(),
        "the leaf of a root that the file names was overwritten"
    );
}

#[test]
fn a_whole_account_in_pages_that_it_calls_dead_is_read() {
    let root = RootInfo { top: None, level: 0 };
    let own = Extent { page: 3, pages: 1 };
    let mut space = Space {
        end: 5,
        ..Space::default()
    };
    space.dead.push(Dead {
        extent: own,
        birth: 2,
        death: 3,
    });
    let entry = Entry {
        generation: 6,
        roots: &[(2, root), (6, root)],
        previous: None,
        checked: false,
    };
    let mut bytes = Vec::new();
    account::encode(&mut bytes, &space, entry, &[]).expect("a sound state");
    let header = Header {
        kind: Kind::Space,
        version: 2,
        level: 0,
    };
    let mut account = Account::decode(header, &bytes).expect("well formed");
    // Files were written whose accounts said so of what no root needed, but a view.
    account.roots.retain(|(id, _)| *id == 6);
    let mut opened = Space {
        end: 2,
        ..Space::default()
    };
    account.replay(&mut opened, own).expect("dead pages are free");
    assert_eq!((opened.dead.len(), opened.free.pages(), opened.end), (0, 0, 5));
}
