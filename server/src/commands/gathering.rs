//! Commands whose reply needs numbers of every shard: the connection is parked until all have answered.

use std::sync::Arc;

use windrow_engine::{Shard, Stream, StreamId, StreamStats, StreamUsage};
use windrow_protocol::Proto;

use super::{Call, Flow, memory, stream};
use crate::shard::Core;

/// A command that waits for the other shards' numbers.
pub(crate) struct Gathering {
    subject: Subject,
    missing: usize,
    proto: Proto,
}

/// What the command asks, and what is known so far.
pub(super) enum Subject {
    /// STREAM.INFO.
    Stream { stream: Arc<Stream>, stats: Box<StreamStats> },
    /// MEMORY STATS.
    Memory(Vec<StreamUsage>),
}

/// What another shard is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    /// What it counts for a stream.
    Stream(StreamId),
    /// What every stream takes there.
    Memory,
}

/// A shard's answer.
pub(crate) enum Answer {
    Stream(Box<StreamStats>),
    Memory(Vec<StreamUsage>),
}

/// Replies at once if there is one shard, or else waits for the others.
pub(super) fn begin(call: &mut Call<'_>, subject: Subject) -> Flow {
    let proto = call.session.proto;
    let gathering = Gathering { subject, missing: call.core.shards - 1, proto };
    if gathering.missing == 0 {
        let Call { core, session, .. } = call;
        gathering.write(session.output.buffer(), core);
        return Flow::Done;
    }
    call.session.gathering = Some(Box::new(gathering));
    Flow::Parked
}

impl Asked {
    /// This shard's answer.
    pub(crate) fn answer(self, engine: Option<&Shard>) -> Answer {
        match self {
            Asked::Stream(stream) => {
                Answer::Stream(Box::new(engine.map(|engine| engine.stream_stats(stream)).unwrap_or_default()))
            }
            Asked::Memory => {
                Answer::Memory(engine.map(|engine| engine.stream_usage().collect()).unwrap_or_default())
            }
        }
    }
}

impl Gathering {
    /// The question to all other shards.
    pub(crate) fn asked(&self) -> Asked {
        match &self.subject {
            Subject::Stream { stream, .. } => Asked::Stream(stream.id),
            Subject::Memory(_) => Asked::Memory,
        }
    }

    /// Adds a shard's answer. True: that was the last.
    pub(crate) fn add(&mut self, answer: Answer) -> bool {
        match (&mut self.subject, answer) {
            (Subject::Stream { stats, .. }, Answer::Stream(other)) => stats.merge(&other),
            (Subject::Memory(usage), Answer::Memory(other)) => usage.extend(other),
            (Subject::Stream { .. }, Answer::Memory(_)) | (Subject::Memory(_), Answer::Stream(_)) => {
                unreachable!("a shard answers what it was asked")
            }
        }
        self.missing -= 1;
        self.missing == 0
    }

    /// Writes the reply.
    pub(crate) fn write(&self, out: &mut Vec<u8>, core: &Core) {
        match &self.subject {
            Subject::Stream { stream, stats } => {
                let progress = core.shared.backfill.of(stream.id);
                stream::write_stream_info(out, self.proto, stream, stats, progress.as_ref(), core.now_ms);
            }
            Subject::Memory(usage) => {
                memory::write_stats(out, self.proto, &core.shared, &core.catalogue, usage);
            }
        }
    }
}
