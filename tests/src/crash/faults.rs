//! Storage operations that fail, and what a database may make of it.
//!
//! A step that fails may have taken effect or not; one that succeeds has. So the model keeps, for each key, the set of values
//! that it may have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use kodiak::ErrorKind;
use kodiak_storage::{FaultPlan, FaultStorage};

use super::model::Found;
use super::script::{Action, Change, Running, Setup, Step};
use super::verify::{check_files, check_published, read_all};

/// No call may take longer.
const HANG: Duration = Duration::from_secs(5);

/// The values that a key may have; `None` is none.
type Choices = BTreeSet<Option<Vec<u8>>>;

/// What a table may hold; a key that is not listed has no value.
type Table = BTreeMap<Vec<u8>, Choices>;

/// What a database may hold after steps of which some have failed.
#[derive(Debug, Clone, Default)]
pub struct Possible {
    /// By creation.
    tables: Vec<Table>,
    /// By name, the creations of which one is there; `None` if there may be none.
    names: BTreeMap<&'static str, BTreeSet<Option<usize>>>,
}

impl Possible {
    /// A step was tried.
    pub fn apply(&mut self, step: &Step, done: bool) {
        match step {
            Step::Write(changes) => changes.iter().for_each(|change| self.change(change, done)),
            Step::Create(name) => {
                let there = self.names.entry(name).or_insert_with(|| BTreeSet::from([None]));
                if done {
                    there.clear();
                }
                there.insert(Some(self.tables.len()));
                self.tables.push(Table::new());
            }
            Step::Drop(table) => {
                for there in self.names.values_mut().filter(|there| there.contains(&Some(*table))) {
                    if done {
                        there.remove(&Some(*table));
                    }
                    there.insert(None);
                }
            }
            Step::Flush | Step::Compact | Step::Sync | Step::Choose(..) | Step::Reopen => {}
        }
    }

    fn change(&mut self, change: &Change, done: bool) {
        let Some(table) = self.tables.get_mut(change.table) else {
            return;
        };
        if let Action::DeleteRange(end) = &change.action {
            for (_, choices) in table.range_mut(change.key.clone()..end.clone()) {
                if done {
                    choices.clear();
                }
                choices.insert(None);
            }
            return;
        }
        let choices = table
            .entry(change.key.clone())
            .or_insert_with(|| BTreeSet::from([None]));
        let after: Choices = match &change.action {
            Action::Put(value) => BTreeSet::from([Some(value.clone())]),
            Action::Delete | Action::DeleteRange(_) => BTreeSet::from([None]),
            Action::Merge(operand) => {
                let appended = |value: &Option<Vec<u8>>| Some([value.as_deref().unwrap_or_default(), operand].concat());
                choices.iter().map(appended).collect()
            }
        };
        if done {
            choices.clear();
        }
        choices.extend(after);
    }

    /// Compares with what was read.
    ///
    /// # Errors
    /// What cannot be.
    pub fn check(&self, found: &Found) -> Result<(), String> {
        for name in found.keys() {
            if !self.names.contains_key(name.as_str()) {
                return Err(format!("there is a table {name}"));
            }
        }
        for (name, there) in &self.names {
            let fits = |choice: &Option<usize>| match (choice, found.get(*name)) {
                (None, None) => Ok(()),
                (None, Some(_)) => Err(format!("table {name} is there")),
                (Some(_), None) => Err(format!("table {name} is missing")),
                (Some(table), Some(contents)) => self.check_table(name, *table, contents),
            };
            let errors: Vec<String> = there.iter().filter_map(|choice| fits(choice).err()).collect();
            if errors.len() == there.len() {
                return Err(errors.join(" or "));
            }
        }
        Ok(())
    }

    fn check_table(&self, name: &str, table: usize, contents: &super::model::Contents) -> Result<(), String> {
        let nothing = BTreeSet::from([None]);
        let table = &self.tables[table];
        for key in table.keys().chain(contents.keys()) {
            let value = contents.get(key).cloned();
            if !table.get(key).unwrap_or(&nothing).contains(&value) {
                let value = value.map(|value| value[..value.len().min(20)].escape_ascii().to_string());
                return Err(format!("{name}/{} is {value:?}, which cannot be", key.escape_ascii()));
            }
        }
        Ok(())
    }
}

/// Carries out the script of `setup` with the faults of `plan`, then examines what it has left.
///
/// # Errors
/// What is wrong; the number of faults that fired otherwise.
pub fn run(setup: &Setup, plan: FaultPlan) -> Result<u64, String> {
    let storage = FaultStorage::with_seed(setup.seed);
    storage.set_plan(plan);
    let (setup, worker) = (setup.clone(), storage.clone());
    let (done, beats) = channel();
    let thread = std::thread::spawn(move || script(&setup, &worker, &|step| drop(done.send(step))));
    let mut last = None;
    loop {
        match beats.recv_timeout(HANG) {
            Ok(step) => last = Some(step),
            Err(RecvTimeoutError::Disconnected) => break,
            // The thread is left behind: it cannot be ended.
            Err(RecvTimeoutError::Timeout) => return Err(format!("it hangs in or after {last:?}")),
        }
    }
    match thread.join() {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("it panics after {last:?}: {text:?}"))
        }
    }
}

/// Returns the number of faults that fired.
fn script(setup: &Setup, storage: &FaultStorage, beat: &dyn Fn(String)) -> Result<u64, String> {
    let builder = || setup.builder().storage(Arc::new(storage.clone()));
    let mut running = Running::of(setup);
    let mut possible = Possible::default();
    let mut refused = false;
    let mut failed_opens = 0;
    for step in setup.steps() {
        beat(format!("{step:?}").chars().take(60).collect());
        if !running.is_open() {
            match running.open(builder()) {
                Ok(()) => refused = false,
                Err(error) => {
                    typed(&error)?;
                    failed_opens += 1;
                    if failed_opens > 3 {
                        break;
                    }
                }
            }
        }
        let result = running.step(&step, builder);
        possible.apply(&step, result.is_ok());
        if let Err(error) = &result {
            typed(error).map_err(|error| format!("{step:?}: {error}"))?;
            if let (Step::Write(_), ErrorKind::Unavailable) = (&step, error.kind()) {
                refused = true;
            }
        } else if refused && matches!(step, Step::Write(_)) {
            return Err("a write succeeds after one was refused, without reopening".to_owned());
        }
        if let Some(db) = running.db() {
            read(db, &possible)?;
            if refused {
                beat("close after a refused write".to_owned());
                drop(running.close());
            }
        }
    }
    beat("close".to_owned());
    drop(running.close());
    drop(running);
    examine(setup, storage, &possible, beat)
}

/// With the faults gone everything must be well.
fn examine(setup: &Setup, storage: &FaultStorage, possible: &Possible, beat: &dyn Fn(String)) -> Result<u64, String> {
    let fired = storage.faults_fired();
    storage.set_plan(FaultPlan::none());
    let said = |what: &'static str| move |error: kodiak::Error| format!("after {fired} faults {what}: {error:?}");
    for round in 0..2 {
        beat(format!("examination {round}"));
        let db = setup
            .builder()
            .storage(Arc::new(storage.clone()))
            .open(super::script::DIR);
        let db = db.map_err(said("it does not open"))?;
        let found = read_all(&db).map_err(said("it cannot be read"))?;
        possible
            .check(&found)
            .map_err(|error| format!("after {fired} faults, opened again ({round}): {error}"))?;
        db.flush().map_err(said("it cannot be flushed"))?;
        db.wait_idle().map_err(said("it does not come to rest"))?;
        check_published(setup, storage, &found).map_err(|error| format!("after {fired} faults {error}"))?;
        db.close().map_err(said("it cannot be closed"))?;
        check_files(storage)?;
    }
    Ok(fired)
}

/// Reads fail with an error or are right.
fn read(db: &kodiak::Db, possible: &Possible) -> Result<(), String> {
    match read_all(db) {
        Ok(found) => possible
            .check(&found)
            .map_err(|error| format!("a read is wrong: {error}")),
        Err(error) => typed(&error),
    }
}

/// A fault of the storage is not damage, nor the caller's mistake.
fn typed(error: &kodiak::Error) -> Result<(), String> {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Unavailable | ErrorKind::NotFound => Ok(()),
        // A table whose creation failed and yet took effect.
        ErrorKind::AlreadyExists => Ok(()),
        kind => Err(format!("a fault of the storage is told as {kind:?}: {error:?}")),
    }
}
