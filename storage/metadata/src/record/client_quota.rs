//! The quotas of a cluster's clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::client_quota::ClientQuotaEntity;

/// The quotas that a cluster's administrator set for its users and client ids. One record, so that a change of several
/// entities is seen as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientQuotaRecord {
    /// Every entity that has a quota, in their order.
    #[serde(default)]
    pub entities: Vec<ClientQuotaEntry>,
}

/// The quotas of one entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientQuotaEntry {
    /// Whom they are for.
    #[serde(flatten)]
    pub entity: ClientQuotaEntity,
    /// Values by the names of [`crate::client_quota::ClientQuotaKey`]; never empty.
    pub values: BTreeMap<String, f64>,
}
