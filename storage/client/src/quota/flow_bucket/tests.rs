use super::*;

const fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn granted(allowed: u64, rate: f64, contended: bool) -> FlowBucket {
    let mut bucket = FlowBucket::empty(at(0));
    bucket.grant(&FlowGrant { allowed, rate, contended, ..FlowGrant::default() }, at(0));
    bucket
}

#[test]
fn the_first_request_goes_without_tokens_and_the_second_waits() {
    let mut bucket = FlowBucket::empty(at(0));
    assert_eq!(bucket.charge(500, at(0)), None);
    assert!(bucket.charge(1, at(0)).is_some());
    assert_eq!(bucket.next_release(at(0)), None, "only a grant helps");
    assert_eq!(bucket.throttle(at(0)), Duration::ZERO, "nobody has said that there is not enough");
}

#[test]
fn requests_go_in_the_order_in_which_they_came_as_tokens_trickle_in() {
    let mut bucket = granted(50, 100.0, true);
    assert_eq!(bucket.charge(100, at(0)), None, "half of it is there");
    let first = bucket.charge(50, at(0)).expect("in debt");
    let second = bucket.charge(2, at(0)).expect("in debt");
    assert_eq!(bucket.release(at(500)), None);
    assert_eq!(bucket.throttle(at(500)), at(520), "52 tokens wait before, and none are there");
    assert_eq!(bucket.release(LEASE * 2), None, "a lease ends, and what it gave is 60");
    let again = FlowGrant { allowed: 125, rate: 100.0, contended: true, ..FlowGrant::default() };
    bucket.grant(&again, at(1000));
    assert_eq!(bucket.release(at(1000)), Some(first));
    assert_eq!(bucket.release(at(1000)), None);
    assert_eq!(bucket.next_release(at(1000)), Some(at(1261)));
    assert_eq!(bucket.release(at(1260)), Some(second));
    assert_eq!(bucket.used(), 152);
}

#[test]
fn whoever_goes_away_while_waiting_is_not_charged() {
    let mut bucket = granted(5, 100.0, true);
    bucket.charge(10, at(0));
    let gone = bucket.charge(1000, at(0)).expect("in debt");
    let next = bucket.charge(4, at(0)).expect("in debt");
    bucket.forget(gone);
    assert_eq!(bucket.release(at(100)), Some(next));
    assert_eq!(bucket.used(), 14);
}

#[test]
fn whoever_has_waited_longest_enough_goes_and_is_charged() {
    let mut bucket = granted(5, 1.0, true);
    bucket.charge(10, at(0));
    let ticket = bucket.charge(7, at(0)).expect("in debt");
    bucket.force(ticket, at(0));
    assert_eq!((bucket.used(), bucket.waiting()), (17, 0));
}

#[test]
fn a_reservation_takes_what_is_there_and_counts_what_was_used() {
    let mut bucket = granted(100, 0.0, false);
    assert_eq!(bucket.reserve(1000, 10, at(0)), Some(100));
    assert_eq!(bucket.reserve(1000, 10, at(0)), Some(10), "the least, into debt");
    assert_eq!(bucket.reserve(1000, 10, at(0)), None);
    bucket.settle(10, 0, at(0));
    bucket.settle(100, 30, at(0));
    assert_eq!((bucket.used(), bucket.room(at(0))), (30, 70.0));
}

#[test]
fn a_request_that_waits_counts_more_the_longer_it_waits() {
    let mut bucket = granted(0, 1.0, true);
    bucket.charge(1000, at(0)).expect("nothing is there");
    let report = bucket.report(at(1000));
    assert_eq!((report.waiting, report.aged), (1000, 2718));
}

#[test]
fn without_an_answer_it_goes_on_with_the_last_share_and_not_without_limit() {
    let mut bucket = granted(0, 100.0, false);
    bucket.charge(10, at(0));
    bucket.go_on(5.0, LEASE);
    let later = LEASE + Duration::from_secs(10);
    assert!((bucket.room(later) - (60.0 + 1000.0 - 10.0)).abs() < 1e-6);
}

#[test]
fn an_overloaded_node_slows_a_cluster_that_has_tokens() {
    let mut bucket = granted(1000, 0.0, false);
    bucket.limit_to(Some(100.0), at(0));
    assert_eq!(bucket.charge(20, at(0)), None);
    let ticket = bucket.charge(50, at(0)).expect("the node has nothing left");
    assert_eq!(bucket.throttle(at(0)), at(600), "a client is told, whatever the coordinator said");
    assert_eq!(bucket.next_release(at(0)), Some(at(100)));
    assert_eq!(bucket.release(at(100)), Some(ticket));
    bucket.limit_to(None, at(100));
    assert_eq!(bucket.charge(500, at(100)), None);
}

#[test]
fn whoever_is_refused_is_told_a_time_of_its_own_and_is_wanted_still() {
    let mut bucket = granted(0, 100.0, true);
    bucket.spend(50, at(0));
    assert_eq!(bucket.reserve(1000, 10, at(0)), None);
    assert_eq!(bucket.promise(10, at(0)), at(500));
    assert_eq!(bucket.reserve(1000, 10, at(0)), None);
    assert_eq!(bucket.promise(10, at(0)), at(600));
    assert_eq!(bucket.report(at(0)).waiting, 20);
    assert_eq!(bucket.report(at(0)).waiting, 0);
}

/// A coordinator gives no share to a gateway that wanted nothing lately.
#[test]
fn whoever_is_refused_without_a_share_comes_again_when_there_is_one() {
    let mut bucket = granted(0, 0.0, true);
    bucket.spend(1, at(0));
    assert_eq!(bucket.reserve(1_000, 50, at(0)), None);
    assert_eq!(bucket.promise(50, at(0)), CONTENDED_INTERVAL);
    assert_eq!(bucket.promise(50, at(0)), CONTENDED_INTERVAL * 2, "one after the other");
    bucket.grant(&FlowGrant { allowed: 0, rate: 100.0, contended: true, ..FlowGrant::default() }, at(200));
    assert_eq!(bucket.promise(50, at(200)), at(10), "as soon as the one token owed has come");
}
