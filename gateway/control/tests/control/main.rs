//! The control API as its clients see it: over HTTP, with requests signed by AWS's own crate.

mod iam;
mod kafka;
mod native;
mod signing;
mod sockets;
mod sts;
mod support;
