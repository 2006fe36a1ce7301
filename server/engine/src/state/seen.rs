//! What an imported image has seen of the log: see [`super`].

use hashbrown::HashMap;

use crate::catalogue::StreamId;
use crate::slot::{SLOT_GROUPS, group_of, hash_slot};

/// The positions up to which the parts of an image have seen operations, by group of hash slots: each is of the log of the shard that
/// owned the group.
#[derive(Debug)]
pub(crate) struct Seen {
    /// By the counters.
    counted: [u64; SLOT_GROUPS],
    /// The image's end.
    ends: [u64; SLOT_GROUPS],
    /// By the groups of streams; those that the image does not have had seen nothing.
    remembered: HashMap<(StreamId, u8), u64>,
}

/// What of an operation an image has seen already, beside a record that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Covered {
    /// The counters have.
    pub(crate) is_counted: bool,
    /// The memory of ids and sources has.
    pub(crate) is_remembered: bool,
    /// The operation is older than the image's end: without a record of its entity, it was removed since.
    pub(crate) may_be_removed: bool,
}

impl Seen {
    /// By no image.
    pub(super) fn new() -> Self {
        Self { counted: [0; SLOT_GROUPS], ends: [0; SLOT_GROUPS], remembered: HashMap::new() }
    }

    pub(super) fn remembered(&mut self, stream: StreamId, group: u8, position: u64) {
        self.remembered.insert((stream, group), position);
    }

    pub(super) fn counted(&mut self, group: u8, counted: u64, end: u64) {
        self.counted[usize::from(group)] = counted;
        self.ends[usize::from(group)] = end;
    }

    /// What was seen of the operation of an entity at this position.
    pub(crate) fn covers(&self, stream: StreamId, entity: &[u8], position: u64) -> Covered {
        let group = group_of(hash_slot(entity));
        Covered {
            is_counted: self.counted[usize::from(group)] >= position,
            is_remembered: self.remembered.get(&(stream, group)).is_some_and(|&seen| seen >= position),
            may_be_removed: self.ends[usize::from(group)] >= position,
        }
    }
}
