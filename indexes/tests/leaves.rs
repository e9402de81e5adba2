//! How full leaves are.

mod common;

use std::sync::Arc;

use common::PATH;
use kodiak_core::conformance::index::assert_sound;
use kodiak_core::index::{Index, IndexContext, IndexFactory, Updates};
use kodiak_core::options::{OptionValue, Options};
use kodiak_storage::MemoryStorage;

fn create(factory: &IndexFactory, given: &[(&str, u64)]) -> Box<dyn Index> {
    let known = factory.component.options;
    let given = given
        .iter()
        .filter(|(name, _)| known.iter().any(|option| option.name == *name));
    let given = given.map(|(name, value)| ((*name).to_owned(), OptionValue::Int(*value)));
    let context = IndexContext {
        storage: Arc::new(MemoryStorage::new()),
        path: PATH.into(),
        pool: (factory.pool)(32 << 20),
        options: Options::resolve(known, given).expect("valid options"),
        upsert: None,
        owner: Vec::new(),
    };
    (factory.create)(context).expect("a new index")
}

/// The leaves of the newest root.
fn leaves(index: &dyn Index) -> usize {
    let mut leaves = 0;
    let root = *index.roots().last().expect("a root");
    index
        .dump(root, &mut |line| leaves += usize::from(line.contains("leaf at")))
        .expect("a sound file");
    leaves
}

fn entry(number: u32) -> (Vec<u8>, Vec<u8>) {
    (number.to_be_bytes().to_vec(), vec![number as u8; 40])
}

#[test]
fn a_bulk_load_fills_leaves_as_far_as_it_is_told() {
    for &factory in kodiak_indexes::ALL {
        let count = |fill: u64| {
            let sizes = [
                ("page_size", 8 << 10),
                ("basement_size", 8 << 10),
                ("node_size", 64 << 10),
            ];
            let index = create(factory, &[&sizes[..], &[("fill", fill)]].concat());
            index
                .bulk_load(&mut (0..40_000).map(|number| Ok(entry(number))))
                .expect("in order");
            index.commit().expect("space");
            assert_sound(&*index);
            leaves(&*index) as f64
        };
        let (half, full) = (count(50), count(100));
        let ratio = half / full;
        assert!(
            (1.9..2.1).contains(&ratio),
            "{}: {half} and {full} leaves",
            factory.component.name
        );
    }
}

/// The bytes of the leaves of the newest root, in order.
fn leaf_bytes(index: &dyn Index) -> Vec<usize> {
    let mut bytes = Vec::new();
    let root = *index.roots().last().expect("a root");
    let mut line = |line: String| {
        if let Some((_, rest)) = line.split_once("leaf at ") {
            let number = rest.split_once('(').and_then(|(_, rest)| rest.split_once(' '));
            bytes.push(number.expect("bytes in parentheses").0.parse().expect("a number"));
        }
    };
    index.dump(root, &mut line).expect("a sound file");
    bytes
}

#[test]
fn a_bulk_load_counts_leaves_without_what_their_keys_have_in_common() {
    let sizes = [
        ("page_size", 8 << 10),
        ("basement_size", 8 << 10),
        ("node_size", 64 << 10),
    ];
    for &factory in kodiak_indexes::ALL {
        for (fill, prefix) in [(100, 0), (100, 55), (70, 55), (100, 300), (50, 0)] {
            let index = create(factory, &[&sizes[..], &[("fill", fill)]].concat());
            let prefix = "p".repeat(prefix);
            let key = |number: u32| format!("{prefix}{number:08}").into_bytes();
            index
                .bulk_load(&mut (0..20_000).map(|number| Ok((key(number), vec![7; 8]))))
                .expect("in order");
            index.commit().expect("space");
            assert_sound(&*index);
            let bytes = leaf_bytes(&*index);
            let limit = (8 << 10) * fill as usize / 100;
            for (at, &len) in bytes.iter().enumerate().take(bytes.len() - 1) {
                // The next entry would have cost another byte of each for every byte that it has less in common.
                assert!(
                    len <= limit + 16 && len * 100 > limit * 75,
                    "{} with fill {fill}: leaf {at} has {len} of {limit} bytes",
                    factory.component.name
                );
            }
            let average = bytes.iter().sum::<usize>() / bytes.len();
            assert!(average * 100 > limit * 85, "{average} of {limit} bytes on average");
        }
    }
}

#[test]
fn leaves_of_a_bplus_tree_that_deletes_have_emptied_are_merged() {
    let factory = kodiak_indexes::ALL
        .iter()
        .find(|factory| factory.component.name == "bplus");
    let index = create(factory.expect("it comes with the crate"), &[("page_size", 4 << 10)]);
    index
        .bulk_load(&mut (0..40_000).map(|number| Ok(entry(number))))
        .expect("in order");
    index.commit().expect("space");
    let (before, height) = (leaves(&*index), index.stats().height);
    let mut updates = Updates::new();
    // A leaf keeps two or three of about eighty entries.
    for number in (0..40_000u32).filter(|number| number % 30 > 0) {
        updates.delete(&number.to_be_bytes());
    }
    index.apply(&updates, None).expect("a sound batch");
    index.commit().expect("space");
    assert_sound(&*index);
    let after = leaves(&*index);
    assert!(before > 400 && after * 10 < before, "{before} leaves became {after}");
    assert!(
        index.stats().height < height,
        "{} levels are left of {height}",
        index.stats().height
    );
}
