//! What `verify` finds in a file that is damaged while it is open.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{PATH, context, small};
use kodiak_core::index::{Index, IndexFactory, Updates};
use kodiak_core::storage::Storage;
use kodiak_indexes::IndexFile;
use kodiak_storage::MemoryStorage;

fn findings(index: &dyn Index) -> Vec<String> {
    let mut findings = Vec::new();
    index
        .verify(&mut |finding| findings.push(finding.what))
        .expect("a storage that works");
    findings
}

/// What whoever opens the file sees of it; an error if it is refused.
fn seen(storage: &dyn Storage) -> kodiak_core::Result<Vec<String>> {
    let file = IndexFile::open(storage, Path::new(PATH))?;
    let mut lines = Vec::new();
    for root in file.roots() {
        file.dump(root, &mut |line| lines.push(line))?;
    }
    Ok(lines)
}

/// An open index of a few pages, with nodes, accounts one after the other, and dead extents.
fn sample(factory: &IndexFactory, storage: &Arc<MemoryStorage>) -> Box<dyn Index> {
    let index = (factory.create)(context(factory, storage.clone(), small(factory))).expect("a new index");
    for round in 0..3u8 {
        let mut updates = Updates::new();
        for number in 0..60u8 {
            updates.put(&[b'k', number / (round + 1)], &[round; 60]);
        }
        index.apply(&updates, None).expect("a sound batch");
        index.commit().expect("space");
    }
    index
}

#[test]
fn whatever_keeps_a_file_from_being_opened_is_found_while_it_is_open() {
    for factory in kodiak_indexes::ALL {
        let storage = Arc::new(MemoryStorage::new());
        let index = sample(factory, &storage);
        let whole = seen(&*storage).expect("a sound file");
        let used = index.stats().used_bytes + index.stats().free_bytes;
        let file = storage.open_log(Path::new(PATH)).expect("it is there");
        assert_eq!(findings(&*index), Vec::<String>::new());
        let (mut refused, mut quiet) = (0, 0);
        for at in 0..used {
            let mut byte = [0];
            file.read_at(at, &mut byte).expect("within the file");
            file.write_at(at, &[byte[0] ^ 1 << (at % 8)]).expect("within the file");
            let found = findings(&*index);
            let opened = seen(&*storage);
            file.write_at(at, &byte).expect("within the file");
            let differs = !opened.as_ref().is_ok_and(|seen| *seen == whole);
            assert!(
                !differs || !found.is_empty(),
                "{}: nothing was found of byte {at}, with which the file is {opened:?}",
                factory.component.name
            );
            refused += usize::from(differs);
            quiet += usize::from(found.is_empty());
        }
        assert!(refused > 1000 && quiet > 1000, "{refused} refused, {quiet} quiet");
        assert_eq!(findings(&*index), Vec::<String>::new());
    }
}
