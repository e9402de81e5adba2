//! Bytes that are gathered, in pieces of memory from the system.

use std::ptr::NonNull;

use super::Memory;

/// Bytes of a piece: mapped, and what files are written in.
const PIECE: usize = 256 << 10;

/// Bytes that are appended to, many of them, and then read from the beginning. Nothing is copied when they become more, and what they
/// took is the system's again with them.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: Vec<Memory>,
    len: usize,
}

impl Pieces {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (piece, at) = (self.len / PIECE, self.len % PIECE);
            if piece == self.pieces.len() {
                self.pieces.push(Memory::new(PIECE, false));
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - at));
            // SAFETY: `at + now.len()` is within the piece, which nobody else writes to or reads, as `&mut self` says.
            unsafe {
                let to = self.pieces[piece].start().add(at);
                to.copy_from_nonoverlapping(NonNull::from(now).cast(), now.len());
            }
            self.len += now.len();
            bytes = later;
        }
    }

    /// The bytes, in order, piece by piece.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().enumerate().map_while(|(index, piece)| {
            let len = self.len.checked_sub(index * PIECE).filter(|&len| len > 0)?.min(PIECE);
            // SAFETY: the first `len` bytes of the piece were written by `extend_from_slice`, and stay what they are while they are borrowed.
            Some(unsafe { NonNull::slice_from_raw_parts(piece.start(), len).as_ref() })
        })
    }

    /// Takes all bytes away, and keeps the memory for others.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_read() {
        let mut pieces = Pieces::default();
        for round in 0..3u8 {
            assert!(pieces.is_empty() && pieces.iter().next().is_none());
            let mut expected = Vec::new();
            for len in [0, 1, 7, PIECE - 8, 0, 1, PIECE, 3 * PIECE + 5, PIECE - 7, 100] {
                let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8 ^ round).collect();
                pieces.extend_from_slice(&bytes);
                expected.extend_from_slice(&bytes);
                assert_eq!(pieces.len(), expected.len());
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
                assert!(pieces.iter().flatten().eq(&expected), "round {round}, {len} more");
            }
            pieces.clear();
        }
    }
}
