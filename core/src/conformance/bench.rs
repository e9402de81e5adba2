//! How much benches do.

/// The number of things that a bench works on: what `KODIAK_BENCH_N` says, otherwise `full` under `cargo bench` and `tiny` where
/// the benches run once each among the tests.
pub fn size(full: usize, tiny: usize) -> usize {
    let given = std::env::var("KODIAK_BENCH_N").ok().and_then(|text| text.parse().ok());
    // Cargo passes this to benches, and to nothing else.
    let measured = std::env::args().any(|argument| argument == "--bench");
    given.unwrap_or(if measured { full } else { tiny })
}
