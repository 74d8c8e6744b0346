//! `slow-sockets`: thousands of connections that send next to nothing.
//!
//! Three kinds in turn: *silent* ones send nothing, *drippers* send one byte of a frame every few seconds, *boasters*
//! announce a large frame and then drip. A server must neither run out of memory nor stop serving others.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Conclusion;
use super::loopback::{parse_sources, resolve_loopback};
use super::produce::seconds;
use crate::clock;
use crate::endpoint::HostPort;
use crate::report::{print_lines, progress_line, write_json};

/// More would only test this machine's ports.
const SOCKETS_MAX: usize = 100_000;
const SECONDS_MAX: f64 = 3600.0;
/// Dials at a time: a full accept queue is the kernel's business, not the server's.
const DIALS_MAX: usize = 256;
/// Standard streams, the runtime's own files, and a margin.
const DESCRIPTORS_BESIDE_SOCKETS: u64 = 64;
const DIAL_TIME_MAX: Duration = Duration::from_secs(10);
/// Time for all dials together; those that are left count as failed.
const ALL_DIALS_TIME_MAX: Duration = Duration::from_mins(1);

/// A well-formed ApiVersions v0 request, to be dripped byte by byte.
const DRIP: &[u8] = &[0, 0, 0, 14, 0, 18, 0, 0, 0, 0, 0, 1, 0, 4, b's', b'l', b'o', b'w'];
/// The length of a frame of 90 MiB, below Kafka's limit of 100 MiB, and the head of a Produce request.
const BOAST: &[u8] = &[0x05, 0xa0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 4, b's', b'l', b'o', b'w', 0, 0];

/// Arguments of `slow-sockets`.
#[derive(Args)]
pub(crate) struct SlowSocketsArguments {
    /// Address to dial, loopback only.
    #[arg(long)]
    bootstrap: String,
    /// Connections to hold.
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// Source addresses, a range.
    #[arg(long, default_value = "127.0.0.1-127.0.0.8")]
    sources: String,
    /// How long to hold them.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Time between two bytes of one connection, in seconds.
    #[arg(long, default_value_t = 3.0)]
    drip_seconds: f64,
    /// Writes the result as JSON to this file (`-` for standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    dial_failed: AtomicU64,
    closed_by_server: AtomicU64,
    reset_by_server: AtomicU64,
    answered: AtomicU64,
}

impl Counters {
    /// Connections whose dial has ended, well or badly.
    fn dialled(&self) -> u64 {
        [&self.accepted, &self.refused, &self.dial_failed]
            .iter()
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    }
}

#[derive(Serialize)]
struct SlowSocketsResult {
    asked: usize,
    accepted: u64,
    refused: u64,
    dial_failed: u64,
    closed_by_server: u64,
    reset_by_server: u64,
    answered: u64,
    open_at_end: u64,
    seconds_held: f64,
}

#[derive(Clone, Copy)]
enum Kind {
    Silent,
    Dripper,
    Boaster,
}

pub(super) async fn run(arguments: SlowSocketsArguments) -> anyhow::Result<Conclusion> {
    ensure!(arguments.connections <= SOCKETS_MAX, "--connections is at most {SOCKETS_MAX}");
    ensure!(arguments.seconds <= SECONDS_MAX, "--seconds is at most {SECONDS_MAX}");
    ensure!(arguments.drip_seconds >= 0.05, "--drip-seconds is at least 0.05");
    let target = resolve_loopback(&HostPort::parse(&arguments.bootstrap)?).await?;
    ensure!(target.is_ipv4(), "{target} is IPv6; the source addresses are IPv4");
    let sources = parse_sources(&arguments.sources)?;
    raise_descriptor_limit(arguments.connections)?;

    let hold = seconds("--seconds", arguments.seconds)?;
    let drip = seconds("--drip-seconds", arguments.drip_seconds)?;
    let counters = Arc::new(Counters::default());
    let dials = Arc::new(Semaphore::new(DIALS_MAX));
    let start = clock::now();
    // Unset while connections are still being made: they are held together from the last dial on.
    let (end_sender, end) = watch::channel(None);
    let mut tasks = JoinSet::new();
    for number in 0..arguments.connections {
        let source = sources[number % sources.len()];
        let kind = [Kind::Silent, Kind::Dripper, Kind::Boaster][number % 3];
        tasks.spawn(hold_one(source, target, kind, drip, end.clone(), counters.clone(), dials.clone()));
    }
    let line = progress_line();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            biased;
            joined = tasks.join_next() => if joined.is_none() { break },
            _ = tick.tick() => {
                line.set_message(format!("{counters:?}"));
                let all_dialled = counters.dialled() >= arguments.connections as u64;
                if end.borrow().is_none() && (all_dialled || clock::since(start) >= ALL_DIALS_TIME_MAX) {
                    dials.close();
                    end_sender.send_replace(Some(clock::now() + hold));
                }
            }
        }
    }
    line.finish_and_clear();
    let result = summarize(arguments.connections, &counters, clock::since(start));
    print_result(&result);
    write_json(arguments.json.as_deref(), &result)?;
    Ok(Conclusion::of(result.accepted > 0))
}

/// Lifts the soft limit to the hard one, which any process may do, and the hard one if it must and may.
fn raise_descriptor_limit(connections: usize) -> anyhow::Result<()> {
    let needed = connections as u64 + DESCRIPTORS_BESIDE_SOCKETS;
    let hard = getrlimit(Resource::Nofile).maximum;
    let wanted = hard.map(|hard| hard.max(needed));
    setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted }).with_context(|| {
        format!("{connections} connections need {needed} open files and the hard limit is {hard:?}; run several processes with fewer --connections each")
    })
}

async fn hold_one(
    source: IpAddr,
    target: SocketAddr,
    kind: Kind,
    drip: Duration,
    end: watch::Receiver<Option<Instant>>,
    counters: Arc<Counters>,
    dials: Arc<Semaphore>,
) {
    let count = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    // The semaphore is closed when the time for dialling is over.
    let Ok(permit) = dials.acquire().await else { return count(&counters.dial_failed) };
    let dialled = timeout(DIAL_TIME_MAX, dial(source, target)).await;
    drop(permit);
    match dialled {
        Ok(Ok(stream)) => {
            count(&counters.accepted);
            stay(stream, kind, drip, end, &counters).await;
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => count(&counters.refused),
        Ok(Err(_)) | Err(_) => count(&counters.dial_failed),
    }
}

async fn dial(source: IpAddr, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(target).await
}

/// Drips until the end, or until the server ends the connection.
async fn stay(
    mut stream: TcpStream,
    kind: Kind,
    drip: Duration,
    mut end: watch::Receiver<Option<Instant>>,
    counters: &Counters,
) {
    let (bytes, mut sent): (&[u8], usize) = match kind {
        Kind::Silent => (&[], 0),
        Kind::Dripper => (DRIP, 0),
        Kind::Boaster => (BOAST, 4),
    };
    if sent > 0 && stream.write_all(&bytes[..sent]).await.is_err() {
        counters.reset_by_server.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let mut answer = [0; 512];
    let mut answered = false;
    let mut next_drip = clock::now() + drip;
    loop {
        let deadline = *end.borrow_and_update();
        if deadline.is_some_and(|deadline| deadline <= clock::now()) {
            break;
        }
        let wake = deadline.map_or(next_drip, |deadline| deadline.min(next_drip));
        tokio::select! {
            biased;
            Ok(()) = end.changed() => {}
            read = stream.read(&mut answer) => match read {
                Ok(0) => {
                    counters.closed_by_server.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(_) => answered = true,
                Err(_) => {
                    counters.reset_by_server.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            },
            () = clock::sleep_until(wake) => {
                if wake < next_drip {
                    continue;
                }
                next_drip += drip;
                let Some(byte) = bytes.get(sent..=sent) else { continue };
                sent += 1;
                if stream.write_all(byte).await.is_err() {
                    counters.reset_by_server.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
    counters.answered.fetch_add(u64::from(answered), Ordering::Relaxed);
}

fn summarize(asked: usize, counters: &Counters, held: Duration) -> SlowSocketsResult {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let accepted = load(&counters.accepted);
    let (closed_by_server, reset_by_server) =
        (load(&counters.closed_by_server), load(&counters.reset_by_server));
    SlowSocketsResult {
        asked,
        accepted,
        refused: load(&counters.refused),
        dial_failed: load(&counters.dial_failed),
        closed_by_server,
        reset_by_server,
        answered: load(&counters.answered),
        open_at_end: accepted.saturating_sub(closed_by_server + reset_by_server),
        seconds_held: held.as_secs_f64(),
    }
}

fn print_result(result: &SlowSocketsResult) {
    print_lines(&[
        format!(
            "asked {}, accepted {}, refused {}, dial failed {}",
            result.asked, result.accepted, result.refused, result.dial_failed
        ),
        format!(
            "closed by server {}, reset by server {}, answered {}, open at end {} after {:.1} s",
            result.closed_by_server,
            result.reset_by_server,
            result.answered,
            result.open_at_end,
            result.seconds_held,
        ),
    ]);
}
