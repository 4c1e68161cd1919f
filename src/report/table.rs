//! Plain columns: aligned for people, one blank-separated row per thing for awk.

/// One column's heading, and whether its cells stand at its right.
pub struct Column {
    pub heading: &'static str,
    pub right: bool,
}

/// Heading and rows as lines; no cell holds a blank, so that a row can be taken apart, nor anything that a terminal obeys.
pub fn lines(columns: &[Column], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain(columns.get(at).map(|column| column.heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for ((cell, column), width) in cells.iter().zip(columns).zip(&widths) {
            // A format's width ends at 65,535.
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, behind) = if column.right { (&*blanks, "") } else { ("", &*blanks) };
            text.extend([before, cell, behind, "  "]);
        }
        text.trim_end().to_owned()
    };
    let headings: Vec<String> = columns.iter().map(|column| column.heading.to_owned()).collect();
    std::iter::once(&headings).chain(&rows).map(|cells| line(cells)).collect::<Vec<_>>().join("\n")
}

/// A name of a device may hold anything but a slash.
fn plain(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    super::clean(&cell.replace(|c: char| c.is_whitespace() || c.is_control(), "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_an_escape_is_one_word() {
        let columns = [Column { heading: "POOL", right: false }, Column { heading: "DATA", right: true }];
        let rows = [vec!["a b\u{1b}[2J\n".to_owned(), String::new()]];
        assert_eq!(lines(&columns, &rows), "POOL      DATA\na_b_[2J_     -");
    }

    #[test]
    fn a_cell_wider_than_any_format() {
        let columns = [Column { heading: "POOL", right: false }, Column { heading: "DATA", right: true }];
        let lines = lines(&columns, &[vec!["p".repeat(70_000), "1%".to_owned()]]);
        assert!(lines.ends_with("p    1%") && lines.starts_with("POOL  "), "{}", lines.len());
    }

    #[test]
    fn columns_line_up() {
        let columns = [Column { heading: "POOL", right: false }, Column { heading: "DATA", right: true }];
        let rows = [vec!["docker/thinpool".to_owned(), "0.1%".to_owned()], vec!["l".to_owned(), "12.5%".to_owned()]];
        assert_eq!(lines(&columns, &rows), "POOL              DATA\ndocker/thinpool   0.1%\nl                12.5%");
        let hostile = [vec!["a b\nc\u{1b}[2J".to_owned(), "\t".to_owned()]];
        assert_eq!(lines(&columns, &hostile), "POOL       DATA\na_b_c_[2J     _");
    }
}
