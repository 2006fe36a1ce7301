//! From a data directory as it was left to shards with everything in it: the newest image that is good, and the log behind it.
//!
//! ```text
//!   images      newest first: linked where it lies if there are as many shards as there were, else dealt anew;
//!               a damaged one is put aside, and the one before is tried
//!   log         what is behind the image, or all of it, dealt to the shards
//!   then        the caller sets its clock and opens the next epoch
//! ```
//!
//! Nothing here knows a thread: building shards and applying operations is given to [`Workers`], in an order that makes no difference.
//!
//! What an image says of records it does not look at: their words are copied when they are first met, each chunk against its checksum.
//! A chunk that turns out to be damaged then is for [`OnLost`], which puts the file aside and starts all over: the next start takes the
//! image before.

mod image;
#[cfg(test)]
mod tests;
mod workers;

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use windrow_engine::op::OpError;
use windrow_engine::{Catalogue, HashKey, Shard, ShardConfig};
use windrow_memory::{ChunkLost, Domain, MemoryError};
use windrow_storage::image::{ImageError, ImageName};
use windrow_storage::{
    ImageEntry, Manifest, Position, Recovery, ReplayFrom, Replayed, ReplayedFrame, StorageError, StreamEntry,
};

use crate::replay::Dealer;
use image::Unusable;

pub use workers::{Job, Sequential, Workers};

/// What a start makes of a data directory.
pub struct Setup<'a> {
    /// The streams, as the manifest has them.
    pub catalogue: &'a Catalogue,
    /// How many shards there are to be.
    pub shards: u16,
    /// Of one shard; 0: no limit.
    pub maxmemory_bytes: usize,
    /// Address range of one shard.
    pub reserved_bytes: usize,
    /// Whose participants read the shards.
    pub domain: &'a Arc<Domain>,
    /// Who is told when a chunk of the image cannot be had.
    pub on_lost: Arc<dyn OnLost>,
}

/// Takes the news that a chunk of the image cannot be had, from whichever thread needs it.
pub trait OnLost: Send + Sync {
    /// Nothing can go on without the chunk: this does not return. If the file is [damaged](ChunkLost::Damaged) it is to be
    /// [put aside](windrow_storage::image::quarantine), so that the next start takes the image before.
    fn lost(&self, image: ImageName, why: ChunkLost) -> !;

    /// The disk did not read a chunk: it is asked again when this returns. `failures`: how often that was.
    fn wait_for_disk(&self, failures: u32);

    /// The disk does not read a chunk, however often it is asked. Nothing can go on, but the file may be whole: it is not to be put
    /// aside.
    fn unreadable(&self, image: ImageName, error: &ImageError) -> !;
}

/// Looks on.
pub trait Watch: Sync {
    /// So far it has come.
    fn progress(&self, progress: Progress);

    /// Whether the start is to be given up.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// How far a start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being read.
    pub phase: Phase,
    /// Bytes of it that are read.
    pub done_bytes: u64,
    /// Bytes of it, as far as that is known.
    pub total_bytes: u64,
    /// Operations of the log that were read.
    pub operations: u64,
}

/// What a start is reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An image.
    Image,
    /// The log.
    Log,
}

/// Shards that have everything, and the log that is to be opened for them.
pub struct Loaded {
    /// The log: [`Replayed::start`] opens the next epoch.
    pub replayed: Replayed,
    /// By number.
    pub shards: Vec<Shard>,
    /// The image they were made from; `None`: from the log alone.
    pub image: Option<u64>,
    /// The image was of another number of shards: nothing of it is linked, and a new one should be taken soon.
    pub is_redealt: bool,
    /// Images that could not be used, newest first.
    pub unusable: Vec<UnusableImage>,
    /// The latest time that image or log know of: the server's clock must not start before it.
    pub latest_now_ms: Option<i64>,
}

/// An image that could not be used.
#[derive(Debug)]
pub struct UnusableImage {
    /// Its number.
    pub image: u64,
    /// Why.
    pub reason: String,
    /// Where the damaged file is now; `None`: nothing was put aside.
    pub put_aside: Option<PathBuf>,
}

impl fmt::Display for UnusableImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {:08x} cannot be used: {}", self.image, self.reason)?;
        match &self.put_aside {
            Some(path) => write!(f, " (put aside as {})", path.display()),
            None => Ok(()),
        }
    }
}

/// Why a start failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The log cannot be read.
    Storage(StorageError),
    /// An operation that the log gave back whole cannot be applied.
    Operation(OpError),
    /// The system gives no memory for records.
    Memory(MemoryError),
    /// An image is of a format that this version does not know.
    Format(ImageError),
    /// A file of an image is whole, and what is in it is of a format that this version does not know.
    FormatOfState {
        /// The file.
        image: ImageName,
        /// What this version does not know.
        reason: String,
    },
    /// Images cannot be used, and the log has not all that is needed without them.
    NothingToStartFrom {
        /// Why the images cannot be used.
        unusable: Vec<UnusableImage>,
        /// What the log lacks.
        log: StorageError,
    },
    /// [`Watch::is_cancelled`].
    Cancelled,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Operation(error) => write!(f, "the log holds what this version cannot apply: {error}"),
            Self::Memory(error) => write!(f, "record memory: {error}"),
            Self::Format(error) => write!(f, "{error}: start the version that wrote it, or a later one"),
            Self::FormatOfState { image, reason } => write!(
                f,
                "the image {image} is of another version ({reason}): start the version that wrote it, or a later one"
            ),
            Self::NothingToStartFrom { unusable, log } => {
                unusable.iter().try_for_each(|image| write!(f, "{image}. "))?;
                f.write_str("And without it the log does not do: ")?;
                match log.corruption() {
                    Some(damage) => write!(f, "{damage}")?,
                    None => write!(f, "{log}")?,
                }
                f.write_str(
                    ". Bring the files of an image, as the manifest names them, or of the log back from a copy of this directory; \
                     or move the directory away and begin with an empty one.",
                )
            }
            Self::Cancelled => f.write_str("the server was asked to end while it was loading"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Storage(error) | Self::NothingToStartFrom { log: error, .. } => Some(error),
            Self::Operation(error) => Some(error),
            Self::Memory(error) => Some(error),
            Self::Format(error) => Some(error),
            Self::FormatOfState { .. } | Self::Cancelled => None,
        }
    }
}

/// Brings back what the directory holds. The next epoch is not open yet: the caller's clock comes first, see
/// [`Loaded::latest_now_ms`].
///
/// # Errors
/// [`StartError`]; damaged images are put aside, else nothing is changed.
///
/// # Panics
/// When the system has no memory left for what the log holds.
pub fn load(
    recovery: Recovery,
    setup: &Setup<'_>,
    workers: &dyn Workers,
    watch: &dyn Watch,
) -> Result<Loaded, StartError> {
    let config = shard_config(&recovery, setup);
    let mut unusable = Vec::new();
    let (shards, image) = match from_images(&recovery, setup, config, workers, watch, &mut unusable)? {
        Some((shards, entry)) => (shards, Some(entry)),
        None => {
            let shards = (0..setup.shards).map(|_| Shard::new(config, setup.domain));
            (shards.collect::<Result<_, _>>().map_err(StartError::Memory)?, None)
        }
    };
    let settled_ms = latest_settled_ms(recovery.manifest());
    let replayed = replay(recovery, setup.catalogue, shards, image.as_ref(), workers, watch);
    let (mut replayed, mut shards) =
        match replayed {
            // A repair of the log would give up everything then.
            Err(StartError::Storage(
                log @ (StorageError::LogGivenBack { .. } | StorageError::Corrupt(_)),
            )) if !unusable.is_empty() => return Err(StartError::NothingToStartFrom { unusable, log }),
            replayed => replayed?,
        };
    replayed.note_unusable(unusable.iter().map(|unusable| unusable.image));
    shards.iter_mut().for_each(Shard::end_replay);
    // What the image holds of later operations may be in log that is passed over.
    let image_ms =
        image.as_ref().map(|image| image.ended_ms.unwrap_or(image.created_ms).max(image.created_ms));
    let latest_now_ms = replayed.report().latest_now_ms.max(image_ms).max(settled_ms);
    let is_redealt = image.as_ref().is_some_and(|image| image.shards != setup.shards);
    Ok(Loaded {
        replayed,
        shards,
        image: image.map(|image| image.image),
        is_redealt,
        unusable,
        latest_now_ms,
    })
}

/// When a layout was everywhere last: records are without what was too old by then, so no clock may be before it.
fn latest_settled_ms(manifest: &Manifest) -> Option<i64> {
    let of = |stream: &StreamEntry| {
        let older = stream.older.iter().map(|layout| layout.settled);
        older.chain([stream.settled]).flatten().map(|settled| settled.at_ms).max()
    };
    manifest.catalogue.streams.iter().filter_map(of).max()
}

fn shard_config(recovery: &Recovery, setup: &Setup<'_>) -> ShardConfig {
    let key = recovery.manifest().hash_key;
    ShardConfig {
        hash_key: HashKey([(key >> 64) as u64, key as u64]),
        maxmemory_bytes: setup.maxmemory_bytes,
        reserved_bytes: setup.reserved_bytes,
    }
}

/// The shards of the newest image that can be used.
fn from_images(
    recovery: &Recovery,
    setup: &Setup<'_>,
    config: ShardConfig,
    workers: &dyn Workers,
    watch: &dyn Watch,
    unusable: &mut Vec<UnusableImage>,
) -> Result<Option<(Vec<Shard>, ImageEntry)>, StartError> {
    let (disk, dir) = recovery.images();
    for entry in recovery.manifest().images.iter().rev() {
        let source = image::Source { disk: &disk, dir: &dir, entry };
        let failed = match image::build(&source, setup, config, workers, watch) {
            Ok(shards) => return Ok(Some((shards, entry.clone()))),
            Err(failed) => failed,
        };
        let (reason, put_aside) = match failed {
            Unusable::Fatal(error) => return Err(error),
            Unusable::Unreadable(error) => (error.to_string(), None),
            Unusable::Damaged { shard, reason } => {
                let name = ImageName { image: entry.image, shard };
                match windrow_storage::image::quarantine(disk.as_ref(), &dir, name) {
                    Ok(path) => (reason, Some(path)),
                    Err(error) => (format!("{reason}; and it cannot be put aside: {error}"), None),
                }
            }
        };
        unusable.push(UnusableImage { image: entry.image, reason, put_aside });
    }
    Ok(None)
}

fn replay(
    recovery: Recovery,
    catalogue: &Catalogue,
    shards: Vec<Shard>,
    image: Option<&ImageEntry>,
    workers: &dyn Workers,
    watch: &dyn Watch,
) -> Result<(Replayed, Vec<Shard>), StartError> {
    let from = image.map(ReplayFrom::from);
    let mut recovery = Some(recovery);
    let mut replayed = None;
    let mut read = |dealer: &mut Dealer<'_>| {
        let operations = Cell::new(0);
        let mut on_frame = |frame: ReplayedFrame<'_>| {
            if watch.is_cancelled() {
                return Err("it was cancelled".into());
            }
            dealer.deal_behind(seen(from.as_ref(), &frame)?, frame.first.pack(), frame.ops)?;
            operations.set(operations.get() + u64::from(frame.op_count));
            Ok(())
        };
        let mut on_progress = |done_bytes, total_bytes| {
            let operations = operations.get();
            watch.progress(Progress { phase: Phase::Log, done_bytes, total_bytes, operations });
        };
        let recovery = recovery.take().expect("the log is read once");
        let read = recovery.replay(from.as_ref(), &mut on_frame, &mut on_progress);
        replayed = Some(read.map_err(|error| match watch.is_cancelled() {
            true => StartError::Cancelled,
            false => StartError::Storage(error),
        })?);
        Ok(())
    };
    let shards = workers.replay(catalogue, shards, &mut read)?;
    Ok((replayed.expect("who applies operations has them read"), shards))
}

/// The packed position up to which an image has seen the log of a frame before it was begun: the first frame may begin before that.
fn seen(from: Option<&ReplayFrom>, frame: &ReplayedFrame<'_>) -> Result<u64, StorageError> {
    match from {
        Some(from) if from.epoch == frame.first.epoch() => {
            Ok(Position::new(from.epoch, from.starts[usize::from(frame.shard)])?.pack())
        }
        _ => Ok(0),
    }
}
