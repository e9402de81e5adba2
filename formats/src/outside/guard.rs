//! Keeps panics of other crates' decoders from reaching the caller.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kodiak_core::{Error, Result};

thread_local! {
    static DECODING: Cell<u32> = const { Cell::new(0) };
}

/// True on a thread that is decoding somebody's file, where a panic is caught and becomes an error: a panic hook need not
/// report it.
pub fn is_decoding() -> bool {
    DECODING.get() > 0
}

/// Runs a decoder.
///
/// # Errors
/// What it returns; `Corruption` if it panics.
pub(crate) fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    DECODING.set(DECODING.get() + 1);
    // What a decoder leaves behind when it panics is not used any more: every error of a reader is final.
    let result = catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(DECODING.get() - 1);
    result.unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("for an unknown reason");
        Err(Error::corruption("the file is damaged: its decoder gave up").with_source(why.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| assert!(is_decoding())));
        let caught = guarded::<()>(|| panic!("row {}", 7));
        std::panic::set_hook(hook);
        let error = caught.expect_err("caught").to_string();
        assert!(error.contains("row 7"), "{error}");
        assert!(!is_decoding());
    }
}
