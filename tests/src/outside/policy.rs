//! A policy that merges everything as soon as there are a few sorted runs.

use kodiak::Result;
use kodiak::core::compaction::{
    CompactionPlan, CompactionPolicy, PlanKind, PolicyCapabilities, PolicyFactory, VersionShape,
};
use kodiak::core::options::{OptionKind, OptionSpec, Options};
use kodiak::core::registry::Component;

/// The policy `everything`.
pub static FACTORY: PolicyFactory = PolicyFactory {
    component: Component {
        name: "everything",
        summary: "Merges all runs into one on the last level, for a test.",
        options: &[OptionSpec {
            name: "at",
            kind: OptionKind::Int {
                default: 3,
                range: (2, 10),
            },
            help: "Sorted runs at which it does.",
        }],
    },
    capabilities: CAPABILITIES,
    create: |options, context| everything(options, context.levels - 1),
};

/// What it can do.
pub const CAPABILITIES: PolicyCapabilities = PolicyCapabilities {
    leveled: false,
    drops_expired: false,
};

fn everything(options: &Options, level: usize) -> Result<Box<dyn CompactionPolicy>> {
    Ok(Box::new(Everything {
        at: options.size("at"),
        level,
    }))
}

#[derive(Debug)]
struct Everything {
    at: usize,
    level: usize,
}

impl CompactionPolicy for Everything {
    fn plan(&self, shape: &VersionShape) -> Option<CompactionPlan> {
        let sorted_runs: usize = shape.levels.iter().map(|level| level.sorted_runs.len()).sum();
        let mut runs = shape.levels.iter().flat_map(|level| level.runs());
        if sorted_runs < self.at || runs.any(|run| run.busy) {
            return None;
        }
        Some(CompactionPlan {
            kind: PlanKind::Merge,
            inputs: shape
                .levels
                .iter()
                .flat_map(|level| level.runs())
                .map(|run| run.id)
                .collect(),
            output_level: self.level,
            join: true,
            reason: format!("there are {sorted_runs} sorted runs"),
            score: 1.0,
        })
    }

    fn pending_bytes(&self, _shape: &VersionShape) -> u64 {
        0
    }

    fn runs_allowed(&self, level: usize) -> usize {
        if level == 0 { self.at } else { 1 }
    }

    fn size_ratio(&self) -> u64 {
        10
    }
}
