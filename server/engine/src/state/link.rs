//! A shard that begins with the records of an image, where they lie.

use std::sync::Arc;

use windrow_memory::{Adopter, ChunkSource, Domain, MemoryError, PlannedChunk, Store};

use crate::shard::{Shard, ShardConfig};

impl Shard {
    /// A shard with the records of an image: [`Shard::link`] is to name each, then [`Shard::finish_link`] ends that. Their words come from
    /// `source` when they are first met. Otherwise as [`Shard::new`].
    ///
    /// # Errors
    /// As [`Shard::new`]; and when the image does not fit the address range, or is damaged.
    pub fn with_image(
        config: ShardConfig,
        domain: &Arc<Domain>,
        plan: Vec<PlannedChunk>,
        source: Arc<dyn ChunkSource>,
    ) -> Result<Self, MemoryError> {
        let store = Store::with_image(config.reserved_bytes, domain, plan, source)?;
        let mut shard = Self::over(store, config);
        // What the image has is served, whatever the limit is by now: it holds from the end of linking on.
        shard.maxmemory_bytes = config.maxmemory_bytes;
        Ok(shard)
    }

    /// Names records of the image by hash and place, best in the order of hashes.
    ///
    /// # Errors
    /// When there is no record at a place, or it was named before; when the system has no memory for the index. The shard is to be
    /// thrown away then.
    ///
    /// # Panics
    /// When the shard did not begin with an image, or all are linked.
    pub fn link(&mut self, entries: impl IntoIterator<Item = (u64, u64)>) -> Result<(), MemoryError> {
        self.store.link(entries)
    }

    /// Every record of the image is linked.
    ///
    /// # Errors
    /// When one was not.
    ///
    /// # Panics
    /// As [`Shard::link`].
    pub fn finish_link(&mut self) -> Result<(), MemoryError> {
        self.store.finish_link()?;
        self.share_memory();
        Ok(())
    }

    /// What a helper's thread adopts the image with, chunk by chunk.
    pub fn adopter(&self) -> Adopter {
        self.store.adopter()
    }

    /// Whether nothing of the image is needed any more.
    pub fn is_adopted(&self) -> bool {
        self.store.is_adopted()
    }
}
