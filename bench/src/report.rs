//! What the run prints and writes.

use serde::Serialize;

use crate::sample::Table;

#[derive(Default, Serialize)]
pub struct Report {
    pub tables: Vec<Table>,
}

impl Report {
    /// Prints the table and keeps it.
    pub fn add(&mut self, table: Table) {
        println!("\n{}", table.title);
        println!("{:<38} {:>10} {:>19} {:>8}   {}", "", "median", "middle half", "ratio", "without");
        for row in &table.rows {
            let spread = format!("{:.0}–{:.0}", row.quartiles.0, row.quartiles.1);
            println!(
                "{:<38} {:>7.1} {} {:>19} {:>8.2}   {}",
                row.name, row.median, table.unit, spread, row.ratio, row.without
            );
        }
        self.tables.push(table);
    }
}
