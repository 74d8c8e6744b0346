use std::collections::BTreeMap;

use headgate_metadata::id::Revision;
use headgate_metadata::quota::{QuotaKey, QuotaLimits};
use headgate_storage_client::quota::{Charged, FlowReport, Standing};

use super::*;

const A: Incarnation = Incarnation::new(1);
const B: Incarnation = Incarnation::new(2);

const fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn terms(bytes_in: u64, revision: u64) -> QuotaTerms {
    let set = BTreeMap::from([(QuotaKey::BytesInPerSecond.name().to_owned(), bytes_in)]);
    QuotaTerms { limits: QuotaLimits::with(&set), revision: Revision::new(revision) }
}

fn quota() -> ClusterQuota {
    ClusterQuota::new(terms(10_000, 1), at(0))
}

/// A gateway has used and wants so many bytes.
fn report(gateway: Incarnation, sequence: u64, used: u64, waiting: u64) -> QuotaReport {
    let bytes_in = FlowReport { used, waiting, aged: waiting, ..FlowReport::default() };
    let flows = [bytes_in, FlowReport::default(), FlowReport::default()];
    QuotaReport { gateway, sequence, terms: terms(10_000, 1), connections: 1, flows }
}

fn bytes_in(grant: &QuotaGrant) -> headgate_storage_client::quota::FlowGrant {
    grant.flows[Flow::BytesIn as usize]
}

#[test]
fn tokens_that_are_there_are_granted_at_once() {
    let grant = bytes_in(&quota().exchange(&report(A, 1, 500, 3_000), at(0)));
    assert!(grant.allowed >= 3_500, "{grant:?}");
    assert!(!grant.contended);
}

#[test]
fn tokens_that_are_not_there_trickle_by_what_waits() {
    let mut quota = quota();
    for gateway in [A, B] {
        quota.exchange(&report(gateway, 1, 10_000, 0), at(0));
    }
    quota.exchange(&report(A, 2, 10_000, 3_000), at(1));
    let b = bytes_in(&quota.exchange(&report(B, 2, 10_000, 100), at(1)));
    let a = bytes_in(&quota.exchange(&report(A, 3, 10_000, 3_000), at(1)));
    assert!(a.contended && b.contended);
    assert!(a.rate > b.rate, "{} {}", a.rate, b.rate);
    assert!((8_500.0..=10_000.0).contains(&(a.rate + b.rate)), "{} {}", a.rate, b.rate);
}

#[test]
fn a_repeated_or_late_report_changes_nothing() {
    let mut quota = quota();
    let old = report(A, 1, 1_000, 0);
    quota.exchange(&old, at(0));
    let answer = quota.exchange(&report(A, 2, 4_000, 100), at(10));
    let before = quota.clone();
    assert_eq!(quota.exchange(&report(A, 2, 4_000, 100), at(10)), answer);
    assert_eq!(quota.exchange(&old, at(10)), answer);
    assert_eq!(format!("{quota:?}"), format!("{before:?}"));
}

#[test]
fn a_lost_report_is_made_up_for_by_the_next() {
    let (mut all, mut some) = (quota(), quota());
    all.exchange(&report(A, 1, 1_000, 0), at(0));
    all.exchange(&report(A, 2, 4_000, 0), at(50));
    some.exchange(&report(A, 1, 1_000, 0), at(0));
    let heard_all = bytes_in(&all.exchange(&report(A, 3, 6_000, 0), at(100)));
    let lost_one = bytes_in(&some.exchange(&report(A, 3, 6_000, 0), at(100)));
    assert_eq!((heard_all.balance, heard_all.counted), (lost_one.balance, lost_one.counted));
}

#[test]
fn one_that_takes_over_goes_on_where_the_bucket_stood() {
    let mut quota = quota();
    let standing = Standing { balance: -3_000, lazy: -500, age: at(100) };
    let mut first = report(A, 900, 1_000_000, 2_000);
    first.flows[0] = FlowReport {
        used: 1_000_000,
        counted: 999_500,
        allowed: 999_000,
        rate: 4_000.0,
        heard: Some(standing),
        ..first.flows[0]
    };
    let grant = bytes_in(&quota.exchange(&first, at(0)));
    assert_eq!((grant.balance, grant.lazy, grant.counted), (-3_000, -500, 1_000_000));
    assert!(grant.contended);
    assert!(grant.rate <= 4_000.0, "others have their shares still: {}", grant.rate);
    assert_eq!(grant.allowed, 999_500, "what the gateway owes, it owes, but no more than the cluster does");
}

#[test]
fn the_use_that_people_are_told_is_that_of_seconds_whatever_the_bursts() {
    let mut quota = quota();
    let mut told = Vec::new();
    for tenth in 0..400 {
        // Both gateways: 2,000 bytes every four seconds, all at once.
        let used = 2_000 * (1 + tenth / 40);
        for gateway in [A, B] {
            let grant = bytes_in(&quota.exchange(&report(gateway, tenth + 1, used, 0), at(tenth * 100)));
            told.push(grant.cluster_rate);
        }
    }
    let settled = &told[told.len() / 2..];
    assert!(settled.iter().all(|rate| (600..=1_500).contains(rate)), "{settled:?}");
    let mean = settled.iter().sum::<u64>() / settled.len() as u64;
    assert!((950..=1_050).contains(&mean), "{mean} of 1,000 a second");
}

#[test]
fn limits_of_an_earlier_revision_are_not_believed() {
    let mut quota = quota();
    let raised = QuotaReport { terms: terms(1_000_000, 2), ..report(A, 1, 0, 500_000) };
    assert!(!bytes_in(&quota.exchange(&raised, at(0))).contended);
    let late = report(B, 1, 0, 100_000);
    assert!(!bytes_in(&quota.exchange(&late, at(0))).contended, "B has not seen the change");
}

#[test]
fn a_gateway_that_is_silent_for_long_is_gone_with_its_connections() {
    let mut quota = quota();
    assert_eq!(quota.exchange(&report(A, 1, 0, 0), at(0)).connections, 1);
    let charge = Charge { gateway: B, terms: terms(10_000, 1), what: Charged::Connection, wait_max: at(0) };
    assert!(matches!(quota.charge(&charge, at(0)), ChargeOutcome::Granted { .. }));
    let later = quota.exchange(&report(B, 1, 0, 0), GONE_AFTER);
    assert_eq!((later.connections, later.gateways), (1, 1));
}
