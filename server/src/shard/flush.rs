//! The end of a tick for connections: replies that may leave do, in one write each; connections that are done close.

use std::io::Write;

use super::job::JobReply;
use super::tick::ShardLoop;
use crate::clock::uptime_ms;
use crate::connection::{Activity, Connection, State};

/// Connections that one sweep for timeouts looks at.
const SWEPT_MAX: u32 = 256;
/// Rows of a command that is not done yet wait for each other up to so many bytes.
const ROWS_HELD_BYTES_MAX: usize = 32 << 10;
/// A connection that was idle for so long keeps no memory for replies in order.
const SHRUNK_AFTER_S: u64 = 1;

impl ShardLoop {
    /// Writes to every connection that got replies in this tick, or whose socket takes bytes again.
    pub(super) fn flush_touched(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let at_ms = uptime_ms();
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            self.flush(index, at_ms);
        }
        // What touched connections during the flush itself comes with the next tick.
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    fn flush(&mut self, index: u32, at_ms: u64) {
        let releasable = self.releasable();
        let Self { core, connections, gated, .. } = self;
        let Some(connection) = connections.at(index) else { return };
        connection.is_touched = false;
        let session = &mut connection.session;
        if !session.slots.is_empty() {
            session.output.borrow_buffer(&mut core.pool);
            session.slots.advance(&mut session.output);
        }
        let has_writes = session.output.has_marks();
        let is_local = std::mem::take(&mut session.has_local_replies);
        let position = if is_local || has_writes { core.reply_position(has_writes) } else { None };
        session.output.settle(position.filter(|&position| position > releasable));
        session.output.release(releasable);
        if session.output.is_gated() {
            gated.push(index);
        }
        // The rest of a command over many rows comes in a later turn of this connection: fewer, longer writes. Nothing else waits for
        // it: not what stood before the rows, nor rows that go into a slot.
        let may_hold = connection.is_queued
            && !session.output.is_gated()
            && session.output.unsent_bytes() < ROWS_HELD_BYTES_MAX;
        let comes_more = match session.job.as_deref_mut() {
            Some(job) if job.reply == JobReply::Output => {
                std::mem::replace(&mut job.is_output_clear, true) && may_hold
            }
            _ => false,
        };
        let sent_bytes = if comes_more { 0 } else { send(connection) };
        core.counters.output_bytes += sent_bytes as u64;
        let output_bytes = connection.output_bytes();
        if output_bytes as u64 > core.config.output_hard_bytes {
            close_slow(connection, output_bytes, "has more unread replies than client-output-hard-limit");
            core.counters.slow_clients_closed += 1;
        }
        let soft_bytes = core.soft_output_bytes();
        if output_bytes <= soft_bytes {
            connection.stalled_since_ms = None;
        } else if sent_bytes > 0 || connection.stalled_since_ms.is_none() {
            connection.stalled_since_ms = Some(at_ms);
        }
        let session = &mut connection.session;
        let is_done = session.state == State::Closing && output_bytes == 0 && session.slots.is_empty();
        if session.state == State::Dead || is_done {
            self.close(index);
            return;
        }
        let may_go_on = (connection.waits_for_replies && session.slots.is_empty())
            || (connection.is_held_by_output && output_bytes <= soft_bytes / 2);
        if may_go_on {
            connection.waits_for_replies = false;
            connection.is_held_by_output = false;
        }
        session.output.return_buffer(&mut core.pool);
        connection.input.return_buffer(&mut core.pool);
        connection.session.client.report(Activity {
            at_ms: connection.last_input_ms,
            query_bytes: connection.input.len(),
            output_bytes,
            memory_bytes: connection.memory_bytes(),
            commands: connection.session.commands,
            last_command: connection.session.last_command,
        });
        if may_go_on {
            self.enqueue(index);
        }
    }

    /// Forgets a connection; its socket closes.
    pub(super) fn close(&mut self, index: u32) {
        let Some(mut connection) = self.connections.remove(index) else { return };
        self.cancel_top_of_gone(index);
        if let Err(error) = self.poll.registry().deregister(&mut connection.socket) {
            tracing::debug!("client {}: {error}", connection.session.client.id);
        }
        self.shared.clients.remove(connection.session.client.id);
        self.shared.shards[self.core.id]
            .numbers
            .connections
            .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Looks at some connections for `timeout` and for clients that do not read their replies.
    pub(super) fn close_idle_connections(&mut self, at_ms: u64) {
        let (timeout_s, stall_s) = (self.core.config.timeout_s, self.core.config.output_stall_s);
        let slots = self.connections.slots();
        for _ in 0..slots.min(SWEPT_MAX) {
            self.swept = if self.swept + 1 >= slots { 0 } else { self.swept + 1 };
            let index = self.swept;
            let Some(connection) = self.connections.at(index) else { continue };
            let has_passed = |since_ms: u64, seconds: u64| at_ms.saturating_sub(since_ms) > seconds * 1000;
            if has_passed(connection.last_input_ms, SHRUNK_AFTER_S) {
                connection.session.slots.shrink();
            }
            if connection.stalled_since_ms.is_some_and(|since_ms| has_passed(since_ms, stall_s)) {
                let output_bytes = connection.output_bytes();
                close_slow(
                    connection,
                    output_bytes,
                    "has not read its replies for client-output-stall-timeout",
                );
                self.core.counters.slow_clients_closed += 1;
                self.touch(index);
            } else if timeout_s > 0
                && connection.session.state == State::Open
                && connection.session.slots.is_empty()
                && has_passed(connection.last_input_ms, timeout_s)
            {
                tracing::debug!("client {} was idle for {timeout_s} s: closed", connection.session.client.id);
                connection.session.state = State::Dead;
                self.touch(index);
            }
        }
    }
}

fn close_slow(connection: &mut Connection, output_bytes: usize, why: &str) {
    let client = &connection.session.client;
    tracing::warn!("client {} ({}) {why} ({output_bytes} bytes unread): closed", client.id, client.peer);
    connection.session.state = State::Dead;
}

/// Writes what may leave; gives how much the socket took.
fn send(connection: &mut Connection) -> usize {
    let mut sent_bytes = 0;
    while connection.is_writable && connection.session.state != State::Dead {
        let bytes = connection.session.output.sendable();
        if bytes.is_empty() {
            break;
        }
        let all_bytes = bytes.len();
        match connection.socket.write(bytes) {
            Ok(count) => {
                connection.session.output.advance(count);
                sent_bytes += count;
                connection.is_writable = count == all_bytes;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => connection.is_writable = false,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::debug!("client {}: writing failed: {error}", connection.session.client.id);
                connection.session.state = State::Dead;
            }
        }
    }
    sent_bytes
}
