//! Outcomes side by side.

use kodiak::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::run::Outcome;

/// What became of a plan with several configurations, which all gave the same answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// One line on the data.
    pub data: String,
    /// What was done.
    pub plan: Plan,
    /// What became of it.
    pub outcomes: Vec<Outcome>,
}

impl Comparison {
    /// Puts outcomes of `plan` side by side.
    ///
    /// # Errors
    /// `InvalidInput` if there are none, or if they are not of the same workloads; `Corruption` naming configurations and
    /// workload if two did not give the same answers.
    pub fn new(data: impl Into<String>, plan: Plan, outcomes: Vec<Outcome>) -> Result<Self> {
        let Some((first, others)) = outcomes.split_first() else {
            return Err(Error::invalid_input(
                "there is nothing to compare: name a configuration",
            ));
        };
        others.iter().try_for_each(|other| same_answers(first, other))?;
        Ok(Self {
            data: data.into(),
            plan,
            outcomes,
        })
    }
}

fn same_answers(first: &Outcome, other: &Outcome) -> Result<()> {
    let differ = |what: &str| {
        let (first, other) = (&first.configuration, &other.configuration);
        Err(Error::corruption(format!(
            "configurations {first} and {other} gave different answers {what}"
        )))
    };
    let names = |outcome: &Outcome| {
        outcome
            .workloads
            .iter()
            .map(|done| done.workload.clone())
            .collect::<Vec<_>>()
    };
    if names(first) != names(other) {
        let message = format!(
            "configurations {} and {} ran other workloads",
            first.configuration, other.configuration
        );
        return Err(Error::invalid_input(message));
    }
    for (left, right) in first.workloads.iter().zip(&other.workloads) {
        if (left.operations, left.entries, &left.answers) != (right.operations, right.entries, &right.answers) {
            return differ(&format!("to workload {}", left.workload));
        }
    }
    if first.contents != other.contents {
        return differ("when all entries were read at the end");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kodiak::ErrorKind;

    use super::*;
    use crate::configuration::Configuration;
    use crate::data::DataSpec;
    use crate::run::{Quiet, run_configuration};

    fn outcomes(plan: &Plan) -> Vec<Outcome> {
        let run = |name: &&str| {
            let configuration = Configuration::parse(name, None).expect("valid");
            run_configuration(plan, &configuration, None, &mut Quiet).expect("it runs")
        };
        ["default", "row"].iter().map(run).collect()
    }

    fn plan() -> Plan {
        let workloads = vec!["seek-10".to_owned(), "ycsb-f".to_owned()];
        Plan {
            workloads,
            ..Plan::new(DataSpec::parse("kv:300", &[]).expect("valid"), 200)
        }
    }

    #[test]
    fn different_answers_are_refused_naming_who_and_where() {
        let plan = plan();
        let good = outcomes(&plan);
        Comparison::new("data", plan.clone(), good.clone()).expect("they agree");
        let refused = |outcomes: Vec<Outcome>| {
            let error = Comparison::new("data", plan.clone(), outcomes).expect_err("they differ");
            assert_eq!(error.kind(), ErrorKind::Corruption);
            error.to_string()
        };
        let mut bad = good.clone();
        bad[1].workloads[1].answers = "0".to_owned();
        assert!(refused(bad).contains("default and row gave different answers to workload seek-10"));
        let mut bad = good.clone();
        bad[1].contents = "0".to_owned();
        assert!(refused(bad).contains("at the end"));
        let mut bad = good;
        bad[1].workloads.pop();
        let error = Comparison::new("data", plan.clone(), bad).expect_err("other workloads");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(Comparison::new("data", plan, Vec::new()).is_err());
    }

    #[test]
    fn a_comparison_comes_back_from_its_json() {
        let plan = plan();
        let comparison = Comparison::new("data", plan.clone(), outcomes(&plan)).expect("they agree");
        let text = serde_json::to_string(&comparison).expect("written");
        let read: Comparison = serde_json::from_str(&text).expect("read");
        assert_eq!((&read.data, &read.plan), (&comparison.data, &comparison.plan));
        for (read, written) in read.outcomes.iter().zip(&comparison.outcomes) {
            same_answers(read, written).expect("the same answers");
            assert_eq!(read.settings, written.settings);
            let latencies = |outcome: &Outcome| outcome.workloads.iter().map(|done| done.latency).collect::<Vec<_>>();
            assert_eq!(latencies(read), latencies(written));
        }
    }
}
