//! What the run prints and writes.

use std::{fmt::Write, fs, io, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    chart::{svg, value},
    costs::Costs,
    growth::Series,
    sample::Table,
};

/// A table of counts and facts, which are no rivals.
#[derive(Clone, Serialize)]
pub struct Facts {
    pub id: &'static str,
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

#[derive(Default)]
pub struct Report {
    tables: Vec<Table>,
    facts: Vec<Facts>,
    growth: Vec<Series>,
    costs: Option<Costs>,
    /// Counts and facts that are no table.
    notes: Vec<String>,
    /// What belongs between a pair of markers in `docs/`: the markers' name, and the text.
    sections: Vec<(&'static str, String)>,
}

impl Report {
    /// Prints the table and keeps it.
    pub fn add(&mut self, table: Table) {
        let mut text = format!("### {}\n\n", table.title);
        // Facts about one subject have neither spread nor rival.
        let bare = table
            .rows
            .iter()
            .all(|row| row.quartiles == (row.figure, row.figure));
        text += &match bare {
            true => "| | |\n|---|---:|\n".to_owned(),
            false => format!(
                "| | {} | middle half | ratio | without |\n|---|---:|---:|---:|---|\n",
                table.of
            ),
        };
        for row in &table.rows {
            let show = |number| value(number, table.unit);
            let _ = write!(text, "| {} | {} |", row.name, show(row.figure));
            if !bare {
                let (from, to) = (show(row.quartiles.0), show(row.quartiles.1));
                let _ = write!(
                    text,
                    " {from} – {to} | {:.2} | {} |",
                    row.ratio, row.without
                );
            }
            text.push('\n');
        }
        self.print("tables", text);
        self.tables.push(table);
    }

    pub fn note(&mut self, note: String) {
        self.print("tables", note.clone() + "\n");
        self.notes.push(note);
    }

    pub fn add_facts(&mut self, facts: Facts) {
        let mut text = format!("### {}\n\n", facts.title);
        let _ = writeln!(text, "| {} |", facts.columns.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(facts.columns.len() - 1));
        for row in &facts.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        self.print(facts.id, text);
        self.facts.push(facts);
    }

    pub fn add_series(&mut self, series: Series) {
        self.add_facts(series.facts());
        self.growth.push(series);
    }

    pub fn add_costs(&mut self, costs: Costs) {
        self.add_facts(costs.facts());
        crate::fleet::facts(&costs)
            .into_iter()
            .for_each(|facts| self.add_facts(facts));
        self.costs = Some(costs);
    }

    fn print(&mut self, section: &'static str, text: String) {
        println!("\n{}", text.trim_end());
        match self.sections.iter_mut().find(|(name, _)| *name == section) {
            Some((_, whole)) => *whole = format!("{whole}\n{text}"),
            None => self.sections.push((section, text)),
        }
    }

    /// Writes what was measured into `folder`: its pictures, its part of `bench.json`, and its
    /// tables between their markers in the pages. Only a `whole` run replaces the tables of rivals,
    /// which are one run's or nothing.
    pub fn write(&self, folder: &Path, whole: bool) -> io::Result<()> {
        let file = folder.join("bench.json");
        let known = fs::read(&file).ok();
        let mut data: Value = known
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_else(|| json!({}));
        if whole {
            data = json!({ "tables": self.tables, "notes": self.notes });
            fs::write(folder.join("bench.svg"), svg(&self.tables))?;
        }
        merge(&mut data, "facts", json!(self.facts));
        merge(&mut data, "growth", json!(self.growth));
        if let Some(costs) = &self.costs {
            data["costs"] = json!(costs);
        }
        fs::write(file, serde_json::to_string_pretty(&data)? + "\n")?;
        for series in &self.growth {
            fs::write(folder.join(format!("{}.svg", series.id)), series.svg())?;
        }
        for page in ["BENCH.md", "CAPACITY.md"] {
            let path = folder.join(page);
            let mut text = fs::read_to_string(&path)?;
            for (name, section) in &self.sections {
                if whole || *name != "tables" {
                    text = filled(&text, name, section);
                }
            }
            fs::write(path, text)?;
        }
        Ok(())
    }
}

/// Replaces those of `data[list]` that have the same `id`.
fn merge(data: &mut Value, list: &str, new: Value) {
    let mut all: Vec<Value> = data[list].as_array().cloned().unwrap_or_default();
    for new in new.as_array().into_iter().flatten() {
        match all.iter_mut().find(|old| old["id"] == new["id"]) {
            Some(old) => *old = new.clone(),
            None => all.push(new.clone()),
        }
    }
    data[list] = all.into();
}

/// `page`, with `section` between its markers, if it has them.
fn filled(page: &str, name: &str, section: &str) -> String {
    let (from, to) = (
        format!("<!-- bench: {name} -->\n"),
        format!("<!-- /bench: {name} -->"),
    );
    let (Some(start), Some(end)) = (page.find(&from), page.find(&to)) else {
        return page.to_owned();
    };
    let (before, after) = (&page[..start + from.len()], &page[end..]);
    format!("{before}\n{}\n\n{after}", section.trim())
}

/// With commas.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
