//! Numbers as people read them.

/// A rate or count with three digits: `1.23M`, `45.6k`, `789`.
pub(super) fn count(value: f64) -> String {
    match value {
        v if v >= 999.5e6 => format!("{}G", three_digits(v / 1e9)),
        v if v >= 999.5e3 => format!("{}M", three_digits(v / 1e6)),
        v if v >= 999.5 => format!("{}k", three_digits(v / 1e3)),
        v => three_digits(v),
    }
}

/// A duration of so many nanoseconds, in microseconds or what is next: `0.85 us`, `12.3 us`, `4.56 ms`, `1.20 s`.
pub(super) fn nanos(value: u64) -> String {
    match value as f64 {
        v if v >= 999.5e6 => format!("{} s", three_digits(v / 1e9)),
        v if v >= 999.5e3 => format!("{} ms", three_digits(v / 1e6)),
        v => format!("{} us", three_digits(v / 1e3)),
    }
}

/// A size: `12.3 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A factor: `1.23`.
pub(super) fn factor(value: f64) -> String {
    three_digits(value)
}

fn three_digits(value: f64) -> String {
    match value {
        v if v >= 99.95 || v == 0.0 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!([count(0.0), count(7.0), count(999.6)], ["0", "7.00", "1.00k"]);
        assert_eq!(
            [count(45_600.0), count(1_234_567.0), count(2.5e9)],
            ["45.6k", "1.23M", "2.50G"]
        );
        assert_eq!(
            [nanos(850), nanos(12_340), nanos(4_560_000), nanos(1_200_000_000)],
            ["0.85 us", "12.3 us", "4.56 ms", "1.20 s"]
        );
        assert_eq!(
            [size(0), size(512), size(1 << 20), size(300 << 30)],
            ["0 B", "512 B", "1.00 MiB", "300 GiB"]
        );
    }
}
