//! The bill as a drawn table: one row per line, below them the totals, the prices and what each dimension costs.
//!
//! Hours are shown to six decimals and GB to nine, rounded; costs are exact. An empty cell is nothing at all.

use std::fmt::Write as _;

use crate::amount::{Amounts, Beyond, Dimension};
use crate::bill::{Bill, GroupBy, Line};
use crate::money::NanoUsd;
use crate::period::text;

/// The headings of the figures, in the order of [`Dimension::ALL`], and of the cost.
const FIGURES: [&str; 6] =
    ["cluster-hours", "partition-hours", "GB in", "GB out", "GB-hours stored", "cost USD"];

/// What a price is per, in the order of [`Dimension::ALL`].
const PRICE_UNITS: [&str; 5] = ["hour", "hour", "GB", "GB", "GB-month"];

/// Writes the table under a heading, with notes on how to read it.
pub fn render(bill: &Bill, by: GroupBy) -> Result<String, Beyond> {
    let lines = bill.lines(by)?;
    let total = bill.total()?;
    let places = match by {
        GroupBy::Cluster => &["cluster"][..],
        GroupBy::Topic => &["cluster", "topic"],
        GroupBy::Partition => &["cluster", "topic", "partition"],
    };
    let mut table = Table { left: places.len(), blocks: Vec::new() };
    table.blocks.push(vec![places.iter().chain(&FIGURES).map(|&heading| heading.to_owned()).collect()]);
    if !lines.is_empty() {
        table.blocks.push(lines.iter().map(|line| line_cells(line, by)).collect::<Result<_, _>>()?);
    }
    let sums = [("total", figures(&total)?), ("price", prices(bill)), ("cost USD", costs(&total)?)];
    table.blocks.push(sums.into_iter().map(|(label, cells)| labelled(label, places.len(), cells)).collect());

    let mut out = heading(bill);
    table.draw(&mut out);
    out.push_str("GB = 2^30 bytes. Time is billed to the millisecond. Each hourly line item is rounded half to even to\n");
    out.push_str("0.000000001 USD; all sums are exact. A GB-month is GB-hours divided by the hours of the calendar month.\n");
    Ok(out)
}

fn heading(bill: &Bill) -> String {
    let mut out = format!("Bill, {} (UTC)\n", bill.period);
    let state =
        if bill.provisional { "provisional, later usage is still to come" } else { "all hours are over" };
    let _ = writeln!(out, "Usage as of {}: {state}", text(bill.as_of));
    let _ = writeln!(out, "Prices: {}, edition {}", bill.prices.name, bill.prices.edition);
    out
}

fn line_cells(line: &Line, by: GroupBy) -> Result<Vec<String>, Beyond> {
    let mut cells = vec![line.cluster_name.clone()];
    if by != GroupBy::Cluster {
        cells.push(line.topic_name.clone().unwrap_or_default());
    }
    if by == GroupBy::Partition {
        cells.push(line.place.partition.map(|partition| partition.to_string()).unwrap_or_default());
    }
    cells.extend(figures(&line.amounts)?);
    Ok(cells)
}

fn figures(amounts: &Amounts) -> Result<Vec<String>, Beyond> {
    let shown = |dimension| match dimension {
        Dimension::ClusterHours | Dimension::PartitionHours => amounts.hours(dimension),
        Dimension::DataIn | Dimension::DataOut => amounts.gb(dimension),
        Dimension::Storage => amounts.stored_gb_hours(),
    };
    let some = |dimension| amounts.of(dimension).quantity > 0;
    let mut cells: Vec<String> = Dimension::ALL
        .into_iter()
        .map(|dimension| if some(dimension) { shown(dimension) } else { String::new() })
        .collect();
    cells.push(amounts.cost()?.to_string());
    Ok(cells)
}

fn prices(bill: &Bill) -> Vec<String> {
    let priced = Dimension::ALL.into_iter().zip(PRICE_UNITS);
    let mut cells: Vec<String> =
        priced.map(|(dimension, unit)| format!("{}/{unit}", short(bill.prices.price(dimension)))).collect();
    cells.push(String::new());
    cells
}

fn costs(total: &Amounts) -> Result<Vec<String>, Beyond> {
    let mut cells: Vec<String> =
        Dimension::ALL.into_iter().map(|dimension| total.of(dimension).cost.to_string()).collect();
    cells.push(total.cost()?.to_string());
    Ok(cells)
}

fn labelled(label: &str, places: usize, cells: Vec<String>) -> Vec<String> {
    let blanks = std::iter::repeat_n(String::new(), places - 1);
    std::iter::once(label.to_owned()).chain(blanks).chain(cells).collect()
}

/// A price without the zeros nobody reads, but with cents: `0.75`, `0.0015`, `0.10`.
fn short(price: NanoUsd) -> String {
    let full = price.to_string();
    let (whole, decimals) = full.split_once('.').expect("amounts are shown with nine decimals");
    let decimals = decimals.trim_end_matches('0');
    format!("{whole}.{decimals:0<2}")
}

/// Rows of cells in blocks with a rule between them. The first `left` columns are words, the others figures.
struct Table {
    left: usize,
    blocks: Vec<Vec<Vec<String>>>,
}

impl Table {
    fn draw(&self, out: &mut String) {
        let widths = self.widths();
        push_rule(out, &widths, ["┌", "┬", "┐"]);
        for (index, block) in self.blocks.iter().enumerate() {
            if index > 0 {
                push_rule(out, &widths, ["├", "┼", "┤"]);
            }
            for row in block {
                self.push_row(out, &widths, row);
            }
        }
        push_rule(out, &widths, ["└", "┴", "┘"]);
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.blocks[0][0].len();
        let width = |column: usize| self.blocks.iter().flatten().map(|row| row[column].chars().count()).max();
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }

    fn push_row(&self, out: &mut String, widths: &[usize], row: &[String]) {
        for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
            let _ = if column < self.left {
                write!(out, "│ {cell:<width$} ")
            } else {
                write!(out, "│ {cell:>width$} ")
            };
        }
        out.push_str("│\n");
    }
}

fn push_rule(out: &mut String, widths: &[usize], [left, middle, right]: [&str; 3]) {
    out.push_str(left);
    for (column, width) in widths.iter().enumerate() {
        if column > 0 {
            out.push_str(middle);
        }
        out.push_str(&"─".repeat(width + 2));
    }
    out.push_str(right);
    out.push('\n');
}
