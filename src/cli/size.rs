//! Numbers of bytes with a unit, as Docker and runc take them on their command lines.

/// `64m`, `1.5GiB`, `10 kb`, `512`: units are powers of 1024, in any case. `None` for anything else, negative ones
/// included. A fraction of a byte is dropped.
pub fn parse(text: &str) -> Option<i64> {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !digits(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = shift_of(unit.strip_prefix(' ').unwrap_or(unit))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // A double holds every fraction that anybody writes.
    let part = format!("0.{fraction}0").parse::<f64>().ok()? * (1i64 << shift) as f64;
    whole.checked_mul(1 << shift)?.checked_add(part as i64)
}

/// `k`, `kb`, `kib` are 10, and so on up to `p`; `b` and nothing are 0.
fn shift_of(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_lowercase();
    if unit.is_empty() || unit == "b" {
        return Some(0);
    }
    let mut letters = unit.chars();
    let power = "kmgtp".find(letters.next()?)? as u32 + 1;
    matches!(letters.as_str(), "" | "b" | "ib").then_some(10 * power)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("512", 512),
            ("32b", 32),
            ("32B", 32),
            ("1k", 1024),
            ("1KB", 1024),
            ("1kib", 1024),
            ("32 mb", 32 << 20),
            ("32MiB", 32 << 20),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("5.", 5),
            ("1t", 1 << 40),
            ("7p", 7 << 50),
            ("9223372036854775807", i64::MAX),
            ("1.9", 1),
        ];
        for (text, bytes) in good {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size() {
        for text in
            ["", "k", ".", "-1", "-1k", "+1", "1e3", "1.2.3", "1kk", "1 k b", "1bb", "1x", "1kbi", " 1", "0x10", "1  k"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse("9223372036854775808"), None);
        assert_eq!(parse("9999999p"), None);
    }
}
