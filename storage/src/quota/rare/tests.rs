use std::collections::BTreeMap;

use super::*;

const fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn limits(set: &[(QuotaKey, u64)]) -> QuotaLimits {
    QuotaLimits::with(
        &set.iter().map(|(key, value)| (key.name().to_owned(), *value)).collect::<BTreeMap<_, _>>(),
    )
}

const A: Incarnation = Incarnation::new(1);
const B: Incarnation = Incarnation::new(2);

fn granted(wait: Duration) -> ChargeOutcome {
    ChargeOutcome::Granted { wait, groups: Vec::new() }
}

#[test]
fn connections_of_all_gateways_count_together_and_come_free_as_they_are_reported() {
    let limits = limits(&[(QuotaKey::ConnectionsMax, 3)]);
    let mut rare = Rare::full(&limits, at(0));
    rare.observe_connections(A, 2);
    let connect = |rare: &mut Rare| rare.charge(B, &Charged::Connection, at(0), &limits, at(0));
    assert_eq!(connect(&mut rare), granted(at(0)));
    let over = ChargeOutcome::Over { quota: QuotaKey::ConnectionsMax, retry_after: None };
    assert_eq!(connect(&mut rare), over);
    rare.observe_connections(A, 1);
    assert_eq!(connect(&mut rare), granted(at(0)));
    rare.forget(A);
    assert_eq!(rare.connections(), 2, "what was granted counts until it is reported");
}

#[test]
fn attempts_beyond_a_second_of_them_are_told_when_to_come_again_and_not_charged() {
    let limits = limits(&[(QuotaKey::ConnectionAttemptsPerSecond, 2)]);
    let mut rare = Rare::full(&limits, at(0));
    let mut connect = |now| rare.charge(A, &Charged::Connection, at(0), &limits, now);
    for _ in 0..3 {
        assert_eq!(connect(at(0)), granted(at(0)));
    }
    let quota = QuotaKey::ConnectionAttemptsPerSecond;
    for _ in 0..3 {
        assert_eq!(connect(at(0)), ChargeOutcome::Over { quota, retry_after: Some(at(500)) });
    }
    assert_eq!(connect(at(500)), granted(at(0)));
}

#[test]
fn a_topic_operation_waits_as_long_as_it_may_and_is_else_refused() {
    let limits = limits(&[(QuotaKey::TopicOperationsPerSecond, 1)]);
    let mut rare = Rare::full(&limits, at(0));
    let mut operate = |wait_max| rare.charge(A, &Charged::TopicOperation, wait_max, &limits, at(0));
    assert_eq!(operate(at(0)), granted(at(0)));
    assert_eq!(operate(at(0)), granted(at(0)));
    assert_eq!(operate(at(1000)), granted(at(1000)));
    let quota = QuotaKey::TopicOperationsPerSecond;
    assert_eq!(operate(at(1000)), ChargeOutcome::Over { quota, retry_after: Some(at(2000)) });
    assert_eq!(operate(at(2000)), granted(at(2000)));
}

#[test]
fn five_minutes_of_partition_changes_may_be_made_at_once() {
    let limits = limits(&[(QuotaKey::PartitionChangesPer5Minutes, 300)]);
    let mut rare = Rare::full(&limits, at(0));
    let mut change =
        |partitions, now| rare.charge(A, &Charged::PartitionChanges { partitions }, at(0), &limits, now);
    assert_eq!(change(300, at(0)), granted(at(0)));
    assert_eq!(change(10, at(0)), granted(at(0)), "what is not in debt may go");
    let quota = QuotaKey::PartitionChangesPer5Minutes;
    assert_eq!(change(1, at(0)), ChargeOutcome::Over { quota, retry_after: Some(at(10_000)) });
}

#[test]
fn groups_granted_lately_are_told_to_whoever_asks_next() {
    let limits = QuotaLimits::default();
    let mut rare = Rare::full(&limits, at(0));
    let mut create =
        |name: &str, now| match rare.charge(A, &Charged::Group { group: name.into() }, at(0), &limits, now) {
            ChargeOutcome::Granted { groups, .. } => groups.join(","),
            over @ ChargeOutcome::Over { .. } => panic!("{over:?}"),
        };
    assert_eq!(create("a", at(0)), "a");
    assert_eq!(create("b", at(0)), "a,b");
    assert_eq!(create("a", at(5_000)), "b,a");
    assert_eq!(create("c", at(12_000)), "a,c", "b is listed by now");
}
