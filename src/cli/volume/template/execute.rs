//! Carries a template out, as Go's text/template does, with its error messages.

use super::functions::{Functions, Parameter};
use super::parse::{Branch, Command, Node, Parsed, Pipeline, What, Word};
use super::value::{Map, Object, Value};

/// Why the rest of a list of nodes is not carried out.
enum Stop {
    Break,
    Continue,
    Failed(String),
}

impl From<String> for Stop {
    fn from(message: String) -> Stop {
        Stop::Failed(message)
    }
}

type Run<T> = Result<T, String>;

/// How deep templates may call each other. Go stops at 100,000, for which our stack is too small.
const DEPTH: usize = 100;

pub struct Execution<'a> {
    pub parsed: &'a Parsed,
    pub text: &'a str,
    pub functions: Functions,
    pub variables: Vec<(String, Value)>,
    pub depth: usize,
    /// Of the template that runs: empty for the main one.
    pub name: String,
    /// What was looked at last, which some of Go's messages name.
    pub last: (usize, String),
}

impl Execution<'_> {
    /// Writes what comes out, up to an error.
    pub fn run(&mut self, dot: &Value, out: &mut String) -> Run<()> {
        self.variables = vec![("$".into(), dot.clone())];
        match self.list(&self.parsed.nodes, dot, out) {
            Err(Stop::Failed(message)) => Err(message),
            _ => Ok(()),
        }
    }

    /// An error at an offset of the template, with the text of what failed.
    fn error<T>(&self, at: usize, context: &dyn std::fmt::Display, message: impl std::fmt::Display) -> Run<T> {
        let before = &self.text[..at.min(self.text.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(before.len(), |newline| before.len() - newline - 1);
        Err(format!("template: :{line}:{column}: executing {:?} at <{context}>: {message}", self.name))
    }

    /// Notes what is looked at now.
    fn at(&mut self, at: usize, what: &dyn std::fmt::Display) {
        self.last = (at, what.to_string());
    }

    fn error_at_last<T>(&self, message: impl std::fmt::Display) -> Run<T> {
        self.error(self.last.0, &self.last.1, message)
    }

    fn list(&mut self, nodes: &[Node], dot: &Value, out: &mut String) -> Result<(), Stop> {
        nodes.iter().try_for_each(|node| self.node(node, dot, out))
    }

    fn node(&mut self, node: &Node, dot: &Value, out: &mut String) -> Result<(), Stop> {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipeline(pipe, dot)?;
                if pipe.declared.is_empty() {
                    out.push_str(&value.shown());
                }
            }
            Node::Break => return Err(Stop::Break),
            Node::Continue => return Err(Stop::Continue),
            Node::Template { at, name, pipe } => self.template(*at, name, pipe.as_ref(), dot, out)?,
            Node::Branch { word, pipe, then, otherwise } => {
                let kept = self.variables.len();
                let done = match word {
                    Branch::Range => self.range(pipe, then, otherwise, dot, out),
                    _ => self.choose(*word, pipe, then, otherwise, dot, out),
                };
                self.variables.truncate(kept);
                done?;
            }
        }
        Ok(())
    }

    fn choose(
        &mut self,
        word: Branch,
        pipe: &Pipeline,
        then: &[Node],
        otherwise: &[Node],
        dot: &Value,
        out: &mut String,
    ) -> Result<(), Stop> {
        let value = self.pipeline(pipe, dot)?;
        if !value.is_true() {
            return self.list(otherwise, dot, out);
        }
        self.list(then, if word == Branch::With { &value } else { dot }, out)
    }

    fn range(
        &mut self,
        pipe: &Pipeline,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value,
        out: &mut String,
    ) -> Result<(), Stop> {
        let value = self.pipeline(pipe, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::List(list) => list.items.into_iter().enumerate().map(|(i, v)| (Value::Int(i as i64), v)).collect(),
            Value::Map(map) => {
                map.entries.unwrap_or_default().into_iter().map(|(key, value)| (Value::Text(key), value)).collect()
            }
            Value::Int(count) => (0..count).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Missing => Vec::new(),
            other => {
                return Ok(self.error(pipe.at, pipe, format_args!("range can't iterate over {}", other.printed()))?);
            }
        };
        if items.is_empty() {
            return self.list(otherwise, dot, out);
        }
        let kept = self.variables.len();
        for (key, value) in items {
            match pipe.declared.as_slice() {
                [one] => self.set(one, value.clone(), pipe.assigns)?,
                [first, second, ..] => {
                    self.set(first, key, pipe.assigns)?;
                    self.set(second, value.clone(), pipe.assigns)?;
                }
                [] => {}
            }
            let done = self.list(each, &value, out);
            self.variables.truncate(kept);
            match done {
                Ok(()) | Err(Stop::Continue) => {}
                Err(Stop::Break) => break,
                failed => return failed,
            }
        }
        Ok(())
    }

    fn template(&mut self, at: usize, name: &str, pipe: Option<&Pipeline>, dot: &Value, out: &mut String) -> Run<()> {
        let argument = pipe.map(|pipe| format!(" {pipe}")).unwrap_or_default();
        let context = format!("{{{{template {name:?}{argument}}}}}");
        let Some(nodes) = self.parsed.defined.get(name) else {
            return self.error(at, &context, format_args!("template {name:?} not defined"));
        };
        if self.depth == DEPTH {
            return self.error(at, &context, "exceeded maximum template depth");
        }
        let value = pipe.map_or(Ok(Value::Missing), |pipe| self.pipeline(pipe, dot))?;
        let mut inner = Execution {
            parsed: self.parsed,
            text: self.text,
            functions: self.functions,
            variables: vec![("$".into(), value.clone())],
            depth: self.depth + 1,
            name: name.to_owned(),
            last: (at, String::new()),
        };
        match inner.list(nodes, &value, out) {
            Err(Stop::Failed(message)) => Err(message),
            _ => Ok(()),
        }
    }

    fn set(&mut self, name: &str, value: Value, assigns: bool) -> Run<()> {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, old)) if assigns => *old = value,
            None if assigns => return self.error_at_last(format_args!("undefined variable: {name}")),
            _ => self.variables.push((name.to_owned(), value)),
        }
        Ok(())
    }

    fn pipeline(&mut self, pipe: &Pipeline, dot: &Value) -> Run<Value> {
        self.at(pipe.at, pipe);
        let mut piped = None;
        for command in &pipe.commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        let value = piped.unwrap_or(Value::Missing);
        // In a range, the variables are set for each item.
        for name in pipe.declared.iter().take(1).filter(|_| pipe.declared.len() == 1) {
            self.set(name, value.clone(), pipe.assigns)?;
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, piped: Option<Value>, dot: &Value) -> Run<Value> {
        let (first, args) = command.words.split_first().ok_or("empty command")?;
        match &first.what {
            What::Function(name) => self.call(name, first, (command.at, command), args, piped, dot),
            What::Field(path) => self.fields(dot.clone(), path, first, args, piped, dot),
            What::Variable(name, path) if !path.is_empty() => {
                let value = self.variable(name);
                self.fields(value, path, first, args, piped, dot)
            }
            What::Chain(inner, path) => {
                if matches!(inner.what, What::Nil) {
                    return self.error(first.at, first, format_args!("indirection through explicit nil in {first}"));
                }
                let value = self.word(inner, dot)?;
                // Go does not look back at the chain.
                let last = Word { at: self.last.0, what: What::TooLarge(self.last.1.clone()) };
                self.fields(value, path, &last, args, piped, dot)
            }
            _ if !args.is_empty() || piped.is_some() => {
                self.error(first.at, first, format_args!("can't give argument to non-function {first}"))
            }
            What::Nil => self.error(first.at, first, "nil is not a command"),
            What::Literal(..) | What::TooLarge(_) => {
                self.at(first.at, first);
                self.word(first, dot)
            }
            _ => self.word(first, dot),
        }
    }

    /// A word that is no call with arguments.
    fn word(&mut self, word: &Word, dot: &Value) -> Run<Value> {
        match &word.what {
            What::Dot => Ok(dot.clone()),
            What::Nil => Ok(Value::Nil("interface {}")),
            What::Literal(value, _) => Ok(value.clone()),
            What::TooLarge(text) => self.error(word.at, word, format_args!("{text} overflows int")),
            What::Pipeline(pipe) => self.pipeline(pipe, dot),
            What::Variable(name, path) if path.is_empty() => Ok(self.variable(name)),
            What::Function(name) => self.call(name, word, (word.at, word), &[], None, dot),
            _ => self.command(&Command { at: word.at, words: vec![word.clone()] }, None, dot),
        }
    }

    fn variable(&self, name: &str) -> Value {
        let known = self.variables.iter().rev().find(|(known, _)| known == name);
        known.map_or(Value::Missing, |(_, value)| value.clone())
    }

    fn fields(
        &mut self,
        start: Value,
        path: &[String],
        word: &Word,
        args: &[Word],
        piped: Option<Value>,
        dot: &Value,
    ) -> Run<Value> {
        let (last, before) = path.split_last().ok_or("no field")?;
        self.at(word.at, word);
        let mut value = start;
        for name in before {
            value = self.field(&value, name, word, &[], None, dot)?;
        }
        self.field(&value, last, word, args, piped, dot)
    }

    fn field(
        &mut self,
        receiver: &Value,
        name: &str,
        word: &Word,
        args: &[Word],
        piped: Option<Value>,
        dot: &Value,
    ) -> Run<Value> {
        let has_args = !args.is_empty() || piped.is_some();
        match receiver {
            Value::Missing => return Ok(Value::Missing),
            Value::Object(object) => {
                if let Some(value) = object.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value) {
                    if object.methods {
                        self.arguments(name, word, &[], args, piped, dot)?;
                    } else if has_args {
                        let message = format!("{name} has arguments but cannot be invoked as function");
                        return self.error(word.at, word, message);
                    }
                    return Ok(value.clone());
                }
                if object.methods && name == "Label" {
                    return self.label(word, args, piped, dot, |key| label_of(object, key));
                }
            }
            Value::Map(map) if map.is_header && name == "Label" => {
                return self.label(word, args, piped, dot, header_of);
            }
            Value::Map(_) if has_args => {
                return self.error(word.at, word, format_args!("{name} is not a method but has arguments"));
            }
            Value::Map(Map { entries, .. }) => {
                let found = entries.as_ref().and_then(|entries| entries.get(name));
                return Ok(found.cloned().unwrap_or(Value::Missing));
            }
            Value::Nil("interface {}") => {
                return self.error(word.at, word, format_args!("nil pointer evaluating interface {{}}.{name}"));
            }
            Value::Nil(kind) => {
                return self.error(word.at, word, format_args!("nil pointer evaluating {kind}.{name}"));
            }
            _ => {}
        }
        self.error(word.at, word, format_args!("can't evaluate field {name} in type {}", receiver.kind()))
    }

    fn label(
        &mut self,
        word: &Word,
        args: &[Word],
        piped: Option<Value>,
        dot: &Value,
        label: impl Fn(&str) -> String,
    ) -> Run<Value> {
        let values = self.arguments("Label", word, &[Parameter::Text], args, piped, dot)?;
        Ok(Value::Text(values.first().map(|key| label(&key.printed())).unwrap_or_default()))
    }

    /// The arguments of a method, as many as it takes.
    fn arguments(
        &mut self,
        name: &str,
        word: &Word,
        parameters: &[Parameter],
        args: &[Word],
        piped: Option<Value>,
        dot: &Value,
    ) -> Run<Vec<Value>> {
        let given = args.len() + usize::from(piped.is_some());
        if given != parameters.len() {
            let wanted = parameters.len();
            return self.error(
                word.at,
                word,
                format_args!("wrong number of args for {name}: want {wanted} got {given}"),
            );
        }
        let mut values = Vec::new();
        for (arg, parameter) in args.iter().zip(parameters) {
            values.push(self.argument(arg, *parameter, dot)?);
        }
        if let (Some(piped), Some(parameter)) = (piped, parameters.last()) {
            values.push(self.fit(piped, *parameter, word)?);
        }
        Ok(values)
    }

    /// Calls a function; `whole` is what messages of the function itself show.
    fn call(
        &mut self,
        name: &str,
        word: &Word,
        whole: (usize, &dyn std::fmt::Display),
        args: &[Word],
        piped: Option<Value>,
        dot: &Value,
    ) -> Run<Value> {
        self.at(word.at, word);
        let signature = self.functions.signature(name);
        let (given, fixed) = (args.len() + usize::from(piped.is_some()), signature.fixed.len());
        if signature.variadic.is_some() && given < fixed {
            let message = format!("wrong number of args for {name}: want at least {fixed} got {}", args.len());
            return self.error(word.at, word, message);
        }
        if signature.variadic.is_none() && given != fixed {
            let message = format!("wrong number of args for {name}: want {fixed} got {given}");
            return self.error(word.at, word, message);
        }
        let parameter =
            |index: usize| signature.fixed.get(index).copied().or(signature.variadic).unwrap_or(Parameter::Any);
        if name == "and" || name == "or" {
            return self.first_that_decides(name == "or", args, piped, dot);
        }
        let mut values = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            values.push(self.argument(arg, parameter(index), dot)?);
        }
        if let Some(piped) = piped {
            values.push(self.fit(piped, parameter(args.len()), word)?);
        }
        if name == "call" {
            let what = args.first().map(ToString::to_string).unwrap_or_default();
            let message = match values.first() {
                Some(Value::Missing | Value::Nil(_)) | None => "call of nil".into(),
                Some(value) => format!("non-function {what} of type {}", value.kind()),
            };
            return self.error(whole.0, whole.1, format_args!("error calling call: {message}"));
        }
        match self.functions.call(name, &values) {
            Ok(value) => Ok(value),
            Err(message) => self.error(whole.0, whole.1, format_args!("error calling {name}: {message}")),
        }
    }

    /// `and` and `or` do not look at what comes behind the argument that decides.
    fn first_that_decides(&mut self, decides: bool, args: &[Word], piped: Option<Value>, dot: &Value) -> Run<Value> {
        let mut value = Value::Missing;
        for arg in args {
            value = self.argument(arg, Parameter::Value, dot)?;
            if value.is_true() == decides {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    /// An argument, of the type that the parameter has.
    fn argument(&mut self, word: &Word, parameter: Parameter, dot: &Value) -> Run<Value> {
        self.at(word.at, word);
        let constant = match &word.what {
            What::Nil if matches!(parameter, Parameter::Text | Parameter::Int) => {
                return self.error(word.at, word, format_args!("cannot assign nil to {}", parameter.kind()));
            }
            What::Literal(value, _) => value,
            _ => {
                let value = self.word(word, dot)?;
                return self.fit(value, parameter, word);
            }
        };
        match (parameter, constant) {
            (Parameter::Any | Parameter::Value, _)
            | (Parameter::Text, Value::Text(_))
            | (Parameter::Int, Value::Int(_)) => Ok(constant.clone()),
            (Parameter::Int, _) => self.error(word.at, word, format_args!("expected integer; found {word}")),
            (Parameter::Text, _) => self.error(word.at, word, format_args!("expected string; found {word}")),
            (Parameter::Texts, _) => {
                self.error(word.at, word, format_args!("can't handle {word} for arg of type {}", parameter.kind()))
            }
        }
    }

    fn fit(&self, value: Value, parameter: Parameter, word: &Word) -> Run<Value> {
        match (parameter, &value) {
            (Parameter::Any, Value::Missing) => Ok(Value::Nil("interface {}")),
            (Parameter::Any | Parameter::Value, _)
            | (Parameter::Text, Value::Text(_))
            | (Parameter::Int, Value::Int(_)) => Ok(value),
            (Parameter::Texts, Value::List(list)) if list.kind == parameter.kind() => Ok(value),
            (Parameter::Texts, Value::Missing) => Ok(Value::texts(std::iter::empty())),
            (_, Value::Missing) => {
                self.error(word.at, word, format_args!("invalid value; expected {}", parameter.kind()))
            }
            _ => {
                let (wanted, got) = (parameter.kind(), value.kind());
                self.error(word.at, word, format_args!("wrong type for value; expected {wanted}; got {got}"))
            }
        }
    }
}

fn label_of(object: &Object, key: &str) -> String {
    object.labels.get(key).cloned().unwrap_or_default()
}

/// Docker's header of a column of labels: the last part of the key, in words.
fn header_of(key: &str) -> String {
    key.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ")
}
