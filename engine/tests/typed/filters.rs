//! Reads with a filter, against the same rows looked at one by one.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, make_comparator};
use arrow::compute::{SortOptions, cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use kodiak::{
    Builder, Components, Db, ErrorKind, Literal, MemoryStorage, Predicate, Read, Settings, Table, TableSchema, col,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::histories::small;
use crate::model::collect;

/// A condition, and what it comes to for each row.
type Judged = (Predicate, Vec<Option<bool>>);

/// The values of a dictionary.
fn plain(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values).expect("unpacked"),
        _ => Arc::clone(column),
    }
}

fn has_order(of: &DataType) -> bool {
    !of.is_nested()
}

/// How each row of a column compares with the value in one row of it; `None` for nulls.
fn orders(column: &ArrayRef, row: usize) -> Vec<Option<Ordering>> {
    let column = plain(column);
    let compare = make_comparator(&column, &column, SortOptions::default()).expect("comparable");
    let known = |other: usize| column.is_valid(other) && column.is_valid(row);
    (0..column.len())
        .map(|other| known(other).then(|| compare(other, row)))
        .collect()
}

fn leaf(rng: &mut StdRng, rows: &RecordBatch) -> Judged {
    let index = rng.random_range(0..rows.num_columns());
    let (schema, column) = (rows.schema(), rows.column(index));
    let field = schema.field(index);
    let name = || col(field.name().as_str());
    if !has_order(field.data_type()) || rng.random_bool(0.1) {
        let nulls = (0..rows.num_rows()).map(|row| Some(column.is_null(row))).collect();
        return (name().is_null(), nulls);
    }
    let row = rng.random_range(0..rows.num_rows());
    let literal = |row: usize| Literal::new(plain(column).slice(row, 1));
    let judge = |is: fn(Ordering) -> bool| -> Vec<Option<bool>> {
        orders(column, row).into_iter().map(|order| order.map(is)).collect()
    };
    match rng.random_range(0..9) {
        0 => (name().eq(literal(row)), judge(Ordering::is_eq)),
        1 => (name().ne(literal(row)), judge(Ordering::is_ne)),
        2 => (name().lt(literal(row)), judge(Ordering::is_lt)),
        3 => (name().le(literal(row)), judge(Ordering::is_le)),
        4 => (name().gt(literal(row)), judge(Ordering::is_gt)),
        5 => (name().ge(literal(row)), judge(Ordering::is_ge)),
        6 if matches!(plain(column).data_type(), DataType::Utf8 | DataType::LargeUtf8) => {
            let texts = cast(&plain(column), &DataType::Utf8).expect("text");
            let texts = texts.as_any().downcast_ref::<StringArray>().expect("text");
            let beginning: String = match texts.is_valid(row) {
                true => texts.value(row).chars().take(rng.random_range(0..3)).collect(),
                false => String::new(),
            };
            let judged = texts.iter().map(|text| text.map(|text| text.starts_with(&beginning)));
            (name().starts_with(beginning.as_str()), judged.collect())
        }
        _ => {
            let others: Vec<usize> = (0..rng.random_range(1..4))
                .map(|_| rng.random_range(0..rows.num_rows()))
                .collect();
            let each: Vec<_> = others.iter().map(|&other| orders(column, other)).collect();
            let judged = (0..rows.num_rows()).map(|row| {
                let mut outcome = Some(false);
                for orders in &each {
                    outcome = or(outcome, orders[row].map(Ordering::is_eq));
                }
                outcome
            });
            (
                name().is_in(others.iter().map(|&other| literal(other))),
                judged.collect(),
            )
        }
    }
}

fn or(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

fn condition(rng: &mut StdRng, rows: &RecordBatch, depth: usize) -> Judged {
    if depth == 0 || rng.random_bool(0.4) {
        return leaf(rng, rows);
    }
    let (left, one) = condition(rng, rows, depth - 1);
    if rng.random_bool(0.25) {
        return (!left, one.into_iter().map(|outcome| outcome.map(|is| !is)).collect());
    }
    let (right, other) = condition(rng, rows, depth - 1);
    let both = one.into_iter().zip(other);
    match rng.random() {
        true => (left.or(right), both.map(|(one, other)| or(one, other)).collect()),
        false => {
            let not = |outcome: Option<bool>| outcome.map(|is| !is);
            let judged = both.map(|(one, other)| not(or(not(one), not(other))));
            (left.and(right), judged.collect())
        }
    }
}

/// Compares some random conditions on what `read` reads with what they come to row by row.
pub fn check(rng: &mut StdRng, read: &Read<'_>) {
    let all = collect(read.clone().batches().expect("read"));
    if all.num_rows() == 0 {
        return;
    }
    for _ in 0..6 {
        let (predicate, judged) = condition(rng, &all, 3);
        let passed: BooleanArray = judged.iter().map(|outcome| Some(*outcome == Some(true))).collect();
        let expected = filter_record_batch(&all, &passed).expect("rows");
        let filtered = read.clone().filter(predicate.clone());
        let some = |read: Read<'_>| collect(read.batches().expect("read"));
        assert_eq!(some(filtered.clone()), expected, "{predicate}");
        assert_eq!(
            some(filtered.clone().rev()).num_rows(),
            expected.num_rows(),
            "{predicate}"
        );
        let limit = rng.random_range(0..=expected.num_rows());
        let limited = some(filtered.clone().limit(limit).batch_size(rng.random_range(1..50)));
        assert_eq!(limited, expected.slice(0, limit), "{predicate}");
        let last = all.num_columns() - 1;
        let projected = some(filtered.clone().project([all.schema().field(last).name().as_str()]));
        assert_eq!(projected, expected.project(&[last]).expect("a column"), "{predicate}");
        let counted: usize = filtered
            .project(Vec::<String>::new())
            .batches()
            .expect("read")
            .map(|batch| batch.expect("batch").num_rows())
            .sum();
        assert_eq!(counted, expected.num_rows(), "{predicate}");
    }
}

/// A table `(day: int32, name: utf8, amount: int64?)`, keyed by day and name, of `days` times four rows: amounts rise with days.
fn sales(settings: Settings, days: i32) -> (Db, Table) {
    let db = Builder::new(settings)
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let columns = Schema::new(vec![
        Field::new("day", DataType::Int32, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("amount", DataType::Int64, true),
    ]);
    let schema = TableSchema::new(Arc::new(columns), &["day", "name"]).expect("valid");
    let table = db.create_table("sales", schema).expect("create");
    let days: Vec<i32> = (0..days).flat_map(|day| [day; 4]).collect();
    table.insert(&rows(&days, |day| i64::from(day) * 10)).expect("insert");
    (db, table)
}

fn rows(days: &[i32], amount: impl Fn(i32) -> i64) -> RecordBatch {
    let names: StringArray = (0..days.len())
        .map(|row| Some(["ada", "bob", "cem", "dee"][row % 4]))
        .collect();
    let amounts: Int64Array = days.iter().map(|&day| Some(amount(day))).collect();
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("day", Arc::new(Int32Array::from(days.to_vec())), false),
        ("name", Arc::new(names), false),
        ("amount", Arc::new(amounts), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("rows")
}

fn count(table: &Table, condition: Predicate) -> usize {
    collect(table.read().filter(condition).batches().expect("read")).num_rows()
}

#[test]
fn blocks_in_which_no_row_passes_are_not_read_in_any_format() {
    for format in Components::default()
        .formats()
        .iter()
        .map(|factory| factory.component.name)
    {
        let (db, table) = sales(small("skiplist", format), 4000);
        db.compact().expect("compact");
        let touched = |condition: Predicate, rows: usize| {
            let (before, stats) = (db.stats().reads.left_out_blocks, || db.stats().reads.left_out_blocks);
            assert_eq!(count(&table, condition), rows, "{format}");
            stats() - before
        };
        let all = touched(col("amount").ge(0), 16_000);
        assert_eq!(all, 0, "{format}: every block has such rows");
        let left_out = touched(col("amount").within(20_000, 20_100), 44);
        let runs = db.stats().tables[0]
            .levels
            .iter()
            .map(|level| level.runs)
            .sum::<usize>();
        assert!(
            left_out > 20,
            "{format}: {left_out} blocks of {runs} runs were left out"
        );
        assert!(touched(col("amount").is_null(), 0) > 20, "{format}");
        // By the key: what is outside of the range is not even looked at.
        assert_eq!(touched(col("day").eq(17).and(col("name").eq("bob")), 1), 0, "{format}");
    }
}

/// What tests need of a column.
trait Between {
    fn within(self, low: i64, high: i64) -> Predicate;
}

impl Between for kodiak::Column {
    fn within(self, low: i64, high: i64) -> Predicate {
        self.clone().ge(low).and(self.le(high))
    }
}

#[test]
fn a_block_that_hides_older_versions_is_read_although_no_row_in_it_passes() {
    for format in ["feather", "parquet", "orc", "row"] {
        let (db, table) = sales(small("skiplist", format), 4000);
        db.compact().expect("compact");
        let large = || col("amount").ge(39_000);
        assert_eq!(count(&table, large()), 400, "{format}");
        // Newer versions that fail, in a run of their own whose blocks all fail.
        let changed: Vec<i32> = (3950..4000).flat_map(|day| [day; 4]).collect();
        table.insert(&rows(&changed, |_| -1)).expect("insert");
        db.flush().expect("flush");
        assert_eq!(count(&table, large()), 200, "{format}: newer versions hide older ones");
        // Deletes too.
        table
            .delete_keys(&rows(&[3900, 3900, 3900, 3900], |_| 0))
            .expect("delete");
        db.flush().expect("flush");
        assert_eq!(count(&table, large()), 196, "{format}");
        // And what lies alone is left out.
        let far: Vec<i32> = (10_000..12_000).flat_map(|day| [day; 4]).collect();
        table.insert(&rows(&far, |_| -1)).expect("insert");
        db.flush().expect("flush");
        let before = db.stats().reads.left_out_blocks;
        assert_eq!(count(&table, large()), 196, "{format}");
        assert!(db.stats().reads.left_out_blocks > before + 20, "{format}");
    }
}

#[test]
fn updates_of_some_columns_are_merged_before_they_are_looked_at() {
    let db = Builder::new(small("skiplist", "feather"))
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let columns = Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Int64, true),
    ]);
    let schema = TableSchema::new(Arc::new(columns), &["id"]).expect("valid");
    let options = kodiak::TableOptions::new().merge_operator("last-non-null");
    let table = db.create_table_with("t", schema, options).expect("create");
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(0..4000));
    let numbers = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![Some(value); 4000])) };
    let both = [
        ("id", Arc::clone(&ids), false),
        ("a", numbers(1), true),
        ("b", numbers(1), true),
    ];
    table
        .insert(&RecordBatch::try_from_iter_with_nullable(both).expect("rows"))
        .expect("insert");
    db.compact().expect("compact");
    // In no run is there a row with a = 2 and b = 1.
    let some = [("id", Arc::clone(&ids), false), ("a", numbers(2), true)];
    table
        .update(&RecordBatch::try_from_iter_with_nullable(some).expect("rows"))
        .expect("update");
    for flushed in [false, true] {
        if flushed {
            db.flush().expect("flush");
        }
        assert_eq!(
            count(&table, col("a").eq(2).and(col("b").eq(1))),
            4000,
            "flushed: {flushed}"
        );
        assert_eq!(count(&table, col("a").eq(1)), 0, "flushed: {flushed}");
    }
}

#[test]
fn conditions_on_what_is_not_there_or_has_no_order_are_refused() {
    let (db, table) = sales(small("skiplist", "feather"), 10);
    let refused = |condition: Predicate| {
        let error = table.read().filter(condition).batches().expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    assert!(refused(col("amuont").eq(1)).contains("day, name, amount"));
    assert!(refused(col("day").lt(2.5)).contains("\"day\" of type Int32 cannot be compared with 2.5"));
    assert!(refused(col("day").lt(1i64 << 40)).contains("1099511627776"));
    assert!(refused(col("day").eq("soon")).contains("'soon'"));
    assert!(refused(col("amount").starts_with("1")).contains("has no beginnings"));
    assert!(refused(col("day").eq(Literal::new(Arc::new(Int32Array::from(vec![1, 2]))))).contains("2 values"));
    let mut deep = col("day").eq(1);
    for _ in 0..1500 {
        deep = !deep;
    }
    assert!(refused(deep).contains("levels"));
    // Null is neither equal nor unequal, and no list with it says no.
    assert_eq!(count(&table, col("day").ne(None::<i32>)), 0);
    assert_eq!(count(&table, !col("day").is_in([Some(1), None])), 0);
    assert_eq!(count(&table, col("day").is_in(Vec::<i32>::new())), 0);
    assert_eq!(
        count(&table, col("day").lt("3")),
        12,
        "text is read as the column's type"
    );
    db.close().expect("close");
}

#[test]
fn key_value_tables_are_filtered_too() {
    let db = Builder::new(small("skiplist", "feather"))
        .storage(Arc::new(MemoryStorage::new()))
        .open("/db")
        .expect("open");
    let table = db.create_table("t", TableSchema::key_value()).expect("create");
    for n in 0..2000u32 {
        table.put(format!("k{n:05}"), format!("{}", n % 10)).expect("put");
    }
    db.compact().expect("compact");
    assert_eq!(count(&table, col("value").eq("3").and(col("key").ge("k01000"))), 100);
    check(&mut StdRng::seed_from_u64(1), &table.read());
}
