//! Keys and values as text: escaped, hexadecimal, or JSON.

use std::fmt::Write;

use clap::Args;
use kodiak::{Error, Result};

/// How keys and values are written on the command line.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Encoding {
    /// Keys and values are hexadecimal digits (by default: text in which \xNN is a byte and \\ a backslash)
    #[arg(long)]
    pub hex: bool,
}

impl Encoding {
    /// The bytes that the user meant.
    ///
    /// # Errors
    /// `InvalidInput` saying what is wrong with the text.
    pub fn parse(self, text: &str) -> Result<Vec<u8>> {
        if self.hex { from_hex(text) } else { unescape(text) }
    }

    /// The bytes as text that [`parse`](Self::parse) reads.
    pub fn show(self, bytes: &[u8], out: &mut String) {
        if self.hex {
            to_hex(bytes, out)
        } else {
            escape(bytes, out)
        }
    }
}

/// Printable text as it is, `\\` for a backslash, `\xNN` for everything else.
fn escape(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                _ if char.is_control() => escape_bytes(char.encode_utf8(&mut [0; 4]).as_bytes(), out),
                _ => out.push(char),
            }
        }
        escape_bytes(chunk.invalid(), out);
    }
}

fn escape_bytes(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let behind = &rest[at + 1..];
        let (byte, taken) = match behind.as_bytes() {
            [b'\\', ..] => (b'\\', 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'x', high, low, ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => return Err(bad_escape(text)),
            },
            _ => return Err(bad_escape(text)),
        };
        out.push(byte);
        rest = &behind[taken..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn bad_escape(text: &str) -> Error {
    Error::invalid_input(format!(
        "\"{text}\": behind a backslash comes x and two hexadecimal digits, n, r, t, or another backslash; or use --hex"
    ))
}

fn digit(char: u8) -> Option<u8> {
    char::from(char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Appends bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
}

/// The bytes of hexadecimal digits.
///
/// # Errors
/// `InvalidInput`.
pub fn from_hex(text: &str) -> Result<Vec<u8>> {
    let refuse = || Error::invalid_input(format!("\"{text}\": --hex takes an even number of hexadecimal digits"));
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(refuse());
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect::<Option<_>>()
        .ok_or_else(refuse)
}

/// A JSON string if the bytes are text, else `{"hex": "..."}`.
pub fn to_json(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let mut hex = String::new();
            to_hex(bytes, &mut hex);
            serde_json::json!({ "hex": hex })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Encoding = Encoding { hex: false };
    const HEX: Encoding = Encoding { hex: true };

    #[test]
    fn what_is_shown_can_be_typed_again() {
        let all: Vec<u8> = (0..=255).collect();
        let samples = [
            b"plain".as_slice(),
            b"",
            "caf\u{e9} \u{2028}\u{85}".as_bytes(),
            b"a\\x41\n\t\0",
            &all,
        ];
        for sample in samples {
            for encoding in [TEXT, HEX] {
                let mut shown = String::new();
                encoding.show(sample, &mut shown);
                assert!(!shown.contains(['\n', '\0']), "{shown:?}");
                assert_eq!(encoding.parse(&shown).expect("shown"), sample, "{shown}");
            }
        }
    }

    #[test]
    fn text_is_shown_as_it_is_and_bytes_are_escaped() {
        let mut shown = String::new();
        TEXT.show(b"a \\ \xff \x01 \xc3\xa9", &mut shown);
        assert_eq!(shown, "a \\\\ \\xff \\x01 \u{e9}");
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["\\", "\\q", "\\x", "\\x4", "\\xg0", "a\\x\u{e9}b"] {
            assert!(TEXT.parse(text).is_err(), "{text}");
        }
        for text in ["0", "0g", "\u{e9}", " 00 "] {
            assert!(HEX.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_is_text_where_it_can_be() {
        assert_eq!(to_json(b"a\"b"), serde_json::json!("a\"b"));
        assert_eq!(to_json(b"\xff\x00"), serde_json::json!({"hex": "ff00"}));
    }
}
