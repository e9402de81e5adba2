//! Durable ordered maps from byte keys to small byte values: a B+ tree and a fractal tree, over one page store and one buffer
//! pool.
//!
//! Each is a file, of its own use as an embedded map as well as a part of the engine:
//!
//! ```
//! use std::sync::Arc;
//! use kodiak_core::index::{IndexContext, Updates};
//! use kodiak_core::options::Options;
//!
//! # fn main() -> kodiak_core::Result<()> {
//! # let storage = Arc::new(kodiak_storage::MemoryStorage::new());
//! let factory = kodiak_indexes::ALL.iter().find(|factory| factory.component.name == "fractal").expect("it comes with the crate");
//! let context = IndexContext {
//!     storage, // Arc::new(LocalStorage::new()) for files
//!     path: "prices.index".into(),
//!     pool: (factory.pool)(64 << 20),
//!     options: Options::defaults(factory.component.options),
//!     upsert: None,
//! };
//! let index = (factory.create)(context.clone())?;
//!
//! let mut updates = Updates::new();
//! updates.put(b"apple", b"12").put(b"pear", b"7");
//! index.apply(&updates, None)?;
//! let monday = index.commit()?; // durable from here on
//!
//! updates.clear();
//! updates.put(b"apple", b"13").delete_range(b"b", None);
//! index.apply(&updates, None)?;
//! let tuesday = index.commit()?;
//!
//! let (then, now) = (index.view(monday)?, index.view(tuesday)?);
//! assert_eq!(then.get(b"apple")?.as_deref(), Some(&b"12"[..]));
//! assert_eq!(now.get(b"pear")?, None);
//! let mut cursor = then.cursor();
//! cursor.seek_last()?;
//! assert_eq!((cursor.key(), cursor.value()), (Some(&b"pear"[..]), Some(&b"7"[..])));
//! index.release(monday)?; // its space is free once nobody reads it and another commit has been made
//!
//! drop(index);
//! let index = (factory.open)(context)?;
//! assert_eq!(index.get(b"apple")?.as_deref(), Some(&b"13"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! | part | what |
//! |---|---|
//! | `store` | the file: pieces, space, root slots, commits (see `docs/formats/index.md`) |
//! | `pool` | memory |
//! | `data` | blocks of entries, buffers of changes, keys of nodes, and how changes merge |
//! | `tree` | the tree that both are: changes, reads, cursors, bulk load, verification |
//! | `bplus`, `fractal` | what makes it the one or the other |

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod bplus;
mod data;
mod fractal;
mod inspect;
mod pool;
mod store;
mod tree;

use kodiak_core::index::IndexFactory;
use kodiak_core::options::{OptionKind, OptionSpec};

pub use inspect::IndexFile;
pub use pool::BufferPool;

/// Every index. The first is the default.
pub const ALL: &[&IndexFactory] = &[
    // Reads look in one page per level, and what dies is known at once.
    &bplus::FACTORY,
    // Writes that do not fit memory cost a fraction, reads look in more places.
    &fractal::FACTORY,
];

/// The option of both trees for bulk loads.
const FILL: OptionSpec = OptionSpec {
    name: "fill",
    kind: OptionKind::Int {
        default: 90,
        range: (50, 100),
    },
    help: "How full a bulk load makes leaves, in percent.",
};

/// The option of both trees for compression.
const COMPRESSION: OptionSpec = OptionSpec {
    name: "compression",
    kind: OptionKind::Name {
        names: &["none", "lz4"],
    },
    help: "Compression in the file; nodes in memory are not compressed.",
};
