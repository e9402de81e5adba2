//! Long random histories against a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Batch, Model, Random, Subject, assert_sound, compare, compare_view};
use crate::index::{Index, IndexContext, IndexView, Root};

/// An index, its model, and what each of its roots should hold.
struct History {
    context: IndexContext,
    index: Option<Box<dyn Index>>,
    working: Model,
    roots: BTreeMap<Root, Model>,
    views: Vec<(Arc<dyn IndexView>, Model)>,
    random: Random,
    /// How keys are chosen.
    keys: KeyChoice,
    counter: usize,
}

/// Keys of a history.
#[derive(Debug, Clone, Copy)]
enum KeyChoice {
    /// Few, so that they meet often.
    Few,
    /// Many, all over.
    Many,
    /// With long common starts.
    Paths,
    /// Mostly ascending.
    Ascending,
}

/// Plays `steps` random steps and compares everything with a model all along.
///
/// # Panics
/// If they differ.
pub fn check(subject: &Subject, seed: u64, steps: usize) {
    let (context, index) = subject.create();
    let mut random = Random::new(seed);
    let keys = [KeyChoice::Few, KeyChoice::Many, KeyChoice::Paths, KeyChoice::Ascending];
    let first = index.roots()[0];
    let mut history = History {
        context,
        index: Some(index),
        working: Model::new(),
        roots: BTreeMap::from([(first, Model::new())]),
        views: Vec::new(),
        keys: keys[(seed as usize + random.below(2)) % 4],
        random,
        counter: 0,
    };
    for step in 0..steps {
        history.step(subject);
        if step % 20 == 19 {
            history.compare_all();
        }
    }
    history.commit();
    history.compare_all();
    history.reopen(subject);
    history.compare_all();
}

impl History {
    fn index(&self) -> &dyn Index {
        &**self.index.as_ref().expect("it is only closed within a step")
    }

    fn key(&mut self) -> Vec<u8> {
        self.counter += 1;
        match self.keys {
            KeyChoice::Few => format!("{:02}", self.random.below(80)).into_bytes(),
            KeyChoice::Many => (self.random.below(1 << 30) as u32).to_be_bytes().to_vec(),
            KeyChoice::Paths => {
                let (one, two) = (self.random.below(4), self.random.below(3000));
                format!("/users/archive/{one}/a-rather-long-name/{two:06}").into_bytes()
            }
            KeyChoice::Ascending if self.random.below(20) > 0 => format!("{:09}", self.counter).into_bytes(),
            KeyChoice::Ascending => format!("{:09}", self.random.below(self.counter)).into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(30) {
            0 => self.random.below(3000),
            1 => 0,
            _ => self.random.below(40),
        };
        let mut value = format!("{}.", self.counter).into_bytes();
        value.resize(value.len() + len, b'v');
        value
    }

    fn step(&mut self, subject: &Subject) {
        match self.random.below(24) {
            0..=13 => self.apply(),
            14..=17 => self.commit(),
            18 => {
                self.index().rollback().expect("nothing has failed");
                self.working = self.roots.last_key_value().expect("one is always there").1.clone();
            }
            19 => self.release(),
            20 => self.reset(),
            21 => self.open_view(),
            22 => self.reopen(subject),
            _ => assert_sound(self.index()),
        }
    }

    fn apply(&mut self) {
        let mut batch = Batch::default();
        let mut model = std::mem::take(&mut self.working);
        let count = match self.random.below(10) {
            0 => 1,
            1 => 1000,
            _ => self.random.below(120),
        };
        // A batch is of one kind for the most part, so that whole leaves fill and empty.
        let deletes = [5, 20, 70][self.random.below(3)];
        for _ in 0..count {
            let key = self.key();
            let dice = self.random.below(100);
            if dice < deletes {
                batch.delete(&mut model, &key);
            } else if dice < deletes + 15 {
                let operand = if self.random.below(10) == 0 { "-" } else { "+x" };
                let operand = format!("{operand}{}", self.random.below(100));
                batch.upsert(&mut model, &key, operand.as_bytes());
            } else if self.random.below(400) == 0 {
                let end = self.key();
                let to = (self.random.below(8) > 0).then_some(&*end);
                batch.delete_range(&mut model, &key, to);
            } else {
                let value = self.value();
                batch.put(&mut model, &key, &value);
            }
        }
        if self.random.below(12) == 0 {
            let (from, to) = (self.key(), self.key());
            batch.delete_range(&mut model, (&from).min(&to), Some((&from).max(&to)));
        }
        self.index().apply(&batch.updates, None).expect("a sound batch");
        self.working = model;
        for _ in 0..5 {
            let key = self.key();
            let found = self.index().get(&key).expect("a sound file");
            assert_eq!(found.as_ref(), self.working.get(&key), "{}", key.escape_ascii());
        }
    }

    fn commit(&mut self) {
        let root = self.index().commit().expect("a storage that works");
        self.roots.insert(root, self.working.clone());
    }

    fn some_root(&mut self) -> Root {
        let at = self.random.below(self.roots.len());
        *self.roots.keys().nth(at).expect("within the map")
    }

    fn release(&mut self) {
        let root = self.some_root();
        let newest = self.roots.last_key_value().is_some_and(|(newest, _)| *newest == root);
        let released = self.index().release(root);
        assert_eq!(released.is_err(), newest, "{root}");
        if !newest {
            self.roots.remove(&root);
        }
    }

    fn reset(&mut self) {
        let root = self.some_root();
        self.index().reset_to(root).expect("a root that is kept");
        self.roots.retain(|other, _| *other <= root);
        self.working = self.roots[&root].clone();
        // It holds once a commit has made it known.
        self.commit();
    }

    fn open_view(&mut self) {
        let root = self.some_root();
        let view = self.index().view(root).expect("a root that is kept");
        self.views.push((view, self.roots[&root].clone()));
        if self.views.len() > 3 {
            self.views.remove(0);
        }
    }

    fn reopen(&mut self, subject: &Subject) {
        // Whether a release that no commit has followed holds is up to the index: it is repeated.
        self.views.clear();
        self.index = None;
        let index = (subject.factory.open)(self.context.clone()).expect("what was closed opens");
        for root in index.roots() {
            if !self.roots.contains_key(&root) {
                index.release(root).expect("an older root");
            }
        }
        self.index = Some(index);
        self.working = self.roots.last_key_value().expect("one is always there").1.clone();
    }

    fn compare_all(&mut self) {
        let index = self.index();
        assert_eq!(index.roots(), self.roots.keys().copied().collect::<Vec<_>>());
        for (root, model) in &self.roots {
            compare(index, *root, model);
        }
        for (view, model) in &self.views {
            compare_view(view, model);
        }
        assert_sound(index);
    }
}
