//! Golden bytes of manifest, state object and list object: a change here is a new format version.

use std::collections::BTreeMap;

use bytes::Bytes;
use headgate_metadata::id::{
    ByteCount, KeyId, Offset, ProducerEpoch, ProducerId, SlotEpoch, SlotId, TimestampMs,
};
use headgate_metadata::record::Applied;
use proptest::prelude::*;

use crate::fixture::{at, cluster, partition, wal_id};
use crate::manifest::{
    AbortedTransaction, ListRef, Manifest, PartitionManifest, ProducerState, RunRef, StateObject,
    decode_list, decode_state, encode_list, encode_state,
};
use crate::object::{ObjectName, SequencedBatch, StateKey, flush_name, list_name, state_name};
use crate::usage::{StoredBytes, UsageCounters};

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn slot() -> SlotId {
    SlotId::new(3)
}

fn run(base: u64, next: u64, object: ObjectName) -> RunRef {
    RunRef {
        object,
        object_range: 0x10..0x90,
        checksum: 0x0a0b_0c0d,
        key_id: KeyId::new(0),
        base_offset: Offset::new(base),
        next_offset: Offset::new(next),
        base_timestamp: 1_000,
        max_timestamp: -1,
        billable_bytes: ByteCount::new(0x80),
        max_slot_time: TimestampMs::new(0x500),
        slot_epoch: SlotEpoch::new(2),
    }
}

fn key(name: &'static [u8]) -> StateKey {
    StateKey { kind: 9, cluster: cluster(), key: Bytes::from_static(name) }
}

fn partition_manifest() -> PartitionManifest {
    let producer = ProducerState {
        epoch: ProducerEpoch::new(1),
        batches: vec![SequencedBatch {
            base_sequence: 8,
            base_offset: Offset::new(12),
            record_count: 2,
            max_timestamp: 1_001,
        }],
        last_slot_time: TimestampMs::new(0x500),
        open_transaction_start: Some(Offset::new(12)),
    };
    PartitionManifest {
        log_start: Offset::new(4),
        next_offset: Offset::new(14),
        removed: false,
        lists: vec![ListRef {
            object: list_name(slot(), SlotEpoch::new(1), 5),
            base_offset: Offset::new(0),
            next_offset: Offset::new(10),
            run_count: 7,
            max_timestamp: 999,
            bytes: 0x1000,
        }],
        runs: vec![run(10, 14, flush_name(wal_id(), at(0x100), 1))],
        epoch_starts: vec![(SlotEpoch::new(2), Offset::new(10))],
        producers: BTreeMap::from([(ProducerId::new(0x77), producer)]),
        aborted: vec![AbortedTransaction {
            producer: ProducerId::new(0x77),
            first_offset: Offset::new(9),
            marker_offset: Offset::new(11),
        }],
        counters: UsageCounters {
            bytes_in: ByteCount::new(0x200),
            bytes_out: ByteCount::new(0x300),
            stored: StoredBytes {
                byte_ms: 0x0400,
                current: ByteCount::new(0x80),
                since: TimestampMs::new(0x500),
            },
        },
    }
}

fn manifest() -> Manifest {
    Manifest {
        slot: slot(),
        applied: Some(Applied { epoch: SlotEpoch::new(2), position: at(0x900) }),
        slot_time: TimestampMs::new(0x600),
        partitions: BTreeMap::from([(partition(5), partition_manifest())]),
        state_object: Some(StateObject { name: state_name(slot(), SlotEpoch::new(1), 9), bytes: 0x55 }),
        state_delta: BTreeMap::from([(key(b"a"), Some(Bytes::from_static(b"one"))), (key(b"bb"), None)]),
        garbage: vec![state_name(slot(), SlotEpoch::new(1), 8)],
    }
}

fn state() -> BTreeMap<StateKey, Bytes> {
    BTreeMap::from([(key(b"a"), Bytes::from_static(b"one")), (key(b"bb"), Bytes::new())])
}

fn runs() -> Vec<RunRef> {
    vec![run(0, 4, flush_name(wal_id(), at(0x100), 1)), run(4, 9, flush_name(wal_id(), at(0x200), 2))]
}

#[test]
fn the_manifest_has_its_golden_bytes() {
    let expected = "48474d414e4946310100030079e48547\
                    010200000000090000000000000006000000000000\
                    010000002f000000666c7573682f312d372f30303030303030303030303030303030303235362d303030\
                    30303030303030303030303031\
                    01000000\
                    74656e616e7430311111111111111111111111111111111105000000\
                    04000000000000000e0000000000000000\
                    000200000000000000030000000000000004000000000000000000000000000080000000000000000005\
                    000000000000\
                    01000000\
                    260000006c6973742f30303030332f303030303030303030312d30303030303030303030303030303035\
                    00000000000000000a0000000000000007000000e7030000000000000010000000000000\
                    01000000\
                    00000000100000000000000090000000000000000d0c0b0a000000000a000000000000000e0000000000\
                    0000e803000000000000ffffffffffffffff8000000000000000000500000000000002000000\
                    01000000020000000a00000000000000\
                    01000000770000000000000001000005000000000000010c00000000000000\
                    01000000\
                    080000000c0000000000000002000000e903000000000000\
                    01000000\
                    770000000000000009000000000000000b00000000000000\
                    012700000073746174652f30303030332f303030303030303030312d3030303030303030303030303030\
                    30395500000000000000020000000974656e616e743031010000006101030000006f6e650974656e616e\
                    7430310200000062620000000000010000002700000073746174652f30303030332f3030303030303030\
                    30312d30303030303030303030303030303038";
    assert_eq!(hex(&manifest().encode()), expected);
}

#[test]
fn the_state_object_has_its_golden_bytes() {
    let expected = "484753544154453101000300ab51888e\
                    02000000\
                    0974656e616e7430310100000061030000006f6e\
                    650974656e616e74303102000000626200000000";
    assert_eq!(hex(&encode_state(slot(), &state())), expected);
}

#[test]
fn the_run_list_has_its_golden_bytes() {
    let expected = "484752554e4c535401000300d9feb025\
                    74656e616e7430311111111111111111111111111111111105000000\
                    02000000\
                    2f000000666c7573682f312d372f30303030303030303030303030303030303235362d30303030303030\
                    303030303030303031\
                    2f000000666c7573682f312d372f30303030303030303030303030303030303531322d30303030303030\
                    303030303030303032\
                    02000000\
                    00000000100000000000000090000000000000000d0c0b0a000000000000000000000000040000000000\
                    0000e803000000000000ffffffffffffffff8000000000000000000500000000000002000000\
                    01000000100000000000000090000000000000000d0c0b0a000000000400000000000000090000000000\
                    0000e803000000000000ffffffffffffffff8000000000000000000500000000000002000000";
    assert_eq!(hex(&encode_list(slot(), &partition(5), &runs())), expected);
}

#[test]
fn manifest_state_and_list_read_back() {
    assert_eq!(Manifest::decode(&manifest().encode()), Ok(manifest()));
    assert_eq!(Manifest::decode(&Manifest::empty(slot()).encode()), Ok(Manifest::empty(slot())));
    assert_eq!(decode_state(&encode_state(slot(), &state()), slot()), Ok(state()));
    let list = encode_list(slot(), &partition(5), &runs());
    assert_eq!(decode_list(&list), Ok((slot(), partition(5), runs())));
}

#[test]
fn the_state_of_another_slot_is_refused() {
    assert!(decode_state(&encode_state(slot(), &state()), SlotId::new(4)).is_err());
}

#[test]
fn every_bit_flip_of_a_manifest_state_or_list_is_noticed() {
    let list = encode_list(slot(), &partition(5), &runs());
    for raw in [manifest().encode(), encode_state(slot(), &state()), list] {
        let mut raw = raw.to_vec();
        for bit in 0..raw.len() * 8 {
            raw[bit / 8] ^= 1 << (bit % 8);
            let wrong = Manifest::decode(&raw).is_err()
                && decode_state(&raw, slot()).is_err()
                && decode_list(&raw).is_err();
            assert!(wrong, "bit {bit}");
            raw[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn runs_that_do_not_follow_each_other_are_refused() {
    let mut manifest = manifest();
    let partition = manifest.partitions.get_mut(&partition(5)).expect("it was put there");
    partition.runs.push(run(15, 16, flush_name(wal_id(), at(0x200), 2)));
    assert!(Manifest::decode(&manifest.encode()).is_err());
}

proptest! {
    #[test]
    fn decoding_any_bytes_never_panics(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Manifest::decode(&raw);
        let _ = decode_state(&raw, slot());
        let _ = decode_list(&raw);
    }

    #[test]
    fn decoding_a_manifest_whose_body_is_wrong_under_a_right_checksum_never_panics(at in 16_usize..500, value: u8) {
        let mut raw = manifest().encode().to_vec();
        let length = raw.len();
        raw[16 + at % (length - 16)] = value;
        let sum = crate::checksum::crc32c_of([&raw[..12], &raw[16..]]);
        raw[12..16].copy_from_slice(&sum.to_le_bytes());
        let _ = Manifest::decode(&raw);
    }
}
