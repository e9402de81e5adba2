//! Covers of configurations: every pair of choices at least once, or the full product.

use std::collections::HashSet;

use kodiak::Components;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::factors::{self, Factor};

/// Choices, one for each factor.
pub type Row = Vec<usize>;

/// Two choices: `(factor, choice, factor, choice)`, the first factor before the second.
type Pair = (usize, usize, usize, usize);

/// A cover of all pairs.
#[derive(Debug)]
pub struct Cover {
    /// The configurations. The builder accepts each.
    pub rows: Vec<Row>,
    /// Pairs that the builder refuses, whatever else is chosen.
    pub refused: Vec<String>,
    /// Pairs that it does not refuse by themselves and that are in no row all the same: there should be none.
    pub missed: Vec<String>,
}

fn accepted(factors: &[Factor], row: &[usize], components: &Components) -> bool {
    components.resolve(&factors::settings(factors, row)).is_ok()
}

fn name(factors: &[Factor], &(f, a, g, b): &Pair) -> String {
    format!(
        "{}={} {}={}",
        factors[f].name, factors[f].choices[a].label, factors[g].name, factors[g].choices[b].label
    )
}

fn pair(f: usize, a: usize, g: usize, b: usize) -> Pair {
    if f < g { (f, a, g, b) } else { (g, b, f, a) }
}

/// Configurations in which every pair of choices occurs that the builder accepts. Greedy, as in Cohen, Dalal, Fredman and
/// Patton, "The AETG System" (TSE 1997); the same seed gives the same rows.
pub fn cover(factors: &[Factor], components: &Components, seed: u64) -> Cover {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut open: Vec<Pair> = Vec::new();
    let mut forbidden: HashSet<Pair> = HashSet::new();
    for f in 0..factors.len() {
        for g in f + 1..factors.len() {
            for a in 0..factors[f].choices.len() {
                for b in 0..factors[g].choices.len() {
                    let mut row = vec![0; factors.len()];
                    (row[f], row[g]) = (a, b);
                    if accepted(factors, &row, components) {
                        open.push((f, a, g, b));
                    } else {
                        forbidden.insert((f, a, g, b));
                    }
                }
            }
        }
    }
    open.shuffle(&mut rng);
    let mut left: HashSet<Pair> = open.iter().copied().collect();
    let (mut rows, mut missed) = (Vec::new(), Vec::new());
    for &wanted in &open {
        if !left.contains(&wanted) {
            continue;
        }
        let row = (0..50).find_map(|_| {
            let row = fill(factors, wanted, &left, &forbidden, &mut rng)?;
            accepted(factors, &row, components).then_some(row)
        });
        let Some(row) = row else {
            missed.push(name(factors, &wanted));
            continue;
        };
        for f in 0..row.len() {
            for g in f + 1..row.len() {
                left.remove(&(f, row[f], g, row[g]));
            }
        }
        rows.push(row);
    }
    let mut refused: Vec<_> = forbidden.iter().map(|pair| name(factors, pair)).collect();
    refused.sort();
    Cover { rows, refused, missed }
}

/// A row with the pair `wanted` and as many others that are still open as can be had step by step; `None` if the choices made
/// leave some factor nothing that is allowed.
fn fill(
    factors: &[Factor],
    wanted: Pair,
    left: &HashSet<Pair>,
    forbidden: &HashSet<Pair>,
    rng: &mut StdRng,
) -> Option<Row> {
    let mut row: Vec<Option<usize>> = vec![None; factors.len()];
    (row[wanted.0], row[wanted.2]) = (Some(wanted.1), Some(wanted.3));
    let mut order: Vec<usize> = (0..factors.len()).filter(|&f| row[f].is_none()).collect();
    order.shuffle(rng);
    for f in order {
        let mut best: Option<(usize, u32, usize)> = None;
        for choice in 0..factors[f].choices.len() {
            let pairs = || {
                row.iter()
                    .enumerate()
                    .filter_map(|(g, b)| b.map(|b| pair(f, choice, g, b)))
            };
            if pairs().any(|pair| forbidden.contains(&pair)) {
                continue;
            }
            let gain = pairs().filter(|pair| left.contains(pair)).count();
            let tie = rng.random();
            if best.is_none_or(|(most, other, _)| (gain, tie) > (most, other)) {
                best = Some((gain, tie, choice));
            }
        }
        row[f] = Some(best?.2);
    }
    row.into_iter().collect()
}

/// The full product of all choices, those left out that the builder refuses, in an order that looks random: any beginning of
/// it is a fair sample.
pub fn product<'a>(factors: &'a [Factor], components: &'a Components) -> impl Iterator<Item = Row> + 'a {
    let total: u128 = factors.iter().map(|factor| factor.choices.len() as u128).product();
    // A stride without a common divisor visits everything once.
    let mut stride = total / 5 * 3 + 1;
    while gcd(stride, total) != 1 {
        stride += 1;
    }
    let mut at = 0;
    let mut done = 0;
    std::iter::from_fn(move || {
        while done < total {
            done += 1;
            at = (at + stride) % total;
            let mut rest = at;
            let row: Row = factors
                .iter()
                .map(|factor| {
                    let choices = factor.choices.len() as u128;
                    let choice = (rest % choices) as usize;
                    rest /= choices;
                    choice
                })
                .collect();
            if accepted(factors, &row, components) {
                return Some(row);
            }
        }
        None
    })
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}
