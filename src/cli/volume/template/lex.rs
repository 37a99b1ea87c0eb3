//! Splits a template into tokens, as Go's text/template/parse does, with its error messages.

/// What a token is. An error is the last token of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Open,
    Close,
    Space,
    Assign,
    Declare,
    Pipe,
    Comma,
    Char,
    LeftParen,
    RightParen,
    Dot,
    Field,
    Variable,
    Identifier,
    Keyword,
    Bool,
    Nil,
    Number,
    CharConstant,
    Quoted,
    Raw,
    Error,
    End,
}

/// A piece of a template: its text, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    /// Offset in bytes.
    pub at: usize,
    pub line: usize,
}

impl std::fmt::Display for Token {
    /// As Go's messages quote a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::End => f.write_str("EOF"),
            Kind::Error => f.write_str(&self.text),
            Kind::Keyword | Kind::Nil | Kind::Dot => write!(f, "<{}>", self.text),
            _ if self.text.chars().count() > 10 => {
                write!(f, "{:?}...", self.text.chars().take(10).collect::<String>())
            }
            _ => write!(f, "{:?}", self.text),
        }
    }
}

const KEYWORDS: [&str; 10] = ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// All tokens of a template. The last one is [`Kind::End`] or [`Kind::Error`].
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, parens: 0, counted: (0, 1), tokens: Vec::new() };
    match lexer.all() {
        Ok(()) => lexer.emit(Kind::End, text.len()),
        Err(message) => {
            let line = lexer.line(lexer.at);
            lexer.tokens.push(Token { kind: Kind::Error, text: message, at: lexer.at, line });
        }
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    parens: usize,
    /// A place, and its line.
    counted: (usize, usize),
    tokens: Vec<Token>,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Go's `%#U`: `U+007D '}'`.
fn shown(c: char) -> String {
    format!("U+{:04X} '{c}'", c as u32)
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The line of a place that is not before the one that was asked for last.
    fn line(&mut self, at: usize) -> usize {
        let (known, line) = self.counted;
        self.counted = (at, line + self.text[known..at].matches('\n').count());
        self.counted.1
    }

    /// Adds the token that ends at `end`, and goes on there.
    fn emit(&mut self, kind: Kind, end: usize) {
        let line = self.line(self.at);
        let token = Token { kind, text: self.text[self.at..end].to_owned(), at: self.at, line };
        self.tokens.push(token);
        self.at = end;
    }

    fn all(&mut self) -> Result<(), String> {
        while self.at < self.text.len() {
            let start = self.rest().find("{{").map_or(self.text.len(), |found| self.at + found);
            let trimmed = self.text[start..].strip_prefix("{{-").is_some_and(|rest| rest.starts_with(is_space));
            let text = &self.text[self.at..start];
            let end = if trimmed { self.at + text.trim_end_matches(is_space).len() } else { start };
            if end > self.at {
                self.emit(Kind::Text, end);
            }
            self.at = start;
            if start < self.text.len() {
                self.action(start + if trimmed { 4 } else { 2 })?;
            }
        }
        Ok(())
    }

    /// From `{{` to `}}`; `inside` is where the action's own text begins.
    fn action(&mut self, inside: usize) -> Result<(), String> {
        if self.text[inside..].starts_with("/*") {
            return self.comment(inside);
        }
        self.emit(Kind::Open, inside);
        self.parens = 0;
        loop {
            if let Some((length, trim)) = self.closing() {
                if self.parens > 0 {
                    return Err("unclosed left paren".into());
                }
                self.close(length, trim);
                return Ok(());
            }
            self.token()?;
        }
    }

    /// The length of the closing delimiter that comes now, and whether it trims what follows.
    fn closing(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with(is_space) && rest[1..].starts_with("-}}") {
            return Some((4, true));
        }
        rest.starts_with("}}").then_some((2, false))
    }

    fn close(&mut self, length: usize, trim: bool) {
        self.emit(Kind::Close, self.at + length);
        if trim {
            self.at += self.rest().len() - self.rest().trim_start_matches(is_space).len();
        }
    }

    fn comment(&mut self, inside: usize) -> Result<(), String> {
        let end = self.text[inside..].find("*/").ok_or("unclosed comment")?;
        self.at = inside + end + 2;
        let (length, trim) = self.closing().ok_or("comment ends before closing delimiter")?;
        self.at += length;
        if trim {
            self.at += self.rest().len() - self.rest().trim_start_matches(is_space).len();
        }
        Ok(())
    }

    /// One token inside an action.
    fn token(&mut self) -> Result<(), String> {
        let Some(c) = self.peek() else { return Err("unclosed action".into()) };
        let next = self.at + c.len_utf8();
        match c {
            _ if is_space(c) => self.space(),
            '=' => self.emit(Kind::Assign, next),
            ':' if self.rest().starts_with(":=") => self.emit(Kind::Declare, next + 1),
            ':' => return Err("expected :=".into()),
            '|' => self.emit(Kind::Pipe, next),
            ',' => self.emit(Kind::Comma, next),
            '"' | '\'' => return self.quoted(c),
            '`' => {
                let end = self.text[next..].find('`').ok_or("unterminated raw quoted string")?;
                self.emit(Kind::Raw, next + end + 1);
            }
            '$' => return self.word_after(next, Kind::Variable),
            '.' if !self.text[next..].starts_with(|c: char| c.is_ascii_digit()) => {
                return self.word_after(next, Kind::Field);
            }
            '.' | '+' | '-' | '0'..='9' => return self.number(),
            _ if is_word(c) => return self.word_after(next, Kind::Identifier),
            '(' => {
                self.parens += 1;
                self.emit(Kind::LeftParen, next);
            }
            ')' => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
                self.emit(Kind::RightParen, next);
            }
            ' '..='~' => self.emit(Kind::Char, next),
            _ => return Err(format!("unrecognized character in action: {}", shown(c))),
        }
        Ok(())
    }

    /// White space, but for the last one before `-}}`, which belongs to that.
    fn space(&mut self) {
        let rest = self.rest();
        let mut length = rest.len() - rest.trim_start_matches(is_space).len();
        if rest[length..].starts_with("-}}") {
            length -= 1;
        }
        if length > 0 {
            self.emit(Kind::Space, self.at + length);
        }
    }

    fn quoted(&mut self, quote: char) -> Result<(), String> {
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => {
                    let kind = if quote == '"' { Kind::Quoted } else { Kind::CharConstant };
                    self.emit(kind, self.at + offset + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(if quote == '"' { "unterminated quoted string" } else { "unterminated character constant" }.into())
    }

    /// A field, variable, keyword or function, whose first character ends at `from`.
    fn word_after(&mut self, from: usize, kind: Kind) -> Result<(), String> {
        let rest = &self.text[from..];
        let end = from + rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let after = self.text[end..].chars().next();
        let ended = after.is_none_or(|c| is_space(c) || ".,|:()".contains(c)) || self.text[end..].starts_with("}}");
        if let (false, Some(c)) = (ended, after) {
            return Err(format!("bad character {}", shown(c)));
        }
        let kind = match (kind, &self.text[self.at..end]) {
            (Kind::Field, ".") => Kind::Dot,
            (Kind::Identifier, "true" | "false") => Kind::Bool,
            (Kind::Identifier, "nil") => Kind::Nil,
            (Kind::Identifier, word) if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => kind,
        };
        self.emit(kind, end);
        Ok(())
    }

    /// What looks like a number; whether it is one is the parser's affair.
    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest().as_bytes();
        let run = |from: usize, digits: &str| {
            let more = rest[from..].iter().take_while(|byte| digits.contains(char::from(**byte)));
            from + more.count()
        };
        let is = |at: usize, set: &str| rest.get(at).is_some_and(|byte| set.contains(char::from(*byte)));
        let mut end = usize::from(is(0, "+-"));
        let mut digits = "0123456789_";
        if is(end, "0") {
            end += 1;
            for (letters, set) in [("xX", "0123456789abcdefABCDEF_"), ("oO", "01234567_"), ("bB", "01_")] {
                if is(end, letters) {
                    (end, digits) = (end + 1, set);
                    break;
                }
            }
        }
        end = run(end, digits);
        if is(end, ".") {
            end = run(end + 1, digits);
        }
        let exponent = if digits.len() == 11 { "eE" } else { "pP" };
        if (digits.len() == 11 || digits.len() == 23) && is(end, exponent) {
            end += 1;
            end = run(end + usize::from(is(end, "+-")), "0123456789_");
        }
        if let Some(wrong) = self.rest()[end..].chars().next().filter(|c| is_word(*c)) {
            return Err(format!("bad number syntax: {:?}", &self.rest()[..end + wrong.len_utf8()]));
        }
        self.emit(Kind::Number, self.at + end);
        Ok(())
    }
}
