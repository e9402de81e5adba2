//! Index files of databases.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::index::{Index, IndexContext, Root, Upsert};
use kodiak_core::options::Options;
use kodiak_core::storage::Storage;
use kodiak_core::{Error, ErrorKind, Result, SeqNo};

use crate::components::Components;
use crate::primary::locator::NewestWins;
use crate::secondary::{ENTRY, Mark, NewestMark};
use crate::{primary, secondary};

/// The name of the upsert operator of primary indexes.
pub const LOCATOR_OPERATOR: &str = NewestWins::NAME;
/// The name of the upsert operator of secondary indexes.
pub const SECONDARY_OPERATOR: &str = NewestMark::NAME;

/// Takes a key and its value.
pub type Each<'e> = &'e mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Hands over every key of an index file with its value, from one of its roots, or from the newest. In the primary index of a database
/// (whose operator is [`LOCATOR_OPERATOR`]) values are [`Locator`](super::Locator)s; in a secondary one ([`SECONDARY_OPERATOR`]) a key with
/// its value is a [`SecondaryEntry`].
///
/// # Errors
/// `InvalidSettings` if no component reads the file, or it has the operator of another program; `NotFound`; `Corruption` naming file and
/// offset; `Unsupported`, `Io`; whatever `each` returns.
pub fn index(
    storage: Arc<dyn Storage>,
    components: &Components,
    path: &Path,
    root: Option<Root>,
    each: Each<'_>,
) -> Result<()> {
    let index = open(&storage, components, path)?;
    let newest = index.roots().last().copied();
    let root = root
        .or(newest)
        .ok_or_else(|| Error::corruption("there is no root").with_file(path))?;
    let mut cursor = index.view(root)?.cursor();
    cursor.seek_first()?;
    while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
        each(key, value)?;
        cursor.next()?;
    }
    Ok(())
}

/// Opens an index file of whatever kind and role.
fn open(storage: &Arc<dyn Storage>, components: &Components, path: &Path) -> Result<Box<dyn Index>> {
    let mut refused = Error::settings("index.primary", "no index is registered").with_file(path);
    let operators: [fn() -> Arc<dyn Upsert>; 2] = [primary::operator, secondary::operator];
    for factory in components.indexes().iter() {
        for operator in operators {
            let options = Options::defaults(factory.component.options);
            let opened = (factory.open)(IndexContext {
                storage: Arc::clone(storage),
                path: path.to_owned(),
                pool: (factory.pool)((factory.smallest_pool)(&options)),
                options,
                upsert: Some(operator()),
                owner: Vec::new(),
            });
            match opened {
                Err(error) if error.kind() == ErrorKind::InvalidSettings => refused = error,
                opened => return opened,
            }
        }
    }
    Err(refused)
}

/// An entry of a secondary index as its file has it; bytes in `docs/formats/secondary.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondaryEntry<'a> {
    /// The encoded index columns; `None` for a row that every read looks up.
    pub index_key: Option<&'a [u8]>,
    /// The encoded primary key.
    pub user_key: &'a [u8],
    /// The newest version of the row known to have this index key.
    pub seq: SeqNo,
    /// From here on the row has another one, or none, if that is known.
    pub void: Option<SeqNo>,
}

impl<'a> SecondaryEntry<'a> {
    /// Reads a key and its value.
    ///
    /// # Errors
    /// `Corruption` if they are no entry.
    pub fn decode(key: &'a [u8], value: &[u8]) -> Result<Self> {
        let mark = Mark::decode(value)?;
        let wrong = || Error::corruption("a key of a secondary index is malformed");
        let (kind, rest) = key.split_first().ok_or_else(wrong)?;
        let (index_key, user_key) = rest.split_at_checked(mark.len).ok_or_else(wrong)?;
        Ok(Self {
            index_key: (*kind == ENTRY).then_some(index_key),
            user_key,
            seq: mark.seq,
            void: mark.void,
        })
    }
}
