//! The buffer between a `WritableFile` and the operating system, and the loops that finish short or interrupted calls.

use std::fmt::Debug;
use std::io::{self, Write};
use std::path::Path;

use kodiak_core::Result;
use kodiak_core::memory::HUGE_PAGE;
use kodiak_core::storage::WritableFile;

use crate::errors::io_error;

/// Bytes gathered before a system call. Large enough that the call's cost vanishes beside the copy.
pub(crate) const BUFFER_SIZE: usize = 256 * 1024;
/// The same, of files that will be read for long. Linux keeps what one call writes in pages as large as its length and its place
/// in the file allow, on file systems that can; and of a mapped file it maps such a page as one. Of files that are read once that would be
/// memory for what a reader is not at yet, or has left behind.
const LARGE_BUFFER_SIZE: usize = HUGE_PAGE;

/// A call that is interrupted this often in a row is not going to end.
const MAX_INTERRUPTIONS: u32 = 1000;

/// A file as the operating system sees it.
pub(crate) trait Sink: Send + Debug {
    /// True if a failed sync must make all later ones fail too.
    const REFUSE_AFTER_FAILED_SYNC: bool;

    fn path(&self) -> &Path;

    /// One system call, which may write less than asked.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// One system call that makes the bytes survive a power loss.
    fn sync(&mut self) -> io::Result<()>;
}

/// Repeats `call` until it is not interrupted.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut interruptions = 0;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && interruptions < MAX_INTERRUPTIONS => {
                interruptions += 1;
            }
            result => return result,
        }
    }
}

/// Writes all of `bytes`; `write` gets what is left, and the number of bytes done.
pub(crate) fn write_fully(bytes: &[u8], mut write: impl FnMut(&[u8], u64) -> io::Result<usize>) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match uninterrupted(|| write(&bytes[done..], done as u64))? {
            0 => return Err(io::Error::new(io::ErrorKind::WriteZero, "the system wrote no bytes")),
            count => done += count,
        }
    }
    Ok(())
}

/// Fills `out` as far as the file goes; `read` gets what is left, and the number of bytes done.
pub(crate) fn read_fully(
    out: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match uninterrupted(|| read(&mut out[done..], done as u64))? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// A [`WritableFile`] over a [`Sink`]. After a failed write nobody knows how much of it is in the file, so all further
/// calls fail. Dropping it loses what is buffered.
#[derive(Debug)]
pub(crate) struct Buffered<S> {
    sink: S,
    buffer: Vec<u8>,
    /// Calls end at multiples of it.
    piece: usize,
    handed_over: u64,
    failed: Option<&'static str>,
}

impl<S: Sink> Buffered<S> {
    pub(crate) fn new(sink: S) -> Self {
        Self {
            sink,
            buffer: Vec::with_capacity(BUFFER_SIZE),
            piece: BUFFER_SIZE,
            handed_over: 0,
            failed: None,
        }
    }

    fn check_usable(&self) -> io::Result<()> {
        match self.failed {
            None => Ok(()),
            Some(what) => Err(io::Error::other(format!(
                "an earlier {what} failed, and the file must be given up"
            ))),
        }
    }

    /// Hands `bytes` to the system without buffering, a piece at a time; the buffer must be empty.
    fn hand_over(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.failed = Some("write");
        let (sink, piece, from) = (&mut self.sink, self.piece as u64, self.handed_over);
        write_fully(bytes, |rest, done| {
            let room = piece - (from + done) % piece;
            sink.write(&rest[..rest.len().min(room as usize)])
        })?;
        self.failed = None;
        self.handed_over += bytes.len() as u64;
        Ok(())
    }

    fn hand_over_buffer(&mut self) -> io::Result<()> {
        self.check_usable()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.hand_over(&buffer);
        buffer.clear();
        self.buffer = buffer;
        result
    }
}

impl<S: Sink> Write for Buffered<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_usable()?;
        let room = self.piece - (self.position() % self.piece as u64) as usize;
        if bytes.len() < room {
            self.buffer.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let (first, rest) = bytes.split_at(room);
        let (whole, rest) = rest.split_at(rest.len() - rest.len() % self.piece);
        if self.buffer.is_empty() {
            self.hand_over(&bytes[..first.len() + whole.len()])?;
        } else {
            self.buffer.extend_from_slice(first);
            self.hand_over_buffer()?;
            if !whole.is_empty() {
                self.hand_over(whole)?;
            }
        }
        self.buffer.extend_from_slice(rest);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over_buffer()
    }
}

impl<S: Sink> WritableFile for Buffered<S> {
    fn position(&self) -> u64 {
        self.handed_over + self.buffer.len() as u64
    }

    fn read_for_long(&mut self) {
        self.piece = LARGE_BUFFER_SIZE;
    }

    fn sync(&mut self) -> Result<()> {
        let pending = self.buffer.len();
        self.hand_over_buffer()
            .map_err(|error| io_error(&format!("write {pending} buffered bytes"), self.sink.path(), error))?;
        uninterrupted(|| self.sink.sync()).map_err(|error| {
            if S::REFUSE_AFTER_FAILED_SYNC {
                self.failed = Some("sync");
            }
            io_error(
                "sync the file; what was written since the last good sync may be lost",
                self.sink.path(),
                error,
            )
        })
    }

    fn finish(mut self: Box<Self>, sync: bool) -> Result<()> {
        if sync {
            return self.sync();
        }
        let pending = self.buffer.len();
        self.hand_over_buffer()
            .map_err(|error| io_error(&format!("write {pending} buffered bytes"), self.sink.path(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes at most so many bytes at once.
    #[derive(Debug)]
    struct Recorded {
        most: usize,
        ends: Vec<u64>,
        bytes: Vec<u8>,
    }

    impl Sink for Recorded {
        const REFUSE_AFTER_FAILED_SYNC: bool = true;

        fn path(&self) -> &Path {
            Path::new("recorded")
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.most);
            self.bytes.extend_from_slice(&bytes[..count]);
            self.ends.push(self.bytes.len() as u64);
            Ok(count)
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn calls_end_at_multiples_of_a_piece_whatever_is_written() {
        for (large, piece) in [(false, BUFFER_SIZE), (true, LARGE_BUFFER_SIZE)] {
            let mut file = Buffered::new(Recorded {
                most: usize::MAX,
                ends: Vec::new(),
                bytes: Vec::new(),
            });
            if large {
                file.read_for_long();
            }
            let mut expected = Vec::new();
            let sizes = [10, piece - 10, 1, piece * 3 + 5, piece, piece / 2, 7 * piece - 1, 0, 3];
            for (n, size) in sizes.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..size).map(|at| (at * 7 + n) as u8).collect();
                file.write_all(&bytes).expect("writes");
                expected.extend_from_slice(&bytes);
                assert_eq!(file.position(), expected.len() as u64);
                assert!(file.buffer.len() < piece, "no more than a piece is held back");
            }
            assert!(file.sink.ends.iter().all(|end| end.is_multiple_of(piece as u64)));
            // What a sync has handed over too early is made up for.
            file.sync().expect("syncs");
            file.write_all(&vec![1; 2 * piece]).expect("writes");
            expected.extend(vec![1; 2 * piece]);
            let last = file.sink.ends.last().expect("it was written to");
            assert!(last.is_multiple_of(piece as u64) && file.sink.ends.len() > 3);
            file.sync().expect("syncs");
            assert!(file.sink.bytes == expected);
        }
    }

    #[test]
    fn what_the_system_takes_in_parts_arrives_whole() {
        let mut file = Buffered::new(Recorded {
            most: 1000,
            ends: Vec::new(),
            bytes: Vec::new(),
        });
        let bytes: Vec<u8> = (0..BUFFER_SIZE * 2 + 77).map(|at| (at * 13) as u8).collect();
        for part in bytes.chunks(BUFFER_SIZE / 3) {
            file.write_all(part).expect("writes");
        }
        file.sync().expect("syncs");
        assert!(file.sink.bytes == bytes);
    }
}
