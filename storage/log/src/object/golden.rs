//! Golden bytes of footer, index block and state run: a change here is a new format version.

use bytes::Bytes;
use headgate_metadata::id::{
    ByteCount, KeyId, Offset, ProducerEpoch, ProducerId, SlotEpoch, SlotId, TimestampMs,
};
use proptest::prelude::*;

use crate::fixture::{at, cluster, partition, wal_id};
use crate::object::{
    AbortedInRun, FlushIndex, FlushRun, Footer, ProducerInRun, SequencedBatch, SparseEntry, StateEntry,
    StateKey, StateRun, index_codec, state_run,
};

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn footer() -> Footer {
    Footer {
        wal: wal_id(),
        start: at(0x100),
        end: at(0x900),
        index_offset: 0x700,
        index_bytes: 0x80,
        index_checksum: 0x0102_0304,
    }
}

fn run() -> FlushRun {
    FlushRun {
        slot: SlotId::new(3),
        slot_epoch: SlotEpoch::new(2),
        partition: partition(5),
        first_position: at(0x140),
        last_position: at(0x240),
        base_offset: Offset::new(10),
        next_offset: Offset::new(14),
        batch_count: 2,
        base_timestamp: 1_000,
        max_timestamp: -1,
        billable_bytes: ByteCount::new(0x300),
        stored_byte_ms: 0x0400,
        max_slot_time: TimestampMs::new(0x500),
        object_range: 0..0x300,
        checksum: 0x0a0b_0c0d,
        key_id: KeyId::new(0),
        sparse: vec![SparseEntry {
            base_offset: Offset::new(10),
            run_position: 0,
            max_timestamp_before: i64::MIN,
        }],
        producers: vec![ProducerInRun {
            id: ProducerId::new(0x77),
            epoch: ProducerEpoch::new(1),
            batches: vec![SequencedBatch {
                base_sequence: 8,
                base_offset: Offset::new(12),
                record_count: 2,
                max_timestamp: 1_001,
            }],
            last_slot_time: TimestampMs::new(0x500),
            ends_earlier_transaction: true,
            open_transaction_start: Some(Offset::new(12)),
        }],
        aborted: vec![AbortedInRun {
            producer: ProducerId::new(0x77),
            first_offset: None,
            may_begin_earlier: true,
            marker_offset: Offset::new(11),
        }],
    }
}

fn index() -> FlushIndex {
    let state_run = StateRun {
        slot: SlotId::new(3),
        slot_epoch: SlotEpoch::new(2),
        last_position: at(0x800),
        max_slot_time: TimestampMs::new(0x600),
        entry_count: 2,
        object_range: 0x300..0x380,
        checksum: 0x0e0f_0e0f,
        key_id: KeyId::new(0),
    };
    FlushIndex {
        wal: wal_id(),
        start: at(0x100),
        end: at(0x900),
        runs: vec![run()],
        state_runs: vec![state_run],
    }
}

fn entries() -> Vec<StateEntry> {
    let entry = |key: &'static [u8], value: Option<&'static [u8]>, position| StateEntry {
        key: StateKey { kind: 9, cluster: cluster(), key: Bytes::from_static(key) },
        value: value.map(Bytes::from_static),
        position: at(position),
        slot_time: TimestampMs::new(0x600),
    };
    vec![entry(b"a", Some(b"one"), 0x700), entry(b"bb", None, 0x800)]
}

#[test]
fn the_footer_has_its_golden_bytes() {
    let expected = "0007000000000000\
                    8000000000000000\
                    04030201\
                    010000000700000000000000\
                    0001000000000000\
                    0009000000000000\
                    01000000\
                    01d1acbf\
                    4847464c55534831";
    assert_eq!(hex(&footer().encode()), expected);
}

#[test]
fn the_index_block_has_its_golden_bytes() {
    let expected = "01000000\
                    030002000000\
                    74656e616e7430311111111111111111111111111111111105000000\
                    400100000000000040020000000000000a000000000000000e00000000000000\
                    02000000e803000000000000ffffffffffffffff\
                    000300000000000000040000000000000000000000000000\
                    0005000000000000\
                    000000000000000000030000000000000d0c0b0a00000000\
                    010000000a00000000000000000000000000000000000000\
                    00000080010000007700000000000000010001010c00000000000000\
                    000500000000000001000000080000000c0000000000000002000000\
                    e9030000000000000100000077000000000000000001000000000000\
                    00000b00000000000000010000000300020000000008000000000000\
                    000600000000000002000000000300000000000080030000000000000f0e0f0e00000000";
    assert_eq!(hex(&index_codec::encode(&index())), expected);
}

#[test]
fn the_state_run_has_its_golden_bytes() {
    let expected = "090174656e616e743031\
                    00070000000000000006000000000000\
                    0100000003000000\
                    616f6e65\
                    090074656e616e7430310008000000000000000600000000000002000000000000006262";
    assert_eq!(hex(&state_run::encode(&entries())), expected);
}

#[test]
fn footer_index_and_state_run_read_back() {
    assert_eq!(Footer::decode(&footer().encode(), 0x700 + 0x80 + 64), Ok(footer()));
    assert_eq!(index_codec::decode(&index_codec::encode(&index()), &footer()), Ok(index()));
    assert_eq!(state_run::decode(&state_run::encode(&entries()), 2), Ok(entries()));
}

#[test]
fn every_bit_flip_of_a_footer_is_noticed() {
    let mut raw = footer().encode();
    for bit in 0..raw.len() * 8 {
        raw[bit / 8] ^= 1 << (bit % 8);
        assert!(Footer::decode(&raw, 0x700 + 0x80 + 64).is_err(), "bit {bit}");
        raw[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_footer_of_an_object_of_another_size_is_refused() {
    assert!(Footer::decode(&footer().encode(), 0x700 + 0x80 + 63).is_err());
}

#[test]
fn an_index_that_is_cut_off_anywhere_is_refused() {
    let raw = index_codec::encode(&index());
    for length in 0..raw.len() {
        assert!(index_codec::decode(&raw[..length], &footer()).is_err(), "{length} bytes");
    }
}

proptest! {
    #[test]
    fn decoding_any_bytes_never_panics(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = index_codec::decode(&raw, &footer());
        let _ = state_run::decode(&raw, 3);
    }

    #[test]
    fn decoding_a_damaged_index_never_panics(at in 0_usize..400, value: u8) {
        let mut raw = index_codec::encode(&index());
        let length = raw.len();
        raw[at % length] = value;
        let _ = index_codec::decode(&raw, &footer());
    }
}
