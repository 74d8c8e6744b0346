//! Errors of the control API, by the codes AWS clients react to.
//!
//! Texts are for the caller: they name no host, file or other tenant. What an operator needs is logged where it happens.

use headgate_iam::{AccessDenied, Effect, ErrorCode, PolicyError, RequestRejected};
use headgate_metadata::store::MetadataError;

use crate::service::Dialect;

/// Why a call was not done, ready to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    /// The parameter that is wrong, where the service names it.
    pub(crate) invalid_parameter: Option<String>,
    /// For the audit line, where it may say more than the answer.
    pub(crate) reason: Option<String>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $json:literal, $query:literal, $status:literal;)+) => {
        /// The codes, in both spellings, with their HTTP status.
        impl ApiError {$(
            $(#[$doc])*
            pub(crate) const $name: ErrorCode = ErrorCode { json: $json, query: $query, status: $status };
        )+}
    };
}

codes! {
    /// A request that cannot be read or has a wrong parameter.
    MALFORMED = "BadRequestException", "ValidationError", 400;
    /// A value that is well-formed but not offered here.
    INVALID_INPUT = "BadRequestException", "InvalidInput", 400;
    /// A parameter that must be there is not.
    MISSING_PARAMETER = "BadRequestException", "ValidationError", 400;
    /// No such call.
    UNKNOWN_OPERATION = "UnknownOperationException", "InvalidAction", 404;
    /// No such resource.
    NOT_FOUND = "NotFoundException", "NoSuchEntity", 404;
    /// The name is taken, or the state forbids it.
    CONFLICT = "ConflictException", "EntityAlreadyExists", 409;
    /// The topic's name is taken.
    TOPIC_EXISTS = "TopicExistsException", "EntityAlreadyExists", 409;
    /// The resource is still in use.
    DELETE_CONFLICT = "ConflictException", "DeleteConflict", 409;
    /// A quota of the account or user.
    LIMIT_EXCEEDED = "ConflictException", "LimitExceeded", 409;
    /// A policy that does not compile.
    MALFORMED_POLICY = "BadRequestException", "MalformedPolicyDocument", 400;
    /// A session policy that is too long.
    PACKED_POLICY_TOO_LARGE = "BadRequestException", "PackedPolicyTooLarge", 400;
    /// Too many requests.
    THROTTLED = "TooManyRequestsException", "Throttling", 429;
    /// The body is beyond the limit.
    TOO_LARGE = "RequestEntityTooLargeException", "RequestEntityTooLarge", 413;
    /// The request did not arrive in time.
    RECEIVE_TIMEOUT = "RequestTimeoutException", "RequestTimeout", 408;
    /// Something here is broken.
    INTERNAL = "InternalServerErrorException", "ServiceFailure", 500;
    /// Something needed does not answer.
    UNAVAILABLE = "ServiceUnavailableException", "ServiceUnavailable", 503;
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), invalid_parameter: None, reason: None }
    }

    /// A request that cannot be read.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Self::MALFORMED, message)
    }

    /// A parameter that is wrong, by name.
    pub(crate) fn parameter(name: &str, message: impl Into<String>) -> Self {
        Self { invalid_parameter: Some(name.to_owned()), ..Self::malformed(message) }
    }

    /// A parameter that must be there and is not.
    pub(crate) fn missing(name: &str) -> Self {
        Self {
            invalid_parameter: Some(name.to_owned()),
            ..Self::new(Self::MISSING_PARAMETER, format!("The request must contain the parameter {name}."))
        }
    }

    /// Too many requests; the reason says whose.
    pub(crate) fn throttled(reason: &str) -> Self {
        let mut error = Self::new(Self::THROTTLED, "Rate exceeded");
        error.reason = Some(reason.to_owned());
        error
    }

    /// Something here is broken; what, is logged by the caller of this.
    pub(crate) fn internal() -> Self {
        Self::new(Self::INTERNAL, "The request could not be processed because of an internal error.")
    }

    /// The code, in the words of the dialect.
    pub(crate) fn name(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Json => self.code.json,
            Dialect::Query { .. } => self.code.query,
        }
    }

    /// The HTTP status. Query services answer throttles and unknown actions with 400, as AWS does.
    pub(crate) fn status(&self, dialect: Dialect) -> u16 {
        match dialect {
            Dialect::Query { .. } if self.is_throttle() || self.code == Self::UNKNOWN_OPERATION => 400,
            _ => self.code.status,
        }
    }

    pub(crate) fn is_throttle(&self) -> bool {
        self.code == Self::THROTTLED
    }

    /// Whether the caller was not let in, rather than the call failed.
    pub(crate) fn is_denial(&self) -> bool {
        self.code.status == 403 || self.is_throttle()
    }
}

impl From<RequestRejected> for ApiError {
    fn from(rejected: RequestRejected) -> Self {
        Self::new(rejected.code(), rejected.to_string())
    }
}

impl From<AccessDenied> for ApiError {
    fn from(denied: AccessDenied) -> Self {
        let AccessDenied { action, resource, principal, effect } = &denied;
        let because = match effect {
            Effect::ExplicitDeny(statement) => format!("with an explicit deny in {statement}"),
            Effect::Allow | Effect::ImplicitDeny => {
                format!("because no identity-based policy allows the {action} action")
            }
        };
        let message = format!(
            "User: {principal} is not authorized to perform: {action} on resource: {resource} {because}"
        );
        let mut error = Self::new(ErrorCode::ACCESS_DENIED, message);
        error.reason = Some(effect.to_string());
        error
    }
}

impl From<MetadataError> for ApiError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Unavailable { .. }
            | MetadataError::Contended { .. }
            | MetadataError::WentBack { .. } => {
                tracing::warn!(%error, "control call not done");
                Self::new(Self::UNAVAILABLE, "The request could not be processed now. Try again later.")
            }
            MetadataError::OutcomeUnknown { .. } => {
                tracing::warn!(%error, "outcome of a control call unknown");
                let message = "It is not known whether the request was done. Look before you try again.";
                Self::new(Self::UNAVAILABLE, message)
            }
            MetadataError::Invalid { .. } => {
                tracing::error!(%error, "control call not done");
                Self::internal()
            }
        }
    }
}

impl From<PolicyError> for ApiError {
    fn from(error: PolicyError) -> Self {
        let code = match error {
            PolicyError::TooLong(_) => Self::LIMIT_EXCEEDED,
            _ => Self::MALFORMED_POLICY,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;

    fn body(dialect: Dialect, error: &ApiError) -> (u16, String) {
        let answer = Answer::error(dialect, error, "req-1");
        (answer.status, String::from_utf8(answer.body.to_vec()).expect("text"))
    }

    #[test]
    fn a_json_error_has_its_type_in_the_header_and_the_message_in_the_body() {
        let error = ApiError::parameter("clusterName", "Bad \"name\".");
        let answer = Answer::error(Dialect::Json, &error, "req-1");
        assert_eq!(answer.headers, [("x-amzn-errortype", "BadRequestException".to_owned())]);
        let (status, body) = body(Dialect::Json, &error);
        assert_eq!(status, 400);
        assert_eq!(body, r#"{"message":"Bad \"name\".","invalidParameter":"clusterName"}"#);
    }

    #[test]
    fn a_query_error_is_an_error_response_with_type_code_message_and_request_id() {
        let (status, body) = body(Dialect::IAM, &ApiError::new(ApiError::NOT_FOUND, "no <user>"));
        assert_eq!(status, 404);
        assert_eq!(
            body,
            "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
             <Code>NoSuchEntity</Code><Message>no &lt;user&gt;</Message></Error><RequestId>req-1</RequestId>\
             </ErrorResponse>\n"
        );
    }

    #[test]
    fn a_throttle_is_429_in_json_and_400_in_query() {
        let throttle = ApiError::throttled("source");
        assert_eq!(body(Dialect::Json, &throttle).0, 429);
        assert_eq!(body(Dialect::STS, &throttle).0, 400);
    }

    #[test]
    fn errors_of_the_store_tell_the_caller_nothing_of_it() {
        let error = ApiError::from(MetadataError::Unavailable { reason: "host etcd-1 refused".into() });
        assert_eq!(error.code, ApiError::UNAVAILABLE);
        assert!(!error.message.contains("etcd"));
        let error = ApiError::from(MetadataError::Invalid { reason: "`user/1` broken".into() });
        assert_eq!(error.code, ApiError::INTERNAL);
        assert!(!error.message.contains("user/1"));
    }
}
