//! The report as a picture: a panel for each table, and a bar for each row beside the panel's
//! floor.

use std::fmt::Write;

use crate::sample::Table;

const WIDTH: usize = 860;
const LABEL: usize = 250;
const BAR: usize = 400;
const LINE: usize = 22;

pub const STYLE: &str = ".bg{fill:#fff}text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.v{fill:#57606a}\
    .floor{fill:#8c959f}.ours{fill:#1a7f37}.peer{fill:#d0d7de}\
    @media(prefers-color-scheme:dark){.bg{fill:#0d1117}text{fill:#e6edf3}.v{fill:#9198a1}.peer{fill:#3d444d}.ours{fill:#3fb950}}";

/// Longer than this many floors, a bar is cut off.
const MOST: f64 = 20.0;

pub fn svg(tables: &[Table]) -> String {
    let mut body = String::new();
    let mut y = 8;
    // The sweep's rows are no rivals.
    for table in tables.iter().filter(|table| table.id != "sweep") {
        y += LINE;
        let _ = write!(
            body,
            "<text class=\"t\" x=\"8\" y=\"{y}\">{}</text>",
            escape(&table.title)
        );
        y += 8;
        let longest = table
            .rows
            .iter()
            .map(|row| row.ratio)
            .fold(1.0, f64::max)
            .min(MOST);
        for row in &table.rows {
            let class = match row.name.as_str() {
                name if name.starts_with("floor") => "floor",
                name if name.starts_with("idempotent-fn") => "ours",
                _ => "peer",
            };
            let width = (row.ratio.min(longest) / longest * BAR as f64).max(1.0);
            let cut = if row.ratio > longest { " …" } else { "" };
            let (top, base) = (y + 4, y + LINE - 5);
            let _ = write!(
                body,
                "<text x=\"16\" y=\"{base}\">{}</text>\
                 <rect class=\"{class}\" x=\"{LABEL}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\"/>\
                 <text class=\"v\" x=\"{:.1}\" y=\"{base}\">{}{cut} · {:.2}×</text>",
                escape(&row.name),
                LINE - 8,
                LABEL as f64 + width + 8.0,
                value(row.figure, table.unit),
                row.ratio,
            );
            y += LINE;
        }
        y += 6;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {0}\" width=\"{WIDTH}\" height=\"{0}\" \
         role=\"img\" aria-label=\"Time per call of idempotent-fn, its peers and the floor\">\
         <style>{STYLE}</style>\
         <rect class=\"bg\" width=\"{WIDTH}\" height=\"{0}\" rx=\"6\"/>{body}</svg>\n",
        y + 8
    )
}

pub fn value(value: f64, unit: &str) -> String {
    match unit {
        "ns" if value >= 10_000.0 => format!("{:.1} µs", value / 1_000.0),
        "ns" if value < 100.0 => format!("{value:.1} ns"),
        "ms" if value < 100.0 => format!("{value:.2} ms"),
        _ if value < 10.0 => format!("{value:.2} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
