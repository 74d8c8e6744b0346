//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::command::metadata::RebuildFlags;
use crate::dev::DevFlags;
use crate::first_start::REGION;
use crate::roles::gateway::GatewayFlags;
use crate::roles::metering::MeteringFlags;
use crate::roles::settings::CellFlags;
use crate::roles::storage::StorageFlags;

/// A serverless, multi-tenant gateway for Apache Kafka clients.
#[derive(Debug, Parser)]
#[command(name = "headgate", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The roles and the operators' commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run all roles in this process on embedded parts; needs no configuration.
    Dev(Box<DevFlags>),
    /// Run one storage node of a cell.
    Storage(Box<StorageFlags>),
    /// Run one gateway of a cell: what Kafka clients connect to, and the control API.
    Gateway(Box<GatewayFlags>),
    /// Run a process of a cell that adds up what clusters use.
    Metering(Box<MeteringFlags>),
    /// Make a cell, and certificates for its processes.
    #[command(subcommand)]
    Cell(CellCommand),
    /// Show where slots live, and say where they shall.
    #[command(subcommand)]
    Slot(SlotCommand),
    /// Put the metadata store right.
    #[command(subcommand)]
    Metadata(MetadataCommand),
    /// Open, list, describe and close clusters.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Create, list, describe and delete topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Create, list, describe and delete users.
    #[command(subcommand)]
    User(UserCommand),
    /// Create and deactivate access keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Create temporary credentials.
    #[command(subcommand)]
    Session(SessionCommand),
    /// List, set and explain the quotas of a cluster.
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// Price the usage of a period.
    Bill(BillCommand),
}

/// `headgate cell …`
#[derive(Debug, Subcommand)]
pub(crate) enum CellCommand {
    /// Make the cell in etcd and its object store, the master key, the authorities and an administrator; may be repeated.
    Init {
        /// The AWS region name it answers for.
        #[arg(long, default_value = REGION)]
        region: String,
        /// The number of slots, fixed for ever: what moves between storage nodes.
        #[arg(long, default_value_t = 1024)]
        slots: u16,
        /// Certificates to make: see `headgate cell issue`.
        #[arg(long, value_name = "ROLE")]
        issue: Vec<String>,
        #[command(flatten)]
        cell: CellFlags,
    },
    /// Make certificates for processes: storage/NUMBER, gateway/NAME=HOST,HOST…, metering/NAME. A gateway's hosts are the
    /// names and addresses by which clients reach it.
    Issue {
        /// Which ones.
        #[arg(value_name = "ROLE", required = true)]
        roles: Vec<String>,
        #[command(flatten)]
        cell: CellFlags,
    },
}

/// `headgate slot …`
#[derive(Debug, Subcommand)]
pub(crate) enum SlotCommand {
    /// Show which storage node owns which slots.
    List {
        #[command(flatten)]
        cell: CellFlags,
    },
    /// Say on which node slots shall live. They move while clients go on, and stay.
    Place {
        /// Numbers and ranges, such as 7 or 0-255,300.
        slots: String,
        /// The storage node; without it they go where rendezvous hashing puts them.
        #[arg(long, value_name = "NUMBER")]
        node: Option<u32>,
        #[command(flatten)]
        cell: CellFlags,
    },
}

/// `headgate metadata …`
#[derive(Debug, Subcommand)]
pub(crate) enum MetadataCommand {
    /// Restore what the metadata store says of slots and WALs, from the object store and the WALs of all nodes that are left:
    /// after the store itself was restored from a backup, and while no process of the cell runs.
    Rebuild(Box<RebuildFlags>),
}

/// Where the running process is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Api {
    /// The control API of a running process. Requests are signed with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    /// AWS_SESSION_TOKEN and AWS_REGION.
    #[arg(long = "api", value_name = "URL", default_value = "http://127.0.0.1:9080", env = "HEADGATE_API")]
    pub(crate) url: String,
}

/// `headgate cluster …`
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Open a cluster and print its ARN and bootstrap string.
    Create {
        /// 1 to 64 letters, digits and hyphens; unique in the account.
        name: String,
        /// Let clients create topics by naming them.
        #[arg(long)]
        auto_create_topics: bool,
        #[command(flatten)]
        api: Api,
    },
    /// List the account's clusters.
    List {
        #[command(flatten)]
        api: Api,
    },
    /// Show one cluster.
    Describe {
        /// Its name.
        name: String,
        #[command(flatten)]
        api: Api,
    },
    /// Close a cluster; its data goes.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        api: Api,
    },
}

/// `headgate user …`
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user with a policy and an access key; prints the key as environment variables.
    Create {
        /// The user's name.
        name: String,
        /// An IAM policy document (JSON).
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        #[command(flatten)]
        api: Api,
    },
    /// List the account's users.
    List {
        #[command(flatten)]
        api: Api,
    },
    /// Show one user with its keys, policies and groups.
    Describe {
        /// The user's name.
        name: String,
        #[command(flatten)]
        api: Api,
    },
    /// Delete a user with its keys and policies: its sessions end within seconds.
    Delete {
        /// The user's name.
        name: String,
        #[command(flatten)]
        api: Api,
    },
}

/// `headgate topic …`
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic and print its ARN.
    Create {
        /// The topic's name.
        name: String,
        /// In which cluster, by its name.
        #[arg(long)]
        cluster: String,
        /// How many partitions.
        #[arg(long, default_value_t = 1)]
        partitions: u32,
        /// A config of the topic; may be given several times.
        #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        config: Vec<(String, String)>,
        #[command(flatten)]
        api: Api,
    },
    /// List a cluster's topics.
    List {
        /// Of which cluster, by its name.
        #[arg(long)]
        cluster: String,
        #[command(flatten)]
        api: Api,
    },
    /// Show one topic.
    Describe {
        /// The topic's name.
        name: String,
        /// In which cluster, by its name.
        #[arg(long)]
        cluster: String,
        #[command(flatten)]
        api: Api,
    },
    /// Delete a topic; its data goes.
    Delete {
        /// The topic's name.
        name: String,
        /// In which cluster, by its name.
        #[arg(long)]
        cluster: String,
        #[command(flatten)]
        api: Api,
    },
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is expected, such as retention.ms=60000")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// `headgate key …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a further access key; prints it as environment variables.
    Create {
        /// Whose.
        #[arg(long)]
        user: String,
        #[command(flatten)]
        api: Api,
    },
    /// Deactivate an access key: sessions that use it end within seconds.
    Deactivate {
        /// Its id, `AKIA…`.
        access_key_id: String,
        /// Whose.
        #[arg(long)]
        user: String,
        #[command(flatten)]
        api: Api,
    },
}

/// `headgate session …`
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Create temporary credentials for a user; prints them as environment variables.
    Create {
        /// Whose.
        #[arg(long)]
        user: String,
        /// How long they last.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
        #[command(flatten)]
        api: Api,
    },
}

/// Whose quotas.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuotaCluster {
    /// The cluster's name.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: String,
    /// The cluster's account, if it is another one; for the operator.
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// `headgate quota …`
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaCommand {
    /// List all quotas of a cluster; those that were set are marked.
    List {
        #[command(flatten)]
        cluster: QuotaCluster,
    },
    /// Set quotas of a cluster.
    Set {
        #[command(flatten)]
        cluster: QuotaCluster,
        /// What to set: a number, with K, M or G for powers of 1024 behind it, or `default`.
        #[arg(value_name = "KEY=VALUE", required = true)]
        quotas: Vec<String>,
    },
    /// Say which limit slows a cluster's clients down, how long, and what would lift it.
    Explain {
        #[command(flatten)]
        cluster: QuotaCluster,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// How a bill is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BillFormat {
    /// For people.
    Table,
    /// With exact byte counts.
    Json,
    /// With FOCUS columns.
    Csv,
}

/// How a bill is grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BillGrouping {
    /// One line per topic and dimension.
    Topic,
    /// One line per partition and dimension.
    Partition,
}

/// `headgate bill`
#[derive(Debug, Args)]
pub(crate) struct BillCommand {
    /// Only this cluster [default: all].
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// From when, RFC 3339 [default: the start of this month, UTC].
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Until when, RFC 3339 [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// How finely [default: one line per cluster and dimension].
    #[arg(long)]
    pub(crate) by: Option<BillGrouping>,
    /// For whom.
    #[arg(long, default_value = "table")]
    pub(crate) format: BillFormat,
    /// Read this data directory when no process runs on it [default: ./headgate-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) api: Api,
}
