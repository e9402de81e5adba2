//! Generated rows in the shape of the flights that left New York City in 2013: nineteen columns, with NA where a flight was
//! cancelled. Keys are what identifies a flight: carrier and number, origin, and date.

use std::io::Write;

use super::{Dataset, mix};

/// Flights of one day: each has its own number.
const PER_DAY: u64 = 919;
const CARRIERS: [&str; 16] = [
    "UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX", "FL", "AS", "F9", "YV", "HA", "OO",
];
const ORIGINS: [&str; 3] = ["EWR", "JFK", "LGA"];
const DESTINATIONS: [(&str, u64); 16] = [
    ("ATL", 760),
    ("ORD", 730),
    ("LAX", 2470),
    ("BOS", 190),
    ("MCO", 944),
    ("CLT", 540),
    ("SFO", 2580),
    ("FLL", 1070),
    ("MIA", 1090),
    ("DCA", 213),
    ("DTW", 500),
    ("DFW", 1390),
    ("RDU", 430),
    ("TPA", 1010),
    ("DEN", 1620),
    ("IAH", 1410),
];

/// Rows of flights in the order of their departure.
#[derive(Debug)]
pub struct Flights {
    rows: u64,
}

impl Flights {
    /// `rows` rows, beginning with 1 January 2013.
    pub fn new(rows: u64) -> Self {
        Self { rows }
    }
}

struct Flight {
    carrier: &'static str,
    number: u64,
    origin: &'static str,
    destination: (&'static str, u64),
    date: (i64, u64, u64),
    scheduled: u64,
}

impl Flight {
    fn new(index: u64) -> Self {
        let (day, slot) = (index / PER_DAY, index % PER_DAY);
        // A flight of the timetable: the same every day.
        let random = mix(slot);
        Self {
            carrier: CARRIERS[(random % 16).min(random >> 8 & 15) as usize],
            number: 1 + 7 * slot,
            origin: ORIGINS[(random >> 16) as usize % 3],
            destination: DESTINATIONS[(random >> 24) as usize % 16],
            date: civil(day),
            // From 5:00 to 22:59, minutes.
            scheduled: 300 + slot * 1080 / PER_DAY,
        }
    }

    fn key(&self, suffix: &str, out: &mut Vec<u8>) {
        let (year, month, day) = self.date;
        let Self {
            carrier,
            number,
            origin,
            ..
        } = self;
        // Writing to a vector cannot fail.
        let _ = write!(out, "{carrier}{number}{suffix}/{origin}/{year}-{month:02}-{day:02}");
    }
}

/// The date so many days after 1 January 2013.
fn civil(days: u64) -> (i64, u64, u64) {
    let (mut year, mut left) = (2013, days);
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = 365 + u64::from(leap);
        if left < length {
            let february = 28 + u64::from(leap);
            for (month, length) in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
                .into_iter()
                .enumerate()
            {
                if left < length {
                    return (year, month as u64 + 1, left + 1);
                }
                left -= length;
            }
        }
        left -= length;
        year += 1;
    }
}

/// Minutes of a day as a clock shows them: 517 for 5:17.
fn clock(minutes: u64) -> u64 {
    let minutes = minutes % 1440;
    minutes / 60 * 100 + minutes % 60
}

impl Dataset for Flights {
    fn len(&self) -> u64 {
        self.rows
    }

    fn key(&self, index: u64, out: &mut Vec<u8>) {
        Flight::new(index).key("", out);
    }

    fn absent_key(&self, index: u64, out: &mut Vec<u8>) {
        // No flight has a letter in its number.
        Flight::new(index).key("X", out);
    }

    fn value(&self, index: u64, version: u32, out: &mut Vec<u8>) {
        let flight = Flight::new(index);
        let Flight {
            carrier,
            number,
            origin,
            destination: (destination, distance),
            scheduled,
            ..
        } = flight;
        let (year, month, day) = flight.date;
        let random = mix(mix(index) ^ u64::from(version));
        let duration = 40 + distance / 8;
        let arrival = scheduled + duration;
        let (hour, minute) = (scheduled / 60, scheduled % 60);
        let tail = 100 + mix(random) % 800;
        let _ = write!(out, "{year},{month},{day},");
        // One flight in forty is cancelled.
        if random.is_multiple_of(40) {
            let _ = write!(
                out,
                "NA,{},NA,NA,{},NA,{carrier},{number},NA",
                clock(scheduled),
                clock(arrival)
            );
            let _ = write!(out, ",{origin},{destination},NA,{distance}");
        } else {
            let delay = (random >> 8 & 63) as i64 * (random >> 16 & 3) as i64 - 10;
            let gain = (random >> 24 & 31) as i64 - 20;
            let departed = scheduled.saturating_add_signed(delay);
            let arrived = arrival.saturating_add_signed(delay + gain);
            let air = duration.saturating_add_signed(gain) - 15;
            let _ = write!(
                out,
                "{},{},{delay},{},",
                clock(departed),
                clock(scheduled),
                clock(arrived)
            );
            let _ = write!(
                out,
                "{},{},{carrier},{number},N{tail}{carrier}",
                clock(arrival),
                delay + gain
            );
            let _ = write!(out, ",{origin},{destination},{air},{distance}");
        }
        let _ = write!(out, ",{hour},{minute},{year}-{month:02}-{day:02}T{hour:02}:00:00Z");
    }

    fn describe(&self) -> String {
        format!(
            "{} generated flights, keyed by carrier, number, origin and date",
            self.rows
        )
    }
}
