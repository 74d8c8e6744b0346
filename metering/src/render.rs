//! A bill as text: a drawn table for people, JSON for programs, CSV in FOCUS columns for cost tools.
//!
//! All three show the same lines. Costs carry all nine decimals, so the shown figures add up exactly.

pub mod csv;
pub mod json;
pub mod table;

use crate::amount::Beyond;
use crate::bill::{Bill, GroupBy};

/// How a bill is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// [`table`].
    Table,
    /// [`json`].
    Json,
    /// [`csv`].
    Csv,
}

/// Writes `bill`, grouped as asked; ends with a line break.
pub fn render(bill: &Bill, by: GroupBy, format: Format) -> Result<String, Beyond> {
    match format {
        Format::Table => table::render(bill, by),
        Format::Json => json::render(bill, by),
        Format::Csv => csv::render(bill, by),
    }
}
