//! The `headgate` service (JSON under `/headgate/v1/`): what AWS has no call for.
//!
//! ```text
//! POST /headgate/v1/sessions                        CreateSession      temporary credentials for a named user
//! POST /headgate/v1/clusters                        CreateCluster      a cluster with options
//! GET  /headgate/v1/clusters?clusterName&nextToken   ListClusters       with ids, ports and bootstrap strings
//! GET  /headgate/v1/clusters/{name}/quotas          ListQuotas         what holds for a cluster
//! POST /headgate/v1/clusters/{name}/quotas          SetQuotas          for the operator
//! GET  /headgate/v1/clusters/{name}/quotas/explanation  ExplainQuotas  why its clients are slowed down
//! GET  /headgate/v1/status                          GetStatus
//! GET  /headgate/v1/bill?cluster&from&to&by&format  GetBill
//! POST /headgate/v1/access-keys/{id}/deactivate     UpdateAccessKey    by key id alone
//! POST /headgate/v1/access-keys/{id}/activate       UpdateAccessKey
//! ```

use headgate_metadata::record::AccessKeyStatus;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::ApiError;
use crate::percent;
use crate::request::ApiRequest;

mod access_keys;
mod bill;
mod clusters;
mod quotas;
mod sessions;
mod status;

/// The calls that are offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateSession,
    CreateCluster,
    ListClusters,
    ListQuotas(String),
    SetQuotas(String),
    ExplainQuotas(String),
    GetStatus,
    GetBill,
    UpdateAccessKey(String, AccessKeyStatus),
}

impl Operation {
    pub(crate) fn route(request: &ApiRequest) -> Result<Self, ApiError> {
        let unknown = || ApiError::new(ApiError::UNKNOWN_OPERATION, "There is no such operation.");
        let segments = percent::segments(&request.raw_path).ok_or_else(unknown)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let ["headgate", "v1", path @ ..] = segments.as_slice() else { return Err(unknown()) };
        Ok(match (request.method.as_str(), path) {
            ("POST", ["sessions"]) => Self::CreateSession,
            ("POST", ["clusters"]) => Self::CreateCluster,
            ("GET", ["clusters"]) => Self::ListClusters,
            ("GET", ["clusters", name, "quotas"]) => Self::ListQuotas((*name).to_owned()),
            ("POST", ["clusters", name, "quotas"]) => Self::SetQuotas((*name).to_owned()),
            ("GET", ["clusters", name, "quotas", "explanation"]) => Self::ExplainQuotas((*name).to_owned()),
            ("GET", ["status"]) => Self::GetStatus,
            ("GET", ["bill"]) => Self::GetBill,
            ("POST", ["access-keys", id, "deactivate"]) => {
                Self::UpdateAccessKey((*id).to_owned(), AccessKeyStatus::Inactive)
            }
            ("POST", ["access-keys", id, "activate"]) => {
                Self::UpdateAccessKey((*id).to_owned(), AccessKeyStatus::Active)
            }
            _ => return Err(unknown()),
        })
    }

    /// The name in policies.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::CreateSession => "CreateSession",
            Self::CreateCluster => "CreateCluster",
            Self::ListClusters => "ListClusters",
            Self::ListQuotas(_) => "ListQuotas",
            Self::SetQuotas(_) => "SetQuotas",
            Self::ExplainQuotas(_) => "ExplainQuotas",
            Self::GetStatus => "GetStatus",
            Self::GetBill => "GetBill",
            Self::UpdateAccessKey(..) => "UpdateAccessKey",
        }
    }

    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        match self {
            Self::CreateSession => sessions::create(call).await,
            Self::CreateCluster => clusters::create(call).await,
            Self::ListClusters => clusters::list(call).await,
            Self::ListQuotas(name) => quotas::list(call, name).await,
            Self::SetQuotas(name) => quotas::set(call, name).await,
            Self::ExplainQuotas(name) => quotas::explain(call, name).await,
            Self::GetStatus => status::get(call).await,
            Self::GetBill => bill::get(call).await,
            Self::UpdateAccessKey(id, status) => access_keys::update(call, id, *status).await,
        }
    }
}
