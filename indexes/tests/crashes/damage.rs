//! Files with flipped bits, and files that are cut.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kodiak_core::ErrorKind;
use kodiak_core::conformance::index::{Model, Random, compare};
use kodiak_core::index::{IndexFactory, Root};
use kodiak_core::storage::Storage;
use kodiak_storage::MemoryStorage;

use crate::common::{self, context, put, random_batch, small};

/// The bytes of a file with several roots.
fn sample(factory: &'static IndexFactory) -> (Vec<u8>, BTreeMap<u64, Model>) {
    let storage = Arc::new(MemoryStorage::new());
    let index = (factory.create)(context(factory, storage.clone(), small(factory))).expect("healthy");
    let (mut model, mut random, mut roots) = (Model::new(), Random::new(3), BTreeMap::new());
    roots.insert(1, Model::new());
    for _ in 0..5 {
        let batch = random_batch(&mut random, &mut model, 200);
        index.apply(&batch.updates, None).expect("healthy");
        roots.insert(index.commit().expect("healthy").0, model.clone());
    }
    drop(index);
    let file = storage.open(Path::new(common::PATH)).expect("it exists");
    (
        file.read(0, file.len() as usize).expect("within the file").to_vec(),
        roots,
    )
}

#[test]
fn damage_is_found_and_named_and_nothing_false_is_returned() {
    for factory in kodiak_indexes::ALL {
        let (file, roots) = sample(factory);
        let mut random = Random::new(9);
        let (mut refused, mut found) = (0, 0);
        for round in 0..450 {
            let mut damaged = file.clone();
            // Every byte of the slots, then bytes all over.
            let at = match round {
                0..64 => [0, 4096][round % 2] + round * 8,
                _ => random.below(file.len()),
            };
            damaged[at] ^= 1 << random.below(8);
            let storage = Arc::new(MemoryStorage::new());
            put(&*storage, &damaged);
            let index = match (factory.open)(context(factory, storage, small(factory))) {
                Ok(index) => index,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Corruption), "byte {at}: {error}");
                    assert!(error.file().is_some() && error.offset().is_some(), "byte {at}: {error}");
                    refused += 1;
                    continue;
                }
            };
            let mut findings = Vec::new();
            index
                .verify(&mut |finding| findings.push(finding))
                .expect("a storage that works");
            let mut failed = false;
            for (root, model) in &roots {
                let view = index.view(Root(*root)).expect("it is kept");
                match kodiak_core::conformance::index::entries(&view) {
                    Ok(entries) => assert!(
                        entries == model.clone().into_iter().collect::<Vec<_>>(),
                        "byte {at} of root {root}"
                    ),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corruption, "byte {at}: {error}");
                        let offset = error.offset().expect("it names the place");
                        assert!(
                            error.file().is_some() && offset <= at as u64 && at as u64 - offset < 1 << 17,
                            "byte {at}: {error}"
                        );
                        failed = true;
                    }
                }
            }
            assert!(
                !failed || !findings.is_empty(),
                "verify did not find what a read found at byte {at}"
            );
            found += usize::from(!findings.is_empty());
        }
        assert!(
            refused >= 64 && found > 30,
            "{}: {refused} refused, {found} found",
            factory.component.name
        );
    }
}

#[test]
fn a_file_cut_at_any_page_is_refused_or_whole() {
    for factory in kodiak_indexes::ALL {
        let (file, roots) = sample(factory);
        let mut whole = 0;
        for len in (0..file.len()).step_by(4096).chain([1, 511, 4097, file.len() - 1]) {
            let storage = Arc::new(MemoryStorage::new());
            put(&*storage, &file[..len]);
            match (factory.open)(context(factory, storage, small(factory))) {
                Ok(index) => {
                    whole += 1;
                    for (root, model) in &roots {
                        compare(&*index, Root(*root), model);
                    }
                }
                Err(error) => assert!(
                    error.kind() == ErrorKind::Corruption && error.file().is_some(),
                    "{len}: {error}"
                ),
            }
        }
        assert!(whole < 64 + 1, "a file that lacks pages in use was opened");
    }
}
