//! One chunk cut into slots: which of them are in use.

use super::{Purpose, size_class::SizeClass};

/// Bits of a word of the map.
const MAP_BITS: u32 = u64::BITS;

/// A chunk that is cut into slots of one class.
pub(super) struct CutChunk {
    pub(super) purpose: Purpose,
    pub(super) class: SizeClass,
    /// Its index in the list of chunks of its kind, while it has a free slot and is not being evacuated.
    pub(super) place_in_open: u32,
    /// Its records are being moved away: it gives out no slot.
    pub(super) is_evacuated: bool,
    used: u32,
    /// One bit a slot: set while it is in use. Bits behind the last slot are set for good.
    map: Box<[u64]>,
    /// No word of the map before this one has a free slot.
    first_free: u32,
}

impl CutChunk {
    pub(super) fn new(purpose: Purpose, class: SizeClass) -> Self {
        let slots = class.slots() as u32;
        let mut map = vec![0; slots.div_ceil(MAP_BITS) as usize].into_boxed_slice();
        if !slots.is_multiple_of(MAP_BITS) {
            *map.last_mut().expect("a chunk has a slot") = !0 << (slots % MAP_BITS);
        }
        Self { purpose, class, place_in_open: 0, is_evacuated: false, used: 0, map, first_free: 0 }
    }

    /// A chunk whose first slots are in use.
    pub(super) fn with_used(purpose: Purpose, class: SizeClass, used: u32) -> Self {
        let mut chunk = Self::new(purpose, class);
        assert!(used as usize <= class.slots(), "a chunk of {} slots has {used} in use", class.slots());
        let (whole, rest) = ((used / MAP_BITS) as usize, used % MAP_BITS);
        chunk.map[..whole].fill(!0);
        if rest > 0 {
            chunk.map[whole] |= (1 << rest) - 1;
        }
        chunk.used = used;
        chunk
    }

    /// Slots in use.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    pub(super) fn is_full(&self) -> bool {
        self.used as usize == self.class.slots()
    }

    /// Marks the first free slot as used and returns its number.
    pub(super) fn take(&mut self) -> u32 {
        assert!(!self.is_full(), "a full chunk was asked for a slot");
        let mut word = self.first_free as usize;
        while self.map[word] == !0 {
            word += 1;
        }
        self.first_free = word as u32;
        let bit = self.map[word].trailing_ones();
        self.map[word] |= 1 << bit;
        self.used += 1;
        word as u32 * MAP_BITS + bit
    }

    /// Marks `slot` as free.
    pub(super) fn put_back(&mut self, slot: u32) {
        assert!((slot as usize) < self.class.slots(), "slot {slot} is not in this chunk");
        let (word, bit) = (slot / MAP_BITS, slot % MAP_BITS);
        assert!(self.map[word as usize] & (1 << bit) != 0, "slot {slot} is freed twice");
        self.map[word as usize] &= !(1 << bit);
        self.first_free = self.first_free.min(word);
        self.used -= 1;
    }

    /// The first slot in use at or after `from`.
    pub(super) fn next_in_use(&self, from: u32) -> Option<u32> {
        let slots = self.class.slots() as u32;
        let mut word = from / MAP_BITS;
        let mut bits = self.map.get(word as usize)? & (!0 << (from % MAP_BITS));
        while bits == 0 {
            word += 1;
            bits = *self.map.get(word as usize)?;
        }
        let slot = word * MAP_BITS + bits.trailing_zeros();
        (slot < slots).then_some(slot)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{super::SizeClass, CutChunk, Purpose};

    #[test]
    fn every_slot_is_given_out_once_and_again_after_it_came_back() {
        for words in [8, 10, 100, 3000, 1 << 18] {
            let class = SizeClass::for_words(words).unwrap();
            let mut chunk = CutChunk::new(Purpose::Records, class);
            let first: Vec<u32> = (0..class.slots()).map(|_| chunk.take()).collect();
            assert_eq!(first, (0..class.slots() as u32).collect::<Vec<_>>());
            assert!(chunk.is_full());
            let middle = class.slots() as u32 / 2;
            chunk.put_back(middle);
            assert_eq!((chunk.is_full(), chunk.take()), (false, middle));
        }
    }

    #[test]
    fn slots_in_use_are_found_in_order() {
        let class = SizeClass::for_words(3000).unwrap();
        let mut chunk = CutChunk::new(Purpose::Records, class);
        for _ in 0..class.slots() {
            chunk.take();
        }
        let kept = [0, 3, 63, 64, 80];
        for slot in (0..class.slots() as u32).filter(|slot| !kept.contains(slot)) {
            chunk.put_back(slot);
        }
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(slot) = chunk.next_in_use(from) {
            found.push(slot);
            from = slot + 1;
        }
        assert_eq!(found, kept);
    }

    #[test]
    fn chunk_that_begins_with_used_slots_is_as_one_that_gave_them_out() {
        for words in [8, 3000, 1 << 18] {
            let class = SizeClass::for_words(words).unwrap();
            let slots = class.slots() as u32;
            for used in [0, 1, 63, 64, 65, slots / 2, slots - 1, slots] {
                let used = used.min(slots);
                let mut given_out = CutChunk::new(Purpose::Records, class);
                (0..used).for_each(|slot| assert_eq!(given_out.take(), slot));
                let mut begun = CutChunk::with_used(Purpose::Records, class, used);
                assert_eq!((begun.used(), &begun.map), (given_out.used(), &given_out.map));
                (used..slots).for_each(|slot| assert_eq!(begun.take(), slot));
                assert!(begun.is_full());
            }
        }
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn slot_freed_twice_is_noticed() {
        let mut chunk = CutChunk::new(Purpose::Records, SizeClass::for_words(8).unwrap());
        let slot = chunk.take();
        chunk.put_back(slot);
        chunk.put_back(slot);
    }
}
