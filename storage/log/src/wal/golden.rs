//! Golden bytes of the group and record headers: a change here is a new format version.

use headgate_metadata::id::{Incarnation, TimestampMs, WalId};
use proptest::prelude::*;

use crate::fixture::{Batch, at, stamp, state, wal_id};
use crate::wal::{GroupBuilder, GroupHeader, RecordHeader, RecordKind};

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn group_header() -> GroupHeader {
    GroupHeader {
        wal: wal_id(),
        position: at(0x1000),
        length: 0x2a0,
        synced_through: at(0xf00),
        time: TimestampMs::new(0x0123_4567_89ab),
        record_count: 2,
    }
}

/// The bytes a builder puts in its buffer for what `push` adds at position 0x1000.
fn pushed(push: impl FnOnce(&mut GroupBuilder)) -> Vec<u8> {
    let mut group = GroupBuilder::begin(wal_id(), at(0x1000), TimestampMs::new(0));
    push(&mut group);
    let sealed = group.seal(at(0));
    let bytes: Vec<u8> = sealed.slices().iter().flat_map(|slice| slice.to_vec()).collect();
    bytes[64..].to_vec()
}

#[test]
fn the_group_header_has_its_golden_bytes() {
    let expected = "484757414c475250\
                    0100400001000000\
                    0700000000000000\
                    0010000000000000\
                    a002000000000000\
                    000f000000000000\
                    ab89674523010000\
                    02000000fb214c42";
    assert_eq!(hex(&group_header().encode()), expected);
}

#[test]
fn the_batch_record_has_its_golden_bytes() {
    let batch = Batch::at(5, 0x0102).records(3).count(2).producer(0x77, 4, 9).transactional();
    let bytes = pushed(|group| {
        batch.push_to(group, &stamp(3, 6, 0x2000));
    });
    let expected = "03429d7770000103\
                    4010000000000000\
                    4000000003000000\
                    06000000000000000020000000000000\
                    74656e616e743031\
                    11111111111111111111111111111111\
                    0500000002000000\
                    0201000000000000\
                    ea04000000000000ea04000000000000\
                    77000000000000000400\
                    000009000000\
                    000000000000010200000034000000000252aee1d9\
                    000000000001000000000000000000000000000000000000000000000000000000000000000000005a5a5a";
    assert_eq!(hex(&bytes), expected);
}

#[test]
fn the_state_record_has_its_golden_bytes() {
    let bytes = pushed(|group| {
        group.push_state(&stamp(3, 6, 0x2000), &state(9, b"key", Some(b"value")));
    });
    let expected = "c25720c33c000201\
                    4010000000000000\
                    0800000003000000\
                    06000000000000000020000000000000\
                    74656e616e743031\
                    0900000003000000448900e8\
                    6b657976616c7565";
    assert_eq!(hex(&bytes), expected);
}

#[test]
fn a_group_header_of_another_wal_or_position_is_refused() {
    let raw = group_header().encode();
    assert_eq!(GroupHeader::decode(&raw, wal_id(), at(0x1000)), Ok(group_header()));
    let other = WalId { incarnation: Incarnation::new(8), ..wal_id() };
    assert!(GroupHeader::decode(&raw, other, at(0x1000)).is_err());
    assert!(GroupHeader::decode(&raw, wal_id(), at(0x1001)).is_err());
}

#[test]
fn a_record_of_another_wal_or_position_is_refused() {
    let batch = Batch::at(0, 7);
    let raw = pushed(|group| {
        batch.push_to(group, &stamp(3, 1, 2));
    });
    let found = RecordHeader::decode(&raw, wal_id(), at(0x1040)).expect("it is as it was written");
    assert_eq!(found.kind, RecordKind::Batch(batch.meta.clone()));
    assert!(found.payload_holds(&batch.bytes()));
    let other = WalId { incarnation: Incarnation::new(8), ..wal_id() };
    assert!(RecordHeader::decode(&raw, other, at(0x1040)).is_err());
    assert!(RecordHeader::decode(&raw, wal_id(), at(0x1041)).is_err());
}

#[test]
fn every_bit_flip_of_a_batch_record_is_noticed() {
    let batch = Batch::at(0, 7).producer(1, 0, 0);
    let mut raw = pushed(|group| {
        batch.push_to(group, &stamp(3, 1, 2));
    });
    for bit in 0..raw.len() * 8 {
        raw[bit / 8] ^= 1 << (bit % 8);
        let whole = RecordHeader::decode(&raw, wal_id(), at(0x1040));
        let holds = whole.is_ok_and(|header| header.payload_holds(&raw[112..]));
        assert!(!holds, "bit {bit}");
        raw[bit / 8] ^= 1 << (bit % 8);
    }
}

proptest! {
    #[test]
    fn decoding_any_bytes_never_panics(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = GroupHeader::decode(&raw, wal_id(), at(0));
        let _ = RecordHeader::decode(&raw, wal_id(), at(0));
    }

    #[test]
    fn a_state_record_reads_back(
        kind: u8,
        key in proptest::collection::vec(any::<u8>(), 0..40),
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
    ) {
        let pushed_state = state(kind, &key, value.as_deref());
        let raw = pushed(|group| {
            group.push_state(&stamp(1, 2, 3), &pushed_state);
        });
        let header = RecordHeader::decode(&raw, wal_id(), at(0x1040)).expect("it is as it was written");
        let payload = bytes::Bytes::copy_from_slice(&raw[60..]);
        prop_assert!(header.payload_holds(&payload));
        prop_assert_eq!(header.state(&payload), Some(pushed_state));
        prop_assert_eq!(header.stamp, stamp(1, 2, 3));
    }
}
