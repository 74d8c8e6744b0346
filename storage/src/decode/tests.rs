use std::io::Write;

use super::*;

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

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
    check_finds(&stored(0, &plain()));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain()).expect("memory takes everything");
    check_finds(&stored(1, &gzip.finish().expect("memory takes everything")));
    let block = snap::raw::Encoder::new().compress_vec(&plain()).expect("small input compresses");
    check_finds(&stored(2, &block));
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&plain()).expect("memory takes everything");
    check_finds(&stored(3, &lz4.finish().expect("memory takes everything")));
    check_finds(&stored(4, &zstd::encode_all(&plain()[..], 1).expect("memory takes everything")));
}

#[test]
fn xerials_snappy_framing_is_read_block_by_block() {
    let whole = plain();
    let (first, second) = whole.split_at(7);
    let mut framed = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1][..]].concat();
    for part in [first, second] {
        let block = snap::raw::Encoder::new().compress_vec(part).expect("small input compresses");
        framed.extend((block.len() as u32).to_be_bytes());
        framed.extend(block);
    }
    check_finds(&stored(2, &framed));
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
fn a_batch_that_expands_beyond_the_bound_is_refused() {
    let bomb =
        zstd::encode_all(std::io::repeat(0).take(DECOMPRESSED_BYTES_MAX + 2), 1).expect("zeros compress");
    assert_eq!(
        stored(4, &bomb).first_at_least(1010, Offset::new(0)),
        Err(Undecodable("expands beyond the bound"))
    );
}

#[test]
fn records_below_the_offset_asked_from_are_passed_over() {
    let found = stored(0, &plain()).first_at_least(0, Offset::new(102)).expect("records decode");
    assert_eq!(found, Some(RecordTime { offset: Offset::new(102), timestamp: 1003 }));
}
