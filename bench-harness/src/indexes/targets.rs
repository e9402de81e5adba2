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
        self.aim.is_met_by(self.ratio)
    }

    /// True if there is something to reach.
    pub fn is_aimed_at(&self) -> bool {
        !matches!(self.aim, Aim::Shown)
    }

    /// True if the ratio of time on a processor reaches the aim; for what is no ratio of times, as [`holds`](Self::holds).
    fn holds_busy(&self) -> bool {
        self.aim.is_met_by(self.busy.unwrap_or(self.ratio))
    }
}

impl Aim {
    fn is_met_by(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
            Self::Shown => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match (self.holds(), self.holds_busy()) {
            (true, _) => "reached",
            (false, true) => "MISSED (reached in processor time)",
            (false, false) => "MISSED",
        };
        let aim = match self.aim {
            Aim::AtLeast(least) => format!("at least {least}: {outcome}"),
            Aim::AtMost(most) => format!("at most {most}: {outcome}"),
            Aim::Shown => "shown".to_owned(),
        };
        let busy = self
            .busy
            .map_or_else(String::new, |busy| format!(" ({busy:.2} of processor time)"));
        write!(f, "{:66} {:7.2}{busy}, {aim}", self.what, self.ratio)
    }
}

/// How many aims are reached, in a line.
pub fn summary(targets: &[Target]) -> String {
    let aims: Vec<_> = targets.iter().filter(|target| target.is_aimed_at()).collect();
    let count = |holds: fn(&Target) -> bool| aims.iter().filter(|target| holds(target)).count();
    format!(
        "{} of {} aims reached; in processor time, which other programs disturb less, {}",
        count(Target::holds),
        aims.len(),
        count(Target::holds_busy)
    )
}

/// The targets of the indexes that `rows` can answer.
pub fn targets(rows: &[Row]) -> Vec<Target> {
    let find = |index: &str, times: usize, work: &str| {
        rows.iter()
            .find(|row| row.index == index && row.times == times && row.work == work)
    };
    let mut targets = Vec::new();
    let mut compare = |what: String, over: Option<&Row>, under: &[Option<&Row>], aim: Aim| {
        let under: Option<Vec<&Row>> = under.iter().copied().collect();
        if let (Some(over), Some(under)) = (over, under) {
            let sum = |of: fn(&Row) -> f64| under.iter().map(|row| of(row)).sum::<f64>();
            let (nanos, busy) = (sum(|row| row.nanos), sum(|row| row.busy));
            targets.push(Target {
                what,
                ratio: over.nanos / nanos,
                busy: (over.busy > 0.0 && busy > 0.0).then(|| over.busy / busy),
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
            &[find("fractal", times, insert)],
            aim,
        );
        compare(
            format!("{times}x: fractal over bplus, sorted inserts"),
            find("fractal", times, sorted),
            &[find("bplus", times, sorted)],
            Aim::AtMost(1.5),
        );
        compare(
            format!("{times}x: fractal over bplus, point reads"),
            find("fractal", times, "point reads"),
            &[find("bplus", times, "point reads")],
            Aim::Shown,
        );
        compare(
            format!("{times}x: fractal, upserts over inserts"),
            find("fractal", times, "upserts"),
            &[find("fractal", times, insert)],
            Aim::AtMost(1.5),
        );
        compare(
            format!("{times}x: fractal, read-modify-writes over a point read and an insert"),
            find("fractal", times, "read-modify-writes"),
            &[find("fractal", times, "point reads"), find("fractal", times, insert)],
            Aim::AtMost(1.5),
        );
    }
    compare(
        "in memory: fractal over bplus, point reads".to_owned(),
        find("fractal", 0, "point reads"),
        &[find("bplus", 0, "point reads")],
        Aim::AtLeast(1.0),
    );
    for index in ["bplus", "fractal"] {
        compare(
            format!("in memory: {index} over BTreeMap, point reads"),
            find(index, 0, "point reads"),
            &[find("BTreeMap", 0, "point reads")],
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
    let crossovers = sizes.iter().filter_map(|&times| crossover(rows, times));
    targets.extend(crossovers);
    targets
}

/// With how many point reads for each random insert both indexes take the same time: with more, the B+ tree is ahead.
fn crossover(rows: &[Row], times: usize) -> Option<Target> {
    let nanos = |index: &str, work: &str| {
        let mut rows = rows.iter();
        let row = rows.find(|row| row.index == index && row.times == times && row.work == work);
        row.map(|row| row.nanos)
    };
    let dearer = |work| Some(nanos("bplus", work)? - nanos("fractal", work)?);
    let (inserts, reads) = (dearer("random inserts")?, -dearer("point reads")?);
    let (what, ratio) = match (inserts > 0.0, reads > 0.0) {
        (true, true) => (
            "point reads per random insert above which bplus is ahead",
            inserts / reads,
        ),
        (false, false) => (
            "random inserts per point read above which bplus is ahead",
            reads / inserts,
        ),
        (true, false) => (
            "fractal is ahead whatever the share of reads; of inserts by ns",
            inserts,
        ),
        (false, true) => ("bplus is ahead whatever the share of reads; of reads by ns", reads),
    };
    Some(Target {
        what: format!("{times}x: {what}"),
        ratio,
        busy: None,
        aim: Aim::Shown,
    })
}
