//! Workloads, measurement and reports that compare configurations of Kodiak.
