//! Every index does what the trait promises, with large and small nodes and pools.

use std::path::PathBuf;
use std::sync::Arc;

use kodiak_core::conformance::index::{Subject, check, history};
use kodiak_core::index::IndexFactory;
use kodiak_core::options::{OptionValue, Options};
use kodiak_core::storage::Storage;
use kodiak_storage::MemoryStorage;

fn storage() -> (Arc<dyn Storage>, PathBuf) {
    let storage = MemoryStorage::new();
    storage.create_dir_all("/db".as_ref()).expect("an empty file system");
    (Arc::new(storage), "/db".into())
}

fn factory(name: &str) -> &'static IndexFactory {
    kodiak_indexes::ALL
        .iter()
        .find(|factory| factory.component.name == name)
        .expect("it comes with the crate")
}

fn subject(name: &str, options: &[(&str, OptionValue)], pool: Option<usize>) -> Subject {
    let factory = factory(name);
    let given = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let options = Options::resolve(factory.component.options, given).expect("valid options");
    Subject {
        pool: pool.unwrap_or((factory.smallest_pool)(&options)),
        factory,
        options,
        storage,
    }
}

fn int(value: u64) -> OptionValue {
    OptionValue::Int(value)
}

fn small_fractal() -> Vec<(&'static str, OptionValue)> {
    vec![
        ("node_size", int(16 << 10)),
        ("basement_size", int(4 << 10)),
        ("fanout", int(4)),
    ]
}

#[test]
fn every_index_conforms_with_its_defaults() {
    for factory in kodiak_indexes::ALL {
        check(&subject(factory.component.name, &[], Some(64 << 20)));
    }
}

#[test]
fn a_bplus_tree_of_small_pages_conforms_in_a_pool_of_eight() {
    check(&subject("bplus", &[("page_size", int(4 << 10))], None));
}

#[test]
fn a_fractal_tree_of_small_nodes_conforms_in_a_pool_of_eight() {
    check(&subject("fractal", &small_fractal(), None));
}

#[test]
fn compressed_trees_conform() {
    let lz4 = ("compression", OptionValue::Name("lz4".to_owned()));
    check(&subject("bplus", std::slice::from_ref(&lz4), Some(1 << 20)));
    check(&subject(
        "fractal",
        &[small_fractal(), vec![lz4]].concat(),
        Some(1 << 20),
    ));
}

#[test]
fn long_histories_agree_with_the_model_under_many_options() {
    for seed in 0..6 {
        history::check(
            &subject("bplus", &[("page_size", int(4 << 10)), ("fill", int(50))], None),
            seed,
            250,
        );
        let options = [
            ("node_size", int(32 << 10)),
            ("basement_size", int([4 << 10, 8 << 10, 32 << 10][seed as usize % 3])),
            ("fanout", int([4, 5, 16][seed as usize % 3])),
            ("buffer_share", OptionValue::Float([0.1, 0.5, 1.0][seed as usize % 3])),
            ("promotion", OptionValue::Bool(seed % 2 == 0)),
        ];
        history::check(&subject("fractal", &options, None), seed, 250);
    }
}

#[test]
#[ignore = "takes minutes: cargo test --release -p kodiak-indexes --test conformance -- --ignored"]
fn many_long_histories_agree_with_the_model() {
    for seed in 100..200u64 {
        let pick = |choices: [u64; 3]| choices[seed as usize % 3];
        let lz4 = ["none", "lz4"][seed as usize % 2];
        let compression = ("compression", OptionValue::Name(lz4.to_owned()));
        let page = ("page_size", int(pick([4 << 10, 8 << 10, 16 << 10])));
        history::check(&subject("bplus", &[page, compression.clone()], None), seed, 300);
        let options = [
            ("node_size", int(pick([16 << 10, 64 << 10, 256 << 10]))),
            ("basement_size", int(4 << 10)),
            ("fanout", int([4, 8, 16, 5][seed as usize % 4])),
            (
                "buffer_share",
                OptionValue::Float([0.1, 0.9, 0.5, 0.3, 1.0][seed as usize % 5]),
            ),
            ("promotion", OptionValue::Bool(seed % 4 < 3)),
            compression,
        ];
        history::check(&subject("fractal", &options, None), seed, 300);
    }
}
