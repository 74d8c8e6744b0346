//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::command::metadata::RebuildFlags;
use crate::dev::DevFlags;

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
    /// Open, list, describe and close clusters.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Create users.
    #[command(subcommand)]
    User(UserCommand),
    /// Create and deactivate access keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Create temporary credentials.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Price the usage of a period.
    Bill(BillCommand),
    /// Put the metadata store right.
    #[command(subcommand)]
    Metadata(MetadataCommand),
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
