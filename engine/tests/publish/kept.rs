//! What publications leave for readers of earlier ones, and what becomes of those that somebody has damaged.

use super::continuous::{continuous, dir};
use super::proportion::short_rows;
use super::*;

#[test]
fn as_many_publications_keep_their_files_as_the_setting_says() {
    let mut settings = continuous("parquet");
    // Each flush is published, and nothing else.
    for (setting, value) in [
        ("l0_trigger", "19"),
        ("delete_triggered", "false"),
        ("read_triggered", "false"),
    ] {
        settings
            .set(&format!("compaction.{setting}"), value)
            .expect("a setting");
    }
    settings.publish.kept = 3;
    let history = History::new(settings, 0, 5);
    let mut named: Vec<Vec<String>> = Vec::new();
    for round in 0..8 {
        // Each of them but the first kills one more row of the first run, whose dead rows are written anew.
        let ids = if round == 0 { 0..10 } else { round..round + 1 };
        history.table.insert(&short_rows(&history, ids)).expect("insert");
        history.db.flush().expect("flush");
        history.check(&read_table(&history.table));
        let file = history.storage.open(&dir().join(RECORD_FILE)).expect("a record");
        let record = file.read(0, file.len() as usize).expect("read");
        let record = serde_json::from_slice(&record).expect("JSON");
        let files = listed(&*history.storage, &dir(), &record);
        let names = ["file", "dead", "vector"].map(|key| files.iter().filter_map(move |file| file[key].as_str()));
        named.push(names.into_iter().flatten().map(str::to_owned).collect());
    }
    // The empty table may have been published as well.
    assert!((8..=9).contains(&history.stats().publications));
    let there = history.storage.list(&dir()).expect("list");
    for (age, names) in named.iter().rev().take(7).enumerate() {
        let all = names.iter().all(|name| there.contains(name));
        assert_eq!(all, age <= 3, "publications {age} before the last");
    }
}

#[test]
fn a_directory_that_somebody_has_removed_is_made_anew() {
    let mut history = History::new(continuous("parquet"), 0, 5);
    history.insert();
    history.db.flush().expect("flush");
    history.check(&read_table(&history.table));
    history.storage.remove_dir_all(&dir()).expect("removed");
    history.insert();
    history.db.flush().expect("flush");
    history.check(&read_table(&history.table));
}

#[test]
fn a_publication_that_is_damaged_is_made_anew() {
    let mut history = History::new(settings("parquet"), 0, 5);
    let rows = history.rows(false);
    history.table.insert(&rows).expect("insert");
    history.table.insert(&rows.slice(0, 1)).expect("insert");
    history.publish();
    history.db.compact().expect("compact");
    for _ in 0..2 {
        history.table.insert(&rows.slice(0, 1)).expect("insert");
        history.publish();
    }
    let dir = history.publish().dir;
    for damage in [".parquet", RECORD_FILE, "view.sql"] {
        for name in history.storage.list(&dir).expect("list") {
            if name.ends_with(damage) {
                history.storage.remove(&dir.join(name)).expect("remove");
            }
        }
        history.table.insert(&rows.slice(1, 1)).expect("insert");
        history.publish();
    }
}
