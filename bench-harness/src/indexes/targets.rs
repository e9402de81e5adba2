//! What the indexes should reach, as ratios between rows.

use std::fmt;

use super::Row;

/// A ratio, and what it should be.
#[derive(Debug, Clone)]
pub struct Target {
    /// What is compared.
    pub what: String,
    /// As measured, by time.
    pub ratio: f64,
    /// The same by time on a processor, for what is a ratio of times.
    pub busy: Option<f64>,
    /// The least, or the most, that is aimed at.
    pub aim: Aim,
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Nothing in particular.
    Shown,
}

impl Target {
    /// True if it is reached.
    pub fn holds(&self) -> bool {
        match self.aim {
            Aim::AtLeast(least) => self.ratio >= least,
            Aim::AtMost(most) => self.ratio <= most,
            Aim::Shown => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aim = match self.aim {
            Aim::AtLeast(least) => format!("at least {least}: {}", if self.holds() { "reached" } else { "MISSED" }),
            Aim::AtMost(most) => format!("at most {most}: {}", if self.holds() { "reached" } else { "MISSED" }),
            Aim::Shown => "shown".to_owned(),
        };
        let busy = self
            .busy
            .map_or_else(String::new, |busy| format!(" ({busy:.2} of processor time)"));
        write!(f, "{:66} {:7.2}{busy}, {aim}", self.what, self.ratio)
    }
}

/// The targets of the indexes that `rows` can answer.
pub fn targets(rows: &[Row]) -> Vec<Target> {
    let find = |index: &str, times: usize, work: &str| {
        rows.iter()
            .find(|row| row.index == index && row.times == times && row.work == work)
    };
    let mut targets = Vec::new();
    let mut compare = |what: String, over: Option<&Row>, under: Option<&Row>, aim: Aim| {
        if let (Some(over), Some(under)) = (over, under) {
            let busy = (over.busy > 0.0 && under.busy > 0.0).then(|| over.busy / under.busy);
            targets.push(Target {
                what,
                ratio: over.nanos / under.nanos,
                busy,
                aim,
            });
        }
    };
    let mut sizes: Vec<usize> = rows.iter().map(|row| row.times).filter(|times| *times > 0).collect();
    sizes.dedup();
    for &times in &sizes {
        let (insert, sorted) = ("random inserts", "sorted inserts");
        let aim = if times >= 16 { Aim::AtLeast(8.0) } else { Aim::Shown };
        compare(
            format!("{times}x: bplus over fractal, random inserts"),
            find("bplus", times, insert),
            find("fractal", times, insert),
            aim,
        );
        compare(
            format!("{times}x: fractal over bplus, sorted inserts"),
            find("fractal", times, sorted),
            find("bplus", times, sorted),
            Aim::AtMost(1.5),
        );
        compare(
            format!("{times}x: fractal over bplus, point reads"),
            find("fractal", times, "point reads"),
            find("bplus", times, "point reads"),
            Aim::Shown,
        );
        compare(
            format!("{times}x: fractal, upserts over inserts"),
            find("fractal", times, "upserts"),
            find("fractal", times, insert),
            Aim::AtMost(1.5),
        );
    }
    for index in ["bplus", "fractal"] {
        compare(
            format!("in memory: {index} over BTreeMap, point reads"),
            find(index, 0, "point reads"),
            find("BTreeMap", 0, "point reads"),
            Aim::AtMost(2.0),
        );
    }
    for &times in &sizes {
        if let (Some(bplus), Some(fractal)) = (
            find("bplus", times, "random inserts"),
            find("fractal", times, "random inserts"),
        ) {
            targets.push(Target {
                what: format!("{times}x: bytes written by bplus over fractal, random inserts"),
                ratio: bplus.written / fractal.written,
                busy: None,
                aim: if times >= 16 { Aim::AtLeast(8.0) } else { Aim::Shown },
            });
        }
    }
    targets
}
