//! Filters that tell which runs cannot hold a key.
