use std::collections::HashSet;
use std::io::Write;

use super::*;

fn key(data: &dyn Dataset, index: u64) -> Vec<u8> {
    let mut out = Vec::new();
    data.key(index, &mut out);
    out
}

fn value(data: &dyn Dataset, index: u64, version: u32) -> String {
    let mut out = Vec::new();
    data.value(index, version, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn csv(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data.csv");
    std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("written");
    (dir, path)
}

#[test]
fn keys_are_unique_and_absent_keys_are_none_of_them() {
    let (_dir, path) = csv("id,name\n1,x\n2,y\n3,\"z\n4,5\"\n");
    let specs = [
        DataSpec::parse("flights:500", &[]),
        DataSpec::parse("kv:500", &[]),
        DataSpec::parse("kv-sequential:500", &[]),
        Ok(DataSpec::Csv {
            path: path.clone(),
            key: vec![],
        }),
        Ok(DataSpec::Csv {
            path,
            key: vec!["name".into()],
        }),
    ];
    for spec in specs {
        let data = spec.and_then(|spec| spec.open()).expect("valid");
        let mut seen = HashSet::new();
        for index in 0..3000 {
            assert!(seen.insert(key(&*data, index)), "{}: {index}", data.describe());
        }
        for index in 0..data.len() {
            let mut absent = Vec::new();
            data.absent_key(index, &mut absent);
            assert!(seen.insert(absent), "{}: {index}", data.describe());
        }
    }
}

#[test]
fn values_depend_on_entry_and_version_only() {
    let kv = KeyValue::new(10, 16, 100, KeyOrder::Random).expect("valid");
    let flights = Flights::new(10);
    for data in [&kv as &dyn Dataset, &flights] {
        assert_eq!(value(data, 3, 1), value(data, 3, 1));
        assert_ne!(value(data, 3, 1), value(data, 3, 2));
        assert_ne!(value(data, 3, 1), value(data, 4, 1));
    }
    let mut out = b"before".to_vec();
    kv.value(3, 1, &mut out);
    assert_eq!(out.len(), 6 + 100);
}

#[test]
fn flights_have_nineteen_columns_and_sometimes_na() {
    let flights = Flights::new(2000);
    let lines: Vec<_> = (0..2000).map(|index| value(&flights, index, 0)).collect();
    assert!(lines.iter().all(|line| line.split(',').count() == 19));
    let cancelled = lines.iter().filter(|line| line.contains(",NA,")).count();
    assert!((10..200).contains(&cancelled), "{cancelled}");
    assert!(
        value(&flights, 366 * 919, 0).starts_with("2014,1,2,"),
        "{}",
        value(&flights, 366 * 919, 0)
    );
    let leap = (365 * 3 + 31 + 28) * 919;
    assert!(
        value(&flights, leap, 0).starts_with("2016,2,29,"),
        "{}",
        value(&flights, leap, 0)
    );
}

#[test]
fn a_csv_value_is_its_line_as_it_stands() {
    let (_dir, path) = csv("a,b\r\n1,NA\r\n\"x\ny\",2\r\n");
    let data = CsvFile::open(&path, &["a".into(), "b".into()]).expect("valid");
    assert_eq!(data.len(), 2);
    assert_eq!(
        (key(&data, 0), value(&data, 0, 0)),
        (b"1/NA".to_vec(), "1,NA".to_owned())
    );
    assert_eq!(
        (key(&data, 1), value(&data, 1, 0)),
        (b"x\ny/2".to_vec(), "\"x\ny\",2".to_owned())
    );
    assert_eq!(key(&CsvFile::open(&path, &[]).expect("valid"), 1), b"0000000002");
}

#[test]
fn unusable_files_are_refused_with_the_place() {
    let refused = |text: &str, key: &str| {
        let (_dir, path) = csv(text);
        let key: Vec<String> = key.split_terminator(',').map(str::to_owned).collect();
        let error = CsvFile::open(&path, &key).expect_err("refused");
        assert!(error.file().is_some());
        error.to_string()
    };
    assert!(refused("a,b\n1,2\n", "c").contains("the columns are: a, b"));
    assert!(refused("a,b\n1,2\n1,3\n", "a").contains("rows 1 and 2 have the same key \"1\""));
    assert!(refused("a,b\n1,2\n1\n", "a").contains("line: 3"));
    assert!(refused("a,b\n", "").contains("no lines"));
    assert!(CsvFile::open(Path::new("no such file"), &[]).is_err());
}

#[test]
fn a_count_that_is_no_number_is_refused() {
    assert!(DataSpec::parse("kv:many", &[]).is_err());
    assert!(DataSpec::parse("flights:0", &[]).is_err());
    assert_eq!(
        DataSpec::parse("flights:1_000", &[]).expect("valid"),
        DataSpec::Flights { rows: 1000 }
    );
}
