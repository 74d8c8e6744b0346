use bytes::{Bytes, BytesMut};
use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;

use super::*;
use crate::value::{Series, Value};

fn value(sequence: u64) -> Value {
    Value {
        series: Series { run: 1, producer: 2, partition: 3 },
        sequence,
        sent_micros: 1_700_000_000_000_000 + sequence as i64,
    }
}

fn batch(count: u64, record_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(4096);
    for sequence in 0..count {
        builder.push(&value(sequence), record_bytes);
    }
    builder.finish(Some((77, 1, 5)))
}

#[test]
fn a_built_batch_is_accepted_by_an_independent_decoder() {
    let mut bytes = batch(300, 100);
    let set = RecordBatchDecoder::decode(&mut bytes).expect("decodes");
    assert_eq!(set.records.len(), 300);
    for (index, record) in set.records.iter().enumerate() {
        assert_eq!(record.offset, index as i64);
        assert_eq!((record.producer_id, record.producer_epoch), (77, 1));
        assert_eq!(record.sequence, 5 + index as i32);
        let bytes = record.value.as_ref().expect("has a value");
        assert_eq!(bytes.len(), 100);
        assert_eq!(Value::parse(bytes), Some(value(index as u64)));
    }
}

#[test]
fn a_built_batch_is_read_back_with_offsets_values_and_size() {
    let mut bytes = batch(3, 40);
    let whole = bytes.len() as u64;
    let parsed = RecordBatch::split_first(&mut bytes).expect("well formed").expect("whole");
    assert!(bytes.is_empty());
    assert!(parsed.crc_is_right());
    assert!(!parsed.is_control() && !parsed.is_compressed());
    assert_eq!(parsed.next_offset(), 3);
    assert_eq!(parsed.stored_bytes(), whole);
    let mut seen = Vec::new();
    parsed.for_each_record(|offset, bytes| seen.push((offset, Value::parse(bytes)))).expect("well formed");
    assert_eq!(seen, (0..3).map(|index| (index, Some(value(index as u64)))).collect::<Vec<_>>());
}

#[test]
fn a_flipped_bit_in_the_summed_range_is_noticed() {
    let whole = batch(3, 40);
    for position in CRC_RANGE_START..whole.len() {
        let mut bytes = BytesMut::from(&whole[..]);
        bytes[position] ^= 1;
        let parsed = RecordBatch::split_first(&mut bytes.freeze()).expect("framed").expect("whole");
        assert!(!parsed.crc_is_right(), "flip at {position} was not noticed");
    }
}

#[test]
fn a_cut_batch_is_left_for_the_next_fetch() {
    let whole = batch(3, 40);
    for length in 0..whole.len() {
        assert!(RecordBatch::split_first(&mut whole.slice(..length)).expect("no defect").is_none());
    }
}

#[test]
fn lengths_shorter_than_a_header_are_defects() {
    for length in [-1, 0, 48, i32::MIN] {
        let mut bytes = BytesMut::from(&batch(1, 40)[..]);
        bytes[8..12].copy_from_slice(&i32::to_be_bytes(length));
        assert_eq!(RecordBatch::split_first(&mut bytes.freeze()).unwrap_err(), BatchDefect::Length(length));
    }
}

#[test]
fn old_message_formats_are_defects() {
    let mut bytes = BytesMut::from(&batch(1, 40)[..]);
    bytes[16] = 1;
    assert_eq!(RecordBatch::split_first(&mut bytes.freeze()).unwrap_err(), BatchDefect::Magic(1));
}

#[test]
fn a_record_count_beyond_the_bytes_is_a_defect() {
    let mut bytes = BytesMut::from(&batch(2, 40)[..]);
    bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    let parsed = RecordBatch::split_first(&mut bytes.freeze()).expect("framed").expect("whole");
    assert_eq!(parsed.for_each_record(|_, _| ()), Err(BatchDefect::Record(2)));
}

#[test]
fn a_batch_is_full_before_it_exceeds_its_limit() {
    let mut builder = BatchBuilder::with_capacity(1024);
    while !builder.is_full(100, 1024) {
        builder.push(&value(0), 100);
    }
    let mut bytes = builder.finish(None);
    assert!(bytes.len() <= 1024);
    let parsed = RecordBatch::split_first(&mut bytes).expect("well formed").expect("whole");
    assert_eq!(parsed.record_count, 8);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), framed in any::<bool>()) {
        if framed && bytes.len() >= HEADER_BYTES {
            let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
        }
        if let Ok(Some(batch)) = RecordBatch::split_first(&mut Bytes::from(bytes)) {
            let _ = batch.for_each_record(|_, _| ());
        }
    }
}
