//! A gateway's storage over the network: `RemoteStorage` against doubles of owners, each served over TCP on loopback with mutual
//! TLS. What moves, dies, hangs or refuses here does so on command. One test has a real node behind the service.

mod appends;
mod authority;
mod cell;
mod groups;
mod owner;
mod quotas;
mod reads;
mod real_node;
mod serving;
#[path = "../support/mod.rs"]
mod support;
