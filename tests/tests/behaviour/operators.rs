//! Merge operators that cannot read what they are given harm the keys concerned only.

use std::sync::Arc;

use kodiak::core::Op;
use kodiak::{Builder, Db, Error, ErrorKind, MemoryStorage, MergeOperator, Result, Table, TableOptions, TableSchema};
use kodiak_tests::factors::small;

/// Adds digits, and looks at them only when it has to.
#[derive(Debug)]
struct Digits;

impl MergeOperator for Digits {
    fn name(&self) -> &str {
        "digits"
    }

    fn merge(&self, _key: &[u8], base: Option<&[u8]>, operands: &[&[u8]]) -> Result<Vec<u8>> {
        let mut sum = 0;
        for text in base.into_iter().chain(operands.iter().copied()) {
            let text = std::str::from_utf8(text).map_err(|_| Error::invalid_input("not a text"))?;
            sum += text
                .parse::<u64>()
                .map_err(|_| Error::invalid_input(format!("\"{text}\" is no number")))?;
        }
        Ok(sum.to_string().into_bytes())
    }
}

fn open(storage: &Arc<MemoryStorage>) -> Db {
    Builder::new(small())
        .storage(storage.clone())
        .merge_operator(Arc::new(Digits))
        .expect("a new name")
        .open("/db")
        .expect("open")
}

fn table(db: &Db, operator: &str) -> Table {
    let options = TableOptions::new().merge_operator(operator);
    db.create_table_with(operator, TableSchema::key_value(), options)
        .expect("create")
}

fn check(table: &Table) {
    assert_eq!(table.get(b"good").expect("get").as_deref(), Some(&b"7"[..]));
    for bad in [b"base".as_slice(), b"operand", b"none", b"deleted"] {
        let error = table.get(bad).expect_err("no number");
        assert!(error.to_string().contains("is no number"), "{error}");
    }
}

#[test]
fn operands_that_cannot_be_merged_stop_neither_flushes_nor_compactions() {
    let storage = Arc::new(MemoryStorage::new());
    let db = open(&storage);
    let sums = table(&db, "digits");
    let write = |key: &[u8], ops: &[(Op, &[u8])]| {
        for (op, value) in ops {
            match op {
                Op::Put => sums.put(key, value),
                Op::Delete => sums.delete(key),
                _ => sums.merge(key, value),
            }
            .expect("written");
        }
    };
    write(b"good", &[(Op::Put, b"3"), (Op::Merge, b"4")]);
    write(b"base", &[(Op::Put, b"three"), (Op::Merge, b"4")]);
    write(b"operand", &[(Op::Put, b"3"), (Op::Merge, b"four"), (Op::Merge, b"1")]);
    write(b"none", &[(Op::Merge, b"four")]);
    write(b"deleted", &[(Op::Put, b"3"), (Op::Delete, b""), (Op::Merge, b"four")]);
    check(&sums);
    db.flush().expect("flush");
    check(&sums);
    db.compact().expect("compact");
    check(&sums);
    drop(sums);
    db.close().expect("close");
    let db = open(&storage);
    let sums = db.table("digits").expect("table");
    check(&sums);
    // What is written over them is sound again.
    for key in [b"base".as_slice(), b"operand", b"none", b"deleted"] {
        sums.put(key, b"1").expect("put");
        sums.merge(key, b"1").expect("merge");
    }
    db.compact().expect("compact");
    assert!(sums.scan(..).expect("scan").all(|entry| entry.is_ok()));
    assert_eq!(sums.get(b"none").expect("get").as_deref(), Some(&b"2"[..]));
}

#[test]
fn an_operator_refuses_what_it_could_not_read_before_it_is_written() {
    let db = open(&Arc::new(MemoryStorage::new()));
    let counts = table(&db, "counter");
    let mut batch = db.batch();
    batch
        .merge(&counts, b"k", 1i64.to_le_bytes())
        .put(&counts, b"k", b"one");
    for refused in [counts.put(b"k", b"one"), counts.merge(b"k", b"one"), db.write(batch)] {
        let error = refused.expect_err("not a counter");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("8 bytes"), "{error}");
    }
    assert_eq!(counts.get(b"k").expect("get"), None);
}
