//! Single promises of the trait.

use super::{Batch, Model, Random, Subject, assert_sound, compare};
use crate::index::{Index, IndexContext, MAX_KEY, MAX_OWNER, MAX_VALUE, Root, Updates};
use crate::{ErrorKind, Result};

pub(super) fn an_empty_index_is_empty(subject: &Subject) {
    let (context, index) = subject.create();
    assert_eq!(index.roots().len(), 1);
    compare(&*index, index.roots()[0], &Model::new());
    assert_eq!(index.get(b"key").expect("a sound file"), None);
    let root = index.commit().expect("nothing to do");
    assert_eq!(vec![root], index.roots(), "a commit without changes makes no root");
    index.apply(&Updates::new(), None).expect("nothing to do");
    let mut updates = Updates::new();
    updates.delete(b"nothing").delete_range(b"", None);
    index.apply(&updates, None).expect("nothing is there to delete");
    let root = index.commit().expect("space");
    compare(&*index, root, &Model::new());
    assert_sound(&*index);
    drop(index);
    let again = (subject.factory.create)(context.clone()).expect_err("it is there already");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
    let missing = IndexContext {
        path: context.path.with_extension("missing"),
        ..context
    };
    let error = (subject.factory.open)(missing).expect_err("it does not exist");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

pub(super) fn names_and_limits_are_checked(subject: &Subject) {
    let (context, index) = subject.create();
    let mut model = Model::new();
    let mut batch = Batch::default();
    batch.put(&mut model, b"key", b"value");
    index.apply(&batch.updates, None).expect("a sound batch");
    let refused: [fn(&mut Updates); 3] = [
        |updates| _ = updates.put(&vec![1; MAX_KEY + 1], b""),
        |updates| _ = updates.put(b"other", &vec![1; MAX_VALUE + 1]),
        |updates| _ = updates.delete_range(b"a", Some(&vec![1; MAX_KEY + 1])),
    ];
    for fill in refused {
        let mut updates = Updates::new();
        updates.put(b"another", b"value");
        fill(&mut updates);
        let error = index.apply(&updates, None).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let root = index.commit().expect("nothing has changed for the worse");
    compare(&*index, root, &model);
    for error in [
        index.release(root).expect_err("the newest root"),
        index.release(Root(999)).expect_err("no such root"),
        index.view(Root(999)).expect_err("no such root"),
        index.reset_to(Root(999)).expect_err("no such root"),
    ] {
        assert!(
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput),
            "{error}"
        );
    }
    drop(index);
    let without = IndexContext {
        upsert: None,
        ..context.clone()
    };
    let error = (subject.factory.open)(without).expect_err("it was made with an operator");
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error}");
    let plain = IndexContext {
        upsert: None,
        path: context.path.with_extension("plain"),
        ..context
    };
    let index = (subject.factory.create)(plain).expect("a new index");
    let mut updates = Updates::new();
    updates.upsert(b"key", b"operand");
    let error = index.apply(&updates, None).expect_err("no operator");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

/// Opens a file as that of an owner.
fn open_of(subject: &Subject, context: &IndexContext, owner: &[u8]) -> Result<Box<dyn Index>> {
    (subject.factory.open)(IndexContext {
        owner: owner.to_vec(),
        ..context.clone()
    })
}

fn commit_one(index: &dyn Index, key: &[u8]) {
    let mut updates = Updates::new();
    updates.put(key, b"value");
    index.apply(&updates, None).expect("a sound batch");
    index.commit().expect("space");
}

pub(super) fn files_say_whose_they_are(subject: &Subject) {
    a_file_of_another_owner_is_refused(subject);
    a_file_of_no_owner_gets_one_with_the_next_commit(subject);
}

fn a_file_of_another_owner_is_refused(subject: &Subject) {
    let longest = [b'o'; MAX_OWNER];
    let (plain, too_long) = (subject.context(), [b'o'; MAX_OWNER + 1]);
    let of = |owner: &[u8]| IndexContext {
        owner: owner.to_vec(),
        ..plain.clone()
    };
    let error = (subject.factory.create)(of(&too_long)).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let index = (subject.factory.create)(of(&longest)).expect("a new index");
    let refused = |when: &str| {
        let error = open_of(subject, &plain, b"another").expect_err(when);
        assert_eq!(error.kind(), ErrorKind::Corruption, "{when}: {error}");
        assert_eq!(error.file(), Some(&*plain.path), "{when}: {error}");
        let message = error.message();
        assert!(
            message.contains("another") && message.contains("ooo"),
            "{when}: {message}"
        );
    };
    drop(index);
    refused("a file without a commit");
    let index = open_of(subject, &plain, &longest).expect("its own");
    commit_one(&*index, b"one");
    drop(index);
    refused("a file with a commit");
    let error = open_of(subject, &plain, &too_long).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let index = open_of(subject, &plain, b"").expect("who does not say takes any");
    commit_one(&*index, b"two");
    drop(index);
    refused("a file that one who did not say has changed");
    let index = open_of(subject, &plain, &longest).expect("its own");
    assert!(index.get(b"two").expect("a sound file").is_some());
}

fn a_file_of_no_owner_gets_one_with_the_next_commit(subject: &Subject) {
    let (context, index) = subject.create();
    commit_one(&*index, b"one");
    drop(index);
    let index = open_of(subject, &context, b"first").expect("it does not say");
    assert!(index.get(b"one").expect("a sound file").is_some());
    drop(index);
    let index = open_of(subject, &context, b"second").expect("nothing was committed");
    commit_one(&*index, b"two");
    drop(index);
    let error = open_of(subject, &context, b"first").expect_err("it is the second's now");
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    let index = open_of(subject, &context, b"second").expect("its own");
    assert!(index.get(b"two").expect("a sound file").is_some());
    assert_sound(&*index);
}

pub(super) fn later_changes_of_a_batch_see_the_earlier_ones(subject: &Subject) {
    let (_, index) = subject.create();
    let mut model = Model::new();
    for round in 0..3 {
        let mut batch = Batch::default();
        batch.put(&mut model, b"m", b"1");
        batch.put(&mut model, b"k", b"2");
        batch.delete_range(&mut model, b"a", Some(b"l"));
        batch.upsert(&mut model, b"k", b"+3");
        batch.delete(&mut model, b"m");
        batch.upsert(&mut model, b"m", b"+4");
        batch.upsert(&mut model, b"m", b"+5");
        batch.upsert(&mut model, b"n", b"+6");
        batch.delete_range(&mut model, b"x", None);
        batch.put(&mut model, b"y", b"7");
        batch.delete(&mut model, b"o");
        batch.put(&mut model, b"o", b"8");
        index.apply(&batch.updates, None).expect("a sound batch");
        let root = index.commit().expect("space");
        assert_eq!(model.len(), 5, "round {round}");
        compare(&*index, root, &model);
    }
}

pub(super) fn upserts_apply_in_order_wherever_they_wait(subject: &Subject) {
    let (_, index) = subject.create();
    let (mut model, mut random) = (Model::new(), Random::new(1));
    let mut fill = Batch::default();
    for key in 0..4000u32 {
        fill.put(&mut model, &key.to_be_bytes(), &[7; 20]);
    }
    index.apply(&fill.updates, None).expect("a sound batch");
    for round in 0..60 {
        let mut batch = Batch::default();
        for _ in 0..100 {
            let key = (random.below(40) as u32 * 100).to_be_bytes();
            batch.upsert(&mut model, &key, format!("+{round}").as_bytes());
        }
        for _ in 0..100 {
            let key = (random.below(4000) as u32).to_be_bytes();
            batch.put(&mut model, &key, &[8; 30]);
        }
        index.apply(&batch.updates, None).expect("a sound batch");
        let key = (random.below(40) as u32 * 100).to_be_bytes();
        assert_eq!(index.get(&key).expect("a sound file").as_ref(), model.get(&key[..]));
    }
    let root = index.commit().expect("space");
    compare(&*index, root, &model);
}

pub(super) fn large_and_extreme_entries_are_kept(subject: &Subject) {
    let (context, index) = subject.create();
    let mut model = Model::new();
    for (round, len) in [0, 1, 5000, 100_000].into_iter().enumerate() {
        let mut batch = Batch::default();
        batch.put(&mut model, b"", &vec![round as u8; len]);
        batch.put(&mut model, &vec![0xFF; 100 + round], &vec![2; len]);
        for tail in 0..10u8 {
            let mut key = vec![0x80; 2000];
            key.push(tail);
            batch.put(&mut model, &key, &vec![tail; len / 10]);
        }
        index.apply(&batch.updates, None).expect("within the limits");
        let root = index.commit().expect("space");
        compare(&*index, root, &model);
    }
    let mut batch = Batch::default();
    batch.put(&mut model, &vec![0x90; MAX_KEY], b"longest key");
    batch.put(&mut model, b"longest value", &vec![3; MAX_VALUE]);
    index
        .apply(&batch.updates, None)
        .expect("the limits themselves are allowed");
    let root = index.commit().expect("space");
    compare(&*index, root, &model);
    assert_sound(&*index);
    drop(index);
    let index = (subject.factory.open)(context).expect("what was closed opens");
    compare(&*index, root, &model);
}

pub(super) fn a_bulk_load_holds_what_it_was_given(subject: &Subject) {
    for count in [0, 1, 2, 500, 20_000u32] {
        let (_, index) = subject.create();
        let mut model: Model = (0..count)
            .map(|key| (format!("key {:08}", key * 3).into_bytes(), key.to_le_bytes().to_vec()))
            .collect();
        let mut source = model.clone().into_iter().map(Ok);
        index.bulk_load(&mut source).expect("ascending entries");
        let root = index.commit().expect("space");
        compare(&*index, root, &model);
        assert_sound(&*index);
        let mut batch = Batch::default();
        for key in 0..count.min(700) {
            batch.put(&mut model, format!("key {:08}", key * 40 + 1).as_bytes(), b"later");
            batch.delete(&mut model, format!("key {:08}", key * 30).as_bytes());
        }
        index.apply(&batch.updates, None).expect("a sound batch");
        let root = index.commit().expect("space");
        compare(&*index, root, &model);
        if count > 0 {
            let error = index.bulk_load(&mut std::iter::empty()).expect_err("not empty");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
    let (_, index) = subject.create();
    let entry = |key: &[u8]| Ok((key.to_vec(), Vec::new()));
    let error = index
        .bulk_load(&mut [entry(b"b"), entry(b"a")].into_iter())
        .expect_err("descending");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    index.rollback().expect("nothing was lost");
    index
        .bulk_load(&mut [entry(b"a"), entry(b"b")].into_iter())
        .expect("ascending");
    assert_eq!(index.get(b"b").expect("a sound file"), Some(Vec::new()));
}

pub(super) fn roots_are_kept_until_released(subject: &Subject) {
    let (context, index) = subject.create();
    let (mut model, mut kept) = (Model::new(), Vec::new());
    let mut random = Random::new(5);
    for round in 0..12u32 {
        let mut batch = Batch::default();
        for _ in 0..300 {
            let key = random.below(2000) as u32;
            batch.put(
                &mut model,
                &key.to_be_bytes(),
                &[&round.to_le_bytes()[..], &[5; 30]].concat(),
            );
        }
        index.apply(&batch.updates, None).expect("a sound batch");
        kept.push((index.commit().expect("space"), model.clone()));
    }
    for (root, model) in &kept {
        compare(&*index, *root, model);
    }
    let used = index.stats().used_bytes;
    let view = index.view(kept[3].0).expect("a root that is kept");
    let newest = kept[11].0;
    for root in index.roots().into_iter().filter(|root| *root < newest) {
        index.release(root).expect("an older root");
    }
    index.commit().expect("space");
    super::compare_view(&view, &kept[3].1);
    drop(view);
    let less = index.stats().used_bytes;
    assert!(
        less < used / 2,
        "{less} of {used} bytes are in use after all roots but the newest are gone"
    );
    assert_sound(&*index);
    drop(index);
    let index = (subject.factory.open)(context).expect("what was closed opens");
    let newest = *index.roots().last().expect("there is one");
    compare(&*index, newest, &model);
    assert_eq!(index.stats().used_bytes, less, "space that opening finds");
}

pub(super) fn a_reset_gives_later_roots_up(subject: &Subject) {
    let (context, index) = subject.create();
    let mut states = vec![(index.roots()[0], Model::new())];
    let mut model = Model::new();
    for round in 0..6u32 {
        let mut batch = Batch::default();
        for key in 0..400u32 {
            batch.put(&mut model, &(key * 7 % 1000 + round).to_be_bytes(), &[round as u8; 40]);
        }
        index.apply(&batch.updates, None).expect("a sound batch");
        states.push((index.commit().expect("space"), model.clone()));
    }
    let used = index.stats().used_bytes;
    let (root, before) = states[3].clone();
    index.reset_to(root).expect("a root that is kept");
    assert_eq!(
        index.roots(),
        states[..4].iter().map(|(root, _)| *root).collect::<Vec<_>>()
    );
    let mut model = before.clone();
    let mut batch = Batch::default();
    batch.put(&mut model, b"branch", b"new");
    index.apply(&batch.updates, None).expect("a sound batch");
    let newest = index.commit().expect("space");
    assert!(states.iter().all(|(root, _)| *root < newest), "a number is used twice");
    for (root, model) in &states[..4] {
        compare(&*index, *root, model);
    }
    compare(&*index, newest, &model);
    assert!(index.stats().used_bytes < used, "what was given up is not free");
    assert_sound(&*index);
    drop(index);
    let index = (subject.factory.open)(context).expect("what was closed opens");
    compare(&*index, newest, &model);
    assert_sound(&*index);
}
