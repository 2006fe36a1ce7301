//! The connections of one shard, by index; indices are used again, generations tell the users apart.

use super::{Connection, ConnectionId};

/// A slab of connections.
#[derive(Default)]
pub(crate) struct ConnectionTable {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Entry {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl ConnectionTable {
    /// The id that the next [`ConnectionTable::insert`] gives.
    pub(crate) fn next_id(&mut self) -> ConnectionId {
        if self.free.is_empty() {
            self.free.push(self.entries.len() as u32);
            self.entries.push(Entry::default());
        }
        let index = *self.free.last().expect("one was just made");
        ConnectionId { index, generation: self.entries[index as usize].generation }
    }

    /// Puts a connection in the place that [`ConnectionTable::next_id`] named.
    pub(crate) fn insert(&mut self, connection: Box<Connection>) {
        let index = self.free.pop().expect("next_id was asked first");
        self.entries[index as usize].connection = Some(connection);
    }

    /// Takes a connection out; its id is never valid again.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Box<Connection>> {
        let entry = self.entries.get_mut(index as usize)?;
        let connection = entry.connection.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(index);
        Some(connection)
    }

    /// The connection at an index.
    #[inline]
    pub(crate) fn at(&mut self, index: u32) -> Option<&mut Connection> {
        self.entries.get_mut(index as usize)?.connection.as_deref_mut()
    }

    /// The connection of an id, if it is still that one.
    #[inline]
    pub(crate) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let entry = self.entries.get_mut(id.index as usize)?;
        if entry.generation == id.generation { entry.connection.as_deref_mut() } else { None }
    }

    /// Indices that may be in use: `0..slots()`.
    pub(crate) fn slots(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.entries.iter_mut().filter_map(|entry| entry.connection.as_deref_mut())
    }
}
