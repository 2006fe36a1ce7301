//! What commands of one shard work on: records, log group, links, staged batch, scratch buffers. Everything but sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use windrow_durability::LogGroup;
use windrow_engine::backfill::Merged;
use windrow_engine::form::quote;
use windrow_engine::op::{self, AnyOp, Op};
use windrow_engine::{
    AskOwner, Catalogue, Cursor, HashKey, Hashed, Hint, NoRoom, Outcome, Scan, Shard, Slice, StreamId,
    Superseded, slot,
};
use windrow_protocol::{Limits, Proto, reply};
use windrow_window::{ReadTime, Rows};

use super::peers::{LINES_OF_A_WRITE, Peers};
use super::read_cache::ReadCache;
use super::row::{write_pairs, write_row};
use super::staged::{Item, Staged};
use crate::acl::Users;
use crate::backfill::MergeAnswer;
use crate::commands::write_entity_info;
use crate::config::{AppendFsync, Config, MaxmemoryPolicy};
use crate::connection::buffers::BufferPool;
use crate::connection::{Session, input_limits};
use crate::route::{Answerer, Links, Question, ReadWhat};
use crate::shard::staged::ItemKind;
use crate::shared::Shared;
use crate::timing::CommandTimer;

/// The state of one shard that is not a socket.
pub(crate) struct Core {
    pub(crate) id: usize,
    pub(crate) shards: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: Arc<Config>,
    pub(super) config_version: u64,
    /// Who may do what, as this shard goes by it.
    pub(crate) users: Arc<Users>,
    pub(crate) limits: Limits,
    pub(crate) catalogue: Arc<Catalogue>,
    /// The records; `None` while the log is being loaded.
    pub(crate) engine: Option<Shard>,
    /// What other shards' records are read with; there when `engine` is.
    pub(crate) peers: Option<Peers>,
    pub(crate) group: LogGroup,
    pub(crate) links: Links,
    pub(crate) staged: Staged,
    /// Connections wait until the log has room again.
    pub(super) is_held_by_log: bool,
    pub(crate) reads: ReadCache,
    pub(crate) pool: BufferPool,
    /// The clock, read once for every connection's turn.
    pub(crate) now_ms: i64,
    pub(crate) counters: Counters,
    pub(crate) timer: CommandTimer,
    rows: Rows,
    scan: Scan,
}

/// Counts of the present tick, added to the shard's numbers at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commands: u64,
    pub(crate) events: u64,
    pub(crate) reads: u64,
    pub(crate) hops: u64,
    pub(crate) errors: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) slow_clients_closed: u64,
    pub(crate) evicted: u64,
}

/// `rows` keeps room for so many results between commands.
const RESULTS_KEPT: usize = 4096;

impl Core {
    pub(super) fn new(id: usize, shared: Arc<Shared>, links: Links) -> Self {
        let config = shared.config();
        let catalogue = shared.catalogue();
        Core {
            id,
            shards: shared.shards.len(),
            config_version: shared.config_version(),
            users: shared.acl.users(),
            limits: input_limits(&config, true),
            catalogue,
            engine: None,
            peers: None,
            group: LogGroup::new(),
            links,
            staged: Staged::default(),
            is_held_by_log: false,
            reads: ReadCache::new(),
            pool: BufferPool::default(),
            now_ms: shared.clock.now_ms(),
            counters: Counters::default(),
            timer: CommandTimer::new(&config),
            rows: Rows::default(),
            scan: Scan::default(),
            config,
            shared,
        }
    }

    /// Whether data commands are served.
    #[inline]
    pub(crate) fn is_serving(&self) -> bool {
        self.engine.is_some() && self.shared.loading.is_finished()
    }

    /// The shard that owns an entity.
    #[inline]
    pub(crate) fn owner(&self, entity: &[u8]) -> usize {
        if self.shards == 1 { 0 } else { slot::shard_of(slot::hash_slot(entity), self.shards) }
    }

    /// Takes a change of the configuration over.
    #[inline]
    pub(crate) fn refresh_config(&mut self) {
        if self.config_version != self.shared.config_version() {
            self.config_version = self.shared.config_version();
            self.config = self.shared.config();
            self.limits = input_limits(&self.config, true);
            self.timer.configure(&self.config);
            self.apply_maxmemory();
        }
    }

    /// Takes a new catalogue over. True if there was one.
    #[inline]
    pub(super) fn refresh_catalogue(&mut self) -> bool {
        if self.catalogue.version == self.shared.catalogue_version() {
            return false;
        }
        assert!(self.staged.is_empty(), "what is staged was read under the old catalogue");
        self.catalogue = self.shared.catalogue();
        self.reads.clear();
        if let Some(engine) = &mut self.engine {
            engine.adopt(&self.catalogue);
        }
        true
    }

    /// Makes sure that a session has a buffer for replies.
    #[inline]
    pub(crate) fn pool_output(&mut self, session: &mut Session) {
        session.output.borrow_buffer(&mut self.pool);
    }

    /// Bytes of unread replies past which a client's commands wait.
    #[inline]
    pub(super) fn soft_output_bytes(&self) -> usize {
        usize::try_from(self.config.output_soft_bytes).unwrap_or(usize::MAX)
    }

    /// Whether questions wait that could be sent now.
    pub(super) fn has_unsent_questions(&self) -> bool {
        self.links.has_sendable()
    }

    /// Gives the engine its share of `maxmemory`.
    pub(super) fn apply_maxmemory(&mut self) {
        let share = maxmemory_share(self.config.maxmemory_bytes, self.shards);
        if let Some(engine) = &mut self.engine {
            engine.set_maxmemory_bytes(share);
            engine.set_eviction(share > 0 && self.config.maxmemory_policy == MaxmemoryPolicy::AllKeysLru);
        }
    }

    /// Stages an error as the reply of a data command.
    #[cold]
    pub(crate) fn stage_error(&mut self, session: &mut Session, text: std::fmt::Arguments<'_>) {
        self.counters.errors += 1;
        reply::error_display(self.staged.payload(), text);
        let reply_to = session.local_reply();
        self.staged.push_literal(session.id.index, reply_to);
    }

    /// Applies an operation of an entity of this shard; appends the reply. Gives the position of a counted one, or 0.
    #[inline]
    pub(super) fn answer_write(&mut self, op: &[u8], hint: Hint, out: &mut Vec<u8>) -> u64 {
        if op::is_remove(op) {
            return self.answer_remove(op, out);
        }
        // Made before its stream was altered: the log must say under which layout it is applied.
        let relabelled = self.catalogue.relabelled(op);
        let op = relabelled.as_deref().unwrap_or(op);
        let engine = self.engine.as_mut().expect("data commands are served once the shard is loaded");
        let group = &mut self.group;
        let evicted = engine.make_room_for_event(&self.catalogue, |op| group.log_removal(op));
        self.counters.evicted += evicted as u64;
        if let Err(refusal) = self.group.admit(op.len(), self.now_ms) {
            engine.refuse(&self.catalogue, op);
            self.counters.errors += 1;
            reply::error_display(out, refusal);
            return 0;
        }
        let position = self.group.next_position();
        let outcome = engine.apply(&self.catalogue, op, hint, self.now_ms, position);
        self.counters.events += 1;
        if engine.moved_clock() {
            self.group.note(op);
        }
        if outcome == Outcome::Full {
            self.counters.errors += 1;
            refuse_full(&self.catalogue, op, out);
            return 0;
        }
        let reply: &[u8] = match outcome {
            Outcome::Ok => reply::OK,
            Outcome::Clamped => b"+CLAMPED\r\n",
            Outcome::Skewed => b"+SKEWED\r\n",
            Outcome::Duplicate => b"+DUPLICATE\r\n",
            Outcome::Late => b"+LATE\r\n",
            Outcome::Dropped => b"-ERR the stream was dropped or flushed while the event was on its way: it was not counted\r\n",
            Outcome::OutOfMemory => b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            Outcome::SeqGap { undecided } => {
                reply::error_display(
                    out,
                    format_args!(
                        "SEQGAP an earlier event of this source is undecided: send sequence number {undecided} again first"
                    ),
                );
                b""
            }
            Outcome::TooManySources => {
                b"-ERR too many sources have sent to this stream: SOURCE takes no new name\r\n"
            }
            Outcome::Full => unreachable!("answered above"),
        };
        out.extend_from_slice(reply);
        match outcome {
            Outcome::Ok | Outcome::Clamped => self.group.push(op, engine.started_anew()),
            // What is a duplicate of must be as safe as an acknowledgement says.
            Outcome::Duplicate => self.group.end(),
            Outcome::Skewed | Outcome::Late | Outcome::Dropped | Outcome::Full => 0,
            Outcome::OutOfMemory | Outcome::SeqGap { .. } | Outcome::TooManySources => {
                self.counters.errors += 1;
                0
            }
        }
    }

    /// Removes an entity of this shard; appends the reply. Gives the position that the reply must wait for.
    #[cold]
    fn answer_remove(&mut self, op: &[u8], out: &mut Vec<u8>) -> u64 {
        let engine = self.engine.as_mut().expect("data commands are served once the shard is loaded");
        let Ok(AnyOp::Remove(remove)) = AnyOp::decode(op) else {
            unreachable!("an operation as it was encoded")
        };
        let position = self.group.next_position();
        let group = std::cell::RefCell::new(&mut self.group);
        let (now_ms, mut refusal) = (self.now_ms, None);
        let removed = engine.remove_entity(
            &self.catalogue,
            &remove,
            now_ms,
            position,
            |bytes| {
                refusal = group.borrow_mut().admit(bytes, now_ms).err();
                refusal.is_none()
            },
            |op| {
                group.borrow_mut().push(op, false);
            },
        );
        match (removed, refusal) {
            (Ok(count), _) => {
                reply::integer(out, count as i64);
                // Also that there is nothing must not be taken back.
                self.group.end()
            }
            (Err(NoRoom::Log), refusal) => {
                self.counters.errors += 1;
                reply::error_display(out, refusal.expect("the log said why"));
                0
            }
            (Err(NoRoom::Memory), _) => {
                self.counters.errors += 1;
                out.extend_from_slice(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n");
                0
            }
        }
    }

    /// Puts what a backfill found into records of this shard.
    #[cold]
    pub(super) fn merge_all(&mut self, ops: &[u8]) -> MergeAnswer {
        let mut answer = MergeAnswer {
            shard: self.id,
            left: Vec::new(),
            is_out_of_memory: false,
            merged: 0,
            too_large: 0,
            end: 0,
        };
        for op in op::iter(ops) {
            let op = op.expect("an operation as it was encoded");
            match self.merge(op) {
                Some(Merged::Done) => answer.merged += 1,
                Some(Merged::Nothing) => {}
                Some(Merged::TooLarge) => answer.too_large += 1,
                Some(Merged::OutOfMemory) => {
                    answer.is_out_of_memory = true;
                    answer.left.extend_from_slice(op);
                }
                None => answer.left.extend_from_slice(op),
            }
        }
        answer.end = self.group.end();
        answer
    }

    /// `None`: the log has no room for it, or the shard is being loaded.
    fn merge(&mut self, op: &[u8]) -> Option<Merged> {
        let engine = self.engine.as_mut()?;
        let group = &mut self.group;
        let evicted = engine.make_room_for_event(&self.catalogue, |op| group.log_removal(op));
        self.counters.evicted += evicted as u64;
        self.group.admit(op.len(), self.now_ms).ok()?;
        let position = self.group.next_position();
        let merged = match AnyOp::decode(op).expect("an operation as it was encoded") {
            AnyOp::Merge(merge) => engine.merge(&self.catalogue, &merge, self.now_ms, position),
            AnyOp::Event(note) if engine.note(&self.catalogue, &note) => {
                self.group.push(op, false);
                return Some(Merged::Nothing);
            }
            AnyOp::Event(_) | AnyOp::Remove(_) => Merged::Nothing,
        };
        if merged == Merged::Done {
            self.group.push(op, false);
        }
        Some(merged)
    }

    /// Makes room in memory for the next tick, where there is little.
    pub(super) fn make_room(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        let group = &mut self.group;
        let evicted = engine.make_room(&self.catalogue, |op| group.log_removal(op));
        self.counters.evicted += evicted as u64;
    }

    /// Reads an entity of this shard; appends the reply.
    #[inline]
    pub(super) fn answer_read(
        &mut self,
        stream: &windrow_engine::Stream,
        what: &ReadWhat,
        proto: Proto,
        (entity, hint): (&[u8], Hint),
        time: ReadTime,
        out: &mut Vec<u8>,
    ) {
        let engine = self.engine.as_ref().expect("data commands are served once the shard is loaded");
        self.counters.reads += 1;
        match what {
            ReadWhat::Row(query) => {
                self.rows.values.clear();
                let read = engine.read(&self.catalogue, stream, entity, hint, query, time, &mut self.rows);
                if read == Err(Superseded) {
                    return self.refuse_superseded(out);
                }
            }
            ReadWhat::Pairs { plan, from, to } => {
                self.rows.pairs.clear();
                let pairs = *from as usize..*to as usize;
                let read = engine.range(&self.catalogue, stream, entity, hint, plan, pairs, &mut self.rows);
                if read == Err(Superseded) {
                    // The array's header was sent: it gets as many elements as it promised.
                    return (*from..*to).for_each(|_| self.refuse_superseded(out));
                }
            }
            ReadWhat::Entity => {
                let info = engine.entity_info(&self.catalogue, stream, entity, hint, self.now_ms);
                return write_entity_info(out, proto, stream, info.as_ref());
            }
        }
        self.write_answer(stream, what, proto, time, out);
    }

    /// Reads an entity of another shard here, out of that shard's memory; appends the reply.
    ///
    /// # Errors
    /// [`AskOwner`]: nothing was appended; its owner must answer.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the parts of one question, which lies in a staged item")]
    pub(super) fn answer_read_of(
        &mut self,
        owner: usize,
        stream: &windrow_engine::Stream,
        what: &ReadWhat,
        proto: Proto,
        entity: Hashed<'_>,
        time: ReadTime,
        out: &mut Vec<u8>,
    ) -> Result<(), AskOwner> {
        let peers = self.peers.as_ref().expect("data commands are served once the shard is loaded");
        let (reader, participant) = (&peers.readers[owner], &peers.participant);
        let position = match what {
            ReadWhat::Row(query) => {
                self.rows.values.clear();
                reader.read(participant, stream, entity, query, time, &mut self.rows)?
            }
            ReadWhat::Pairs { plan, from, to } => {
                self.rows.pairs.clear();
                let pairs = *from as usize..*to as usize;
                reader.range(participant, stream, entity, plan, pairs, &mut self.rows)?
            }
            ReadWhat::Entity => {
                let (info, position) =
                    reader.entity_info(participant, &self.catalogue, stream, entity, self.now_ms)?;
                if !self.may_show_read(owner, position) {
                    return Err(AskOwner);
                }
                self.counters.reads += 1;
                write_entity_info(out, proto, stream, info.as_ref());
                return Ok(());
            }
        };
        // The owner knows when to answer.
        if !self.may_show_read(owner, position) {
            return Err(AskOwner);
        }
        self.counters.reads += 1;
        self.write_answer(stream, what, proto, time, out);
        Ok(())
    }

    /// Whether what was read of another shard's entity may be shown. That there is nothing (position 0) may be the work of a removal
    /// that is not safe yet: under `always` its owner tells.
    #[inline]
    fn may_show_read(&self, owner: usize, position: u64) -> bool {
        let is_miss = position == 0 && self.config.appendfsync == AppendFsync::Always;
        !is_miss && self.may_show(owner, position)
    }

    /// Whether what an operation of another shard made may be shown: nothing that a power loss could take back.
    #[inline]
    pub(crate) fn may_show(&self, owner: usize, position: u64) -> bool {
        self.config.appendfsync != AppendFsync::Always || {
            let durable_ops = self.shared.shards[owner].numbers.log_durable.load(Ordering::Relaxed);
            self.group.is_durable(position, durable_ops)
        }
    }

    #[cold]
    fn refuse_superseded(&mut self, out: &mut Vec<u8>) {
        self.counters.errors += 1;
        reply::error_display(out, format_args!("TRYAGAIN the stream was altered while it was read"));
    }

    /// Walks a slice of `owner`'s entities.
    pub(crate) fn scan_slice(
        &mut self,
        owner: usize,
        stream: &windrow_engine::Stream,
        cursor: Cursor,
        rows_max: usize,
        out: &mut Vec<Vec<u8>>,
    ) -> Slice {
        let peers = self.peers.as_ref().expect("data commands are served once the shard is loaded");
        let (reader, participant) = (&peers.readers[owner], &peers.participant);
        let slice = reader.scan(participant, &mut self.scan, stream, cursor, rows_max, self.now_ms, out);
        self.counters.reads += 1;
        slice
    }

    /// Writes what was read last.
    #[inline]
    fn write_answer(
        &mut self,
        stream: &windrow_engine::Stream,
        what: &ReadWhat,
        proto: Proto,
        time: ReadTime,
        out: &mut Vec<u8>,
    ) {
        match what {
            ReadWhat::Row(query) => write_row(out, proto, stream, query, time, &self.rows.values),
            ReadWhat::Pairs { .. } => write_pairs(out, proto, &self.rows.pairs),
            ReadWhat::Entity => unreachable!("what is known of an entity is written at once"),
        }
        if self.rows.values.capacity() > RESULTS_KEPT {
            self.rows.values = Vec::new();
        }
    }

    /// Whether a write of this shard's entity should wait for the log, as it would for another shard's credit.
    #[inline]
    pub(crate) fn holds_writes(&mut self) -> bool {
        let holds = self.group.should_wait(self.staged.payload_bytes());
        self.is_held_by_log |= holds;
        holds
    }

    /// Stage one: what finds the item's record starts to be loaded.
    #[inline]
    pub(super) fn prefetch_index(&self, item: &Item) {
        let (Some(engine), Some(peers)) = (&self.engine, &self.peers) else { return };
        match &item.kind {
            ItemKind::Read { owner, .. } if *owner != self.id => peers.prefetch_index(*owner, item.hint.hash),
            ItemKind::Add | ItemKind::Read { .. } => engine.prefetch_index(item.hint.hash),
            ItemKind::Literal => {}
        }
    }

    /// What an entity's record is found by, on whichever shard.
    #[inline]
    pub(crate) fn hash(&self, stream: StreamId, entity: &[u8]) -> u64 {
        self.peers.as_ref().expect("data commands are served once the shard is loaded").hash(stream, entity)
    }

    /// Where rows are evaluated, keyed by the secret of the data directory.
    pub(super) fn keyed_rows(&self) -> Rows {
        Rows::keyed(self.hash_key().hash(StreamId(0), b"rows"))
    }

    pub(super) fn key_rows(&mut self) {
        self.rows = self.keyed_rows();
    }

    /// What ids and sources are made fingerprints with.
    #[inline]
    pub(crate) fn hash_key(&self) -> HashKey {
        self.peers.as_ref().expect("data commands are served once the shard is loaded").hash_key()
    }

    /// Stage two: where the item's record probably is, once what finds it is loaded.
    #[inline]
    pub(super) fn find(&self, item: &mut Item) {
        let (Some(engine), Some(peers)) = (&self.engine, &self.peers) else { return };
        match &item.kind {
            ItemKind::Read { read, owner, .. } if *owner != self.id => {
                peers.prefetch_record(*owner, item.hint.hash, read.lines);
            }
            ItemKind::Add | ItemKind::Read { .. } => item.hint = engine.prefetch_record(item.hint.hash, 0),
            ItemKind::Literal => {}
        }
    }

    /// Stage three: the first line of the record starts to be loaded.
    #[inline]
    pub(super) fn prefetch_first(&self, item: &Item) {
        if let Some(engine) = &self.engine {
            engine.prefetch_lines(item.hint, 0..1);
        }
    }

    /// Stage four: the other lines.
    #[inline]
    pub(super) fn prefetch_rest(&self, item: &Item) {
        let Some(engine) = &self.engine else { return };
        match &item.kind {
            // A constant: no loop.
            ItemKind::Add => engine.prefetch_lines(item.hint, 1..LINES_OF_A_WRITE),
            ItemKind::Read { read, .. } => engine.prefetch_lines(item.hint, 1..read.lines),
            ItemKind::Literal => {}
        }
    }

    /// Stage five: the cells that an operation will change, the columns that a read will look at.
    #[inline]
    pub(super) fn prefetch_cells(&self, bytes: &[u8], item: &mut Item) {
        let Some(engine) = &self.engine else { return };
        match &item.kind {
            ItemKind::Add => {
                item.has_blocks = engine.prefetch_cells(&self.catalogue, bytes, item.hint);
            }
            ItemKind::Read { read, .. } if !read.ahead.is_empty() => {
                engine.prefetch_columns(&read.stream, &read.ahead, item.hint);
            }
            ItemKind::Read { .. } | ItemKind::Literal => {}
        }
    }

    /// Stage six: the sketches that an operation will look at.
    #[inline]
    pub(super) fn prefetch_blocks(&self, op: &[u8], hint: Hint) {
        if let Some(engine) = &self.engine {
            engine.prefetch_blocks(&self.catalogue, op, hint);
        }
    }

    /// Answers another shard's question.
    pub(super) fn answer(&mut self, question: Question<'_>, hint: Hint, out: &mut Vec<u8>) -> u64 {
        match question {
            Question::Write(op) => self.answer_write(op, hint, out),
            Question::Read { read, entity, time } => {
                self.answer_read(&read.stream, &read.what, read.proto, (entity, hint), time, out);
                0
            }
        }
    }

    /// What other shards' DBSIZE and INFO see: published before the replies of this tick leave.
    pub(crate) fn publish_engine(&mut self) {
        let numbers = &self.shared.shards[self.id].numbers;
        if let Some(engine) = &self.engine {
            numbers.entities.store(engine.entities(), Ordering::Relaxed);
            let buffer_bytes =
                self.pool.allocated_bytes() + self.group.allocated_bytes() + self.staged.allocated_bytes();
            numbers.memory.publish(&engine.usage(), engine.dedup_usage(), buffer_bytes);
        }
        if let Some(state) = self.group.state() {
            numbers.log_written.store(state.written, Ordering::Relaxed);
            numbers.log_durable.store(state.durable, Ordering::Relaxed);
        }
    }

    /// Bytes that an entity's record takes, on whichever shard; `None`: it has none.
    pub(crate) fn record_bytes(&self, stream: StreamId, entity: &[u8]) -> Result<Option<usize>, AskOwner> {
        const ATTEMPTS_MAX: usize = 64;
        let peers = self.peers.as_ref().expect("data commands are served once the shard is loaded");
        let reader = &peers.readers[self.owner(entity)];
        let hashed = Hashed { name: entity, hash: peers.hash(stream, entity) };
        let mut attempts = (0..ATTEMPTS_MAX).map(|_| reader.record_bytes(&peers.participant, stream, hashed));
        attempts.find(Result::is_ok).unwrap_or(Err(AskOwner))
    }

    /// The position that replies added in this tick must wait for: `has_writes`, or only reads.
    #[inline]
    pub(super) fn reply_position(&self, has_writes: bool) -> Option<u64> {
        (has_writes || self.config.appendfsync == AppendFsync::Always).then(|| self.group.end())
    }
}

/// Other shards' questions come with hashes alone.
impl Answerer for Core {
    #[inline]
    fn will_find(&self, hash: u64) {
        if let Some(engine) = &self.engine {
            engine.prefetch_index(hash);
        }
    }

    #[inline]
    fn will_use(&self, hash: u64) -> Hint {
        self.engine.as_ref().map_or(Hint::of(hash), |engine| engine.prefetch_record(hash, LINES_OF_A_WRITE))
    }

    #[inline]
    fn will_change(&self, op: &[u8], hint: Hint) {
        if let Some(engine) = &self.engine {
            // Whether there are blocks of sketches to ask for next is passed over: another shard's questions have no stage for that.
            engine.prefetch_cells(&self.catalogue, op, hint);
        }
    }
}

/// One shard's share of `maxmemory`; 0 stays 0.
pub(crate) fn maxmemory_share(maxmemory_bytes: u64, shards: usize) -> usize {
    usize::try_from(maxmemory_bytes).unwrap_or(usize::MAX).div_ceil(shards)
}

/// Says that an entity's record is as large as one can be.
#[cold]
fn refuse_full(catalogue: &Catalogue, op: &[u8], out: &mut Vec<u8>) {
    let op = Op::decode(op).expect("an operation as it was encoded");
    let stream = catalogue.by_layout(op.layout).map_or("", |stream| &*stream.definition.name);
    let entity = quote(op.entity);
    reply::error_display(
        out,
        format_args!(
            "ERR the record of {entity} in stream '{stream}' is full: its sketches have reached the {} bytes that a record may have; \
             use a smaller k or precision, shorter windows or wider buckets",
            windrow_memory::CHUNK_BYTES
        ),
    );
}
