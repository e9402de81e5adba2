//! Every memtable of `ALL`, and one from outside, passes the suite of `kodiak_core`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use kodiak_core::Result;
use kodiak_core::conformance::memtable as suite;
use kodiak_core::entry::{EntryCursor, EntryRef, SeqNo};
use kodiak_core::memtable::{Memtable, MemtableCapabilities, MemtableFactory, Version};
use kodiak_core::registry::Component;

#[test]
fn every_memtable_conforms() {
    for factory in kodiak_memtables::ALL {
        eprintln!("{}", factory.component.name);
        suite::all(factory);
    }
}

#[test]
fn a_memtable_from_outside_conforms() {
    suite::all(&OUTSIDE);
}

#[test]
fn names_are_unique_and_the_first_is_good_at_everything() {
    let mut names: Vec<_> = kodiak_memtables::ALL
        .iter()
        .map(|factory| factory.component.name)
        .collect();
    let default = kodiak_memtables::ALL[0].capabilities;
    assert!(default.concurrent_insert && default.scalable_insert && default.fast_get && default.fast_cursor);
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

const OUTSIDE: MemtableFactory = MemtableFactory {
    component: Component {
        name: "outside",
        summary: "A map of leaked entries behind a lock.",
        options: &[],
    },
    capabilities: MemtableCapabilities {
        concurrent_insert: true,
        scalable_insert: true,
        fast_get: true,
        fast_cursor: true,
        overhead_per_entry: 0,
    },
    create: |_, _| Ok(Arc::<Outside>::default()),
};

type Place = (Vec<u8>, Reverse<SeqNo>);

/// What a stranger might write: no unsafe code, so entries are leaked to never move.
#[derive(Debug, Default)]
struct Outside {
    rows: RwLock<BTreeMap<Place, EntryRef<'static>>>,
}

fn leak(bytes: &[u8]) -> &'static [u8] {
    Box::leak(bytes.into())
}

impl Outside {
    fn first_from(&self, from: Bound<Place>) -> Option<EntryRef<'static>> {
        self.rows
            .read()
            .expect("no panics")
            .range((from, Bound::Unbounded))
            .next()
            .map(|row| *row.1)
    }

    fn last_to(&self, to: Bound<Place>) -> Option<EntryRef<'static>> {
        self.rows
            .read()
            .expect("no panics")
            .range((Bound::Unbounded, to))
            .next_back()
            .map(|row| *row.1)
    }
}

impl Memtable for Outside {
    fn insert(&self, entry: EntryRef<'_>) -> Result<()> {
        let row = EntryRef {
            key: leak(entry.key),
            value: leak(entry.value),
            ..entry
        };
        self.rows
            .write()
            .expect("no panics")
            .insert((entry.key.to_vec(), Reverse(entry.seq)), row);
        Ok(())
    }

    fn get(&self, key: &[u8], seq: SeqNo) -> Option<Version<'_>> {
        let found = self.first_from(Bound::Included((key.to_vec(), Reverse(seq))))?;
        (found.key == key).then_some(Version {
            seq: found.seq,
            op: found.op,
            value: found.value,
        })
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(OutsideCursor { table: self, at: None })
    }

    fn len(&self) -> usize {
        self.rows.read().expect("no panics").len()
    }

    fn memory(&self) -> usize {
        self.rows
            .read()
            .expect("no panics")
            .values()
            .map(|row| row.key.len() + row.value.len())
            .sum()
    }
}

struct OutsideCursor {
    table: Arc<Outside>,
    at: Option<EntryRef<'static>>,
}

fn place(entry: EntryRef<'_>) -> Place {
    (entry.key.to_vec(), Reverse(entry.seq))
}

impl EntryCursor for OutsideCursor {
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.at = self.table.first_from(Bound::Included((key.to_vec(), Reverse(seq))));
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.at = self.table.last_to(Bound::Excluded((key.to_vec(), Reverse(seq))));
        Ok(())
    }

    fn seek_first(&mut self) -> Result<()> {
        self.at = self.table.first_from(Bound::Unbounded);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.at = self.table.last_to(Bound::Unbounded);
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.at = self.at.and_then(|at| self.table.first_from(Bound::Excluded(place(at))));
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        self.at = self.at.and_then(|at| self.table.last_to(Bound::Excluded(place(at))));
        Ok(())
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        self.at
    }
}
