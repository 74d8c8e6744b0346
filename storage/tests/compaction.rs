//! Compacted topics (`storage/PROTOCOL.md` §8), on a whole node: what readers find, through restarts and at every step.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use headgate_log::checksum::crc32c;
use headgate_log::store::StoreCall;
use headgate_metadata::id::TimestampMs;
use headgate_storage::Node;
use headgate_storage::clock::Clock as _;
use headgate_storage_client::records::{Records, put_varint};
use headgate_storage_client::{
    Append, BATCH_HEADER_BYTES, Compression, Isolation, OffsetQuery, PartitionAddress, RecordBatch, Storage,
};
use support::{Batch, Cell, START_MS, caller, cluster, partition, try_read};

const DAY: Duration = Duration::from_hours(24);

/// Key, and value or tombstone.
type Pair = (String, Option<String>);

fn pair(key: &str, value: &str) -> Pair {
    (key.to_owned(), Some(value.to_owned()))
}

fn tombstone(key: &str) -> Pair {
    (key.to_owned(), None)
}

/// A batch of these records, as a client sends it.
fn batch(codec: Compression, pairs: &[Pair], first_timestamp: i64) -> RecordBatch {
    let mut records = Vec::new();
    for (delta, (key, value)) in pairs.iter().enumerate() {
        let mut record = vec![0];
        put_varint(&mut record, delta as i64);
        put_varint(&mut record, delta as i64);
        for text in [Some(key), value.as_ref()] {
            put_varint(&mut record, text.map_or(-1, |text| text.len() as i64));
            record.extend(text.into_iter().flat_map(|text| text.bytes()));
        }
        record.push(0);
        put_varint(&mut records, record.len() as i64);
        records.extend(record);
    }
    let plain = Batch { values: vec![Vec::new(); pairs.len()], first_timestamp, producer: None };
    let mut bytes = plain.bytes()[..BATCH_HEADER_BYTES].to_vec();
    bytes[22] = codec as u8;
    bytes.extend(codec.compress(records));
    let length = (bytes.len() - 12) as u32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    RecordBatch::parse(&bytes.into()).expect("the batch is right")
}

async fn append(node: &Node, partition: PartitionAddress, codec: Compression, pairs: &[Pair]) -> u64 {
    append_at(node, partition, codec, pairs, START_MS).await
}

async fn append_at(
    node: &Node,
    partition: PartitionAddress,
    codec: Compression,
    pairs: &[Pair],
    now_ms: u64,
) -> u64 {
    let (caller, batch) = (caller(partition.key.cluster), batch(codec, pairs, now_ms as i64));
    let reservation = node.reserve(&caller, partition.slot, batch.size_bytes()).await.expect("there is room");
    let answer = node.submit_append(&caller, Append { partition, batch, reservation }).await;
    answer.expect("it is answered").expect("it is acknowledged").base_offset.get()
}

/// Everything that a reader finds from `offset` on, and how many bytes of batches that is.
async fn read(node: &Node, partition: PartitionAddress, offset: u64) -> (BTreeMap<u64, Pair>, u64) {
    let (mut found, mut size, mut next) = (BTreeMap::new(), 0, offset);
    loop {
        let bytes = try_read(node, partition, next).await.expect("the read succeeds");
        if bytes.is_empty() {
            return (found, size);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let number =
                |at: usize, bytes: &[u8]| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"));
            let (length, last_delta) = (number(8, rest) as usize + 12, u64::from(number(23, rest)));
            let base = u64::from_be_bytes(rest[..8].try_into().expect("eight"));
            assert_eq!(number(17, rest), crc32c(&rest[21..length]), "the batch at {base} has its checksum");
            let codec = Compression::of_attributes(i16::from(rest[22])).expect("a codec");
            let records = bytes.slice_ref(&rest[BATCH_HEADER_BYTES..length]);
            let records = codec.decompress(&records).expect("it decodes");
            let before = found.len();
            for record in Records::new(&records) {
                let record = record.expect("it decodes");
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
                let at = base + record.offset_delta as u64;
                assert!(at <= base + last_delta);
                found.insert(at, (text(record.key.expect("a key")), record.value.map(text)));
            }
            assert_eq!((found.len() - before) as u32, number(57, rest), "the count of the batch at {base}");
            next = base + last_delta + 1;
            size += length as u64;
            rest = &rest[length..];
        }
        found = found.split_off(&offset);
    }
}

async fn cell(configs: &[(&str, &str)]) -> Cell {
    let mut cell = Cell::new().await;
    // Nothing is served from memory once it is in an object.
    cell.config.tail_bytes_max = 1;
    cell.put_topic(partition(1, 0), configs).await;
    cell
}

async fn flush_and_compact(node: &Node) {
    node.flush_now().await.expect("the flush succeeds");
    node.compact_now().await.expect("the pass succeeds");
}

async fn log_start(node: &Node) -> u64 {
    let found = node.offsets_at(&caller(cluster(1)), partition(1, 0), OffsetQuery::Earliest).await;
    found.expect("owned").offset.expect("there is a beginning").get()
}

async fn log_end(node: &Node) -> u64 {
    let latest = OffsetQuery::Latest(Isolation::ReadUncommitted);
    let found = node.offsets_at(&caller(cluster(1)), partition(1, 0), latest).await.expect("owned");
    found.offset.expect("there is an end").get()
}

fn stored(node: &Node) -> u64 {
    let snapshot = node.usage_snapshot(cluster(1));
    snapshot.partitions.iter().map(|usage| usage.counters.stored.current.get()).sum()
}

#[tokio::test]
async fn section_8_of_each_key_the_newest_record_stays_where_it_was() {
    let cell = cell(&[("cleanup.policy", "compact")]).await;
    let node = cell.start().await;
    let at = partition(1, 0);
    append(&node, at, Compression::Zstd, &[pair("a", "1"), pair("b", "1"), pair("a", "2")]).await;
    append(&node, at, Compression::None, &[pair("a", "3"), pair("c", "1")]).await;
    append(&node, at, Compression::Gzip, &[pair("b", "2")]).await;
    flush_and_compact(&node).await;
    let left = [(3, pair("a", "3")), (4, pair("c", "1")), (5, pair("b", "2"))];
    assert_eq!(read(&node, at, 0).await.0, BTreeMap::from(left.clone()));
    // What comes later is not lost behind it, and a start begins with what was committed.
    append(&node, at, Compression::None, &[pair("d", "1")]).await;
    node.halt().await;
    let node = cell.start().await;
    let all: BTreeMap<u64, Pair> = left.into_iter().chain([(6, pair("d", "1"))]).collect();
    for offset in 0..=7 {
        let from = all.clone().split_off(&offset);
        assert_eq!(read(&node, at, offset).await.0, from, "from {offset}");
    }
    assert_eq!(log_end(&node).await, 7);
    node.shutdown().await;
}

#[tokio::test]
async fn a_topic_that_is_not_compacted_stays_whole() {
    let cell = cell(&[]).await;
    let node = cell.start().await;
    append(&node, partition(1, 0), Compression::None, &[pair("a", "1"), pair("a", "2")]).await;
    flush_and_compact(&node).await;
    assert_eq!(read(&node, partition(1, 0), 0).await.0.len(), 2);
    node.shutdown().await;
}

#[tokio::test]
async fn a_tombstone_goes_a_day_after_what_it_deletes() {
    let cell = cell(&[("cleanup.policy", "compact")]).await;
    let node = cell.start().await;
    let at = partition(1, 0);
    append(&node, at, Compression::Lz4, &[pair("a", "1")]).await;
    append(&node, at, Compression::Lz4, &[tombstone("a"), pair("b", "1")]).await;
    flush_and_compact(&node).await;
    assert_eq!(read(&node, at, 0).await.0, BTreeMap::from([(1, tombstone("a")), (2, pair("b", "1"))]));
    for (wait, has_tombstone, length) in [(DAY / 2, true, 1000), (DAY, false, 5000)] {
        cell.clock.advance(wait);
        // Something new, larger than what is there, makes a pass due.
        let offset = append(&node, at, Compression::None, &[pair("c", &"x".repeat(length))]).await;
        flush_and_compact(&node).await;
        let left = read(&node, at, 0).await.0;
        assert_eq!(left.contains_key(&1), has_tombstone);
        assert_eq!(left.keys().copied().filter(|at| *at > 1).collect::<Vec<_>>(), [2, offset]);
    }
    node.shutdown().await;
}

#[tokio::test]
async fn section_13_a_wall_clock_that_jumps_ahead_ends_no_tombstone() {
    let cell = cell(&[("cleanup.policy", "compact")]).await;
    let node = cell.start().await;
    let at = partition(1, 0);
    append(&node, at, Compression::None, &[pair("a", "1"), tombstone("a")]).await;
    flush_and_compact(&node).await;
    cell.clock.step_wall(TimestampMs::new(START_MS + 1000 * 3_600_000));
    append(&node, at, Compression::None, &[pair("b", &"x".repeat(1000))]).await;
    flush_and_compact(&node).await;
    assert_eq!(read(&node, at, 0).await.0.get(&1), Some(&tombstone("a")));
    node.shutdown().await;
}

#[tokio::test]
async fn retention_applies_where_the_policy_has_delete_too_and_nowhere_else() {
    for (policy, left) in [("compact", 1), ("compact,delete", 0)] {
        let cell = cell(&[("cleanup.policy", policy), ("retention.ms", "10000")]).await;
        let node = cell.start().await;
        append(&node, partition(1, 0), Compression::None, &[pair("a", "1"), pair("a", "2")]).await;
        flush_and_compact(&node).await;
        cell.clock.advance(Duration::from_mins(1));
        node.keep_house_now().await;
        let (found, size) = read(&node, partition(1, 0), log_start(&node).await).await;
        assert_eq!((found.len(), stored(&node)), (left, size), "{policy}");
        node.shutdown().await;
    }
}

/// A pass that is cut off at any moment leaves what was there; the bill follows what is there in the end.
#[tokio::test]
async fn a_pass_that_fails_loses_nothing_and_is_made_again() {
    for call in [StoreCall::Put, StoreCall::Get] {
        for after in 0..6 {
            let cell = cell(&[("cleanup.policy", "compact")]).await;
            let node = cell.start().await;
            let at = partition(1, 0);
            for number in 0..20 {
                append(&node, at, Compression::None, &[pair("a", &number.to_string()), pair("b", "1")]).await;
            }
            node.flush_now().await.expect("the flush succeeds");
            cell.objects.fail_after(call, after);
            let failed = node.compact_now().await.is_err();
            cell.objects.heal();
            let newest = |found: &BTreeMap<u64, Pair>| found.get(&38).cloned();
            assert_eq!(newest(&read(&node, at, 0).await.0), Some(pair("a", "19")), "{call:?} {after}");
            node.halt().await;
            let node = cell.start().await;
            flush_and_compact(&node).await;
            node.keep_house_now().await;
            let (found, size) = read(&node, at, 0).await;
            assert_eq!(
                found,
                BTreeMap::from([(38, pair("a", "19")), (39, pair("b", "1"))]),
                "{call:?} {after} {failed}"
            );
            assert_eq!(stored(&node), size);
            node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn what_a_pass_replaced_is_deleted_after_the_grace() {
    let cell = cell(&[("cleanup.policy", "compact")]).await;
    let node = cell.start().await;
    let at = partition(1, 0);
    for number in 1..4 {
        append(&node, at, Compression::None, &[pair("a", &"x".repeat(300 * number))]).await;
        flush_and_compact(&node).await;
    }
    // Chain entries go with the manifests that took them in.
    node.write_manifests_now().await.expect("the manifests are written");
    for _ in 0..2 {
        node.collect_garbage_now().await.expect("the store answers");
        cell.clock.advance(Duration::from_hours(2));
    }
    let paths = cell.objects.paths().await;
    let count = |kind: &str| paths.iter().filter(|path| path.starts_with(kind)).count();
    assert_eq!((count("compacted/"), count("flush/")), (1, 0), "{paths:?}");
    assert_eq!(read(&node, at, 0).await.0.len(), 1);
    node.shutdown().await;
}

/// What was appended: by offset.
#[derive(Default)]
struct Log(BTreeMap<u64, Pair>);

impl Log {
    /// What a reader must find, given what it found: the newest record of each key, no more than was appended, and of a key whose
    /// newest record is gone nothing at all. What lies below `start` was taken by retention.
    fn check(&self, found: &BTreeMap<u64, Pair>, start: u64, context: &str) {
        for (offset, record) in found {
            assert_eq!(Some(record), self.0.get(offset), "{context}: the record at {offset}");
        }
        let newest: BTreeMap<&String, u64> =
            self.0.range(start..).map(|(offset, (key, _))| (key, *offset)).collect();
        for (key, offset) in newest {
            let is_deleted = self.0[&offset].1.is_none();
            let is_found = found.contains_key(&offset);
            assert!(is_found || is_deleted, "{context}: the newest record of {key}, at {offset}, is lost");
            let left = found.values().filter(|(of, _)| of == key).count();
            assert!(is_found || left == 0, "{context}: a deleted value of {key} is back");
        }
        assert_eq!(self.0.range(start..).next_back(), found.iter().next_back(), "{context}: the end");
    }
}

/// Appends, flushes, passes, restarts and collected garbage in any order: drawn from a seed.
#[tokio::test]
async fn section_8_whatever_happens_in_between_the_newest_of_each_key_is_found() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    for seed in 0..40 {
        let mut draw = StdRng::seed_from_u64(seed);
        let policy = if seed % 2 == 0 { "compact" } else { "compact,delete" };
        let mut cell = cell(&[("cleanup.policy", policy), ("retention.ms", "50000000")]).await;
        cell.config.tail_bytes_max = if draw.random_bool(0.5) { 1 } else { 4096 };
        let (at, mut log) = (partition(1, 0), Log::default());
        let mut node = cell.start().await;
        let keys = draw.random_range(1..12);
        for step in 0..60 {
            let context = format!("seed {seed} step {step}");
            match draw.random_range(0..12) {
                0..6 => {
                    let pairs: Vec<Pair> = (0..draw.random_range(1..6))
                        .map(|_| {
                            let key = format!("k{}", draw.random_range(0..keys));
                            let value = draw.random_bool(0.8).then(|| "v".repeat(draw.random_range(1..300)));
                            (key, value)
                        })
                        .collect();
                    let codec = Compression::of_attributes(draw.random_range(0..5)).expect("a codec");
                    let base = append_at(&node, at, codec, &pairs, cell.clock.wall().get()).await;
                    log.0.extend((base..).zip(pairs));
                }
                6 => node.flush_now().await.expect("the flush succeeds"),
                7 => node.write_manifests_now().await.expect("the manifests are written"),
                8 => flush_and_compact(&node).await,
                9 => {
                    node.halt().await;
                    node = cell.start().await;
                }
                10 => {
                    cell.clock.advance(Duration::from_hours(draw.random_range(1..20)));
                    node.collect_garbage_now().await.expect("the store answers");
                }
                _ => node.keep_house_now().await,
            }
            let start = log_start(&node).await;
            let (mut found, _) = read(&node, at, start).await;
            log.check(&found, start, &context);
            let from = draw.random_range(start..=log_end(&node).await);
            assert_eq!(read(&node, at, from).await.0, found.split_off(&from), "{context}: from {from}");
        }
        // In the end the bill says what is there, and nothing is kept that nothing names.
        flush_and_compact(&node).await;
        node.halt().await;
        cell.config.tail_bytes_max = 1;
        let node = cell.start().await;
        node.flush_now().await.expect("the flush succeeds");
        node.keep_house_now().await;
        let start = log_start(&node).await;
        let (found, size) = read(&node, at, start).await;
        log.check(&found, start, &format!("seed {seed} in the end"));
        assert_eq!(stored(&node), size, "seed {seed}");
        node.shutdown().await;
    }
}
