//! Lets log files go.
//!
//! | a closed file | may go |
//! | --- | --- |
//! | holds an operation behind the start of the second-newest image | never |
//! | fewer than two images are published | never |
//! | holds an operation that somebody has pinned | not now |
//! | none of these, and it ended longer ago than `keep_ms` | yes |
//! | none of these, and the log takes more than `keep_bytes` | yes, the oldest |
//! | none of these, and the log is about to take more than `max_bytes` | yes, the oldest: room to write is worth more than history |

use std::path::PathBuf;

use super::{ClosedFile, LogFiles, LogId};
use crate::disk::remove_if_exists;
use crate::segment::SegmentName;
use crate::{DataDir, StorageError};

/// Files that go in one step.
const FILES_A_STEP_MAX: usize = 16;
/// Files behind one, of which the first that can be read says where it ends.
const LOOKED_BEHIND_MAX: usize = 4;

/// What a step of retention has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Files that were removed.
    pub removed: usize,
    /// Files that wait to become spares.
    pub freed: usize,
    /// Epochs that left the manifest.
    pub epochs: usize,
    /// There may be more to do at once.
    pub more: bool,
}

impl DataDir {
    /// Lets a bounded number of log files go that neither recovery, nor a pin, nor the settings want to stay. To be called now and
    /// then, and after an image was published; waits for the disk, so not on a shard's thread. An error harms nothing: try again later.
    pub fn retain(&mut self, now_ms: i64) -> Result<Retained, StorageError> {
        self.poison().check()?;
        let mut retained = self.files().let_files_go(now_ms)?;
        retained.epochs = self.forget_epochs()?;
        Ok(retained)
    }

    /// Takes epochs out of the manifest of which no file is left. The epoch of an image that is needed stays.
    fn forget_epochs(&mut self) -> Result<usize, StorageError> {
        let manifest = self.manifest();
        let Some(needed) = manifest.images.iter().rev().nth(1) else { return Ok(0) };
        let is_gone = |epoch| epoch < needed.epoch && !self.files().has_files_of(epoch);
        let gone = manifest.epochs.iter().take_while(|entry| is_gone(entry.epoch)).count();
        if gone > 0 {
            let mut manifest = manifest.clone();
            manifest.epochs_given_back = manifest.epochs[gone - 1].epoch;
            manifest.epochs.drain(..gone);
            self.replace_manifest(manifest)?;
        }
        Ok(gone)
    }
}

/// The next file to go.
pub(super) struct Candidate {
    log: LogId,
    name: SegmentName,
    ended_ms: i64,
}

impl LogFiles {
    fn let_files_go(&self, now_ms: i64) -> Result<Retained, StorageError> {
        let mut retained = Retained::default();
        for _ in 0..FILES_A_STEP_MAX {
            let Some(candidate) = self.candidate()? else { return Ok(retained) };
            let Some((file, path, freed)) = self.claim(&candidate, now_ms) else { return Ok(retained) };
            if freed {
                retained.freed += 1;
                continue;
            }
            if let Err(error) = remove_if_exists(self.inner.disk.as_ref(), &path) {
                let mut books = self.books();
                books.bytes += file.bytes;
                books.closed.entry(candidate.log).or_default().push_front(file);
                return Err(StorageError::io("remove", &path, error));
            }
            retained.removed += 1;
        }
        retained.more = true;
        Ok(retained)
    }

    /// The oldest file that nobody needs: of the oldest epoch that has one, the one that ended first.
    pub(super) fn candidate(&self) -> Result<Option<Candidate>, StorageError> {
        let logs: Vec<LogId> = {
            let books = self.books();
            let Some(needed) = &books.needed else { return Ok(None) };
            books.closed.range(..=(needed.epoch, u16::MAX)).map(|(log, _)| *log).collect()
        };
        let mut oldest: Option<Candidate> = None;
        for log in logs {
            if oldest.as_ref().is_some_and(|oldest| oldest.log.0 < log.0) {
                break;
            }
            let floor = self.books().floor(log);
            // Nothing of it may go: spare the disk the question where its first file ends.
            let Some(front) = (floor > 0).then(|| self.front(log)).transpose()?.flatten() else { continue };
            let (Some(last_ops), Some(ended_ms)) = (front.last_ops, front.ended_ms) else { continue };
            if last_ops <= floor && oldest.as_ref().is_none_or(|oldest| ended_ms < oldest.ended_ms) {
                oldest = Some(Candidate { log, name: front.name, ended_ms });
            }
        }
        Ok(oldest)
    }

    /// The first file of a log, with its end and time looked up.
    fn front(&self, log: LogId) -> Result<Option<ClosedFile>, StorageError> {
        let (mut front, behind, end_ops) = {
            let books = self.books();
            let Some(files) = books.closed.get(&log) else { return Ok(None) };
            let Some(front) = files.front().cloned() else { return Ok(None) };
            let behind: Vec<SegmentName> =
                files.iter().skip(1).map(|file| file.name).take(LOOKED_BEHIND_MAX).collect();
            (front, behind, files.back().and_then(|file| file.last_ops))
        };
        if front.last_ops.is_some() && front.ended_ms.is_some() {
            return Ok(Some(front));
        }
        // What comes behind it says where it ends: a number above its own end is as safe, and a later time too.
        for name in behind {
            let Some(Ok(segment)) = self.open_segment(name)? else { continue };
            let frame = segment.first_frame().map_err(|e| StorageError::io("read", &segment.path, e))?;
            if let Some(frame) = frame {
                front.last_ops = front.last_ops.or(Some(frame.first_ops - 1));
                front.ended_ms = front.ended_ms.or(Some(frame.now_ms));
                break;
            }
        }
        front.last_ops = front.last_ops.or(end_ops);
        if front.ended_ms.is_none() {
            front.ended_ms = Some(self.opened_after(log.0)?);
        }
        let mut books = self.books();
        if let Some(file) = books.closed.get_mut(&log).and_then(|files| files.front_mut())
            && file.name == front.name
        {
            *file = front.clone();
        }
        Ok(Some(front))
    }

    /// When the log of a closed epoch had ended: the next epoch of which there is a file was opened then, or earlier.
    fn opened_after(&self, epoch: u32) -> Result<i64, StorageError> {
        let (next, running_ms) = {
            let books = self.books();
            let mut later = books.closed.range((epoch + 1, 0)..).filter(|(log, _)| log.0 < books.epoch.0);
            (later.find_map(|(_, files)| Some(files.front()?.name)), books.epoch.1)
        };
        let Some(next) = next else { return Ok(running_ms) };
        let created_ms = match self.open_segment(next)? {
            Some(Ok(segment)) => segment.header.created_ms,
            _ => running_ms,
        };
        Ok(created_ms)
    }

    /// Takes a file out of the books, if it is still to go. True: it is among the free ones now; false: it is to be removed.
    pub(super) fn claim(&self, candidate: &Candidate, now_ms: i64) -> Option<(ClosedFile, PathBuf, bool)> {
        let path = self.path(candidate.name);
        let mut books = self.books();
        if !books.settings_let_go(candidate.ended_ms, now_ms) {
            return None;
        }
        let floor = books.floor(candidate.log);
        let files = books.closed.get_mut(&candidate.log)?;
        let still = files.front().is_some_and(|file| {
            file.name == candidate.name && file.last_ops.is_some_and(|last| last <= floor)
        });
        let file = still.then(|| files.pop_front()).flatten()?;
        if files.is_empty() {
            books.closed.remove(&candidate.log);
        }
        let freed = file.bytes == books.segment_bytes && books.free.len() < books.free_max;
        if freed {
            books.free.push_back(path.clone());
        } else {
            books.bytes = books.bytes.saturating_sub(file.bytes);
        }
        Some((file, path, freed))
    }

    fn has_files_of(&self, epoch: u32) -> bool {
        self.books().closed.range((epoch, 0)..=(epoch, u16::MAX)).next().is_some()
    }
}

impl super::Books {
    /// Whether a file that nobody needs, the oldest, is to go.
    fn settings_let_go(&self, ended_ms: i64, now_ms: i64) -> bool {
        let free_bytes = self.free.len() as u64 * self.segment_bytes;
        let spares_to_come = (self.free_max - self.free.len().min(self.free_max)) as u64 * self.segment_bytes;
        let age_ms = u64::try_from(now_ms.saturating_sub(ended_ms)).unwrap_or(0);
        let is_old = age_ms > self.retention.keep_ms;
        let is_beyond = self.retention.keep_bytes > 0 && self.bytes - free_bytes > self.retention.keep_bytes;
        let is_pressed =
            self.retention.max_bytes > 0 && self.bytes + spares_to_come > self.retention.max_bytes;
        is_old || is_beyond || is_pressed
    }
}
