use super::*;

/// A record: its key, and its value or none.
type Pair = (&'static str, Option<&'static str>);

const BASE_TIME: i64 = 1000;

fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    put_varint(out, text.map_or(-1, |text| text.len() as i64));
    out.extend(text.unwrap_or_default().bytes());
}

/// A batch from this offset on, a millisecond between its records.
pub(in crate::compaction) fn batch(base: u64, codec: Compression, pairs: &[Pair]) -> StoredBatch {
    let mut records = Vec::new();
    for (delta, (key, value)) in pairs.iter().enumerate() {
        let mut record = vec![0];
        put_varint(&mut record, delta as i64);
        put_varint(&mut record, delta as i64);
        put_text(&mut record, Some(key));
        put_text(&mut record, *value);
        record.push(0);
        put_varint(&mut records, record.len() as i64);
        records.extend(record);
    }
    let records = codec.compress(records);
    let mut bytes = vec![0; BATCH_HEADER_BYTES];
    bytes.extend(&records);
    let (length, count) = ((bytes.len() - 12) as u32, pairs.len() as u32);
    bytes[0..8].copy_from_slice(&base.to_be_bytes());
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[12..16].copy_from_slice(&1_u32.to_be_bytes());
    bytes[16] = 2;
    bytes[22] = codec as u8;
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[27..35].copy_from_slice(&BASE_TIME.to_be_bytes());
    bytes[35..43].copy_from_slice(&(BASE_TIME + i64::from(count) - 1).to_be_bytes());
    bytes[43..57].fill(0xff);
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    let checksum = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    StoredBatch::split_from(&mut bytes.into()).expect("the batch is whole")
}

/// What a batch holds: offset, time, key, value.
fn contents(batch: &StoredBatch) -> Vec<(u64, i64, String, Option<String>)> {
    assert!(headgate_log::batch_frame::checksum_holds(batch.bytes(), &[]), "its checksum is right");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let records = batch.decompressed().expect("it decodes");
    let each = Records::new(&records).map(|record| {
        let record = record.expect("it decodes");
        let offset = batch.offset_of(&record).expect("in bounds").get();
        let time = batch.base_timestamp() + record.timestamp_delta;
        (offset, time, text(record.key.expect("a key")), record.value.map(text))
    });
    each.collect()
}

fn latest(batches: &[&StoredBatch]) -> LatestOffsets {
    let mut latest = LatestOffsets::new(7);
    for batch in batches {
        latest.take(batch);
    }
    latest
}

fn rules(latest: &LatestOffsets, now_ms: i64) -> Rules<'_> {
    Rules { latest, last: Offset::new(u64::MAX), now_ms, was_compacted: true }
}

fn changed(rewritten: Rewritten) -> StoredBatch {
    match rewritten {
        Rewritten::Changed(batch) => batch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn section_8_only_the_newest_record_of_a_key_stays_under_every_codec() {
    for number in 0..=4 {
        let codec = Compression::of_attributes(number).expect("a codec");
        let first = batch(10, codec, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]);
        let second = batch(13, codec, &[("b", Some("2"))]);
        let latest = latest(&[&first, &second]);
        let rules = rules(&latest, 0);
        let left = changed(rules.rewrite(&first));
        assert_eq!(contents(&left), [(12, BASE_TIME + 2, "a".to_owned(), Some("2".to_owned()))], "{codec:?}");
        assert_eq!(
            (left.base_offset().get(), left.last_offset().get()),
            (10, 12),
            "its place is what it was"
        );
        assert_eq!(left.max_timestamp(), BASE_TIME + 2);
        assert_eq!(rules.rewrite(&second), Rewritten::Kept);
        assert_eq!(rules.rewrite(&left), Rewritten::Kept, "a second time changes nothing");
    }
}

#[test]
fn a_batch_of_which_nothing_stays_is_gone() {
    let first = batch(0, Compression::None, &[("a", Some("1"))]);
    let second = batch(1, Compression::None, &[("a", Some("2"))]);
    let latest = latest(&[&first, &second]);
    assert_eq!(rules(&latest, 0).rewrite(&first), Rewritten::Gone);
}

#[test]
fn a_tombstone_stays_a_day_after_the_pass_that_took_what_it_deletes() {
    let value = batch(0, Compression::Zstd, &[("a", Some("1"))]);
    let tombstone = batch(1, Compression::Zstd, &[("a", None), ("b", Some("1"))]);
    let latest = latest(&[&value, &tombstone]);
    assert_eq!(rules(&latest, 5000).rewrite(&value), Rewritten::Gone);
    let marked = changed(rules(&latest, 5000).rewrite(&tombstone));
    let times =
        [(1, BASE_TIME, "a".to_owned(), None), (2, BASE_TIME + 1, "b".to_owned(), Some("1".to_owned()))];
    assert_eq!(contents(&marked), times, "records keep their times");
    assert_eq!(marked.max_timestamp(), BASE_TIME + 1);
    assert_eq!(marked.base_timestamp(), 5000 + DELETE_RETENTION_MS);
    assert_eq!(rules(&latest, 5000 + DELETE_RETENTION_MS - 1).rewrite(&marked), Rewritten::Kept);
    let left = changed(rules(&latest, 5000 + DELETE_RETENTION_MS).rewrite(&marked));
    assert_eq!(contents(&left), times[1..]);
}

#[test]
fn the_last_record_of_a_pass_stays_whatever_it_is() {
    let tombstone = batch(3, Compression::None, &[("a", None)]);
    let latest = latest(&[&tombstone]);
    let marked = changed(rules(&latest, 0).rewrite(&tombstone));
    let last = Rules { last: Offset::new(3), ..rules(&latest, 2 * DELETE_RETENTION_MS) };
    assert_eq!(last.rewrite(&marked), Rewritten::Kept);
    assert_eq!(rules(&latest, 2 * DELETE_RETENTION_MS).rewrite(&marked), Rewritten::Gone);
}

#[test]
fn what_does_not_decode_stays_and_supersedes_nothing() {
    let first = batch(0, Compression::None, &[("a", Some("1"))]);
    let whole = batch(1, Compression::None, &[("a", Some("2")), ("a", Some("3"))]);
    let mut broken = whole.bytes().to_vec();
    let end = broken.len() - 1;
    broken[end] = 0x7e;
    let broken = StoredBatch::split_from(&mut broken.into()).expect("its header is whole");
    let latest = latest(&[&first, &broken]);
    assert_eq!(rules(&latest, 0).rewrite(&first), Rewritten::Kept);
    assert_eq!(rules(&latest, 0).rewrite(&broken), Rewritten::Kept);
}

#[test]
fn log_append_time_stays_the_time_of_all() {
    let mut bytes = batch(0, Compression::None, &[("a", Some("1")), ("b", Some("1"))]).bytes().to_vec();
    bytes[22] |= 0x08;
    bytes[35..43].copy_from_slice(&9000_i64.to_be_bytes());
    let first = StoredBatch::split_from(&mut bytes.into()).expect("whole");
    let second = batch(2, Compression::None, &[("a", Some("2"))]);
    let latest = latest(&[&first, &second]);
    assert_eq!(changed(rules(&latest, 0).rewrite(&first)).max_timestamp(), 9000);
}

#[test]
fn a_horizon_that_a_client_sent_ends_no_tombstone() {
    let mut bytes = batch(0, Compression::None, &[("a", None), ("b", Some("1"))]).bytes().to_vec();
    bytes[22] |= 0x40;
    let sent = StoredBatch::split_from(&mut bytes.into()).expect("whole");
    let latest = latest(&[&sent]);
    let now_ms = 2 * DELETE_RETENTION_MS;
    let first = Rules { was_compacted: false, ..rules(&latest, now_ms) };
    let marked = changed(first.rewrite(&sent));
    assert_eq!(contents(&marked).len(), 2);
    assert_eq!(marked.base_timestamp(), now_ms + DELETE_RETENTION_MS);
}
