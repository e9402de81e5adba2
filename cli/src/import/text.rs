//! Files that are taken for CSV or JSON lines, and are something else.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kodiak::{Error, Result};

use super::input::Input;

const UTF_16: &str = "it is UTF-16: convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)";
const UTF_32: &str = "it is UTF-32: convert it to UTF-8 first (iconv -f UTF-32 -t UTF-8)";

/// What files begin with that are taken for text by mistake, and what to do about them.
const NO_TEXT: [(&[u8], &str); 9] = [
    (b"\x1f\x8b", "it is compressed with gzip: decompress it first (gunzip)"),
    (b"PK\x03\x04", "it is a ZIP archive: unpack it first (unzip)"),
    (
        b"\x28\xb5\x2f\xfd",
        "it is compressed with Zstandard: decompress it first (unzstd)",
    ),
    (b"BZh", "it is compressed with bzip2: decompress it first (bunzip2)"),
    (b"\xfd7zXZ\0", "it is compressed with xz: decompress it first (unxz)"),
    (b"\xff\xfe\0\0", UTF_32),
    (b"\0\0\xfe\xff", UTF_32),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
];

/// The same of formats that can be imported.
const OTHER_FORMATS: [(&[u8], &str); 2] = [
    (b"PAR1", "it is a Parquet file: say --format parquet"),
    (b"ARROW1", "it is a Feather file: say --format feather"),
];

/// Checks that what is imported as text can be text.
///
/// # Errors
/// `InvalidInput` with what it is, and what to do about it; `NotFound`, `Io`.
pub fn check(input: &Input) -> Result<()> {
    check_head(input.path(), input.name(), &[&NO_TEXT, &OTHER_FORMATS])
}

/// Checks that a file is neither compressed nor text in another encoding than UTF-8.
///
/// # Errors
/// As [`check`].
pub fn check_plain(file: &Path) -> Result<()> {
    check_head(file, file, &[&NO_TEXT])
}

fn check_head(path: &Path, name: &Path, known: &[&[(&[u8], &'static str)]]) -> Result<()> {
    let failed = |error| Error::io("read the rows", name, error);
    let (mut file, mut head) = (File::open(path).map_err(failed)?, Vec::new());
    (&mut file).take(8).read_to_end(&mut head).map_err(failed)?;
    let mut known = known.iter().copied().flatten();
    let what = known.find(|(magic, _)| head.starts_with(magic));
    match what.map(|(_, what)| *what).or_else(|| unmarked(&head)) {
        Some(what) => Err(Error::invalid_input(what).with_file(name)),
        None => Ok(()),
    }
}

/// What text is that has no mark of its encoding, and zeros in the place of every other byte of its first characters.
fn unmarked(head: &[u8]) -> Option<&'static str> {
    match head {
        [0, a, 0, b, ..] if *a != 0 && *b != 0 => {
            Some("it is UTF-16: convert it to UTF-8 first (iconv -f UTF-16BE -t UTF-8)")
        }
        [a, 0, b, 0, ..] if *a != 0 && *b != 0 => {
            Some("it is UTF-16: convert it to UTF-8 first (iconv -f UTF-16LE -t UTF-8)")
        }
        _ => None,
    }
}
