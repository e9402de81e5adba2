//! The rows that are written and read.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use kodiak::Result;

use crate::io;

/// Columns by name, with whether they may be null.
type Columns = Vec<(&'static str, ArrayRef, bool)>;

/// A kind of table.
pub struct Kind {
    /// What its figures are marked with.
    pub label: &'static str,
    pub key: &'static [&'static str],
    /// The columns that scans read.
    pub scanned: &'static [&'static str],
    columns: fn(&[u64], u64) -> Columns,
}

impl Kind {
    /// Rows with these numbers, which are in the order of the key; `version` tells versions of a row apart.
    pub fn rows(&self, numbers: &[u64], version: u64) -> Result<RecordBatch> {
        RecordBatch::try_from_iter_with_nullable((self.columns)(numbers, version)).map_err(io)
    }
}

/// A key of eight bytes.
pub const ORDERS: Kind = Kind {
    label: "",
    key: &["id"],
    scanned: &["id", "at", "amount", "name"],
    columns: orders,
};

/// A key of seven columns, two of them text, as that of the flights from New York in 2013.
pub const FLIGHTS: Kind = Kind {
    label: "flights, ",
    key: &["year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"],
    scanned: &["flight", "distance", "delay", "tailnum"],
    columns: flights,
};

fn mixed(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

fn orders(numbers: &[u64], version: u64) -> Columns {
    let (keys, mixed) = (numbers.iter().copied(), |n: u64| mixed(n ^ version));
    let at = keys.clone().map(|n| 1_700_000_000_000_000 + (n as i64) * 1000);
    let count: Int32Array = keys
        .clone()
        .map(|n| (n % 11 != 0).then(|| (mixed(n) % 1000) as i32))
        .collect();
    let text =
        |text: &dyn Fn(u64) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(keys.clone().map(text))) };
    vec![
        (
            "id",
            Arc::new(Int64Array::from_iter_values(keys.clone().map(|n| n as i64))),
            false,
        ),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(at)), false),
        (
            "amount",
            Arc::new(Float64Array::from_iter_values(
                keys.clone().map(|n| mixed(n) as f64 / 7.0),
            )),
            false,
        ),
        ("count", Arc::new(count), true),
        ("name", text(&|n| format!("name {}", mixed(n) % 5000)), false),
        ("note", text(&|n| format!("{:020}", mixed(n))), false),
        (
            "open",
            Arc::new(keys.clone().map(|n| Some(n % 3 == 0)).collect::<BooleanArray>()),
            false,
        ),
    ]
}

/// Flights of a day, and of a carrier on it.
const DAILY: u64 = 900;
const OF_CARRIER: u64 = 60;
const CARRIERS: [&str; 15] = [
    "9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN",
];

fn flights(numbers: &[u64], version: u64) -> Columns {
    let short = |of: &dyn Fn(u64) -> u64| -> ArrayRef {
        Arc::new(Int16Array::from_iter_values(numbers.iter().map(|&n| of(n) as i16)))
    };
    let byte = |of: &dyn Fn(u64) -> u64| -> ArrayRef {
        Arc::new(Int8Array::from_iter_values(numbers.iter().map(|&n| of(n) as i8)))
    };
    let text = |of: &dyn Fn(u64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(numbers.iter().map(|&n| of(n))))
    };
    let day = |n: u64| n / DAILY;
    let delay: Int16Array = numbers
        .iter()
        .map(|&n| (n % 40 != 0).then(|| (mixed(n ^ version) % 200) as i16 - 20))
        .collect();
    let distance = numbers.iter().map(|&n| (mixed(n / 7) % 2500) as f64);
    vec![
        ("year", short(&|n| 2013 + day(n) / 336), false),
        ("month", byte(&|n| 1 + day(n) / 28 % 12), false),
        ("day", byte(&|n| 1 + day(n) % 28), false),
        (
            "carrier",
            text(&|n| CARRIERS[(n % DAILY / OF_CARRIER) as usize].to_owned()),
            false,
        ),
        ("flight", short(&|n| n % OF_CARRIER * 97 + 1), false),
        (
            "origin",
            text(&|n| ["EWR", "JFK", "LGA"][(mixed(n) % 3) as usize].to_owned()),
            false,
        ),
        ("sched_dep_time", short(&|n| 500 + mixed(n) % 1800), false),
        ("delay", Arc::new(delay), true),
        ("distance", Arc::new(Float64Array::from_iter_values(distance)), false),
        ("tailnum", text(&|n| format!("N{:05}", mixed(n) % 4000)), false),
        (
            "dest",
            text(&|n| ["IAH", "MIA", "BQN", "ATL", "ORD"][(mixed(n) % 5) as usize].to_owned()),
            false,
        ),
    ]
}
