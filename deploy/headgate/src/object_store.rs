//! Which object store: `file://DIR` or `s3://bucket/prefix`, and with whose credentials.
//!
//! For `s3://`, `HEADGATE_OBJECT_STORE_*` comes first, then the usual `AWS_*`: a shell that has sourced a client's `env.sh`
//! holds keys of *this* service, which the object store does not know.

use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use headgate_log::store::{
    CellIdentity, CellRefused, Secret, Store, StoreError, StoreOpenError, StoreOptions,
};
use headgate_metadata::record::CellRecord;
use tokio::time::timeout;

use crate::data_dir::{DataDir, write_private};
use crate::random::random_u64;

/// What a data directory says of the store that was tried last with it: the cell, a space, the URL.
const KNOWN: &str = "object-store.known";
/// How long a process that knows its store waits for it at start.
const KNOWN_WAIT: Duration = Duration::from_secs(3);

/// Opens the store of the URL with the credentials of the environment, tries it, and makes sure that it is this cell's; a new one
/// becomes it. What is wrong is said at start.
pub(crate) async fn open_for(cell: &CellRecord, url: &str) -> Result<Store> {
    let store = Store::open(url, &options(|name| env::var(name).ok())?)?;
    check(&store, cell).await.with_context(|| format!("object store {url}"))?;
    Ok(store)
}

/// The same for a process with a data directory. One that has found the store right before starts without it while it is away: what
/// slots need is copied to the local disk (`storage/PROTOCOL.md` §5), and what is new waits there.
pub(crate) async fn open_known(cell: &CellRecord, url: &str, data: &DataDir) -> Result<Store> {
    let (path, known) = (data.join(KNOWN), format!("{} {url}", cell.cell));
    if fs::read_to_string(&path).is_ok_and(|found| found == known) {
        let store = Store::open(url, &options(|name| env::var(name).ok())?)?;
        match timeout(KNOWN_WAIT, check(&store, cell)).await {
            Ok(Err(error)) if !is_away(&error) => {
                return Err(error).with_context(|| format!("object store {url}"));
            }
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(url, %error, "object store is away, going on without it"),
            Err(_) => tracing::warn!(url, "object store does not answer, going on without it"),
        }
        return Ok(store);
    }
    let store = open_for(cell, url).await?;
    write_private(&path, known.as_bytes())?;
    Ok(store)
}

async fn check(store: &Store, cell: &CellRecord) -> Result<()> {
    store.probe(random_u64()).await?;
    let identity = CellIdentity {
        format: CellIdentity::FORMAT,
        cell: cell.cell.clone(),
        slots: cell.slots,
        hash: cell.hash.clone(),
    };
    Ok(store.check_cell(&identity).await?)
}

fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<StoreOpenError>().is_some_and(StoreOpenError::is_away)
        || matches!(error.downcast_ref(), Some(CellRefused::Store(StoreError::Unavailable { .. })))
}

/// Opens a store that exists, to read it: nothing is created or tried.
pub(crate) fn reopen(url: &str) -> Result<Store> {
    let url = absolute(url)?;
    if let Some(path) = url.strip_prefix("file://")
        && !Path::new(path).is_dir()
    {
        bail!("{path} does not exist");
    }
    Ok(Store::open(&url, &options(|name| env::var(name).ok())?)?)
}

/// The store that a stopped `headgate dev` used: its URL is kept beside the data.
pub(crate) fn reopen_beside(data_dir: &Path) -> Result<Store> {
    let kept = data_dir.join("object-store.url");
    let url = match fs::read_to_string(&kept) {
        Ok(url) => url.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("file://{}", data_dir.join("objects").display())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", kept.display())),
    };
    reopen(&url).with_context(|| format!("object store {url}"))
}

/// `file://` paths may be given relative to the working directory.
pub(crate) fn absolute(url: &str) -> Result<String> {
    match url.strip_prefix("file://") {
        Some(path) => {
            let path =
                std::path::absolute(path).with_context(|| format!("{url} does not name a directory"))?;
            Ok(format!("file://{}", path.display()))
        }
        None if url.starts_with("s3://") => Ok(url.to_owned()),
        None => bail!("--object-store {url}: file://DIR or s3://bucket/prefix is expected"),
    }
}

/// Credentials are taken from one place whole: half of ours with half of AWS's can only be a mistake.
fn options(variable: impl Fn(&str) -> Option<String>) -> Result<StoreOptions> {
    let own =
        |name: &str| variable(&format!("HEADGATE_OBJECT_STORE_{name}")).filter(|value| !value.is_empty());
    let aws = |name: &str| variable(&format!("AWS_{name}")).filter(|value| !value.is_empty());
    let (key, secret, token) = if own("ACCESS_KEY_ID").is_some() {
        (own("ACCESS_KEY_ID"), own("SECRET_ACCESS_KEY"), own("SESSION_TOKEN"))
    } else {
        (aws("ACCESS_KEY_ID"), aws("SECRET_ACCESS_KEY"), aws("SESSION_TOKEN"))
    };
    let access_key = match (key, secret) {
        (Some(key), Some(secret)) => Some((key, Secret::new(secret))),
        (None, None) => None,
        (Some(key), None) => bail!(
            "the object store's access key {key} comes without a secret; set *_SECRET_ACCESS_KEY beside it"
        ),
        (None, Some(_)) => {
            bail!("the object store's secret comes without an access key; set *_ACCESS_KEY_ID beside it")
        }
    };
    Ok(StoreOptions {
        access_key,
        session_token: token.map(Secret::new),
        region: own("REGION").or_else(|| aws("REGION")).or_else(|| aws("DEFAULT_REGION")),
        endpoint: own("ENDPOINT").or_else(|| aws("ENDPOINT_URL_S3")),
        virtual_hosted: own("VIRTUAL_HOSTED").is_some_and(|value| value == "true"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<StoreOptions> {
        options(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_sourced_client_environment_does_not_poison_the_object_store() {
        let options = from(&[
            ("AWS_ACCESS_KEY_ID", "client"),
            ("AWS_SECRET_ACCESS_KEY", "client-secret"),
            ("AWS_SESSION_TOKEN", "client-token"),
            ("HEADGATE_OBJECT_STORE_ACCESS_KEY_ID", "store"),
            ("HEADGATE_OBJECT_STORE_SECRET_ACCESS_KEY", "store-secret"),
        ]);
        let options = options.expect("complete");
        assert_eq!(options.access_key, Some(("store".to_owned(), Secret::new("store-secret"))));
        assert_eq!(options.session_token, None);
    }

    #[test]
    fn half_a_credential_is_refused() {
        let pairs = [("HEADGATE_OBJECT_STORE_ACCESS_KEY_ID", "store"), ("AWS_SECRET_ACCESS_KEY", "other")];
        assert!(from(&pairs).expect_err("refused").to_string().contains("without a secret"));
    }

    #[test]
    fn a_url_of_another_kind_is_refused_with_what_is_expected() {
        assert!(absolute("gs://x").expect_err("refused").to_string().contains("s3://bucket/prefix"));
    }
}
