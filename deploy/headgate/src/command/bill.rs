//! `headgate bill`: asks the running process or, when none runs, reads a data directory without changing it.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use chrono::Utc;
use headgate_log::disk::{Disk, LocalDisk};
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::TimestampMs;
use headgate_metering::bill::GroupBy;
use headgate_metering::period::Period;
use headgate_metering::price::PriceBook;
use headgate_metering::read::{self, BillRequest};
use headgate_metering::render::{Format, render};
use hyper::Method;

use crate::api_client::{ApiClient, percent_encode};
use crate::cli::{BillCommand, BillFormat, BillGrouping};
use crate::data_dir::DataDir;
use crate::object_store;
use crate::random::random_u64;

/// What `--api` and `--data-dir` are when nobody says otherwise; see [`crate::cli`].
const API: &str = "http://127.0.0.1:9080";
const DATA_DIR: &str = "./headgate-data";
const METADATA: &str = "metadata.redb";

/// Runs the command.
pub(crate) async fn run(command: BillCommand) -> Result<()> {
    let text = match Source::of(&command) {
        Source::Process { url } => {
            ask(&command, &url).await.with_context(|| format!("no bill from the process at {url}"))?
        }
        Source::Neither { dir } => ask(&command, API).await.with_context(|| {
            format!(
                "{} holds no data to read (see --data-dir), and no bill from a process at {API}",
                dir.display()
            )
        })?,
        Source::Data { dir } => read(&command, &dir).await?,
    };
    std::io::stdout().write_all(text.as_bytes()).context("the bill cannot be written")
}

/// Who knows the usage.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// A running process.
    Process { url: String },
    /// A data directory that no process holds.
    Data { dir: PathBuf },
    /// Nothing was named and nothing is in the usual place; perhaps a process with another data directory runs.
    Neither { dir: PathBuf },
}

impl Source {
    /// A process that is named or holds the directory is asked: it alone knows what is not on disk yet.
    fn of(command: &BillCommand) -> Self {
        let (url, url_named) = (command.api.url.clone(), command.api.url != API);
        let dir = command.data_dir.clone().unwrap_or_else(|| DATA_DIR.into());
        if url_named && command.data_dir.is_none() {
            return Self::Process { url };
        }
        if DataDir::is_held(&dir) {
            let url = if url_named { url } else { api_url_of(&dir).unwrap_or(url) };
            return Self::Process { url };
        }
        if command.data_dir.is_some() || dir.join(METADATA).exists() {
            return Self::Data { dir };
        }
        Self::Neither { dir }
    }
}

/// Where the process that holds the directory says that it listens.
fn api_url_of(dir: &Path) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("dev.json")).ok()?).ok()?;
    json.get("api_url")?.as_str().map(str::to_owned)
}

async fn ask(command: &BillCommand, url: &str) -> Result<String> {
    let client = ApiClient::from_environment(url)?;
    client.json("headgate", Method::GET, &path_of(command), None).await?.text()
}

fn path_of(command: &BillCommand) -> String {
    let parameters = [
        ("cluster", command.cluster.as_deref()),
        ("from", command.from.as_deref()),
        ("to", command.to.as_deref()),
        ("by", Some(grouping(command.by).name())),
        ("format", Some(format_name(command.format))),
    ];
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query: Vec<String> = given.map(|(name, value)| format!("{name}={}", percent_encode(value))).collect();
    format!("/headgate/v1/bill?{}", query.join("&"))
}

/// Makes the same bill from what a stopped process left: metadata, objects, and the part of the WAL not flushed yet.
async fn read(command: &BillCommand, dir: &Path) -> Result<String> {
    if !dir.join(METADATA).is_file() {
        bail!("{} holds no data; give the --data-dir that `headgate dev` was started with", dir.display());
    }
    let dir = dir.canonicalize().with_context(|| format!("cannot resolve {}", dir.display()))?;
    let text = read_still(command, &dir).await;
    // A process that starts trims and moves what is being read: whatever came out, it may be wrong.
    if DataDir::is_held(&dir) {
        bail!("a process started on {} while it was read; run the command again to ask it", dir.display());
    }
    text
}

async fn read_still(command: &BillCommand, dir: &Path) -> Result<String> {
    let as_of = TimestampMs::new(Utc::now().timestamp_millis().cast_unsigned());
    let period = Period::parse(command.from.as_deref(), command.to.as_deref(), as_of)?;
    let copy = MetadataCopy::of(&dir.join(METADATA))?;
    let store = EmbeddedStore::open(&copy.path())?;
    let objects = object_store::reopen_beside(dir)?;
    let cluster = match &command.cluster {
        Some(name) => {
            let found = read::find_cluster(&store, None, name).await?;
            Some(found.with_context(|| format!("{} knows no cluster named {name}", dir.display()))?)
        }
        None => None,
    };
    let prices = PriceBook::default();
    let request = BillRequest { period, as_of, prices: &prices, account: None, cluster };
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let bill = read::bill(&store, &objects, &disk, &dir.join("wal"), request).await;
    let bill = bill.with_context(|| format!("no bill can be made of {}", dir.display()))?;
    Ok(render(&bill, grouping(command.by), format_of(command.format))?)
}

/// A copy of the metadata file, gone when dropped. Opening the file itself would write to it: after a kill it is repaired.
/// Secrets in it are sealed, and the copy is readable by its owner alone.
struct MetadataCopy {
    dir: PathBuf,
}

impl MetadataCopy {
    fn of(file: &Path) -> Result<Self> {
        let dir = env::temp_dir().join(format!("headgate-bill-{:016x}", random_u64()));
        let created = DirBuilder::new().mode(0o700).create(&dir);
        created.with_context(|| format!("cannot create {}", dir.display()))?;
        let copy = Self { dir };
        fs::copy(file, copy.path())
            .with_context(|| format!("cannot copy {} to {}", file.display(), copy.dir.display()))?;
        Ok(copy)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(METADATA)
    }
}

impl Drop for MetadataCopy {
    fn drop(&mut self) {
        // What is left in the directory for temporary files does no harm.
        fs::remove_dir_all(&self.dir).ok();
    }
}

fn grouping(by: Option<BillGrouping>) -> GroupBy {
    match by {
        None => GroupBy::Cluster,
        Some(BillGrouping::Topic) => GroupBy::Topic,
        Some(BillGrouping::Partition) => GroupBy::Partition,
    }
}

fn format_of(format: BillFormat) -> Format {
    match format {
        BillFormat::Table => Format::Table,
        BillFormat::Json => Format::Json,
        BillFormat::Csv => Format::Csv,
    }
}

fn format_name(format: BillFormat) -> &'static str {
    match format {
        BillFormat::Table => "table",
        BillFormat::Json => "json",
        BillFormat::Csv => "csv",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;
    use headgate_metadata::clusters;
    use headgate_metadata::id::AccountId;
    use headgate_metadata::keys;
    use headgate_metadata::record::{CellRecord, ClusterLife, ClusterRecord, ClusterState, Record as _};
    use headgate_metadata::store::{MetadataStore as _, Transaction, Write};

    use super::*;
    use crate::cli::{Cli, Command};

    fn typed(arguments: &[&str]) -> BillCommand {
        let line = ["headgate", "bill"].iter().chain(arguments);
        match Cli::try_parse_from(line).expect("valid arguments").command {
            Command::Bill(command) => command,
            other => panic!("not a bill: {other:?}"),
        }
    }

    fn path(dir: &tempfile::TempDir) -> &str {
        dir.path().to_str().expect("temporary directories have plain names")
    }

    /// A data directory as a process leaves it that opened one cluster and wrote nothing.
    async fn left_behind() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = EmbeddedStore::open(&dir.path().join(METADATA)).expect("a new file");
        let account = AccountId::checked(1).expect("twelve digits");
        let cell = CellRecord {
            cell: "cell0001".to_owned(),
            slots: 64,
            hash: "xxh3-64".to_owned(),
            account,
            region: "us-east-1".to_owned(),
        };
        let cluster = ClusterRecord {
            id: "demo0001".parse().expect("a cluster id"),
            name: "demo".to_owned(),
            arn_uuid: "813876e5-2023-4882-88c4-58ad8599da5a-s2".to_owned(),
            account,
            created: TimestampMs::new(1_793_491_200_000),
            state: ClusterState::Active,
            slot_set: Vec::new(),
            auto_create_topics: true,
            port: None,
            tags: BTreeMap::new(),
            life: ClusterLife::default(),
        };
        let founding = Transaction::new().then(Write::Put(keys::CELL.to_owned(), cell.encode()));
        store.commit(founding).await.expect("the disk works");
        clusters::create(&store, cluster, None).await.expect("the name is free");
        fs::create_dir(dir.path().join("objects")).expect("writable");
        dir
    }

    #[test]
    fn the_question_names_what_was_typed_and_nothing_else() {
        assert_eq!(path_of(&typed(&[])), "/headgate/v1/bill?by=cluster&format=table");
        let typed = typed(&[
            "--cluster",
            "a b",
            "--from",
            "2026-11-01T02:00:00+02:00",
            "--by",
            "topic",
            "--format",
            "csv",
        ]);
        let expected =
            "/headgate/v1/bill?cluster=a%20b&from=2026-11-01T02%3A00%3A00%2B02%3A00&by=topic&format=csv";
        assert_eq!(path_of(&typed), expected);
    }

    #[test]
    fn a_directory_that_no_process_holds_is_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let expected = Source::Data { dir: dir.path().to_owned() };
        assert_eq!(Source::of(&typed(&["--data-dir", path(&dir)])), expected);
        let both = typed(&["--data-dir", path(&dir), "--api", "http://127.0.0.1:1"]);
        assert_eq!(Source::of(&both), expected);
    }

    #[test]
    fn a_process_that_holds_the_directory_is_asked_where_it_listens() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let _held = DataDir::hold(dir.path()).expect("nobody else holds it");
        let asked = |arguments: &[&str]| match Source::of(&typed(arguments)) {
            Source::Process { url } => url,
            other => panic!("{other:?}"),
        };
        assert_eq!(asked(&["--data-dir", path(&dir)]), API);
        fs::write(dir.path().join("dev.json"), r#"{"api_url":"http://127.0.0.1:9"}"#).expect("writable");
        assert_eq!(asked(&["--data-dir", path(&dir)]), "http://127.0.0.1:9");
        assert_eq!(asked(&["--data-dir", path(&dir), "--api", "http://127.0.0.1:1"]), "http://127.0.0.1:1");
        assert_eq!(asked(&["--api", "http://127.0.0.1:1"]), "http://127.0.0.1:1");
    }

    #[tokio::test]
    async fn a_stopped_processs_data_is_billed_and_left_as_it_was() {
        let dir = left_behind().await;
        let before = fs::read(dir.path().join(METADATA)).expect("readable");
        let command = typed(&[
            "--data-dir",
            path(&dir),
            "--cluster",
            "demo",
            "--from",
            "2026-11-01",
            "--to",
            "2026-11-02",
        ]);
        let text = read(&command, dir.path()).await.expect("the directory is in order");
        assert!(text.contains("demo") && text.contains("24.000000"), "{text}");
        assert!(
            before == fs::read(dir.path().join(METADATA)).expect("readable"),
            "the metadata file changed"
        );
        let names: Vec<_> =
            fs::read_dir(dir.path()).expect("readable").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_billed_is_said_in_words() {
        let dir = left_behind().await;
        let refusal = async |arguments: &[&str], dir: &Path| {
            let refused = read(&typed(arguments), dir).await.expect_err("there is nothing to bill");
            format!("{refused:#}")
        };
        let text = refusal(&["--cluster", "nobody"], dir.path()).await;
        assert!(text.contains("no cluster named nobody"), "{text}");
        let text = refusal(&["--from", "yesterday"], dir.path()).await;
        assert!(text.contains("`yesterday` is not a time"), "{text}");
        let empty = tempfile::tempdir().expect("a temporary directory");
        let text = refusal(&[], empty.path()).await;
        assert!(text.contains("holds no data"), "{text}");
        fs::remove_dir(dir.path().join("objects")).expect("it is empty");
        let text = refusal(&[], dir.path()).await;
        assert!(text.contains("objects does not exist"), "{text}");
    }
}
