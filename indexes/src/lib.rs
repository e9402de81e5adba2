//! Durable ordered maps from byte keys to small byte values: a B+ tree and a fractal tree, over one page store and one buffer
//! pool.
//!
//! Each is a file, of its own use as an embedded map ([`Map`]) as well as a part of the engine:
//!
//! ```
//! use std::sync::Arc;
//! use kodiak_core::index::Updates;
//! use kodiak_indexes::Map;
//!
//! # fn main() -> kodiak_core::Result<()> {
//! # let storage = Arc::new(kodiak_storage::MemoryStorage::new());
//! // In files: let storage = Arc::new(kodiak_storage::LocalStorage::new());
//! let map = Map::open(storage.clone(), "prices.index", "fractal", 64 << 20)?; // with 64 MiB of memory
//!
//! let mut updates = Updates::new();
//! updates.put(b"apple", b"12").put(b"pear", b"7");
//! map.apply(&updates, None)?;
//! let monday = map.commit()?; // durable from here on, and kept until it is released
//!
//! updates.clear();
//! updates.put(b"apple", b"13").delete_range(b"b", None);
//! map.apply(&updates, None)?;
//! assert_eq!(map.get(b"apple")?.as_deref(), Some(&b"13"[..])); // changes show at once
//! map.commit()?;
//!
//! let (then, now) = (map.view(monday)?, map.newest()?);
//! assert_eq!(then.get(b"apple")?.as_deref(), Some(&b"12"[..]));
//! assert_eq!(now.get(b"pear")?, None);
//! for entry in then.range("a".."q").rev() {
//!     let (key, value) = entry?;
//!     println!("{} costs {}", key.escape_ascii(), value.escape_ascii());
//! }
//! map.release(monday)?; // its space is free once nobody reads it and another commit has been made
//!
//! drop((map, then, now));
//! let map = Map::open(storage, "prices.index", "fractal", 64 << 20)?;
//! assert_eq!(map.get(b"apple")?.as_deref(), Some(&b"13"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! Roots are kept until they are released, so whoever needs none but the newest commits with [`Map::save`]. Changes are many times
//! cheaper in batches; a batch is applied as a whole, and a commit makes all batches before it durable. Options of the trees, pools that
//! several share, and blind upserts take [`Map::open_with`]; `docs/formats/index.md` has the bytes, `kodiak index dump` and
//! `kodiak index verify` look into a file.
//!
//! | part | what |
//! |---|---|
//! | `store` | the file: pieces, space, root slots, commits (see `docs/formats/index.md`) |
//! | `pool` | memory |
//! | `data` | blocks of entries, buffers of changes, keys of nodes, and how changes merge |
//! | `tree` | the tree that both are: changes, reads, cursors, bulk load, verification |
//! | `bplus`, `fractal` | what makes it the one or the other |
//! | `map`, `inspect` | for programs: a file of one's own; a look into a file of whatever kind |

// Files, clock and randomness come from `Storage`: see `clippy.toml`.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod bplus;
mod data;
mod fractal;
mod inspect;
mod map;
mod pool;
mod store;
mod tree;

use kodiak_core::index::IndexFactory;
use kodiak_core::options::{OptionKind, OptionSpec};

pub use inspect::IndexFile;
pub use map::Map;
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
