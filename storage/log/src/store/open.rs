//! Opens a store by URL.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{ClientOptions, RetryConfig};

use crate::store::{Store, StoreOpenError};

/// How often the client itself repeats a request: few times, since callers back off together (design
/// `storage/PROTOCOL.md` §3).
const CLIENT_RETRIES_MAX: usize = 2;
/// How long one request may take with its repeats.
const CLIENT_RETRY_TIMEOUT: Duration = Duration::from_mins(1);

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What an `s3://` store needs beside its URL; `file://` needs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// The key id and secret. Without them the instance's or the pod's own role is used.
    pub access_key: Option<(String, Secret)>,
    /// The token of a temporary key.
    pub session_token: Option<Secret>,
    /// The region; `us-east-1` if unset.
    pub region: Option<String>,
    /// The server, e.g. `http://127.0.0.1:9000`; AWS's own if unset. An `http://` one is allowed.
    pub endpoint: Option<String>,
    /// Whether the bucket is part of the host name instead of the path.
    pub virtual_hosted: bool,
}

pub(super) fn open(url: &str, options: &StoreOptions) -> Result<Store, StoreOpenError> {
    if let Some(path) = url.strip_prefix("file://") {
        return open_local(url, path);
    }
    if let Some(rest) = url.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        return open_s3(url, bucket, prefix, options);
    }
    Err(StoreOpenError::Url { url: url.to_owned(), reason: "the scheme is neither file nor s3".to_owned() })
}

fn open_local(url: &str, path: &str) -> Result<Store, StoreOpenError> {
    if !path.starts_with('/') {
        return Err(StoreOpenError::Url {
            url: url.to_owned(),
            reason: "the path is not absolute".to_owned(),
        });
    }
    let settings = |reason: String| StoreOpenError::Settings { place: url.to_owned(), reason };
    std::fs::create_dir_all(Path::new(path))
        .map_err(|error| settings(format!("cannot create {path}: {error}")))?;
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| settings(error.to_string()))?;
    Ok(Store {
        inner: Arc::new(store.with_fsync(true)),
        prefix: StorePath::default(),
        place: url.into(),
        copies: None,
    })
}

fn open_s3(url: &str, bucket: &str, prefix: &str, options: &StoreOptions) -> Result<Store, StoreOpenError> {
    if bucket.is_empty() {
        return Err(StoreOpenError::Url { url: url.to_owned(), reason: "the bucket is missing".to_owned() });
    }
    let retry = RetryConfig {
        max_retries: CLIENT_RETRIES_MAX,
        retry_timeout: CLIENT_RETRY_TIMEOUT,
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_client_options(ClientOptions::new())
        .with_region(options.region.as_deref().unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(options.virtual_hosted);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some((id, secret)) = &options.access_key {
        builder = builder.with_access_key_id(id).with_secret_access_key(&secret.0);
    }
    if let Some(token) = &options.session_token {
        builder = builder.with_token(&token.0);
    }
    let store = builder
        .build()
        .map_err(|error| StoreOpenError::Settings { place: url.to_owned(), reason: error.to_string() })?;
    Ok(Store { inner: Arc::new(store), prefix: StorePath::from(prefix), place: url.into(), copies: None })
}
