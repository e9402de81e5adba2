//! What distinguishes the trees, and what both promise about memory and space.

mod common;

use std::sync::Arc;

use common::{PATH, context, random_batch, small};
use kodiak_core::conformance::index::{Append, Model, Random, assert_sound, compare};
use kodiak_core::index::{Index, IndexContext, IndexFactory, Updates};
use kodiak_core::options::{OptionValue, Options};
use kodiak_core::storage::Storage;
use kodiak_storage::MemoryStorage;

fn factory(name: &str) -> &'static IndexFactory {
    kodiak_indexes::ALL
        .iter()
        .find(|factory| factory.component.name == name)
        .expect("it comes with the crate")
}

fn with(factory: &IndexFactory, given: &[(&str, OptionValue)], pool: usize) -> IndexContext {
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    IndexContext {
        storage: Arc::new(MemoryStorage::new()),
        path: PATH.into(),
        pool: (factory.pool)(pool),
        options: Options::resolve(factory.component.options, given).expect("valid options"),
        upsert: None,
        owner: Vec::new(),
    }
}

fn int(value: u64) -> OptionValue {
    OptionValue::Int(value)
}

fn scattered(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

fn insert(index: &dyn Index, count: u64, key: impl Fn(u64) -> [u8; 8]) {
    let mut updates = Updates::new();
    for start in (0..count).step_by(500) {
        updates.clear();
        for number in start..(start + 500).min(count) {
            updates.put(&key(number), &[number as u8; 24]);
        }
        index.apply(&updates, None).expect("a sound batch");
    }
}

#[test]
fn memory_stays_within_a_pool_of_eight_nodes() {
    for factory in kodiak_indexes::ALL {
        let context = context(factory, Arc::new(MemoryStorage::new()), small(factory));
        let pool = context.pool.clone();
        let index = (factory.create)(context).expect("a new index");
        let (mut model, mut random) = (Model::new(), Random::new(2));
        for _ in 0..60 {
            let batch = random_batch(&mut random, &mut model, 300);
            index.apply(&batch.updates, None).expect("a sound batch");
            let root = index.commit().expect("space");
            compare(&*index, root, &model);
        }
        assert!(
            pool.peak() <= pool.budget(),
            "{}: {} of {} bytes",
            factory.component.name,
            pool.peak(),
            pool.budget()
        );
        assert!(index.stats().misses > 1000, "everything was in memory");
    }
}

#[test]
fn two_indexes_share_a_pool() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut first = context(kodiak_indexes::ALL[0], storage.clone(), small(kodiak_indexes::ALL[0]));
    first.pool = (kodiak_indexes::ALL[0].pool)(300 << 10);
    let pool = first.pool.clone();
    let second = IndexContext {
        pool: pool.clone(),
        path: "/other".into(),
        ..context(kodiak_indexes::ALL[1], storage, small(kodiak_indexes::ALL[1]))
    };
    let one = (kodiak_indexes::ALL[0].create)(first).expect("a new index");
    let two = (kodiak_indexes::ALL[1].create)(second).expect("a new index");
    let mut models = [Model::new(), Model::new()];
    let mut random = Random::new(4);
    for _ in 0..25 {
        for (index, model) in [&one, &two].into_iter().zip(&mut models) {
            let batch = random_batch(&mut random, model, 200);
            index.apply(&batch.updates, None).expect("a sound batch");
            let root = index.commit().expect("space");
            compare(&**index, root, model);
        }
    }
    assert!(
        pool.peak() <= pool.budget(),
        "{} of {} bytes",
        pool.peak(),
        pool.budget()
    );
    drop((one, two));
    assert_eq!(pool.used(), 0, "memory is still counted for indexes that are closed");
}

#[test]
fn a_pool_that_is_too_small_is_refused() {
    for factory in kodiak_indexes::ALL {
        let least = (factory.smallest_pool)(&Options::defaults(factory.component.options));
        let error = (factory.create)(with(factory, &[], least - 1)).expect_err("too small");
        assert_eq!(error.kind(), kodiak_core::ErrorKind::InvalidSettings, "{error}");
        (factory.create)(with(factory, &[], least)).expect("just large enough");
    }
}

#[test]
fn space_is_used_again_however_often_everything_is_replaced() {
    for factory in kodiak_indexes::ALL {
        let context = context(factory, Arc::new(MemoryStorage::new()), small(factory));
        let storage = context.storage.clone();
        let index = (factory.create)(context).expect("a new index");
        let mut after_ten = 0;
        for round in 0..200u64 {
            insert(&*index, 1500, |number| scattered(number % 1500));
            let newest = index.commit().expect("space");
            for root in index.roots().into_iter().filter(|root| *root < newest) {
                index.release(root).expect("an older root");
            }
            let len = storage.len(PATH.as_ref()).expect("looks").expect("it is there");
            if round == 10 {
                after_ten = len;
            }
            assert!(
                round < 10 || len <= after_ten * 2,
                "{}: {len} bytes in round {round}",
                factory.component.name
            );
        }
        assert_sound(&*index);
    }
}

#[test]
fn a_sorted_batch_copies_each_node_of_a_bplus_tree_once() {
    let index = (factory("bplus").create)(with(factory("bplus"), &[("page_size", int(4 << 10))], 32 << 20))
        .expect("a new index");
    insert(&*index, 20_000, scattered);
    index.commit().expect("space");
    let mut nodes = 0;
    index
        .dump(index.roots()[1], &mut |line| {
            nodes += u64::from(line.contains("leaf at") || line.contains("node of"))
        })
        .expect("sound");
    let before = index.stats().writes;
    let mut updates = Updates::new();
    let mut keys: Vec<_> = (0..20_000).map(scattered).collect();
    keys.sort_unstable();
    keys.iter().for_each(|key| _ = updates.put(key, &[1; 24]));
    index.apply(&updates, None).expect("a sound batch");
    index.commit().expect("space");
    let written = index.stats().writes - before;
    assert!(
        nodes > 200 && written <= nodes + 10,
        "{written} writes for {nodes} nodes"
    );
}

#[test]
fn a_cold_read_of_a_fractal_tree_takes_one_buffer_per_level_and_one_basement() {
    let options = [
        ("node_size", int(64 << 10)),
        ("basement_size", int(4 << 10)),
        ("fanout", int(4)),
    ];
    let context = with(factory("fractal"), &options, 8 << 20);
    let index = (factory("fractal").create)(context.clone()).expect("a new index");
    insert(&*index, 60_000, scattered);
    index.commit().expect("space");
    drop(index);
    let mut most = 0;
    for number in 0..50 {
        let fresh = IndexContext {
            pool: (factory("fractal").pool)(8 << 20),
            ..context.clone()
        };
        let index = (factory("fractal").open)(fresh).expect("what was closed opens");
        let before = index.stats();
        assert!(index.get(&scattered(number * 997)).expect("sound").is_some());
        let (reads, bytes) = (
            index.stats().reads - before.reads,
            index.stats().read_bytes - before.read_bytes,
        );
        let levels = u64::from(index.stats().height) - 1;
        assert!(levels >= 3 && reads <= 2 * levels, "{reads} reads for {levels} levels");
        most = most.max(bytes);
    }
    assert!(
        most < 2 * (64 << 10),
        "{most} bytes for one read: whole nodes were read"
    );
}

#[test]
fn promotion_spares_sorted_inserts_the_buffers() {
    let buffers = |promotion: bool| {
        let options = [
            ("node_size", int(64 << 10)),
            ("basement_size", int(4 << 10)),
            ("fanout", int(4)),
            ("promotion", OptionValue::Bool(promotion)),
        ];
        let index = (factory("fractal").create)(with(factory("fractal"), &options, 1 << 20)).expect("a new index");
        insert(&*index, 60_000, u64::to_be_bytes);
        let (root, mut buffers) = (index.commit().expect("space"), 0);
        index
            .dump(root, &mut |line| buffers += usize::from(line.contains("buffer at")))
            .expect("sound");
        buffers
    };
    assert_eq!(buffers(true), 0, "ascending keys wait in buffers");
    assert!(buffers(false) > 0, "nothing waits although nothing passes by");
}

#[test]
fn a_fractal_tree_writes_far_less_than_a_bplus_tree_for_random_inserts() {
    let written = |name: &str, options: &[(&str, OptionValue)]| {
        let index = (factory(name).create)(with(factory(name), options, 512 << 10)).expect("a new index");
        insert(&*index, 100_000, scattered);
        index.commit().expect("space");
        index.stats().write_bytes
    };
    let bplus = written("bplus", &[("page_size", int(8 << 10))]);
    let fractal = written(
        "fractal",
        &[
            ("node_size", int(64 << 10)),
            ("basement_size", int(8 << 10)),
            ("fanout", int(8)),
        ],
    );
    assert!(fractal * 6 < bplus, "{fractal} bytes, and {bplus} for the B+ tree");
}

#[test]
fn changes_that_come_one_by_one_are_seen_at_once_and_committed_or_rolled_back_like_others() {
    for factory in kodiak_indexes::ALL {
        let given: &[(&str, OptionValue)] = if factory.capabilities.blind_writes {
            &[("node_size", int(64 << 10)), ("basement_size", int(8 << 10))]
        } else {
            &[]
        };
        let mut context = with(factory, given, 1 << 20);
        context.upsert = Some(Arc::new(Append));
        let index = (factory.create)(context).expect("a new index");
        let (mut model, mut committed, mut random) = (Model::new(), Model::new(), Random::new(9));
        for _ in 0..6000 {
            let count = 1 + random.below(3);
            let batch = random_batch(&mut random, &mut model, count);
            index.apply(&batch.updates, None).expect("a sound batch");
            let key = format!("a key of some length {:06}", random.below(2000)).into_bytes();
            let changed = (0..batch.updates.point_count()).map(|index| batch.updates.key(index));
            for key in changed.chain([&key[..]]) {
                assert_eq!(
                    index.get(key).expect("sound").as_ref(),
                    model.get(key),
                    "{}",
                    key.escape_ascii()
                );
            }
            match random.below(300) {
                0..2 => {
                    let root = index.commit().expect("space");
                    compare(&*index, root, &model);
                    committed = model.clone();
                }
                2 => {
                    index.rollback().expect("nothing has failed");
                    model = committed.clone();
                }
                3 => {
                    // What wants to be told of the dead comes after what was staged before.
                    let big = random_batch(&mut random, &mut model, 200);
                    index.apply(&big.updates, Some(&mut |_, _| {})).expect("a sound batch");
                }
                _ => {}
            }
        }
        assert_sound(&*index);
    }
}

#[test]
fn leaves_that_are_asked_for_often_hide_no_messages() {
    for factory in kodiak_indexes::ALL {
        let mut context = context(factory, Arc::new(MemoryStorage::new()), small(factory));
        context.pool = (factory.pool)(4 << 20);
        let index = (factory.create)(context).expect("a new index");
        insert(&*index, 3000, scattered);
        // A few changes, which a fractal tree leaves in buffers.
        let mut updates = Updates::new();
        for number in (0..3000).step_by(40) {
            updates.put(&scattered(number), b"new");
        }
        index.apply(&updates, None).expect("a sound batch");
        let view = index.view(index.commit().expect("space")).expect("a root");
        let mut numbers: Vec<u64> = (0..3000).collect();
        numbers.sort_by_key(|&number| scattered(number));
        for _ in 0..6 {
            for &number in &numbers {
                let value = view.get(&scattered(number)).expect("sound").expect("a key");
                let expected: &[u8] = match number % 40 {
                    0 => b"new",
                    _ => &[number as u8; 24],
                };
                assert_eq!(value, expected, "{}: {number}", factory.component.name);
            }
        }
    }
}

#[test]
fn what_is_asked_for_often_says_what_it_said_before() {
    for factory in kodiak_indexes::ALL {
        let mut context = context(factory, Arc::new(MemoryStorage::new()), small(factory));
        context.pool = (factory.pool)(8 << 20);
        let index = (factory.create)(context).expect("a new index");
        let (mut model, mut random) = (Model::new(), Random::new(8));
        for _ in 0..30 {
            let batch = random_batch(&mut random, &mut model, 300);
            index.apply(&batch.updates, None).expect("a sound batch");
        }
        let view = index.view(index.commit().expect("space")).expect("a root");
        for round in 0..6 {
            for number in 0..2000 {
                let key = format!("a key of some length {number:06}").into_bytes();
                let value = view.get(&key).expect("sound");
                assert_eq!(
                    value.as_ref(),
                    model.get(&key),
                    "{} {round}: {number}",
                    factory.component.name
                );
            }
        }
    }
}
