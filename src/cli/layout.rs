//! Text for terminals of 80 columns: paragraphs, and lists of two columns.

pub const WIDTH: usize = 80;
/// Where the second column of a list begins at the latest; after a longer entry it begins on the next line.
const COLUMN: usize = 32;

/// Fills paragraphs anew. Empty lines part them; indented lines stay as they are.
pub fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut paragraph: Vec<&str> = Vec::new();
    for line in text.lines().chain([""]) {
        if !line.is_empty() && !line.starts_with(' ') {
            paragraph.extend(line.split(' '));
            continue;
        }
        fill(&paragraph, 0, &mut out);
        paragraph.clear();
        out.push_str(line);
        out.push('\n');
    }
    out.trim_end().to_owned()
}

/// A list of entries and what they mean.
pub fn list(rows: &[(String, &str)]) -> String {
    let fits = |entry: &str| entry.chars().count() + 2;
    let column = rows.iter().map(|(entry, _)| fits(entry)).filter(|width| *width <= COLUMN).max().unwrap_or(COLUMN);
    let mut out = String::new();
    for (entry, text) in rows {
        out.push_str(entry);
        let width = fits(entry);
        if width > column {
            out.push('\n');
        }
        let missing = if width > column { column } else { column + 2 - width };
        out.push_str(&" ".repeat(missing));
        fill(&text.split(' ').collect::<Vec<_>>(), column, &mut out);
    }
    out
}

/// Appends words in lines that begin at `indent`, where the first line is already.
fn fill(words: &[&str], indent: usize, out: &mut String) {
    let mut column = indent;
    for word in words {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    if !words.is_empty() {
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_filled_and_indented_lines_stay() {
        let words = "word ".repeat(20);
        let text = format!("{}\nend\n\n    as it  is\nnext", words.trim_end());
        let lines = format!("{}\n{}\n\n    as it  is\nnext", ["word"; 16].join(" "), "word word word word end");
        assert_eq!(wrap(&text), lines);
    }

    #[test]
    fn lists_have_one_column_for_what_entries_mean() {
        let long = format!("  --{}", "l".repeat(40));
        let rows = [("  -a".to_owned(), "first"), ("  --bcd".to_owned(), "second"), (long.clone(), "third")];
        assert_eq!(list(&rows), format!("  -a     first\n  --bcd  second\n{long}\n         third\n"));
    }
}
