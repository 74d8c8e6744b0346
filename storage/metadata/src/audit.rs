//! The audit log: one JSON line for each authentication, denial and control call.
//!
//! Invariants: a line is written whole or not at all; a record never holds a secret (callers pass names and ids only).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

/// What became of an audited attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditResult {
    /// It was allowed and done.
    Allowed,
    /// It was refused: authentication or authorization.
    Denied,
    /// It was allowed but failed for another reason.
    Failed,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// Where from: the peer's address and port.
    pub source: String,
    /// Who, as an ARN; absent where nobody was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The cluster's id; absent where none was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What was tried, e.g. `kafka-cluster:Connect` or `iam:CreateUser`.
    pub action: String,
    /// On what, as an ARN or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What became of it.
    pub result: AuditResult,
    /// Why, in words; absent for what simply went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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

/// A file of JSON lines, rotated to `<path>.1` when it would grow beyond its limit.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    bytes_max: u64,
    open: Mutex<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    bytes: u64,
}

impl AuditFile {
    /// Opens the file for appending, readable by its owner alone.
    pub fn open(path: &Path, bytes_max: u64) -> std::io::Result<Self> {
        let open = Mutex::new(OpenFile::open(path)?);
        Ok(Self { path: path.to_owned(), bytes_max, open })
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
}

impl AuditSink for AuditFile {
    fn record(&self, record: &AuditRecord) {
        let mut line = serde_json::to_vec(record).expect("records hold nothing that JSON cannot express");
        line.push(b'\n');
        let Ok(mut open) = self.open.lock() else { return };
        if let Err(error) = open.append(&self.path, self.bytes_max, &line) {
            tracing::error!(path = %self.path.display(), %error, "audit line not written");
        }
    }
}

impl OpenFile {
    fn append(&mut self, path: &Path, bytes_max: u64, line: &[u8]) -> std::io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > bytes_max {
            let mut rotated = path.as_os_str().to_owned();
            rotated.push(".1");
            std::fs::rename(path, rotated)?;
            *self = Self::open(path)?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
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
        }
    }

    #[test]
    fn each_record_is_one_line_of_json_without_absent_fields() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let sink = AuditFile::open(&path, 1 << 20).expect("opened");
        sink.record(&denied("a"));
        sink.record(&denied("b"));
        let text = std::fs::read_to_string(&path).expect("readable");
        let lines: Vec<AuditRecord> =
            text.lines().map(|line| serde_json::from_str(line).expect("one record a line")).collect();
        assert_eq!(lines, [denied("a"), denied("b")]);
        assert!(!text.contains("principal"));
    }

    #[test]
    fn a_full_file_is_rotated_and_no_line_is_lost_or_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let line = serde_json::to_vec(&denied("a")).expect("json").len() as u64 + 1;
        let sink = AuditFile::open(&path, line * 2).expect("opened");
        for _ in 0..3 {
            sink.record(&denied("a"));
        }
        let lines = |path: &Path| std::fs::read_to_string(path).expect("readable").lines().count();
        assert_eq!(lines(&path), 1);
        assert_eq!(lines(&directory.path().join("audit.log.1")), 2);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        AuditFile::open(&path, 1 << 20).expect("opened");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
