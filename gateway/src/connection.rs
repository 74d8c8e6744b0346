//! A client's connection, its states as types: a [`Unauthenticated`] one may become [`Authenticated`], which alone reaches
//! the handlers. Either ends with an orderly close.
//!
//! Not here: what the requests do (`api`), who may connect (`login`).

mod answer;
mod authenticated;
mod frame;
mod leaving;
mod reauthentication;
mod request;
mod shedding;
mod throttle_field;
mod transport;
mod unauthenticated;

pub(crate) use answer::{Answer, Response, SliceList};
pub(crate) use authenticated::{Authenticated, Opened};
pub(crate) use transport::{ByteStream, Transport};
pub(crate) use unauthenticated::Unauthenticated;

/// How a connection's life in one state ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client closed its side, or the connection broke.
    ByClient,
    /// We end it, for the reason given: writing is shut down and the client given time to read.
    ByUs(&'static str),
}
