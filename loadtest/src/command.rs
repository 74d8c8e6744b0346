//! The subcommands, one file each.

mod consume;
mod loopback;
mod malformed;
mod produce;
mod slow_sockets;
mod verify;

use clap::Subcommand;

/// What a command run says to its caller; becomes the exit status 0 or 1. Errors become 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// Nothing wrong was seen.
    Clean,
    /// The server did something it must not do.
    Findings,
}

impl Conclusion {
    /// Clean unless something was found.
    pub(crate) fn of(is_clean: bool) -> Self {
        if is_clean { Self::Clean } else { Self::Findings }
    }
}

/// The subcommands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Writes records and notes what was acknowledged.
    Produce(produce::ProduceArguments),
    /// Reads records and measures.
    Consume(consume::ConsumeArguments),
    /// Checks that what was acknowledged can be read, once, in order, where it was said to be.
    Verify(verify::VerifyArguments),
    /// Holds many connections open that send almost nothing (loopback only).
    SlowSockets(slow_sockets::SlowSocketsArguments),
    /// Sends malformed frames and expects orderly answers (loopback only).
    Malformed(malformed::MalformedArguments),
}

impl Command {
    /// Runs the chosen subcommand to its end.
    pub(crate) async fn run(self) -> anyhow::Result<Conclusion> {
        match self {
            Self::Produce(arguments) => produce::run(arguments).await,
            Self::Consume(arguments) => consume::run(arguments).await,
            Self::Verify(arguments) => verify::run(arguments).await,
            Self::SlowSockets(arguments) => slow_sockets::run(arguments).await,
            Self::Malformed(arguments) => malformed::run(arguments).await,
        }
    }
}
