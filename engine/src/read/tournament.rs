//! Which of many sources comes next, and which after it.

use std::hint::select_unpredictable;

/// A source, with the beginning of its current key: most comparisons need no more of it.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The smallest comes first.
    pub prefix: u128,
    /// The number of the source.
    pub source: u32,
}

impl Head {
    /// The prefix of a source that has nothing left. It is not the only one that may have it, so that comparing in full must put
    /// such a source last.
    pub const EXHAUSTED: u128 = u128::MAX;

    /// In place of a source where there is none.
    const NONE: Self = Self {
        prefix: Self::EXHAUSTED,
        source: u32::MAX,
    };
}

/// A tree of losers (Knuth, "The Art of Computer Programming", volume 3, section 5.4.1): in each inner node the source that lost the
/// match there, so that when the first one goes on, a match on each level says who comes next. Who comes second is known as
/// well: as long as the first stays before it, no match is played.
///
/// The last source may be kept apart: it plays against the winner of all others, and there is nothing else on its way. That is for one that
/// has more rows than all others together, and for [passing](Self::advance_field) rows of others that it has older versions of.
///
/// Matches are decided by prefixes, without a branch that a processor would have to guess; those with equal prefixes by
/// `before`, which callers bring along: true if the first head comes before the other, by all that there is to compare.
#[derive(Debug)]
pub struct Tournament {
    /// By node, of which 1 is the root, and the children of `n` are `2 n` and `2 n + 1`; the first source has the node that
    /// would follow the last one. One that is kept apart has none.
    losers: Vec<Head>,
    /// Who is first among those, and who second.
    field: [Head; 2],
    apart: Head,
    first: Head,
    second: Head,
}

impl Tournament {
    /// One without sources, with room for so many.
    pub fn with_capacity(sources: usize) -> Self {
        Self {
            losers: Vec::with_capacity(sources),
            field: [Head::NONE; 2],
            apart: Head::NONE,
            first: Head::NONE,
            second: Head::NONE,
        }
    }

    /// Begins with so many sources, whose prefixes `prefix` tells; the last one is kept `apart`, or is one like the others.
    pub fn start(
        &mut self,
        sources: usize,
        apart: bool,
        prefix: impl Fn(u32) -> u128,
        before: impl Fn(Head, Head) -> bool,
    ) {
        let apart = sources.checked_sub(1).filter(|_| apart);
        self.apart = apart.map_or(Head::NONE, |source| Head {
            prefix: prefix(source as u32),
            source: source as u32,
        });
        self.losers.clear();
        self.losers.resize(apart.unwrap_or(sources), Head::NONE);
        self.field = [Head::NONE; 2];
        if !self.losers.is_empty() {
            self.field[0] = self.winner_of(1, &prefix, &before);
            self.field[1] = self.second_in_field(&before);
        }
        self.settle(before);
    }

    fn winner_of(&mut self, node: usize, prefix: &impl Fn(u32) -> u128, before: &impl Fn(Head, Head) -> bool) -> Head {
        if node >= self.losers.len() {
            let source = (node - self.losers.len()) as u32;
            let prefix = prefix(source);
            return Head { prefix, source };
        }
        let left = self.winner_of(2 * node, prefix, before);
        let right = self.winner_of(2 * node + 1, prefix, before);
        let (winner, loser) = play(left, right, before);
        self.losers[node] = loser;
        winner
    }

    /// The source that comes first. If there are no sources, its number is that of none.
    #[inline]
    pub fn first(&self) -> Head {
        self.first
    }

    /// The source that comes second; if there is but one, its number is that of none.
    #[inline]
    pub fn second(&self) -> Head {
        self.second
    }

    /// The source that is kept apart; if there is none, its number is that of none.
    #[inline]
    pub fn apart(&self) -> Head {
        self.apart
    }

    /// The first of the others.
    #[inline]
    pub fn first_in_field(&self) -> Head {
        self.field[0]
    }

    /// The first source has gone on, and has this prefix now.
    #[inline]
    pub fn advance(&mut self, prefix: u128, before: impl Fn(Head, Head) -> bool) {
        self.first.prefix = prefix;
        if self.first.source == self.apart.source {
            self.apart.prefix = prefix;
        } else if prefix < self.field[1].prefix {
            self.field[0].prefix = prefix;
        } else {
            self.advance_field(prefix, &before);
            self.field[1] = self.second_in_field(&before);
        }
        if prefix >= self.second.prefix {
            self.settle(before);
        }
    }

    /// The source that is kept apart has gone on. To be followed by [`settle_field`](Self::settle_field).
    #[inline]
    pub fn advance_apart(&mut self, prefix: u128) {
        self.apart.prefix = prefix;
    }

    /// The first of the others has gone on. Who comes second among them is not known until [`settle_field`](Self::settle_field).
    #[inline]
    pub fn advance_field(&mut self, prefix: u128, before: impl Fn(Head, Head) -> bool) {
        let mut winner = self.field[0];
        winner.prefix = prefix;
        let mut node = self.parent(winner);
        while node > 0 {
            (winner, self.losers[node]) = play(winner, self.losers[node], &before);
            node /= 2;
        }
        self.field[0] = winner;
    }

    /// Finds out who is second among the others, and who is first and second of all.
    pub fn settle_field(&mut self, before: impl Fn(Head, Head) -> bool) {
        self.field[1] = self.second_in_field(&before);
        self.settle(before);
    }

    /// Finds out who is first and who second.
    #[inline]
    fn settle(&mut self, before: impl Fn(Head, Head) -> bool) {
        let loser;
        (self.first, loser) = play(self.field[0], self.apart, &before);
        self.second = match self.first.source == self.apart.source {
            true => loser,
            false => play(loser, self.field[1], &before).0,
        };
    }

    /// The second has lost against the first, somewhere.
    #[inline]
    fn second_in_field(&self, before: &impl Fn(Head, Head) -> bool) -> Head {
        let mut node = self.parent(self.field[0]);
        let mut second = Head::NONE;
        while node > 0 {
            (second, _) = play(self.losers[node], second, before);
            node /= 2;
        }
        second
    }

    #[inline]
    fn parent(&self, head: Head) -> usize {
        (self.losers.len() + head.source as usize) / 2
    }
}

/// Who comes first, and who second.
#[inline]
fn play(left: Head, right: Head, before: &impl Fn(Head, Head) -> bool) -> (Head, Head) {
    let mut less = right.prefix < left.prefix;
    if left.prefix == right.prefix {
        less = before(right, left);
    }
    let pick = |when: bool| Head {
        prefix: select_unpredictable(when, right.prefix, left.prefix),
        source: select_unpredictable(when, right.source, left.source),
    };
    (pick(less), pick(!less))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences of numbers of which many share a prefix, some end at once, and some have the prefix of those that have ended.
    fn sources(count: u64) -> Vec<Vec<u128>> {
        let number = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50;
        let mut sources: Vec<Vec<u128>> = (0..count)
            .map(|source| {
                let numbers = (0..number(source) % 40).map(|n| u128::from(number(source * 100 + n)));
                numbers.chain((source % 4 == 1).then_some(u128::MAX)).collect()
            })
            .collect();
        sources.iter_mut().for_each(|source| source.sort_unstable());
        sources
    }

    #[test]
    fn the_first_and_the_second_are_those_of_sorting() {
        for (count, apart) in [0, 1, 2, 3, 7, 8, 9, 50]
            .map(|count| [(count, false), (count, true)])
            .concat()
        {
            let sources = sources(count);
            let mut expected: Vec<(u128, u32)> = (0..)
                .zip(&sources)
                .flat_map(|(source, numbers)| numbers.iter().map(move |&number| (number, source)))
                .collect();
            expected.sort_unstable();
            // Sources with equal numbers come in their order.
            let mut places = vec![0; sources.len()];
            let prefix = |number: Option<&u128>| number.map_or(Head::EXHAUSTED, |&number| number | 0xF);
            let mut tournament = Tournament::with_capacity(sources.len());
            let mut found = Vec::new();
            for step in 0..=expected.len() {
                let number = |head: Head| sources[head.source as usize].get(places[head.source as usize]);
                let before = |left: Head, right: Head| match (left.source, right.source) {
                    (u32::MAX, _) => false,
                    (_, u32::MAX) => true,
                    _ => match (number(left), number(right)) {
                        (Some(a), Some(b)) => (a, left.source) < (b, right.source),
                        (left, _) => left.is_some(),
                    },
                };
                if step == 0 {
                    tournament.start(
                        sources.len(),
                        apart,
                        |source| prefix(sources[source as usize].first()),
                        before,
                    );
                } else {
                    let source = tournament.first().source;
                    let next = prefix(sources[source as usize].get(places[source as usize]));
                    if step % 3 == 0 && source != tournament.apart().source {
                        tournament.advance_field(next, before);
                        tournament.settle_field(before);
                    } else {
                        tournament.advance(next, before);
                    }
                }
                let first = tournament.first();
                let Some(&next) = sources.get(first.source as usize).and_then(|_| number(first)) else {
                    break;
                };
                found.push((next, first.source));
                let second = tournament.second();
                let behind = (0..sources.len() as u32)
                    .filter(|&source| source != first.source)
                    .map(|source| Head { prefix: 0, source })
                    .filter_map(|head| Some((*number(head)?, head.source)))
                    .min();
                if let Some((least, source)) = behind {
                    assert_eq!((second.prefix, second.source), (least | 0xF, source));
                }
                places[first.source as usize] += 1;
            }
            assert_eq!(found, expected, "{count} sources, {apart}");
        }
    }
}
