//! Real etcd processes on free loopback ports, with a directory that goes with them.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headgate_metadata::etcd::{EtcdConfig, EtcdStore};
use headgate_metadata::store::SharedStore;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long an etcd may take to answer after its start, on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// What makes an etcd ask for client certificates.
pub(crate) struct ServerTls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

/// One member.
pub(crate) struct Member {
    name: String,
    directory: PathBuf,
    pub(crate) port: u16,
    peer_port: u16,
    process: Option<Child>,
}

/// An etcd of one or more members. Dropping it ends them.
pub(crate) struct Etcd {
    directory: TempDir,
    pub(crate) members: Vec<Member>,
    tls: Option<ServerTls>,
}

impl Etcd {
    /// One member, ready.
    pub(crate) async fn start() -> Self {
        Self::start_members(1).await
    }

    /// Several members, ready.
    pub(crate) async fn start_members(count: usize) -> Self {
        let mut etcd = Self::prepare(count, None);
        etcd.start_all();
        etcd.ready().await;
        etcd
    }

    /// One member that asks for client certificates; not waited for.
    pub(crate) fn start_secure(tls: ServerTls) -> Self {
        let mut etcd = Self::prepare(1, Some(tls));
        etcd.start_all();
        etcd
    }

    fn prepare(count: usize, tls: Option<ServerTls>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ports = free_ports(2 * count);
        let member = |index: usize| Member {
            name: format!("m{index}"),
            directory: directory.path().join(format!("m{index}")),
            port: ports[2 * index],
            peer_port: ports[2 * index + 1],
            process: None,
        };
        let members = (0..count).map(member).collect();
        Self { directory, members, tls }
    }

    fn start_all(&mut self) {
        (0..self.members.len()).for_each(|index| self.start_member(index));
    }

    /// Starts one member on what its directory holds.
    pub(crate) fn start_member(&mut self, index: usize) {
        let peer = |member: &Member| format!("http://127.0.0.1:{}", member.peer_port);
        let cluster: Vec<String> =
            self.members.iter().map(|member| format!("{}={}", member.name, peer(member))).collect();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let member = &self.members[index];
        let url = format!("{scheme}://127.0.0.1:{}", member.port);
        let log = File::create(self.directory.path().join(format!("{}.log", member.name))).expect("a log");
        let mut command = Command::new(binary());
        command
            .args(["--name", &member.name, "--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)])
            .args(["--initial-cluster", &cluster.join(","), "--logger", "zap"])
            // Elections that suit a test; a lease still lives 2 s at least.
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .arg("--data-dir")
            .arg(&member.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(tls) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.ca);
            command.arg("--cert-file").arg(&tls.certificate).arg("--key-file").arg(&tls.key);
        }
        self.members[index].process = Some(command.spawn().expect("etcd starts"));
    }

    /// Waits until a request is answered.
    pub(crate) async fn ready(&self) {
        let store = self.store("ready");
        let began = Instant::now();
        while let Err(error) = store.revision().await {
            if began.elapsed() > READY_WITHIN {
                let log = std::fs::read_to_string(self.directory.path().join("m0.log")).unwrap_or_default();
                panic!("etcd does not answer: {error}\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `kill -9` of a member.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.members[index].process.take() {
            process.kill().expect("it is our child");
            process.wait().expect("it is our child");
        }
    }

    /// Stops a member's clock, so to say, or lets it go on.
    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        let process = self.members[index].process.as_ref().expect("it runs");
        let pid = Pid::from_raw(process.id().cast_signed()).expect("a pid is not 0");
        kill_process(pid, signal).expect("it is our child");
    }

    /// `kill -9` and start again.
    pub(crate) async fn restart(&mut self) {
        self.kill(0);
        self.start_member(0);
        self.ready().await;
    }

    /// The only member's directory, copied while it does not run, for [`Etcd::restore`].
    pub(crate) async fn backup(&mut self) -> TempDir {
        self.kill(0);
        let copy = tempfile::tempdir().expect("a directory");
        copy_directory(&self.members[0].directory, copy.path());
        self.start_member(0);
        self.ready().await;
        copy
    }

    /// Puts the only member back to what it was, as a restored backup does.
    pub(crate) async fn restore(&mut self, backup: &TempDir) {
        self.kill(0);
        std::fs::remove_dir_all(&self.members[0].directory).expect("removable");
        copy_directory(backup.path(), &self.members[0].directory);
        self.start_member(0);
        self.ready().await;
    }

    pub(crate) fn endpoint(&self, index: usize) -> String {
        format!("http://127.0.0.1:{}", self.members[index].port)
    }

    /// A store for a cell of this name, with all members.
    pub(crate) fn store(&self, cell: &str) -> SharedStore {
        let endpoints = (0..self.members.len()).map(|index| self.endpoint(index));
        Arc::new(EtcdStore::new(&EtcdConfig::new(endpoints, cell), None).expect("a valid configuration"))
    }

    /// Forgets all changes below `revision`.
    pub(crate) fn compact(&self, revision: u64) {
        let answer = post(self.members[0].port, "/v3/kv/compaction", &format!("{{\"revision\":{revision}}}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|index| self.kill(index));
    }
}

/// etcd's own JSON gateway, for what the store itself never asks.
pub(crate) fn post(port: u16, path: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("etcd listens");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).expect("etcd reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("etcd answers");
    answer
}

fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("HEADGATE_ETCD") {
        return PathBuf::from(given);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("etcd")).find(|file| file.is_file());
    found.expect(
        "these tests need etcd 3.4 or newer: install Debian's etcd-server or set HEADGATE_ETCD to the binary",
    )
}

/// Ports that nobody listens on now; all are held until all are known.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("bound").port()).collect()
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("creatable");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
