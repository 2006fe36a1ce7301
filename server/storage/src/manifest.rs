//! The manifest: what a data directory says about itself. One small file, replaced atomically, readable by people.
//!
//! ```text
//! {                                  JSON
//!   "format": 3,                    the lowest that has all that is, or was, in it
//!   "epoch": 4,                      the newest epoch; a start opens the next
//!   "hash_key": "00f1…",             128 bits, keys the entity index; made when the directory was
//!   "catalogue": { "version", "next_stream_id", "next_layout_id", "streams": [ … ] },
//!   "epochs": [                      every epoch that has operations, ascending; the last is the one being written
//!     { "epoch": 4, "shards": 2, "ends": [
//!       { "shard": 0, "segment": 1, "offset": 8192, "ops": 700,     read so far and no further: the cut
//!         "tail": { "opened_epoch": 5, "offset": 4800, "ops": 712 } }  and then this file, which carries on
//!   ] } ],
//!   "epochs_given_back": 1,          the log of this epoch and those before is gone; absent: none is
//!   "images": [ { "image": 3, "epoch": 4, "starts": [ … ], "ends": [ … ], … } ]    ascending; absent: none
//! }
//! crc32 89abcdef                     of all bytes before this line
//! ```
//!
//! Its states are three: *empty* (no file), *present*, *unreadable*. Unreadable is never taken for empty.
//!
//! **Format number.** A server must refuse what it cannot honour, and one of format 1 takes the log for the whole history. So the
//! number is 1 until the manifest first names an image (log may go after that), and 2 from then on. A server of format 2 takes every sum
//! of integers for 64 bits wide, in the records of images and in MERGE operations: so it is 3 for ever after a layout has `narrow_sums`.

mod image;
#[cfg(test)]
mod tests;

pub use image::{IMAGES_MAX, ImageEntry};

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::StorageError;
use crate::disk::{Disk, OpenMode, read_full_at};

/// Newest version of the manifest format: with layouts whose sums are narrow.
pub const MANIFEST_FORMAT: u32 = 3;
/// The one before it: with images, and a log that need not begin at the beginning.
const MANIFEST_FORMAT_IMAGES: u32 = 2;
/// Oldest version that is read; written as long as nothing needs the newer one.
pub const MANIFEST_FORMAT_OLDEST: u32 = 1;
/// Name of the manifest in a data directory.
pub const MANIFEST_FILE: &str = "manifest";
/// Largest manifest.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024 * 1024;

const CHECKSUM_LINE: &str = "crc32 ";
/// Length of "crc32 89abcdef\n".
const CHECKSUM_LINE_BYTES: usize = CHECKSUM_LINE.len() + 8 + 1;

/// What a data directory says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format; [`Manifest::raise_format`] sets it.
    pub format: u32,
    /// The newest epoch; 0 before the first start has finished.
    pub epoch: u32,
    /// Secret key of the entity index.
    #[serde(with = "hex_key")]
    pub hash_key: u128,
    /// The streams.
    pub catalogue: Catalogue,
    /// The epochs with operations.
    pub epochs: Vec<EpochEntry>,
    /// The newest epoch whose operations were all given back: no replay can begin in it or before. 0: there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epochs_given_back: u32,
    /// The published images, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageEntry>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The streams of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Counts the changes.
    pub version: u64,
    /// Id of the next stream; ids are never reused.
    pub next_stream_id: u32,
    /// Id of the next layout; ids are never reused.
    pub next_layout_id: u32,
    /// The streams, in the order of their creation.
    pub streams: Vec<StreamEntry>,
}

/// One stream, opaque to this crate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEntry {
    /// Id of the stream.
    pub id: u32,
    /// Id of its layout.
    pub layout_id: u32,
    /// Its name.
    pub name: String,
    /// Its definition, as text.
    pub definition: String,
    /// When it was created.
    pub created_ms: i64,
    /// When its layout was everywhere, if the stream was altered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// How its layout was, or is being, filled with earlier events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
    /// Whether records of its layout have sums that are narrower than 64 bits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub narrow_sums: bool,
    /// The layouts it had before, oldest first; the log names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older: Vec<LayoutEntry>,
}

/// A layout that a stream had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutEntry {
    /// Id of the layout.
    pub layout_id: u32,
    /// The definition, as text.
    pub definition: String,
    /// When it was everywhere, if it was not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// How it was filled with earlier events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
    /// Whether its records have sums that are narrower than 64 bits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub narrow_sums: bool,
}

/// How a layout is filled with earlier events out of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// The layout's id in records that lack them.
    pub awaiting: u32,
    /// The stream whose events they are, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u32>,
    /// The stream's clock when its own earlier events were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ms: Option<i64>,
    /// Where they end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Boundary>,
    /// Since when the layout is complete, once it is filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_ms: Option<i64>,
}

/// A place in the logs of all shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// The epoch.
    pub epoch: u32,
    /// The last operation of each shard's log.
    pub ops: Vec<u64>,
}

/// When every shard had a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// By the server's clock.
    pub at_ms: i64,
    /// By the stream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ms: Option<i64>,
}

/// An epoch of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: u32,
    /// How many shards it had.
    pub shards: u16,
    /// Where each shard's log ends, by shard; empty for the epoch that is being written.
    pub ends: Vec<LogEnd>,
}

/// Where the log of a shard in a closed epoch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEnd {
    /// The shard in that epoch.
    pub shard: u16,
    /// The last segment that is read.
    pub segment: u32,
    /// How far it is read.
    pub offset: u64,
    /// The last operation in what is read.
    pub ops: u64,
    /// What recovery carried over from behind the cut.
    pub tail: Option<TailEnd>,
}

/// A tail file and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailEnd {
    /// Epoch of the start that wrote it.
    pub opened_epoch: u32,
    /// How far it is read.
    pub offset: u64,
    /// The last operation in it.
    pub ops: u64,
}

impl LogEnd {
    /// The last operation of the log, tail included.
    pub fn last_ops(&self) -> u64 {
        self.tail.map_or(self.ops, |tail| tail.ops)
    }
}

impl Manifest {
    /// The manifest of a new data directory.
    pub fn new(hash_key: u128) -> Manifest {
        let catalogue = Catalogue { version: 0, next_stream_id: 1, next_layout_id: 1, streams: Vec::new() };
        Manifest {
            format: MANIFEST_FORMAT_OLDEST,
            epoch: 0,
            hash_key,
            catalogue,
            epochs: Vec::new(),
            epochs_given_back: 0,
            images: Vec::new(),
        }
    }

    /// Raises the format number to what the contents need. It never falls again: where an image has been, log may be missing.
    pub fn raise_format(&mut self) {
        self.format = self.format.max(self.format_needed());
    }

    /// The lowest format whose servers understand this manifest. Whoever adds a field that an older server must not ignore adds it
    /// here.
    fn format_needed(&self) -> u32 {
        let streams = &self.catalogue.streams;
        let has_narrow_sums = streams
            .iter()
            .any(|stream| stream.narrow_sums || stream.older.iter().any(|older| older.narrow_sums));
        // A server that knows no backfill could not read its operations.
        let is_filled = streams.iter().any(|stream| {
            stream.backfill.is_some() || stream.older.iter().any(|older| older.backfill.is_some())
        });
        if has_narrow_sums {
            MANIFEST_FORMAT
        } else if is_filled || !self.images.is_empty() || self.epochs_given_back > 0 {
            MANIFEST_FORMAT_IMAGES
        } else {
            MANIFEST_FORMAT_OLDEST
        }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>, StorageError> {
        assert!(self.format >= self.format_needed(), "format {} is too low for what it holds", self.format);
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        bytes.push(b'\n');
        let line = checksum_line(&bytes);
        bytes.extend_from_slice(line.as_bytes());
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(StorageError::ManifestTooLarge { bytes: bytes.len(), bytes_max: MANIFEST_BYTES_MAX });
        }
        Ok(bytes)
    }

    /// Reads the bytes of the file; the error is for people.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, String> {
        let Some(body_bytes) = bytes.len().checked_sub(CHECKSUM_LINE_BYTES) else {
            return Err(format!("it has only {} bytes", bytes.len()));
        };
        let (body, line) = bytes.split_at(body_bytes);
        if line != checksum_line(body).as_bytes() {
            return Err("its checksum does not match its contents".to_owned());
        }
        // The version first: a later format may have other fields, and the person should read which version it is.
        let version: FormatOnly = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if !(MANIFEST_FORMAT_OLDEST..=MANIFEST_FORMAT).contains(&version.format) {
            return Err(format!(
                "format {} is none of {MANIFEST_FORMAT_OLDEST} to {MANIFEST_FORMAT}, which this server reads",
                version.format
            ));
        }
        let manifest: Manifest = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether it can be true; the error is for people. One that cannot is not read.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.format < self.format_needed() {
            return Err(format!(
                "format {} cannot say what it says, which takes format {}",
                self.format,
                self.format_needed()
            ));
        }
        self.check_epochs()?;
        image::check(&self.images, self)
    }

    fn check_epochs(&self) -> Result<(), String> {
        let mut before = self.epochs_given_back;
        for (index, entry) in self.epochs.iter().enumerate() {
            let EpochEntry { epoch, shards, ref ends } = *entry;
            if epoch <= before || epoch > self.epoch {
                return Err(format!(
                    "epoch {epoch} is listed after epoch {before}, and the newest is {}",
                    self.epoch
                ));
            }
            let is_open = index + 1 == self.epochs.len() && epoch == self.epoch;
            let expected_ends = if is_open { 0 } else { usize::from(shards) };
            let in_order = ends.iter().zip(0..).all(|(end, shard)| end.shard == shard);
            if ends.len() != expected_ends || !in_order {
                return Err(format!("the ends of epoch {epoch} do not fit its {shards} shards"));
            }
            before = epoch;
        }
        let open_epoch = self.epochs.last().map_or(0, |entry| entry.epoch);
        if open_epoch != self.epoch {
            return Err(format!("the newest epoch {} is not listed", self.epoch));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

fn checksum_line(body: &[u8]) -> String {
    format!("{CHECKSUM_LINE}{:08x}\n", crc32fast::hash(body))
}

/// What stands where the manifest should be.
#[derive(Debug)]
pub enum ManifestState {
    /// There is no file.
    Empty,
    /// A good one.
    Present(Manifest),
    /// A file that cannot be trusted, and why.
    Unreadable(String),
}

impl ManifestState {
    /// Looks at the manifest of `dir`.
    pub fn read(disk: &dyn Disk, dir: &Path) -> ManifestState {
        let file = match disk.open(&dir.join(MANIFEST_FILE), OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return ManifestState::Empty,
            Err(error) => return ManifestState::Unreadable(error.to_string()),
        };
        let read = || -> io::Result<Vec<u8>> {
            let len = file.len()?;
            if len > MANIFEST_BYTES_MAX as u64 {
                return Err(io::Error::other(format!("{len} bytes are more than {MANIFEST_BYTES_MAX}")));
            }
            let mut bytes = vec![0; len as usize];
            let read = read_full_at(file.as_ref(), &mut bytes, 0)?;
            bytes.truncate(read);
            Ok(bytes)
        };
        match read().map_err(|error| error.to_string()).and_then(|bytes| Manifest::decode(&bytes)) {
            Ok(manifest) => ManifestState::Present(manifest),
            Err(reason) => ManifestState::Unreadable(reason),
        }
    }
}

mod hex_key {
    //! The key as 32 hexadecimal digits: JSON numbers are not meant for 128 bits.

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{key:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u128::from_str_radix(&digits, 16).map_err(D::Error::custom)
    }
}
