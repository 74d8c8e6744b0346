use std::path::PathBuf;

use super::fake_broker::{FakeBroker, Fault, TOPIC};
use super::*;
use crate::checker::{Verdict, check};
use crate::journal::Journal;
use crate::pacing::Load;

const RECORDS: u64 = 400;

fn settings(idempotent: bool) -> ProducerSettings {
    ProducerSettings {
        topic: TOPIC.to_owned(),
        run: 7,
        producer: 0,
        record_bytes: 100,
        batch_bytes: 1000,
        linger: Duration::from_millis(1),
        idempotent,
        in_flight_max: if idempotent { 5 } else { 1 },
        ignores_throttle: false,
        settle_time_max: Duration::from_secs(20),
    }
}

/// Produces through the faults, then holds the fake broker's log to the journal.
async fn produce(broker: &FakeBroker, settings: ProducerSettings) -> (ProducerOutcome, Verdict) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join("journal");
    let journal = Arc::new(JournalWriter::open(&path, TOPIC, settings.run).expect("opens"));
    let progress = Arc::new(Progress::default());
    let producer =
        Producer::open(&broker.endpoint(), settings, Some(journal), progress).await.expect("opens");
    let load = Load { producers: 1, records: Some(RECORDS), ..Load::default() };
    let outcome = producer.run(load.schedule(0, clock::now())).await;
    let mut journal = Journal::default();
    journal.load(&path, TOPIC).expect("loads");
    (outcome, check(&journal, &broker.scans()))
}

async fn check_survives(faults: &[Fault]) {
    let broker = FakeBroker::start(3, faults).await;
    let (outcome, verdict) = produce(&broker, settings(true)).await;
    assert!(outcome.failure.is_none(), "{faults:?}: {:?}", outcome.failure);
    assert!(verdict.findings.is_clean(), "{faults:?}: {verdict:?}");
    assert_eq!(verdict.coverage.acknowledged, RECORDS, "{faults:?}");
    assert_eq!(verdict.coverage.readable, RECORDS, "{faults:?}");
    assert_eq!(outcome.latencies.summary().count, RECORDS, "{faults:?}");
}

#[tokio::test]
async fn without_faults_every_record_is_acknowledged_once_in_order() {
    check_survives(&[]).await;
}

#[tokio::test]
async fn a_lost_answer_is_answered_again_without_a_duplicate() {
    check_survives(&[Fault::LoseAnswer]).await;
    check_survives(&[Fault::None, Fault::None, Fault::LoseAnswer, Fault::LoseAnswer]).await;
}

#[tokio::test]
async fn a_lost_request_is_sent_again_in_order() {
    check_survives(&[Fault::LoseRequest]).await;
    check_survives(&[Fault::None, Fault::LoseRequest, Fault::None, Fault::LoseAnswer]).await;
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_pipeline_keeps_the_order() {
    // NOT_LEADER_OR_FOLLOWER: what was sent behind it is out of order and has to come again too.
    check_survives(&[Fault::Refuse(6)]).await;
    check_survives(&[Fault::None, Fault::Refuse(6), Fault::None, Fault::None, Fault::Refuse(6)]).await;
}

#[tokio::test]
async fn a_timeout_after_storing_does_not_duplicate() {
    // REQUEST_TIMED_OUT: the outcome is unknown to the broker too.
    check_survives(&[Fault::StoreButAnswer(7), Fault::None, Fault::StoreButAnswer(7)]).await;
}

#[tokio::test]
async fn a_duplicate_whose_offset_is_forgotten_counts_as_acknowledged() {
    check_survives(&[Fault::StoreButAnswer(46)]).await;
}

#[tokio::test]
async fn mixed_faults_in_any_order_are_survived() {
    let kinds = [
        Fault::None,
        Fault::LoseRequest,
        Fault::LoseAnswer,
        Fault::Refuse(6),
        Fault::StoreButAnswer(7),
        Fault::Refuse(19),
    ];
    let local = tokio::task::LocalSet::new();
    let mut seeds = tokio::task::JoinSet::new();
    for seed in 0..24_usize {
        // A small linear walk through the kinds gives a different order for each seed.
        let faults: Vec<Fault> =
            (0..8).map(|step| kinds[(seed * 5 + step * (seed + 1)) % kinds.len()]).collect();
        seeds.spawn_local_on(async move { check_survives(&faults).await }, &local);
    }
    let checked = local.run_until(seeds.join_all()).await;
    assert_eq!(checked.len(), 24);
}

#[tokio::test]
async fn a_refusal_for_good_stops_the_producer_and_is_journalled() {
    let broker = FakeBroker::start(1, &[Fault::None, Fault::Refuse(10)]).await;
    let (outcome, verdict) = produce(&broker, ProducerSettings { in_flight_max: 1, ..settings(true) }).await;
    assert!(outcome.failure.expect("stops").to_string().contains("MessageTooLarge"));
    assert!(outcome.refused_records > 0);
    assert!(verdict.findings.is_clean(), "{verdict:?}");
    assert_eq!(broker.produce_requests(), 2);
}

#[tokio::test]
async fn a_batch_stored_in_spite_of_a_refusal_is_found() {
    let broker = FakeBroker::start(1, &[Fault::StoreButAnswer(10)]).await;
    let (_, verdict) = produce(&broker, ProducerSettings { in_flight_max: 1, ..settings(true) }).await;
    assert!(verdict.findings.refused_but_readable.count > 0);
}

#[tokio::test]
async fn a_broker_that_forgot_what_it_acknowledged_stops_the_producer() {
    // OUT_OF_ORDER_SEQUENCE_NUMBER for the oldest unsettled batch: the one before it is gone.
    let broker = FakeBroker::start(1, &[Fault::None, Fault::Refuse(45)]).await;
    let (outcome, _) = produce(&broker, ProducerSettings { in_flight_max: 1, ..settings(true) }).await;
    assert!(outcome.failure.expect("stops").to_string().contains("OutOfOrderSequenceNumber"));
    assert!(outcome.unsettled_records > 0);
}

#[tokio::test]
async fn a_producer_gives_up_after_its_time_and_says_what_is_unsettled() {
    let broker = FakeBroker::start(1, &vec![Fault::Refuse(6); 10_000]).await;
    let impatient = ProducerSettings { settle_time_max: Duration::from_millis(300), ..settings(true) };
    let (outcome, verdict) = produce(&broker, impatient).await;
    assert!(outcome.failure.expect("gives up").to_string().contains("not settled within"));
    assert!(outcome.unsettled_records > 0);
    assert!(verdict.findings.is_clean());
}
