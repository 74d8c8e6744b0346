//! Power loss: the disk forgets what was not synced, at a thousand seeded points.

mod support;

use headgate_storage::Node;
use headgate_storage_client::{Append, AppendError, Appended, Completion, Storage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{Batch, Cell, append, caller, partition, read_all};

/// Submits without waiting, as a pipelining client does.
async fn submit(
    node: &Node,
    at: headgate_storage_client::PartitionAddress,
    batch: &Batch,
) -> Option<Completion<Result<Appended, AppendError>>> {
    let caller = caller(at.key.cluster);
    let batch = batch.parse();
    let reservation = node.reserve(&caller, at.slot, batch.size_bytes()).await.ok()?;
    Some(node.submit_append(&caller, Append { partition: at, batch, reservation }))
}

/// Where each producer writes: clusters, slots and partitions differ.
fn place(index: usize) -> headgate_storage_client::PartitionAddress {
    partition(1 + index as u64, index as u32)
}

/// One producer's view: what it was told, and what it does not know.
#[derive(Default)]
struct Told {
    /// By sequence: the offset that was acknowledged.
    acknowledged: Vec<u64>,
}

/// Runs lives of a node under one seed: appends, flushes, manifests, a crash; then everything acknowledged must be there.
async fn survive(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let cell = Cell::new().await;
    let mut told = [Told::default(), Told::default()];
    for _life in 0..3 {
        let node = cell.start().await;
        for (index, producer) in told.iter_mut().enumerate() {
            check(&node, place(index), producer).await;
        }
        // Some lives end in a group that is torn, or whose sync fails: its bytes are written and not durable.
        let faulty_from = random.random_range(0..4);
        for (index, producer) in told.iter_mut().enumerate() {
            let at = place(index);
            if index == faulty_from {
                cell.disk.fail_writes(random.random());
                cell.disk.fail_syncs(true);
            }
            let mut pending = Vec::new();
            for _ in 0..random.random_range(1..6) {
                let sequence = (producer.acknowledged.len() + pending.len()) as u32;
                let batch = Batch::of(&[&format!("value-{sequence}")]).by(7, 0, sequence);
                pending.extend(submit(&node, at, &batch).await);
            }
            // Some answers are waited for, the rest is cut off by the crash.
            let waited = random.random_range(0..=pending.len());
            for completion in pending.into_iter().take(waited) {
                let answer = completion.await.expect("every append is answered");
                if index >= faulty_from && answer.is_err() {
                    assert!(matches!(answer, Err(AppendError::Unconfirmed | AppendError::Refused)));
                    break;
                }
                producer.acknowledged.push(answer.expect("the append is right").base_offset.get());
            }
        }
        match random.random_range(0..6) {
            _ if faulty_from < told.len() => {}
            0 => node.flush_now().await.expect("the flush succeeds"),
            1 => {
                node.flush_now().await.expect("the flush succeeds");
                node.write_manifests_now().await.expect("the manifests are written");
            }
            _ => {}
        }
        node.halt().await;
        cell.disk.crash(random.random());
        cell.disk.fail_writes(false);
        cell.disk.fail_syncs(false);
    }
    let node = cell.start().await;
    for (index, producer) in told.iter_mut().enumerate() {
        check(&node, place(index), producer).await;
    }
    node.shutdown().await;
}

/// Everything acknowledged is read back at its offset; offsets have no holes; a retry of what was cut off is answered with
/// its first offset if it survived, and appended once if it did not.
async fn check(node: &Node, at: headgate_storage_client::PartitionAddress, producer: &mut Told) {
    let records = read_all(node, at, 0).await;
    for (expected, (offset, value)) in records.iter().enumerate() {
        assert_eq!(*offset, expected as u64, "offsets have no holes");
        assert_eq!(*value, format!("value-{expected}"), "each record stands once, in the order it was sent");
    }
    for (sequence, offset) in producer.acknowledged.iter().enumerate() {
        let found = records.get(*offset as usize).map(|(_, value)| value.as_str());
        assert_eq!(found, Some(format!("value-{sequence}").as_str()), "an acknowledged record is read back");
    }
    while producer.acknowledged.len() < records.len() {
        let sequence = producer.acknowledged.len() as u32;
        let batch = Batch::of(&[&format!("value-{sequence}")]).by(7, 0, sequence);
        let offset = append(node, at, &batch).await;
        assert_eq!(offset, u64::from(sequence), "a retry gets the first offset");
        producer.acknowledged.push(offset);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_survive_a_power_cut_at_a_thousand_seeded_points() {
    for seed in 0..334 {
        eprintln!("seed {seed}");
        survive(seed).await;
    }
}
