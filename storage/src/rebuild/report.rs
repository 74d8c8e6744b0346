//! What a rebuild found and does, drawn for people.

use std::fmt::Write as _;

use headgate_metadata::record::Applied;

use super::Rebuild;

/// The table of WALs, that of slots, then what else must be known.
pub(super) fn draw(rebuild: &Rebuild) -> String {
    let mut out = String::new();
    let wals = rebuild.logs.iter().filter(|(wal, _)| !rebuild.gone.contains(wal));
    let wals = wals.map(|(wal, log)| {
        let chain = rebuild.chains.get(wal).map_or(0, Vec::len);
        let holders: Vec<String> = log.holders.iter().map(ToString::to_string).collect();
        let copies = if holders.is_empty() { "in objects".to_owned() } else { holders.join(", ") };
        [wal.to_string(), log.flushed.to_string(), log.end.to_string(), chain.to_string(), copies]
    });
    let head = ["WAL", "flushed", "sealed at", "objects chained", "rest held by nodes"];
    table(&mut out, head, &wals.collect::<Vec<_>>());
    let slots =
        rebuild.slots.iter().filter(|(_, record)| record.manifest.is_some() || !record.spans.is_empty());
    let slots = slots.map(|(slot, record)| {
        let applied = record
            .applied
            .map_or("-".to_owned(), |Applied { epoch, position }| format!("{epoch} @ {position}"));
        let spans = record.spans.iter().map(|span| format!("{} in {} to {}", span.epoch, span.wal, span.to));
        let spans: Vec<String> = spans.collect();
        let name = record.manifest.as_deref().and_then(|name| name.rsplit('/').next()).unwrap_or("-");
        let spans = if spans.is_empty() { "-".to_owned() } else { spans.join("; ") };
        [slot.to_string(), record.epoch.to_string(), name.to_owned(), applied, spans]
    });
    let head = ["slot", "epoch", "manifest", "applied", "epochs above it"];
    table(&mut out, head, &slots.collect::<Vec<_>>());
    let empty = rebuild.slots.len()
        - rebuild
            .slots
            .values()
            .filter(|record| record.manifest.is_some() || !record.spans.is_empty())
            .count();
    let _ = writeln!(
        out,
        "{empty} slots hold nothing; {} WALs are gone: everything of theirs is in manifests",
        rebuild.gone.len()
    );
    let _ = writeln!(
        out,
        "the next incarnation is {}, the next producer id {}",
        rebuild.incarnations, rebuild.producer_ids
    );
    for note in &rebuild.notes {
        let _ = writeln!(out, "note: {note}");
    }
    for loss in &rebuild.losses {
        let _ = writeln!(out, "LOSS: {loss}");
    }
    out
}

/// Draws rows below a head; the last column is as long as it is.
fn table<const N: usize>(out: &mut String, head: [&str; N], rows: &[[String; N]]) {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rule(out, &widths, ["┌", "┬", "┐"]);
    line(out, &widths, head);
    rule(out, &widths, ["├", "┼", "┤"]);
    for row in rows {
        line(out, &widths, row.each_ref().map(String::as_str));
    }
    rule(out, &widths, ["└", "┴", "┘"]);
}

fn line<const N: usize>(out: &mut String, widths: &[usize; N], cells: [&str; N]) {
    out.push('│');
    for (cell, width) in cells.into_iter().zip(widths) {
        let _ = write!(out, " {cell:<width$} │");
    }
    out.push('\n');
}

fn rule(out: &mut String, widths: &[usize], [left, between, right]: [&str; 3]) {
    let strokes: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
    let _ = writeln!(out, "{left}{}{right}", strokes.join(between));
}
