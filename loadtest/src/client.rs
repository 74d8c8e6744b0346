//! A Kafka client of its own: only what a load tester needs, and nothing of the server it tests.
//!
//! `connection` frames and correlates, `sasl` signs, `cluster` finds leaders, `producer` and `fetcher` move data.
//! Every answer's shape is walked (`shape`) before the codec sees it.

pub(crate) mod api;
pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod fetcher;
pub(crate) mod partition_queue;
pub(crate) mod pipeline;
pub(crate) mod produce_answer;
pub(crate) mod producer;
pub(crate) mod sasl;
pub(crate) mod shape;
pub(crate) mod transport;
