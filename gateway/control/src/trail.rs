//! What becomes known of a call while it runs, and the audit line it leaves.
//!
//! Invariant: no secret enters a line. Parameters are shown only of callers who are proven, and of no call that carries a
//! secret; answers show what they say themselves ([`Answer::elements`]).

use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat};
use headgate_metadata::audit::{AuditDetails, AuditRecord, AuditResult};
use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::authenticate::Caller;
use crate::error::ApiError;
use crate::request::ApiRequest;
use crate::service::{Dialect, Service};

/// Parameters and answers that are longer than this are left out: a line must not carry a megabyte.
const SHOWN_BYTES_MAX: usize = 16 * 1024;
/// What operations that only look begin with; their answers are not shown.
const LOOKING: [&str; 5] = ["Describe", "Get", "List", "Simulate", "unknown"];

/// Parameters that hold secrets, of calls that are not offered too: whoever tries them sends the secret all the same.
const SECRETS: [&str; 6] =
    ["password", "secretaccesskey", "privatekey", "tokencode", "webidentitytoken", "samlassertion"];
/// What CloudTrail writes in their place.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// What becomes known of a call while it runs.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) action: OnceLock<String>,
    pub(crate) caller: OnceLock<Caller>,
    pub(crate) resource: OnceLock<String>,
    pub(crate) cluster: OnceLock<String>,
    /// The parameters that stand in the path.
    pub(crate) path: OnceLock<Vec<(&'static str, String)>>,
}

impl Trail {
    /// The audit line of the call that ended so.
    pub(crate) fn record(
        &self,
        request: &ApiRequest,
        service: Option<Service>,
        ended: Result<&Answer, &ApiError>,
    ) -> AuditRecord {
        let unknown = || format!("{}:unknown", service.map_or("control", Service::name));
        let action = self.action.get().cloned().unwrap_or_else(unknown);
        let name = action.split_once(':').map_or(&*action, |(_, name)| name);
        let read_only = LOOKING.iter().any(|looking| name.starts_with(looking));
        // Which credential was issued is worth knowing, although the call only "gets" one.
        let issues = service == Some(Service::Sts);
        let error = ended.err();
        let caller = self.caller.get();
        let iso = |at: headgate_iam::UnixTime, format| {
            DateTime::from_timestamp_millis(at.as_millis()).unwrap_or_default().to_rfc3339_opts(format, true)
        };
        let details = AuditDetails {
            request_id: Some(request.id.clone()),
            principal_id: caller.map(|caller| caller.principal.id().to_owned()),
            access_key_id: caller.map(|caller| caller.access_key_id.clone()),
            session_issued: caller
                .and_then(|caller| caller.token_issued_at)
                .map(|at| iso(at, SecondsFormat::Secs)),
            user_agent: request.header("user-agent").map(str::to_owned),
            error_code: error.map(|error| error.name(Dialect::of(service, &request.raw_path)).to_owned()),
            request: caller.and_then(|_| self.parameters(request, service)),
            response: ended.ok().filter(|_| !read_only || issues).and_then(Answer::elements).filter(is_short),
            read_only,
        };
        AuditRecord {
            time: iso(request.now, SecondsFormat::Millis),
            source: request.source.to_string(),
            principal: caller.map(|caller| caller.principal.arn().to_owned()),
            cluster: self.cluster.get().cloned(),
            action,
            resource: self.resource.get().cloned(),
            result: match error {
                None => AuditResult::Allowed,
                Some(error) if error.is_denial() => AuditResult::Denied,
                Some(_) => AuditResult::Failed,
            },
            reason: error.map(|error| error.reason.clone().unwrap_or_else(|| error.message.clone())),
            details,
        }
    }

    /// The parameters of the path, of the query string and of the body, with the names of JSON services.
    fn parameters(&self, request: &ApiRequest, service: Option<Service>) -> Option<Value> {
        let mut shown = Map::new();
        for (name, value) in self.path.get().into_iter().flatten() {
            shown.insert((*name).to_owned(), value.as_str().into());
        }
        if let Some(Service::Iam | Service::Sts) = service {
            shown.extend(request.form().ok()?.shown());
        } else {
            shown.extend(request.query().ok()?.shown());
            if let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) {
                shown.extend(body);
            }
        }
        for (name, value) in &mut shown {
            let name = name.to_ascii_lowercase();
            if SECRETS.iter().any(|secret| name.ends_with(secret)) {
                *value = HIDDEN.into();
            }
        }
        Some(Value::Object(shown)).filter(is_short)
    }
}

fn is_short(value: &Value) -> bool {
    value.to_string().len() <= SHOWN_BYTES_MAX
}
