use super::*;
use crate::period::HOUR_MS;

fn cluster() -> ClusterId {
    ClusterId::from_random(1)
}

fn topic(number: u128) -> TopicId {
    TopicId::from_random(number)
}

fn record(at: u64, change: JournalChange) -> JournalRecord {
    JournalRecord { at: TimestampMs::new(at), change }
}

fn created(at: u64) -> JournalRecord {
    record(at, JournalChange::ClusterCreated { name: "demo".to_owned() })
}

fn cluster_deleted(at: u64) -> JournalRecord {
    record(at, JournalChange::ClusterDeleted)
}

fn partitions(at: u64, number: u128, partitions: u32) -> JournalRecord {
    record(
        at,
        JournalChange::TopicPartitions { topic: topic(number), name: format!("t{number}"), partitions },
    )
}

fn topic_deleted(at: u64, number: u128) -> JournalRecord {
    record(at, JournalChange::TopicDeleted { topic: topic(number) })
}

fn history(journal: &[JournalRecord]) -> ClusterHistory {
    ClusterHistory::read(cluster(), journal).expect("the journal fits").expect("the journal has records")
}

fn defect(journal: &[JournalRecord]) -> JournalDefect {
    ClusterHistory::read(cluster(), journal).expect_err("the journal does not fit").defect
}

/// The milliseconds the partitions of a topic existed for, one number each, over all time up to `as_of`.
fn lives(history: &ClusterHistory, number: u128, as_of: u64) -> Vec<u64> {
    let as_of = TimestampMs::new(as_of);
    let life = |existence: Existence| {
        let (from, to) = existence.hours(as_of);
        (from.get()..to.get()).map(|hour| existence.ms_in(Hour::new(hour), as_of)).sum()
    };
    history.partitions(topic(number)).map(|(_, existence)| life(existence)).collect()
}

#[test]
fn a_part_of_an_hour_is_billed_as_the_part() {
    let existence = history(&[created(HOUR_MS - 30_000), cluster_deleted(HOUR_MS + 60_000)]).existence();
    let as_of = TimestampMs::new(10 * HOUR_MS);
    assert_eq!(existence.ms_in(Hour::new(0), as_of), 30_000);
    assert_eq!(existence.ms_in(Hour::new(1), as_of), 60_000);
    assert_eq!(existence.ms_in(Hour::new(2), as_of), 0);
    assert_eq!(existence.hours(as_of), (Hour::new(0), Hour::new(2)));
}

#[test]
fn the_future_is_not_billed() {
    let existence = history(&[created(0)]).existence();
    assert_eq!(existence.ms_in(Hour::new(3), TimestampMs::new(3 * HOUR_MS + 5)), 5);
    assert_eq!(existence.ms_in(Hour::new(4), TimestampMs::new(3 * HOUR_MS + 5)), 0);
}

#[test]
fn partitions_count_from_when_they_were_added_to_when_the_topic_goes() {
    let history =
        history(&[created(0), partitions(1_000, 1, 2), partitions(5_000, 1, 3), topic_deleted(9_000, 1)]);
    assert_eq!(lives(&history, 1, HOUR_MS), [8_000, 8_000, 4_000]);
    assert_eq!(lives(&history, 1, 6_000), [5_000, 5_000, 1_000]);
}

#[test]
fn deleting_the_cluster_ends_its_topics() {
    let history =
        history(&[created(0), partitions(1_000, 1, 1), cluster_deleted(4_000), topic_deleted(9_000, 1)]);
    assert_eq!(lives(&history, 1, HOUR_MS), [3_000]);
    assert_eq!(history.removed_at(topic(1)), Some(TimestampMs::new(4_000)));
    assert_eq!(
        history.removed_at(topic(2)),
        Some(TimestampMs::new(4_000)),
        "even of topics nobody wrote down"
    );
}

#[test]
fn a_topic_that_went_before_its_cluster_ended_then() {
    let history =
        history(&[created(0), partitions(1_000, 1, 1), topic_deleted(4_000, 1), cluster_deleted(9_000)]);
    assert_eq!(lives(&history, 1, HOUR_MS), [3_000]);
    assert_eq!(history.removed_at(topic(1)), Some(TimestampMs::new(4_000)));
}

#[test]
fn records_read_twice_tell_the_same_story() {
    let journal = [created(0), partitions(1_000, 1, 2), partitions(1_000, 2, 1), topic_deleted(9_000, 1)];
    let twice: Vec<JournalRecord> = journal.iter().chain(&journal).cloned().collect();
    assert_eq!(history(&twice), history(&journal));
}

#[test]
fn writers_whose_clocks_differ_still_tell_a_story() {
    let history =
        history(&[created(1_000), partitions(990, 1, 1), partitions(980, 2, 1), topic_deleted(970, 2)]);
    assert_eq!(lives(&history, 1, 2_000), [1_010]);
    assert_eq!(lives(&history, 2, 2_000), [0], "an end before its beginning is no time at all");
}

#[test]
fn the_same_name_after_a_deletion_is_another_topic() {
    let history =
        history(&[created(0), partitions(0, 1, 1), topic_deleted(1_000, 1), partitions(2_000, 2, 1)]);
    assert_eq!(lives(&history, 1, 5_000), [1_000]);
    assert_eq!(lives(&history, 2, 5_000), [3_000]);
}

#[test]
fn an_empty_journal_is_no_cluster() {
    assert_eq!(ClusterHistory::read(cluster(), &[]), Ok(None));
}

#[test]
fn a_story_that_cannot_be_is_refused_with_what_does_not_fit() {
    let cases = [
        (vec![partitions(0, 1, 1)], JournalDefect::NotCreated),
        (vec![created(0), created(5)], JournalDefect::CreatedAgain),
        (vec![created(0), cluster_deleted(1), partitions(2, 1, 1)], JournalDefect::ClusterGone),
        (vec![created(0), cluster_deleted(1), cluster_deleted(2)], JournalDefect::ClusterGone),
        (vec![created(0), topic_deleted(1, 1)], JournalDefect::UnknownTopic(topic(1))),
        (
            vec![created(0), partitions(1, 1, 1), topic_deleted(2, 1), partitions(3, 1, 2)],
            JournalDefect::TopicGone(topic(1)),
        ),
        (
            vec![created(0), partitions(1, 1, 3), partitions(2, 1, 2)],
            JournalDefect::Shrunk { topic: topic(1), had: 3, now: 2 },
        ),
        (
            vec![created(0), partitions(1, 1, u32::MAX)],
            JournalDefect::TooMany { topic: topic(1), now: u32::MAX },
        ),
    ];
    for (journal, expected) in cases {
        assert_eq!(defect(&journal), expected);
    }
}

#[test]
fn a_defect_names_the_cluster_and_the_moment() {
    let error =
        ClusterHistory::read(cluster(), &[created(0), topic_deleted(77, 1)]).expect_err("no such topic");
    let expected =
        format!("the journal of cluster {} at 77: topic {} was never created", cluster(), topic(1));
    assert_eq!(error.to_string(), expected);
}
