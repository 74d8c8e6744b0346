//! The gateway from outside: real listeners, raw frames, and a storage double that can fail and hold back.

mod admin;
mod authentication;
mod cluster_policy;

mod client_quotas;
mod drain;
mod fetch;
mod golden;
mod groups;
mod isolation;
mod malformed;
mod matrix;
mod metadata;
mod named;
mod operations;
mod order;
mod own_requests;
mod produce;
mod quotas;
mod revocation;
mod sessions;
mod shedding;
mod support;
mod versions;
