//! A store that begins with the records of an image.
//!
//! ```text
//!   with_image   the books: chunks, slots in use; no word of them is there yet
//!   link         for each entry of the image's tables: the index names a record (and looks at none)
//!   finish_link  whether all are named
//!   ...          use it: a record that is met brings its chunk along; an Adopter brings the rest
//! ```

use super::{Store, check_budget};
use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, CHUNK_GRANULES, CHUNK_GRANULES_LOG2, Handle},
    reclaim::Domain,
    region::{Adopter, ChunkSource, PlannedChunk, Region},
    slots::Slots,
};
use std::sync::Arc as StdArc;

/// Which records of an image are named by now.
pub(super) struct Linking {
    chunks: Vec<LinkedChunk>,
    /// One bit a record: set when an entry has named it.
    named: Vec<u64>,
    /// How many are yet to be named.
    left: usize,
}

#[derive(Clone, Copy)]
struct LinkedChunk {
    slot_granules: u32,
    slots_used: u32,
    /// The bit of its first slot.
    first_bit: usize,
}

impl Linking {
    fn new(plan: &[PlannedChunk]) -> Self {
        let mut records = 0;
        let chunks = plan.iter().map(|planned| {
            let first_bit = records;
            records += planned.slots_used as usize;
            LinkedChunk { slot_granules: planned.slot_granules, slots_used: planned.slots_used, first_bit }
        });
        let chunks = chunks.collect();
        Self { chunks, named: vec![0; records.div_ceil(u64::BITS as usize)], left: records }
    }

    /// The handle of the record at a place of the image, the first time it is named.
    #[inline]
    fn name(&mut self, place: u64) -> Option<Handle> {
        let number = usize::try_from(place >> CHUNK_GRANULES_LOG2).ok()?;
        let granule = (place & (CHUNK_GRANULES as u64 - 1)) as u32;
        let chunk = self.chunks.get(number)?;
        let slot = granule / chunk.slot_granules;
        if slot >= chunk.slots_used || slot * chunk.slot_granules != granule {
            return None;
        }
        let bit = chunk.first_bit + slot as usize;
        let (word, mask) = (&mut self.named[bit / u64::BITS as usize], 1 << (bit % u64::BITS as usize));
        if *word & mask != 0 {
            return None;
        }
        *word |= mask;
        self.left -= 1;
        Some(Handle::new(1 + number, granule as usize))
    }
}

impl Store {
    /// A store that begins with the chunks of an image, in use as `plan` says: chunk `i` of the image is the store's chunk `1 + i`. None
    /// of their words is looked at: each chunk is filled by `source` when it is first met, by whoever meets it, owner or
    /// reader, or by an [`Adopter`]. To be followed by [`Store::link`] for all entries of the image's tables. Otherwise as
    /// [`Store::new`]; `bytes_max` has to have room for the image and its index.
    ///
    /// # Errors
    ///
    /// As [`Store::new`], [`MemoryError::Full`], and [`MemoryError::PlannedChunk`] for a chunk with slots of a size that there is
    /// not, none in use, or more than it has.
    pub fn with_image(
        bytes_max: usize,
        domain: &StdArc<Domain>,
        plan: Vec<PlannedChunk>,
        source: StdArc<dyn ChunkSource>,
    ) -> Result<Self, MemoryError> {
        check_budget(bytes_max)?;
        let chunks = bytes_max / CHUNK_BYTES;
        if plan.len() >= chunks {
            return Err(MemoryError::Full { bytes_max });
        }
        // Only a plan that holds has numbers to be trusted: the slots check it.
        let region = Region::reserve(1 + chunks)?;
        let slots = Slots::with_image(region, plan.clone(), source)?;
        let linking = Linking::new(&plan);
        let mut store = Self::with_slots(slots, domain, linking.left)?;
        store.linking = Some(linking);
        Ok(store)
    }

    /// Has the index name records of the image: for each a hash, and its place, chunk number in the image << 17 | granule. In the
    /// order of hashes this is quick; any order is right. To be called as often as the image has tables, before anything
    /// else is done to the store.
    ///
    /// # Errors
    ///
    /// [`MemoryError::ImagePlace`] for a place where the plan has no record, or that was named before;
    /// [`MemoryError::Full`] and [`MemoryError::Commit`]. The entries before it are linked: such a store is to be dropped.
    ///
    /// # Panics
    ///
    /// If the store did not begin with an image, or [`Store::finish_link`] was called.
    pub fn link(&mut self, entries: impl IntoIterator<Item = (u64, u64)>) -> Result<(), MemoryError> {
        let linking = self.linking.as_mut().expect("only a store that begins with an image is linked");
        for (hash, place) in entries {
            let handle = linking.name(place).ok_or(MemoryError::ImagePlace { place })?;
            self.index.insert(&mut self.slots, &mut self.reclaimer, &self.shared.root, hash, handle)?;
        }
        Ok(())
    }

    /// All tables of the image are linked.
    ///
    /// # Errors
    ///
    /// [`MemoryError::ImageUnnamed`] if there are records that no entry named.
    ///
    /// # Panics
    ///
    /// As [`Store::link`].
    pub fn finish_link(&mut self) -> Result<(), MemoryError> {
        let linking = self.linking.take().expect("only a store that begins with an image is linked");
        if linking.left == 0 { Ok(()) } else { Err(MemoryError::ImageUnnamed { records: linking.left }) }
    }

    /// What a helper thread adopts the chunks of the image with, in sequence.
    pub fn adopter(&self) -> Adopter {
        Adopter::new(StdArc::clone(&self.shared.region))
    }

    /// Whether all chunks of the image are memory, and the image is not needed any more.
    pub fn is_adopted(&self) -> bool {
        self.shared.region.pending_chunks() == 0
    }
}
