use headgate_storage_client::records::put_varint;

use super::*;

fn records(timestamp_deltas: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    for (offset_delta, timestamp_delta) in timestamp_deltas.iter().enumerate() {
        let mut record = vec![0];
        put_varint(&mut record, *timestamp_delta);
        put_varint(&mut record, offset_delta as i64);
        record.extend([1, 4, b'v', b'v', 0]);
        put_varint(&mut out, record.len() as i64);
        out.extend(record);
    }
    out
}

/// Four records at 1000, 1005, 1003 and 1010 from offset 100 on.
fn stored(codec: u8, compressed: &[u8]) -> StoredBatch {
    let mut batch = vec![0; BATCH_HEADER_BYTES];
    batch[0..8].copy_from_slice(&100_u64.to_be_bytes());
    batch[8..12].copy_from_slice(&((BATCH_HEADER_BYTES - 12 + compressed.len()) as u32).to_be_bytes());
    batch[12..16].copy_from_slice(&7_u32.to_be_bytes());
    batch[22] = codec;
    batch[23..27].copy_from_slice(&3_u32.to_be_bytes());
    batch[27..35].copy_from_slice(&1000_i64.to_be_bytes());
    batch[35..43].copy_from_slice(&1010_i64.to_be_bytes());
    batch.extend(compressed);
    StoredBatch::split_from(&mut batch.into()).expect("the batch is whole")
}

fn plain() -> Vec<u8> {
    records(&[0, 5, 3, 10])
}

fn check_finds(batch: &StoredBatch) {
    let found = |target| {
        batch
            .first_at_least(target, Offset::new(0))
            .expect("records decode")
            .map(|at| (at.offset.get(), at.timestamp))
    };
    assert_eq!(found(0), Some((100, 1000)));
    assert_eq!(found(1001), Some((101, 1005)));
    assert_eq!(found(1006), Some((103, 1010)));
    assert_eq!(found(1011), None);
}

#[test]
fn the_first_record_at_or_after_a_time_is_found_under_every_codec() {
    for attributes in 0..=4 {
        let codec = Compression::of_attributes(attributes).expect("a codec");
        check_finds(&stored(attributes as u8, &codec.compress(plain())));
    }
}

#[test]
fn a_batch_with_log_append_time_is_found_by_its_first_record_without_decoding() {
    let mut batch = stored(0, b"not records").bytes().to_vec();
    batch[22] |= 0x08;
    let batch = StoredBatch::split_from(&mut batch.into()).expect("the batch is whole");
    let found = batch.first_at_least(1005, Offset::new(0)).expect("nothing is decoded");
    assert_eq!(found, Some(RecordTime { offset: Offset::new(100), timestamp: 1010 }));
}

#[test]
fn records_that_are_cut_or_nonsense_are_undecodable_and_never_panic() {
    let whole = plain();
    for length in 0..whole.len() {
        for codec in 0..=5 {
            let _ = stored(codec, &whole[..length]).first_at_least(1010, Offset::new(0));
        }
    }
    assert!(stored(0, &[0x80; 30]).first_at_least(1010, Offset::new(0)).is_err());
    assert!(stored(5, &whole).first_at_least(1010, Offset::new(0)).is_err());
}

#[test]
fn records_below_the_offset_asked_from_are_passed_over() {
    let found = stored(0, &plain()).first_at_least(0, Offset::new(102)).expect("records decode");
    assert_eq!(found, Some(RecordTime { offset: Offset::new(102), timestamp: 1003 }));
}
