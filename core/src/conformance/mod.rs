//! What every implementation of a trait must pass. Each family's own tests run its suite for every entry of its `ALL`.
