//! Which rows of which sources come one after the other.

/// Rows `from..to` of a source, by its number.
pub type Stretch = (usize, usize, usize);

/// Rows `from..to` of a source.
#[derive(Debug, Clone, Copy)]
struct Piece {
    source: u32,
    from: u32,
    to: u32,
}

/// A row of a source that takes the place `at`.
#[derive(Debug, Clone, Copy)]
struct Patch {
    at: u32,
    source: u32,
    row: u32,
}

/// An order of rows of several sources. Where a row takes the place of one in the midst of others, as an update does, these are
/// still one piece: columns of fixed width are copied by pieces, and then patched.
#[derive(Debug, Default)]
pub struct Layout {
    pieces: Vec<Piece>,
    /// By their places.
    patches: Vec<Patch>,
    rows: usize,
}

impl Layout {
    /// An empty one with room for as many parts.
    pub fn like(other: &Self) -> Self {
        Self {
            pieces: Vec::with_capacity(other.pieces.len()),
            patches: Vec::with_capacity(other.patches.len()),
            rows: 0,
        }
    }

    /// How many rows there are.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many pieces and patches there are.
    pub fn parts(&self) -> usize {
        self.pieces.len() + self.patches.len()
    }

    /// Adds rows `from..to` of a source.
    #[inline]
    pub fn push(&mut self, source: u32, from: usize, to: usize) {
        self.rows += to - from;
        match self.pieces.last_mut() {
            Some(last) if last.source == source && last.to as usize == from => last.to = to as u32,
            _ => self.pieces.push(Piece {
                source,
                from: from as u32,
                to: to as u32,
            }),
        }
    }

    /// Puts a row of a source in the place of the row added last.
    #[inline]
    pub fn replace_last(&mut self, source: u32, row: usize) {
        self.patches.push(Patch {
            at: (self.rows - 1) as u32,
            source,
            row: row as u32,
        });
    }

    /// Gives a source another number.
    pub fn renumber(&mut self, from: u32, to: u32) {
        let pieces = self.pieces.iter_mut().map(|piece| &mut piece.source);
        let patches = self.patches.iter_mut().map(|patch| &mut patch.source);
        let sources = pieces.chain(patches);
        sources
            .filter(|source| **source == from)
            .for_each(|source| *source = to);
    }

    /// All rows, if they follow each other in one source.
    pub fn alone(&self) -> Option<Stretch> {
        match (self.pieces.as_slice(), self.patches.as_slice()) {
            ([piece], []) => Some(piece.stretch()),
            _ => None,
        }
    }

    /// The pieces, with rows that are to be patched in them.
    pub fn pieces(&self) -> impl Iterator<Item = Stretch> + '_ {
        self.pieces.iter().map(Piece::stretch)
    }

    /// The patches: place, source, and row in the source.
    pub fn patches(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let patches = self.patches.iter();
        patches.map(|patch| (patch.at as usize, patch.source as usize, patch.row as usize))
    }

    /// Calls `each` with what is one after the other: pieces cut at the patches, some of them empty, and patches.
    #[inline(always)]
    pub fn for_each(&self, each: impl FnMut(Stretch)) {
        self.for_each_cut(|_, _| true, each);
    }

    /// As [`for_each`](Self::for_each), but pieces are cut only at those patches of which `cuts` says so, given the patch and what it
    /// takes the place of, each a source and a row in it. The others are not handed to `each`.
    #[inline(always)]
    pub fn for_each_cut(&self, cuts: impl Fn((usize, usize), (usize, usize)) -> bool, mut each: impl FnMut(Stretch)) {
        let (mut at, mut patches) = (0, self.patches.iter());
        let mut patch = patches.next();
        for (source, from, to) in self.pieces() {
            let (mut next, end) = (from, at + (to - from));
            while let Some(some) = patch
                && (some.at as usize) < end
            {
                let (new, row) = (some.source as usize, some.row as usize);
                let replaced = from + (some.at as usize - at);
                if cuts((new, row), (source, replaced)) {
                    each((source, next, replaced));
                    each((new, row, row + 1));
                    next = replaced + 1;
                }
                patch = patches.next();
            }
            each((source, next, to));
            at = end;
        }
    }
}

impl Piece {
    fn stretch(&self) -> Stretch {
        (self.source as usize, self.from as usize, self.to as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_the_places_of_others_in_the_midst_of_a_piece() {
        let mut layout = Layout::default();
        layout.push(0, 5, 9);
        layout.push(0, 9, 10);
        layout.replace_last(1, 3);
        layout.push(0, 10, 11);
        layout.replace_last(1, 4);
        layout.push(0, 11, 13);
        assert_eq!((layout.rows(), layout.pieces().count(), layout.alone()), (8, 1, None));
        layout.push(7, 0, 2);
        layout.push(0, 13, 14);
        layout.replace_last(7, 2);
        layout.renumber(7, 2);
        let (mut stretches, mut rows) = (vec![], 0);
        layout.for_each(|(source, from, to)| {
            rows += to - from;
            if from < to {
                stretches.push((source, from, to));
            }
        });
        let expected = [(0, 5, 9), (1, 3, 4), (1, 4, 5), (0, 11, 13), (2, 0, 2), (2, 2, 3)];
        assert_eq!((stretches.as_slice(), rows), (&expected[..], layout.rows()));
        assert_eq!(layout.patches().map(|patch| patch.0).collect::<Vec<_>>(), [4, 5, 10]);
        // A piece is cut at some of its patches only.
        stretches.clear();
        let cuts = |new: (usize, usize), old: (usize, usize)| {
            assert!([((1, 3), (0, 9)), ((1, 4), (0, 10)), ((2, 2), (0, 13))].contains(&(new, old)));
            new == (1, 4)
        };
        layout.for_each_cut(cuts, |stretch| stretches.push(stretch));
        let expected = [(0, 5, 10), (1, 4, 5), (0, 11, 13), (2, 0, 2), (0, 13, 14)];
        assert_eq!(stretches, expected);
    }
}
