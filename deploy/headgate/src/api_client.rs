//! A client of the control API: signs each request (SigV4) with the usual AWS environment variables.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Who signs, and where requests go.
pub(crate) struct ApiClient {
    endpoint: Uri,
    /// For https.
    tls: Option<TlsConnector>,
    region: String,
    credentials: Credentials,
}

/// An answer that is not an error.
pub(crate) struct Answer(Bytes);

impl ApiClient {
    /// Takes `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` and `AWS_REGION` of the environment, and for
    /// https the authorities of `AWS_CA_BUNDLE`.
    pub(crate) fn from_environment(endpoint: &str) -> Result<Self> {
        let required = |name: &str| {
            env::var(name)
                .map_err(|_| anyhow!("{name} is not set; `source DATA/clients/env.sh` sets what is needed"))
        };
        let credentials = Credentials::new(
            required("AWS_ACCESS_KEY_ID")?,
            required("AWS_SECRET_ACCESS_KEY")?,
            env::var("AWS_SESSION_TOKEN").ok().filter(|token| !token.is_empty()),
            None,
            "environment",
        );
        let region = env::var("AWS_REGION").or_else(|_| env::var("AWS_DEFAULT_REGION"));
        let endpoint: Uri = endpoint.parse().with_context(|| format!("--api {endpoint} is not a URL"))?;
        let tls = match endpoint.scheme_str() {
            Some("http") => None,
            Some("https") => Some(trusting(env::var_os("AWS_CA_BUNDLE").map(PathBuf::from).as_deref())?),
            _ => bail!("--api {endpoint} must be of the form http://HOST:PORT or https://HOST:PORT"),
        };
        if endpoint.authority().is_none() {
            bail!("--api {endpoint} names no host");
        }
        let region = region.unwrap_or_else(|_| "us-east-1".to_owned());
        Ok(Self { endpoint, tls, region, credentials })
    }

    /// Calls an operation of IAM or STS (AWS Query): form parameters in, XML out.
    pub(crate) async fn query(
        &self,
        service: &str,
        version: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Answer> {
        let mut form = format!("Version={version}");
        for (name, value) in parameters {
            form.extend(["&", name, "=", &percent_encode(value)]);
        }
        self.send(service, Method::POST, "/", "application/x-www-form-urlencoded", form.into()).await
    }

    /// Calls a JSON operation.
    pub(crate) async fn json(
        &self,
        service: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        self.send(service, method, path, "application/json", body).await
    }

    async fn send(
        &self,
        service: &str,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Answer> {
        let authority = self.endpoint.authority().expect("checked when the client was made").as_str();
        let scheme = self.endpoint.scheme_str().expect("checked when the client was made");
        let url = format!("{scheme}://{authority}{path}");
        let region = if matches!(service, "iam" | "sts") { "us-east-1" } else { &self.region };
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = [("host", authority), ("content-type", content_type)];
        let signable =
            SignableRequest::new(method.as_str(), &url, headers.into_iter(), SignableBody::Bytes(&body))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", authority)
            .header("content-type", content_type)
            .body(Full::new(body))?;
        instructions.apply_to_request_http1x(&mut request);
        self.exchange(authority, request).await
    }

    async fn exchange(&self, authority: &str, request: Request<Full<Bytes>>) -> Result<Answer> {
        let port = self.endpoint.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let host = self.endpoint.host().expect("checked when the client was made").trim_matches(['[', ']']);
        let stream = tokio::net::TcpStream::connect((host, port)).await.with_context(|| {
            format!("no Headgate process answers at {authority}; start one, or give --api")
        })?;
        match &self.tls {
            None => ask(stream, request).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).context("--api names no host")?;
                let stream = tls.connect(name, stream).await.with_context(|| {
                    format!("no TLS with {authority}; AWS_CA_BUNDLE names the authorities that are trusted")
                })?;
                ask(stream, request).await
            }
        }
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    if status.is_success() { Ok(Answer(body)) } else { Err(refusal(status, &body)) }
}

/// Trusts the authorities of a PEM file.
fn trusting(bundle: Option<&Path>) -> Result<TlsConnector> {
    let path = bundle.context("for https, AWS_CA_BUNDLE must name a file of trusted authorities")?;
    let unreadable = || format!("cannot read AWS_CA_BUNDLE {}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(unreadable)? {
        roots.add(certificate.with_context(unreadable)?)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.0).context("the server's answer is not JSON")
    }

    /// The body as it came.
    pub(crate) fn text(self) -> Result<String> {
        String::from_utf8(self.0.into()).context("the server's answer is not UTF-8")
    }

    /// The text of the first element of this name, in an AWS Query answer.
    pub(crate) fn element(&self, name: &str) -> Result<String> {
        let text = std::str::from_utf8(&self.0).context("the server's answer is not UTF-8")?;
        element(text, name).with_context(|| format!("the server's answer has no {name}"))
    }

    /// The texts of all elements of this name, in an AWS Query answer.
    pub(crate) fn elements(&self, name: &str) -> Result<Vec<String>> {
        let text = std::str::from_utf8(&self.0).context("the server's answer is not UTF-8")?;
        Ok(elements(text, name))
    }
}

/// The texts of all elements of this name that hold no further elements.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&open).skip(1).filter_map(|part| part.split_once(&close));
    parts.map(|(content, _)| content).filter(|content| !content.contains('<')).map(unescape).collect()
}

/// These answers hold no nested elements of the same name, so looking for the tags is enough.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    Some(unescape(content))
}

fn unescape(content: &str) -> String {
    content
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

fn refusal(status: StatusCode, body: &[u8]) -> anyhow::Error {
    let text = String::from_utf8_lossy(body);
    let message = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|value| value.get("message").and_then(Value::as_str).map(str::to_owned))
        .or_else(|| Some(format!("{}: {}", element(&text, "Code")?, element(&text, "Message")?)))
        .unwrap_or_else(|| text.into_owned());
    anyhow!("{message} (HTTP {})", status.as_u16())
}

/// RFC 3986: unreserved characters stay.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_services_own_words() {
        let json = refusal(StatusCode::FORBIDDEN, br#"{"message":"not yours"}"#);
        assert_eq!(json.to_string(), "not yours (HTTP 403)");
        let xml = b"<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>no &lt;x&gt;</Message></Error></ErrorResponse>";
        assert_eq!(refusal(StatusCode::NOT_FOUND, xml).to_string(), "NoSuchEntity: no <x> (HTTP 404)");
    }

    #[test]
    fn a_list_is_read_element_by_element() {
        let xml = "<L><member><N>a&amp;b</N></member><member><N>c</N></member></L><P><member>p</member></P>";
        assert_eq!(elements(xml, "N"), ["a&b", "c"]);
        assert_eq!(elements(xml, "member"), ["p"], "what holds elements is no text");
    }

    #[test]
    fn form_values_are_percent_encoded() {
        assert_eq!(percent_encode("a b/ü+"), "a%20b%2F%C3%BC%2B");
    }
}
