//! How commands lay out what they have to say.

/// Lines of cells, in columns as wide as they must be.
pub(crate) fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A list for programs.
pub(crate) fn json(listed: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(listed).expect("strings and numbers serialise");
    format!("{text}\n")
}
