use std::collections::BTreeMap;

use super::*;

const NOW: i64 = 1_700_000_000_000;

/// A batch of one record with a null key and an empty value, at this time.
fn batch(timestamp: i64, attributes: i16, records: &[u8]) -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch[8..12].copy_from_slice(&(49 + records.len() as i32).to_be_bytes());
    batch[16] = 2;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[27..35].copy_from_slice(&timestamp.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
    batch[43..57].copy_from_slice(&[0xff; 14]);
    batch[57..61].copy_from_slice(&1_i32.to_be_bytes());
    batch.extend(records);
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[21..]) as u32;
    batch[17..21].copy_from_slice(&sum.to_be_bytes());
    batch
}

const RECORD: &[u8] = &[12, 0, 0, 0, 1, 0, 0];

fn rules(set: &[(&str, &str)]) -> ProduceRules {
    let configs: BTreeMap<String, String> =
        set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ProduceRules::of(&configs)
}

fn code(version: i16, set: &[(&str, &str)], batch: Vec<u8>) -> i16 {
    check_batch(version, &rules(set), &Bytes::from(batch), NOW).err().map_or(0, |refused| refused.code)
}

#[test]
fn a_sound_batch_is_accepted() {
    assert_eq!(code(9, &[], batch(NOW, 0, RECORD)), 0);
}

#[test]
fn a_batch_longer_than_the_topic_allows_is_too_large() {
    let size = 61 + RECORD.len();
    assert_eq!(code(9, &[("max.message.bytes", &size.to_string())], batch(NOW, 0, RECORD)), 0);
    assert_eq!(code(9, &[("max.message.bytes", &(size - 1).to_string())], batch(NOW, 0, RECORD)), 10);
}

#[test]
fn damage_is_noticed_before_anything_else_is_believed() {
    let good = batch(NOW, 0, RECORD);
    for at in 21..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(code(9, &[], bad), 2, "byte {at}");
    }
    assert_eq!(code(9, &[], Vec::new()), 2, "null or no records");
}

#[test]
fn control_and_transactional_batches_are_refused() {
    let mut control = batch(NOW, 0x20, RECORD);
    assert_eq!(code(9, &[], control.clone()), 87);
    control = batch(NOW, 0x10, RECORD);
    assert_ne!(code(9, &[], control), 0);
}

#[test]
fn records_that_do_not_add_up_are_refused() {
    assert_eq!(code(9, &[], batch(NOW, 0, &[12, 0, 0, 2, 1, 0, 0])), 87);
    assert_eq!(code(9, &[], batch(NOW, 0, &[])), 87);
}

#[test]
fn compressed_records_pass_untouched() {
    for codec in 1..=4 {
        assert_eq!(code(9, &[], batch(NOW, codec, b"opaque")), 0, "codec {codec}");
    }
    assert_eq!(code(9, &[], batch(NOW, 5, b"opaque")), 76);
}

#[test]
fn zstd_needs_a_version_that_knows_it() {
    assert_eq!(code(6, &[], batch(NOW, 4, b"opaque")), 76);
    assert_eq!(code(7, &[], batch(NOW, 4, b"opaque")), 0);
}

#[test]
fn a_timestamp_too_far_from_now_is_refused_in_both_directions() {
    let set = [("message.timestamp.difference.max.ms", "1000")];
    for (timestamp, expected) in
        [(NOW - 1000, 0), (NOW + 1000, 0), (NOW - 1001, 32), (NOW + 1001, 32), (-1, 0)]
    {
        assert_eq!(code(9, &set, batch(timestamp, 0, RECORD)), expected, "{timestamp}");
    }
}

#[test]
fn log_append_time_replaces_the_producers() {
    let rules = rules(&[("message.timestamp.type", "LogAppendTime")]);
    let stamped = check_batch(9, &rules, &Bytes::from(batch(5, 0, RECORD)), NOW).expect("accepted");
    assert_eq!(stamped.max_timestamp(), NOW);
    let whole = [&stamped.header()[..], stamped.records()].concat();
    assert!(RecordBatch::parse(&Bytes::from(whole)).is_ok(), "its checksum is made anew");
}
