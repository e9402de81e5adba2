//! What every [`Index`] must do. Crashes and damage depend on the form of the file, and are tested where it is implemented.

mod effects;
pub mod history;
mod rules;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;
use crate::index::{Index, IndexContext, IndexFactory, IndexView, Root, Updates, Upsert};
use crate::options::Options;
use crate::storage::Storage;

/// What is to be checked.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The index.
    pub factory: &'static IndexFactory,
    /// Its options; small nodes make deep trees.
    pub options: Options,
    /// Bytes of the pool.
    pub pool: usize,
    /// Makes a storage and the path of an existing, empty directory in it.
    pub storage: fn() -> (Arc<dyn Storage>, PathBuf),
}

impl Subject {
    /// What a new index is made from, with the operator of the suite.
    pub fn context(&self) -> IndexContext {
        let (storage, dir) = (self.storage)();
        IndexContext {
            storage,
            path: dir.join("index"),
            pool: (self.factory.pool)(self.pool),
            options: self.options.clone(),
            upsert: Some(Arc::new(Append)),
            owner: Vec::new(),
        }
    }

    /// A new index.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn create(&self) -> (IndexContext, Box<dyn Index>) {
        let context = self.context();
        let index = (self.factory.create)(context.clone()).expect("a new index");
        (context, index)
    }
}

/// Every check.
///
/// # Panics
/// If one fails.
pub fn check(subject: &Subject) {
    rules::an_empty_index_is_empty(subject);
    rules::names_and_limits_are_checked(subject);
    rules::files_say_whose_they_are(subject);
    rules::later_changes_of_a_batch_see_the_earlier_ones(subject);
    rules::upserts_apply_in_order_wherever_they_wait(subject);
    rules::large_and_extreme_entries_are_kept(subject);
    rules::a_bulk_load_holds_what_it_was_given(subject);
    rules::roots_are_kept_until_released(subject);
    rules::a_reset_gives_later_roots_up(subject);
    effects::every_dead_value_is_told_once(subject);
    effects::readers_and_a_writer_do_not_disturb_each_other(subject);
    for seed in 0..4 {
        history::check(subject, seed, 120);
    }
}

/// Appends the operand to the value. An operand that starts with `-` takes the value away; what gets longer than sixty bytes loses its
/// start. So the order of operands shows.
#[derive(Debug)]
pub struct Append;

impl Upsert for Append {
    fn name(&self) -> &str {
        "append"
    }

    fn apply(&self, key: &[u8], existing: Option<&[u8]>, operand: &[u8]) -> Option<Vec<u8>> {
        if operand.starts_with(b"-") {
            return None;
        }
        let mut value = existing.map_or_else(|| key[..key.len().min(3)].to_vec(), <[u8]>::to_vec);
        value.extend_from_slice(operand);
        value.drain(..value.len().saturating_sub(60));
        Some(value)
    }

    fn combine(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        let plain = !older.starts_with(b"-") && !newer.starts_with(b"-") && older.len() + newer.len() < 20;
        plain.then(|| [older, newer].concat())
    }
}

/// What an index should hold.
pub type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A batch for an index, and its effect on a model, kept together.
#[derive(Debug, Default)]
pub struct Batch {
    /// For the index.
    pub updates: Updates,
    /// Values that puts and deletes have made dead.
    pub dead: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Batch {
    /// Gives `key` a value.
    pub fn put(&mut self, model: &mut Model, key: &[u8], value: &[u8]) {
        self.updates.put(key, value);
        let old = model.insert(key.to_vec(), value.to_vec());
        self.dead.extend(old.map(|old| (key.to_vec(), old)));
    }

    /// Takes `key` away.
    pub fn delete(&mut self, model: &mut Model, key: &[u8]) {
        self.updates.delete(key);
        self.dead.extend(model.remove_entry(key));
    }

    /// Applies an operand.
    pub fn upsert(&mut self, model: &mut Model, key: &[u8], operand: &[u8]) {
        self.updates.upsert(key, operand);
        match Append.apply(key, model.get(key).map(|value| &**value), operand) {
            Some(value) => model.insert(key.to_vec(), value),
            None => model.remove(key),
        };
    }

    /// Takes a range away.
    pub fn delete_range(&mut self, model: &mut Model, from: &[u8], to: Option<&[u8]>) {
        self.updates.delete_range(from, to);
        let inside = |key: &Vec<u8>| &**key >= from && to.is_none_or(|to| &**key < to);
        self.dead.extend(model.extract_if(.., |key, _| inside(key)));
    }
}

/// All entries of a view, by a cursor from the start.
///
/// # Errors
/// Those of the cursor.
pub fn entries(view: &Arc<dyn IndexView>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut cursor = view.clone().cursor();
    let mut entries = Vec::new();
    cursor.seek_first()?;
    while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
        entries.push((key.to_vec(), value.to_vec()));
        cursor.next()?;
    }
    Ok(entries)
}

/// Compares a root with a model in every way there is to read it.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn compare(index: &dyn Index, root: Root, model: &Model) {
    let view = index.view(root).expect("a root that is kept");
    compare_view(&view, model);
}

/// Compares a view with a model in every way there is to read it.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn compare_view(view: &Arc<dyn IndexView>, model: &Model) {
    let expected: Vec<_> = model.clone().into_iter().collect();
    let forward = entries(view).expect("a sound file");
    assert!(
        forward == expected,
        "{}: a forward scan differs{}",
        view.root(),
        difference(&forward, &expected)
    );
    let mut cursor = view.clone().cursor();
    let mut backward = Vec::new();
    cursor.seek_last().expect("a sound file");
    while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
        backward.push((key.to_vec(), value.to_vec()));
        cursor.prev().expect("a sound file");
    }
    backward.reverse();
    assert!(
        backward == expected,
        "{}: a backward scan differs{}",
        view.root(),
        difference(&backward, &expected)
    );
    let step = (expected.len() / 40).max(1);
    for at in (0..expected.len()).step_by(step) {
        let (key, value) = &expected[at];
        assert_eq!(
            view.get(key).expect("a sound file").as_ref(),
            Some(value),
            "{}",
            key.escape_ascii()
        );
        let beyond = [key, &b"\0"[..]].concat();
        if !model.contains_key(&beyond) {
            assert_eq!(
                view.get(&beyond).expect("a sound file"),
                None,
                "{}",
                beyond.escape_ascii()
            );
        }
        cursor.seek(&beyond).expect("a sound file");
        assert_eq!(
            cursor.key(),
            model.range(beyond.clone()..).next().map(|(key, _)| &**key)
        );
        cursor.seek_before(key).expect("a sound file");
        assert_eq!(cursor.key(), at.checked_sub(1).map(|before| &*expected[before].0));
        cursor.next().expect("a sound file");
        if at > 0 {
            assert_eq!(cursor.key(), Some(&**key), "a turn");
        }
        cursor.seek(key).expect("a sound file");
        assert_eq!((cursor.key(), cursor.value()), (Some(&**key), Some(&**value)));
        cursor.prev().expect("a sound file");
        assert_eq!(
            cursor.key(),
            at.checked_sub(1).map(|before| &*expected[before].0),
            "a turn"
        );
    }
    compare_ranges(view, &expected, model);
}

/// Compares iterators over ranges that begin and end at keys, or between them.
#[track_caller]
fn compare_ranges(view: &Arc<dyn IndexView>, expected: &Entries, model: &Model) {
    let all: Vec<_> = view.range(..).map(|entry| entry.expect("a sound file")).collect();
    assert!(all == expected, "all entries{}", difference(&all, expected));
    let mut ends: Vec<Vec<u8>> = vec![Vec::new(), b"\xff\xff".to_vec()];
    for part in 1..3 {
        if let Some((key, _)) = expected.get(expected.len() * part / 3) {
            ends.extend([key.clone(), [key, &b"\0"[..]].concat()]);
        }
    }
    type Closed = fn(Vec<u8>) -> Bound<Vec<u8>>;
    let closed: [Closed; 2] = [Bound::Included, Bound::Excluded];
    for (at, (from, to)) in ends
        .iter()
        .flat_map(|from| ends.iter().map(move |to| (from, to)))
        .enumerate()
    {
        let bounds = (closed[at % 2](from.clone()), closed[at / 2 % 2](to.clone()));
        let range = || view.range(bounds.clone()).map(|entry| entry.expect("a sound file"));
        let expected: Vec<_> = match from < to {
            true => model
                .range(bounds.clone())
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            // A model does not take empty ranges.
            false => model
                .get_key_value(from)
                .filter(|_| from == to && bounds == (Bound::Included(from.clone()), Bound::Included(to.clone())))
                .map(|(key, value)| (key.clone(), value.clone()))
                .into_iter()
                .collect(),
        };
        let forward: Vec<_> = range().collect();
        assert!(
            forward == expected,
            "{bounds:?} forward{}",
            difference(&forward, &expected)
        );
        let mut backward: Vec<_> = range().rev().collect();
        backward.reverse();
        assert!(
            backward == expected,
            "{bounds:?} backward{}",
            difference(&backward, &expected)
        );
        let (mut both, mut front, mut back) = (range(), Vec::new(), Vec::new());
        while let Some(entry) = both.next() {
            front.push(entry);
            back.extend(both.next_back());
        }
        assert_eq!((both.next(), both.next_back()), (None, None));
        front.extend(back.into_iter().rev());
        assert!(
            front == expected,
            "{bounds:?} from both ends{}",
            difference(&front, &expected)
        );
    }
}

type Entries = [(Vec<u8>, Vec<u8>)];

fn difference(found: &Entries, expected: &Entries) -> String {
    let at = found.iter().zip(expected).take_while(|(one, two)| one == two).count();
    let show = |entry: Option<&(Vec<u8>, Vec<u8>)>| {
        entry.map_or("nothing".to_owned(), |(key, value)| {
            format!(
                "{} = {}",
                key.escape_ascii(),
                value[..value.len().min(40)].escape_ascii()
            )
        })
    };
    format!(
        " at entry {at} of {}: {} where {} should be",
        expected.len(),
        show(found.get(at)),
        show(expected.get(at))
    )
}

/// # Panics
/// If `verify` finds anything.
#[track_caller]
pub fn assert_sound(index: &dyn Index) {
    let mut findings = Vec::new();
    index
        .verify(&mut |finding| findings.push(finding))
        .expect("a storage that works");
    assert!(findings.is_empty(), "{findings:?}");
}

/// Small, seeded random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        // Xorshift64* (Vigna 2016).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}
