//! A test that never finds anything proves nothing: each planted bug must be noticed.

use kodiak_core::index::IndexFactory;

use crate::buggy::Bug;
use crate::compound::crash_again;
use crate::image::examine;
use crate::points::collect;
use crate::setup::Setup;

/// The first thing that is noticed in scripts with the bug.
fn notice(factory: &'static IndexFactory, bug: Bug) -> Option<String> {
    let large = bug.is_of_large_commits();
    let setups = (1..200).map(|seed| Setup {
        bug: Some(bug),
        ..Setup::new(factory, seed)
    });
    for setup in setups.filter(|setup| setup.is_large() == large) {
        let run = collect(setup, if large { 8 } else { 100 });
        if let Some(failure) = run.failure {
            return Some(format!("while it was played: {failure}"));
        }
        for point in &run.points {
            let seen = examine(&setup, &run.states, &point.image.kill_image(), point.bounds);
            // Of openings after a crash, some bugs show in another one.
            let seen = seen.and_then(|()| match large {
                true => Ok(0),
                false => crash_again(&setup, &run.states, point),
            });
            if let Err(failure) = seen {
                return Some(format!("{}: {failure}", point.label));
            }
        }
    }
    None
}

#[test]
fn every_planted_bug_is_noticed() {
    for factory in kodiak_indexes::ALL {
        let notices: Vec<_> = Bug::ALL.into_iter().map(|bug| (bug, notice(factory, bug))).collect();
        for (bug, notice) in &notices {
            eprintln!("{bug:?}: {}", notice.as_deref().unwrap_or("missed"));
        }
        let missed: Vec<_> = notices.iter().filter(|(_, notice)| notice.is_none()).collect();
        assert!(
            missed.is_empty(),
            "{}: {} of {} planted bugs are missed: {missed:?}",
            factory.component.name,
            missed.len(),
            Bug::ALL.len()
        );
    }
}
