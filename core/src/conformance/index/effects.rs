//! What writers tell, and that readers see none of their half-done work.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Batch, Model, Random, Subject, assert_sound, entries};
use crate::index::{Index, Updates};

pub(super) fn every_dead_value_is_told_once(subject: &Subject) {
    let (_, index) = subject.create();
    let (mut model, mut random, mut counter) = (Model::new(), Random::new(3), 0u32);
    // How often each value was told, and whether it is dead: values are unique.
    let mut dead: HashMap<Vec<u8>, (Vec<u8>, usize)> = HashMap::new();
    for round in 0..40 {
        let mut batch = Batch::default();
        for _ in 0..200 {
            counter += 1;
            let key = (random.below(1500) as u32).to_be_bytes();
            if random.below(5) == 0 {
                batch.delete(&mut model, &key);
            } else {
                batch.put(&mut model, &key, &[&counter.to_le_bytes()[..], &[1; 24]].concat());
            }
        }
        if round % 10 == 5 {
            let from = random.below(1500) as u32;
            batch.delete_range(&mut model, &from.to_be_bytes(), Some(&(from + 200).to_be_bytes()));
        }
        if round == 39 {
            batch.delete_range(&mut model, b"", None);
        }
        let mut told = Vec::new();
        let mut tell = |key: &[u8], value: &[u8]| told.push((key.to_vec(), value.to_vec()));
        index.apply(&batch.updates, Some(&mut tell)).expect("a sound batch");
        for (key, value) in std::mem::take(&mut batch.dead) {
            dead.insert(value, (key, 0));
        }
        for (key, value) in told {
            let entry = dead.get_mut(&value).expect("what is told is dead");
            assert_eq!(entry.0, key);
            entry.1 += 1;
            assert_eq!(entry.1, 1, "a value is told twice");
        }
        if subject.factory.capabilities.eager_displacement {
            assert!(
                dead.values().all(|(_, times)| *times == 1),
                "a dead value is not told at once"
            );
        }
        index.commit().expect("space");
    }
    assert!(
        dead.values().all(|(_, times)| *times == 1),
        "a dead value was never told"
    );
}

pub(super) fn readers_and_a_writer_do_not_disturb_each_other(subject: &Subject) {
    let (_, index) = subject.create();
    let index: Arc<dyn Index> = Arc::from(index);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut looked = 0;
                    while !done.load(Ordering::Relaxed) || looked == 0 {
                        let Ok(view) = index
                            .roots()
                            .last()
                            .map_or(Err(()), |root| index.view(*root).map_err(drop))
                        else {
                            continue;
                        };
                        let found = entries(&view).expect("a sound file");
                        // Each commit gives all keys the same value.
                        assert!(
                            found.iter().all(|(_, value)| *value == found[0].1),
                            "a mixture of commits"
                        );
                        assert!(found.is_empty() || found.len() == 500);
                        looked += 1;
                    }
                })
            })
            .collect();
        for round in 0..25u32 {
            let mut updates = Updates::new();
            for key in 0..500u32 {
                updates.put(&key.to_be_bytes(), &[&round.to_le_bytes()[..], &[9; 30]].concat());
            }
            index.apply(&updates, None).expect("a sound batch");
            let before = *index.roots().last().expect("there is one");
            index.commit().expect("space");
            index.release(before).expect("no longer the newest");
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().expect("a reader that finds no mixture");
        }
    });
    assert_sound(&*index);
}
