//! Compaction policies: pure decisions over the shape of a version.
