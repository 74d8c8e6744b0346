//! The control API: the HTTP face through which tenants are opened, granted, inspected and closed.
//!
//! One endpoint speaks for four services, told apart by what a request was signed for: `kafka` (rest-json), `iam` and `sts`
//! (AWS Query) as AWS shapes them, and `headgate` (JSON) for what AWS has no call for. Callers are AWS tools and the
//! operator's commands; below are the metadata store, policy evaluation and metering.
//! Not here: Kafka's protocol, signature and policy rules (`headgate-iam`), prices and sums (`headgate-metering`).
//! Rules: `gateway/PROTOCOL.md` §11. Start at [`ControlServer::serve`]; a call's path is `api` → one file per operation.

mod answer;
mod api;
mod authenticate;
pub mod bill;
mod call;
pub mod components;
pub mod config;
mod error;
mod iam;
mod kafka;
mod lifecycle;
mod limits;
pub mod metrics;
mod native;
mod page;
mod percent;
mod plain;
mod request;
mod server;
mod service;
mod sts;
mod tags;
mod trail;
mod xml;

pub use bill::{BillQuery, BillSource, BillSourceError};
pub use components::{
    Bootstrap, Components, NewTopic, Requester, SharedClock, SharedQuotas, SharedRandom, TopicRefusal,
    TopicRefused, TopicUpdate, Topics,
};
pub use config::{ControlConfig, InvalidControlConfig};
pub use metrics::ControlMetrics;
pub use server::{ControlServer, ServeError};
