//! Sizes ("64MiB") and durations ("5s") as they are written in a settings file.

use std::time::Duration;

use kodiak_core::{Error, ErrorKind, Result};

const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const TIMES: [(&str, u64); 7] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("m", 60_000_000),
    ("ms", 1_000),
    ("us", 1),
    ("s", 1_000_000),
];

/// Reads a size such as "64MiB", "512B" or "4096" as bytes.
///
/// # Errors
/// `InvalidSettings` that lists the units.
pub fn parse_size(text: &str) -> Result<u64> {
    let (number, unit) = split(text);
    let factor = if unit.is_empty() { Some(1) } else { find(&SIZES, unit) };
    number
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidSettings,
                format!(
                    "\"{text}\" is not a size: write a whole number and one of B, KiB, MiB, GiB, TiB, such as \"64MiB\""
                ),
            )
        })
}

/// Writes a size in the largest unit that divides it.
pub fn format_size(bytes: u64) -> String {
    let (unit, factor) = SIZES
        .iter()
        .copied()
        .find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor))
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Reads a duration such as "5s", "100ms" or "30d".
///
/// # Errors
/// `InvalidSettings` that lists the units.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let (number, unit) = split(text);
    let micros = number
        .zip(find(&TIMES, unit))
        .and_then(|(number, factor)| number.checked_mul(factor));
    micros.map(Duration::from_micros).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidSettings,
            format!(
                "\"{text}\" is not a duration: write a whole number and one of us, ms, s, min, h, d, such as \"5s\""
            ),
        )
    })
}

/// Writes a duration in the largest unit that divides it; below a microsecond is dropped.
pub fn format_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    for (unit, factor) in [TIMES[0], TIMES[1], TIMES[2], TIMES[6], TIMES[4]] {
        if micros != 0 && micros.is_multiple_of(factor) {
            return format!("{}{unit}", micros / factor);
        }
    }
    if micros == 0 {
        "0s".to_owned()
    } else {
        format!("{micros}us")
    }
}

fn split(text: &str) -> (Option<u64>, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    (text[..end].replace('_', "").parse().ok(), text[end..].trim_start())
}

fn find(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_trip() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("1000B", 1000),
            ("0B", 0),
            ("3KiB", 3072),
        ] {
            assert_eq!(parse_size(text).expect("a size"), bytes);
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!(parse_size("4_096").expect("plain bytes"), 4096);
        assert_eq!(parse_size("1 KiB").expect("with a blank"), 1024);
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_units() {
        for text in [
            "",
            "MiB",
            "1.5MiB",
            "-1B",
            "5MB",
            "5 apples",
            "99999999999999999999",
            "99999999TiB",
        ] {
            let error = parse_size(text).expect_err(text);
            assert!(error.to_string().contains("KiB, MiB"), "{error}");
        }
    }

    #[test]
    fn durations_round_trip() {
        for (text, micros) in [
            ("5s", 5_000_000),
            ("30d", 2_592_000_000_000),
            ("1ms", 1_000),
            ("7us", 7),
            ("2min", 120_000_000),
        ] {
            assert_eq!(parse_duration(text).expect("a duration"), Duration::from_micros(micros));
            assert_eq!(format_duration(Duration::from_micros(micros)), text);
        }
        assert!(parse_duration("5").is_err(), "a unit is needed");
        assert!(parse_duration("5 years").is_err());
    }
}
