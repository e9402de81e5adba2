//! What several tests need.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;
use std::sync::Arc;

use kodiak_core::conformance::index::{Append, Batch, Model, Random};
use kodiak_core::index::{IndexContext, IndexFactory};
use kodiak_core::options::{OptionValue, Options};
use kodiak_core::storage::Storage;

/// Where the file is.
pub const PATH: &str = "/index";

/// Options that make deep trees of few entries.
pub fn small(factory: &IndexFactory) -> Options {
    let given: &[(&str, u64)] = if factory.capabilities.blind_writes {
        &[("node_size", 16 << 10), ("basement_size", 4 << 10), ("fanout", 4)]
    } else {
        &[("page_size", 4 << 10)]
    };
    let given = given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), OptionValue::Int(*value)));
    Options::resolve(factory.component.options, given).expect("valid options")
}

/// An index with a pool of eight nodes.
pub fn context(factory: &IndexFactory, storage: Arc<dyn Storage>, options: Options) -> IndexContext {
    IndexContext {
        storage,
        path: PATH.into(),
        pool: (factory.pool)((factory.smallest_pool)(&options)),
        options,
        upsert: Some(Arc::new(Append)),
        owner: Vec::new(),
    }
}

/// Makes the file, of these bytes.
pub fn put(storage: &dyn Storage, bytes: &[u8]) {
    let mut file = storage.create(Path::new(PATH)).expect("new");
    file.write_all(bytes).expect("space");
    file.finish(true).expect("space");
}

/// Puts, deletes, upserts and now and then a range delete.
pub fn random_batch(random: &mut Random, model: &mut Model, count: usize) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..count {
        let key = format!("a key of some length {:06}", random.below(2000)).into_bytes();
        match random.below(100) {
            0..15 => batch.delete(model, &key),
            15..30 => batch.upsert(model, &key, b"+op"),
            30 if random.below(4) == 0 => {
                let end = format!("a key of some length {:06}", random.below(2000)).into_bytes();
                batch.delete_range(model, &key, Some(&end));
            }
            _ => {
                let value = vec![b'a' + random.below(26) as u8; random.below(90)];
                batch.put(model, &key, &value);
            }
        }
    }
    batch
}
