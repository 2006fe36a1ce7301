//! The catalogue in the manifest: from the engine's entries to the storage's and back.

use windrow_engine::alter::{Settled, Version};
use windrow_engine::backfill::{Backfill, Boundary};
use windrow_engine::catalogue::{CatalogueError, StreamEntry};
use windrow_engine::{Catalogue, LayoutId, StreamId};
use windrow_storage::{DataDir, Manifest, StorageError};

/// The catalogue's place on disk.
pub struct CatalogueStore {
    directory: DataDir,
}

impl CatalogueStore {
    /// The catalogue of this directory.
    #[must_use]
    pub fn new(directory: DataDir) -> Self {
        CatalogueStore { directory }
    }

    /// The directory, for what else its manifest says.
    pub fn directory(&mut self) -> &mut DataDir {
        &mut self.directory
    }

    /// Replaces the catalogue on disk; durable when it returns.
    ///
    /// # Errors
    /// The manifest could not be replaced.
    pub fn save(&mut self, catalogue: &Catalogue) -> Result<(), StorageError> {
        let version = self.directory.update_catalogue(|stored| {
            stored.next_stream_id = catalogue.next_stream_id;
            stored.next_layout_id = catalogue.next_layout_id;
            stored.streams = catalogue.entries().into_iter().map(to_stored).collect();
        })?;
        assert_eq!(version, catalogue.version, "every change of the catalogue goes to the manifest");
        Ok(())
    }
}

/// The catalogue that a manifest holds.
///
/// # Errors
/// The entries are not those of one catalogue.
pub fn load(manifest: &Manifest) -> Result<Catalogue, CatalogueError> {
    let stored = &manifest.catalogue;
    let entries: Vec<StreamEntry> = stored.streams.iter().map(from_stored).collect();
    Catalogue::from_entries(stored.version, stored.next_stream_id, stored.next_layout_id, &entries)
}

fn to_stored(entry: StreamEntry) -> windrow_storage::StreamEntry {
    windrow_storage::StreamEntry {
        id: entry.id,
        layout_id: entry.layout_id,
        name: entry.name,
        definition: entry.definition,
        created_ms: entry.created_ms,
        settled: entry.settled.map(settled_to_stored),
        backfill: entry.backfill.map(backfill_to_stored),
        older: entry
            .older
            .into_iter()
            .map(|version| windrow_storage::LayoutEntry {
                layout_id: version.layout_id,
                definition: version.definition,
                settled: version.settled.map(settled_to_stored),
                backfill: version.backfill.map(backfill_to_stored),
            })
            .collect(),
    }
}

fn settled_to_stored(settled: Settled) -> windrow_storage::Settled {
    windrow_storage::Settled { at_ms: settled.at_ms, clock_ms: settled.clock_ms }
}

fn settled_from_stored(settled: windrow_storage::Settled) -> Settled {
    Settled { at_ms: settled.at_ms, clock_ms: settled.clock_ms }
}

fn backfill_to_stored(backfill: Backfill) -> windrow_storage::Backfill {
    windrow_storage::Backfill {
        awaiting: backfill.awaiting.0,
        source: backfill.source.map(|source| source.0),
        asked_ms: backfill.asked_ms,
        until: backfill.until.map(|until| windrow_storage::Boundary { epoch: until.epoch, ops: until.ops }),
        reached_ms: backfill.reached_ms,
    }
}

fn backfill_from_stored(backfill: &windrow_storage::Backfill) -> Backfill {
    Backfill {
        awaiting: LayoutId(backfill.awaiting),
        source: backfill.source.map(StreamId),
        asked_ms: backfill.asked_ms,
        until: backfill.until.as_ref().map(|until| Boundary { epoch: until.epoch, ops: until.ops.clone() }),
        reached_ms: backfill.reached_ms,
    }
}

fn from_stored(entry: &windrow_storage::StreamEntry) -> StreamEntry {
    StreamEntry {
        id: entry.id,
        layout_id: entry.layout_id,
        name: entry.name.clone(),
        definition: entry.definition.clone(),
        created_ms: entry.created_ms,
        settled: entry.settled.map(settled_from_stored),
        backfill: entry.backfill.as_ref().map(backfill_from_stored),
        older: entry
            .older
            .iter()
            .map(|version| Version {
                layout_id: version.layout_id,
                definition: version.definition.clone(),
                settled: version.settled.map(settled_from_stored),
                backfill: version.backfill.as_ref().map(backfill_from_stored),
            })
            .collect(),
    }
}
