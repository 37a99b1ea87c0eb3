//! What templates work with: the types of Go that Docker gives to them, how Go prints them, and their JSON.

use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A value of a template.
#[derive(Debug, Clone)]
pub enum Value {
    /// What a map does not have; prints as `<no value>`.
    Missing,
    /// A nil pointer of this type, or nil itself (`interface {}`).
    Nil(&'static str),
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(List),
    Map(Map),
    Object(Rc<Object>),
}

#[derive(Debug, Clone)]
pub struct List {
    pub kind: &'static str,
    pub items: Vec<Value>,
}

#[derive(Debug, Clone)]
pub struct Map {
    pub kind: &'static str,
    /// `None`: a nil map, which is an empty one everywhere but in JSON.
    pub entries: Option<BTreeMap<String, Value>>,
    /// The header of a table, whose `.Label "x"` is x.
    pub is_header: bool,
}

/// A struct of Go.
#[derive(Debug)]
pub struct Object {
    pub kind: &'static str,
    pub fields: Vec<(&'static str, Value)>,
    /// The fields are methods, as those of a row of a list; with a method `Label` where there are labels.
    pub methods: bool,
    pub labels: BTreeMap<String, String>,
    /// JSON leaves these out when they are empty.
    pub omitted: &'static [&'static str],
    /// How Go prints it, where that is not its fields.
    pub printed: Option<String>,
}

pub const TEXTS: &str = "[]string";
pub const TEXT_MAP: &str = "map[string]string";
const ANY_MAP: &str = "map[string]interface {}";

impl Value {
    pub fn texts(items: impl Iterator<Item = String>) -> Value {
        Value::List(List { kind: TEXTS, items: items.map(Value::Text).collect() })
    }

    /// A `map[string]string`; an empty one is nil.
    pub fn text_map(map: &BTreeMap<String, String>) -> Value {
        let entries = map.iter().map(|(key, value)| (key.clone(), Value::Text(value.clone()))).collect();
        Value::Map(Map { kind: TEXT_MAP, entries: Some(entries).filter(|_| !map.is_empty()), is_header: false })
    }

    /// A `map[string]interface {}`; an empty one is nil.
    pub fn any_map(map: &serde_json::Map<String, Json>) -> Value {
        let entries = map.iter().map(|(key, value)| (key.clone(), Value::of_json(value))).collect();
        Value::Map(Map { kind: ANY_MAP, entries: Some(entries).filter(|_| !map.is_empty()), is_header: false })
    }

    /// As Go decodes JSON of no known type.
    fn of_json(json: &Json) -> Value {
        match json {
            Json::Null => Value::Nil("interface {}"),
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => {
                Value::List(List { kind: "[]interface {}", items: items.iter().map(Value::of_json).collect() })
            }
            Json::Object(map) => match Value::any_map(map) {
                Value::Map(map) => Value::Map(Map { entries: Some(map.entries.unwrap_or_default()), ..map }),
                other => other,
            },
        }
    }

    /// Go's name of the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Missing => "invalid",
            Value::Nil(kind) => kind,
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::List(list) => list.kind,
            Value::Map(map) => map.kind,
            Value::Object(object) => object.kind,
        }
    }

    /// Whether `if` takes the first branch.
    pub fn is_true(&self) -> bool {
        match self {
            Value::Missing | Value::Nil(_) => false,
            Value::Bool(value) => *value,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => map.entries.as_ref().is_some_and(|entries| !entries.is_empty()),
            Value::Object(_) => true,
        }
    }

    /// As an action prints it.
    pub fn shown(&self) -> String {
        if matches!(self, Value::Missing) { "<no value>".into() } else { self.printed() }
    }

    /// As Go's `%v` prints it.
    pub fn printed(&self) -> String {
        match self {
            Value::Missing | Value::Nil(_) => "<nil>".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => float(*number, 21),
            Value::Text(text) => text.clone(),
            Value::List(list) => format!("[{}]", joined(list.items.iter().map(Value::printed))),
            Value::Map(map) => {
                let entries = map.entries.iter().flatten();
                format!("map[{}]", joined(entries.map(|(key, value)| format!("{key}:{}", value.printed()))))
            }
            Value::Object(object) => match &object.printed {
                Some(text) => text.clone(),
                None => format!("{{{}}}", joined(object.fields.iter().map(|(_, value)| value.printed()))),
            },
        }
    }

    /// As Go's encoding/json has it.
    pub fn json(&self) -> Json {
        match self {
            Value::Missing | Value::Nil(_) => Json::Null,
            Value::Bool(value) => Json::from(*value),
            Value::Int(number) => Json::from(*number),
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Json::from(*number as i64),
            Value::Float(number) => Json::from(*number),
            Value::Text(text) => Json::from(text.as_str()),
            Value::List(list) => list.items.iter().map(Value::json).collect(),
            Value::Map(Map { entries: None, .. }) => Json::Null,
            Value::Map(map) => {
                let entries = map.entries.iter().flatten();
                Json::Object(entries.map(|(key, value)| (key.clone(), value.json())).collect())
            }
            Value::Object(object) => {
                let left_out = |(name, value): &&(&str, Value)| object.omitted.contains(name) && !value.is_true();
                let fields = object.fields.iter().filter(|field| !left_out(field));
                Json::Object(fields.map(|(name, value)| ((*name).to_owned(), value.json())).collect())
            }
        }
    }

    /// The JSON that the function `json` prints. Rows of a list escape what would be HTML, all others do not.
    pub fn json_text(&self) -> String {
        let text = self.json().to_string();
        match self {
            Value::Object(object) if object.methods => without_html(&text),
            _ => without_separators(&text),
        }
    }
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(" ")
}

/// Go's JSON has these two line separators escaped, always.
fn without_separators(json: &str) -> String {
    json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// JSON text as Go's json.Marshal writes it. What it escapes occurs in strings only.
pub fn without_html(json: &str) -> String {
    without_separators(json).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Go's `%g` with the fewest digits; an exponent below -4 or from `large` on.
pub fn float(number: f64, large: i32) -> String {
    if !number.is_finite() {
        let text = if number.is_nan() { "NaN" } else { "+Inf" };
        return if number < 0.0 { "-Inf".into() } else { text.into() };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..large).contains(&exponent) {
        return format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    format!("{number}")
}
