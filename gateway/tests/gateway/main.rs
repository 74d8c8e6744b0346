//! The gateway from outside: real listeners, raw frames, and a storage double that can fail and hold back.

mod admin;
mod authentication;
mod denied;
mod drain;
mod fetch;
mod golden;
mod groups;
mod malformed;
mod metadata;
mod order;
mod produce;
mod quotas;
mod support;
mod versions;
