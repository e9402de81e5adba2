//! What goes wrong only when things happen at the same time, made to happen one after the other.

use std::sync::Arc;

use super::inputs::Inputs;
use super::plan::full_plan;
use crate::{Builder, MemoryStorage, Settings, TableSchema};

#[test]
fn a_plan_from_a_version_that_has_changed_since_takes_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let db = Builder::new(Settings::default())
        .storage(storage)
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for round in 0..2u8 {
        table.put(b"key", [round]).expect("put");
        db.flush().expect("flush");
    }
    let stale = Arc::clone(&table.inner.view.load().version);
    let plan = full_plan(&stale, false).expect("read").expect("two runs on level 0");
    db.compact().expect("compact");
    assert!(Inputs::take(&table.inner, &stale, &plan).is_none(), "its runs are gone");
}
