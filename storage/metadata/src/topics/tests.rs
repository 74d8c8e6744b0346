//! The contract of this module's operations, on the embedded store.
