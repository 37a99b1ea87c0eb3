//! Lists of numbers with ranges, as for CPUs and memory nodes: `0-3,7`.

/// The numbers that `text` names, sorted, each once. None may be above `most`.
///
/// Blanks around the elements and empty elements mean nothing; an empty text names no number.
pub fn parse(text: &str, most: u32) -> Result<Vec<u32>, String> {
    let mut ranges = Vec::new();
    for element in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        let (first, last) = element.split_once('-').unwrap_or((element, element));
        let (first, last) = (number(first, most)?, number(last, most)?);
        if first > last {
            return Err(format!("the range {element:?} runs backwards"));
        }
        ranges.push((first, last));
    }
    ranges.sort_unstable();
    let mut numbers = Vec::new();
    for (first, last) in ranges {
        let next = numbers.last().map_or(0, |n| n + 1);
        numbers.extend(first.max(next)..=last);
    }
    Ok(numbers)
}

fn number(text: &str, most: u32) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{text:?} is not a number; a list looks like \"0-3,7\""));
    }
    text.parse().ok().filter(|n| *n <= most).ok_or_else(|| format!("{text} is above {most}"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists() {
        assert_eq!(parse("0-3,7", 63), Ok(vec![0, 1, 2, 3, 7]));
        assert_eq!(parse(" 5 , 1-2,,2", 63), Ok(vec![1, 2, 5]));
        assert_eq!(parse("", 63), Ok(vec![]));
        assert_eq!(parse("1024-1026,4095", 65535), Ok(vec![1024, 1025, 1026, 4095]));
    }

    #[test]
    fn what_is_no_list() {
        let cases = [
            ("x", "\"x\" is not a number; a list looks like \"0-3,7\""),
            ("1-", "\"\" is not a number; a list looks like \"0-3,7\""),
            ("-1", "\"\" is not a number; a list looks like \"0-3,7\""),
            ("+1", "\"+1\" is not a number; a list looks like \"0-3,7\""),
            ("1-2-3", "\"2-3\" is not a number; a list looks like \"0-3,7\""),
            ("7-3", "the range \"7-3\" runs backwards"),
            ("0-4294967296", "4294967296 is above 63"),
            ("64", "64 is above 63"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text, 63), Err(message.to_string()), "{text}");
        }
    }
}
