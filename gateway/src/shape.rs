//! The shape of every request, and a walk over its bytes that allocates nothing (`gateway/PROTOCOL.md` §6).
//!
//! The codec reserves memory by the counts a stranger wrote. So before it sees a byte, [`walk`] follows the fields of the
//! request for its version and checks every count and length against the bytes that remain, and the number of elements
//! against a limit. The tables in [`table`] are at the same time the project's notation of the protocol.

mod notation;
pub(crate) mod table;
mod walk;

pub(crate) use notation::Shape;
pub(crate) use walk::{ShapeDefect, walk};

#[cfg(test)]
mod tests;
