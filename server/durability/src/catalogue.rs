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
        narrow_sums: entry.narrow_sums,
        older: entry
            .older
            .into_iter()
            .map(|version| windrow_storage::LayoutEntry {
                layout_id: version.layout_id,
                definition: version.definition,
                settled: version.settled.map(settled_to_stored),
                backfill: version.backfill.map(backfill_to_stored),
                narrow_sums: version.narrow_sums,
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
        narrow_sums: entry.narrow_sums,
        older: entry
            .older
            .iter()
            .map(|version| Version {
                layout_id: version.layout_id,
                definition: version.definition.clone(),
                settled: version.settled.map(settled_from_stored),
                backfill: version.backfill.as_ref().map(backfill_from_stored),
                narrow_sums: version.narrow_sums,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use windrow_engine::alter::Altered;
    use windrow_engine::catalogue::Created;
    use windrow_window::{Definition, Layout, Sums};

    use super::*;

    fn created(text: &str) -> Catalogue {
        let definition = Definition::parse_text("s", text).unwrap();
        let Created::New(catalogue) = Catalogue::default().created(definition, 0).unwrap() else {
            panic!("it is new")
        };
        catalogue
    }

    fn altered(catalogue: &Catalogue, words: &[&[u8]]) -> Catalogue {
        let change = |definition: &Definition| definition.altered(words).map_err(|error| error.to_string());
        let Altered::New(pending) = catalogue.altered(b"s", 1, change).unwrap() else { panic!("it changes") };
        pending.settled(2).unwrap()
    }

    fn manifest(catalogue: &Catalogue) -> Manifest {
        let mut manifest = Manifest::new(1);
        let stored = &mut manifest.catalogue;
        stored.version = catalogue.version;
        stored.next_stream_id = catalogue.next_stream_id;
        stored.next_layout_id = catalogue.next_layout_id;
        stored.streams = catalogue.entries().into_iter().map(to_stored).collect();
        manifest.raise_format();
        Manifest::decode(&manifest.encode().unwrap()).unwrap()
    }

    /// How many bytes a full entity takes with each layout, oldest first.
    fn bytes_of(catalogue: &Catalogue) -> Vec<usize> {
        let layouts = 0..catalogue.next_layout_id;
        let bytes = |id| catalogue.as_of(LayoutId(id)).map(|stream| Layout::full_bytes(&stream.layout));
        layouts.filter_map(bytes).collect()
    }

    const STREAM: &str = "FIELDS n INT x FLOAT WINDOWS 10s@1s AGGREGATE sum(n) SKEW 0s REJECT RETAIN 0s";

    #[test]
    fn a_layout_keeps_the_width_of_sums_that_it_was_made_with() {
        let new = created(STREAM);
        // Eleven sums: of 16 bits in three words, or of 64.
        assert_eq!(bytes_of(&new), [8 * (3 + 3)]);
        assert_eq!(bytes_of(&load(&manifest(&new)).unwrap()), [8 * (3 + 3)]);
        let mut of_a_server_before = manifest(&new);
        of_a_server_before.catalogue.streams[0].narrow_sums = false;
        let old = load(&of_a_server_before).unwrap();
        assert_eq!(bytes_of(&old), [8 * (3 + 11)]);
        // What an ALTER makes is narrow, and what was there stays as it is; also once that is settled and read again.
        let both = altered(&old, &[b"ADD", b"AGGREGATE", b"sum(x)"]);
        let expected = [8 * (3 + 11), 8 * (3 + 3 + 11)];
        assert_eq!(bytes_of(&both), expected);
        assert_eq!(bytes_of(&load(&manifest(&both)).unwrap()), expected);
    }

    /// What an ALTER left of a server that knew wide sums alone.
    fn loaded_wide(catalogue: &Catalogue) -> Catalogue {
        let mut manifest = manifest(catalogue);
        for stream in &mut manifest.catalogue.streams {
            stream.narrow_sums = false;
            stream.older.iter_mut().for_each(|older| older.narrow_sums = false);
        }
        load(&manifest).unwrap()
    }

    /// That the stream has two layouts, and what its backfill finds a third one, of eleven or twice eleven sums of 64 bits, also when
    /// they are saved and read again.
    fn assert_wide(catalogue: &Catalogue, when: &str) {
        let saved = manifest(catalogue);
        assert!(saved.format < 3, "{when}: servers before can read it");
        for catalogue in [catalogue, &load(&saved).unwrap()] {
            let stream = catalogue.stream(b"s").unwrap();
            let entry = catalogue.entries().remove(0);
            assert!(!entry.narrow_sums && entry.older.len() == 1 && !entry.older[0].narrow_sums, "{when}");
            let older = catalogue.as_of(LayoutId(entry.older[0].layout_id)).unwrap();
            let earlier = stream.layout.to_backfill(Some(&older.layout)).unwrap();
            for (layout, sums) in [(&older.layout, 11), (&stream.layout, 22), (&earlier, 11)] {
                assert_eq!(layout.full_bytes(), 8 * (3 + sums), "{when}");
                assert!(layout.sums == Sums::Wide && !layout.narrows_sums(), "{when}");
            }
        }
    }

    #[test]
    fn what_a_server_before_was_altering_or_filling_keeps_its_sums_to_the_end() {
        let new = created("FIELDS n INT m INT WINDOWS 10s@1s AGGREGATE sum(n) SKEW 0s REJECT RETAIN 0s");
        let pending = |words: &[&[u8]]| {
            let change =
                |definition: &Definition| definition.altered_with(words).map_err(|error| error.to_string());
            let altered = new.altered_with(b"s", 1, change).unwrap();
            let Altered::New(pending) = altered else { panic!("it changes") };
            pending
        };
        let altered = loaded_wide(&pending(&[b"ADD", b"AGGREGATE", b"sum(m)"]));
        assert_wide(&altered, "pending");
        assert_wide(&altered.settled(2).unwrap(), "settled");

        let pending = pending(&[b"ADD", b"AGGREGATE", b"sum(m)", b"BACKFILL"]);
        let until = Boundary { epoch: 1, ops: vec![7] };
        // A crash may lie between any two steps.
        let unbounded = loaded_wide(&pending.settled(2).unwrap());
        let filling = loaded_wide(&pending.settled(2).unwrap().bounded(&until).unwrap());
        let stored = manifest(&filling).catalogue.streams.remove(0);
        assert_eq!(stored.backfill.unwrap().until.unwrap().ops, [7]);
        for (catalogue, when) in [
            (loaded_wide(&pending), "pending, to be filled"),
            (loaded_wide(&pending).settled(2).unwrap(), "settled, to be filled"),
            (unbounded.bounded(&until).unwrap(), "bounded"),
            (unbounded, "without a bound"),
            (filling.filled(filling.stream(b"s").unwrap().layout_id, 3).unwrap(), "filled"),
            (filling, "filling"),
        ] {
            assert_wide(&catalogue, when);
        }
    }

    #[test]
    fn an_older_server_is_kept_away_only_where_a_sum_is_narrow() {
        let floats =
            created("FIELDS n INT x FLOAT WINDOWS 10s@1s all AGGREGATE count sum(x) max(n) sum(n):all");
        assert_eq!(manifest(&floats).format, 1);
        assert_eq!(manifest(&altered(&floats, &[b"ADD", b"AGGREGATE", b"avg(n):10s"])).format, 3);
        assert_eq!(manifest(&created(STREAM)).format, 3);
    }
}
