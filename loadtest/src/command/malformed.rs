//! `malformed`: sends a catalogue of bad frames, each on a connection of its own, and watches what the server does.
//!
//! An orderly close or a well-formed answer within a bound is right. A hang, an answer to another request, bytes that
//! are no frame, or a server that no longer serves others are findings. Against a server under test only: some
//! requests of the catalogue are valid by chance, and the plaintext listener has an administrator's rights.

mod catalogue;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Conclusion;
use super::loopback::resolve_loopback;
use super::produce::seconds;
use crate::client::connection::{Connection, split_correlation_id};
use crate::endpoint::{Endpoint, EndpointArguments, HostPort, Security};
use crate::partition_scan::Tally;
use crate::report::{print_lines, progress_line, write_json};
use catalogue::{CORRELATION_ID, Case, catalogue};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 32;
/// Cases between two looks at the bystander.
const BYSTANDER_INTERVAL: usize = 250;

/// When the bad frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Phase {
    /// As a stranger; with --iam before the login.
    BeforeAuthentication,
    /// After the login; needs --iam.
    Authenticated,
    /// One after the other.
    Both,
}

/// Arguments of `malformed`.
#[derive(Args)]
pub(crate) struct MalformedArguments {
    #[command(flatten)]
    endpoint: EndpointArguments,
    /// When the frames are sent.
    #[arg(long, value_enum, default_value_t = Phase::BeforeAuthentication)]
    phase: Phase,
    /// Sends only every n-th case of the catalogue.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// How long a case may take until the server has answered or closed, in seconds.
    #[arg(long, default_value_t = 15.0)]
    bound_seconds: f64,
    /// Findings when a connection is reset instead of closed; some servers reset when unread bytes are left.
    #[arg(long)]
    strict_close: bool,
    /// Writes the result as JSON to this file (`-` for standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What the server did with one case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// A well-formed answer, then the end of the stream.
    Answered,
    /// The end of the stream without an answer.
    Closed,
    /// A TCP reset or a TLS stream cut short.
    Reset,
    /// Neither within the bound.
    Silent,
    /// An answer that is none.
    Wrong(String),
}

#[derive(Default, Serialize)]
struct MalformedResult {
    /// Whether the listener is one that asks for a login.
    needs_login: bool,
    cases: usize,
    answered: u64,
    closed: u64,
    reset: u64,
    /// Requests that may wait for something, and did.
    waiting: u64,
    findings: Tally,
    by_family: BTreeMap<String, BTreeMap<String, u64>>,
}

pub(super) async fn run(arguments: MalformedArguments) -> anyhow::Result<Conclusion> {
    ensure!(arguments.every > 0, "--every must be at least 1");
    let endpoint = arguments.endpoint.resolve()?;
    for address in &endpoint.bootstrap {
        resolve_loopback(address).await?;
    }
    let address = endpoint.bootstrap.first().context("no bootstrap address given")?.clone();
    let is_iam = matches!(endpoint.security, Security::Iam { .. });
    ensure!(is_iam || arguments.phase == Phase::BeforeAuthentication, "--phase needs --iam");
    let bound = seconds("--bound-seconds", arguments.bound_seconds)?;

    let mut bystander = Connection::open_bootstrap(&endpoint).await?;
    let advertised = bystander.api_versions().await?;
    let cases: Vec<Case> = catalogue(&advertised).into_iter().step_by(arguments.every).collect();
    let logins: &[bool] = match arguments.phase {
        Phase::BeforeAuthentication => &[false],
        Phase::Authenticated => &[true],
        Phase::Both => &[false, true],
    };
    let mut result = MalformedResult { needs_login: is_iam, ..MalformedResult::default() };
    for login in logins {
        run_phase(&endpoint, &address, *login, &cases, bound, &mut bystander, &mut result).await?;
    }
    if arguments.strict_close {
        let reset = result.reset;
        result.findings.add(reset, || format!("{reset} connections were reset instead of closed"));
    }
    // A server that survived must serve a newcomer, login included.
    if let Err(error) = Connection::open(&address, &endpoint.security).await {
        result.findings.add(1, || format!("afterwards a new connection fails: {error:#}"));
    }
    print_result(&result);
    write_json(arguments.json.as_deref(), &result)?;
    Ok(Conclusion::of(result.findings.count == 0))
}

async fn run_phase(
    endpoint: &Endpoint,
    address: &HostPort,
    login: bool,
    cases: &[Case],
    bound: Duration,
    bystander: &mut Connection,
    result: &mut MalformedResult,
) -> anyhow::Result<()> {
    let line = progress_line();
    let mut tasks: JoinSet<(Case, anyhow::Result<Outcome>)> = JoinSet::new();
    let security = Arc::new(endpoint.security.clone());
    for (number, case) in cases.iter().enumerate() {
        if tasks.len() >= CONNECTIONS_MAX
            && let Some(joined) = tasks.join_next().await
        {
            let (case, outcome) = joined.context("a case's task ended early")?;
            result.note(&case, login, &outcome);
        }
        let (address, security, case) = (address.clone(), security.clone(), case.clone());
        tasks.spawn(async move {
            let outcome = send_case(&address, &security, login, &case, bound).await;
            (case, outcome)
        });
        if number % BYSTANDER_INTERVAL == 0 {
            line.set_message(format!(
                "{number} of {} cases, {} findings",
                cases.len(),
                result.findings.count
            ));
            look_at_bystander(endpoint, bystander, result).await?;
        }
    }
    while let Some(joined) = tasks.join_next().await {
        let (case, outcome) = joined.context("a case's task ended early")?;
        result.note(&case, login, &outcome);
    }
    line.finish_and_clear();
    look_at_bystander(endpoint, bystander, result).await
}

/// A connection that behaves must not notice the others.
async fn look_at_bystander(
    endpoint: &Endpoint,
    bystander: &mut Connection,
    result: &mut MalformedResult,
) -> anyhow::Result<()> {
    if let Err(error) = bystander.api_versions().await {
        result.findings.add(1, || format!("a well-behaved connection failed: {error:#}"));
        *bystander = Connection::open_bootstrap(endpoint).await.context("the server is gone")?;
    }
    Ok(())
}

async fn send_case(
    address: &HostPort,
    security: &Security,
    login: bool,
    case: &Case,
    bound: Duration,
) -> anyhow::Result<Outcome> {
    let mut connection = Connection::open_anonymous(address, security).await?;
    if login {
        connection.authenticate().await?;
    }
    // A server may close before it has taken everything; what counts is what comes back.
    if connection.send_raw(&case.bytes).await.is_ok() {
        let _ = connection.finish_sending().await;
    }
    Ok(timeout(bound, observe(&mut connection, case.answers_max)).await.unwrap_or(Outcome::Silent))
}

/// Reads until the stream ends. The sending direction is already shut, so an end must come.
async fn observe(connection: &mut Connection, answers_max: usize) -> Outcome {
    let mut answers = 0;
    loop {
        match connection.receive_raw().await {
            Ok(None) => return if answers > 0 { Outcome::Answered } else { Outcome::Closed },
            Ok(Some(frame)) => match split_correlation_id(frame) {
                Ok((CORRELATION_ID, _)) if answers < answers_max => answers += 1,
                Ok((CORRELATION_ID, _)) => return Outcome::Wrong("more answers than requests".to_owned()),
                Ok((other, _)) => return Outcome::Wrong(format!("an answer to request {other}")),
                Err(error) => return Outcome::Wrong(format!("{error:#}")),
            },
            Err(error) if error.downcast_ref::<std::io::Error>().is_some() => return Outcome::Reset,
            Err(error) => return Outcome::Wrong(format!("{error:#}")),
        }
    }
}

impl MalformedResult {
    fn note(&mut self, case: &Case, login: bool, outcome: &anyhow::Result<Outcome>) {
        self.cases += 1;
        let needs_login = self.needs_login && !login;
        let phase = if login { "authenticated" } else { "stranger" };
        let kind = match outcome {
            Err(error) => {
                self.findings.add(1, || format!("{phase}, {}: cannot connect: {error:#}", case.name));
                "unconnected"
            }
            Ok(Outcome::Answered) if needs_login && !case.before_login => {
                self.findings.add(1, || format!("{phase}, {}: answered before the login", case.name));
                "answered too early"
            }
            Ok(Outcome::Answered) => {
                self.answered += 1;
                "answered"
            }
            Ok(Outcome::Closed) => {
                self.closed += 1;
                "closed"
            }
            Ok(Outcome::Reset) => {
                self.reset += 1;
                "reset"
            }
            Ok(Outcome::Silent) if case.may_wait => {
                self.waiting += 1;
                "waiting"
            }
            Ok(Outcome::Silent) => {
                self.findings.add(1, || format!("{phase}, {}: no answer and no close", case.name));
                "silent"
            }
            Ok(Outcome::Wrong(why)) => {
                self.findings.add(1, || format!("{phase}, {}: {why}", case.name));
                "wrong"
            }
        };
        let family = self.by_family.entry(format!("{phase}: {}", case.family)).or_default();
        *family.entry(kind.to_owned()).or_default() += 1;
    }
}

fn print_result(result: &MalformedResult) {
    let mut lines = vec![format!(
        "{} cases: {} answered, {} closed, {} reset, {} waiting, {} findings",
        result.cases, result.answered, result.closed, result.reset, result.waiting, result.findings.count,
    )];
    for (family, kinds) in &result.by_family {
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        lines.push(format!("  {family}: {}", kinds.join(", ")));
    }
    for sample in &result.findings.samples {
        lines.push(format!("FINDING  {sample}"));
    }
    print_lines(&lines);
}
