//! The `headgate` binary: the composition root. It knows everybody and decides nothing.
//!
//! Callers are people and process managers; below are all other crates. Not here: protocol, storage, policy or prices, which
//! are the crates' own. Start at [`dev::run`] for the server and at [`command`] for what operators type.

mod api_client;
mod authority;
mod billing;
mod certificates;
mod cli;
mod command;
mod control_topics;
mod data_dir;
mod descriptors;
mod dev;
mod first_start;
mod front;
mod listen;
mod master_key;
mod node_parts;
mod object_store;
mod observe;
mod process;
mod random;
mod roles;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain, on one line: what happened, to what, and why.
            eprintln!("headgate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    // Once, for TLS of listeners and of the object store: with several providers in the tree there is no implicit default.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match command {
        Command::Dev(flags) => dev::run(flags),
        Command::Storage(flags) => roles::storage::run(*flags),
        Command::Gateway(flags) => roles::gateway::run(*flags),
        Command::Metering(flags) => roles::metering::run(*flags),
        Command::Cell(command) => command::block_on(command::cell::run(command)),
        Command::Metadata(command) => command::block_on(command::metadata::run(command)),
        Command::Slot(command) => command::block_on(command::slot::run(command)),
        Command::Cluster(command) => command::block_on(command::cluster::run(command)),
        Command::Topic(command) => command::block_on(command::topic::run(command)),
        Command::User(command) => command::block_on(command::user::run(command)),
        Command::Key(command) => command::block_on(command::key::run(command)),
        Command::Session(command) => command::block_on(command::session::run(command)),
        Command::Quota(command) => command::block_on(command::quota::run(command)),
        Command::Bill(command) => command::block_on(command::bill::run(command)),
    }
}
