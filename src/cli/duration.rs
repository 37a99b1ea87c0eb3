//! Durations as Go writes them, which is how engines give them.

use std::time::Duration;

/// `5s`, `1m30s`, `1.5h`, `300ms`: numbers with a unit each, largest or not first. `None` for anything else, negative
/// ones and those above 292 years included.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() || total == 0 {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        total = total.checked_add(scaled(number, nanoseconds(unit)?)?)?;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    let total = u64::try_from(total).ok().filter(|total| *total <= i64::MAX as u64)?;
    Some(Duration::from_nanos(total))
}

fn nanoseconds(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A decimal number times `unit`; what is below a nanosecond is dropped.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut part = 0;
    let mut scale = unit;
    for digit in fraction.bytes() {
        // Integer division loses only what is below a nanosecond.
        part += u128::from(digit - b'0') * scale / 10;
        scale /= 10;
    }
    whole.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn durations() {
        let good = [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("300ms", 300_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("1h1ns", 3_600_000_000_001),
            ("0s", 0),
            ("1.25ms", 1_250_000),
        ];
        for (text, nanoseconds) in good {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        for text in ["", "5", "s", "-5s", "5 s", "5d", "1.2.3s", ".s", "5sx", "s5", "+", "1e3s", "300000000h", "5s5"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
