//! The audit log: one line for each authentication, denial and control call.
//!
//! Invariants: a line is written whole or not at all; a record never holds a secret (callers pass names and ids only).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use uuid::Uuid;

mod event;

/// Older files kept beside the one that is written to: `<path>.1` is the newest of them.
const ROTATED_MAX: u32 = 4;

/// What became of an audited attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditResult {
    /// It was allowed and done.
    Allowed,
    /// It was refused: authentication or authorization.
    Denied,
    /// It was allowed but failed for another reason.
    Failed,
}

/// One attempt, for the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// When, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// Where from: the peer's address and port.
    pub source: String,
    /// Who, as an ARN; absent where nobody was proven.
    pub principal: Option<String>,
    /// The cluster's id; absent where none was chosen.
    pub cluster: Option<String>,
    /// What was tried, e.g. `kafka-cluster:Connect` or `iam:CreateUser`.
    pub action: String,
    /// On what, as an ARN or name.
    pub resource: Option<String>,
    /// What became of it.
    pub result: AuditResult,
    /// Why, in words; absent for what simply went well.
    pub reason: Option<String>,
    /// What is known of it beyond that.
    pub details: AuditDetails,
}

/// What is known of some attempts only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditDetails {
    /// Names the request in its answer too.
    pub request_id: Option<String>,
    /// The unique id of the principal, `AIDA…` or `AROA…:session`.
    pub principal_id: Option<String>,
    /// The key that signed.
    pub access_key_id: Option<String>,
    /// When the temporary credential was issued, RFC 3339 in UTC.
    pub session_issued: Option<String>,
    /// What the client says it is.
    pub user_agent: Option<String>,
    /// The error's code, where there is one.
    pub error_code: Option<String>,
    /// The parameters.
    pub request: Option<Value>,
    /// What the answer said.
    pub response: Option<Value>,
    /// Whether the call only looks.
    pub read_only: bool,
}

/// Where audit records go.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes a record. Never fails towards the caller and never waits for long: a sink that cannot write logs that.
    fn record(&self, record: &AuditRecord);
}

/// How the rest of the system holds a sink.
pub type SharedAudit = Arc<dyn AuditSink>;

/// Keeps records in memory, for tests.
#[derive(Debug, Default)]
pub struct AuditMemory(Mutex<Vec<AuditRecord>>);

impl AuditMemory {
    /// The records so far, oldest first.
    pub fn records(&self) -> Vec<AuditRecord> {
        self.0.lock().map(|records| records.clone()).unwrap_or_default()
    }
}

impl AuditSink for AuditMemory {
    fn record(&self, record: &AuditRecord) {
        if let Ok(mut records) = self.0.lock() {
            records.push(record.clone());
        }
    }
}

/// Makes the ids of events.
pub type EventIds = Box<dyn Fn() -> Uuid + Send + Sync>;

/// A file of JSON lines in the shape of CloudTrail's events, rotated when it would grow beyond its limit.
pub struct AuditFile {
    path: PathBuf,
    bytes_max: u64,
    region: String,
    ids: EventIds,
    open: Mutex<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    bytes: u64,
}

impl AuditFile {
    /// Opens the file for appending, readable by its owner alone. `region` is told in each line.
    pub fn open(
        path: &Path,
        bytes_max: u64,
        region: impl Into<String>,
        ids: EventIds,
    ) -> std::io::Result<Self> {
        let open = Mutex::new(OpenFile::open(path)?);
        Ok(Self { path: path.to_owned(), bytes_max, region: region.into(), ids, open })
    }
}

impl std::fmt::Debug for AuditFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditFile({})", self.path.display())
    }
}

impl AuditSink for AuditFile {
    fn record(&self, record: &AuditRecord) {
        let event = event::of(record, &self.region, (self.ids)());
        let mut line = event.to_string().into_bytes();
        line.push(b'\n');
        let Ok(mut open) = self.open.lock() else { return };
        if let Err(error) = open.append(&self.path, self.bytes_max, &line) {
            tracing::error!(path = %self.path.display(), %error, "audit line not written");
        }
    }
}

impl OpenFile {
    fn open(path: &Path) -> std::io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }

    fn append(&mut self, path: &Path, bytes_max: u64, line: &[u8]) -> std::io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > bytes_max {
            rotate(path)?;
            *self = Self::open(path)?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// Renames every file to the next number; the oldest is replaced.
fn rotate(path: &Path) -> std::io::Result<()> {
    for number in (1..ROTATED_MAX).rev() {
        match std::fs::rename(rotated(path, number), rotated(path, number + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, rotated(path, 1))
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(action: &str) -> AuditRecord {
        AuditRecord {
            time: "2026-11-21T09:00:00.000Z".into(),
            source: "127.0.0.1:40000".into(),
            principal: None,
            cluster: Some("abcdefgh".into()),
            action: action.into(),
            resource: None,
            result: AuditResult::Denied,
            reason: Some("signature does not match".into()),
            details: AuditDetails::default(),
        }
    }

    fn open(path: &Path, bytes_max: u64) -> AuditFile {
        AuditFile::open(path, bytes_max, "eu-west-1", Box::new(Uuid::nil)).expect("opened")
    }

    fn actions(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).expect("readable");
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("one event a line"));
        events.map(|event| event["eventName"].as_str().expect("a name").to_owned()).collect()
    }

    #[test]
    fn each_record_is_one_line_of_json() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let sink = open(&path, 1 << 20);
        sink.record(&denied("kafka:A"));
        sink.record(&denied("kafka:B"));
        assert_eq!(actions(&path), ["A", "B"]);
    }

    #[test]
    fn a_full_file_is_rotated_and_the_newest_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let sink = open(&path, 1);
        for number in 0..=ROTATED_MAX + 1 {
            sink.record(&denied(&format!("kafka:{number}")));
        }
        assert_eq!(actions(&path), [(ROTATED_MAX + 1).to_string()]);
        for number in 1..=ROTATED_MAX {
            assert_eq!(actions(&rotated(&path, number)), [(ROTATED_MAX + 1 - number).to_string()]);
        }
        assert!(!rotated(&path, ROTATED_MAX + 1).exists());
    }

    #[test]
    fn no_line_is_lost_or_cut_where_files_change() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        open(&path, 1 << 20).record(&denied("kafka:A"));
        let line = std::fs::metadata(&path).expect("there").len();
        let sink = open(&path, line * 2);
        sink.record(&denied("kafka:B"));
        sink.record(&denied("kafka:C"));
        assert_eq!(actions(&rotated(&path, 1)), ["A", "B"]);
        assert_eq!(actions(&path), ["C"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        open(&path, 1 << 20);
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
