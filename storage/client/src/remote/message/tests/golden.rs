//! What other releases speak: these bytes may only ever grow at the end of a list.

use std::time::Duration;

use bytes::Bytes;
use headgate_metadata::id::{
    ByteCount, Incarnation, LeaderEpoch, NodeId, Offset, ProducerId, SlotEpoch, SlotId, WalId,
};
use headgate_metadata::quota::QuotaKey;

use super::samples::*;
use crate::quota::{Charge, ChargeOutcome, Charged, Direction, PartitionCharge};
use crate::remote::message::*;
use crate::wire::Message;
use crate::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The samples that stand in many messages, so that the rest is seen.
const CALLER: &str = "884861626364313233346361726e636170708200440a00000782181e0009184d05";
const PARTITION: &str = "828348616263643132333450070707070707070707070707070707070219012c";

fn expand(golden: &str) -> String {
    golden.replace("CALLER", CALLER).replace("PARTITION", PARTITION).replace([' ', '\n'], "")
}

/// The head is `golden` and the whole reads back.
#[track_caller]
fn check<O: Operation + PartialEq + Clone + std::fmt::Debug>(question: &O, golden: &str) {
    let message = question.clone().to_message();
    assert_eq!(hex(&message.head), expand(golden));
    assert_eq!(O::from_message(message).expect("our own message"), *question);
}

#[track_caller]
fn check_answer<O: Operation>(answer: &O::Answer, golden: &str)
where
    O::Answer: PartialEq + Clone + std::fmt::Debug,
{
    let message = O::answer_to_message(answer.clone());
    assert_eq!(hex(&message.head), expand(golden));
    assert_eq!(O::answer_from_message(message).expect("our own message"), *answer);
}

#[test]
fn append() {
    let call = AppendCall::new(caller(), partition(), 6, &batch(b"records"));
    check(
        &call,
        "84 CALLER  PARTITION 06583d0000000000000000000000380000000002f62ede2500000000000000000000000000000000000000000000ffffffffffffffffffffffffffff00000001",
    );
    assert_eq!(call.clone().to_message().payload, [Bytes::from_static(b"records")]);
    let again = call.batch().expect("a valid batch");
    assert_eq!((again.header(), again.records()), (batch(b"records").header(), batch(b"records").records()));
    check_answer::<AppendCall>(&Ok(appended()), "8200831903e80105");
    check_answer::<AppendCall>(&Err(AppendError::OldDuplicate), "820105");
}

#[test]
fn read() {
    check(
        &ReadCall { caller: caller(), request: read_request() },
        "82 CALLER 838184 PARTITION 18281a00100000031a0320000001",
    );
    let long = Bytes::from(vec![1; 10_000]);
    let outcomes = vec![
        Ok(read_success(vec![long.clone()])),
        Err(ReadError::OutOfRange { log_start: Offset::new(1), high_watermark: Offset::new(2) }),
        Ok(read_success(vec![])),
        Ok(read_success(vec![long.clone(), long.clone()])),
    ];
    let message = ReadCall::answer_to_message(ReadAnswer::new(outcomes.clone()));
    assert_eq!(message.payload.len(), 3);
    assert_eq!(
        hex(&message.head),
        expand(
            "828482008519271018321831018182081829820182028201028200850018321831018182081829820085194e20183218310181820818298401000002"
        )
    );
    let read = ReadCall::answer_from_message(message).expect("our own message");
    assert_eq!(read.outcomes, outcomes);
}

#[test]
fn await_data() {
    let call = AwaitDataCall { caller: caller(), from: vec![(partition(), Offset::new(40))], bytes_min: 500 };
    check(&call, "83 CALLER 8182 PARTITION 18281901f4");
    check_answer::<AwaitDataCall>(&DataAwaited {}, "80");
}

#[test]
fn offsets_and_epochs() {
    let query = OffsetQuery::AtLeast(-5);
    check(
        &OffsetsAtCall { caller: caller(), partition: partition(), query },
        "83 CALLER  PARTITION 82038124",
    );
    let query = OffsetQuery::Latest(Isolation::ReadUncommitted);
    check(
        &OffsetsAtCall { caller: caller(), partition: partition(), query },
        "83 CALLER  PARTITION 82018100",
    );
    let at = OffsetAt { offset: None, timestamp: -1, epoch: Some(LeaderEpoch::new(3)) };
    check_answer::<OffsetsAtCall>(&Ok(at), "820083f62003");
    check_answer::<OffsetsAtCall>(&Err(ReadError::EpochAhead), "8201820380");
    check(
        &EpochEndCall { caller: caller(), partition: partition(), epoch: LeaderEpoch::new(3) },
        "83 CALLER  PARTITION 03",
    );
    let end = EpochEnd { epoch: Some(LeaderEpoch::new(2)), end: Some(Offset::new(10)) };
    check_answer::<EpochEndCall>(&Ok(end), "820082020a");
}

#[test]
fn producer_ids() {
    check(&AllocateProducerIdCall { caller: caller() }, "81 CALLER");
    check_answer::<AllocateProducerIdCall>(&Ok(ProducerId::new(70_000)), "82001a00011170");
    check_answer::<AllocateProducerIdCall>(&Err(Unavailable::Refused), "820101");
}

#[test]
fn groups() {
    let (caller, group) = (caller(), group());
    check(
        &JoinGroupCall { caller: caller.clone(), group: group.clone(), join: join() },
        "83 CALLER 8348616263643132333461670487816068636f6e73756d657281826572616e6765446d657461820a0082183c00f5f4",
    );
    check_answer::<JoinGroupCall>(
        &Ok(joined()),
        "8200870368636f6e73756d65726572616e6765616d616df4818282616d6169446d657461",
    );
    check_answer::<JoinGroupCall>(
        &Err(GroupError::MemberIdRequired { member: "m".into() }),
        "8201820381616d",
    );
    check(
        &SyncGroupCall { caller: caller.clone(), group: group.clone(), sync: sync() },
        "83 CALLER 834861626364313233346167048582616d61690368636f6e73756d6572f68182616d43616c6c",
    );
    check_answer::<SyncGroupCall>(&Ok(synced()), "82008368636f6e73756d65726572616e676543616c6c");
    let heartbeat =
        HeartbeatCall { caller: caller.clone(), group: group.clone(), identity: identity(), generation: 3 };
    check(&heartbeat, "84 CALLER 8348616263643132333461670482616d616903");
    check_answer::<HeartbeatCall>(&Ok(()), "820080");
    let members = vec![Leave { identity: identity() }];
    check(
        &LeaveGroupCall { caller: caller.clone(), group: group.clone(), members },
        "83 CALLER 83486162636431323334616704818182616d6169",
    );
    check_answer::<LeaveGroupCall>(
        &Ok(vec![Ok(()), Err(GroupError::UnknownMember)]),
        "8200828200808201820280",
    );
    check(
        &CommitOffsetsCall { caller: caller.clone(), group: group.clone(), commit: commit() },
        "83 CALLER 834861626364313233346167048382616d6169208185500707070707070707070707070707070702186303646e6f7465",
    );
    check_answer::<CommitOffsetsCall>(&Err(GroupError::Unconfirmed), "8201820e80");
    check(
        &FetchOffsetsCall { caller: caller.clone(), group: group.clone(), fetch: fetch() },
        "83 CALLER 83486162636431323334616704828282616d6169038182500707070707070707070707070707070702",
    );
    check_answer::<FetchOffsetsCall>(
        &Ok(vec![offset_to_commit()]),
        "82008185500707070707070707070707070707070702186303646e6f7465",
    );
    check(
        &DescribeGroupCall { caller: caller.clone(), group: group.clone() },
        "82 CALLER 83486162636431323334616704",
    );
    check_answer::<DescribeGroupCall>(
        &Ok(description()),
        "8200840368636f6e73756d65726572616e6765818582616d616963617070692f31302e302e302e37446d65746143616c6c",
    );
    check(&DeleteGroupCall { caller: caller.clone(), group }, "82 CALLER 83486162636431323334616704");
    check_answer::<DeleteGroupCall>(&Err(GroupError::NotEmpty), "8201820a80");
    check(&ListGroupsCall { caller, slots: vec![SlotId::new(1), SlotId::new(300)] }, "82 CALLER 820119012c");
    let listing =
        GroupListing { group: "g".into(), protocol_type: "consumer".into(), state: GroupState::Empty };
    check_answer::<ListGroupsCall>(&Ok(vec![listing]), "82008183616768636f6e73756d657200");
}

#[test]
fn usage() {
    let sent = vec![SentBytes { partition: partition(), total: ByteCount::new(1 << 40) }];
    check(&ReportSentCall { gateway: Incarnation::new(12), sent }, "820c8182 PARTITION 1b0000010000000000");
    check_answer::<ReportSentCall>(&Ok(()), "820080");
    check(
        &PartitionSizesCall { cluster: cluster(), slots: vec![SlotId::new(4)] },
        "824861626364313233348104",
    );
    let sizes = vec![PartitionSize { partition: partition(), size: ByteCount::new(500) }];
    check_answer::<PartitionSizesCall>(&Ok(sizes), "82008182 PARTITION 1901f4");
}

#[test]
fn owners() {
    check(&OwnersCall {}, "80");
    let wal = WalId { node: NodeId::new(3), incarnation: Incarnation::new(12) };
    let owners = vec![OwnerTold { slot: SlotId::new(300), wal, epoch: SlotEpoch::new(7) }];
    check_answer::<OwnersCall>(&OwnersTold { owners }, "81818319012c82030c07");
}

#[test]
fn quotas() {
    let slot = SlotId::new(300);
    check(
        &ExchangeQuotaCall { caller: caller(), slot, report: quota_report() },
        "83 CALLER 19012c850c0482af001a0c800000011a1900000002193a98031a00500000041a00a0000005190bb806186407020818fa091909600a18780b1901f40c1a008000000d1a037000000e1b0000003e80000000184e0283881903e819038419044cfb3fe000000000000003088338c70a82001a02faf080184688000000fb00000000000000000000f60088000000fb00000000000000000000f600",
    );
    check_answer::<ExchangeQuotaCall>(
        &Ok(quota_grant()),
        "8200840483871904b0fb3ff80000000000001903e8f519012c24068700fb000000000000000000f40000008700fb000000000000000000f40000000302",
    );
    check_answer::<ExchangeQuotaCall>(&Err(Unavailable::NotOwner), "820100");
    let charged = [
        (
            Charged::Connection,
            "83 CALLER 19012c840c82af001a0c800000011a1900000002193a98031a00500000041a00a0000005190bb806186407020818fa091909600a18780b1901f40c1a008000000d1a037000000e1b0000003e80000000184e820080820200",
        ),
        (
            Charged::TopicOperation,
            "83 CALLER 19012c840c82af001a0c800000011a1900000002193a98031a00500000041a00a0000005190bb806186407020818fa091909600a18780b1901f40c1a008000000d1a037000000e1b0000003e80000000184e820180820200",
        ),
        (
            Charged::PartitionChanges { partitions: 40 },
            "83 CALLER 19012c840c82af001a0c800000011a1900000002193a98031a00500000041a00a0000005190bb806186407020818fa091909600a18780b1901f40c1a008000000d1a037000000e1b0000003e80000000184e8202811828820200",
        ),
        (
            Charged::Group { group: "g".into() },
            "83 CALLER 19012c840c82af001a0c800000011a1900000002193a98031a00500000041a00a0000005190bb806186407020818fa091909600a18780b1901f40c1a008000000d1a037000000e1b0000003e80000000184e8203816167820200",
        ),
    ];
    for (what, golden) in charged {
        let wait_max = Duration::from_secs(2);
        let charge = Charge { gateway: Incarnation::new(12), terms: terms(), what, wait_max };
        check(&ChargeQuotaCall { caller: caller(), slot, charge }, golden);
    }
    let granted = ChargeOutcome::Granted { wait: Duration::from_millis(1), groups: vec!["g".into()] };
    check_answer::<ChargeQuotaCall>(&Ok(granted), "820082008282001a000f4240816167");
    let retry_after = Some(Duration::from_secs(3));
    let over = ChargeOutcome::Over { quota: QuotaKey::PartitionsMax, retry_after };
    check_answer::<ChargeQuotaCall>(&Ok(over), "820082018209820300");
    let charge =
        PartitionCharge { partition: partition(), direction: Direction::Out, bytes: 500, limit: 1000 };
    check(
        &ChargePartitionsCall { caller: caller(), slot, charges: vec![charge] },
        "83 CALLER 19012c8184 PARTITION 8201801901f41903e8",
    );
    check_answer::<ChargePartitionsCall>(&Ok(vec![Duration::from_millis(1)]), "82008182001a000f4240");
}

#[test]
fn kinds_are_numbered_once_for_all() {
    let kinds = [
        AppendCall::KIND,
        ReadCall::KIND,
        AwaitDataCall::KIND,
        OffsetsAtCall::KIND,
        EpochEndCall::KIND,
        AllocateProducerIdCall::KIND,
        JoinGroupCall::KIND,
        SyncGroupCall::KIND,
        HeartbeatCall::KIND,
        LeaveGroupCall::KIND,
        CommitOffsetsCall::KIND,
        FetchOffsetsCall::KIND,
        DescribeGroupCall::KIND,
        ListGroupsCall::KIND,
        DeleteGroupCall::KIND,
        ReportSentCall::KIND,
        PartitionSizesCall::KIND,
        ExchangeQuotaCall::KIND,
        ChargeQuotaCall::KIND,
        ChargePartitionsCall::KIND,
        OwnersCall::KIND,
    ];
    assert_eq!(kinds.to_vec(), (17..38).collect::<Vec<u16>>());
}

#[test]
fn a_message_of_another_kind_or_a_rejection_is_told() {
    let message = AllocateProducerIdCall { caller: caller() }.to_message();
    assert!(matches!(ReadCall::from_message(message), Err(Malformed::Kind { expected: 18, found: 22 })));
    let rejection = rejected(&Malformed::Payload);
    assert!(matches!(ReadCall::answer_from_message(rejection), Err(Malformed::Rejected(_))));
}

#[test]
fn a_payload_that_does_not_fit_the_head_is_refused() {
    let without = |mut message: Message| {
        message.payload.pop();
        message
    };
    let call = AppendCall::new(caller(), partition(), 6, &batch(b"records"));
    assert!(matches!(AppendCall::from_message(without(call.to_message())), Err(Malformed::Payload)));
    let outcomes = vec![Ok(read_success(vec![Bytes::from_static(b"a batch")]))];
    let answer = ReadCall::answer_to_message(ReadAnswer::new(outcomes));
    assert!(matches!(ReadCall::answer_from_message(without(answer)), Err(Malformed::Payload)));
    let mut extra = AllocateProducerIdCall { caller: caller() }.to_message();
    extra.payload.push(Bytes::from_static(b"?"));
    assert!(matches!(AllocateProducerIdCall::from_message(extra), Err(Malformed::Payload)));
}

#[test]
fn a_question_that_mixes_clusters_is_refused() {
    let other = Caller { cluster: "zzzzzzzz".parse().expect("a cluster id"), ..caller() };
    let call = AppendCall::new(other.clone(), partition(), 6, &batch(b"records"));
    assert!(matches!(AppendCall::from_message(call.to_message()), Err(Malformed::OtherCluster)));
    let call = ReadCall { caller: other.clone(), request: read_request() };
    assert!(matches!(ReadCall::from_message(call.to_message()), Err(Malformed::OtherCluster)));
    let call =
        AwaitDataCall { caller: other.clone(), from: vec![(partition(), Offset::new(0))], bytes_min: 1 };
    assert!(matches!(AwaitDataCall::from_message(call.to_message()), Err(Malformed::OtherCluster)));
    let call = EpochEndCall { caller: other.clone(), partition: partition(), epoch: LeaderEpoch::new(1) };
    assert!(matches!(EpochEndCall::from_message(call.to_message()), Err(Malformed::OtherCluster)));
    let charge = PartitionCharge { partition: partition(), direction: Direction::In, bytes: 1, limit: 1 };
    let call = ChargePartitionsCall { caller: other.clone(), slot: SlotId::new(300), charges: vec![charge] };
    assert!(matches!(ChargePartitionsCall::from_message(call.to_message()), Err(Malformed::OtherCluster)));
    let call = DeleteGroupCall { caller: other, group: group() };
    assert!(matches!(DeleteGroupCall::from_message(call.to_message()), Err(Malformed::OtherCluster)));
}
