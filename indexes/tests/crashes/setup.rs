//! What a script runs on: an index with options that follow from a seed, over a storage that may have a planted bug.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::Result;
use kodiak_core::conformance::index::{Append, Random};
use kodiak_core::index::{Index, IndexContext, IndexFactory};
use kodiak_core::options::{OptionValue, Options};
use kodiak_core::storage::Storage;
use kodiak_storage::FaultStorage;

use crate::buggy::{Bug, BuggyIndex, BuggyStorage};

/// The directory of the file, and the file.
pub const DIR: &str = "/db";
pub const PATH: &str = "/db/x.index";

/// One script of one tree.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub factory: &'static IndexFactory,
    pub seed: u64,
    pub bug: Option<Bug>,
}

impl Setup {
    pub fn new(factory: &'static IndexFactory, seed: u64) -> Self {
        Self {
            factory,
            seed,
            bug: None,
        }
    }

    /// A new file system with the directory in it.
    pub fn storage(&self) -> FaultStorage {
        let storage = FaultStorage::with_seed(self.seed);
        storage.create_dir_all(Path::new(DIR)).expect("healthy");
        storage
    }

    /// True if commits of this script are larger than those that sync once.
    pub fn is_large(&self) -> bool {
        self.seed % 16 == 5
    }

    fn options(&self) -> Options {
        let mut random = Random::new(self.seed ^ 0x0715);
        let mut pick = |choices: &[u64]| OptionValue::Int(choices[random.below(choices.len())]);
        let mut given = if self.factory.capabilities.blind_writes {
            vec![
                ("node_size", pick(&[16 << 10, 16 << 10, 32 << 10])),
                ("basement_size", pick(&[4 << 10, 8 << 10])),
                ("fanout", pick(&[4, 5])),
            ]
        } else {
            vec![("page_size", pick(&[4 << 10, 4 << 10, 8 << 10]))]
        };
        given.push(("fill", pick(&[50, 90, 100])));
        if self.factory.capabilities.blind_writes {
            let share = [0.3, 0.9, 1.0][random.below(3)];
            given.push(("buffer_share", OptionValue::Float(share)));
            given.push(("promotion", OptionValue::Bool(random.below(3) > 0)));
        }
        let compression = ["none", "lz4"][random.below(2)];
        given.push(("compression", OptionValue::Name(compression.to_owned())));
        let given = given.into_iter().map(|(name, value)| (name.to_owned(), value));
        Options::resolve(self.factory.component.options, given).expect("valid options")
    }

    /// Mostly with a pool of eight nodes.
    fn context(&self, storage: &FaultStorage) -> IndexContext {
        let options = self.options();
        let storage: Arc<dyn Storage> = match self.bug {
            Some(bug) => Arc::new(BuggyStorage::new(storage.clone(), bug)),
            None => Arc::new(storage.clone()),
        };
        let pools = [1, 1, 1, 4][Random::new(self.seed).below(4)];
        IndexContext {
            storage,
            path: PATH.into(),
            pool: (self.factory.pool)(pools * (self.factory.smallest_pool)(&options)),
            options,
            upsert: Some(Arc::new(Append)),
            owner: Vec::new(),
        }
    }

    fn wrap(&self, index: Box<dyn Index>) -> Arc<dyn Index> {
        match self.bug.filter(|bug| bug.is_of_the_tree()) {
            Some(bug) => Arc::new(BuggyIndex::new(index, bug)),
            None => Arc::from(index),
        }
    }

    /// Makes the index.
    pub fn create(&self, storage: &FaultStorage) -> Result<Arc<dyn Index>> {
        (self.factory.create)(self.context(storage)).map(|index| self.wrap(index))
    }

    /// Opens it.
    pub fn open(&self, storage: &FaultStorage) -> Result<Arc<dyn Index>> {
        (self.factory.open)(self.context(storage)).map(|index| self.wrap(index))
    }
}
