//! Text in columns.

/// Rows whose cells begin at the same column. The last column has any width.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|h| (*h).to_owned()).collect()] }
    }

    /// Rows without heads.
    pub fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    /// One more row. An empty cell is a dash, so that columns can be told apart by eye and by `awk`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // A line end in what a component says about itself must not make a row of its own.
        let clean = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell.replace(char::is_control, " ") };
        self.rows.push(cells.into_iter().map(clean).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", "VERSION", "WHY"]);
        table.row(["a".into(), String::new(), "x\ny".into()]);
        table.row(["länger".into(), "0.1.0".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME    VERSION  WHY\na       -        x y\nlänger  0.1.0    -\n");
    }
}
