//! Values of systemd properties in GVariant's text format, as annotations have them.
//!
//! The format is glib's ("GVariant Text Format"); dictionaries, nested variants and maybe-types are in no property
//! of a scope and are refused.

use serde::{Serialize, Serializer};
use std::fmt::{self, Display, Formatter};

/// Nesting of arrays and tuples.
const DEEPEST: usize = 8;

/// A typed value, as D-Bus has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    /// Finite.
    Double(f64),
    Text(Kind, String),
    /// The elements' signature, and the elements.
    Array(String, Vec<Value>),
    Tuple(Vec<Value>),
}

/// The types that are written as a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    String,
    ObjectPath,
    Signature,
}

// A double is finite.
impl Eq for Value {}

/// Names of types in front of a value, and their signatures.
const KEYWORDS: [(&str, char); 12] = [
    ("boolean", 'b'),
    ("byte", 'y'),
    ("int16", 'n'),
    ("uint16", 'q'),
    ("int32", 'i'),
    ("uint32", 'u'),
    ("int64", 'x'),
    ("uint64", 't'),
    ("double", 'd'),
    ("string", 's'),
    ("objectpath", 'o'),
    ("signature", 'g'),
];

/// What is written, before its type is known.
#[derive(Debug)]
enum Node {
    Bool(bool),
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Node>),
    Tuple(Vec<Node>),
    Typed(String, Box<Node>),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(Kind::String, text.into())
    }

    pub fn bytes(bytes: &[u8]) -> Value {
        Value::Array("y".into(), bytes.iter().copied().map(Value::Byte).collect())
    }

    /// Reads the text format.
    pub fn parse(text: &str) -> Result<Value, String> {
        let mut parser = Parser { rest: text.trim_start() };
        let node = parser.node(0)?;
        if !parser.rest.is_empty() {
            return Err(format!("unexpected {:?}", parser.rest));
        }
        node.typed(&node.signature()?)
    }

    /// A number of seconds; `None` for anything else and for those that do not fit.
    pub fn in_microseconds(&self) -> Option<Value> {
        const SECOND: u64 = 1_000_000;
        let whole = match *self {
            Value::Byte(n) => n.into(),
            Value::U16(n) => n.into(),
            Value::U32(n) => n.into(),
            Value::U64(n) => n,
            Value::I16(n) => n.try_into().ok()?,
            Value::I32(n) => n.try_into().ok()?,
            Value::I64(n) => n.try_into().ok()?,
            Value::Double(n) => {
                let micro = n * SECOND as f64;
                return (0.0..u64::MAX as f64).contains(&micro).then_some(Value::U64(micro as u64));
            }
            _ => return None,
        };
        whole.checked_mul(SECOND).map(Value::U64)
    }

    /// The D-Bus signature.
    pub fn signature(&self) -> String {
        match self {
            Value::Bool(_) => "b".into(),
            Value::Byte(_) => "y".into(),
            Value::I16(_) => "n".into(),
            Value::U16(_) => "q".into(),
            Value::I32(_) => "i".into(),
            Value::U32(_) => "u".into(),
            Value::I64(_) => "x".into(),
            Value::U64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::Text(Kind::String, _) => "s".into(),
            Value::Text(Kind::ObjectPath, _) => "o".into(),
            Value::Text(Kind::Signature, _) => "g".into(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Tuple(fields) => format!("({})", fields.iter().map(Value::signature).collect::<String>()),
        }
    }
}

impl Node {
    /// The type by what is written; numbers are int32 and double unless they say otherwise.
    fn signature(&self) -> Result<String, String> {
        Ok(match self {
            Node::Bool(_) => "b".into(),
            Node::Number(text) => if is_whole(text) { "i" } else { "d" }.into(),
            Node::Text(_) => "s".into(),
            Node::Bytes(_) => "ay".into(),
            Node::Typed(signature, _) => signature.clone(),
            Node::Array(nodes) => format!("a{}", element_signature(nodes)?),
            Node::Tuple(nodes) => {
                format!("({})", nodes.iter().map(Node::signature).collect::<Result<String, _>>()?)
            }
        })
    }

    fn typed(&self, signature: &str) -> Result<Value, String> {
        let misfit = || format!("{} is not of type {signature}", self.shown());
        match self {
            Node::Typed(own, node) if own == signature => node.typed(own),
            Node::Bool(value) if signature == "b" => Ok(Value::Bool(*value)),
            Node::Number(text) => number(text, signature).ok_or_else(misfit),
            Node::Text(text) => {
                let kind = match signature {
                    "s" => Kind::String,
                    "o" if is_object_path(text) => Kind::ObjectPath,
                    "g" if text.bytes().all(|c| b"ybnqiuxtdsogvah(){}".contains(&c)) => Kind::Signature,
                    _ => return Err(misfit()),
                };
                Ok(Value::Text(kind, text.clone()))
            }
            Node::Bytes(bytes) if signature == "ay" => Ok(Value::bytes(bytes)),
            Node::Array(nodes) => {
                let element = signature.strip_prefix('a').ok_or_else(misfit)?;
                let values = nodes.iter().map(|n| n.typed(element)).collect::<Result<_, _>>()?;
                Ok(Value::Array(element.into(), values))
            }
            Node::Tuple(nodes) => {
                let inner = signature.strip_prefix('(').and_then(|s| s.strip_suffix(')')).ok_or_else(misfit)?;
                let types = single_types(inner).filter(|types| types.len() == nodes.len()).ok_or_else(misfit)?;
                let fields = nodes.iter().zip(types).map(|(n, t)| n.typed(t)).collect::<Result<_, _>>()?;
                Ok(Value::Tuple(fields))
            }
            Node::Bool(_) | Node::Bytes(_) | Node::Typed(..) => Err(misfit()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Node::Bool(value) => value.to_string(),
            Node::Number(text) => text.clone(),
            Node::Text(text) => format!("{text:?}"),
            Node::Bytes(_) => "a byte string".into(),
            Node::Array(_) => "an array".into(),
            Node::Tuple(_) => "a tuple".into(),
            Node::Typed(signature, _) => format!("a value of type {signature}"),
        }
    }
}

/// All elements have one type: that of one which names it, or else of the widest.
fn element_signature(nodes: &[Node]) -> Result<String, String> {
    let names_it = nodes.iter().find(|n| matches!(n, Node::Typed(..)));
    let double = nodes.iter().find(|n| matches!(n, Node::Number(text) if !is_whole(text)));
    match names_it.or(double).or(nodes.first()) {
        Some(node) => node.signature(),
        None => Err("an empty array needs a type, such as @as []".into()),
    }
}

fn is_whole(text: &str) -> bool {
    text.contains(['x', 'X']) || !text.contains(['.', 'e', 'E'])
}

fn number(text: &str, signature: &str) -> Option<Value> {
    if signature == "d" {
        return text.parse().ok().filter(|n: &f64| n.is_finite()).map(Value::Double);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => i128::from_str_radix(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    let value = if negative { -magnitude.ok()? } else { magnitude.ok()? };
    match signature {
        "y" => value.try_into().ok().map(Value::Byte),
        "n" => value.try_into().ok().map(Value::I16),
        "q" => value.try_into().ok().map(Value::U16),
        "i" => value.try_into().ok().map(Value::I32),
        "u" => value.try_into().ok().map(Value::U32),
        "x" => value.try_into().ok().map(Value::I64),
        "t" => value.try_into().ok().map(Value::U64),
        _ => None,
    }
}

/// As the D-Bus specification has it ("Valid Object Paths").
fn is_object_path(text: &str) -> bool {
    let element = |e: &str| !e.is_empty() && e.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(element))
}

/// `us(ay)` as `u`, `s` and `(ay)`; `None` if it is no signature of known types.
fn single_types(signature: &str) -> Option<Vec<&str>> {
    let mut types = Vec::new();
    let mut rest = signature;
    while !rest.is_empty() {
        let (one, after) = rest.split_at(single_type(rest, 0)?);
        types.push(one);
        rest = after;
    }
    Some(types)
}

/// The length of the first type.
fn single_type(signature: &str, depth: usize) -> Option<usize> {
    match signature.bytes().next().filter(|_| depth <= DEEPEST)? {
        b'a' => Some(1 + single_type(&signature[1..], depth + 1)?),
        b'(' => {
            let mut at = 1;
            while !signature[at..].starts_with(')') {
                at += single_type(&signature[at..], depth + 1)?;
            }
            (at > 1).then_some(at + 1)
        }
        c => KEYWORDS.iter().any(|(_, letter)| *letter == char::from(c)).then_some(1),
    }
}

/// Every method leaves the rest without leading blanks.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn node(&mut self, depth: usize) -> Result<Node, String> {
        if depth > DEEPEST {
            return Err("is nested too deeply".into());
        }
        match self.rest.chars().next() {
            None => Err("a value is missing".into()),
            Some('\'' | '"') => self.string().map(Node::Text),
            Some('[') => self.list(']', depth).map(Node::Array),
            Some('(') => self.list(')', depth).map(Node::Tuple),
            Some('@') => {
                let signature = self.word(|c| c != ' ')[1..].to_string();
                if single_type(&signature, 0) != Some(signature.len()) {
                    return Err(format!("@{signature} is not a type"));
                }
                Ok(Node::Typed(signature, Box::new(self.node(depth + 1)?)))
            }
            Some('b') if self.rest[1..].starts_with(['\'', '"']) => {
                self.rest = &self.rest[1..];
                let mut bytes = self.string()?.into_bytes();
                // As in C, and so in GVariant.
                bytes.push(0);
                Ok(Node::Bytes(bytes))
            }
            Some('+' | '-' | '.' | '0'..='9') => {
                Ok(Node::Number(self.word(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)).into()))
            }
            Some(_) => self.keyword(depth),
        }
    }

    fn keyword(&mut self, depth: usize) -> Result<Node, String> {
        let word = self.word(|c| c.is_ascii_alphanumeric());
        match word {
            "true" | "false" => return Ok(Node::Bool(word == "true")),
            _ => {}
        }
        match KEYWORDS.iter().find(|(name, _)| *name == word) {
            Some((_, letter)) => Ok(Node::Typed((*letter).into(), Box::new(self.node(depth + 1)?))),
            None if word.is_empty() => Err(format!("unexpected {:?}", self.rest)),
            None => Err(format!("{word} is neither a type nor a value; a string stands in quotes")),
        }
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn skip(&mut self, c: char) -> bool {
        let after = self.rest.strip_prefix(c);
        self.rest = after.map_or(self.rest, str::trim_start);
        after.is_some()
    }

    /// The bracket that opens it is still there.
    fn list(&mut self, end: char, depth: usize) -> Result<Vec<Node>, String> {
        self.rest = self.rest[1..].trim_start();
        let mut nodes = Vec::new();
        while !self.skip(end) {
            nodes.push(self.node(depth + 1)?);
            if !self.skip(',') && !self.rest.starts_with(end) {
                return Err(format!("{end:?} is missing"));
            }
        }
        if end == ')' && nodes.is_empty() {
            return Err("an empty tuple has no type in D-Bus".into());
        }
        Ok(nodes)
    }

    fn string(&mut self) -> Result<String, String> {
        let mut chars = self.rest.chars();
        let quote = chars.next();
        let mut text = String::new();
        loop {
            match chars.next() {
                None => return Err("the closing quote is missing".into()),
                c if c == quote => break,
                Some('\\') => text.extend(escape(&mut chars)?),
                Some('\0') => return Err("a string cannot have a NUL".into()),
                Some(c) => text.push(c),
            }
        }
        self.rest = chars.as_str().trim_start();
        Ok(text)
    }
}

/// What stands behind a backslash; `None` for a line that goes on.
fn escape(chars: &mut std::str::Chars) -> Result<Option<char>, String> {
    let bad = || "a bad escape in a string".to_string();
    match chars.next().ok_or_else(bad)? {
        'u' => code(chars, 4).ok_or_else(bad).map(Some),
        'U' => code(chars, 8).ok_or_else(bad).map(Some),
        '\n' => Ok(None),
        'a' => Ok(Some('\u{7}')),
        'b' => Ok(Some('\u{8}')),
        'f' => Ok(Some('\u{c}')),
        'n' => Ok(Some('\n')),
        'r' => Ok(Some('\r')),
        't' => Ok(Some('\t')),
        'v' => Ok(Some('\u{b}')),
        other => Ok(Some(other)),
    }
}

/// A character by its number in hexadecimal digits.
fn code(chars: &mut std::str::Chars, length: usize) -> Option<char> {
    let digits: String = chars.take(length).collect();
    let hex = digits.len() == length && digits.bytes().all(|c| c.is_ascii_hexdigit());
    let number = u32::from_str_radix(&digits, 16).ok().filter(|n| hex && *n != 0)?;
    char::from_u32(number)
}

impl Display for Value {
    /// In the text format, with the types that would not be understood without.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Byte(n) => write!(f, "byte 0x{n:02x}"),
            Value::I16(n) => write!(f, "int16 {n}"),
            Value::U16(n) => write!(f, "uint16 {n}"),
            Value::I32(n) => write!(f, "{n}"),
            Value::U32(n) => write!(f, "uint32 {n}"),
            Value::I64(n) => write!(f, "int64 {n}"),
            Value::U64(n) => write!(f, "uint64 {n}"),
            Value::Double(n) => write!(f, "{n:?}"),
            Value::Text(kind, text) => {
                let word = match kind {
                    Kind::String => "",
                    Kind::ObjectPath => "objectpath ",
                    Kind::Signature => "signature ",
                };
                write!(f, "{word}'{}'", text.escape_debug())
            }
            Value::Array(element, values) if values.is_empty() => write!(f, "@a{element} []"),
            Value::Array(_, values) => list(f, '[', values, ']'),
            Value::Tuple(values) => list(f, '(', values, ')'),
        }
    }
}

fn list(f: &mut Formatter<'_>, open: char, values: &[Value], close: char) -> fmt::Result {
    write!(f, "{open}")?;
    for (index, value) in values.iter().enumerate() {
        write!(f, "{}{value}", if index > 0 { ", " } else { "" })?;
    }
    write!(f, "{close}")
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_type() {
        for (text, signature, shown) in [
            ("true", "b", "true"),
            (" false ", "b", "false"),
            ("5", "i", "5"),
            ("-0x10", "i", "-16"),
            ("010", "i", "8"),
            ("uint64 123", "t", "uint64 123"),
            ("uint64 18446744073709551615", "t", "uint64 18446744073709551615"),
            ("int64 -5", "x", "int64 -5"),
            ("uint32  7", "u", "uint32 7"),
            ("uint16 7", "q", "uint16 7"),
            ("int16 7", "n", "int16 7"),
            ("byte 255", "y", "byte 0xff"),
            ("1.5", "d", "1.5"),
            ("double 2", "d", "2.0"),
            ("'a b'", "s", "'a b'"),
            ("\"it's\"", "s", "'it\\'s'"),
            ("'it\\'s\\n\\u00e4'", "s", "'it\\'s\\nä'"),
            ("objectpath '/a/b'", "o", "objectpath '/a/b'"),
            ("@g 'a(sv)'", "g", "signature 'a(sv)'"),
            ("['a', 'b']", "as", "['a', 'b']"),
            ("[ 'a' , ]", "as", "['a']"),
            ("@as []", "as", "@as []"),
            ("[1, uint64 2]", "at", "[uint64 1, uint64 2]"),
            ("[1, 2.5]", "ad", "[1.0, 2.5]"),
            ("b'ab'", "ay", "[byte 0x61, byte 0x62, byte 0x00]"),
            ("[('a', uint64 1)]", "a(st)", "[('a', uint64 1)]"),
            ("@a(st) [('a', 1)]", "a(st)", "[('a', uint64 1)]"),
        ] {
            let value = Value::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((value.signature().as_str(), value.to_string().as_str()), (signature, shown), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for text in ["uint64 5", "['a', 'it\\'s']", "[(1, byte 0x02)]", "@a(ss) []", "1.5", "'\\u{7f}'"] {
            let value = Value::parse(text);
            if let Ok(value) = value {
                assert_eq!(Value::parse(&value.to_string()).as_ref(), Ok(&value));
            }
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (text, message) in [
            ("", "a value is missing"),
            ("string", "a value is missing"),
            ("hello", "hello is neither a type nor a value; a string stands in quotes"),
            ("'a", "the closing quote is missing"),
            ("'a\\", "a bad escape in a string"),
            ("'\\u12'", "a bad escape in a string"),
            ("'\\u0000'", "a bad escape in a string"),
            ("1 2", "unexpected \"2\""),
            ("byte 256", "256 is not of type y"),
            ("uint64 -1", "-1 is not of type t"),
            ("2147483648", "2147483648 is not of type i"),
            ("1e999", "1e999 is not of type d"),
            ("12abc", "12abc is not of type i"),
            ("[]", "an empty array needs a type, such as @as []"),
            ("[1, 'a']", "\"a\" is not of type i"),
            ("['a'", "']' is missing"),
            ("()", "an empty tuple has no type in D-Bus"),
            ("{'a': 1}", "unexpected \"{'a': 1}\""),
            ("<1>", "unexpected \"<1>\""),
            ("@z 1", "@z is not a type"),
            ("@a", "@a is not a type"),
            ("objectpath 'a'", "\"a\" is not of type o"),
            ("[[[[[[[[[[[1]]]]]]]]]]]", "is nested too deeply"),
        ] {
            assert_eq!(Value::parse(text), Err(message.into()), "{text}");
        }
    }
}
