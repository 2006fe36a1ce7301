//! The bytes on their way to one client, and what still holds them back.
//!
//! ```text
//!   bytes:  | written to the socket | free to go | gated: wait for the log | produced in this tick |
//!           ^ base                  ^ sent       ^ first gate's start       ^ settled
//! ```
//!
//! Positions in the output are absolute counts since the connection began, so they survive the buffer being emptied.

use std::collections::VecDeque;

use super::buffers::BufferPool;

/// Replies that may leave only when the log has got to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// Output from here on waits.
    start: u64,
    /// Operations of this shard's log that must be releasable.
    position: u64,
}

/// Where the reply of a counted write lies, as long as the log may still fail to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    at: u64,
    len: u32,
    position: u64,
}

/// The memory of an output: a connection borrows it while it has replies to send.
#[derive(Debug, Default)]
pub(crate) struct OutputBuffer {
    pub(super) bytes: Vec<u8>,
    pub(super) gates: VecDeque<Gate>,
    pub(super) marks: Vec<Mark>,
}

impl OutputBuffer {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.gates.clear();
        self.marks.clear();
    }

    /// Bytes of memory held.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.gates.capacity() * size_of::<Gate>()
            + self.marks.capacity() * size_of::<Mark>()
    }
}

/// Output of one connection.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    /// Absolute position of `bytes[0]`.
    base: u64,
    /// Bytes of `bytes` that the socket took.
    sent: usize,
    /// Where this tick's replies begin: what was there before has its gates.
    settled: u64,
    gates: VecDeque<Gate>,
    marks: Vec<Mark>,
}

impl Output {
    /// The buffer to append replies to.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes sure that a buffer is there, so that the first reply does not allocate.
    #[inline]
    pub(crate) fn borrow_buffer(&mut self, pool: &mut BufferPool) {
        if self.bytes.capacity() == 0 {
            debug_assert!(self.gates.is_empty() && self.marks.is_empty(), "without bytes nothing waits");
            let OutputBuffer { bytes, gates, marks } = pool.take_output();
            (self.bytes, self.gates, self.marks) = (bytes, gates, marks);
        }
    }

    /// Gives the buffer back when everything is sent.
    pub(crate) fn return_buffer(&mut self, pool: &mut BufferPool) {
        if self.unsent_bytes() == 0 && self.bytes.capacity() > 0 {
            self.base += self.bytes.len() as u64;
            self.sent = 0;
            debug_assert!(self.gates.is_empty(), "what is sent was not gated");
            pool.give_output(OutputBuffer {
                bytes: std::mem::take(&mut self.bytes),
                gates: std::mem::take(&mut self.gates),
                marks: std::mem::take(&mut self.marks),
            });
        }
    }

    /// Bytes that the client has not been sent.
    #[inline]
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// The absolute position behind the last byte.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Cuts replies off that were appended since `end`.
    pub(crate) fn truncate(&mut self, end: u64) {
        debug_assert!(end >= self.base + self.sent as u64, "sent bytes cannot be taken back");
        self.bytes.truncate((end - self.base) as usize);
    }

    /// Notes that the bytes since `start` are the reply of a write that will be operation `position` of the log.
    #[inline]
    pub(crate) fn mark_write(&mut self, start: u64, position: u64) {
        let len = (self.end() - start) as u32;
        self.marks.push(Mark { at: start, len, position });
    }

    /// Whether replies of writes are in here that the log may still lose.
    #[inline]
    pub(crate) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Ends a tick: what it appended waits until `position` is releasable, if one is given.
    pub(crate) fn settle(&mut self, position: Option<u64>) {
        let end = self.end();
        let start = std::mem::replace(&mut self.settled, end);
        let Some(position) = position else { return };
        if start == self.settled {
            return;
        }
        let gates = self.gates.len();
        match self.gates.back_mut() {
            Some(last) if last.position >= position => {}
            // Many gates: the newest waits a little longer than it must.
            Some(last) if gates == GATES_MAX => last.position = position,
            _ => self.gates.push_back(Gate { start, position }),
        }
    }

    /// Whether something waits for the log.
    #[inline]
    pub(crate) fn is_gated(&self) -> bool {
        !self.gates.is_empty()
    }

    /// Opens gates up to `releasable`; forgets marks that the log can no longer lose.
    pub(crate) fn release(&mut self, releasable: u64) {
        while self.gates.front().is_some_and(|gate| gate.position <= releasable) {
            self.gates.pop_front();
        }
        if self.marks.last().is_some_and(|mark| mark.position <= releasable) {
            self.marks.clear();
        } else if !self.marks.is_empty() {
            let settled = self.marks.partition_point(|mark| mark.position <= releasable);
            self.marks.drain(..settled);
        }
    }

    /// What may be written to the socket now.
    #[inline]
    pub(crate) fn sendable(&self) -> &[u8] {
        let end = self.gates.front().map_or(self.bytes.len(), |gate| (gate.start - self.base) as usize);
        &self.bytes[self.sent..end.max(self.sent)]
    }

    /// The socket took `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count;
        assert!(self.sent <= self.bytes.len());
        if self.sent == self.bytes.len() {
            self.base += self.sent as u64;
            self.sent = 0;
            self.bytes.clear();
        } else if self.sent >= COMPACT_BYTES && self.sent >= self.bytes.len() / 2 {
            // The part that was sent is at least as large as what moves, so moving costs no more than sending did.
            self.bytes.drain(..self.sent);
            self.base += self.sent as u64;
            self.sent = 0;
        }
    }

    /// The log failed: every reply of a write past `kept` becomes `unknown` (a whole error reply).
    pub(crate) fn fail_writes(&mut self, kept: u64, unknown: &[u8]) {
        self.gates.clear();
        let lost: Vec<Mark> =
            std::mem::take(&mut self.marks).into_iter().filter(|mark| mark.position > kept).collect();
        let Some(first) = lost.first() else { return };
        let start = (first.at - self.base) as usize;
        debug_assert!(start >= self.sent, "a reply was sent before its log position was safe");
        let tail = self.bytes.split_off(start);
        let mut from = 0;
        for mark in &lost {
            let at = (mark.at - self.base) as usize - start;
            self.bytes.extend_from_slice(&tail[from..at]);
            self.bytes.extend_from_slice(unknown);
            from = at + mark.len as usize;
        }
        self.bytes.extend_from_slice(&tail[from..]);
    }

    /// Bytes of memory held.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.gates.capacity() * size_of::<Gate>()
            + self.marks.capacity() * size_of::<Mark>()
    }
}

/// A sent prefix smaller than this is not worth moving the rest for.
const COMPACT_BYTES: usize = 64 << 10;

/// Most gates of one connection: one a tick, as long as the disk has not caught up.
const GATES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: &[u8] = b"-MISCONF unknown\r\n";

    fn write(output: &mut Output, position: u64) {
        let start = output.end();
        output.buffer().extend_from_slice(b"+OK\r\n");
        output.mark_write(start, position);
    }

    #[test]
    fn a_gated_reply_waits_for_its_position_and_holds_back_what_follows() {
        let mut output = Output::default();
        output.buffer().extend_from_slice(b"+PONG\r\n");
        output.settle(None);
        write(&mut output, 7);
        output.settle(Some(7));
        output.buffer().extend_from_slice(b":1\r\n");
        output.settle(None);
        assert_eq!(output.sendable(), b"+PONG\r\n");
        output.release(6);
        assert_eq!(output.sendable(), b"+PONG\r\n");
        output.release(7);
        assert_eq!(output.sendable(), b"+PONG\r\n+OK\r\n:1\r\n");
    }

    #[test]
    fn gates_open_in_order() {
        let mut output = Output::default();
        for position in 1..=3 {
            write(&mut output, position);
            output.settle(Some(position));
        }
        output.release(2);
        assert_eq!(output.sendable(), b"+OK\r\n+OK\r\n");
        output.advance(10);
        output.release(3);
        assert_eq!(output.sendable(), b"+OK\r\n");
        assert!(!output.is_gated() && !output.has_marks());
    }

    #[test]
    fn more_gates_than_kept_only_wait_longer() {
        let mut output = Output::default();
        for position in 1..=GATES_MAX as u64 + 10 {
            write(&mut output, position);
            output.settle(Some(position));
        }
        assert_eq!(output.gates.len(), GATES_MAX);
        output.release(GATES_MAX as u64);
        assert_eq!(output.sendable().len(), 5 * (GATES_MAX - 1));
        output.release(GATES_MAX as u64 + 10);
        assert_eq!(output.sendable().len(), 5 * (GATES_MAX + 10));
    }

    #[test]
    fn after_a_failed_log_only_writes_past_the_kept_position_are_unknown() {
        let mut output = Output::default();
        write(&mut output, 1);
        output.buffer().extend_from_slice(b":5\r\n");
        write(&mut output, 2);
        output.buffer().extend_from_slice(b":6\r\n");
        write(&mut output, 3);
        output.settle(Some(3));
        output.fail_writes(1, UNKNOWN);
        let expected = [b"+OK\r\n:5\r\n", UNKNOWN, b":6\r\n", UNKNOWN].concat();
        assert_eq!(output.sendable(), expected);
    }

    #[test]
    fn failing_after_a_part_was_sent_changes_only_the_rest() {
        let mut output = Output::default();
        output.buffer().extend_from_slice(b"+PONG\r\n");
        output.settle(None);
        output.advance(7);
        write(&mut output, 4);
        output.settle(Some(4));
        output.fail_writes(3, UNKNOWN);
        assert_eq!(output.sendable(), UNKNOWN);
    }
}
