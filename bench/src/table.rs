//! Figures and how they are printed: medians, percentiles, aligned text and markdown.

/// The figures of one row for one contestant.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Nothing to measure.
    None,
    Failed,
    Figures(Vec<f64>),
}

impl Cell {
    pub fn median(&self) -> Option<f64> {
        let Cell::Figures(figures) = self else { return None };
        quantile(figures, 0.5)
    }

    fn text(&self, higher_is_better: bool) -> String {
        match self {
            Cell::None => "-".into(),
            Cell::Failed => "n/a".into(),
            Cell::Figures(figures) => {
                // The bad end: a tenth of the runs is worse than this.
                let tail = quantile(figures, if higher_is_better { 0.1 } else { 0.9 });
                match (quantile(figures, 0.5), tail) {
                    (Some(median), Some(tail)) => format!("{} ({})", number(median), number(tail)),
                    _ => "-".into(),
                }
            }
        }
    }
}

/// Linear interpolation between the two nearest figures.
pub fn quantile(figures: &[f64], q: f64) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = q * (sorted.len().checked_sub(1)? as f64);
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

/// Three significant digits or so.
pub fn number(x: f64) -> String {
    match x {
        _ if x >= 99.95 => format!("{x:.0}"),
        _ if x >= 9.995 => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

pub struct Row {
    pub name: String,
    pub higher_is_better: bool,
    /// In the order of the contestants.
    pub cells: Vec<Cell>,
}

/// Cells of text; the first row is the head.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: Vec<String>) -> Table {
        Table { rows: vec![head] }
    }

    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The figures of all contestants, then the first one's median in relation to each other one's.
    pub fn of_figures(corner: &str, names: &[String], rows: &[Row]) -> Table {
        let ratios = names.iter().skip(1).map(|n| format!("/ {n}"));
        let head = std::iter::once(corner.to_owned()).chain(names.iter().cloned()).chain(ratios);
        let mut table = Table::new(head.collect());
        for row in rows {
            let mut line = vec![row.name.clone()];
            line.extend(row.cells.iter().map(|c| c.text(row.higher_is_better)));
            let first = row.cells[0].median();
            line.extend(row.cells.iter().skip(1).map(|cell| match (first, cell.median()) {
                (Some(first), Some(other)) if other > 0.0 => format!("{:.2}", first / other),
                _ => "-".into(),
            }));
            table.push(line);
        }
        table
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        (0..columns).map(|c| self.rows.iter().filter_map(|r| r.get(c)).map(String::len).max().unwrap_or(0)).collect()
    }

    pub fn print(&self, markdown: bool) {
        let widths = self.widths();
        for (i, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> = widths
                .iter()
                .enumerate()
                .map(|(c, width)| {
                    let text = row.get(c).map_or("", String::as_str);
                    if c == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
                })
                .collect();
            if markdown {
                println!("| {} |", cells.join(" | "));
            } else {
                println!("{}", cells.join("  ").trim_end());
            }
            if i == 0 && markdown {
                let rule = |(c, w): (usize, &usize)| if c == 0 { "-".repeat(*w) } else { "-".repeat(w - 1) + ":" };
                println!("| {} |", widths.iter().enumerate().map(rule).collect::<Vec<_>>().join(" | "));
            } else if i == 0 {
                println!("{}", "-".repeat(widths.iter().map(|w| w + 2).sum::<usize>().saturating_sub(2)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.5), Some(1.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.9), Some(9.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn numbers_keep_about_three_digits() {
        assert_eq!([0.1234, 9.994, 12.34, 123.4].map(number), ["0.12", "9.99", "12.3", "123"]);
    }
}
