//! `headgate slot list` and `headgate slot place`: which node owns which slots, and where they shall live.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use headgate_metadata::id::{NodeId, SlotId};
use headgate_metadata::keys;
use headgate_metadata::record::{NodeRecord, PlacementRecord, Record as _, SlotRecord};
use headgate_metadata::store::{SharedStore, TRANSACTION_OPERATIONS_MAX, Transaction, Write};

use crate::cli::SlotCommand;
use crate::roles::cell;

/// Runs the command.
pub(crate) async fn run(command: SlotCommand) -> Result<()> {
    match command {
        SlotCommand::List { cell } => list(&cell::metadata_store(&cell.decide()?)?).await,
        SlotCommand::Place { slots, node, cell } => {
            let settings = cell.decide()?;
            let store = cell::metadata_store(&settings)?;
            let count = cell::record(&store, &settings).await?.slots;
            place(&store, &parse_slots(&slots, count)?, node.map(NodeId::new)).await
        }
    }
}

async fn list(store: &SharedStore) -> Result<()> {
    let mut by_node: BTreeMap<NodeId, Vec<SlotId>> = BTreeMap::new();
    for entry in store.list(keys::NODES).await? {
        by_node.entry(NodeRecord::decode(&entry.value)?.node).or_default();
    }
    for entry in store.list(keys::SLOTS).await? {
        let slot: SlotId = entry.key.strip_prefix(keys::SLOTS).unwrap_or_default().parse()?;
        by_node.entry(SlotRecord::decode(&entry.value)?.owner.node).or_default().push(slot);
    }
    let most = by_node.values().map(Vec::len).max().unwrap_or(0).max(1);
    println!("node  slots");
    for (node, slots) in by_node {
        println!(
            "{:<5} {:>5}  {:<40} {}",
            node.get(),
            slots.len(),
            "█".repeat(slots.len() * 40 / most),
            ranges(&slots)
        );
    }
    Ok(())
}

/// Neighbouring slots as ranges, shortened.
fn ranges(slots: &[SlotId]) -> String {
    const SHOWN: usize = 6;
    let runs: Vec<String> = slots
        .chunk_by(|left, right| left.get() + 1 == right.get())
        .map(|run| match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    let more = if runs.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", runs[..runs.len().min(SHOWN)].join(", "))
}

/// Writes where slots shall live; their owners move them and nobody moves them back. Without a node they go home again.
async fn place(store: &SharedStore, slots: &[SlotId], node: Option<NodeId>) -> Result<()> {
    if let Some(node) = node {
        store.get(&keys::node(node)).await?.with_context(|| format!("no storage node {node} is alive"))?;
    }
    for some in slots.chunks(TRANSACTION_OPERATIONS_MAX) {
        let mut transaction = Transaction::new();
        for slot in some {
            let key = keys::placement(*slot);
            transaction = transaction.then(match node {
                Some(node) => Write::Put(key, PlacementRecord { node }.encode()),
                None => Write::Delete(key),
            });
        }
        store.commit(transaction).await?;
    }
    match node {
        Some(node) => {
            println!("{} slots shall live on node {node}; `headgate slot list` shows them go", slots.len());
        }
        None => println!("{} slots shall live where they are at home", slots.len()),
    }
    Ok(())
}

/// `7`, `0-255`, or several of them between commas.
fn parse_slots(text: &str, count: u16) -> Result<Vec<SlotId>> {
    let mut slots = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number =
            |text: &str| text.trim().parse::<u16>().with_context(|| format!("`{text}` is not a slot"));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= count {
            bail!("`{part}`: the cell has slots 0 to {}", count - 1);
        }
        slots.extend((first..=last).map(SlotId::new));
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_as_numbers_and_ranges_and_wrong_ones_are_refused() {
        let parsed =
            |text| parse_slots(text, 16).map(|slots| slots.iter().map(|slot| slot.get()).collect::<Vec<_>>());
        assert_eq!(parsed("3").expect("a slot"), [3]);
        assert_eq!(parsed("0-2,7").expect("slots"), [0, 1, 2, 7]);
        assert!(parsed("15-16").is_err() && parsed("2-1").is_err() && parsed("x").is_err());
    }

    #[test]
    fn neighbours_are_shown_as_ranges() {
        let slots: Vec<SlotId> = [1, 2, 3, 7].map(SlotId::new).into();
        assert_eq!(ranges(&slots), "1-3, 7");
    }
}
