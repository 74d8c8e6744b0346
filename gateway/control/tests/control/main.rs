//! The control API as its clients see it: over HTTP, with requests signed by AWS's own crate.

mod audit;
mod cluster_life;
mod cluster_policy;
mod iam;
mod identities;
mod kafka;
mod native;
mod roles;
mod signing;
mod sockets;
mod sts;
mod support;
mod topics;
