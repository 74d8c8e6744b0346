//! headgate-loadtest: load generator and history checker for any Kafka endpoint, plain or with MSK's IAM login.
//!
//! A client of its own (frames, batches, SigV4, idempotence) drives `produce` and `consume`; `verify` holds what was
//! acknowledged against what can be read; `slow-sockets` and `malformed` behave badly on purpose, on loopback only.
//! Not here: any crate of the server. What is tested must not be tested with its own code.
//! Start at [`command`]; the rules of the check are in [`checker`].

mod batch;
mod checker;
mod client;
mod clock;
mod command;
mod endpoint;
mod journal;
mod latency;
mod pacing;
mod partition_scan;
mod report;
mod value;

use std::process::ExitCode;

use clap::Parser;

/// Load generator and history checker for any Kafka endpoint.
#[derive(Parser)]
#[command(name = "headgate-loadtest", version)]
struct Arguments {
    #[command(subcommand)]
    command: command::Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().command.run().await {
        Ok(command::Conclusion::Clean) => ExitCode::SUCCESS,
        Ok(command::Conclusion::Findings) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
