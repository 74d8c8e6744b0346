//! Record batches.

use bytes::Bytes;
use headgate_storage_client::Compression;

/// A batch of `count` records with null keys and empty values, without a producer id.
pub(crate) fn batch(count: u32) -> Bytes {
    batch_of(&vec![""; count as usize], None)
}

/// A batch of records with null keys and these values; the producer is its id, epoch and base sequence.
pub(crate) fn batch_of(values: &[&str], producer: Option<(i64, i16, i32)>) -> Bytes {
    let mut records = Vec::new();
    for (delta, value) in values.iter().enumerate() {
        let mut record = vec![0, 0];
        varint(&mut record, delta as i64);
        varint(&mut record, -1);
        varint(&mut record, value.len() as i64);
        record.extend(value.as_bytes());
        record.push(0);
        varint(&mut records, record.len() as i64);
        records.extend(record);
    }
    whole(values.len() as u32, producer, Compression::None, records)
}

/// A batch of one record with a null key and a value of so many bytes.
pub(crate) fn batch_of_bytes(bytes: usize) -> Bytes {
    let mut record = vec![0, 0, 0, 1];
    varint(&mut record, bytes as i64);
    record.extend(vec![b'v'; bytes]);
    record.push(0);
    let mut records = Vec::new();
    varint(&mut records, record.len() as i64);
    records.extend(record);
    whole(1, None, Compression::None, records)
}

/// A batch of one record with key `k` (or none), compressed.
pub(crate) fn batch_with_key(key: Option<&str>, codec: Compression) -> Bytes {
    let mut record = vec![0, 0, 0];
    varint(&mut record, key.map_or(-1, |key| key.len() as i64));
    record.extend(key.unwrap_or_default().bytes());
    record.extend([2, b'v', 0]);
    let mut records = Vec::new();
    varint(&mut records, record.len() as i64);
    records.extend(record);
    whole(1, None, codec, records)
}

fn whole(count: u32, producer: Option<(i64, i16, i32)>, codec: Compression, records: Vec<u8>) -> Bytes {
    let records = codec.compress(records);
    let mut batch = vec![0; 61];
    batch[8..12].copy_from_slice(&(49 + records.len() as i32).to_be_bytes());
    batch[16] = 2;
    batch[22] = codec as u8;
    batch[23..27].copy_from_slice(&(count as i32 - 1).to_be_bytes());
    let (id, epoch, sequence) = producer.unwrap_or((-1, -1, -1));
    batch[43..51].copy_from_slice(&id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch.extend(&records);
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[21..]) as u32;
    batch[17..21].copy_from_slice(&sum.to_be_bytes());
    Bytes::from(batch)
}

/// Zig-zag, as records are written.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
