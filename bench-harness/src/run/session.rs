//! Does the operations of a workload on a table: the time of each is taken, and its answer is checked.

use std::time::Instant;

use kodiak::{Error, Result, Scan, ScanOptions, Table};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use super::Progress;
use super::model::Model;
use crate::data::mix;
use crate::measure::{Latencies, MemoryWatch};
use crate::workloads::{KeyChooser, Kind, Mix, Operation, Workload};

/// What a workload did.
pub(super) struct Done {
    pub operations: u64,
    pub entries: u64,
    pub latencies: Latencies,
    pub answers: u64,
}

/// Operations between two reports of progress.
const STRIDE: u64 = 2048;

/// A table under a series of workloads.
pub(super) struct Session<'t> {
    table: &'t Table,
    pub model: Model<'t>,
    seed: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What is added up while a workload runs.
struct Tally {
    entries: u64,
    latencies: Latencies,
    answers: u64,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self {
            entries: 0,
            latencies: Latencies::new()?,
            answers: 0,
        })
    }

    fn done(self, operations: u64) -> Done {
        Done {
            operations,
            entries: self.entries,
            latencies: self.latencies,
            answers: self.answers,
        }
    }
}

impl<'t> Session<'t> {
    pub fn new(table: &'t Table, model: Model<'t>, seed: u64) -> Self {
        Self {
            table,
            model,
            seed,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Checks every entry.
    pub fn check_everything(&self) -> Result<String> {
        self.model.check_contents(self.table)
    }

    pub fn run(
        &mut self,
        workload: &Workload,
        operations: u64,
        memory: &mut MemoryWatch,
        progress: &mut dyn Progress,
    ) -> Result<Done> {
        match &workload.kind {
            Kind::Load => self.load(workload.name, memory, progress),
            Kind::FullScan { reverse } => self.full_scan(workload.name, *reverse, progress),
            Kind::Mix(mix) => {
                let operations = (operations / mix.divisor).max(1);
                progress.begin(workload.name, operations);
                self.mix(mix, operations, memory, progress)
            }
        }
    }

    fn load(&mut self, name: &str, memory: &mut MemoryWatch, progress: &mut dyn Progress) -> Result<Done> {
        let total = self.model.data().len();
        progress.begin(name, total);
        let mut tally = Tally::new()?;
        for done in 0..total {
            self.insert(&mut tally)?;
            if done % STRIDE == 0 {
                progress.done(done);
                memory.look();
            }
        }
        progress.done(total);
        Ok(tally.done(total))
    }

    fn full_scan(&mut self, name: &str, reverse: bool, progress: &mut dyn Progress) -> Result<Done> {
        progress.begin(name, self.model.len());
        let mut tally = Tally::new()?;
        let begun = Instant::now();
        let options = ScanOptions::new(..);
        let mut scan = self.table.scan_with(if reverse { options.rev() } else { options })?;
        let (entries, answers) = read(&mut scan, u64::MAX)?;
        tally.latencies.record(begun.elapsed());
        (tally.entries, tally.answers) = (entries, answers);
        if entries != self.model.len() {
            let expected = self.model.len();
            return Err(Error::corruption(format!(
                "wrong answer: {entries} entries scanned where there are {expected}"
            )));
        }
        progress.done(entries);
        Ok(tally.done(1))
    }

    fn mix(
        &mut self,
        mix: &Mix,
        operations: u64,
        memory: &mut MemoryWatch,
        progress: &mut dyn Progress,
    ) -> Result<Done> {
        let chooser = KeyChooser::new(mix.keys, self.model.len())?;
        let mut random = SmallRng::seed_from_u64(self.seed);
        let mut tally = Tally::new()?;
        for done in 0..operations {
            let operation = mix.pick(&mut random);
            let index = chooser.next(self.model.len(), &mut random);
            self.operate(operation, index, &mut random, &mut tally)?;
            if done % STRIDE == 0 {
                progress.done(done);
                memory.look();
            }
        }
        progress.done(operations);
        Ok(tally.done(operations))
    }

    fn operate(&mut self, operation: Operation, index: u64, random: &mut impl Rng, tally: &mut Tally) -> Result<()> {
        match operation {
            Operation::Read => self.read(index, tally),
            Operation::ReadMissing => self.read_missing(index, tally),
            Operation::Update => self.update(index, tally),
            Operation::Insert => self.insert(tally),
            Operation::Scan(least, most) => self.seek(index, u64::from(random.random_range(least..=most)), tally),
            Operation::ReadModifyWrite => self.read_modify_write(index, tally),
        }
    }

    fn key_of(&mut self, index: u64) {
        self.key.clear();
        self.model.data().key(index, &mut self.key);
    }

    fn value_of(&mut self, index: u64, version: u32) {
        self.value.clear();
        self.model.data().value(index, version, &mut self.value);
    }

    fn read(&mut self, index: u64, tally: &mut Tally) -> Result<()> {
        self.key_of(index);
        let begun = Instant::now();
        let found = self.table.get(&self.key)?;
        tally.latencies.record(begun.elapsed());
        tally.entries += 1;
        tally.answers = step(tally.answers, &self.key, found.as_deref().unwrap_or_default());
        self.model.check(index, &self.key, found.as_deref())
    }

    fn read_missing(&mut self, index: u64, tally: &mut Tally) -> Result<()> {
        self.key.clear();
        self.model.data().absent_key(index, &mut self.key);
        let begun = Instant::now();
        let found = self.table.get(&self.key)?;
        tally.latencies.record(begun.elapsed());
        match found {
            None => Ok(()),
            Some(value) => Err(Error::corruption(format!(
                "wrong answer: key \"{}\" was never written, but \"{}\" was read",
                self.key.escape_ascii(),
                value.escape_ascii()
            ))),
        }
    }

    fn update(&mut self, index: u64, tally: &mut Tally) -> Result<()> {
        self.key_of(index);
        self.value_of(index, self.model.next_version(index));
        let begun = Instant::now();
        self.table.put(&self.key, &self.value)?;
        tally.latencies.record(begun.elapsed());
        tally.entries += 1;
        self.model.overwritten(index);
        Ok(())
    }

    fn insert(&mut self, tally: &mut Tally) -> Result<()> {
        let index = self.model.len();
        self.key_of(index);
        self.value_of(index, 0);
        let begun = Instant::now();
        self.table.put(&self.key, &self.value)?;
        tally.latencies.record(begun.elapsed());
        tally.entries += 1;
        self.model.inserted();
        Ok(())
    }

    fn read_modify_write(&mut self, index: u64, tally: &mut Tally) -> Result<()> {
        self.key_of(index);
        self.value_of(index, self.model.next_version(index));
        let begun = Instant::now();
        let found = self.table.get(&self.key)?;
        self.table.put(&self.key, &self.value)?;
        tally.latencies.record(begun.elapsed());
        tally.entries += 2;
        self.model.check(index, &self.key, found.as_deref())?;
        self.model.overwritten(index);
        Ok(())
    }

    fn seek(&mut self, index: u64, entries: u64, tally: &mut Tally) -> Result<()> {
        self.key_of(index);
        let begun = Instant::now();
        let mut scan = self.table.scan(self.key.as_slice()..)?;
        let (found, answers) = read(&mut scan, entries)?;
        tally.latencies.record(begun.elapsed());
        tally.entries += found;
        tally.answers = mix(tally.answers ^ answers);
        if found == 0 {
            let key = self.key.escape_ascii();
            return Err(Error::corruption(format!(
                "wrong answer: a scan from key \"{key}\", which exists, found nothing"
            )));
        }
        Ok(())
    }
}

/// Reads up to `most` entries; returns how many there were, and a digest.
#[inline]
fn read(scan: &mut Scan, most: u64) -> Result<(u64, u64)> {
    let (mut entries, mut answers) = (0, 0);
    while entries < most {
        let Some((key, value)) = scan.next_ref()? else { break };
        answers = step(answers, key, value);
        entries += 1;
    }
    Ok((entries, answers))
}

/// Adds an entry to a digest. It runs within the time that is measured, so it reads only the ends of key and value.
#[inline]
fn step(digest: u64, key: &[u8], value: &[u8]) -> u64 {
    let entry = tail(key) ^ tail(value).rotate_left(29) ^ ((key.len() as u64) << 32) ^ value.len() as u64;
    (digest.rotate_left(5) ^ entry).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The last eight bytes, or all of them.
#[inline]
fn tail(bytes: &[u8]) -> u64 {
    match bytes.last_chunk::<8>() {
        Some(tail) => u64::from_le_bytes(*tail),
        None => bytes.iter().fold(0, |all, &byte| (all << 8) | u64::from(byte)),
    }
}
