//! A harness that cannot fail proves nothing: components that are wrong on purpose must be found out, and the history that
//! does so must become short.

use std::path::PathBuf;
use std::time::Duration;

use kodiak::core::storage::Storage;
use kodiak::{Components, Settings};
use kodiak_storage::FaultStorage;
use kodiak_tests::factors::small;
use kodiak_tests::generate::Generator;
use kodiak_tests::history::{Op, Replay};
use kodiak_tests::minimise::{Effort, minimise};
use kodiak_tests::outside::wrong;
use kodiak_tests::runner::{Setup, run};

/// Operations that may be left of 2,000. A shortened history depends on what background work does meanwhile, so that the end
/// differs from run to run.
const LONGEST: usize = 250;

/// Runs histories until one fails, shortens it, and checks that what is left is at most [`LONGEST`] and still fails.
fn must_be_found_out(name: &str, register: impl Fn(&mut Components), pick: impl Fn(&mut Settings)) {
    let mut components = Components::new();
    register(&mut components);
    let mut settings = small();
    pick(&mut settings);
    let setup = Setup {
        components,
        ..Setup::new(settings)
    };
    let histories = (0..5).map(|seed| Generator::new(seed).take(2000).collect::<Vec<Op>>());
    let (ops, failure) = histories
        .filter_map(|ops| run(&ops, &setup).err().map(|failure| (ops, failure)))
        .next()
        .unwrap_or_else(|| panic!("{name} was not found out"));
    let effort = Effort {
        time: Duration::from_secs(8),
        tries: 3,
    };
    let (short, failure) = minimise(&ops, failure, &setup, effort);
    eprintln!("{name}: {} operations are left: {failure}", short.len());
    assert!(short.len() <= LONGEST, "{name}: {} operations are left", short.len());
    // The replay file keeps all that is needed.
    let replay = Replay {
        failure: failure.to_string(),
        settings: setup.settings.to_toml(),
        ops: short,
    };
    let text = serde_json::to_string(&replay).expect("serialises");
    let replay: Replay = serde_json::from_str(&text).expect("parses");
    let again = Setup {
        components: setup.components,
        ..Setup::new(replay.settings().expect("valid"))
    };
    assert!(
        (0..200).any(|_| run(&replay.ops, &again).is_err()),
        "{name}: the replay does not fail"
    );
}

#[test]
fn a_memtable_that_forgets_is_found_out() {
    must_be_found_out(
        "forgetful",
        |components| components.register_memtable(&wrong::MEMTABLE).expect("a free name"),
        |settings| {
            settings.memtable.kind = "forgetful".to_owned();
            settings.memtable.size = 1 << 20;
        },
    );
}

#[test]
fn a_filter_that_denies_keys_is_found_out() {
    must_be_found_out(
        "denying",
        |components| components.register_filter(&wrong::FILTER).expect("a free name"),
        |settings| settings.filter.kind = "denying".to_owned(),
    );
}

#[test]
fn a_policy_that_buries_newer_versions_is_found_out() {
    must_be_found_out(
        "burying",
        |components| components.register_policy(&wrong::POLICY).expect("a free name"),
        |settings| settings.compaction.preset = "burying".to_owned(),
    );
}

#[test]
fn a_log_that_loses_batches_is_found_out() {
    must_be_found_out(
        "losing",
        |components| components.register_wal(&wrong::WAL).expect("a free name"),
        |settings| settings.wal.kind = "losing".to_owned(),
    );
}

#[test]
fn an_index_that_loses_changes_is_found_out() {
    must_be_found_out(
        "losing",
        |components| components.register_index(&wrong::INDEX).expect("a free name"),
        |settings| settings.index.primary = "losing".to_owned(),
    );
}

#[test]
fn publications_that_lose_dead_rows_or_files_are_found_out() {
    let mut settings = small();
    "parquet".clone_into(&mut settings.format.kind);
    settings.publish.continuous = true;
    settings.publish.key_value = true;
    let mut setup = Setup::new(settings);
    let history: Vec<Op> = Generator::new(1).take(2000).collect();
    /// The files of all publications, from some operation on.
    fn files(storage: &FaultStorage, op: usize) -> Vec<PathBuf> {
        let root = PathBuf::from("/db/published");
        let dirs = storage.list(&root).unwrap_or_default().into_iter().filter(|_| op > 500);
        dirs.flat_map(|dir| {
            let dir = root.join(dir);
            let names = storage.list(&dir).unwrap_or_default();
            names.into_iter().map(move |name| dir.join(name)).collect::<Vec<_>>()
        })
        .collect()
    }
    fn remove(storage: &FaultStorage, op: usize, begin: &str) {
        let begins = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(begin))
        };
        let files = files(storage, op);
        files.iter().filter(begins).for_each(|path| drop(storage.remove(path)));
    }
    let disturbances: [fn(&FaultStorage, usize); 3] = [
        |storage, op| remove(storage, op, "0"),
        |storage, op| remove(storage, op, "deletion_vector"),
        |storage, op| {
            // Records of old publications, as if no newer ones had been made.
            for record in files(storage, op)
                .iter()
                .filter(|path| path.ends_with("PUBLISHED.json"))
            {
                let kept = record.with_file_name("kept");
                if storage.hard_link(record, &kept).is_err() {
                    drop(storage.remove(record));
                    drop(storage.hard_link(&kept, record));
                }
            }
        },
    ];
    for (number, disturb) in disturbances.into_iter().enumerate() {
        setup.disturb = Some(disturb);
        let failure = run(&history, &setup).expect_err("it is found out");
        assert!(failure.what.contains("publish"), "{number}: {failure}");
    }
}
