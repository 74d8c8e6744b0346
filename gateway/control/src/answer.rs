//! What goes back, and the shapes of AWS errors.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;
use crate::service::Dialect;
use crate::xml::Xml;

/// An answer that is ready to be written.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    shown: Shown,
}

/// What an audit line may show of an answer.
#[derive(Debug)]
enum Shown {
    /// It holds a secret, or is no structure.
    Nothing,
    /// The body, which is JSON.
    Body,
    /// This.
    Elements(Value),
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, headers: Vec::new(), body: body.into(), shown: Shown::Nothing }
    }

    /// A JSON answer of a success.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self { shown: Shown::Body, ..Self::secret_json(value) }
    }

    /// A JSON answer of which nothing may stand in the audit line.
    pub(crate) fn secret_json(value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("answers hold nothing that JSON cannot express");
        Self::new(200, "application/json", body)
    }

    /// What the audit line shows.
    pub(crate) fn elements(&self) -> Option<Value> {
        match &self.shown {
            Shown::Nothing => None,
            Shown::Body => serde_json::from_slice(&self.body).ok(),
            Shown::Elements(elements) => Some(elements.clone()),
        }
    }

    /// A success that says nothing more.
    pub(crate) fn no_content() -> Self {
        Self::new(204, "application/json", Bytes::new())
    }

    /// The answer of a Query call: `<ActionResponse><ActionResult>…</ActionResult>…`; actions without a result have none.
    pub(crate) fn query(dialect: Dialect, action: &str, request_id: &str, result: Option<Xml>) -> Self {
        let namespace = namespace_of(dialect);
        let shown = result.as_ref().map_or(Shown::Nothing, |result| Shown::Elements(result.to_json()));
        let mut xml = Xml::new();
        if let Some(result) = result {
            xml = xml.element(&format!("{action}Result"), |element| element.append(result));
        }
        xml = xml.element("ResponseMetadata", |element| element.text("RequestId", request_id));
        let document = xml.into_document(&format!("{action}Response"), namespace);
        Self { shown, ..Self::new(200, "text/xml", document) }
    }

    /// An error, in the words of the dialect.
    pub(crate) fn error(dialect: Dialect, error: &ApiError, request_id: &str) -> Self {
        let mut answer = match dialect {
            Dialect::Json => {
                let body = JsonError {
                    message: &error.message,
                    invalid_parameter: error.invalid_parameter.as_deref(),
                };
                let mut answer = Self::json(&body);
                answer.headers.push(("x-amzn-errortype", error.code.json.to_owned()));
                answer
            }
            Dialect::Query { namespace, .. } => {
                let kind = if error.status(dialect) < 500 { "Sender" } else { "Receiver" };
                let xml = Xml::new()
                    .element("Error", |element| {
                        element
                            .text("Type", kind)
                            .text("Code", error.code.query)
                            .text("Message", &error.message)
                    })
                    .text("RequestId", request_id);
                Self::new(200, "text/xml", xml.into_document("ErrorResponse", namespace))
            }
        };
        answer.status = error.status(dialect);
        if error.is_throttle() {
            answer.headers.push(("retry-after", "1".to_owned()));
        }
        answer
    }

    /// The HTTP response. The `Date` header, from which SDKs correct their clocks, is the server's to add: it does so always.
    pub(crate) fn into_response(self, request_id: &str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if let Ok(value) = HeaderValue::from_str(request_id) {
            headers.insert(HeaderName::from_static("x-amzn-requestid"), value);
        }
        debug_assert!(
            !headers.contains_key(RETRY_AFTER) || self.status >= 400,
            "only refusals say when to retry"
        );
        response
    }
}

fn namespace_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Json => "",
        Dialect::Query { namespace, .. } => namespace,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonError<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid_parameter: Option<&'a str>,
}
