//! Buffers that connections borrow while they have something in them: an idle connection holds none.

use super::output::OutputBuffer;

/// Bytes of a fresh input buffer: one read takes at most so much.
pub(crate) const INPUT_BYTES: usize = 16 << 10;
/// Bytes of a fresh output buffer.
const OUTPUT_BYTES: usize = 4 << 10;
/// A buffer that has grown larger than this is freed instead of kept.
const KEPT_BYTES_MAX: usize = 256 << 10;
/// Buffers of each kind that are kept for the next borrower.
const KEPT_MAX: usize = 256;

/// The spare buffers of one shard.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    inputs: Vec<Vec<u8>>,
    outputs: Vec<OutputBuffer>,
    /// What all of these hold.
    allocated_bytes: usize,
}

impl BufferPool {
    /// A buffer of [`INPUT_BYTES`] initialised bytes, or more.
    pub(crate) fn take_input(&mut self) -> Vec<u8> {
        let Some(buffer) = self.inputs.pop() else { return vec![0; INPUT_BYTES] };
        self.allocated_bytes -= buffer.capacity();
        buffer
    }

    pub(crate) fn give_input(&mut self, buffer: Vec<u8>) {
        if buffer.len() <= KEPT_BYTES_MAX && self.inputs.len() < KEPT_MAX {
            self.allocated_bytes += buffer.capacity();
            self.inputs.push(buffer);
        }
    }

    /// An empty buffer with some room.
    pub(crate) fn take_output(&mut self) -> OutputBuffer {
        let Some(buffer) = self.outputs.pop() else {
            return OutputBuffer { bytes: Vec::with_capacity(OUTPUT_BYTES), ..OutputBuffer::default() };
        };
        self.allocated_bytes -= buffer.allocated_bytes();
        buffer
    }

    /// Bytes of memory held.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.allocated_bytes
    }

    pub(crate) fn give_output(&mut self, mut buffer: OutputBuffer) {
        if buffer.allocated_bytes() <= KEPT_BYTES_MAX && self.outputs.len() < KEPT_MAX {
            buffer.clear();
            self.allocated_bytes += buffer.allocated_bytes();
            self.outputs.push(buffer);
        }
    }
}
