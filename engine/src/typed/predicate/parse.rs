//! Conditions as text.

use kodiak_core::{Error, Result};

use super::{Column, Literal, Predicate, col};

/// How deep parentheses and negations may be within each other: they are read, and later looked at, by recursion.
const DEPTH: usize = 100;
/// How many conditions a text may join: `and` and `or` are looked at by recursion too.
const CONDITIONS: usize = 1000;

/// Words that are no columns unless in double quotes.
const WORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "in",
    "between",
    "like",
    "is",
    "null",
    "true",
    "false",
    "starts_with",
];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// Without quotes.
    Word(String),
    /// In double quotes.
    Name(String),
    Text(String),
    Number(String),
    Sign(&'static str),
    End,
}

/// True if a column can be written without quotes.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|char| char.is_alphanumeric() || char == '_')
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(name))
}

pub(super) fn parse(text: &str) -> Result<Predicate> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
        conditions: 0,
        text,
    };
    let predicate = parser.any_of()?;
    match parser.peek() {
        Token::End => Ok(predicate),
        _ => Err(parser.expected("and, or, or the end")),
    }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    const SIGNS: &[&str] = &["<=", ">=", "<>", "!=", "==", "<", ">", "=", "(", ")", ","];
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (len, token) = match first {
            '\'' | '"' => {
                let (len, inner) = quoted(rest, first)
                    .ok_or_else(|| Error::invalid_input(format!("the quote at byte {at} of \"{text}\" has no end")))?;
                let token = if first == '"' { Token::Name } else { Token::Text };
                (len, token(inner))
            }
            _ if first.is_ascii_digit() || "+-.".contains(first) => {
                // Exponents have signs of their own.
                let mut before = ' ';
                let len = rest
                    .char_indices()
                    .find(|&(place, char)| {
                        let signed = matches!(before, 'e' | 'E') && "+-".contains(char);
                        before = char;
                        place > 0 && !(char.is_ascii_alphanumeric() || char == '.' || signed)
                    })
                    .map_or(rest.len(), |(place, _)| place);
                (len, Token::Number(rest[..len].to_owned()))
            }
            _ if first.is_alphabetic() || first == '_' => {
                let len = rest
                    .find(|char: char| !(char.is_alphanumeric() || char == '_'))
                    .unwrap_or(rest.len());
                (len, Token::Word(rest[..len].to_owned()))
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).ok_or_else(|| {
                    Error::invalid_input(format!(
                        "'{first}' at byte {at} of \"{text}\" means nothing in a condition"
                    ))
                })?;
                (sign.len(), Token::Sign(sign))
            }
        };
        tokens.push((at, token));
        at += len;
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

/// How long a quoted text is, and what it says; two quotes stand for one.
fn quoted(text: &str, quote: char) -> Option<(usize, String)> {
    let mut inner = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char != quote {
            inner.push(char);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            inner.push(quote);
        } else {
            return Some((at + quote.len_utf8(), inner));
        }
    }
    None
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    conditions: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn expected(&self, what: &str) -> Error {
        let at = self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at);
        Error::invalid_input(format!("{what} is expected at byte {at} of \"{}\"", self.text))
    }

    /// Takes a word if it is next.
    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(next) if next.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if *next == sign);
        self.next += usize::from(found);
        found
    }

    fn need(&mut self, sign: &str) -> Result<()> {
        match self.sign(sign) {
            true => Ok(()),
            false => Err(self.expected(&format!("'{sign}'"))),
        }
    }

    fn any_of(&mut self) -> Result<Predicate> {
        let mut left = self.all_of()?;
        while self.word("or") {
            left = left.or(self.all_of()?);
        }
        Ok(left)
    }

    fn all_of(&mut self) -> Result<Predicate> {
        let mut left = self.one()?;
        while self.word("and") {
            left = left.and(self.one()?);
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Predicate> {
        if self.depth == DEPTH || self.conditions == CONDITIONS {
            return Err(self.expected(&format!(
                "the end (no more than {DEPTH} levels, and {CONDITIONS} conditions)"
            )));
        }
        self.conditions += 1;
        if self.word("not") {
            self.depth += 1;
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(inner.not());
        }
        if self.sign("(") {
            self.depth += 1;
            let inner = self.any_of()?;
            self.depth -= 1;
            self.need(")")?;
            return Ok(inner);
        }
        if self.word("starts_with") {
            self.need("(")?;
            let column = self.column()?;
            self.need(",")?;
            let beginning = self.value()?;
            self.need(")")?;
            return Ok(column.starts_with(beginning));
        }
        let column = self.column()?;
        self.condition(column)
    }

    fn column(&mut self) -> Result<Column> {
        let column = match self.peek() {
            Token::Name(name) => col(name.as_str()),
            Token::Word(word) if is_plain_name(word) => col(word.as_str()),
            _ => return Err(self.expected("a column, 'not' or '('")),
        };
        self.next += 1;
        Ok(column)
    }

    fn condition(&mut self, column: Column) -> Result<Predicate> {
        if self.word("is") {
            let not = self.word("not");
            if !self.word("null") {
                return Err(self.expected("null"));
            }
            return Ok(if not { column.is_not_null() } else { column.is_null() });
        }
        let not = self.word("not");
        let found = if self.word("in") {
            column.is_in(self.list()?)
        } else if self.word("between") {
            let low = self.value()?;
            if !self.word("and") {
                return Err(self.expected("and"));
            }
            let high = self.value()?;
            column.clone().ge(low).and(column.le(high))
        } else if self.word("like") {
            column.starts_with(self.beginning()?)
        } else if not {
            return Err(self.expected("in, between or like"));
        } else {
            return self.comparison(column);
        };
        Ok(if not { found.not() } else { found })
    }

    fn comparison(&mut self, column: Column) -> Result<Predicate> {
        let sign = match self.peek() {
            Token::Sign(sign) if !["(", ")", ","].contains(sign) => *sign,
            _ => return Err(self.expected("=, <>, <, <=, >, >=, in, between, like or is")),
        };
        self.next += 1;
        let value = self.value()?;
        Ok(match sign {
            "<" => column.lt(value),
            "<=" => column.le(value),
            ">" => column.gt(value),
            ">=" => column.ge(value),
            "<>" | "!=" => column.ne(value),
            _ => column.eq(value),
        })
    }

    fn value(&mut self) -> Result<Literal> {
        let value = match self.peek() {
            Token::Text(text) => Literal::from(text.as_str()),
            Token::Number(text) => Literal::number(text),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Literal::from(None::<bool>),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Literal::from(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Literal::from(false),
            _ => return Err(self.expected("a number, true, false, null, or text in single quotes")),
        };
        self.next += 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Vec<Literal>> {
        self.need("(")?;
        let mut values = vec![self.value()?];
        while self.sign(",") {
            values.push(self.value()?);
        }
        self.need(")")?;
        Ok(values)
    }

    /// The pattern of a `like`, which must be a beginning.
    fn beginning(&mut self) -> Result<Literal> {
        let place = self.next;
        if let Token::Text(pattern) = self.take()
            && let Some(beginning) = pattern.strip_suffix('%')
            && !beginning.contains(['%', '_', '\\'])
        {
            return Ok(Literal::from(beginning));
        }
        self.next = place;
        Err(self.expected("a beginning like 'abc%' (for one with %, _ or \\ in it: starts_with(column, 'a_b'))"))
    }
}

#[cfg(test)]
mod tests;
