//! Damage of every kind to every kind of file of a database: it is told, never taken for fewer rows, and repair mends it.
//!
//! For each case: nothing panics; what is read without an error is right; what opening refuses, or a read fails at, verification tells,
//! naming the file; what verification finds nothing wrong with opens; after a repair the database opens, is sound, and has all that
//! the damaged file was not needed for; and a second repair finds nothing to do.

mod case;
mod example;
mod harm;

use kodiak_core::conformance::extent;
use rand::SeedableRng;
use rand::rngs::StdRng;

use case::{Kept, examine};
use example::{Example, Kind};
use harm::{HARMS, Harm};

/// Goes through the kinds of damage to each file of an example, in an order of which any beginning is a fair sample, then again with
/// other random places.
fn damage_everything(kind: Kind) {
    let cases = extent("KODIAK_DAMAGE_CASES", [70, 5_000, 100_000]);
    let first = extent("KODIAK_FIRST_SEED", [0, 0, 0]);
    let examples = [true, false].map(|closed| Example::new(kind, closed, 0));
    let other = Example::new(kind, true, 1);
    let mut all: Vec<(usize, std::path::PathBuf, Harm)> = Vec::new();
    for (index, example) in examples.iter().enumerate() {
        for target in example.files.keys() {
            all.extend(HARMS.iter().map(|harm| (index, target.clone(), *harm)));
        }
    }
    harm::shuffle(&mut all, &mut StdRng::seed_from_u64(7));
    let mut failures = Vec::new();
    for number in first..first + cases {
        let (index, target, harm) = &all[number as usize % all.len()];
        let example = &examples[*index];
        let mut rng = StdRng::seed_from_u64(number);
        let Some(damaged) = harm.to(&example.files, target, &other.files, &mut rng) else {
            continue;
        };
        // Errors of the system differ a little from those of memory.
        let kept = if number % 16 == 15 {
            Kept::OnDisk
        } else {
            Kept::InMemory
        };
        for failure in examine(example, target, *harm, &damaged, kept) {
            failures.push(format!(
                "{kind:?}, {}, case {number}, {harm:?} of {}: {failure}",
                if example.closed { "closed" } else { "open" },
                target.display()
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {cases} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn a_plain_database() {
    damage_everything(Kind::Plain);
}

#[test]
fn a_database_with_a_catalogue_and_fractal_indexes() {
    damage_everything(Kind::Catalogue);
}

#[test]
fn a_database_with_deletion_vectors() {
    damage_everything(Kind::Vectors);
}

#[test]
fn a_database_in_rows() {
    damage_everything(Kind::Rows);
}
