//! What a comparison does with each configuration.

use kodiak::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::data::DataSpec;
use crate::workloads::{self, Workload};

/// What is done with each configuration: the same for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The entries.
    pub data: DataSpec,
    /// The workloads by name, in order; the entries are loaded first in any case.
    pub workloads: Vec<String>,
    /// Operations of a workload of point reads or writes; those that do more per operation do fewer.
    pub operations: u64,
    /// Seeds the choice of keys and operations.
    pub seed: u64,
}

impl Plan {
    /// Every workload over `data`, with `operations` operations each.
    pub fn new(data: DataSpec, operations: u64) -> Self {
        let workloads = workloads::ALL.iter().map(|workload| workload.name.to_owned()).collect();
        Self {
            data,
            workloads,
            operations,
            seed: 42,
        }
    }

    /// The workloads named, after the load.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is unknown (listing the known ones), or for no operations.
    pub fn resolve(&self) -> Result<Vec<&'static Workload>> {
        if self.operations == 0 {
            return Err(Error::invalid_input("a plan needs at least one operation"));
        }
        let mut found = vec![&workloads::LOAD];
        for name in &self.workloads {
            let workload = workloads::find(name)?;
            if workload.name != workloads::LOAD.name {
                found.push(workload);
            }
        }
        Ok(found)
    }
}
