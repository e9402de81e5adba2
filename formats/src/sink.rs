//! A data file being written, with the checksum of the part at hand.

use std::io::{self, Write};

use kodiak_core::format::Part;
use kodiak_core::storage::WritableFile;
use kodiak_core::{Error, ErrorKind, Result};

/// Passes bytes on to the file and sums up those of the current part, so that no byte is read twice.
#[derive(Debug)]
pub(crate) struct PartSink {
    file: Box<dyn WritableFile>,
    position: u64,
    start: u64,
    crc: crc32fast::Hasher,
}

impl PartSink {
    /// Writes to `file`, which must be empty: the offsets in data files count from its start.
    pub(crate) fn new(file: Box<dyn WritableFile>) -> Result<Self> {
        if file.position() != 0 {
            return Err(Error::invalid_input("a data file must be begun in an empty file"));
        }
        Ok(Self {
            file,
            position: 0,
            start: 0,
            crc: crc32fast::Hasher::new(),
        })
    }

    /// Bytes written so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Begins a part here.
    pub(crate) fn begin(&mut self) {
        self.start = self.position;
        self.crc.reset();
    }

    /// The part written since [`begin`](Self::begin).
    pub(crate) fn end(&self) -> Part {
        Part {
            offset: self.start,
            len: self.position - self.start,
            crc: self.crc.clone().finalize(),
        }
    }

    /// Appends `bytes`.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.write_all(bytes).map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("cannot write {} bytes to the data file", bytes.len()),
            )
            .with_offset(self.position)
            .with_source(error)
        })
    }

    /// Appends `count` zero bytes.
    pub(crate) fn pad(&mut self, mut count: usize) -> Result<()> {
        const ZEROS: [u8; 64] = [0; 64];
        while count > 0 {
            let step = count.min(ZEROS.len());
            self.put(&ZEROS[..step])?;
            count -= step;
        }
        Ok(())
    }

    /// Closes the file and returns its length.
    pub(crate) fn finish(self, sync: bool) -> Result<u64> {
        self.file.finish(sync)?;
        Ok(self.position)
    }
}

impl Write for PartSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
