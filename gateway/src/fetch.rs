//! Fetching: what is asked for ([`session`]), where it is ([`target`]), reading and waiting ([`gather`]), and the response
//! around the records ([`encode`]). Rules: `gateway/PROTOCOL.md` §4.

mod encode;
mod gather;
mod nearer;
mod session;
mod target;

pub(crate) use encode::{FetchAnswer, FetchEntry, encode};
pub(crate) use gather::{Gathered, Wait, gather};
pub(crate) use nearer::nearer_broker;
pub(crate) use session::{
    Asked, FetchSessionSlot, SessionBudget, TopicRef, Wanted, begin, finish, forget, is_full,
};
pub(crate) use target::{Target, resolve};
