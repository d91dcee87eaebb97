//! What the run prints and writes.

use std::{fs, io, path::Path};

use serde::Serialize;

use crate::{
    chart::{svg, value},
    sample::Table,
};

#[derive(Default, Serialize)]
pub struct Report {
    pub tables: Vec<Table>,
    /// Counts and facts that are no table.
    pub notes: Vec<String>,
}

impl Report {
    /// Prints the table and keeps it.
    pub fn add(&mut self, table: Table) {
        println!("\n### {}\n", table.title);
        println!("| | median | middle half | ratio | without |\n|---|---:|---:|---:|---|");
        for row in &table.rows {
            println!(
                "| {} | {} | {} – {} | {:.2} | {} |",
                row.name,
                value(row.median, table.unit),
                value(row.quartiles.0, table.unit),
                value(row.quartiles.1, table.unit),
                row.ratio,
                row.without
            );
        }
        self.tables.push(table);
    }

    pub fn note(&mut self, note: String) {
        println!("\n{note}");
        self.notes.push(note);
    }

    /// Writes `bench.json` and `bench.svg` into `folder`.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(
            folder.join("bench.json"),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        fs::write(folder.join("bench.svg"), svg(&self.tables))
    }
}
