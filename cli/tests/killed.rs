//! Imports and exports of which the process is killed.

mod support;

use support::Kodiak;

/// Rows of which every seventh cannot be imported.
fn many_rows(count: usize) -> String {
    let row = |row: usize| match row % 7 {
        0 => format!("{row},x\n"),
        _ => format!("{row},{}\n", row * 3),
    };
    std::iter::once("id,n\n".to_owned())
        .chain((1..=count).map(row))
        .collect()
}

/// Carries out a command until it ends, after it was killed several times at moments that differ.
fn with_kills(kodiak: &Kodiak, command: &[&str]) {
    let mut kills = 0;
    loop {
        let mut child = kodiak.command(command);
        child
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = child.spawn().expect("started");
        std::thread::sleep(std::time::Duration::from_millis(5 + 37 * kills % 200));
        if child.try_wait().expect("waits").is_some_and(|status| status.success()) {
            break;
        }
        if kills < 6 {
            child.kill().expect("killed");
        }
        let ended = child.wait().expect("ended");
        if ended.success() {
            break;
        }
        kills += 1;
        assert!(kills < 40, "it never ends");
    }
    assert!(kills > 0, "it was never killed");
}

#[test]
fn an_import_that_is_killed_goes_on_exactly_where_it_was() {
    const ROWS: usize = 12_000;
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", &many_rows(ROWS));
    let good = || (1..=ROWS as u64).filter(|row| row % 7 != 0);
    let rows: String = good().map(|row| format!("{row},{}\n", row * 3)).collect();
    let objects: String = good()
        .map(|row| format!("{row:010}\t{{\"id\":{row},\"n\":{}}}\n", row * 3))
        .collect();
    let bad: Vec<u64> = (1..=ROWS as u64)
        .filter(|row| row % 7 == 0)
        .map(|row| row + 1)
        .collect();
    // Rows of columns, and rows that become JSON objects under their numbers.
    let cases: [(&str, &[&str], &[&str], String); 2] = [
        (
            "rows",
            &["--key", "id"],
            &["export", "db", "rows"],
            format!("id,n\n{rows}"),
        ),
        ("objects", &[], &["scan", "db", "objects"], objects),
    ];
    for (table, key, read, expected) in cases {
        let command = ["import", "db", table, &file, "--schema", "id:int64,n:int64", "--resume"];
        let rejects = ["--rejects", table, "--max-rejects", "100000", "--batch", "16"];
        with_kills(&kodiak, &[&command, key, &rejects].concat());
        let found = kodiak.prints(read);
        let (lines, wanted) = (found.lines().count(), expected.lines().count());
        assert!(
            found == expected,
            "{table}: {lines} lines where {wanted} are expected: {:.200}",
            found
        );
        let rejected = std::fs::read_to_string(kodiak.path(table)).expect("written");
        let lines: Vec<u64> = rejected
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["line"].as_u64())
            .map(|line| line.expect("a number"))
            .collect();
        assert_eq!(lines, bad, "{table}: each rejected row is there once");
        assert!(
            !kodiak.prints(&["tables", "db"]).contains("_kodiak_imports"),
            "no import is under way"
        );
    }
}

fn is_partial(file: &std::io::Result<std::fs::DirEntry>) -> bool {
    file.as_ref()
        .is_ok_and(|file| file.path().extension().is_some_and(|end| end == "partial"))
}

#[test]
fn an_export_that_is_killed_leaves_no_file_that_looks_whole() {
    let kodiak = Kodiak::new();
    let file = kodiak.file("rows.csv", &many_rows(60_000));
    let import = ["import", "db", "t", &file, "--key", "id", "--schema", "id:int64,n:text"];
    kodiak.prints(&import);
    let mut killed = 0;
    for (number, format) in ["csv", "jsonl", "parquet", "feather", "orc"]
        .iter()
        .cycle()
        .take(10)
        .enumerate()
    {
        let name = format!("{number}.{format}");
        let mut child = kodiak.command(&["export", "db", "t", "--output", &name]);
        child
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = child.spawn().expect("started");
        // At once, and then later and later after it has begun to write.
        let begun = || std::fs::read_dir(kodiak.path("")).is_ok_and(|mut files| files.any(|file| is_partial(&file)));
        while number > 0 && !begun() && child.try_wait().expect("waits").is_none() {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        std::thread::sleep(std::time::Duration::from_millis(number as u64));
        child.kill().expect("killed");
        if !child.wait().expect("ended").success() {
            killed += 1;
        }
        if !kodiak.path(&name).exists() {
            // What is left over is replaced.
            kodiak.prints(&["export", "db", "t", "--output", &name]);
        }
        let table = format!("t{number}");
        kodiak.prints(&[&["import", "db", &table, &name], &import[4..]].concat());
        let count = |table: &str| kodiak.prints(&["export", "db", table]).lines().count();
        assert_eq!(count(&table), 60_001, "{name}");
        kodiak.prints(&["drop-table", "db", &table]);
    }
    assert!(killed > 0, "no export was killed");
}
