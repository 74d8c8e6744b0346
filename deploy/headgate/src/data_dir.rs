//! The data directory: one process at a time, secrets readable by their owner alone, files written whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// A data directory that this process holds. Dropping it lets go.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory where needed and takes its lock; a second process is refused with the first one's pid.
    pub(crate) fn hold(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot create the data directory {}", path.display()))?;
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .with_context(|| format!("cannot restrict {} to its owner", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))?;
        let lock_path = path.join("lock");
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).ok();
            bail!(
                "{} is in use by process {}; stop it, or choose another --data-dir",
                path.display(),
                if holder.trim().is_empty() { "unknown" } else { holder.trim() }
            );
        }
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { path, _lock: lock })
    }

    /// Whether a running process holds the directory.
    pub(crate) fn is_held(path: &Path) -> bool {
        let Ok(lock) = File::open(path.join("lock")) else { return false };
        flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    /// The process that holds the directory.
    pub(crate) fn holder(path: &Path) -> Result<Option<i32>> {
        if !Self::is_held(path) {
            return Ok(None);
        }
        let lock = path.join("lock");
        let text = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
        let pid = text.trim().parse().with_context(|| format!("{} names no process", lock.display()))?;
        Ok(Some(pid))
    }

    /// The directory, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Makes a directory that only its owner may enter.
pub(crate) fn create_private_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    Ok(())
}

/// Writes a file that only its owner may read: readers see the old content or the new, never a part.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        // A leftover of a killed process keeps its own permissions; begin anew.
        fs::remove_file(&partial).or_else(|error| {
            if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        })?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_first_ones_pid() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::hold(dir.path()).expect("the first holder");
        let refused = DataDir::hold(dir.path()).err().expect("the second is refused").to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        assert!(DataDir::is_held(dir.path()));
        drop(held);
        DataDir::hold(dir.path()).expect("free again");
    }

    #[test]
    fn secrets_are_readable_by_their_owner_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("secret");
        write_private(&path, b"one").expect("written");
        write_private(&path, b"two").expect("written over");
        assert_eq!(fs::read(&path).expect("readable by us"), b"two");
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
