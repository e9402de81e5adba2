//! Where Kodiak keeps its files: local, in-memory and fault-injecting storage.
