//! Crashes and errors while an index is opened after a crash, and first written to.

use std::sync::Arc;

use kodiak_core::ErrorKind;
use kodiak_storage::{Fault, FaultPlan, FaultRule, FaultStorage, Moment, OpKind};
use parking_lot::Mutex;

use crate::beside::Bounds;
use crate::image::{examine, open, with_batch};
use crate::points::{Point, WAYS, take};
use crate::script::States;
use crate::setup::Setup;

/// What was on the disk when the image was made.
fn durable(point: &Point, newest: u64) -> Option<u64> {
    if point.killed { point.bounds.least } else { Some(newest) }
}

/// Opens an image and writes to it, and crashes at every operation of that; returns how many such crashes there were.
pub fn crash_again(setup: &Setup, states: &States, point: &Point) -> Result<usize, String> {
    let storage = point.image.kill_image();
    let Some(index) = open(setup, states, &storage, point.bounds)? else {
        return Ok(0);
    };
    let (states, batch) = with_batch(states, &*index);
    drop(index);
    let newest = *states.last_key_value().expect("one was added").0;
    let bounds = Bounds {
        least: durable(point, newest - 1),
        most: newest,
    };
    let seconds = Arc::new(Mutex::new(Vec::new()));
    let (kept, watched) = (Arc::clone(&seconds), storage.clone());
    storage.on_op(Some(Arc::new(move |event| {
        if let (Some(mutation), Moment::Before) = (event.mutation, event.moment) {
            let way = WAYS[(mutation + newest) as usize % WAYS.len()];
            let label = format!("then before mutation {mutation} ({:?})", event.kind);
            kept.lock()
                .push(take(&watched, way, mutation ^ newest << 9, bounds, &label));
        }
    })));
    let written = setup.open(&storage).and_then(|index| {
        index.apply(&batch.updates, None)?;
        index.commit()
    });
    storage.on_op(None);
    written.map_err(|error| format!("it does not go on: {error}"))?;
    let seconds = std::mem::take(&mut *seconds.lock());
    for second in &seconds {
        examine(setup, &states, &second.image, second.bounds).map_err(|error| format!("{}: {error}", second.label))?;
    }
    Ok(seconds.len())
}

/// Opens an image and writes to it, while one operation fails, once for each; returns how many did.
pub fn fail_each(setup: &Setup, states: &States, point: &Point) -> Result<usize, String> {
    let copy = point.image.kill_image();
    let Some(index) = open(setup, states, &copy, point.bounds)? else {
        return Ok(0);
    };
    let (states, batch) = with_batch(states, &*index);
    drop(index);
    let newest = *states.last_key_value().expect("one was added").0;
    let bounds = Bounds {
        least: durable(point, newest - 1),
        most: newest,
    };
    let attempt = |storage: &FaultStorage| -> Result<bool, String> {
        let written = setup.open(storage).and_then(|index| {
            index.apply(&batch.updates, None)?;
            index.commit()
        });
        let fired = storage.faults_fired() > 0;
        match written {
            Err(error) if !fired || error.kind() != ErrorKind::Io => Err(format!("it is told as {error:?}")),
            _ => Ok(fired),
        }
    };
    let mut fired = 0;
    for kind in [
        OpKind::Open,
        OpKind::Len,
        OpKind::Read,
        OpKind::Write,
        OpKind::Sync,
        OpKind::Grow,
        OpKind::Trim,
    ] {
        for nth in 1.. {
            let fault = [Fault::Eio, Fault::Enospc][nth as usize % 2];
            let storage = point.image.kill_image();
            storage.set_plan(FaultRule::nth(kind, nth, fault));
            let what = |error| format!("then {kind:?} number {nth} {fault:?}: {error}");
            let again = attempt(&storage).map_err(what)?;
            storage.set_plan(FaultPlan::none());
            let lost = take(&storage, WAYS[nth as usize % WAYS.len()], nth, bounds, "");
            examine(setup, &states, &storage, bounds).map_err(|error| what(format!("opened again: {error}")))?;
            examine(setup, &states, &lost.image, bounds)
                .map_err(|error| what(format!("after a second crash{}: {error}", lost.label)))?;
            if !again {
                break;
            }
            fired += 1;
        }
    }
    Ok(fired)
}
