//! Finds the end of a WAL at start-up and reads its record headers (`storage/PROTOCOL.md` §4, §7, §14).
//!
//! Two walks. The first hops over group headers and learns the greatest synced-through; whatever is wrong below it,
//! below the start of a later chunk, or below the recorded end, is corruption. What lies above is verified whole,
//! payloads included, and cut at the first group that is not right. The second walk, [`WalScan::records`], yields
//! record headers.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use headgate_metadata::id::{TimestampMs, WalId, WalPosition};

use crate::disk::{Disk, DiskFile};
use crate::wal::group::GROUP_MAGIC;
use crate::wal::walk::{Walk, WalkError, end_of_group};
use crate::wal::{
    Chunk, Corruption, GROUP_HEADER_BYTES, GroupHeader, RecordHeader, WalReadError, list_chunks,
};

/// How much of a chunk's rest is searched at once for later groups.
const SEARCH_BYTES: usize = 1 << 20;
static ZEROS: [u8; SEARCH_BYTES] = [0; SEARCH_BYTES];

/// What a WAL on this disk holds, found by walking its groups.
#[derive(Debug)]
pub struct WalScan {
    disk: Arc<dyn Disk>,
    wal: WalId,
    chunks: Vec<Chunk>,
    end: WalPosition,
    synced_through: WalPosition,
    closed_clean: bool,
}

impl WalScan {
    /// Walks the group headers of a WAL below `root`, verifies everything above the last synced-through, and cuts a
    /// torn end there. With `sealed_end`, which the metadata store recorded, the WAL ends exactly there, and whatever
    /// is missing below it is corruption. A WAL without chunks ends at 0 (or at `sealed_end`, if everything was
    /// trimmed).
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        wal: WalId,
        sealed_end: Option<WalPosition>,
    ) -> Result<Self, WalReadError> {
        let chunks = list_chunks(&*disk, root, wal)?;
        let end = sealed_end.unwrap_or(WalPosition::new(0));
        let mut scan = Self { disk, wal, chunks, end, synced_through: end, closed_clean: false };
        // A chunk is created only after the one before was synced (wal.rs, invariant 1).
        let Some(proven) = scan.chunks.last().map(|chunk| chunk.start) else { return Ok(scan) };
        scan.synced_through = sealed_end.map_or(proven, |end| end.max(proven));
        let unproven = scan.walk_groups(sealed_end)?;
        scan.verify(unproven)?;
        Ok(scan)
    }

    /// The log.
    pub fn wal(&self) -> WalId {
        self.wal
    }
    /// The position the log's first remaining byte has: what lies below was trimmed.
    pub fn start(&self) -> WalPosition {
        self.chunks.first().map_or(self.end, |chunk| chunk.start)
    }
    /// The end of the valid log. Record it only after [`WalScan::sync`].
    pub fn end(&self) -> WalPosition {
        self.end
    }
    /// The position below which nothing may be cut: the greatest synced-through that the log itself proves, or the
    /// recorded end.
    pub fn synced_through(&self) -> WalPosition {
        self.synced_through
    }
    /// Whether the last group is the closing one of a clean stop.
    pub fn closed_clean(&self) -> bool {
        self.closed_clean
    }
    /// The chunk files, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The time of the first group of a chunk: its age counts from there.
    pub fn chunk_started(&self, chunk: &Chunk) -> Result<TimestampMs, WalReadError> {
        let mut walk = Walk::new(self.wal, chunk.start, self.disk.open(&chunk.path)?);
        let limit = walk.file_end()?;
        let group =
            walk.group(chunk.start, limit).map_err(|error| stopped(self.wal, chunk, chunk.start, error))?;
        Ok(group.time)
    }

    /// Syncs every chunk, so that what was read is what the disk holds (`storage/PROTOCOL.md` §4: before the end is
    /// recorded).
    pub fn sync(&self) -> Result<(), WalReadError> {
        for chunk in &self.chunks {
            self.disk.open(&chunk.path)?.sync_data()?;
        }
        Ok(())
    }

    /// Reads the headers of the records at or after `from`, up to the end. Bounded memory; payloads are skipped.
    pub fn records(&self, from: WalPosition) -> Result<Records, WalReadError> {
        if from < self.start() {
            return Err(WalReadError::Trimmed { wal: self.wal, position: from });
        }
        let holds = |chunk: &&Chunk| chunk.end.is_none_or(|end| end > from) && chunk.start < self.end;
        Ok(Records {
            disk: Arc::clone(&self.disk),
            wal: self.wal,
            from,
            end: self.end,
            chunks: self.chunks.iter().filter(holds).cloned().collect(),
            current: None,
        })
    }

    /// Hops from group to group, sets `end`, and returns the groups that are not proven to be synced.
    fn walk_groups(
        &mut self,
        sealed_end: Option<WalPosition>,
    ) -> Result<VecDeque<GroupHeader>, WalReadError> {
        let mut unproven = VecDeque::new();
        for chunk in self.chunks.clone() {
            let file = self.disk.open(&chunk.path)?;
            let mut walk = Walk::new(self.wal, chunk.start, Arc::clone(&file));
            let file_end = walk.file_end()?;
            let limit = chunk.end.unwrap_or(file_end).min(sealed_end.unwrap_or(WalPosition::new(u64::MAX)));
            let mut at = chunk.start;
            while at < limit {
                match walk.group(at, limit) {
                    Ok(group) => {
                        self.synced_through = self.synced_through.max(group.synced_through);
                        self.closed_clean = group.record_count == 0;
                        at = group.end();
                        unproven.push_back(group);
                        drop_proven(&mut unproven, self.synced_through);
                    }
                    Err(WalkError::Disk(error)) => return Err(error.into()),
                    Err(error) if chunk.end.is_some() || at < self.synced_through => {
                        return Err(stopped(self.wal, &chunk, at, error));
                    }
                    Err(error) => {
                        self.check_torn(&*file, &chunk, at, file_end, error)?;
                        break;
                    }
                }
            }
            self.end = sealed_end.map_or(at, |sealed| at.min(sealed));
            if sealed_end.is_some_and(|end| at >= end) {
                break;
            }
        }
        match sealed_end {
            Some(sealed) if self.end < sealed => {
                let chunk = self.chunks.last().expect("open returns early without chunks");
                let what = format!("the log ends here, but it was sealed at {sealed}");
                Err(Corruption { wal: self.wal, file: file_of(chunk), position: self.end, what }.into())
            }
            _ => Ok(unproven),
        }
    }

    /// No valid group lies at `at`. That is the end, unless a later group says that `at` was synced before it was
    /// written.
    fn check_torn(
        &self,
        file: &dyn DiskFile,
        chunk: &Chunk,
        at: WalPosition,
        file_end: WalPosition,
        error: WalkError,
    ) -> Result<(), WalReadError> {
        let mut buffer = Vec::new();
        let mut from = at;
        while from < file_end {
            let length = (file_end.get() - from.get()).min(SEARCH_BYTES as u64) as usize;
            buffer.resize(length, 0);
            let read = file.read_at(&mut buffer, from.get() - chunk.start.get())?;
            buffer.truncate(read);
            for found in groups_in(&buffer, self.wal, from) {
                if found.synced_through > at {
                    return Err(stopped(self.wal, chunk, at, error));
                }
            }
            if read < length || from.plus(read as u64) >= file_end {
                break;
            }
            // The next piece begins where a header could still have been cut off.
            from = from.plus((read - GROUP_HEADER_BYTES) as u64 + 1);
        }
        Ok(())
    }

    /// Verifies groups above the last synced-through and cuts at the first that is not right.
    fn verify(&mut self, unproven: VecDeque<GroupHeader>) -> Result<(), WalReadError> {
        let Some(first) = unproven.front().map(|group| group.position) else { return Ok(()) };
        let chunk = self.chunks.iter().rfind(|chunk| chunk.start <= first);
        let chunk = chunk.expect("every group was found in a chunk").clone();
        let mut walk = Walk::new(self.wal, chunk.start, self.disk.open(&chunk.path)?);
        let mut buffer = Vec::new();
        let mut clean_before = false;
        for group in unproven {
            match walk.verify(&group, &mut buffer) {
                Ok(()) => clean_before = group.record_count == 0,
                Err(WalkError::Disk(error)) => return Err(error.into()),
                Err(error) if group.position < self.synced_through => {
                    return Err(stopped(self.wal, &chunk, group.position, error));
                }
                Err(WalkError::Format(_)) => {
                    self.end = group.position;
                    self.closed_clean = clean_before;
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Groups that end at or below `synced_through` need no verification: nothing there may be cut.
fn drop_proven(unproven: &mut VecDeque<GroupHeader>, synced_through: WalPosition) {
    while unproven.front().is_some_and(|group| group.end() <= synced_through) {
        unproven.pop_front();
    }
}

/// The valid group headers of `wal` in a stretch of a chunk that begins at position `from`.
fn groups_in(stretch: &[u8], wal: WalId, from: WalPosition) -> Vec<GroupHeader> {
    // Mostly the untouched rest of a preallocated file; comparing it with zeros is one fast call.
    if *stretch == ZEROS[..stretch.len()] {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, window) in stretch.windows(GROUP_HEADER_BYTES).enumerate() {
        if window[0] == GROUP_MAGIC[0] && window.starts_with(GROUP_MAGIC) {
            found.extend(GroupHeader::decode(window, wal, from.plus(index as u64)).ok());
        }
    }
    found
}

fn stopped(wal: WalId, chunk: &Chunk, at: WalPosition, error: WalkError) -> WalReadError {
    match error {
        WalkError::Disk(error) => error.into(),
        WalkError::Format(error) => {
            Corruption { wal, file: file_of(chunk), position: at, what: error.to_string() }.into()
        }
    }
}

fn file_of(chunk: &Chunk) -> String {
    chunk.path.display().to_string()
}

/// An iterator over record headers; an error is the last item.
#[derive(Debug)]
pub struct Records {
    disk: Arc<dyn Disk>,
    wal: WalId,
    from: WalPosition,
    end: WalPosition,
    chunks: VecDeque<Chunk>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    chunk: Chunk,
    walk: Walk,
    /// Where the next header lies, of a record or, between groups, of a group.
    at: WalPosition,
    group: Option<(GroupHeader, u32)>,
}

impl Records {
    /// Where the group begins that held the record yielded last.
    pub fn group(&self) -> Option<WalPosition> {
        self.current.as_ref()?.group.map(|(group, _)| group.position)
    }

    /// The next record header, whether wanted or not.
    fn step(&mut self) -> Result<Option<RecordHeader>, WalReadError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(chunk) = self.chunks.pop_front() else { return Ok(None) };
                let walk = Walk::new(self.wal, chunk.start, self.disk.open(&chunk.path)?);
                self.current = Some(Current { at: chunk.start, chunk, walk, group: None });
                continue;
            };
            let at = current.at;
            if current.group.is_none() && at >= current.chunk.end.unwrap_or(self.end).min(self.end) {
                self.current = None;
                continue;
            }
            match current.step(self.from, self.end) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => return Err(stopped(self.wal, &current.chunk, at, error)),
            }
        }
    }
}

impl Current {
    /// Reads one header: a record's is returned, a group's is stepped into or, wholly below `from`, over.
    fn step(&mut self, from: WalPosition, end: WalPosition) -> Result<Option<RecordHeader>, WalkError> {
        let Some((group, left)) = self.group else {
            let group = self.walk.group(self.at, end)?;
            if group.end() <= from {
                self.at = group.end();
            } else {
                self.at = group.position.plus(GROUP_HEADER_BYTES as u64);
                self.group = Some((group, group.record_count));
            }
            return Ok(None);
        };
        if left == 0 {
            end_of_group(self.at, &group)?;
            self.group = None;
            return Ok(None);
        }
        let record = self.walk.record(self.at, group.end())?;
        self.at = record.place.end();
        self.group = Some((group, left - 1));
        Ok(Some(record))
    }
}

impl Iterator for Records {
    type Item = Result<RecordHeader, WalReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Some(record)) if record.place.header_position < self.from => {}
                Ok(found) => return found.map(Ok),
                Err(error) => {
                    self.chunks.clear();
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
