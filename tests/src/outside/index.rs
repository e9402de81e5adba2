//! An index that has each root as a map in memory, and writes all of them anew with each commit: right, and slow.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use kodiak::core::index::{
    Change, Displaced, Index, IndexCapabilities, IndexContext, IndexCursor, IndexFactory, IndexFinding, IndexPool,
    IndexStats, IndexView, MAX_KEY, MAX_VALUE, RangeDelete, Root, Updates, Upsert,
};
use kodiak::core::registry::Component;
use kodiak::core::storage::Storage;
use kodiak::{Error, ErrorKind, Result};
use parking_lot::Mutex;

mod file;

/// The index `map`.
pub static FACTORY: IndexFactory = IndexFactory {
    component: Component {
        name: "map",
        summary: "Everything in memory, for a test.",
        options: &[],
    },
    capabilities: CAPABILITIES,
    smallest_pool: |_| 0,
    pool: |bytes| Arc::new(Pool(bytes)),
    create: |context| create(context, None),
    open: |context| open(context, None),
};

/// What it can do.
pub const CAPABILITIES: IndexCapabilities = IndexCapabilities {
    eager_displacement: true,
    blind_writes: false,
    reads_per_get: "none",
};

/// A new index; one that `loses` a change in so many is wrong.
///
/// # Errors
/// `AlreadyExists`, `InvalidInput`, `Io`.
pub fn create(context: IndexContext, loses: Option<u64>) -> Result<Box<dyn Index>> {
    if context.storage.len(&context.path)?.is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, "there is a file already").with_file(context.path));
    }
    let state = State {
        working: Entries::new(),
        changed: false,
        last: 1,
        roots: BTreeMap::from([(Root(1), Arc::default())]),
        changes: 0,
    };
    file::check_owner(&context)?;
    let index = Map {
        context,
        state: Mutex::new(state),
        loses,
    };
    index.write(&index.state.lock())?;
    Ok(Box::new(index))
}

/// An index that [`create`] has made.
///
/// # Errors
/// `NotFound`, `Corruption`, `InvalidInput`, `InvalidSettings`, `Io`.
pub fn open(mut context: IndexContext, loses: Option<u64>) -> Result<Box<dyn Index>> {
    let (state, owner) = file::read(&context).map_err(|error| error.with_file(&context.path))?;
    if context.owner.is_empty() {
        context.owner = owner;
    }
    let state = Mutex::new(state);
    Ok(Box::new(Map { context, state, loses }))
}

/// It keeps nothing: what is in memory here is no cache.
#[derive(Debug)]
pub struct Pool(pub usize);

impl IndexPool for Pool {
    fn budget(&self) -> usize {
        self.0
    }

    fn used(&self) -> usize {
        0
    }

    fn peak(&self) -> usize {
        0
    }
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug)]
struct State {
    working: Entries,
    /// The file is behind.
    changed: bool,
    /// The last number that was given.
    last: u64,
    roots: BTreeMap<Root, Arc<Entries>>,
    /// So many were asked for.
    changes: u64,
}

impl State {
    fn newest(&self) -> (Root, Arc<Entries>) {
        let newest = self.roots.last_key_value().expect("there is always one");
        (*newest.0, Arc::clone(newest.1))
    }

    fn root(&self, root: Root) -> Result<Arc<Entries>> {
        let found = self.roots.get(&root).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no {root}")))
    }
}

#[derive(Debug)]
struct Map {
    context: IndexContext,
    state: Mutex<State>,
    loses: Option<u64>,
}

/// Refuses what is too long, before anything is changed.
fn check(updates: &Updates, upsert: Option<&dyn Upsert>) -> Result<()> {
    let refuse = |what: &str| Err(Error::invalid_input(format!("a change with {what}")));
    for at in 0..updates.point_count() {
        let (key, change) = updates.point(at);
        let value = match change {
            Change::Put(value) | Change::Upsert(value) => value,
            Change::Delete => b"",
        };
        if key.len() > MAX_KEY || value.len() > MAX_VALUE {
            return refuse("a key or value that is too long");
        }
        if matches!(change, Change::Upsert(_)) && upsert.is_none() {
            return refuse("an operand, but no operator");
        }
    }
    for (_, RangeDelete { from, to }) in updates.ranges() {
        if from.len() > MAX_KEY || to.as_ref().is_some_and(|to| to.len() > MAX_KEY) {
            return refuse("a bound that is too long");
        }
    }
    Ok(())
}

impl Map {
    fn upsert(&self) -> Option<&dyn Upsert> {
        self.context.upsert.as_deref()
    }

    /// Writes all roots under another name, and puts that in the place of the file.
    fn write(&self, state: &State) -> Result<()> {
        let (storage, path): (&dyn Storage, _) = (&*self.context.storage, &self.context.path);
        let mut draft = path.clone().into_os_string();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        if storage.len(&draft)?.is_some() {
            storage.remove(&draft)?;
        }
        let mut file = storage.create(&draft)?;
        file.write_all(&file::encode(&self.context, state.last, &state.roots))
            .map_err(|source| Error::io("write", &draft, source))?;
        file.finish(true)?;
        storage.rename(&draft, path)?;
        path.parent().map_or(Ok(()), |dir| storage.sync_dir(dir))
    }
}

/// Takes a range away.
fn delete_range(entries: &mut Entries, range: &RangeDelete, displaced: &mut Option<Displaced<'_>>) {
    let to = range.to.as_deref();
    if to.is_some_and(|to| to <= range.from.as_slice()) {
        return;
    }
    let bounds = (
        Bound::Included(range.from.as_slice()),
        to.map_or(Bound::Unbounded, Bound::Excluded),
    );
    let doomed: Vec<Vec<u8>> = entries.range::<[u8], _>(bounds).map(|(key, _)| key.clone()).collect();
    for key in doomed {
        tell(displaced, &key, entries.remove(&key));
    }
}

fn tell(displaced: &mut Option<Displaced<'_>>, key: &[u8], dead: Option<Vec<u8>>) {
    if let (Some(displaced), Some(dead)) = (displaced, dead) {
        displaced(key, &dead);
    }
}

impl Index for Map {
    fn apply(&self, updates: &Updates, mut displaced: Option<Displaced<'_>>) -> Result<()> {
        check(updates, self.upsert())?;
        let mut state = self.state.lock();
        state.changed |= !updates.is_empty();
        let mut ranges = updates.ranges().peekable();
        for at in 0..=updates.point_count() {
            while let Some((_, range)) = ranges.next_if(|(points, _)| *points == at) {
                delete_range(&mut state.working, range, &mut displaced);
            }
            if at == updates.point_count() {
                break;
            }
            state.changes += 1;
            if self.loses.is_some_and(|loses| state.changes.is_multiple_of(loses)) {
                continue;
            }
            let (key, change) = updates.point(at);
            match change {
                Change::Put(value) => {
                    let dead = state.working.insert(key.to_vec(), value.to_vec());
                    tell(&mut displaced, key, dead);
                }
                Change::Delete => {
                    let dead = state.working.remove(key);
                    tell(&mut displaced, key, dead);
                }
                Change::Upsert(operand) => {
                    let existing = state.working.remove(key);
                    let upsert = self.upsert().expect("it was checked");
                    if let Some(value) = upsert.apply(key, existing.as_deref(), operand) {
                        state.working.insert(key.to_vec(), value);
                    }
                }
            }
        }
        Ok(())
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>) -> Result<()> {
        let mut state = self.state.lock();
        if !state.working.is_empty() {
            return Err(Error::invalid_input("a bulk load needs an empty index"));
        }
        for entry in entries {
            let (key, value) = entry?;
            if state.working.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(Error::invalid_input("entries of a bulk load must ascend"));
            }
            state.working.insert(key, value);
            state.changed = true;
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.state.lock().working.get(key).cloned())
    }

    fn commit(&self) -> Result<Root> {
        let mut state = self.state.lock();
        if state.changed {
            state.last += 1;
            let (root, entries) = (Root(state.last), Arc::new(state.working.clone()));
            state.roots.insert(root, entries);
            if let Err(error) = self.write(&state) {
                state.roots.remove(&root);
                return Err(error);
            }
            state.changed = false;
        }
        Ok(state.newest().0)
    }

    fn rollback(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.working = Entries::clone(&state.newest().1);
        Ok(())
    }

    fn roots(&self) -> Vec<Root> {
        self.state.lock().roots.keys().copied().collect()
    }

    fn release(&self, root: Root) -> Result<()> {
        let mut state = self.state.lock();
        state.root(root)?;
        if state.newest().0 == root {
            return Err(Error::invalid_input("the newest root cannot be released"));
        }
        state.roots.remove(&root);
        state.changed = true;
        Ok(())
    }

    fn reset_to(&self, root: Root) -> Result<()> {
        let mut state = self.state.lock();
        state.working = Entries::clone(&*state.root(root)?);
        state.roots.retain(|other, _| *other <= root);
        state.changed = true;
        Ok(())
    }

    fn view(&self, root: Root) -> Result<Arc<dyn IndexView>> {
        let entries = self.state.lock().root(root)?;
        Ok(Arc::new(View { root, entries }))
    }

    fn verify(&self, finding: &mut dyn FnMut(IndexFinding)) -> Result<()> {
        if let Err(error) = file::read(&self.context) {
            finding(IndexFinding {
                offset: 0,
                what: error.to_string(),
            });
        }
        Ok(())
    }

    fn dump(&self, root: Root, line: &mut dyn FnMut(String)) -> Result<()> {
        for (key, value) in &*self.state.lock().root(root)? {
            line(format!("{} {}", key.escape_ascii(), value.escape_ascii()));
        }
        Ok(())
    }

    fn stats(&self) -> IndexStats {
        let state = self.state.lock();
        IndexStats {
            commits: state.last,
            used_bytes: file::encode(&self.context, state.last, &state.roots).len() as u64,
            height: u32::from(!state.working.is_empty()),
            ..IndexStats::default()
        }
    }
}

#[derive(Debug)]
struct View {
    root: Root,
    entries: Arc<Entries>,
}

impl IndexView for View {
    fn root(&self) -> Root {
        self.root
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.entries.get(key).cloned())
    }

    fn cursor(self: Arc<Self>) -> Box<dyn IndexCursor> {
        Box::new(Cursor { view: self, at: None })
    }
}

#[derive(Debug)]
struct Cursor {
    view: Arc<View>,
    at: Option<(Vec<u8>, Vec<u8>)>,
}

impl Cursor {
    fn go(&mut self, low: Bound<&[u8]>, high: Bound<&[u8]>, last: bool) -> Result<()> {
        let mut range = self.view.entries.range::<[u8], _>((low, high));
        let found = if last { range.next_back() } else { range.next() };
        self.at = found.map(|(key, value)| (key.clone(), value.clone()));
        Ok(())
    }
}

impl IndexCursor for Cursor {
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.go(Bound::Included(key), Bound::Unbounded, false)
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.go(Bound::Unbounded, Bound::Excluded(key), true)
    }

    fn seek_first(&mut self) -> Result<()> {
        self.go(Bound::Unbounded, Bound::Unbounded, false)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.go(Bound::Unbounded, Bound::Unbounded, true)
    }

    fn next(&mut self) -> Result<()> {
        let Some((key, _)) = self.at.take() else { return Ok(()) };
        self.go(Bound::Excluded(&key), Bound::Unbounded, false)
    }

    fn prev(&mut self) -> Result<()> {
        let Some((key, _)) = self.at.take() else { return Ok(()) };
        self.go(Bound::Unbounded, Bound::Excluded(&key), true)
    }

    fn key(&self) -> Option<&[u8]> {
        self.at.as_ref().map(|(key, _)| key.as_slice())
    }

    fn value(&self) -> Option<&[u8]> {
        self.at.as_ref().map(|(_, value)| value.as_slice())
    }
}
