//! Verifying indexes: their files, and what they say against the runs.

use std::path::Path;
use std::sync::Arc;

use kodiak_core::entry::MAX_SEQ;
use kodiak_core::index::{Index, IndexContext, IndexView, MAX_KEY, Root};
use kodiak_core::options::Options;
use kodiak_core::{Error, Result, shown_key};

use super::locator::Locator;
use super::newest::Newest;
use crate::components::primary_owner;
use crate::db::{TableInner, TableOptions};
use crate::maintenance::TableFiles;
use crate::manifest::{IndexMeta, TableState};
use crate::range_delete::RangeTombstones;
use crate::version::Version;

/// Memory for looking at the index of a database that is not open.
const POOL: usize = 16 << 20;
/// Of one index, so many contradictions are told one by one.
const MOST_TOLD: u64 = 20;

/// Verifies the index of an open table, which no job changes meanwhile; true if it has one.
pub(crate) fn verify_open_index(table: &TableInner, problems: &mut Vec<Error>) -> bool {
    let held = table.primary.lock();
    let Some(primary) = &*held else { return false };
    let file = super::path(&table.runs.dir, primary.meta.id);
    let view = table.view.load_full();
    let expires = table.options.ttl_micros > 0;
    let mut check = || {
        tell_findings(&*primary.index, &file, problems)?;
        let index = primary.index.view(primary.root())?;
        compare(index, &view.version, expires, &mut |error| {
            problems.push(error.with_file(&file))
        })
    };
    let checked = check();
    problems.extend(checked.err().map(|error| named(error, &file)));
    true
}

/// Verifies the index that a manifest names, in a database that is not open.
pub(crate) fn verify_index(files: &TableFiles, table: &TableState, index: &IndexMeta, problems: &mut Vec<Error>) {
    let file = super::path(&files.dir, index.id);
    let mut check = || {
        let options = TableOptions::from_bytes(&table.options)?;
        let factory = files.components.indexes().find(&index.kind)?;
        let index_options = Options::defaults(factory.component.options);
        let opened = (factory.open)(IndexContext {
            storage: Arc::clone(&files.storage),
            path: file.clone(),
            pool: (factory.pool)(POOL.max((factory.smallest_pool)(&index_options))),
            options: index_options,
            upsert: Some(super::operator()),
            owner: primary_owner((files.database, files.table), index.id),
        })?;
        tell_findings(&*opened, &file, problems)?;
        let view = opened.view(Root(index.root))?;
        let version = Version::stored(table, &Arc::new(files.run_context()))?;
        compare(view, &version, options.ttl_micros > 0, &mut |error| {
            problems.push(error.with_file(&file));
        })
    };
    let checked = check();
    problems.extend(checked.err().map(|error| named(error, &file)));
}

fn named(error: Error, file: &Path) -> Error {
    match error.file() {
        Some(_) => error,
        None => error.with_file(file),
    }
}

fn tell_findings(index: &dyn Index, file: &Path, problems: &mut Vec<Error>) -> Result<()> {
    index.verify(&mut |finding| {
        let error = Error::corruption(finding.what);
        problems.push(error.with_file(file).with_offset(finding.offset));
    })
}

/// Compares what an index says with the runs that it is of. Where versions of a key can have expired (`expires`), it may lack
/// keys.
fn compare(view: Arc<dyn IndexView>, version: &Version, expires: bool, tell: &mut dyn FnMut(Error)) -> Result<()> {
    let mut deleted = RangeTombstones::default();
    for (_, run) in version.runs()? {
        deleted.extend(&run.tombstones()?);
    }
    let mut contradictions = 0;
    let mut differ = |key: &[u8], what: String| {
        contradictions += 1;
        if contradictions <= MOST_TOLD {
            tell(Error::corruption(format!("key {} {what}", shown_key(key))));
        }
    };
    let mut newest = Newest::of_version(version)?;
    let mut cursor = view.cursor();
    cursor.seek_first()?;
    loop {
        let order = match (newest.current(), cursor.key()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((key, _)), Some(indexed)) => key.cmp(indexed),
        };
        let indexed = cursor.value().map(Locator::decode);
        if let (Some((key, locator)), true) = (newest.current(), order.is_le()) {
            match indexed.filter(|_| order.is_eq()) {
                Some(Ok(indexed)) if indexed == locator => {}
                // The newest version was dropped, and something hides those that are left.
                Some(Ok(indexed)) if expires || deleted.covering(key, MAX_SEQ) > locator.seq.max(indexed.seq) => {}
                Some(Ok(indexed)) => differ(key, format!("is at {locator:?}, but the index says {indexed:?}")),
                Some(Err(error)) => differ(key, error.message().to_owned()),
                None if key.len() > MAX_KEY || expires => {}
                None if deleted.covering(key, MAX_SEQ) > locator.seq => {}
                None => differ(key, format!("is at {locator:?}, but not in the index")),
            }
            newest.next()?;
        } else if let Some(key) = cursor.key() {
            let hidden = |indexed: Locator| expires || deleted.covering(key, MAX_SEQ) > indexed.seq;
            if !indexed.is_some_and(|indexed| indexed.is_ok_and(hidden)) {
                differ(key, "is in the index, but in no run".to_owned());
            }
        }
        if order.is_ge() {
            cursor.next()?;
        }
    }
    if contradictions > MOST_TOLD {
        let message = format!("{} more keys are not where the index says", contradictions - MOST_TOLD);
        tell(Error::corruption(message));
    }
    Ok(())
}
