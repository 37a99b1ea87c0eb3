//! The functions of templates: Go's own and Docker's, with what they say of wrong arguments.

use super::printf;
use super::value::{Map, TEXTS, Value};
use std::cmp::Ordering;

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    Text,
    Int,
    Texts,
    /// `interface {}`: nil if there is nothing.
    Any,
    /// `reflect.Value`: as it is.
    Value,
}

impl Parameter {
    /// Go's name of the type.
    pub fn kind(self) -> &'static str {
        match self {
            Parameter::Text => "string",
            Parameter::Int => "int",
            Parameter::Texts => TEXTS,
            Parameter::Any => "interface {}",
            Parameter::Value => "reflect.Value",
        }
    }
}

/// A function's parameters; of the last one there may be any number.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    pub fixed: &'static [Parameter],
    pub variadic: Option<Parameter>,
}

/// Which functions a template has: of a table's header they leave the text as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Functions {
    Usual,
    Header,
}

const NAMES: [&str; 27] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
];

pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

impl Functions {
    pub fn signature(self, name: &str) -> Signature {
        use Parameter::{Any, Int, Text, Texts, Value};
        let (fixed, variadic): (&[Parameter], Option<Parameter>) = match (name, self) {
            ("json" | "upper" | "lower" | "title", Functions::Header) => (&[Text], None),
            ("json", _) => (&[Any], None),
            ("upper" | "lower" | "title", _) => (&[Text], None),
            ("join", Functions::Usual) => (&[Texts, Text], None),
            ("split" | "join", _) => (&[Text, Text], None),
            ("truncate", _) => (&[Text, Int], None),
            ("pad", _) => (&[Text, Int, Int], None),
            ("len" | "not", _) => (&[Value], None),
            ("ne" | "lt" | "le" | "gt" | "ge", _) => (&[Value, Value], None),
            ("and" | "or" | "eq" | "index" | "slice" | "call", _) => (&[Value], Some(Value)),
            ("printf", _) => (&[Text], Some(Any)),
            _ => (&[], Some(Any)),
        };
        Signature { fixed, variadic }
    }

    /// Calls a function whose arguments are of its signature. `and`, `or` and `call` never come here: the
    /// first two look at one argument after the other, and of functions to call there are none.
    pub fn call(self, name: &str, args: &[Value]) -> Result<Value, String> {
        let text = |index: usize| args.get(index).map(Value::printed).unwrap_or_default();
        let number = |index: usize| match args.get(index) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        };
        let done = match name {
            "json" | "upper" | "lower" | "title" | "split" | "join" | "truncate" if self == Functions::Header => {
                text(0)
            }
            "json" => args[0].json_text(),
            "upper" => text(0).to_uppercase(),
            "lower" => text(0).to_lowercase(),
            "title" => title(&text(0)),
            "split" => return Ok(Value::texts(split(&text(0), &text(1)))),
            "join" => match &args[0] {
                Value::List(list) => list.items.iter().map(Value::printed).collect::<Vec<_>>().join(&text(1)),
                _ => String::new(),
            },
            "pad" => return pad(&text(0), number(1), number(2)),
            "truncate" => return truncate(&text(0), number(1)),
            "print" => printf::print(args),
            "println" => printf::println(args),
            "printf" => printf::printf(&text(0), &args[1..]),
            "html" => html(&printf::print(args)),
            "js" => js(&printf::print(args)),
            "urlquery" => urlquery(&printf::print(args)),
            "len" => return len(&args[0]),
            "index" => return args[1..].iter().try_fold(args[0].clone(), |item, at| index(&item, at)),
            "slice" => return slice(&args[0], &args[1..]),
            "not" => return Ok(Value::Bool(!args[0].is_true())),
            _ => return compare(name, args).map(Value::Bool),
        };
        Ok(Value::Text(done))
    }
}

/// Go's strings.Title: a letter is the first of a word after all but letters, digits and underscores.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::new();
    for c in text.chars() {
        let begins =
            if before.is_ascii() { !(before.is_ascii_alphanumeric() || before == '_') } else { before.is_whitespace() };
        if begins {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        before = c;
    }
    out
}

fn split(text: &str, separator: &str) -> impl Iterator<Item = String> {
    let parts: Vec<String> = match separator {
        "" => text.chars().map(String::from).collect(),
        _ => text.split(separator).map(str::to_owned).collect(),
    };
    parts.into_iter()
}

fn pad(text: &str, before: i64, after: i64) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Text(String::new()));
    }
    let blanks = |count: i64| usize::try_from(count).map(|count| " ".repeat(count.min(1 << 20)));
    let negative = |_| "strings: negative Repeat count".to_owned();
    let (before, after) = (blanks(before).map_err(negative)?, blanks(after).map_err(negative)?);
    Ok(Value::Text(format!("{before}{text}{after}")))
}

fn truncate(text: &str, length: i64) -> Result<Value, String> {
    let range = || format!("runtime error: slice bounds out of range [:{length}]");
    let length = usize::try_from(length).map_err(|_| range())?;
    let cut = &text.as_bytes()[..length.min(text.len())];
    Ok(Value::Text(String::from_utf8_lossy(cut).into_owned()))
}

fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&#34;").replace('\'', "&#39;").replace('\0', "\u{fffd}")
}

fn js(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' | '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn len(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Missing => return Err("reflect: call of reflect.Value.Type on zero Value".into()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.as_ref().map_or(0, std::collections::BTreeMap::len),
        Value::Nil(kind) if *kind != "interface {}" => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.kind())),
    };
    Ok(Value::Int(length as i64))
}

/// A position below `length`.
fn position(at: &Value, length: usize) -> Result<usize, String> {
    match at {
        Value::Int(number) => match usize::try_from(*number) {
            Ok(position) if position <= length => Ok(position),
            _ => Err(format!("index out of range: {number}")),
        },
        Value::Missing | Value::Nil(_) => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.kind())),
    }
}

fn index(item: &Value, at: &Value) -> Result<Value, String> {
    // Go's own check lets the first position behind the end pass.
    let out_of_range = |kind: &str| format!("reflect: {kind} index out of range");
    match item {
        Value::Missing => Err("index of untyped nil".into()),
        Value::Text(text) => {
            let position = position(at, text.len())?;
            text.as_bytes().get(position).map(|byte| Value::Int(i64::from(*byte))).ok_or_else(|| out_of_range("string"))
        }
        Value::List(list) => {
            let position = position(at, list.items.len())?;
            list.items.get(position).cloned().ok_or_else(|| out_of_range("slice"))
        }
        Value::Map(map) => entry(map, at),
        Value::Nil(kind) if *kind != "interface {}" => Err("index of nil pointer".into()),
        other => Err(format!("can't index item of type {}", other.kind())),
    }
}

fn entry(map: &Map, key: &Value) -> Result<Value, String> {
    let key = match key {
        Value::Text(key) => key,
        Value::Missing | Value::Nil(_) => return Err("value is nil; should be of type string".into()),
        other => return Err(format!("value has type {}; should be string", other.kind())),
    };
    let found = map.entries.as_ref().and_then(|entries| entries.get(key)).cloned();
    // What is missing is the zero value of the map's type.
    let zero = if map.kind == super::value::TEXT_MAP { Value::Text(String::new()) } else { Value::Nil("interface {}") };
    Ok(found.unwrap_or(zero))
}

fn slice(item: &Value, ends: &[Value]) -> Result<Value, String> {
    if matches!(item, Value::Missing) {
        return Err("slice of untyped nil".into());
    }
    if ends.len() > 3 {
        return Err(format!("too many slice indexes: {}", ends.len()));
    }
    let length = match item {
        Value::Text(_) if ends.len() == 3 => return Err("cannot 3-index slice a string".into()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        other => return Err(format!("can't slice item of type {}", other.kind())),
    };
    let from = ends.first().map_or(Ok(0), |at| position(at, length))?;
    let to = ends.get(1).map_or(Ok(length), |at| position(at, length))?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match item {
        Value::Text(text) => Value::Text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()),
        Value::List(list) => Value::List(super::value::List { kind: list.kind, items: list.items[from..to].to_vec() }),
        other => other.clone(),
    })
}

/// `eq`, `ne`, `lt`, `le`, `gt`, `ge`.
fn compare(name: &str, args: &[Value]) -> Result<bool, String> {
    let (first, rest) = args.split_first().ok_or("missing argument for comparison")?;
    match name {
        "eq" if rest.is_empty() => Err("missing argument for comparison".into()),
        "eq" => rest.iter().try_fold(false, |found, other| Ok(found || equal(first, other)?)),
        "ne" => equal(first, &rest[0]).map(|equal| !equal),
        "lt" => Ok(order(first, &rest[0])? == Ordering::Less),
        "le" => Ok(order(first, &rest[0])? != Ordering::Greater),
        "gt" => Ok(order(first, &rest[0])? == Ordering::Greater),
        _ => Ok(order(first, &rest[0])? != Ordering::Less),
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Missing, _) | (_, Value::Missing) => Ok(matches!((a, b), (Value::Missing, Value::Missing))),
        _ if is_basic(a) || is_basic(b) => Err("incompatible types for comparison".into()),
        _ if is_nil(a) || is_nil(b) => Ok(is_nil(a) == is_nil(b)),
        _ => Err(format!("non-comparable type {}: {}", b.printed(), b.kind())),
    }
}

fn is_nil(value: &Value) -> bool {
    matches!(value, Value::Nil(_) | Value::Map(Map { entries: None, .. }))
}

fn is_basic(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_))
}

fn order(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b).unwrap_or(Ordering::Equal)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".into()),
        _ if is_basic(a) && is_basic(b) => Err("incompatible types for comparison".into()),
        _ => Err("invalid type for comparison".into()),
    }
}
