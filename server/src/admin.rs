//! The admin thread: changes of the catalogue, one at a time. It may wait for the disk; a shard may not.
//!
//! A change is synced to the manifest, then published, then every shard adopts it, and only then is the client that
//! asked for it answered: its next command, on whatever connection and shard, finds the change everywhere.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use windrow_durability::CatalogueStore;
use windrow_engine::alter::Altered;
use windrow_engine::backfill::Boundary;
use windrow_engine::catalogue::Created;
use windrow_engine::{Catalogue, LayoutId};
use windrow_protocol::reply;
use windrow_storage::ImageEntry;
use windrow_window::Definition;

use crate::acl;
use crate::connection::ConnectionId;
use crate::shard::{Message, ShardHandle};
use crate::shared::Shared;
use crate::streams_file::Declared;

/// A message to the admin thread.
pub(crate) enum AdminMessage {
    /// STREAM.CREATE, with the stream behind BACKFILL FROM.
    Create { definition: Definition, source: Option<Box<str>>, asker: Asker },
    /// STREAM.ALTER, with the arguments that follow the stream's name.
    Alter { name: Vec<u8>, args: Vec<Vec<u8>>, asker: Asker },
    /// STREAM.DROP.
    Drop { name: Vec<u8>, asker: Asker },
    /// A stream's layout is filled with earlier events, and complete since then.
    Filled { layout_id: LayoutId, reached_ms: i64 },
    /// FLUSHALL.
    Flush { asker: Asker },
    /// Answer when every shard goes by this version of the users.
    AwaitUsers { version: u64, reply: Vec<u8>, asker: Asker },
    /// ACL LOAD.
    LoadUsers { asker: Asker },
    /// ACL SAVE.
    SaveUsers { asker: Asker },
    /// The number of the next image.
    NextImage { answer: Sender<Result<u64, String>> },
    /// An image is on disk, and the log durable up to its ends: name it. The answer is how many there are now.
    PublishImage { entry: Box<ImageEntry>, answer: Sender<Result<usize, String>> },
    /// A shard uses another version of the catalogue now, or has its records: look again.
    ShardMoved,
    /// No shard runs any more.
    Stop,
}

/// Who is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) shard: usize,
    pub(crate) connection: ConnectionId,
}

/// How often the wait for shards looks whether the server ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often it is looked for log that may go, and when there is more of it.
const RETAIN_EVERY: Duration = Duration::from_secs(1);
/// See [`RETAIN_EVERY`].
const RETAIN_SOON: Duration = Duration::from_millis(10);

/// The admin thread's state.
pub(crate) struct Admin {
    shared: Arc<Shared>,
    store: CatalogueStore,
    messages: Receiver<AdminMessage>,
    /// What came while shards were waited for. Bounded by the number of clients, each of which has one command
    /// here at most, and a message of the snapshot thread.
    postponed: VecDeque<AdminMessage>,
    /// When log files are looked through next.
    retain_at: Instant,
}

impl Admin {
    pub(crate) fn new(shared: Arc<Shared>, store: CatalogueStore, messages: Receiver<AdminMessage>) -> Self {
        Admin { shared, store, messages, postponed: VecDeque::new(), retain_at: Instant::now() }
    }

    /// Runs until [`AdminMessage::Stop`].
    pub(crate) fn run(mut self) -> CatalogueStore {
        loop {
            if Instant::now() >= self.retain_at {
                self.retain();
            }
            let message = match self.postponed.pop_front() {
                Some(message) => message,
                None => {
                    match self.messages.recv_timeout(self.retain_at.saturating_duration_since(Instant::now()))
                    {
                        Ok(message) => message,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => return self.store,
                    }
                }
            };
            match message {
                AdminMessage::Create { definition, source, asker } => {
                    let outcome = self.create(definition, source.as_deref());
                    self.answer(asker, outcome);
                }
                AdminMessage::Alter { name, args, asker } => {
                    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                    let outcome = self.alter(&name, |definition| {
                        definition.altered_with(&args).map_err(|error| error.to_string())
                    });
                    self.answer(asker, outcome);
                }
                AdminMessage::Drop { name, asker } => {
                    let outcome = self.drop(&name);
                    self.answer(asker, outcome);
                }
                AdminMessage::Filled { layout_id, reached_ms } => {
                    if let Some(catalogue) = self.shared.catalogue().filled(layout_id, reached_ms)
                        && let Err(error) = self.change(catalogue)
                    {
                        // Until a restart it is filled; then it is found to be so once more.
                        tracing::error!("the end of a backfill could not be noted: {error}");
                    }
                }
                AdminMessage::Flush { asker } => {
                    let outcome = self.flush();
                    self.answer(asker, outcome);
                }
                AdminMessage::AwaitUsers { version, reply, asker } => {
                    self.wait_for_shards(|shard| shard.uses_users(version));
                    self.reply(asker, reply);
                }
                AdminMessage::LoadUsers { asker } => {
                    let outcome = self.load_users();
                    self.answer(asker, outcome);
                }
                AdminMessage::SaveUsers { asker } => {
                    let outcome = self.save_users();
                    self.answer(asker, outcome);
                }
                AdminMessage::NextImage { answer } => {
                    let number = self.store.directory().next_image().map_err(|error| error.to_string());
                    let _ = answer.send(number);
                }
                AdminMessage::PublishImage { entry, answer } => {
                    let kept = self.shared.config().images_kept;
                    // The snapshot thread may have gone with the server.
                    let _ = answer.send(self.publish_image(*entry, kept));
                }
                // Late for a change that is not waited for any more.
                AdminMessage::ShardMoved => {}
                AdminMessage::Stop => return self.store,
            }
        }
    }

    pub(crate) fn create(&mut self, definition: Definition, source: Option<&str>) -> Result<(), String> {
        let (present, now_ms) = (self.shared.catalogue(), self.shared.clock.now_ms());
        let created = match source {
            None => present.created(definition, now_ms),
            Some(source) => present.created_from(definition, source.as_bytes(), now_ms),
        };
        match created {
            Ok(Created::Same) => Ok(()),
            Ok(Created::New(catalogue)) => {
                self.change(catalogue)?;
                let until = self.boundary();
                self.bound(&until)
            }
            Err(error) => Err(format!("ERR {error}")),
        }
    }

    /// Where each shard's log was when it took the present catalogue over.
    fn boundary(&mut self) -> Boundary {
        let ops = self.shared.shards.iter().map(ShardHandle::adopted_at).collect();
        Boundary { epoch: self.store.directory().manifest().epoch, ops }
    }

    /// Says where *before* ends for backfills that are to begin.
    fn bound(&mut self, until: &Boundary) -> Result<(), String> {
        match self.shared.catalogue().bounded(until) {
            Some(catalogue) => self.change(catalogue),
            None => Ok(()),
        }
    }

    /// The same where a crash came before it could be said, or nothing was counted since the start: what the log holds of earlier epochs.
    pub(crate) fn bound_at_start(&mut self) -> Result<(), String> {
        let ops = vec![0; self.shared.shards.len()];
        let until = Boundary { epoch: self.store.directory().manifest().epoch, ops };
        self.bound(&until)
    }

    fn alter(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&Definition) -> Result<(Definition, bool), String>,
    ) -> Result<(), String> {
        // One that could not be settled before.
        self.settle()?;
        let now_ms = self.shared.clock.now_ms();
        match self.shared.catalogue().altered_with(name, now_ms, change) {
            Ok(Altered::Same) => Ok(()),
            Ok(Altered::New(catalogue)) => {
                self.change(catalogue)?;
                let until = self.boundary();
                self.settle()?;
                self.bound(&until)
            }
            Err(error) => Err(format!("ERR {error}")),
        }
    }

    /// Every shard has what was changed: says so in the manifest, and to the shards.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        match self.shared.catalogue().settled(self.shared.clock.now_ms()) {
            Some(catalogue) => self.change(catalogue),
            None => Ok(()),
        }
    }

    /// Makes a stream of the streams file: creates it, or alters it where it differs.
    pub(crate) fn declare(&mut self, declared: Declared) -> Result<(), String> {
        let Declared { definition, source } = declared;
        let present = self.shared.catalogue();
        match present.stream(definition.name.as_bytes()) {
            Some(stream) if !stream.definition.same_as(&definition) => {
                tracing::info!(
                    "stream '{}' is altered to what the streams file says:{}",
                    definition.name,
                    stream.definition.diff(&definition)
                );
                self.alter(definition.name.as_bytes(), |present| {
                    present.altered_to(&definition).map(|altered| (altered, false))
                })
            }
            Some(_) => Ok(()),
            None => self.create(definition, source.as_deref()),
        }
    }

    fn drop(&mut self, name: &[u8]) -> Result<(), String> {
        let catalogue = self.shared.catalogue();
        let filled = catalogue.stream(name).and_then(|stream| catalogue.filled_from(stream.id));
        if let Some(filled) = filled {
            return Err(format!(
                "ERR stream '{}' is being filled from it: drop that one first, or wait until its backfill has finished",
                filled.definition.name
            ));
        }
        match catalogue.dropped(name) {
            Some(catalogue) => self.change(catalogue),
            None => Err(format!("ERR no such stream '{}'", String::from_utf8_lossy(name))),
        }
    }

    /// Gives back log that nothing needs, as the settings say; a bounded amount.
    fn retain(&mut self) {
        let config = self.shared.config();
        let now_ms = self.shared.clock.now_ms();
        let directory = self.store.directory();
        directory.files().set_retention(config.retention());
        let has_more = match directory.retain(now_ms) {
            Ok(retained) => retained.more,
            Err(error) => {
                // Nothing is lost by it; a log that has failed says so elsewhere.
                tracing::debug!("log files could not be given back: {error}");
                false
            }
        };
        self.retain_at = Instant::now() + if has_more { RETAIN_SOON } else { RETAIN_EVERY };
    }

    /// Names an image in the manifest; gives how many it names now.
    fn publish_image(&mut self, entry: ImageEntry, kept: usize) -> Result<usize, String> {
        let entry = ImageEntry { ended_ms: Some(self.shared.clock.now_ms()), ..entry };
        let directory = self.store.directory();
        let published = directory.publish_image(entry, kept).map_err(|error| error.to_string())?;
        for image in published.given_up {
            tracing::debug!("image {image} is too old, or not whole: it goes");
        }
        if let Some(warning) = published.warning {
            tracing::warn!("{warning}");
        }
        let images = directory.manifest().images.len();
        // It may have set log free.
        self.retain_at = Instant::now();
        Ok(images)
    }

    /// Every stream begins anew under another id: what the old ones had goes as it does after STREAM.DROP.
    fn flush(&mut self) -> Result<(), String> {
        match self.shared.catalogue().flushed(self.shared.clock.now_ms()) {
            Some(catalogue) => self.change(catalogue),
            None => Ok(()),
        }
    }

    /// Replaces users by those of the file, and waits until every shard goes by them.
    fn load_users(&mut self) -> Result<(), String> {
        let config = self.shared.config();
        let path = config.aclfile.as_deref().ok_or("ERR there is no aclfile")?;
        let version = acl::read_file(path, &config.requirepass)
            .and_then(|loaded| {
                self.shared.acl.change(|users| {
                    users.replace(&loaded);
                    Ok(())
                })
            })
            .map(|((), version)| version)
            .map_err(|error| format!("ERR {error}"))?;
        self.shared.wake_all();
        self.wait_for_shards(|shard| shard.uses_users(version));
        Ok(())
    }

    fn save_users(&self) -> Result<(), String> {
        let config = self.shared.config();
        let path = config.aclfile.as_deref().ok_or("ERR there is no aclfile")?;
        acl::write_file(path, &self.shared.acl.users()).map_err(|error| {
            tracing::error!("the ACL file {} cannot be written: {error}", path.display());
            format!("ERR There was an error trying to save the ACLs: {error}")
        })
    }

    fn change(&mut self, catalogue: Catalogue) -> Result<(), String> {
        self.store.save(&catalogue).map_err(|error| misconf(&error))?;
        let version = catalogue.version;
        self.shared.publish_catalogue(Arc::new(catalogue));
        self.shared.wake_all();
        self.wait_for_shards(|shard| shard.uses_catalogue(version));
        Ok(())
    }

    /// Waits until every shard has its records.
    pub(crate) fn wait_until_loaded(&mut self) {
        self.wait_for_shards(ShardHandle::is_loaded);
    }

    /// Waits until `holds` of every shard. What a shard says counts, not how often it says it: a shard whose
    /// thread starts only now has the newest catalogue from the beginning.
    fn wait_for_shards(&mut self, holds: impl Fn(&ShardHandle) -> bool) {
        while !self.shared.shards.iter().all(&holds) {
            match self.messages.recv_timeout(LOOK_EVERY) {
                Ok(AdminMessage::ShardMoved) => {}
                Ok(AdminMessage::Stop) => {
                    self.postponed.push_front(AdminMessage::Stop);
                    return;
                }
                Ok(other) => self.postponed.push_back(other),
                Err(RecvTimeoutError::Timeout) if self.shared.ending.is_requested() => return,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn answer(&self, asker: Asker, outcome: Result<(), String>) {
        let mut bytes = Vec::new();
        match outcome {
            Ok(()) => bytes.extend_from_slice(reply::OK),
            Err(text) => reply::error(&mut bytes, &text),
        }
        self.reply(asker, bytes);
    }

    fn reply(&self, asker: Asker, reply: Vec<u8>) {
        let message = Message::Answered { connection: asker.connection, reply };
        self.shared.shards[asker.shard].send(message);
    }
}

fn misconf(error: &dyn Display) -> String {
    format!("MISCONF the change could not be made durable: {error}")
}
