//! Conditions on rows.

mod parse;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, NullArray, StringArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kodiak_core::{Error, Result};

/// A condition on rows, for [`Read::filter`](crate::Read::filter): comparisons of columns with values, put together with
/// [`and`](Self::and), [`or`](Self::or) and [`not`](Self::not). Made from [`col`], or read from text:
///
/// ```
/// use kodiak::{Predicate, col};
/// let large = col("people").gt(100_000).and(col("city").starts_with("T").or(col("mayor").is_null()));
/// let same: Predicate = "people > 100000 and (city like 'T%' or mayor is null)".parse()?;
/// assert_eq!(large.to_string(), same.to_string());
/// # Ok::<(), kodiak::Error>(())
/// ```
///
/// As in SQL a comparison with a null, of either side, is neither true nor false, and only rows count of which the whole is
/// true. Order is that of keys: floats in total order (-0.0 before 0.0, NaN equal to itself and last), text and binary by bytes.
///
/// A value becomes one of the column's type before anything is compared, and must be exactly that: `col("n").lt(2.5)` is refused
/// if `n` is an integer. Text is read as what the column holds: `col("day").ge("2024-02-29")`.
#[derive(Debug, Clone)]
pub struct Predicate(pub(super) Arc<Node>);

#[derive(Debug)]
pub(super) enum Node {
    Compare(String, Comparison, Literal),
    In(String, Vec<Literal>),
    StartsWith(String, Literal),
    IsNull(String),
    And(Predicate, Predicate),
    Or(Predicate, Predicate),
    Not(Predicate),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }
}

impl Predicate {
    fn new(node: Node) -> Self {
        Self(Arc::new(node))
    }

    /// Both are true.
    pub fn and(self, other: Self) -> Self {
        Self::new(Node::And(self, other))
    }

    /// One of them is true, or both.
    pub fn or(self, other: Self) -> Self {
        Self::new(Node::Or(self, other))
    }

    /// It is false; neither it nor this is true where a null decides.
    #[allow(
        clippy::should_implement_trait,
        reason = "a method like its siblings, which are no operators"
    )]
    pub fn not(self) -> Self {
        Self::new(Node::Not(self))
    }
}

impl std::ops::Not for Predicate {
    type Output = Self;

    fn not(self) -> Self {
        Self::new(Node::Not(self))
    }
}

/// Reads a condition from text: comparisons `column = value` with `=`, `<>`, `!=`, `<`, `<=`, `>`, `>=`; `column in (value, ...)`,
/// `column between value and value`, `column like 'beginning%'`, `column is null`, each also with `not` as in SQL; `and`, `or`,
/// `not` and parentheses. Words mean the same in capitals. A column is a name, or any text in double quotes; a value is a number,
/// `true`, `false`, `null`, or text in single quotes, in which two of them stand for one.
///
/// # Errors
/// `InvalidInput` telling what was expected, and where.
impl FromStr for Predicate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse::parse(text)
    }
}

/// A column to compare, by its name; see [`Predicate`].
pub fn col(name: impl Into<String>) -> Column {
    Column(name.into())
}

/// A column to compare; made by [`col`].
#[derive(Debug, Clone)]
#[must_use = "a column alone is no condition"]
pub struct Column(String);

impl Column {
    fn compare(self, comparison: Comparison, value: impl Into<Literal>) -> Predicate {
        Predicate::new(Node::Compare(self.0, comparison, value.into()))
    }

    /// The column's value is this one.
    #[allow(clippy::should_implement_trait, reason = "a condition, not an answer")]
    pub fn eq(self, value: impl Into<Literal>) -> Predicate {
        self.compare(Comparison::Eq, value)
    }

    /// It is another one.
    #[allow(clippy::should_implement_trait, reason = "a condition, not an answer")]
    pub fn ne(self, value: impl Into<Literal>) -> Predicate {
        self.eq(value).not()
    }

    /// It is smaller.
    pub fn lt(self, value: impl Into<Literal>) -> Predicate {
        self.compare(Comparison::Lt, value)
    }

    /// It is smaller, or this one.
    pub fn le(self, value: impl Into<Literal>) -> Predicate {
        self.compare(Comparison::Le, value)
    }

    /// It is larger.
    pub fn gt(self, value: impl Into<Literal>) -> Predicate {
        self.compare(Comparison::Gt, value)
    }

    /// It is larger, or this one.
    pub fn ge(self, value: impl Into<Literal>) -> Predicate {
        self.compare(Comparison::Ge, value)
    }

    /// It is one of these.
    pub fn is_in<L: Into<Literal>>(self, values: impl IntoIterator<Item = L>) -> Predicate {
        Predicate::new(Node::In(self.0, values.into_iter().map(Into::into).collect()))
    }

    /// It begins so; of text and binary.
    pub fn starts_with(self, beginning: impl Into<Literal>) -> Predicate {
        Predicate::new(Node::StartsWith(self.0, beginning.into()))
    }

    /// It is null. Never itself null.
    pub fn is_null(self) -> Predicate {
        Predicate::new(Node::IsNull(self.0))
    }

    /// It is not null.
    pub fn is_not_null(self) -> Predicate {
        self.is_null().not()
    }
}

/// A value to compare with: a number, text, bytes, a boolean, `None` for null, or an array of one value, of whatever type.
#[derive(Debug, Clone)]
pub struct Literal {
    /// One value.
    pub(super) value: ArrayRef,
    /// Written in quotes.
    quoted: bool,
}

impl Literal {
    fn of(value: impl Array + 'static) -> Self {
        Self {
            value: Arc::new(value),
            quoted: false,
        }
    }

    /// A value of any type; an array without values, or with several, is refused when the condition is used.
    pub fn new(value: ArrayRef) -> Self {
        Self { value, quoted: true }
    }

    /// Text that stands for a number.
    fn number(text: &str) -> Self {
        Self::of(StringArray::from_iter_values([text]))
    }
}

macro_rules! literals {
    ($($type:ty => $array:ty),+ $(,)?) => {
        $(impl From<$type> for Literal {
            fn from(value: $type) -> Self {
                Self::of(<$array>::from(vec![value]))
            }
        })+
    };
}

literals!(
    bool => BooleanArray, i8 => Int8Array, i16 => Int16Array, i32 => Int32Array, i64 => Int64Array, u8 => UInt8Array,
    u16 => UInt16Array, u32 => UInt32Array, u64 => UInt64Array, f32 => Float32Array, f64 => Float64Array,
);

impl From<&str> for Literal {
    fn from(value: &str) -> Self {
        Self::new(Arc::new(StringArray::from_iter_values([value])))
    }
}

impl From<String> for Literal {
    fn from(value: String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<&[u8]> for Literal {
    fn from(value: &[u8]) -> Self {
        Self::new(Arc::new(BinaryArray::from_iter_values([value])))
    }
}

impl From<Vec<u8>> for Literal {
    fn from(value: Vec<u8>) -> Self {
        Self::from(value.as_slice())
    }
}

impl<L: Into<Self>> From<Option<L>> for Literal {
    fn from(value: Option<L>) -> Self {
        match value {
            Some(value) => value.into(),
            None => Self::of(NullArray::new(1)),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.len() != 1 {
            return write!(f, "<{} values>", self.value.len());
        }
        if self.value.logical_null_count() > 0 {
            return f.write_str("null");
        }
        let options = FormatOptions::default();
        let shown = ArrayFormatter::try_new(&self.value, &options).map_err(|_| fmt::Error)?;
        match self.quoted {
            true => write!(f, "'{}'", shown.value(0).to_string().replace('\'', "''")),
            false => write!(f, "{}", shown.value(0)),
        }
    }
}

struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match parse::is_plain_name(self.0) {
            true => f.write_str(self.0),
            false => write!(f, "\"{}\"", self.0.replace('"', "\"\"")),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Node::Compare(column, comparison, value) => {
                write!(f, "{} {} {value}", Name(column), comparison.sign())
            }
            Node::In(column, values) => {
                write!(f, "{} in (", Name(column))?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Node::StartsWith(column, beginning) => write!(f, "starts_with({}, {beginning})", Name(column)),
            Node::IsNull(column) => write!(f, "{} is null", Name(column)),
            Node::And(left, right) => write!(f, "({left} and {right})"),
            Node::Or(left, right) => write!(f, "({left} or {right})"),
            Node::Not(inner) => write!(f, "not ({inner})"),
        }
    }
}
