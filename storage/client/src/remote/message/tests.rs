//! Every message reads back what was written, is pinned by golden bytes, and cannot be made to panic.

mod golden;
mod random;
pub(crate) mod samples;
mod versions;
