//! Releases one apart understand each other.

use minicbor::{Decode, Encode};

use super::samples::{caller, partition};
use crate::remote::message::{AllocateProducerIdCall, Operation};
use crate::wire::Message;
use crate::{Caller, PartitionAddress};

/// [`AllocateProducerIdCall`] as a later release may have it.
#[derive(Encode, Decode)]
struct Later {
    #[n(0)]
    caller: Caller,
    #[n(1)]
    hint: Option<PartitionAddress>,
    #[n(5)]
    list: Vec<u64>,
}

/// [`Caller`] as an earlier release had it: without its last field.
#[derive(Encode)]
struct EarlierCaller<'a>(
    #[n(0)] headgate_metadata::id::ClusterId,
    #[n(1)] &'a str,
    #[n(2)] &'a str,
    #[n(3)] std::net::IpAddr,
    #[n(4)] std::time::Duration,
    #[n(5)] u64,
    #[n(6)] u64,
);

#[derive(Encode)]
struct Earlier<'a> {
    #[n(0)]
    caller: EarlierCaller<'a>,
}

#[test]
fn fields_of_a_later_release_are_skipped() {
    let later = Later { caller: caller(), hint: Some(partition()), list: vec![1, 2, 3] };
    let head = minicbor::to_vec(later).expect("memory does not fail").into();
    let message = Message { kind: AllocateProducerIdCall::KIND, head, payload: Vec::new() };
    let read = AllocateProducerIdCall::from_message(message).expect("what is known is there");
    assert_eq!(read, AllocateProducerIdCall { caller: caller() });
}

#[test]
fn fields_an_earlier_release_lacks_have_their_default() {
    let known = caller();
    let earlier = Earlier {
        caller: EarlierCaller(
            known.cluster,
            &known.principal,
            &known.client_id,
            known.client_host,
            known.patience,
            known.request.0,
            known.revision_seen.get(),
        ),
    };
    let head = minicbor::to_vec(earlier).expect("memory does not fail").into();
    let message = Message { kind: AllocateProducerIdCall::KIND, head, payload: Vec::new() };
    let read = AllocateProducerIdCall::from_message(message).expect("what is needed is there");
    assert_eq!(read, AllocateProducerIdCall { caller: Caller { connection: 0, ..known } });
}
