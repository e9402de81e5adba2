//! What must hold of an image: it opens with the newest root that counts, everything in it is as it must be, and it goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use kodiak_core::ErrorKind;
use kodiak_core::conformance::index::{Batch, Model, Random, assert_sound, compare_view, entries};
use kodiak_core::index::{Index, Root};
use kodiak_core::storage::Storage;
use kodiak_storage::{CrashOptions, FaultStorage};

use crate::beside::{Bounds, caught};
use crate::script::{State, States, check_roots};
use crate::setup::{DIR, Setup};

/// Pages that an index without entries and without older roots may take: slots and accounts.
const MOST_OF_NOTHING: u64 = 48 << 12;

/// An index from an image that is as it must be; none if there need not be one.
pub fn open(
    setup: &Setup,
    states: &States,
    storage: &FaultStorage,
    bounds: Bounds,
) -> Result<Option<Arc<dyn Index>>, String> {
    let index = match setup.open(storage) {
        Err(error) if error.kind() == ErrorKind::NotFound && bounds.least.is_none() => return Ok(None),
        Err(error) => return Err(format!("it does not open: {error}")),
        Ok(index) => index,
    };
    let roots: BTreeSet<u64> = index.roots().into_iter().map(|root| root.0).collect();
    let newest = *roots.last().ok_or("there is no root")?;
    if newest < bounds.least.unwrap_or(1) || newest > bounds.most {
        return Err(format!("root {newest} is the newest, of {bounds:?}"));
    }
    let state = states.get(&newest).ok_or("a root that nobody has made")?;
    check_roots(&roots, state)?;
    caught(|| {
        for root in &roots {
            let (view, model) = (index.view(Root(*root)).expect("it is there"), &states[root].model);
            // In every way there is to read it, now and then.
            if (root + storage.mutations()).is_multiple_of(8) {
                compare_view(&view, model);
            }
            let found = entries(&view).expect("a sound file");
            assert!(
                found.iter().map(|(key, value)| (key, value)).eq(model.iter()),
                "root {root} holds something else"
            );
        }
        for (key, value) in state.model.iter().step_by(17) {
            assert_eq!(index.get(key).expect("a sound file").as_ref(), Some(value));
        }
        assert_sound(&*index);
    })?;
    Ok(Some(index))
}

/// A small batch, the same for the same state, and its outcome.
pub fn small_batch(newest: u64, state: &State) -> (Batch, Model) {
    let (mut batch, mut model) = (Batch::default(), (*state.model).clone());
    let mut random = Random::new(newest);
    for _ in 0..30 {
        let key = format!("a key of some length {:06}", random.below(600)).into_bytes();
        match random.below(4) {
            0 => batch.delete(&mut model, &key),
            1 => batch.upsert(&mut model, &key, b"+again"),
            _ => batch.put(&mut model, &key, b"after the crash"),
        }
    }
    (batch, model)
}

/// The states of a script to which [`small_batch`] was added, which begins with the roots of `index`.
pub fn with_batch(states: &States, index: &dyn Index) -> (States, Batch) {
    let kept: BTreeSet<u64> = index.roots().into_iter().map(|root| root.0).collect();
    let newest = *kept.last().expect("one is always there");
    let (batch, model) = small_batch(newest, &states[&newest]);
    let mut kept = kept;
    kept.insert(newest + 1);
    let mut states: States = states
        .range(..=newest)
        .map(|(id, state)| (*id, state.clone()))
        .collect();
    let state = State {
        model: Arc::new(model),
        kept,
        given_up: BTreeSet::new(),
    };
    states.insert(newest + 1, state);
    (states, batch)
}

/// Opens an image, compares all that is in it, writes to it, loses power, and compares again.
pub fn examine(setup: &Setup, states: &States, storage: &FaultStorage, bounds: Bounds) -> Result<(), String> {
    let Some(index) = open(setup, states, storage, bounds)? else {
        return Ok(());
    };
    // Who opens a file that nobody has been told of makes sure of its name: see `Map`.
    if bounds.least.is_none() {
        storage.sync_dir(Path::new(DIR)).expect("healthy");
    }
    let (states, batch) = with_batch(states, &*index);
    let written = index.apply(&batch.updates, None).and_then(|()| index.commit());
    let newest = written.map_err(|error| format!("it does not go on: {error}"))?.0;
    drop(index);
    let bounds = Bounds {
        least: Some(newest),
        most: newest,
    };
    open(setup, &states, storage, bounds).map_err(|error| format!("opened again: {error}"))?;
    let lost = storage.crash_image(&CrashOptions::SYNCED_ONLY);
    let index = open(setup, &states, &lost, bounds).map_err(|error| format!("after another power loss: {error}"))?;
    match index {
        Some(index) if newest.is_multiple_of(4) => give_everything_up(&*index),
        _ => Ok(()),
    }
}

/// All space is free once nothing is left.
fn give_everything_up(index: &dyn Index) -> Result<(), String> {
    let mut batch = Batch::default();
    batch.delete_range(&mut Model::new(), b"", None);
    let give_up = || {
        index.apply(&batch.updates, None)?;
        for _ in 0..3 {
            let newest = index.commit()?;
            for root in index.roots().into_iter().filter(|root| *root < newest) {
                index.release(root)?;
            }
        }
        Ok(())
    };
    give_up().map_err(|error: kodiak_core::Error| format!("taking everything away: {error}"))?;
    let used = index.stats().used_bytes;
    if used > MOST_OF_NOTHING {
        return Err(format!("nothing takes {used} bytes"));
    }
    caught(|| assert_sound(index))
}
