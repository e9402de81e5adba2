//! Parts of the text of a schema, which know where they are in it.

use kodiak::Error;

/// What cannot be understood.
#[derive(Debug)]
pub struct Problem {
    /// Where, in bytes from the beginning of the text.
    at: usize,
    what: String,
    /// The column that it is in.
    column: Option<String>,
}

impl Problem {
    /// A problem with a piece.
    pub fn at(piece: Piece<'_>, what: impl Into<String>) -> Self {
        Self {
            at: piece.at,
            what: what.into(),
            column: None,
        }
    }

    /// Of this column; the outermost one counts.
    pub fn of_column(self, column: String) -> Self {
        Self {
            column: Some(column),
            ..self
        }
    }

    /// As an error about the text.
    pub fn in_text(self, text: &str) -> Error {
        let before = text.get(..self.at).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        let character = line.chars().count() + 1;
        let place = match text.contains('\n') {
            true => format!("line {}, character {character}", before.matches('\n').count() + 1),
            false => format!("character {character}"),
        };
        let column = self.column.map(|column| format!("column \"{column}\": "));
        Error::invalid_input(format!("{place}: {}{}", column.unwrap_or_default(), self.what))
    }
}

/// The text with spaces in the place of comments, so that everything else stays where it is.
pub fn without_comments(text: &str) -> String {
    let (mut out, mut quoted, mut fresh) = (String::with_capacity(text.len()), false, true);
    let mut comment = false;
    for char in text.chars() {
        comment &= char != '\n';
        if comment {
            out.extend(std::iter::repeat_n(' ', char.len_utf8()));
            continue;
        }
        match char {
            '"' if quoted || fresh => quoted = !quoted,
            '#' if !quoted => {
                comment = true;
                out.push(' ');
                continue;
            }
            _ => {}
        }
        // A doubled quote inside of a name ends it and begins it again.
        fresh = char == '"' || matches!(char, ',' | '<' | '\n') || fresh && char.is_whitespace();
        out.push(char);
    }
    out
}

/// A word, and the bracket and the piece in the brackets that follow it, if any do.
pub type Word<'t> = (&'t str, Option<(char, Piece<'t>)>);

/// A part of the text, without spaces around it.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'t> {
    text: &'t str,
    /// Where it begins in the whole text, in bytes.
    at: usize,
}

impl<'t> Piece<'t> {
    /// All of it.
    pub fn whole(text: &'t str) -> Self {
        Self { text, at: 0 }.part(0, text.len())
    }

    /// The text.
    pub fn text(self) -> &'t str {
        self.text
    }

    /// What lies between two places of it.
    fn part(self, from: usize, to: usize) -> Self {
        let part = &self.text[from..to];
        let start = from + (part.len() - part.trim_start().len());
        Self {
            text: part.trim(),
            at: self.at + start,
        }
    }

    /// The pieces between commas and line breaks that are in no brackets; none that is empty.
    pub fn columns(self) -> Result<Vec<Self>, Problem> {
        let mut pieces = self.split(&[',', '\n'])?;
        pieces.retain(|piece| !piece.text.is_empty());
        Ok(pieces)
    }

    /// The pieces between commas that are in no brackets; none of an empty piece.
    pub fn arguments(self) -> Result<Vec<Self>, Problem> {
        match self.text.is_empty() {
            true => Ok(Vec::new()),
            false => self.split(&[',']),
        }
    }

    fn split(self, separators: &[char]) -> Result<Vec<Self>, Problem> {
        let (mut pieces, mut start) = (Vec::new(), 0);
        for (at, char) in self.outside_brackets()? {
            if separators.contains(&char) {
                pieces.push(self.part(start, at));
                start = at + 1;
            }
        }
        pieces.push(self.part(start, self.text.len()));
        Ok(pieces)
    }

    /// The characters that are in no brackets and no quotes, with their places.
    fn outside_brackets(self) -> Result<Vec<(usize, char)>, Problem> {
        let (mut found, mut open, mut quote, mut fresh) = (Vec::new(), Vec::new(), None, true);
        for (at, char) in self.text.char_indices() {
            match char {
                '"' if quote.is_some() => quote = None,
                // Anywhere else than at the beginning it is part of a name.
                '"' if fresh => quote = Some(at),
                _ if quote.is_some() => {}
                '<' | '(' => open.push((at, char)),
                '>' if matches!(open.last(), Some((_, '<'))) => drop(open.pop()),
                ')' if matches!(open.last(), Some((_, '('))) => drop(open.pop()),
                _ if open.is_empty() => found.push((at, char)),
                _ => {}
            }
            fresh = char == '"' || matches!(char, ',' | '<' | '\n') || fresh && char.is_whitespace();
        }
        let unclosed = |at: usize, what: String| {
            let piece = self.part(at, self.text.len());
            Err(Problem::at(piece, what))
        };
        match (quote, open.first()) {
            (Some(at), _) => unclosed(at, "the quote is not closed".to_owned()),
            (None, Some((at, char))) => unclosed(*at, format!("\"{char}\" is not closed; names may be put in quotes")),
            (None, None) => Ok(found),
        }
    }

    /// The name before the last colon, and what follows; no name if there is no colon.
    pub fn named(self) -> Result<(Option<String>, Self), Problem> {
        let outside = self.outside_brackets()?;
        let colon = match self.text.starts_with('"') {
            true => outside.iter().find(|(_, char)| !char.is_whitespace()),
            // A name may have colons.
            false => outside.iter().rfind(|(_, char)| *char == ':'),
        };
        let Some(&(at, char)) = colon else {
            return Ok((None, self));
        };
        let (name, rest) = (self.part(0, at), self.part(at + char.len_utf8(), self.text.len()));
        if char != ':' {
            return Err(Problem::at(
                self.part(at, self.text.len()),
                "a colon must follow the name",
            ));
        }
        let quoted = name.text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let plain = quoted.map_or_else(|| name.text.to_owned(), |text| text.replace("\"\"", "\""));
        if plain.is_empty() {
            return Err(Problem::at(
                self,
                format!("\"{}\": write COLUMN:TYPE, such as year:int16", self.text),
            ));
        }
        Ok((Some(plain), rest))
    }

    /// A word, and what is in the brackets that follow it: of these the first, and the piece between them.
    pub fn bracketed(self) -> Result<Word<'t>, Problem> {
        let Some(at) = self.text.find(['<', '(']) else {
            return Ok((self.text, None));
        };
        let open = if self.text[at..].starts_with('<') { '<' } else { '(' };
        let close = if open == '<' { '>' } else { ')' };
        // Also finds what is not closed.
        let after = self.outside_brackets()?.into_iter().find(|(place, _)| *place > at);
        if let Some((place, _)) = after {
            let rest = self.part(place, self.text.len());
            return Err(Problem::at(rest, format!("\"{}\" is too much", rest.text)));
        }
        if !self.text.ends_with(close) {
            return Err(Problem::at(
                self,
                format!("\"{}\" ends in other brackets than it begins with", self.text),
            ));
        }
        let inside = self.part(at + 1, self.text.len() - 1);
        Ok((self.text[..at].trim(), Some((open, inside))))
    }

    /// The piece without the words "not null" at its end, and whether it had them.
    pub fn not_null(self) -> (Self, bool) {
        let ended = |piece: Self, word: &str| -> Option<Self> {
            let start = piece.text.len().checked_sub(word.len())?;
            let end = piece.text.get(start..)?;
            end.eq_ignore_ascii_case(word).then(|| piece.part(0, start))
        };
        let rest = ended(self, "null").and_then(|rest| ended(rest, "not"));
        rest.map_or((self, false), |rest| (rest, true))
    }
}
