//! Quotas at this gateway (`gateway/PROTOCOL.md` §9).
//!
//! ```text
//!   a frame is announced ──► its turn: one request, and its bytes if it is long ──► read
//!   a Produce is parsed  ──► its turn: its bytes, if it was short ──► started
//!   a Fetch reads        ──► bytes out are set aside before, and counted after
//!   an answer leaves     ──► carries the throttle time; the connection is left unread that long
//! ```
//!
//! What a cluster's administrator set for users and client ids ([`ClientLimits`]) is measured in buckets of this gateway's own,
//! and found at an answer as well.
//!
//! The tokens come from the cluster's quota coordinator (`headgate_storage_client::quota`). While there are some, a request costs
//! one atomic operation per flow and takes no lock.
//! Start at [`TenantQuota`].

mod charges;
mod client_bucket;
mod clients;
mod explain;
mod handler_time;
mod history;
mod limit;
mod partitions;
mod pilot;
mod tenant;
mod tenants;
mod turn;

pub(crate) use charges::{ConnectionLease, Over};
pub(crate) use clients::{ClientLimits, ClientLimitsSlot};
pub(crate) use handler_time::Timed;
pub(crate) use limit::{Limit, Throttle};
pub(crate) use pilot::fly;
pub(crate) use tenant::{BytesOut, TenantQuota};
pub(crate) use tenants::TenantQuotas;
pub(crate) use turn::Turn;
