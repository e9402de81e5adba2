//! Standard output, buffered, with its errors passed on: a closed pipe must not be a panic.

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::failure::Result;

/// Standard output.
pub struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    /// Locks standard output.
    pub fn new() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    /// Runs a command and writes what it left in the buffer, also if it failed.
    pub fn run(mut self, command: impl FnOnce(&mut Self) -> Result) -> Result {
        let result = command(&mut self);
        let written = self.0.flush();
        // The buffer is empty, or cannot be written: dropping it must not try again.
        let _ = self.0.into_parts();
        result.and_then(|()| Ok(written?))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
