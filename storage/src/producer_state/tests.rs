use super::*;

const NOW: TimestampMs = TimestampMs::new(1_000_000);
const MAX: u32 = 0x7fff_ffff;

fn batch(epoch: u16, base_sequence: u32) -> ProducerBatch {
    ProducerBatch { id: ProducerId::new(7), epoch: ProducerEpoch::new(epoch), base_sequence }
}

/// Appends batches of one record each with these (epoch, sequence), then judges the last one.
fn check(appended: &[(u16, u32)], offered: (u16, u32), expected: Result<Verdict, AppendError>) {
    let mut producers = Producers::default();
    for (index, (epoch, sequence)) in appended.iter().enumerate() {
        producers.append(batch(*epoch, *sequence), 1, Offset::new(index as u64), NOW);
    }
    assert_eq!(
        producers.judge(batch(offered.0, offered.1), 1, NOW),
        expected,
        "after {appended:?} comes {offered:?}"
    );
}

#[test]
fn the_table_of_epochs_and_sequences_is_kafkas() {
    let duplicate = |offset| Ok(Verdict::Duplicate(Offset::new(offset)));
    // A producer unknown here may begin anywhere (KIP-360).
    check(&[], (0, 0), Ok(Verdict::Append));
    check(&[], (3, 55), Ok(Verdict::Append));
    // The next sequence follows.
    check(&[(0, 0)], (0, 1), Ok(Verdict::Append));
    check(&[(3, 55)], (3, 56), Ok(Verdict::Append));
    // A gap.
    check(&[(0, 0)], (0, 2), Err(AppendError::OutOfOrderSequence));
    check(&[(0, 5), (0, 6)], (0, 4), Err(AppendError::OutOfOrderSequence));
    // Retries of the last five are duplicates with the offset of the first time; older ones are out of order.
    check(&[(0, 0), (0, 1), (0, 2)], (0, 0), duplicate(0));
    check(&[(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)], (0, 0), duplicate(0));
    check(&[(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)], (0, 1), duplicate(1));
    check(&[(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)], (0, 0), Err(AppendError::OutOfOrderSequence));
    // A new epoch begins at 0, and fences the old one.
    check(&[(0, 0), (0, 1)], (1, 0), Ok(Verdict::Append));
    check(&[(0, 0), (0, 1)], (1, 2), Err(AppendError::OutOfOrderSequence));
    check(&[(0, 0), (1, 0)], (0, 1), Err(AppendError::ProducerFenced));
    check(&[(0, 0), (1, 0)], (0, 0), Err(AppendError::ProducerFenced));
    check(&[(0, 0), (1, 0)], (1, 0), duplicate(1));
    check(&[(0, 0), (0, 1), (1, 0)], (1, 1), Ok(Verdict::Append));
    // Sequences wrap at 2^31.
    check(&[(0, MAX)], (0, 0), Ok(Verdict::Append));
    check(&[(0, MAX)], (0, 1), Err(AppendError::OutOfOrderSequence));
    check(&[(0, MAX), (0, 0)], (0, MAX), duplicate(0));
}

#[test]
fn a_batch_that_spans_the_wrap_is_followed_by_the_sequence_after_it() {
    let mut producers = Producers::default();
    producers.append(batch(0, MAX - 1), 5, Offset::new(0), NOW);
    assert_eq!(last_sequence(MAX - 1, 5), 2);
    assert_eq!(producers.judge(batch(0, 3), 1, NOW), Ok(Verdict::Append));
    assert_eq!(producers.judge(batch(0, MAX - 1), 5, NOW), Ok(Verdict::Duplicate(Offset::new(0))));
}

#[test]
fn a_retry_with_another_record_count_is_not_a_duplicate() {
    let mut producers = Producers::default();
    producers.append(batch(0, 0), 3, Offset::new(0), NOW);
    assert_eq!(producers.judge(batch(0, 0), 2, NOW), Err(AppendError::OutOfOrderSequence));
}

#[test]
fn judging_changes_nothing() {
    let mut producers = Producers::default();
    producers.append(batch(0, 0), 1, Offset::new(0), NOW);
    let before = producers.entry(ProducerId::new(7)).cloned();
    assert_eq!(producers.judge(batch(1, 0), 1, NOW), Ok(Verdict::Append));
    assert_eq!(producers.entry(ProducerId::new(7)).cloned(), before);
}

#[test]
fn section_13_a_producer_expires_after_24_hours_of_slot_time_without_an_append() {
    let mut producers = Producers::default();
    producers.append(batch(0, 0), 1, Offset::new(0), NOW);
    let edge = TimestampMs::new(NOW.get() + PRODUCER_EXPIRY_MS);
    producers.expire(edge);
    assert_eq!(producers.judge(batch(0, 9), 1, edge), Err(AppendError::OutOfOrderSequence));
    let after = TimestampMs::new(edge.get() + 1);
    assert_eq!(producers.judge(batch(0, 9), 1, after), Ok(Verdict::Append), "expired even before the sweep");
    producers.expire(after);
    assert!(producers.is_empty());
}

#[test]
fn section_7_replayed_state_equals_the_state_that_was_appended() {
    let mut appended = Producers::default();
    let mut replayed = Producers::default();
    for sequence in 0..12 {
        appended.append(batch(0, sequence), 1, Offset::new(u64::from(sequence)), NOW);
    }
    let found = |sequences: std::ops::Range<u32>| {
        sequences
            .map(|sequence| RememberedBatch {
                base_sequence: sequence,
                last_sequence: sequence,
                base_offset: Offset::new(u64::from(sequence)),
            })
            .collect::<Vec<_>>()
    };
    replayed.replay(ProducerId::new(7), ProducerEpoch::new(0), &found(0..5), NOW);
    replayed.replay(ProducerId::new(7), ProducerEpoch::new(0), &found(5..12), NOW);
    assert_eq!(appended.entry(ProducerId::new(7)), replayed.entry(ProducerId::new(7)));
}
