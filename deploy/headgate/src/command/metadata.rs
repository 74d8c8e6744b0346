//! `headgate metadata rebuild`: for a metadata store that was restored from a backup (`storage/PROTOCOL.md` §6.6).
//!
//! Of `headgate dev` everything lies in one directory. Of a fleet the metadata is in etcd, and the WALs lie with the nodes: they are
//! mounted here, or each node describes its own with `--export` and the files are carried here.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use chrono::Utc;
use headgate_log::disk::{Disk, LocalDisk};
use headgate_log::object::ObjectName;
use headgate_log::store::{CellIdentity, Store};
use headgate_metadata::embedded::EmbeddedStore;
use headgate_metadata::id::{NodeId, TimestampMs};
use headgate_metadata::keys;
use headgate_metadata::record::{CellRecord, Record as _};
use headgate_metadata::store::{MetadataStore, SharedStore};
use headgate_storage::rebuild::{Holdings, OnLoss, Rebuild, RebuildError};

use crate::cli::MetadataCommand;
use crate::data_dir::{self, DataDir};
use crate::object_store;
use crate::random::random_u64;
use crate::roles::cell;
use crate::roles::settings::CellFlags;

/// Where `headgate dev` keeps everything unless it is told otherwise.
const DATA_DIR: &str = "./headgate-data";
const METADATA: &str = "metadata.redb";
const WAL: &str = "wal";

/// Flags of `headgate metadata rebuild`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RebuildFlags {
    /// The data directory of a stopped `headgate dev` [default: ./headgate-data]; with etcd, those of stopped storage nodes.
    #[arg(long, value_name = "DIR")]
    data_dir: Vec<PathBuf>,
    /// A WAL directory that lies elsewhere; with NODE where it does not say whose it is.
    #[arg(long, value_name = "[NODE=]DIR")]
    wal_dir: Vec<String>,
    /// A file that --export has written on a node.
    #[arg(long, value_name = "FILE")]
    wals: Vec<PathBuf>,
    /// Only describe this node's WALs in FILE, to be carried to where the rebuild runs.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wals", "accept_loss", "dry_run"])]
    export: Option<PathBuf>,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Go on although something that was acknowledged may be missing: a slot then ends before what it lacks.
    #[arg(long)]
    accept_loss: bool,
    /// Where a fleet's metadata and objects are. Without etcd they are those of the data directory.
    #[command(flatten)]
    cell: CellFlags,
}

impl RebuildFlags {
    fn is_fleet(&self) -> bool {
        self.cell.config.is_some() || self.cell.etcd_endpoints.is_some()
    }
}

/// Runs the command.
pub(crate) async fn run(command: MetadataCommand) -> Result<()> {
    let MetadataCommand::Rebuild(flags) = command;
    println!("{}", rebuild(&flags).await?);
    Ok(())
}

/// Returns what is to be told.
async fn rebuild(flags: &RebuildFlags) -> Result<String> {
    let wals = Wals::of(flags)?;
    if let Some(file) = &flags.export {
        return export(&wals.read(flags)?, file);
    }
    let (store, objects) = match &wals.held[..] {
        _ if flags.is_fleet() => open_etcd(flags)?,
        [data] => open_embedded(flags, data)?,
        _ => bail!(
            "metadata in a file is in one data directory; say --config FILE or --etcd-endpoints URL,… for a fleet"
        ),
    };
    check_cell(&*store, &objects).await?;
    let given = wals.read(flags)?;
    let now = TimestampMs::new(Utc::now().timestamp_millis().cast_unsigned());
    let rebuild = Rebuild::decide(&*store, &objects, &given, random_u64(), now).await?;
    let mut told = rebuild.to_string();
    let on_loss = if flags.accept_loss { OnLoss::Accept } else { OnLoss::Refuse };
    if flags.dry_run {
        told.push_str("nothing was changed");
        return Ok(told);
    }
    match rebuild.write(&*store, on_loss).await {
        Ok(changed) => {
            let _ = write!(told, "{changed} keys written; the processes of the cell can be started");
            Ok(told)
        }
        Err(RebuildError::Losses(count)) => Err(anyhow!(
            "{told}what was acknowledged may be missing in {count} ways (LOSS above); nothing was changed. Give the WALs of more nodes, or go on with --accept-loss"
        )),
        Err(error) => Err(error.into()),
    }
}

/// Where the WALs of each node are. No process may start on a data directory meanwhile.
struct Wals {
    held: Vec<DataDir>,
    dirs: Vec<(Option<NodeId>, PathBuf)>,
}

impl Wals {
    fn of(flags: &RebuildFlags) -> Result<Self> {
        let mut wals = Self { held: Vec::new(), dirs: Vec::new() };
        let default = vec![PathBuf::from(DATA_DIR)];
        let is_bare = flags.wal_dir.is_empty() && !flags.is_fleet();
        let data_dirs = if flags.data_dir.is_empty() && is_bare { &default } else { &flags.data_dir };
        for dir in data_dirs {
            if !dir.is_dir() {
                bail!("{} is no data directory", dir.display());
            }
            let held = DataDir::hold(dir)?;
            if flags.wal_dir.is_empty() || held.join(WAL).is_dir() {
                wals.dirs.push((None, held.join(WAL)));
            }
            wals.held.push(held);
        }
        for text in &flags.wal_dir {
            let (node, dir) = parse_wal_dir(text)?;
            if dir.parent().is_some_and(DataDir::is_held) && !wals.holds(&dir) {
                bail!("a process runs on {}; stop all processes of the cell", dir.display());
            }
            if !wals.dirs.iter().any(|(_, known)| *known == dir) {
                wals.dirs.push((node, dir));
            }
        }
        Ok(wals)
    }

    /// Whether it lies in a data directory that this process holds.
    fn holds(&self, dir: &Path) -> bool {
        self.held.iter().any(|held| dir.parent() == Some(held.path()))
    }

    fn read(&self, flags: &RebuildFlags) -> Result<Vec<Holdings>> {
        let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
        let mut given = Vec::new();
        for (node, dir) in &self.dirs {
            given.push(Holdings::read(&disk, dir, *node)?);
        }
        for file in &flags.wals {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            given.push(Holdings::from_json(&text).with_context(|| file.display().to_string())?);
        }
        Ok(given)
    }
}

fn parse_wal_dir(text: &str) -> Result<(Option<NodeId>, PathBuf)> {
    let node = text.split_once('=').and_then(|(node, dir)| Some((node.parse::<NodeId>().ok()?, dir)));
    let (node, dir) = node.map_or((None, text), |(node, dir)| (Some(node), dir));
    let dir = fs::canonicalize(dir).with_context(|| format!("{dir} is no WAL directory"))?;
    Ok((node, dir))
}

fn export(given: &[Holdings], file: &Path) -> Result<String> {
    let [holdings] = given else { bail!("--export describes one node; say its --data-dir or --wal-dir") };
    data_dir::write_private(file, holdings.to_json().as_bytes())?;
    let (node, count) = (holdings.node(), holdings.count());
    Ok(format!("{count} WALs and copies of node {node} are described in {}", file.display()))
}

fn open_etcd(flags: &RebuildFlags) -> Result<(SharedStore, Store)> {
    let settings = flags.cell.decide()?;
    let store = cell::metadata_store(&settings)?;
    Ok((store, object_store::reopen(settings.object_store()?)?))
}

fn open_embedded(flags: &RebuildFlags, data: &DataDir) -> Result<(SharedStore, Store)> {
    let file = data.join(METADATA);
    if !file.is_file() {
        bail!("{} is missing; put its backup there first", file.display());
    }
    let objects = match &flags.cell.object_store {
        Some(url) => object_store::reopen(url)?,
        None => object_store::reopen_beside(data.path())?,
    };
    Ok((Arc::new(EmbeddedStore::open(&file)?), objects))
}

/// Another cell's objects would make another cell's slots.
async fn check_cell(store: &dyn MetadataStore, objects: &Store) -> Result<()> {
    let entry = store.get(keys::CELL).await?.ok_or(RebuildError::NoCell)?;
    let cell = CellRecord::decode(&entry.value)?;
    let name = ObjectName::parse("cell.json").expect("the name is plain");
    let raw = objects.get(&name).await.with_context(|| format!("object store {}", objects.place()))?;
    let found: CellIdentity = serde_json::from_slice(&raw).context("`cell.json` of the object store")?;
    if found.cell != cell.cell || found.slots != cell.slots {
        bail!(
            "object store {} belongs to cell {}, the metadata to cell {}",
            objects.place(),
            found.cell,
            cell.cell
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use headgate_metadata::id::AccountId;
    use headgate_metadata::store::{Transaction, Write};
    use headgate_storage::clock::SystemClock;
    use headgate_storage::config::NodeConfig;
    use headgate_storage::group::GroupLimits;
    use headgate_storage::{Fatal, Metrics, Node, NodeParts, Random, StartError, system_free_space};

    use super::*;
    use crate::cli::{Cli, Command};

    /// A data directory as `headgate dev` has it.
    struct Data(tempfile::TempDir);

    impl Data {
        async fn new() -> Self {
            let data = Self(tempfile::tempdir().expect("a temporary directory"));
            let cell = CellRecord {
                cell: "cell0001".to_owned(),
                slots: 4,
                hash: "xxh3-64".to_owned(),
                account: AccountId::checked(1).expect("twelve digits"),
                region: "us-east-1".to_owned(),
            };
            let put = Transaction::new().then(Write::Put(keys::CELL.to_owned(), cell.encode()));
            data.store().commit(put).await.expect("the disk works");
            let (format, hash) = (CellIdentity::FORMAT, cell.hash);
            let identity = CellIdentity { format, cell: cell.cell, slots: cell.slots, hash };
            data.objects().check_cell(&identity).await.expect("it is nobody's yet");
            data
        }

        fn store(&self) -> SharedStore {
            Arc::new(EmbeddedStore::open(&self.0.path().join(METADATA)).expect("nobody has it open"))
        }

        fn objects(&self) -> Store {
            let url = format!("file://{}", self.0.path().join("objects").display());
            Store::open(&url, &headgate_log::store::StoreOptions::default()).expect("writable")
        }

        /// Starts and stops a node.
        async fn run(&self) -> Result<(), StartError> {
            let parts = NodeParts {
                store: self.store(),
                objects: self.objects(),
                disk: Arc::new(LocalDisk),
                free_space: system_free_space(),
                clock: SystemClock::shared(),
                random: Random::from_os(),
                fatal: Fatal::new(|reason| panic!("{reason}")),
                metrics: Arc::new(Metrics::default()),
                group_limits: GroupLimits::default(),
                fleet: None,
            };
            let config = NodeConfig { wal_dir: self.0.path().join(WAL), ..NodeConfig::default() };
            let node = Node::start(config, parts).await?;
            node.shutdown().await;
            Ok(())
        }

        fn path(&self, name: &str) -> String {
            self.0.path().join(name).display().to_string()
        }

        async fn rebuild(&self, arguments: &[&str]) -> Result<String> {
            let line = ["headgate", "metadata", "rebuild", "--data-dir", &self.path("")];
            let typed = Cli::try_parse_from(line.iter().chain(arguments)).expect("valid arguments");
            let Command::Metadata(MetadataCommand::Rebuild(flags)) = typed.command else { panic!("another") };
            rebuild(&flags).await
        }
    }

    async fn gone_back() -> Data {
        let data = Data::new().await;
        data.run().await.expect("a first start");
        fs::copy(data.path(METADATA), data.path("backup")).expect("writable");
        data.run().await.expect("a second start");
        fs::copy(data.path("backup"), data.path(METADATA)).expect("writable");
        data
    }

    #[tokio::test]
    async fn an_old_metadata_file_is_refused_rebuilt_and_taken() {
        let data = gone_back().await;
        let refused = data.run().await.expect_err("it went back").to_string();
        assert!(refused.contains("headgate metadata rebuild"), "{refused}");
        let told = data.rebuild(&["--dry-run"]).await.expect("everything is there");
        assert!(told.contains("│ WAL") && told.ends_with("nothing was changed"), "{told}");
        assert!(data.run().await.is_err());
        let told = data.rebuild(&[]).await.expect("everything is there");
        assert!(told.contains("│ slot") && told.contains("keys written"), "{told}");
        let told = data.rebuild(&[]).await.expect("everything is there");
        assert!(told.contains("0 keys written"), "{told}");
        data.run().await.expect("it was rebuilt");
    }

    #[tokio::test]
    async fn described_wals_stand_in_for_the_directory_and_without_any_the_loss_is_named() {
        let data = gone_back().await;
        let file = data.path("node-1.json");
        let told = data.rebuild(&["--export", &file]).await.expect("the directory is readable");
        assert!(told.contains("of node 1"), "{told}");
        fs::rename(data.path(WAL), data.path("elsewhere")).expect("writable");
        let nowhere = tempfile::tempdir().expect("a temporary directory");
        let elsewhere = nowhere.path().display().to_string();
        let named = format!("9={elsewhere}");
        let refused =
            format!("{:#}", data.rebuild(&["--wal-dir", &named]).await.expect_err("not all is there"));
        assert!(refused.contains("note: the WALs of node 1 were not given"), "{refused}");
        let told = data.rebuild(&["--wal-dir", &named, "--wals", &file]).await.expect("it is described");
        assert!(told.contains("keys written"), "{told}");
        fs::rename(data.path("elsewhere"), data.path(WAL)).expect("writable");
        data.run().await.expect("it was rebuilt");
    }

    #[tokio::test]
    async fn what_cannot_be_rebuilt_is_said_in_words() {
        let data = Data::new().await;
        let refusal =
            async |arguments: &[&str]| format!("{:#}", data.rebuild(arguments).await.expect_err("refused"));
        assert!(refusal(&[]).await.contains("does not say of which storage node"));
        let held = DataDir::hold(data.0.path()).expect("nobody else holds it");
        assert!(refusal(&[]).await.contains("is in use by process"));
        drop(held);
        fs::remove_file(data.path("objects/cell.json")).expect("it was written");
        data.run().await.expect("a first start");
        assert!(refusal(&[]).await.contains("cell.json"));
        fs::remove_file(data.path(METADATA)).expect("it is there");
        assert!(refusal(&[]).await.contains("put its backup there first"));
    }
}
