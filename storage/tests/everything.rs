//! Everything at once, by seed: appends, faults of every seam, flushes, manifests, garbage, restarts. After each step the
//! node must hold exactly what a simple model holds.

mod support;

use std::sync::Arc;
use std::time::Duration;

use headgate_log::store::{Fault, StoreCall};
use headgate_metadata::keys;
use headgate_storage::Node;
use headgate_storage_client::{PartitionAddress, ReadError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::faulty_metadata::{FaultyMetadata, MetadataFault};
use support::{Batch, Cell, append, partition, try_read_all};

/// What a partition must hold.
#[derive(Default)]
struct Model {
    values: Vec<String>,
    bytes_in: u64,
}

struct World {
    cell: Cell,
    metadata: Arc<FaultyMetadata>,
    node: Arc<Node>,
    models: [Model; 3],
    random: StdRng,
    trace: Vec<String>,
}

fn place(index: usize) -> PartitionAddress {
    // Two clusters; the first two partitions share a slot.
    partition(1 + (index / 2) as u64, 8 * index as u32 + (index / 2) as u32)
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut cell = Cell::new().await;
        cell.config.tail_bytes_max = 2_000;
        let metadata = FaultyMetadata::over(&cell.store);
        cell.store = Arc::clone(&metadata) as _;
        let node = cell.start().await;
        let random = StdRng::seed_from_u64(seed);
        Self { cell, metadata, node, models: Default::default(), random, trace: Vec::new() }
    }

    async fn step(&mut self) {
        let step = self.random.random_range(0..12);
        self.trace.push(step.to_string());
        match step {
            0..=4 => self.append().await,
            5 => drop(self.node.flush_now().await),
            6 => {
                self.inject();
                drop(self.node.flush_now().await);
                drop(self.node.write_manifests_now().await);
            }
            7 => drop(self.node.write_manifests_now().await),
            8 => {
                self.cell.clock.advance(Duration::from_secs(self.random.random_range(1..8000)));
                self.node.keep_house_now().await;
                drop(self.node.collect_garbage_now().await);
            }
            9 => {
                self.node.shutdown().await;
                self.restart().await;
            }
            10 => {
                self.node.halt().await;
                self.cell.disk.crash(self.random.random());
                self.restart().await;
            }
            _ => self.check().await,
        }
    }

    async fn append(&mut self) {
        let index = self.random.random_range(0..self.models.len());
        let model = &mut self.models[index];
        let count = self.random.random_range(1..4);
        let sequence = model.values.len() as u32;
        let padding = "x".repeat(self.random.random_range(0..3000));
        let values: Vec<String> = (0..count).map(|more| format!("{}-{padding}", sequence + more)).collect();
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let batch = Batch::of(&texts).by(7, 0, sequence);
        assert_eq!(append(&self.node, place(index), &batch).await, u64::from(sequence));
        if self.random.random() {
            assert_eq!(
                append(&self.node, place(index), &batch).await,
                u64::from(sequence),
                "a retry is a duplicate"
            );
        }
        model.bytes_in += batch.bytes().len() as u64;
        model.values.extend(values);
    }

    /// The next calls fail; what they were for is done again later.
    fn inject(&mut self) {
        let call = [StoreCall::Put, StoreCall::Get, StoreCall::Delete][self.random.random_range(0..3)];
        let fault = if self.random.random() { Fault::Unavailable } else { Fault::LostReply };
        self.cell.objects.fail_next(call, fault);
        let fault = if self.random.random() { MetadataFault::LostReply } else { MetadataFault::LostRequest };
        let key =
            if self.random.random() { keys::flushed(self.node.wal()) } else { keys::slot(place(0).slot) };
        self.metadata.fail_next_put(key, fault);
    }

    async fn restart(&mut self) {
        // A start that meets a fault is repeated, as an operator's supervisor would.
        for _ in 0..5 {
            if let Ok(node) = self.cell.try_start().await {
                self.node = node;
                return;
            }
        }
        panic!("the node does not start");
    }

    async fn check(&mut self) {
        for (index, model) in self.models.iter().enumerate() {
            let from =
                if model.values.is_empty() { 0 } else { self.random.random_range(0..model.values.len()) };
            let found = read_patiently(&self.node, place(index), from as u64).await;
            let expected: Vec<(u64, String)> =
                (from as u64..).zip(model.values[from..].iter().cloned()).collect();
            assert!(
                found == expected,
                "partition {index} from {from}: {} of {}",
                found.len(),
                expected.len()
            );
            let usage = self.node.usage_snapshot(place(index).key.cluster);
            let counted = usage.partitions.iter().find(|usage| usage.partition == place(index));
            let bytes_in = counted.map_or(0, |usage| usage.counters.bytes_in.get());
            assert_eq!(bytes_in, model.bytes_in, "bytes in of partition {index}");
        }
    }
}

/// As a consumer does: a read that meets a fault of the store is repeated.
async fn read_patiently(node: &Node, at: PartitionAddress, from: u64) -> Vec<(u64, String)> {
    for _ in 0..20 {
        match try_read_all(node, at, from).await {
            Err(ReadError::Unreadable) => {}
            answer => return answer.expect("nothing else goes wrong"),
        }
    }
    panic!("the partition stays unreadable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_holds_what_was_acknowledged_through_any_mix_of_faults_flushes_and_restarts() {
    for seed in 0..60 {
        let mut world = World::new(seed).await;
        for _ in 0..60 {
            eprintln!("seed {seed}, steps {}", world.trace.join(" "));
            world.step().await;
        }
        world.check().await;
        world.node.halt().await;
    }
}
