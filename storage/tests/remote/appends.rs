//! Appends through moves, refusals, deaths and silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use headgate_metadata::id::{Incarnation, NodeId, Revision, SlotEpoch, SlotId, WalId};
use headgate_metadata::simulated::{Fate, Operation, Passage, SimulatedStore};
use headgate_metadata::slot_owners::SlotOwner;
use headgate_storage_client::remote::RemoteConfig;
use headgate_storage_client::{AppendError, Caller, Storage, Unavailable};
use tokio::time::{sleep, timeout};

use crate::cell::{Cell, batch, caller, outcome, partition, patient, submit};
use crate::owner::A_WHILE;

#[tokio::test]
async fn appends_go_to_the_owner_of_their_slot_with_their_caller() {
    let (cell, nodes) = Cell::new(2, 4).await;
    let gateway = cell.gateway().await;
    let submitted: Vec<_> = (0..40)
        .map(|number| submit(&gateway, &patient(7), (number % 4) as u16, batch(number, None)))
        .collect();
    for (number, completion) in submitted.into_iter().enumerate() {
        assert_eq!(
            outcome(completion).await.map(|appended| appended.base_offset.get()),
            Ok(number as u64 / 4)
        );
    }
    for slot in 0..4 {
        let there = (0..10).map(|number| number * 4 + u32::from(slot)).collect::<Vec<_>>();
        assert_eq!(nodes[usize::from(slot) % 2].owner.numbers(slot), there);
    }
    let seen = nodes[0].owner.last_caller().expect("it was asked");
    assert!(seen.patience <= patient(7).patience);
    assert_eq!(Caller { patience: patient(7).patience, ..seen }, patient(7));
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_from_the_metadata_store_learns_of_a_move_from_the_nodes() {
    let store = SimulatedStore::without_faults();
    let (cell, nodes) = Cell::over(Arc::new(store.clone()), 3, 3).await;
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = Arc::clone(&is_cut);
    let reached = move |_: Operation<'_>| {
        if cut.load(Ordering::SeqCst) { Passage::ending(Fate::NotSent) } else { Passage::FREE }
    };
    let gateway = cell.gateway_over(Arc::new(store.client(reached)), &RemoteConfig::default()).await;
    assert!(outcome(submit(&gateway, &patient(7), 0, batch(0, None))).await.is_ok());

    is_cut.store(true, Ordering::SeqCst);
    let (old, new) = (&nodes[0].owner, &nodes[1].owner);
    old.disown(0);
    cell.give(0, 2, 2).await;
    new.own(0);
    let wal = |node| WalId { node: NodeId::new(node), incarnation: Incarnation::new(u64::from(node)) };
    // One node is behind, one has seen the move: the greater epoch counts.
    nodes[2].owner.has_seen(0, SlotOwner { wal: wal(1), epoch: SlotEpoch::new(1) });
    new.has_seen(0, SlotOwner { wal: wal(2), epoch: SlotEpoch::new(2) });
    assert!(outcome(submit(&gateway, &patient(7), 0, batch(1, None))).await.is_ok());
    assert_eq!((old.numbers(0), new.numbers(0)), (vec![0], vec![1]));
}

/// Without a producer id nobody downstream could put them back into order.
#[tokio::test]
async fn a_producer_without_idempotence_keeps_its_order_through_a_move() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    let (old, new) = (&nodes[0].owner, &nodes[1].owner);
    let mut submitted = Vec::new();
    for number in 0..200 {
        submitted.push(submit(&gateway, &patient(7), 0, batch(number, None)));
        match number {
            60 => old.until_holding(0, 30).await,
            // Stopped at the old owner, not yet open at the new one, and routing learns of it first.
            80 => old.disown(0),
            120 => cell.give(0, 2, 2).await,
            160 => sleep(Duration::from_millis(60)).await,
            _ => {}
        }
    }
    assert!(new.numbers(0).is_empty());
    new.own(0);
    for completion in join_all(submitted.into_iter().map(outcome)).await {
        assert!(completion.is_ok(), "{completion:?}");
    }
    let both = [old.numbers(0), new.numbers(0)].concat();
    assert_eq!(both, (0..200).collect::<Vec<_>>());
    assert!(!old.numbers(0).is_empty() && !new.numbers(0).is_empty());
}

/// What was sent behind a refused append is refused too, though its owner would take it.
#[tokio::test]
async fn nothing_overtakes_an_append_that_was_refused_once() {
    let (cell, nodes) = Cell::new(1, 2).await;
    let gateway = cell.gateway().await;
    let owner = &nodes[0].owner;
    outcome(submit(&gateway, &patient(7), 0, batch(0, None))).await.expect("the way is clear");
    for round in 0..20 {
        owner.refuse_next(1 + round % 3);
        let first = 1 + round as u32 * 10;
        let submitted: Vec<_> =
            (first..first + 10).map(|number| submit(&gateway, &patient(7), 0, batch(number, None))).collect();
        // Another slot of the same connection is not held up, nor is another connection.
        outcome(submit(&gateway, &patient(7), 1, batch(first, None))).await.expect("another lane");
        for completion in join_all(submitted.into_iter().map(outcome)).await {
            assert!(completion.is_ok(), "{completion:?}");
        }
    }
    let order = owner.numbers(0);
    assert_eq!(order, (0..201).collect::<Vec<_>>());
}

/// Moved to and fro: whether the next append meets those that are held, or they have just gone, is a matter of microseconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_others_are_held_waits_behind_them_though_the_way_is_clear() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let (gateway, cell) = (cell.gateway().await, Arc::new(cell));
    // The connections to both owners are open.
    for slot in [0, 1] {
        outcome(submit(&gateway, &patient(7), slot, batch(0, None))).await.expect("the way is clear");
    }
    let mut order = vec![0];
    for epoch in 2..14 {
        let (old, new) = (&nodes[epoch as usize % 2].owner, &nodes[(epoch as usize + 1) % 2].owner);
        old.disown(0);
        let first = epoch * 10;
        let submit = |number| submit(&gateway, &patient(7), 0, batch(number, None));
        let held: Vec<_> = (first..first + 3).map(submit).collect();
        sleep(Duration::from_millis(30)).await;
        new.own(0);
        let (cell, heir) = (Arc::clone(&cell), nodes[(epoch as usize + 1) % 2].number);
        let giving = tokio::spawn(async move { cell.give(0, heir, epoch).await });
        // As soon as routing knows the new owner, before those that are held have heard of it.
        while gateway.leader_epoch(SlotId::new(0)).await != Ok(SlotEpoch::new(epoch)) {
            std::hint::spin_loop();
        }
        let next = submit(first + 3);
        giving.await.expect("given");
        for completion in join_all(held.into_iter().chain([next]).map(outcome)).await {
            assert!(completion.is_ok(), "{completion:?}");
        }
        order.extend(first..first + 4);
        let there = new.numbers(0);
        assert_eq!(there[there.len() - 4..], order[order.len() - 4..]);
    }
}

#[tokio::test]
async fn nothing_is_sent_again_before_everything_sent_earlier_is_answered() {
    let (cell, mut nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.hold_answers();
    let unanswered = submit(&gateway, &patient(7), 0, batch(0, Some(9)));
    nodes[0].owner.until_holding(0, 1).await;
    nodes[0].owner.disown(0);
    nodes[1].owner.own(0);
    let refused = submit(&gateway, &patient(7), 0, batch(1, Some(9)));
    sleep(A_WHILE).await;
    cell.give(0, 2, 2).await;
    sleep(A_WHILE).await;
    assert!(nodes[1].owner.numbers(0).is_empty(), "what was sent first may have to go first");
    drop(nodes.remove(0).server);
    for completion in [outcome(unanswered).await, outcome(refused).await] {
        assert!(completion.is_ok(), "{completion:?}");
    }
    assert_eq!(nodes[0].owner.numbers(0), [0, 1]);
}

#[tokio::test]
async fn an_append_that_could_go_at_once_waits_behind_one_that_cannot() {
    let (cell, nodes) = Cell::new(1, 2).await;
    let gateway = cell.gateway().await;
    let ahead = Caller { revision_seen: Revision::new(5), ..patient(7) };
    let first = submit(&gateway, &ahead, 0, batch(0, None));
    let second = submit(&gateway, &patient(7), 0, batch(1, None));
    // Other lanes go on.
    outcome(submit(&gateway, &patient(7), 1, batch(0, None))).await.expect("another slot");
    outcome(submit(&gateway, &patient(8), 0, batch(9, None))).await.expect("another connection");
    sleep(A_WHILE).await;
    assert_eq!(nodes[0].owner.numbers(0), [9]);
    nodes[0].owner.see(5);
    for completion in [outcome(first).await, outcome(second).await] {
        assert!(completion.is_ok(), "{completion:?}");
    }
    assert_eq!(nodes[0].owner.numbers(0), [9, 0, 1]);
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_is_not_sent_again_without_a_producer_id() {
    let (cell, mut nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.hold_answers();
    let lost = submit(&gateway, &patient(7), 0, batch(1, None));
    nodes[0].owner.until_holding(0, 1).await;
    let dead = nodes.remove(0);
    drop(dead.server);
    nodes[0].owner.own(0);
    cell.give(0, 2, 2).await;
    assert_eq!(outcome(lost).await, Err(AppendError::Unconfirmed));
    outcome(submit(&gateway, &patient(7), 0, batch(2, None))).await.expect("the new owner takes it");
    assert_eq!((dead.owner.numbers(0), nodes[0].owner.numbers(0)), (vec![1], vec![2]));
}

#[tokio::test]
async fn an_idempotent_append_whose_answer_is_lost_is_sent_again_in_its_place() {
    let (cell, mut nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.hold_answers();
    let lost: Vec<_> =
        (0..5).map(|number| submit(&gateway, &patient(7), 0, batch(number, Some(9)))).collect();
    nodes[0].owner.until_holding(0, 5).await;
    let dead = nodes.remove(0);
    drop(dead.server);
    let behind = submit(&gateway, &patient(7), 0, batch(5, Some(9)));
    nodes[0].owner.own(0);
    cell.give(0, 2, 2).await;
    for completion in join_all(lost.into_iter().chain([behind]).map(outcome)).await {
        assert!(completion.is_ok(), "{completion:?}");
    }
    assert_eq!(nodes[0].owner.numbers(0), (0..6).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_node_that_hangs_is_told_from_a_slow_one_and_its_appends_end() {
    let (cell, nodes) = Cell::new(1, 2).await;
    let _hung = cell.start_hung(9).await;
    cell.give(0, 9, 2).await;
    let gateway = cell.gateway().await;
    let plain = submit(&gateway, &patient(7), 0, batch(1, None));
    let idempotent = submit(&gateway, &patient(8), 0, batch(2, Some(9)));
    assert_eq!(outcome(plain).await, Err(AppendError::Unconfirmed));
    // Its heir answers for what may be sent again.
    cell.give(0, 1, 3).await;
    outcome(idempotent).await.expect("the heir takes it");
    assert_eq!(nodes[0].owner.numbers(0), [2]);
}

#[tokio::test]
async fn an_append_is_held_within_its_callers_patience_and_then_refused() {
    let (cell, nodes) = Cell::new(1, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.disown(0);
    let impatient = caller(7, Duration::from_millis(100));
    let refused = submit(&gateway, &impatient, 0, batch(1, None));
    let held = submit(&gateway, &patient(7), 0, batch(2, None));
    assert_eq!(outcome(refused).await, Err(AppendError::NotOwner));
    nodes[0].owner.own(0);
    outcome(held).await.expect("its patience lasted");
    assert_eq!(nodes[0].owner.numbers(0), [2]);
    // A slot that nobody has ever owned.
    assert_eq!(outcome(submit(&gateway, &impatient, 50, batch(1, None))).await, Err(AppendError::NotOwner));
    let nowhere = gateway.reserve(&impatient, SlotId::new(50), 10).await;
    assert!(matches!(nowhere, Err(Unavailable::NotOwner)));
}

#[tokio::test]
async fn a_node_that_stops_in_order_loses_nothing_of_what_it_took_and_refuses_the_rest() {
    let (cell, mut nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    nodes[0].owner.hold_answers();
    let taken: Vec<_> = (0..5).map(|number| submit(&gateway, &patient(7), 0, batch(number, None))).collect();
    nodes[0].owner.until_holding(0, 5).await;
    let stopping = nodes.remove(0);
    let stopped = tokio::spawn(stopping.server.shutdown(Duration::from_secs(30)));
    let later: Vec<_> = (5..10).map(|number| submit(&gateway, &patient(7), 0, batch(number, None))).collect();
    sleep(A_WHILE).await;
    stopping.owner.release_answers();
    nodes[0].owner.own(0);
    cell.give(0, 2, 2).await;
    // None is lost although none may be sent twice.
    for completion in join_all(taken.into_iter().chain(later).map(outcome)).await {
        assert!(completion.is_ok(), "{completion:?}");
    }
    stopped.await.expect("it stops");
    let both = [stopping.owner.numbers(0), nodes[0].owner.numbers(0)].concat();
    assert_eq!(both, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_append_waits_for_room_at_its_owner_and_later_ones_wait_behind_it() {
    let (cell, nodes) = Cell::new(1, 2).await;
    let gateway = cell.gateway().await;
    let owner = &nodes[0].owner;
    let size = batch(0, None).size_bytes() as usize;
    owner.room.forget_permits(1 << 20);
    let submitted: Vec<_> =
        (0..10).map(|number| submit(&gateway, &patient(7), 0, batch(number, None))).collect();
    sleep(A_WHILE).await;
    assert!(owner.numbers(0).is_empty());
    owner.room.add_permits(3 * size);
    owner.until_holding(0, 3).await;
    assert_eq!(owner.numbers(0), [0, 1, 2]);
    owner.room.add_permits(7 * size);
    for completion in join_all(submitted.into_iter().map(outcome)).await {
        assert!(completion.is_ok(), "{completion:?}");
    }
    assert_eq!(owner.numbers(0), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_waits_for_room_at_an_owner_that_loses_the_slot_is_refused_in_order() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let gateway = cell.gateway().await;
    let (old, new) = (&nodes[0].owner, &nodes[1].owner);
    old.room.forget_permits(1 << 20);
    let submitted: Vec<_> =
        (0..10).map(|number| submit(&gateway, &patient(7), 0, batch(number, None))).collect();
    sleep(A_WHILE).await;
    old.disown(0);
    new.own(0);
    cell.give(0, 2, 2).await;
    old.room.add_permits(1 << 20);
    for completion in join_all(submitted.into_iter().map(outcome)).await {
        assert!(completion.is_ok(), "{completion:?}");
    }
    assert_eq!((old.numbers(0), new.numbers(0)), (vec![], (0..10).collect::<Vec<_>>()));
}

#[tokio::test]
async fn one_clusters_unanswered_appends_are_bounded_at_the_gateway() {
    let (cell, nodes) = Cell::new(2, 2).await;
    let config = RemoteConfig { unanswered_bytes_per_cluster_max: 1000, ..RemoteConfig::default() };
    let gateway = cell.gateway_with(&config).await;
    let room = gateway.reserve(&patient(7), SlotId::new(0), 900).await.expect("there is room");
    assert!(timeout(A_WHILE, gateway.reserve(&patient(7), SlotId::new(0), 200)).await.is_err());
    // The other owner's room is its own; and all of it is for a request that is larger.
    drop(gateway.reserve(&patient(7), SlotId::new(1), 5000).await.expect("there is room"));
    let other = Caller { cluster: "zzzzzzzz".parse().expect("an id"), ..patient(7) };
    gateway.reserve(&other, SlotId::new(0), 900).await.expect("another tenant's room is its own");
    nodes[0].owner.hold_answers();
    let append =
        headgate_storage_client::Append { partition: partition(0), batch: batch(0, None), reservation: room };
    let held = gateway.submit_append(&patient(7), append);
    nodes[0].owner.until_holding(0, 1).await;
    let patience = patient(7);
    let mut next = Box::pin(gateway.reserve(&patience, SlotId::new(0), 200));
    assert!(timeout(A_WHILE, &mut next).await.is_err(), "until it is answered, its room is taken");
    let caller = caller(7, Duration::from_millis(20));
    let refused = gateway.reserve(&caller, SlotId::new(0), 200).await;
    assert!(matches!(refused, Err(Unavailable::Refused)));
    nodes[0].owner.release_answers();
    held.await.expect("answered").expect("appended");
    next.await.expect("there is room again");
}

#[tokio::test]
async fn dropping_a_completion_does_not_cancel_its_append() {
    let (cell, nodes) = Cell::new(1, 1).await;
    let gateway = cell.gateway().await;
    drop(submit(&gateway, &patient(7), 0, batch(1, None)));
    nodes[0].owner.until_holding(0, 1).await;
}

#[tokio::test]
async fn a_peer_at_a_nodes_address_that_is_not_that_node_gets_nothing() {
    let (cell, nodes) = Cell::new(1, 1).await;
    let listener = cell.listen(2).await;
    let stranger = nodes[0].owner.clone();
    let service = headgate_storage::StorageService::new(
        stranger,
        headgate_storage::clock::SystemClock::shared(),
        Arc::default(),
    );
    // Node 3 is told to be where node 2 answers.
    cell.tell(3, listener.local_address().expect("bound").to_string()).await;
    let _server = headgate_storage_client::wire::Server::start(
        listener,
        Arc::new(service),
        headgate_storage_client::wire::WireLimits::default(),
    );
    cell.give(0, 3, 2).await;
    let gateway = cell.gateway().await;
    let refused = submit(&gateway, &caller(7, Duration::from_millis(200)), 0, batch(1, None));
    assert_eq!(outcome(refused).await, Err(AppendError::NotOwner));
    assert!(nodes[0].owner.numbers(0).is_empty());
}
