//! Go's text/template with Docker's functions, for `--format`: the same output and the same error messages.
//!
//! Templates are what `docker volume ls` and `inspect` scripts consist of, so the whole language is here. What comes out
//! is held against Docker's by runtime-tests/tests/volume_words.rs.

mod execute;
mod functions;
mod lex;
mod parse;
mod printf;
mod value;

pub use functions::Functions;
pub use value::{Map, Object, Value, without_html};

use execute::Execution;
use parse::Parsed;

/// A template, parsed.
#[derive(Debug)]
pub struct Template {
    text: String,
    parsed: Parsed,
}

impl Template {
    /// # Errors
    /// Docker's message.
    pub fn parse(text: &str) -> Result<Template, String> {
        let parsed = parse::parse(text).map_err(|error| format!("template parsing error: {error}"))?;
        Ok(Template { text: text.to_owned(), parsed })
    }

    /// # Errors
    /// Docker's message.
    pub fn render(&self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        let done = self.run(value, Functions::Usual, &mut out);
        done.map_err(|error| format!("template parsing error: {error}"))?;
        Ok(out)
    }

    /// The header of a table. Of one that cannot be made, Docker shows the part before the error.
    pub fn render_header(&self, header: &Value) -> String {
        let mut out = String::new();
        let _ = self.run(header, Functions::Header, &mut out);
        out
    }

    fn run(&self, value: &Value, functions: Functions, out: &mut String) -> Result<(), String> {
        let (parsed, text) = (&self.parsed, self.text.as_str());
        let (name, last) = (String::new(), (0, String::new()));
        Execution { parsed, text, functions, variables: Vec::new(), depth: 0, name, last }.run(value, out)
    }
}

#[cfg(test)]
mod tests;
