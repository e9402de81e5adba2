//! One case: what a damaged database is told to be, and what becomes of it.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use kodiak::core::storage::Storage;
use kodiak::maintenance::VerifyReport;
use kodiak::{Builder, LocalStorage, MemoryStorage, Settings};

use super::example::{Contents, DIR, Example, Files, files_of, read_all};
use super::harm::Harm;

/// Where the files of a case are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    InMemory,
    OnDisk,
}

/// What damage to a file may cost, once it is repaired.
#[derive(Debug, Clone, PartialEq)]
enum Cost {
    Nothing,
    /// The newest versions of keys that were written in these rounds to this table, or to all.
    Versions(Option<String>, Vec<usize>),
}

/// A database in a place of its own.
struct Place {
    storage: Arc<dyn Storage>,
    dir: std::path::PathBuf,
    settings: Settings,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    fn with(settings: &Settings, files: &Files, kept: Kept) -> Self {
        let (storage, root, temporary): (Arc<dyn Storage>, _, _) = match kept {
            Kept::InMemory => (Arc::new(MemoryStorage::new()), "/".into(), None),
            Kept::OnDisk => {
                let temporary = tempfile::tempdir().expect("a directory");
                (
                    Arc::new(LocalStorage::new()),
                    temporary.path().to_owned(),
                    Some(temporary),
                )
            }
        };
        let inside = |path: &Path| root.join(path.strip_prefix("/").expect("absolute"));
        storage.create_dir_all(&inside(Path::new(DIR))).expect("mkdir");
        for (path, bytes) in files {
            match bytes {
                None => storage.create_dir_all(&inside(path)).expect("mkdir"),
                Some(bytes) => {
                    let mut file = storage.create(&inside(path)).expect("create");
                    file.write_all(bytes).expect("write");
                    file.finish(false).expect("finish");
                }
            }
        }
        Self {
            storage,
            dir: inside(Path::new(DIR)),
            settings: settings.clone(),
            _temporary: temporary,
        }
    }

    fn builder(&self) -> Builder {
        Builder::new(self.settings.clone()).storage(Arc::clone(&self.storage))
    }

    fn verify(&self) -> Result<VerifyReport, String> {
        guarded("verify", || self.builder().verify(&self.dir))
    }

    /// Opens it and reads everything.
    fn read(&self, read_only: bool) -> Result<Contents, String> {
        guarded("open", || {
            let builder = match read_only {
                true => self.builder().read_only(),
                false => self.builder().existing(),
            };
            let db = builder.open(&self.dir)?;
            let contents = read_all(&db)?;
            db.wait_idle()?;
            db.close()?;
            Ok(contents)
        })
    }
}

const PANIC: &str = "PANIC";

/// What went wrong; a panic is told as such.
fn guarded<T>(what: &str, work: impl FnOnce() -> Result<T, kodiak::Error>) -> Result<T, String> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| format!("{what}: {error:?}")),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or(payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("{PANIC} in {what}: {}", text.unwrap_or_default()))
        }
    }
}

/// What is wrong with how damage to a file is dealt with.
pub fn examine(example: &Example, target: &Path, harm: Harm, files: &Files, kept: Kept) -> Vec<String> {
    let mut wrong = Vec::new();
    let place = Place::with(&example.settings, files, kept);
    let verified = place.verify();
    if let Err(error) = &verified
        && error.starts_with(PANIC)
    {
        wrong.push(error.clone());
    }
    let clean = verified.as_ref().is_ok_and(VerifyReport::is_clean);
    for read_only in [false, true] {
        let outcome = Place::with(&example.settings, files, kept).read(read_only);
        match outcome {
            Ok(contents) => {
                let torn = !example.closed && target.starts_with(Path::new(DIR).join("wal"));
                let cost = if torn {
                    Cost::Versions(None, vec![3])
                } else {
                    Cost::Nothing
                };
                wrong.extend(differences(example, &contents, &cost, "read without an error"));
            }
            Err(error) if error.starts_with(PANIC) => wrong.push(error),
            Err(error) if clean => wrong.push(format!(
                "verification finds nothing, but (read only: {read_only}) {error}"
            )),
            Err(error) => {
                let told = verified
                    .as_ref()
                    .map_or_else(Clone::clone, |report| format!("{:?}", report.problems));
                if !names(&told, target) {
                    wrong.push(format!("verification does not name the file: {told}; {error}"));
                }
            }
        }
    }
    wrong.extend(repaired(example, target, harm, &place).err());
    wrong
}

/// True if what is told tells where to look.
fn names(told: &str, target: &Path) -> bool {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let parts = [stem, "CURRENT", "MANIFEST"];
    parts.iter().any(|part| !part.is_empty() && told.contains(part))
        || target
            .parent()
            .is_some_and(|dir| dir != Path::new(DIR) && told.contains(&*dir.to_string_lossy()))
}

/// Repairs, twice, and compares what is there with what must be.
fn repaired(example: &Example, target: &Path, harm: Harm, place: &Place) -> Result<(), String> {
    let report = guarded("repair", || place.builder().repair(&place.dir))?;
    let again = guarded("the second repair", || place.builder().repair(&place.dir))?;
    if !again.problems.is_empty() || !again.lost.is_empty() || !again.rebuilt.is_empty() || again.manifest_rebuilt {
        return Err(format!("the second repair is not idle: {again}; the first: {report}"));
    }
    let sound = |when: &str| match place.verify() {
        Ok(found) if found.is_clean() => Ok(()),
        Ok(found) => Err(format!("{when} verification tells {:?}; {report}", found.problems)),
        Err(error) => Err(format!("{when} {error}; {report}")),
    };
    sound("after repair")?;
    let read = |when: &str| place.read(false).map_err(|error| format!("{when} {error}; {report}"));
    let contents = read("after repair")?;
    sound("after repair and an opening")?;
    let cost = cost(example, target, harm);
    match differences(example, &contents, &cost, "after repair") {
        Some(wrong) => Err(format!("{wrong}; {report}")),
        None if read("opened again")? != contents => Err("another opening finds other rows".to_owned()),
        None => Ok(()),
    }
}

fn cost(example: &Example, target: &Path, harm: Harm) -> Cost {
    if matches!(harm, Harm::ExtraFile | Harm::ExtraDirectory) {
        return Cost::Nothing;
    }
    let db = Path::new(DIR);
    if let Some((table, round)) = example.runs.get(target) {
        return Cost::Versions(Some(table.clone()), vec![*round]);
    }
    if target.starts_with(db.join("wal")) {
        return Cost::Versions(None, vec![3]);
    }
    let directories = [(1, "a"), (2, "b"), (3, "t")];
    for (number, table) in directories {
        if target == db.join(format!("tables/{number:06}")) {
            return Cost::Versions(Some(table.to_owned()), vec![0, 1, 2]);
        }
    }
    match target == db.join("tables") {
        true => Cost::Versions(None, vec![0, 1, 2]),
        false => Cost::Nothing,
    }
}

/// The first difference from what must be there, if there is one.
fn differences(example: &Example, contents: &Contents, cost: &Cost, when: &str) -> Option<String> {
    let last = example.last();
    if !contents.keys().eq(last.keys()) {
        return Some(format!("{when}: the tables are {:?}", contents.keys()));
    }
    for (table, rows) in contents {
        let keys = example.keys(table);
        if let Some(key) = rows.keys().find(|key| !keys.contains(key)) {
            return Some(format!("{when}: table {table} has {}", key.escape_ascii()));
        }
        for key in keys {
            let (found, expected) = (rows.get(key), last[table].get(key));
            if found == expected {
                continue;
            }
            let newest = example.newest(table, key);
            let may = match cost {
                Cost::Nothing => false,
                Cost::Versions(of, rounds) => of.as_ref().is_none_or(|of| of == table) && rounds.contains(&newest),
            };
            let known = found.is_none() || example.rounds.iter().any(|round| round[table].get(key) == found);
            if !may || !known {
                let is = match (found, known) {
                    (None, _) => "is missing",
                    (Some(_), true) => "has an older value",
                    (Some(_), false) => "has a value that it never had",
                };
                let key = key.escape_ascii();
                return Some(format!("{when}: {key} of table {table}, of round {newest}, {is}"));
            }
        }
    }
    None
}

#[test]
fn an_example_that_is_not_damaged_is_sound() {
    use super::example::Kind;
    for kind in [Kind::Plain, Kind::Catalogue, Kind::Vectors, Kind::Rows] {
        for closed in [true, false] {
            let example = Example::new(kind, closed, 0);
            let place = Place::with(&example.settings, &example.files, Kept::InMemory);
            let report = place.verify().expect("verify");
            assert!(report.is_clean(), "{kind:?}: {report}");
            assert_eq!(place.read(false).expect("read"), *example.last(), "{kind:?}");
            assert!(!files_of(&*place.storage).is_empty());
        }
    }
}
