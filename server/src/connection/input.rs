//! The bytes received from one client and not yet executed.

use std::io::{self, Read};

use super::buffers::{BufferPool, INPUT_BYTES};

/// What one read of the socket brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Bytes came; `more`: the buffer was filled, so the socket may hold more.
    Some { bytes: usize, more: bool },
    /// Nothing there now.
    Nothing,
    /// The client has closed its side.
    End,
    /// Unexecuted input has reached the limit.
    Full,
}

/// Input of one connection: `buffer[start..end]` is unexecuted, all of `buffer` is initialised.
#[derive(Debug, Default)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// Unexecuted bytes, from the first byte of the oldest unfinished command on.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Drops an executed command.
    #[inline]
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        assert!(self.start <= self.end, "more was consumed than received");
    }

    /// Forgets all input.
    pub(crate) fn clear(&mut self) {
        self.start = self.end;
    }

    /// Reads once. With `limit` unexecuted bytes in the buffer nothing is read.
    pub(crate) fn fill(
        &mut self,
        source: &mut impl Read,
        limit: usize,
        pool: &mut BufferPool,
    ) -> io::Result<Filled> {
        self.make_room(limit, pool);
        let room = &mut self.buffer[self.end..];
        if room.is_empty() {
            return Ok(Filled::Full);
        }
        let room_bytes = room.len();
        loop {
            return match source.read(room) {
                Ok(0) => Ok(Filled::End),
                Ok(bytes) => {
                    self.end += bytes;
                    Ok(Filled::Some { bytes, more: bytes == room_bytes })
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Filled::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Gives the buffer back when nothing is left in it.
    pub(crate) fn return_buffer(&mut self, pool: &mut BufferPool) {
        if self.start == self.end && !self.buffer.is_empty() {
            pool.give_input(std::mem::take(&mut self.buffer));
            (self.start, self.end) = (0, 0);
        }
    }

    fn make_room(&mut self, limit: usize, pool: &mut BufferPool) {
        if self.buffer.is_empty() {
            self.buffer = pool.take_input();
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.start > 0 && self.buffer.len() - self.end < INPUT_BYTES / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() - self.end < INPUT_BYTES / 2 {
            // Doubling, so that receiving a large command copies each of its bytes a bounded number of times.
            let grown = (self.buffer.len() * 2).min(limit.max(INPUT_BYTES)).max(self.buffer.len());
            self.buffer.resize(grown, 0);
        }
    }

    /// Bytes of memory held.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_keeps_every_byte_while_commands_are_consumed_and_the_buffer_moves() {
        let sent: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let (mut input, mut pool, mut source) = (Input::default(), BufferPool::default(), &sent[..]);
        let mut seen = Vec::new();
        let mut step = 1;
        while input.fill(&mut source, 64 << 10, &mut pool).unwrap() != Filled::End {
            let take = (step * 37) % (input.len() + 1);
            seen.extend_from_slice(&input.bytes()[..take]);
            input.consume(take);
            if input.len() > 40 << 10 {
                seen.extend_from_slice(input.bytes());
                input.clear();
            }
            step += 1;
        }
        seen.extend_from_slice(input.bytes());
        assert_eq!(seen, sent);
    }

    #[test]
    fn input_stops_at_its_limit() {
        let sent = vec![7u8; 1 << 20];
        let (mut input, mut pool, mut source) = (Input::default(), BufferPool::default(), &sent[..]);
        while input.fill(&mut source, 100_000, &mut pool).unwrap() != Filled::Full {}
        assert_eq!(input.len(), 100_000);
    }

    #[test]
    fn an_empty_input_holds_no_memory() {
        let (mut input, mut pool) = (Input::default(), BufferPool::default());
        input.fill(&mut &b"PING\r\n"[..], 1 << 20, &mut pool).unwrap();
        input.consume(6);
        input.return_buffer(&mut pool);
        assert_eq!(input.allocated_bytes(), 0);
    }
}
