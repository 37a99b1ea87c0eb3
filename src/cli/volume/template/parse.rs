//! Tokens to nodes, as Go's text/template/parse does, with its error messages.

use super::functions;
use super::lex::{Kind, Token, tokens};
use super::value::Value;
use std::collections::HashMap;
use std::fmt;

/// A part of a template.
#[derive(Debug, Clone)]
pub enum Node {
    Text(String),
    Action(Pipeline),
    Branch { word: Branch, pipe: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Template { at: usize, name: String, pipe: Option<Pipeline> },
    Break,
    Continue,
}

/// What begins a block that an `{{end}}` closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    If,
    Range,
    With,
}

/// Commands; each gets the result of the one before as its last argument.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub at: usize,
    /// Variables that take the result.
    pub declared: Vec<String>,
    /// `=` instead of `:=`.
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// A function or field with its arguments.
#[derive(Debug, Clone)]
pub struct Command {
    pub at: usize,
    pub words: Vec<Word>,
}

/// An operand, with the offset that messages name.
#[derive(Debug, Clone)]
pub struct Word {
    pub at: usize,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Dot,
    Nil,
    Function(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`, the name with its `$`.
    Variable(String, Vec<String>),
    /// A literal and how it is written.
    Literal(Value, String),
    /// An integer that Go's int cannot hold.
    TooLarge(String),
    /// A pipeline in parentheses.
    Pipeline(Box<Pipeline>),
    /// Fields of what is no field itself.
    Chain(Box<Word>, Vec<String>),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, fields: &[String]| fields.iter().try_for_each(|x| write!(f, ".{x}"));
        match &self.what {
            What::Dot => f.write_str("."),
            What::Nil => f.write_str("nil"),
            What::Function(name) => f.write_str(name),
            What::Field(path) => fields(f, path),
            What::Variable(name, path) => f.write_str(name).and_then(|()| fields(f, path)),
            What::Literal(_, text) | What::TooLarge(text) => f.write_str(text),
            What::Pipeline(pipe) => write!(f, "({pipe})"),
            What::Chain(word, path) => write!(f, "{word}").and_then(|()| fields(f, path)),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            write!(f, "{}{word}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.declared.is_empty() {
            write!(f, "{} {} ", self.declared.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if index > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

/// A parsed template: its nodes, and those of the templates that it defines.
#[derive(Debug, Default)]
pub struct Parsed {
    pub nodes: Vec<Node>,
    pub defined: HashMap<String, Vec<Node>>,
}

/// # Errors
/// Go's message, with its `template: :LINE: `.
pub fn parse(text: &str) -> Result<Parsed, String> {
    let mut parser = Parser {
        tokens: tokens(text),
        next: 0,
        line: 1,
        action_line: 0,
        variables: vec!["$".into()],
        ranges: 0,
        depth: 0,
        defined: HashMap::new(),
    };
    match parser.top() {
        Ok(nodes) => Ok(Parsed { nodes, defined: parser.defined }),
        Err(message) => Err(format!("template: :{}: {message}", parser.line)),
    }
}

/// What ends a list of nodes.
enum Ending {
    End,
    Else,
}

/// A node, or what ends the list of them.
enum Item {
    Node(Node),
    Ending(Ending),
}

type Parse<T> = Result<T, String>;

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// Of the token that was read last.
    line: usize,
    action_line: usize,
    variables: Vec<String>,
    ranges: usize,
    /// Of blocks and parentheses in each other.
    depth: usize,
    defined: HashMap<String, Vec<Node>>,
}

/// How deep blocks and parentheses may be nested: what our stack holds.
const DEPTH: usize = 200;

impl Parser {
    fn deeper(&mut self) -> Parse<()> {
        self.depth += 1;
        if self.depth > DEPTH { Err("max expression depth exceeded".into()) } else { Ok(()) }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        self.line = token.line;
        token
    }

    fn peek_past_space(&mut self) -> &Token {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.line = self.peek().line;
        self.peek()
    }

    fn take_past_space(&mut self) -> Token {
        self.peek_past_space();
        self.take()
    }

    fn peek_is(&mut self, keyword: &str) -> bool {
        let token = self.peek_past_space();
        token.kind == Kind::Keyword && token.text == keyword
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Parse<T> {
        if token.kind != Kind::Error {
            return Err(format!("unexpected {token} in {context}"));
        }
        let mut extra = String::new();
        if self.action_line != 0 && self.action_line != token.line {
            let words = if token.text.ends_with(" action") { "" } else { " in action" };
            extra = format!("{words} started at :{}", self.action_line);
        }
        Err(format!("{}{extra}", token.text))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parse<Token> {
        let token = self.take_past_space();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn top(&mut self) -> Parse<Vec<Node>> {
        let mut nodes = Vec::new();
        while self.peek().kind != Kind::End {
            if self.peek().kind == Kind::Open && self.defines()? {
                continue;
            }
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Ending(Ending::End) => return Err("unexpected {{end}}".into()),
                Item::Ending(Ending::Else) => return Err("unexpected {{else}}".into()),
            }
        }
        Ok(nodes)
    }

    /// Reads a `{{define}}`, if one comes now.
    fn defines(&mut self) -> Parse<bool> {
        let before = self.next;
        self.take();
        if !self.peek_is("define") {
            self.next = before;
            return Ok(false);
        }
        self.take();
        let name = self.take_past_space();
        let name = self.name(&name, "define clause")?;
        self.expect(Kind::Close, "define clause")?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        match self.list()? {
            (nodes, Ending::End) => self.defined.insert(name, nodes),
            (_, Ending::Else) => return Err("unexpected {{else}} in define clause".into()),
        };
        self.variables = variables;
        Ok(true)
    }

    fn list(&mut self) -> Parse<(Vec<Node>, Ending)> {
        self.deeper()?;
        let mut nodes = Vec::new();
        while self.peek_past_space().kind != Kind::End {
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Ending(ending) => {
                    self.depth -= 1;
                    return Ok((nodes, ending));
                }
            }
        }
        Err("unexpected EOF".into())
    }

    fn item(&mut self) -> Parse<Item> {
        let token = self.take_past_space();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text))),
            Kind::Open => {
                self.action_line = token.line;
                let item = self.action();
                self.action_line = 0;
                item
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Parse<Item> {
        let kept = self.variables.len();
        let token = self.take_past_space();
        if token.kind != Kind::Keyword {
            self.next -= 1;
            return Ok(Item::Node(Node::Action(self.pipeline("command", Kind::Close)?)));
        }
        let node = match token.text.as_str() {
            "if" => self.branch(Branch::If, "if")?,
            "range" => self.branch(Branch::Range, "range")?,
            "with" => self.branch(Branch::With, "with")?,
            "template" => self.template()?,
            "block" => self.block()?,
            "break" => self.leave("{{break}}", Node::Break)?,
            "continue" => self.leave("{{continue}}", Node::Continue)?,
            "end" => return self.expect(Kind::Close, "end").map(|_| Item::Ending(Ending::End)),
            "else" => {
                if !self.peek_is("if") && !self.peek_is("with") {
                    self.expect(Kind::Close, "else")?;
                }
                return Ok(Item::Ending(Ending::Else));
            }
            _ => return self.unexpected(&token, "command"),
        };
        // What a block has declared ends with it.
        self.variables.truncate(kept);
        Ok(Item::Node(node))
    }

    fn branch(&mut self, word: Branch, context: &str) -> Parse<Node> {
        let pipe = self.pipeline(context, Kind::Close)?;
        self.ranges += usize::from(word == Branch::Range);
        let (then, ending) = self.list()?;
        self.ranges -= usize::from(word == Branch::Range);
        let otherwise = match ending {
            Ending::End => Vec::new(),
            Ending::Else if word == Branch::If && self.peek_is("if") => self.nested(word, context)?,
            Ending::Else if word == Branch::With && self.peek_is("with") => self.nested(word, context)?,
            Ending::Else => match self.list()? {
                (nodes, Ending::End) => nodes,
                (_, Ending::Else) => return Err("expected end; found {{else}}".into()),
            },
        };
        Ok(Node::Branch { word, pipe, then, otherwise })
    }

    /// `{{else if}}`, which the same `{{end}}` closes.
    fn nested(&mut self, word: Branch, context: &str) -> Parse<Vec<Node>> {
        self.take();
        self.deeper()?;
        let nodes = vec![self.branch(word, context)?];
        self.depth -= 1;
        Ok(nodes)
    }

    fn leave(&mut self, context: &str, node: Node) -> Parse<Node> {
        self.expect(Kind::Close, context)?;
        if self.ranges == 0 {
            return Err(format!("{context} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn template(&mut self) -> Parse<Node> {
        let token = self.take_past_space();
        let name = self.name(&token, "template clause")?;
        let pipe = match self.peek_past_space().kind {
            Kind::Close => {
                self.take();
                None
            }
            _ => Some(self.pipeline("template clause", Kind::Close)?),
        };
        Ok(Node::Template { at: token.at, name, pipe })
    }

    fn block(&mut self) -> Parse<Node> {
        let token = self.take_past_space();
        let name = self.name(&token, "block clause")?;
        let pipe = self.pipeline("block clause", Kind::Close)?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        match self.list()? {
            (nodes, Ending::End) => self.defined.insert(name.clone(), nodes),
            (_, Ending::Else) => return Err("unexpected {{else}} in block clause".into()),
        };
        self.variables = variables;
        Ok(Node::Template { at: token.at, name, pipe: Some(pipe) })
    }

    fn name(&self, token: &Token, context: &str) -> Parse<String> {
        match token.kind {
            Kind::Quoted | Kind::Raw => unquoted(&token.text),
            _ => self.unexpected(token, context),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parse<Pipeline> {
        let at = self.peek_past_space().at;
        let mut pipe = Pipeline { at, declared: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.take_past_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::Raw
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParen => {
                    self.next -= 1;
                    pipe.commands.push(self.command()?);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return Err(format!("missing value for {context}"));
        }
        for (index, command) in pipe.commands.iter().enumerate().skip(1) {
            if matches!(command.words[0].what, What::Dot | What::Nil | What::Literal(..) | What::TooLarge(_)) {
                return Err(format!("non executable command in pipeline stage {}", index + 1));
            }
        }
        Ok(pipe)
    }

    fn declarations(&mut self, pipe: &mut Pipeline, context: &str) -> Parse<()> {
        while self.peek_past_space().kind == Kind::Variable {
            let before = self.next;
            let variable = self.take();
            match self.peek_past_space().kind {
                kind @ (Kind::Assign | Kind::Declare) => {
                    self.take();
                    pipe.assigns = kind == Kind::Assign;
                    pipe.declared.push(variable.text.clone());
                    self.variables.push(variable.text);
                    return Ok(());
                }
                Kind::Comma => {
                    self.take();
                    pipe.declared.push(variable.text.clone());
                    self.variables.push(variable.text);
                    let more = matches!(self.peek_past_space().kind, Kind::Variable | Kind::Close | Kind::RightParen);
                    if context != "range" || pipe.declared.len() >= 2 {
                        return Err(format!("too many declarations in {context}"));
                    } else if !more {
                        return Err("range can only initialize variables".into());
                    }
                }
                _ => {
                    self.next = before;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Parse<Command> {
        let mut command = Command { at: self.peek_past_space().at, words: Vec::new() };
        loop {
            self.peek_past_space();
            command.words.extend(self.operand()?);
            let token = self.take();
            match token.kind {
                Kind::Space => continue,
                Kind::Close | Kind::RightParen => self.next -= 1,
                Kind::Pipe => {}
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        if command.words.is_empty() {
            return Err("empty command".into());
        }
        Ok(command)
    }

    /// A term with the fields that follow it without a space.
    fn operand(&mut self) -> Parse<Option<Word>> {
        let Some(mut word) = self.term()? else { return Ok(None) };
        let at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.take().text[1..].to_owned());
        }
        if fields.is_empty() {
            return Ok(Some(word));
        }
        match &mut word.what {
            What::Field(path) | What::Variable(_, path) => {
                path.append(&mut fields);
                word.at = at;
                Ok(Some(word))
            }
            What::Dot | What::Nil | What::Literal(..) => Err(format!("unexpected . after term {:?}", word.to_string())),
            _ => Ok(Some(Word { at, what: What::Chain(Box::new(word), fields) })),
        }
    }

    fn term(&mut self) -> Parse<Option<Word>> {
        let token = self.take_past_space();
        let what = match token.kind {
            Kind::Identifier if !functions::is_known(&token.text) => {
                return Err(format!("function {:?} not defined", token.text));
            }
            Kind::Identifier => What::Function(token.text),
            Kind::Dot => What::Dot,
            Kind::Nil => What::Nil,
            Kind::Variable => {
                self.known(&token.text)?;
                What::Variable(token.text, Vec::new())
            }
            Kind::Field => What::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => What::Literal(Value::Bool(token.text == "true"), token.text),
            Kind::Number => number(token.text)?,
            Kind::CharConstant => {
                let text = unquoted(&token.text)?;
                let mut chars = text.chars();
                let (Some(only), None) = (chars.next(), chars.next()) else {
                    return Err(format!("malformed character constant: {}", token.text));
                };
                What::Literal(Value::Int(i64::from(only as u32)), token.text)
            }
            Kind::Quoted | Kind::Raw => What::Literal(Value::Text(unquoted(&token.text)?), token.text),
            Kind::LeftParen => {
                self.deeper()?;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.depth -= 1;
                What::Pipeline(Box::new(pipe))
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Word { at: token.at, what }))
    }

    fn known(&self, variable: &str) -> Parse<()> {
        let known = self.variables.iter().any(|known| known == variable);
        if known { Ok(()) } else { Err(format!("undefined variable {variable:?}")) }
    }
}

/// A number as Go writes it: an integer with a base and underscores, or a float.
fn number(text: String) -> Parse<What> {
    let plain = text.replace('_', "").to_ascii_lowercase();
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)];
    let base = prefixed.iter().find_map(|(prefix, base)| Some((digits.strip_prefix(prefix)?, *base)));
    let (whole, base) = match base {
        Some(found) => found,
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    let whole = if whole.starts_with(['+', '-']) { "" } else { whole };
    if let Ok(value) = i64::from_str_radix(whole, base) {
        return Ok(What::Literal(Value::Int(if negative { -value } else { value }), text));
    }
    if u64::from_str_radix(whole, base).is_ok() {
        return Ok(What::TooLarge(text));
    }
    let float = digits.parse::<f64>().ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit() || c == '.'));
    match float {
        Some(_) if !digits.contains(['.', 'e', 'p']) => Err(format!("integer overflow: {text:?}")),
        Some(float) => Ok(What::Literal(Value::Float(if negative { -float } else { float }), text)),
        None => Err(format!("illegal number syntax: {text:?}")),
    }
}

/// The value of a quoted string, as Go's strconv.Unquote.
fn unquoted(text: &str) -> Parse<String> {
    let quote = text.chars().next().unwrap_or('"');
    let inner = &text[1..text.len() - 1];
    if quote == '`' {
        return Ok(inner.replace('\r', ""));
    }
    let invalid = || "invalid syntax".to_owned();
    let mut bytes = Vec::new();
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend(c.to_string().bytes());
            continue;
        }
        let escape = rest.chars().next().ok_or_else(invalid)?;
        rest = &rest[escape.len_utf8()..];
        let simple = [('a', 7), ('b', 8), ('f', 12), ('n', 10), ('r', 13), ('t', 9), ('v', 11), ('\\', 92)];
        if let Some((_, byte)) = simple.iter().find(|(name, _)| *name == escape) {
            bytes.push(*byte);
        } else if escape == quote {
            bytes.push(escape as u8);
        } else {
            let (length, base) = match escape {
                'x' => (2, 16),
                'u' => (4, 16),
                'U' => (8, 16),
                '0'..='7' => (2, 8),
                _ => return Err(invalid()),
            };
            let digits = rest.get(..length).ok_or_else(invalid)?;
            rest = &rest[length..];
            let digits = if base == 8 { format!("{escape}{digits}") } else { digits.to_owned() };
            let code = u32::from_str_radix(&digits, base).map_err(|_| invalid())?;
            match escape {
                'u' | 'U' => bytes.extend(char::from_u32(code).ok_or_else(invalid)?.to_string().bytes()),
                _ => bytes.push(u8::try_from(code).map_err(|_| invalid())?),
            }
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
