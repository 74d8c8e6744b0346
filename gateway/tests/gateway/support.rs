//! What the tests stand on.

pub(crate) mod batch;
pub(crate) mod client;
pub(crate) mod harness;
pub(crate) mod node;
pub(crate) mod signer;
pub(crate) mod storage;

pub(crate) use batch::{batch, batch_of, batch_of_bytes, batch_with_key};
pub(crate) use client::Client;
pub(crate) use harness::Harness;
