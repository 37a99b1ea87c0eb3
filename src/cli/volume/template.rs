//! The part of Go's templates that people give to `--format`: fields, `json`, `upper`, `lower`, `join`, `len`, `index`,
//! `eq`, `ne`, `not`, pipelines, `if`, `range` and Docker's `.Label "key"`.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::HashMap;

/// A template, read.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug)]
enum Node {
    Text(String),
    Show(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { names: Vec<String>, over: Pipeline, each: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each of which gets the result of the one before as its last argument.
type Pipeline = Vec<Vec<Word>>;

#[derive(Debug, Clone, PartialEq)]
enum Word {
    Name(String),
    /// `.A.B`; empty for the dot itself.
    Field(Vec<String>),
    /// `$x.A`
    Variable(String, Vec<String>),
    Literal(Value),
}

type Variables = HashMap<String, Value>;

impl Template {
    pub fn parse(text: &str) -> Result<Template> {
        let mut pieces = pieces(text).context("template parsing error")?.into_iter();
        let (nodes, end) = block(&mut pieces).context("template parsing error")?;
        ensure!(end.is_none(), "template parsing error: unexpected {{{{{}}}}}", end.unwrap_or_default());
        Ok(Template { nodes })
    }

    pub fn render(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        render(&self.nodes, value, &mut Variables::from([(String::new(), value.clone())]), &mut out)?;
        Ok(out)
    }
}

/// Text, and what stands in `{{ }}`, by turns.
enum Piece {
    Text(String),
    Action(String),
}

fn pieces(mut text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    while let Some((before, rest)) = text.split_once("{{") {
        let end = end_of_action(rest).context("unclosed action")?;
        let (action, after) = (&rest[..end], &rest[end + 2..]);
        // `{{-` and `-}}` take the white space beside them away.
        let (action, before) = match action.strip_prefix("- ") {
            Some(action) => (action, before.trim_end()),
            None => (action, before),
        };
        let (action, after) = match action.strip_suffix(" -") {
            Some(action) => (action, after.trim_start()),
            None => (action, after),
        };
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Action(action.trim().to_owned()));
        text = after;
    }
    pieces.push(Piece::Text(text.to_owned()));
    Ok(pieces)
}

fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

/// Nodes up to the end, or to an `else` or `end`, which is returned.
fn block(pieces: &mut std::vec::IntoIter<Piece>) -> Result<(Vec<Node>, Option<String>)> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" => {
                let condition = pipeline(rest)?;
                let (then, otherwise) = branches(pieces)?;
                nodes.push(Node::If { condition, then, otherwise });
            }
            "range" => {
                let (names, over) = match rest.split_once(":=") {
                    Some((names, over)) => (names, over),
                    None => ("", rest),
                };
                let names = names.split(',').map(|name| name.trim().trim_start_matches('$').to_owned());
                let names = names.filter(|name| !name.is_empty()).collect();
                let over = pipeline(over)?;
                let (each, otherwise) = branches(pieces)?;
                nodes.push(Node::Range { names, over, each, otherwise });
            }
            _ if action.starts_with("/*") => {}
            _ => nodes.push(Node::Show(pipeline(&action)?)),
        }
    }
    Ok((nodes, None))
}

fn branches(pieces: &mut std::vec::IntoIter<Piece>) -> Result<(Vec<Node>, Vec<Node>)> {
    let (first, mut end) = block(pieces)?;
    let mut second = Vec::new();
    if end.as_deref() == Some("else") {
        (second, end) = block(pieces)?;
    }
    ensure!(end.as_deref() == Some("end"), "unexpected end: {{{{end}}}} is missing");
    Ok((first, second))
}

fn pipeline(text: &str) -> Result<Pipeline> {
    let mut commands = vec![Vec::new()];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '|' => {
                commands.push(Vec::new());
                1
            }
            '"' | '`' => {
                let close = rest[1..].char_indices().scan(false, |escaped, (at, c)| {
                    let ends = c == first && !*escaped;
                    *escaped = first == '"' && c == '\\' && !*escaped;
                    Some((at, ends))
                });
                let end = close.filter(|(_, ends)| *ends).map(|(at, _)| at).next().context("unterminated string")? + 2;
                let literal = &rest[..end];
                let value = match first {
                    '"' => serde_json::from_str(literal).with_context(|| format!("malformed string {literal}"))?,
                    _ => Value::from(&literal[1..end - 1]),
                };
                push(&mut commands, Word::Literal(value));
                end
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(rest.len());
                push(&mut commands, word(&rest[..end])?);
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    ensure!(commands.iter().all(|command| !command.is_empty()), "missing value for command");
    Ok(commands)
}

fn push(commands: &mut Pipeline, word: Word) {
    if let Some(command) = commands.last_mut() {
        command.push(word);
    }
}

fn word(text: &str) -> Result<Word> {
    let fields = |text: &str| text.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect();
    if let Some(rest) = text.strip_prefix('$') {
        let (name, path) = rest.split_once('.').unwrap_or((rest, ""));
        return Ok(Word::Variable(name.to_owned(), fields(path)));
    }
    if text.starts_with('.') {
        return Ok(Word::Field(fields(text)));
    }
    match text {
        "true" | "false" => return Ok(Word::Literal(Value::from(text == "true"))),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            let number: i64 = text.parse().ok().with_context(|| format!("bad number {text}"))?;
            return Ok(Word::Literal(Value::from(number)));
        }
        _ => {}
    }
    let known = ["json", "upper", "lower", "join", "len", "index", "eq", "ne", "not", "print", "println"];
    ensure!(known.contains(&text), "function {text:?} not defined");
    Ok(Word::Name(text.to_owned()))
}

fn render(nodes: &[Node], dot: &Value, variables: &mut Variables, out: &mut String) -> Result<()> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Show(pipeline) => out.push_str(&printed(&evaluate(pipeline, dot, variables)?)),
            Node::If { condition, then, otherwise } => {
                let branch = if truth(&evaluate(condition, dot, variables)?) { then } else { otherwise };
                render(branch, dot, variables, out)?;
            }
            Node::Range { names, over, each, otherwise } => {
                let items: Vec<(Value, Value)> = match evaluate(over, dot, variables)? {
                    Value::Object(map) => map.into_iter().map(|(key, value)| (Value::from(key), value)).collect(),
                    Value::Array(list) => list.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect(),
                    Value::Null => Vec::new(),
                    other => bail!("range can't iterate over {other}"),
                };
                if items.is_empty() {
                    render(otherwise, dot, variables, out)?;
                }
                for (key, value) in items {
                    match names.as_slice() {
                        [one] => drop(variables.insert(one.clone(), value.clone())),
                        [first, second, ..] => {
                            variables.insert(first.clone(), key);
                            variables.insert(second.clone(), value.clone());
                        }
                        [] => {}
                    }
                    render(each, &value, variables, out)?;
                }
            }
        }
    }
    Ok(())
}

fn evaluate(pipeline: &Pipeline, dot: &Value, variables: &Variables) -> Result<Value> {
    let mut result = None;
    for command in pipeline {
        result = Some(call(command, result, dot, variables)?);
    }
    Ok(result.unwrap_or(Value::Null))
}

fn call(command: &[Word], piped: Option<Value>, dot: &Value, variables: &Variables) -> Result<Value> {
    let (first, rest) = command.split_first().context("missing value for command")?;
    let mut args: Vec<Value> = rest.iter().map(|word| value_of(word, dot, variables)).collect::<Result<_>>()?;
    args.extend(piped);
    let name = match first {
        // Docker's method of a volume in a list.
        Word::Field(path) if path.as_slice() == ["Label"] => {
            let [Value::String(key)] = args.as_slice() else { bail!("wrong number of args for Label: want 1") };
            return Ok(Value::from(label(dot, key)));
        }
        Word::Name(name) => name.as_str(),
        other if args.is_empty() => return value_of(other, dot, variables),
        other => bail!("can't give argument to non-function {other:?}"),
    };
    Ok(match (name, args.as_slice()) {
        ("json", [value]) => Value::from(value.to_string()),
        ("upper", [value]) => Value::from(printed(value).to_uppercase()),
        ("lower", [value]) => Value::from(printed(value).to_lowercase()),
        ("join", [Value::Array(list), separator]) => {
            Value::from(list.iter().map(printed).collect::<Vec<_>>().join(&printed(separator)))
        }
        ("len", [value]) => Value::from(match value {
            Value::Object(map) => map.len(),
            Value::Array(list) => list.len(),
            Value::String(text) => text.len(),
            _ => 0,
        }),
        // Of a Go map, what is missing is the empty string.
        ("index", [Value::Object(map), key]) => map.get(&printed(key)).cloned().unwrap_or_else(|| "".into()),
        ("index", [Value::Null, _]) => Value::from(""),
        ("index", [Value::Array(list), at]) => {
            at.as_u64().and_then(|at| list.get(at as usize)).cloned().context("index out of range")?
        }
        ("eq", [first, others @ ..]) if !others.is_empty() => Value::from(others.contains(first)),
        ("ne", [a, b]) => Value::from(a != b),
        ("not", [value]) => Value::from(!truth(value)),
        ("print", values) => Value::from(values.iter().map(printed).collect::<String>()),
        ("println", values) => Value::from(values.iter().map(printed).collect::<Vec<_>>().join(" ") + "\n"),
        _ => bail!("wrong number or kind of args for {name}"),
    })
}

fn value_of(word: &Word, dot: &Value, variables: &Variables) -> Result<Value> {
    let (start, path) = match word {
        Word::Literal(value) => return Ok(value.clone()),
        Word::Field(path) => (dot, path),
        Word::Variable(name, path) => {
            (variables.get(name).with_context(|| format!("undefined variable \"${name}\""))?, path)
        }
        Word::Name(name) => bail!("{name} needs an argument"),
    };
    let mut value = start;
    for field in path {
        value = value.get(field).with_context(|| format!("can't evaluate field {field}"))?;
    }
    Ok(value.clone())
}

/// In a list the labels are text (`a=b,c=d`), in an inspected volume they are a map.
fn label(dot: &Value, key: &str) -> String {
    match &dot["Labels"] {
        Value::Object(map) => map.get(key).map(printed).unwrap_or_default(),
        Value::String(text) => {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(known, _)| *known == key).map(|(_, value)| value.to_owned()).next().unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As Go's fmt prints it. The only null here is a map without entries.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "map[]".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", printed(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_people_write_is_understood() {
        let volume = json!({"Name": "data", "Labels": {"b": "2", "a": "1"}, "Options": null, "Size": 3});
        let cases = [
            ("{{.Name}}", "data"),
            ("{{ .Name }}: {{.Size}}", "data: 3"),
            ("{{json .Labels}}", r#"{"a":"1","b":"2"}"#),
            ("{{json .Options}}", "null"),
            ("{{.Labels}} {{.Options}}", "map[a:1 b:2] map[]"),
            ("{{.Labels.a}}{{index .Labels \"b\"}}{{index .Labels \"c\"}}", "12"),
            ("{{.Label \"a\"}}", "1"),
            ("{{.Name | upper}} {{upper .Name | lower}}", "DATA data"),
            ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
            ("{{range .Labels}}<{{.}}>{{end}}{{range .Options}}x{{else}}none{{end}}", "<1><2>none"),
            ("{{if .Options}}yes{{else}}no{{end}}{{if eq .Name \"data\"}}!{{end}}", "no!"),
            ("{{range $k, $v := .Labels}}{{$.Name}}{{end}}", "datadata"),
            ("{{len .Labels}}{{not .Options}}", "2true"),
            ("a {{- /* nothing */ -}} b", "ab"),
            ("plain", "plain"),
        ];
        for (template, expected) in cases {
            assert_eq!(Template::parse(template).unwrap().render(&volume).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn mistakes_are_errors() {
        for bad in ["{{.Name", "{{frob .Name}}", "{{if .Name}}", "{{end}}", "{{}}", "{{.Name | }}", "{{\"x}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        for bad in ["{{.Nome}}", "{{$x}}", "{{.Name 1}}", "{{join .Name}}"] {
            assert!(Template::parse(bad).unwrap().render(&json!({"Name": "x"})).is_err(), "{bad}");
        }
    }
}
