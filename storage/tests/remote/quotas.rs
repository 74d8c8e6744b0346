//! Quota calls: they follow the coordinator's slot.

use std::time::Duration;

use headgate_metadata::id::{Incarnation, Revision, SlotId};
use headgate_metadata::quota::QuotaLimits;
use headgate_storage_client::quota::{
    Charge, ChargeOutcome, Charged, Direction, FlowReport, PartitionCharge, QuotaReport, QuotaTerms,
};
use headgate_storage_client::{Storage, Unavailable};

use crate::cell::{Cell, caller, partition, patient};

fn report(used: u64) -> QuotaReport {
    let flows = [FlowReport { used, ..FlowReport::default() }; 3];
    QuotaReport { gateway: Incarnation::new(1), sequence: 7, terms: terms(), connections: 2, flows }
}

fn terms() -> QuotaTerms {
    QuotaTerms { limits: QuotaLimits::default(), revision: Revision::new(3) }
}

fn charge() -> Charge {
    let (gateway, wait_max) = (Incarnation::new(1), Duration::from_secs(2));
    Charge { gateway, terms: terms(), what: Charged::TopicOperation, wait_max }
}

#[tokio::test]
async fn every_quota_call_reaches_the_owner_and_brings_its_answer_back() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let (gateway, caller, slot) = (cell.gateway().await, patient(7), SlotId::new(1));
    let grant = gateway.exchange_quota(&caller, slot, report(55)).await.expect("granted");
    assert_eq!((grant.sequence, grant.flows[0].counted, grant.connections), (7, 55, 2));
    let charged = gateway.charge_quota(&caller, slot, charge()).await;
    assert_eq!(charged, Ok(ChargeOutcome::Granted { wait: Duration::from_secs(2), groups: Vec::new() }));
    let bytes = PartitionCharge { partition: partition(1), direction: Direction::In, bytes: 30, limit: 10 };
    let over = gateway.charge_partitions(&caller, slot, vec![bytes]).await;
    assert_eq!(over, Ok(vec![Duration::from_millis(30)]));
    for call in ["exchange_quota", "charge_quota", "charge_partitions"] {
        assert_eq!((nodes[0].owner.asked(call), nodes[1].owner.asked(call)), (0, 1), "{call}");
    }
}

/// The gateway goes on with its last share meanwhile, so it must hear soon that nobody answers.
#[tokio::test]
async fn a_report_follows_its_coordinator_within_the_callers_patience() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.disown(0);
    let impatient = caller(7, Duration::from_millis(100));
    let refused = gateway.exchange_quota(&impatient, SlotId::new(0), report(1)).await;
    assert_eq!(refused.err(), Some(Unavailable::NotOwner));
    let (caller, slot) = (patient(7), SlotId::new(0));
    let (grant, ()) = tokio::join!(gateway.exchange_quota(&caller, slot, report(2)), async {
        nodes[1].owner.own(0);
        cell.give(0, 2, 2).await;
    });
    assert_eq!(grant.expect("the new owner answers").flows[0].counted, 2);
}
