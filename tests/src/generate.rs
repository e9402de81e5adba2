//! Random histories. The same seed gives the same history for ever, whatever the configuration.

use std::ops::Bound;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::{Change, Key, Op, ScanOp, Value, Write};
use crate::model::{BACKUPS, SNAPSHOTS, TABLES};
use crate::runner::{ANY_VALUES, CHOICES};

/// Bytes that keys of the smallest space are made of.
const NASTY: [u8; 5] = [0x00, 0x01, b'a', 0xFE, 0xFF];

/// The places of typed tables.
const TYPED_TABLES: [usize; 2] = [5, 6];

/// An endless history.
#[derive(Debug)]
pub struct Generator {
    rng: StdRng,
    started: usize,
    /// The index that a history begins with: the place of its table, and what it is by.
    first_index: (usize, usize),
}

impl Generator {
    /// The history of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(!seed);
        Self {
            rng: StdRng::seed_from_u64(seed),
            started: 0,
            first_index: (rng.random_range(0..TABLES.len()), rng.random_range(0..ANY_VALUES)),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.rng.random_range(0..limit)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// The first table gets much of the operations, so that it becomes large.
    fn table(&mut self) -> usize {
        if self.chance(50) { 0 } else { self.below(TABLES.len()) }
    }

    fn key(&mut self) -> Key {
        Key(match self.below(100) {
            // Few and short, one often a prefix of another, the empty key among them.
            0..35 => (0..self.below(5)).map(|_| NASTY[self.below(NASTY.len())]).collect(),
            // A long shared prefix.
            35..55 => format!("a/rather/long/prefix/that/all/keys/share/{:03}", self.below(200)).into_bytes(),
            // Numbers.
            55..90 => (self.below(3000) as u32).to_be_bytes().to_vec(),
            90..98 => {
                let (byte, len) = (self.below(4) as u8, self.below(60));
                vec![byte; len]
            }
            _ => {
                let (byte, len) = (self.below(256) as u8, 1000 + self.below(2000));
                vec![byte; len]
            }
        })
    }

    fn value(&mut self) -> Value {
        let len = match self.below(100) {
            0..5 => 0,
            5..60 => self.below(40),
            60..85 => 100 + self.below(300),
            85..98 => 1000 + self.below(3000),
            // Larger than a small memtable, and than a small log segment.
            _ => 10_000 + self.below(60_000),
        };
        Value {
            len: len as u32,
            seed: self.rng.random(),
        }
    }

    /// A range of keys, often a short one; now and then its end is not after its start.
    fn range(&mut self) -> (Key, Key) {
        let start = self.key();
        let end = if self.chance(70) {
            near(&start, self.below(20) as u8)
        } else {
            self.key()
        };
        (start, end)
    }

    fn write(&mut self) -> Write {
        let table = self.table();
        let change = match self.below(100) {
            0..60 => Change::Put(self.key(), self.value()),
            60..78 => Change::Delete(self.key()),
            78..82 => {
                let (start, end) = self.range();
                Change::DeleteRange(start, end)
            }
            _ => {
                let len = self.below(12) as u32;
                Change::Merge(
                    self.key(),
                    Value {
                        len,
                        seed: self.rng.random(),
                    },
                )
            }
        };
        Write { table, change }
    }

    fn at(&mut self) -> Option<usize> {
        self.chance(30).then(|| self.below(SNAPSHOTS))
    }

    fn bound(&mut self) -> Bound<Key> {
        match self.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(self.key()),
            _ => Bound::Excluded(self.key()),
        }
    }

    fn scan(&mut self) -> Op {
        let prefix = self.chance(25).then(|| {
            let Key(mut key) = self.key();
            key.truncate(self.below(6));
            Key(key)
        });
        Op::Scan(ScanOp {
            table: self.table(),
            at: self.at(),
            start: self.bound(),
            end: self.bound(),
            prefix,
            reverse: self.chance(50),
            limit: if self.chance(60) { self.below(20) } else { usize::MAX },
            seek: self.chance(30).then(|| (self.below(10), self.key())),
            fill_cache: self.chance(80),
            borrowed: self.chance(50),
        })
    }

    fn read(&mut self) -> Op {
        match self.below(10) {
            0..5 => Op::Get {
                table: self.table(),
                at: self.at(),
                key: self.key(),
            },
            5 => {
                let count = self.below(8);
                Op::MultiGet {
                    table: self.table(),
                    keys: (0..count).map(|_| self.key()).collect(),
                }
            }
            6 => Op::ReadIndexes {
                table: self.table(),
                at: self.at(),
            },
            _ => self.scan(),
        }
    }

    fn upheaval(&mut self) -> Op {
        match self.below(100) {
            0..22 => Op::Snapshot(self.below(SNAPSHOTS)),
            22..34 => Op::DropSnapshot(self.below(SNAPSHOTS)),
            34..42 => Op::Advance(1 + self.below(5) as u64),
            42..44 => Op::Choose {
                table: self.table(),
                what: self.below(CHOICES),
            },
            44..49 => Op::Flush,
            49..52 => Op::Compact,
            52..56 => Op::CompactRange {
                table: self.table(),
                range: self.range(),
            },
            56..60 => Op::WaitIdle,
            60..65 => Op::Sync,
            65..68 => {
                let count = self.below(60);
                Op::Ingest {
                    table: self.table(),
                    entries: (0..count).map(|_| (self.key(), self.value())).collect(),
                }
            }
            68..70 => Op::Checkpoint,
            70..72 => Op::Backup,
            72..74 => Op::Restore(self.below(BACKUPS)),
            74..80 => Op::Reopen {
                explicit: self.chance(50),
            },
            80..86 => Op::Kill,
            86..91 => Op::PowerLoss {
                survival: [0, 10, 50, 100][self.below(4)],
                seed: self.rng.random(),
            },
            91..94 => Op::DropTable(self.below(TABLES.len())),
            94..96 => Op::CreateTable(self.below(TABLES.len())),
            96..98 => Op::Index {
                table: self.below(TABLES.len()),
                what: self.below(5),
            },
            _ => {
                let table = TYPED_TABLES[self.below(TYPED_TABLES.len())];
                let what = self.started;
                Op::Alter { table, what }
            }
        }
    }
}

/// A key a little above.
fn near(Key(key): &Key, by: u8) -> Key {
    let mut key = key.clone();
    match key.last_mut() {
        Some(last) => *last = last.saturating_add(by),
        None => key.push(by),
    }
    Key(key)
}

impl Iterator for Generator {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        self.started += 1;
        if self.started <= TABLES.len() {
            return Some(Op::CreateTable(self.started - 1));
        }
        if self.started == TABLES.len() + 1 {
            let (table, what) = self.first_index;
            return Some(Op::Index { table, what });
        }
        Some(match self.below(100) {
            0..55 => Op::Write(self.write()),
            55..63 => {
                let count = self.below(12);
                Op::Batch((0..count).map(|_| self.write()).collect())
            }
            63..94 => self.read(),
            _ => self.upheaval(),
        })
    }
}
