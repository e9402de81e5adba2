//! Seeded scripts: everything that is done to an index, and what each root must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kodiak_core::conformance::index::{Batch, Model, Random, assert_sound, compare_view};
use kodiak_core::index::{Index, Root};
use kodiak_storage::FaultStorage;
use parking_lot::Mutex;

use crate::beside::{Beside, Bounds, caught, read};
use crate::setup::Setup;

/// What is there once a commit counts.
#[derive(Debug, Clone)]
pub struct State {
    pub model: Arc<Model>,
    /// The roots that the file names.
    pub kept: BTreeSet<u64>,
    /// Those of them that were released while the commit ran: it may not name them any more.
    pub given_up: BTreeSet<u64>,
}

/// By root. Numbers are not used twice.
pub type States = BTreeMap<u64, State>;

/// A script that is being played.
#[derive(Debug)]
pub struct Script {
    setup: Setup,
    storage: FaultStorage,
    index: Option<Arc<dyn Index>>,
    pub shared: Arc<Mutex<Beside>>,
    pub states: States,
    kept: BTreeSet<u64>,
    working: Model,
    random: Random,
    /// Keys are below.
    keys: usize,
}

const STEPS: usize = 26;

impl Script {
    pub fn new(setup: Setup, storage: &FaultStorage) -> Self {
        let mut random = Random::new(setup.seed);
        let first = State {
            model: Arc::default(),
            kept: BTreeSet::from([1]),
            given_up: BTreeSet::new(),
        };
        let shared = Beside::new(setup.seed);
        Self {
            setup,
            storage: storage.clone(),
            index: None,
            shared: Arc::new(Mutex::new(shared)),
            states: States::from([(1, first)]),
            kept: BTreeSet::from([1]),
            working: Model::new(),
            keys: [60, 600, 2000][random.below(3)],
            random,
        }
    }

    /// Plays all of it; an error if anything is not as it must be already.
    pub fn play(&mut self) -> Result<(), String> {
        self.shared.lock().bounds = Bounds { least: None, most: 1 };
        let index = self.setup.create(&self.storage).map_err(|error| error.to_string())?;
        self.index = Some(index);
        self.shared.lock().bounds = Bounds {
            least: Some(1),
            most: 1,
        };
        for step in 0..STEPS {
            let played = caught(|| self.step(step)).and_then(|done| done.map_err(|error| error.to_string()));
            played.map_err(|error| format!("step {step} of seed {}: {error}", self.setup.seed))?;
        }
        self.close()
    }

    /// Readers come to their end first.
    fn close(&mut self) -> Result<(), String> {
        let readers = std::mem::take(&mut self.shared.lock().readers);
        self.index = None;
        caught(|| readers.iter().for_each(|(view, model)| read(view, model)))
    }

    fn index(&self) -> Arc<dyn Index> {
        self.index.clone().expect("it is only closed within a step")
    }

    fn acknowledged(&self) -> u64 {
        self.shared.lock().bounds.least.expect("it was made")
    }

    /// The root that the working state began with.
    fn base(&self) -> u64 {
        *self.kept.last().expect("one is always there")
    }

    fn step(&mut self, step: usize) -> kodiak_core::Result<()> {
        if self.setup.is_large() && step == STEPS / 2 {
            self.apply_large()?;
            self.commit()?;
            // What is large is only read while it is the newest, or near it.
            let mut batch = Batch::default();
            batch.delete_range(&mut self.working, b"z", None);
            self.index().apply(&batch.updates, None)?;
            self.release()?;
            return self.commit();
        }
        match self.random.below(27) {
            0..=7 => self.apply()?,
            8..=14 => self.commit()?,
            15 => {
                self.index().rollback()?;
                self.working = (*self.states[&self.base()].model).clone();
            }
            16 => self.release()?,
            17 => self.reset()?,
            18..=20 => self.read()?,
            21 => {
                for (view, model) in &self.shared.lock().readers {
                    compare_view(view, model);
                }
            }
            22 => self.load()?,
            23 => self.reopen()?,
            24 => assert_sound(&*self.index()),
            _ => {
                for _ in 0..20 {
                    let key = self.key();
                    assert_eq!(self.index().get(&key)?.as_ref(), self.working.get(&key));
                }
            }
        }
        if step + 1 == STEPS { self.commit() } else { Ok(()) }
    }

    fn key(&mut self) -> Vec<u8> {
        format!("a key of some length {:06}", self.random.below(self.keys)).into_bytes()
    }

    /// A batch of one kind or of all.
    fn apply(&mut self) -> kodiak_core::Result<()> {
        let mut batch = Batch::default();
        let mut model = std::mem::take(&mut self.working);
        let count = [3, 40, 150][self.random.below(3)];
        // Chances of deletes and of upserts; the rest are puts.
        let (deletes, upserts) = [(15, 15), (0, 100), (0, 0), (80, 10)][self.random.below(4)];
        for number in 0..count {
            let (key, dice) = (self.key(), self.random.below(100));
            if dice < deletes {
                batch.delete(&mut model, &key);
            } else if dice < deletes + upserts {
                let operand = [format!("+{number}"), "-".to_owned()][usize::from(self.random.below(12) == 0)].clone();
                batch.upsert(&mut model, &key, operand.as_bytes());
            } else {
                let len = [self.random.below(90), 700][usize::from(self.random.below(30) == 0)];
                let value = vec![b'a' + self.random.below(26) as u8; len];
                batch.put(&mut model, &key, &value);
            }
            if self.random.below(90) == 0 {
                let to = self.key();
                batch.delete_range(&mut model, &key, (self.random.below(6) > 0).then_some(&*to));
            }
        }
        let mut displaced = |_: &[u8], _: &[u8]| {};
        let tell = self.random.below(3) == 0;
        self.index()
            .apply(&batch.updates, if tell { Some(&mut displaced) } else { None })?;
        self.working = model;
        Ok(())
    }

    /// More than a commit of one sync may write, of bytes that do not compress.
    fn apply_large(&mut self) -> kodiak_core::Result<()> {
        let mut batch = Batch::default();
        for number in 0..5 {
            let words = (0..220_000).flat_map(|_| (self.random.below(1 << 31) as u32).to_le_bytes());
            let value: Vec<u8> = words.collect();
            let key = format!("z{number}");
            batch.put(&mut self.working, key.as_bytes(), &value);
        }
        self.index().apply(&batch.updates, None)
    }

    fn commit(&mut self) -> kodiak_core::Result<()> {
        let (index, before) = (self.index(), self.acknowledged());
        let next = before + 1;
        let mut kept = self.kept.clone();
        kept.insert(next);
        let state = State {
            model: Arc::new(self.working.clone()),
            kept,
            given_up: BTreeSet::new(),
        };
        self.states.insert(next, state);
        {
            let mut shared = self.shared.lock();
            shared.bounds.most = next;
            shared.commit = Some((index.clone(), self.kept.clone()));
        }
        let root = index.commit()?.0;
        let mut shared = self.shared.lock();
        shared.commit = None;
        let released = std::mem::take(&mut shared.released);
        self.kept.retain(|root| !released.contains(root));
        if root == before {
            let state = self.states.remove(&next).expect("it was put there");
            assert!(
                state.model == self.states[&before].model,
                "changes that no commit saves"
            );
            shared.bounds.most = before;
            return Ok(());
        }
        assert_eq!(root, next);
        self.kept.insert(root);
        self.states.get_mut(&root).expect("it was put there").given_up = released;
        shared.bounds = Bounds {
            least: Some(root),
            most: root,
        };
        Ok(())
    }

    fn some_root(&mut self) -> u64 {
        let at = self.random.below(self.kept.len());
        *self.kept.iter().nth(at).expect("within the set")
    }

    fn release(&mut self) -> kodiak_core::Result<()> {
        for _ in 0..=self.random.below(3) {
            let root = self.some_root();
            if root != self.base() {
                self.index().release(Root(root))?;
                self.kept.remove(&root);
            }
        }
        Ok(())
    }

    fn reset(&mut self) -> kodiak_core::Result<()> {
        let root = self.some_root();
        self.index().reset_to(Root(root))?;
        self.kept.retain(|other| *other <= root);
        self.working = (*self.states[&root].model).clone();
        Ok(())
    }

    fn read(&mut self) -> kodiak_core::Result<()> {
        let root = self.some_root();
        let view = self.index().view(Root(root))?;
        // Often only the view needs it.
        if root != self.base() && self.random.below(3) > 0 {
            self.index().release(Root(root))?;
            self.kept.remove(&root);
        }
        let mut shared = self.shared.lock();
        shared.readers.push((view, self.states[&root].model.clone()));
        if shared.readers.len() > 4 {
            let (view, model) = shared.readers.remove(0);
            read(&view, &model);
        }
        Ok(())
    }

    /// Everything goes, and a bulk load takes its place.
    fn load(&mut self) -> kodiak_core::Result<()> {
        let mut batch = Batch::default();
        batch.delete_range(&mut self.working, b"", None);
        self.index().apply(&batch.updates, None)?;
        for _ in 0..self.random.below(400) {
            let (key, value) = (self.key(), vec![b'l'; self.random.below(60)]);
            self.working.insert(key, value);
        }
        let mut entries = self.working.iter().map(|(key, value)| Ok((key.clone(), value.clone())));
        self.index().bulk_load(&mut entries)
    }

    fn reopen(&mut self) -> kodiak_core::Result<()> {
        self.close().map_err(kodiak_core::Error::corruption)?;
        let index = self.setup.open(&self.storage)?;
        let state = &self.states[&self.acknowledged()];
        self.kept = index.roots().into_iter().map(|root| root.0).collect();
        check_roots(&self.kept, state).map_err(kodiak_core::Error::corruption)?;
        self.working = (*state.model).clone();
        self.index = Some(index);
        Ok(())
    }
}

/// The roots that a file names are those that it must.
pub fn check_roots(found: &BTreeSet<u64>, state: &State) -> Result<(), String> {
    let must: BTreeSet<u64> = state.kept.difference(&state.given_up).copied().collect();
    if must.is_subset(found) && found.is_subset(&state.kept) {
        return Ok(());
    }
    Err(format!(
        "roots {found:?} are there instead of {must:?}, and perhaps {:?}",
        state.given_up
    ))
}
