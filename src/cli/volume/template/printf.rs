//! Go's `fmt`: print, println and printf with the verbs that make sense for what templates have.

use super::value::{Value, float};

/// Operands side by side, with a space between two that are no text.
pub fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut before_is_text = true;
    for (index, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if index > 0 && !is_text && !before_is_text {
            out.push(' ');
        }
        out.push_str(&value.printed());
        before_is_text = is_text;
    }
    out
}

pub fn println(values: &[Value]) -> String {
    values.iter().map(Value::printed).collect::<Vec<_>>().join(" ") + "\n"
}

/// What stands between `%` and the verb.
#[derive(Debug, Default, Clone, Copy)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = chars.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                _ => flags.zero = true,
            }
        }
        let mut digits = |chars: &mut std::iter::Peekable<std::str::Chars>, out: &mut String| {
            if chars.next_if_eq(&'*').is_some() {
                return match values.next() {
                    Some(Value::Int(number)) => usize::try_from(*number).ok(),
                    _ => {
                        out.push_str("%!(BADWIDTH)");
                        None
                    }
                };
            }
            let mut number = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let digit = digit.to_digit(10).unwrap_or_default() as usize;
                number = Some(number.unwrap_or(0usize).saturating_mul(10).saturating_add(digit).min(1_000_000));
            }
            number
        };
        flags.width = digits(&mut chars, &mut out);
        if chars.next_if_eq(&'.').is_some() {
            flags.precision = Some(digits(&mut chars, &mut out).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values.next() {
                Some(value) => out.push_str(&padded(&formatted(verb, value, flags), value, verb, flags)),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let rest: Vec<String> = values.map(described).collect();
    if !rest.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", rest.join(", ")));
    }
    out
}

/// `string=one`, as messages of printf show an operand.
fn described(value: &Value) -> String {
    match value {
        Value::Missing | Value::Nil("interface {}") => "<nil>".into(),
        _ => format!("{}={}", value.kind(), value.printed()),
    }
}

fn formatted(verb: char, value: &Value, flags: Flags) -> String {
    let signed = |text: String| match () {
        () if text.starts_with('-') => text,
        () if flags.plus => format!("+{text}"),
        () if flags.space => format!(" {text}"),
        () => text,
    };
    let cut = |text: &str| match flags.precision {
        Some(length) => text.chars().take(length).collect(),
        None => text.to_owned(),
    };
    match (verb, value) {
        ('T', value) => if matches!(value, Value::Missing) { "<nil>" } else { value.kind() }.to_owned(),
        ('v', Value::Text(text)) if flags.sharp => quoted(text),
        ('v' | 's', Value::Text(text)) => cut(text),
        ('q', Value::Text(text)) => quoted(&cut(text)),
        ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('v' | 'd', Value::Int(number)) => signed(number.to_string()),
        ('b', Value::Int(number)) => signed(based(*number, |n| format!("{n:b}"))),
        ('o', Value::Int(number)) => signed(based(*number, |n| format!("{n:o}"))),
        ('x', Value::Int(number)) => {
            signed(based(*number, |n| format!("{}{n:x}", if flags.sharp { "0x" } else { "" })))
        }
        ('X', Value::Int(number)) => {
            signed(based(*number, |n| format!("{}{n:X}", if flags.sharp { "0X" } else { "" })))
        }
        ('c', Value::Int(number)) => character(*number).to_string(),
        ('q', Value::Int(number)) => format!("{:?}", character(*number)),
        ('U', Value::Int(number)) => format!("U+{number:04X}"),
        ('v' | 'g' | 'G', Value::Float(number)) => signed(float(*number, 21)),
        ('f' | 'F', Value::Float(number)) => signed(format!("{number:.*}", flags.precision.unwrap_or(6))),
        ('e' | 'E', Value::Float(number)) => signed(exponential(*number, flags.precision.unwrap_or(6), verb)),
        ('v' | 't', Value::Bool(value)) => value.to_string(),
        ('v', Value::Missing | Value::Nil(_)) => "<nil>".into(),
        ('v', value) => value.printed(),
        (_, Value::List(list)) => {
            let items: Vec<String> = list.items.iter().map(|item| formatted(verb, item, flags)).collect();
            format!("[{}]", items.join(" "))
        }
        (_, Value::Map(map)) => {
            let text = |text: &str| formatted(verb, &Value::Text(text.to_owned()), flags);
            let entries = map.entries.iter().flatten();
            let pairs: Vec<String> =
                entries.map(|(key, value)| format!("{}:{}", text(key), formatted(verb, value, flags))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        (_, Value::Missing | Value::Nil("interface {}")) => format!("%!{verb}(<nil>)"),
        (_, value) => format!("%!{verb}({})", described(value)),
    }
}

fn based(number: i64, digits: impl Fn(u64) -> String) -> String {
    format!("{}{}", if number < 0 { "-" } else { "" }, digits(number.unsigned_abs()))
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
}

fn exponential(number: f64, precision: usize, verb: char) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}{verb}{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Go's `%q`.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || ('\u{80}'..='\u{a0}').contains(&c) => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Text at its width. Zeros stand between the sign and the digits of a number.
fn padded(text: &str, value: &Value, verb: char, flags: Flags) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 || text.starts_with("%!") {
        return text.to_owned();
    }
    let is_number = matches!(value, Value::Int(_) | Value::Float(_)) && verb != 'c';
    if flags.minus {
        format!("{text}{}", " ".repeat(missing))
    } else if flags.zero && is_number {
        let sign = usize::from(text.starts_with(['-', '+', ' ']));
        format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
    } else if flags.zero {
        format!("{}{text}", "0".repeat(missing))
    } else {
        format!("{}{text}", " ".repeat(missing))
    }
}
