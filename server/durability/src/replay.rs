//! Replay: the operations of the log, dealt in portions to the shards that own their entities.
//!
//! An entity's operations go to one shard in the order of the log, so each shard ends up as if it had read the log
//! alone; a stream's clock is a maximum, for which the order does not matter. Who applies a portion when, and on which
//! thread, is the caller's matter, as long as each shard gets its own in order.

use std::error::Error;
use std::fmt;

use windrow_engine::op::{self, AnyOp, OpError};
use windrow_engine::{Catalogue, Shard, slot};

/// Operations go to a shard in portions of about so many bytes.
const PORTION_BYTES: usize = 256 << 10;

/// Takes the portions of the shards.
pub type Sink<'a> = dyn FnMut(usize, Portion) -> Result<(), Stopped> + 'a;

/// Deals operations to shards.
pub struct Dealer<'a> {
    /// What is collected for each shard.
    portions: Vec<Portion>,
    sink: &'a mut Sink<'a>,
}

/// Operations of one shard, and the packed position of each.
#[derive(Debug, Default)]
pub struct Portion {
    ops: Vec<u8>,
    positions: Vec<u64>,
}

/// A shard takes no more: its own error says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shard could not apply an operation of the log")
    }
}

impl Error for Stopped {}

impl Portion {
    /// Applies the operations to the shard that they were dealt to.
    ///
    /// # Errors
    /// The first operation that is none, or not one of this catalogue.
    pub fn apply(&self, catalogue: &Catalogue, shard: &mut Shard) -> Result<(), OpError> {
        for (op, &position) in op::iter(&self.ops).zip(&self.positions) {
            shard.replay(catalogue, op?, position)?;
        }
        Ok(())
    }
}

impl<'a> Dealer<'a> {
    /// Deals to `shards` shards, whose portions `sink` takes.
    pub fn new(shards: usize, sink: &'a mut Sink<'a>) -> Self {
        assert!(shards > 0, "operations are dealt to somebody");
        Dealer { portions: (0..shards).map(|_| Portion::default()).collect(), sink }
    }

    /// Deals the operations of one group, the first of which is at the packed position `first`.
    ///
    /// # Errors
    /// When the bytes are not operations, or a shard takes no more.
    pub fn deal(&mut self, first: u64, ops: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.deal_behind(0, first, ops)
    }

    /// Deals those operations of a group that are behind the packed position `seen`.
    ///
    /// # Errors
    /// As [`Dealer::deal`].
    pub fn deal_behind(
        &mut self,
        seen: u64,
        first: u64,
        ops: &[u8],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let shards = self.portions.len();
        for (op, position) in op::iter(ops).zip(first..) {
            let op = op?;
            if position <= seen {
                continue;
            }
            let entity = AnyOp::decode(op)?.entity();
            let shard = slot::shard_of(slot::hash_slot(entity), shards);
            let portion = &mut self.portions[shard];
            portion.ops.extend_from_slice(op);
            portion.positions.push(position);
            if portion.ops.len() >= PORTION_BYTES {
                self.send(shard)?;
            }
        }
        Ok(())
    }

    /// Hands out what is left.
    ///
    /// # Errors
    /// When a shard takes no more.
    pub fn finish(mut self) -> Result<(), Stopped> {
        (0..self.portions.len()).try_for_each(|shard| self.send(shard))
    }

    fn send(&mut self, shard: usize) -> Result<(), Stopped> {
        let portion = std::mem::take(&mut self.portions[shard]);
        if portion.ops.is_empty() { Ok(()) } else { (self.sink)(shard, portion) }
    }
}

#[cfg(test)]
mod tests {
    use windrow_engine::catalogue::Created;
    use windrow_engine::{HashKey, ShardConfig, form};
    use windrow_memory::Domain;
    use windrow_window::Definition;

    use super::*;

    const SHARDS: usize = 3;
    const KEY: HashKey = HashKey([1, 2]);

    fn shards() -> Vec<Shard> {
        let (domain, _) = Domain::with_participants(0);
        let config = ShardConfig { hash_key: KEY, maxmemory_bytes: 0, reserved_bytes: 64 << 20 };
        (0..SHARDS).map(|_| Shard::new(config, &domain).unwrap()).collect()
    }

    fn catalogue() -> Catalogue {
        let definition = Definition::parse_text("s", "WINDOWS 1h@1m AGGREGATE count").unwrap();
        match Catalogue::default().created(definition, 0).unwrap() {
            Created::New(catalogue) => catalogue,
            Created::Same => unreachable!("the catalogue was empty"),
        }
    }

    fn group_of_a_hundred(catalogue: &Catalogue, group: u64) -> Vec<u8> {
        let stream = catalogue.stream(b"s").unwrap();
        let mut ops = Vec::new();
        for i in 0..100 {
            let entity = format!("e{}", group * 100 + i);
            form::encode_add(&mut ops, stream, entity.as_bytes(), [&b"*"[..]].into_iter(), 1_000, &KEY)
                .unwrap();
        }
        ops
    }

    #[test]
    fn every_operation_reaches_its_owner() {
        let catalogue = catalogue();
        let mut shards = shards();
        let mut apply = |shard: usize, portion: Portion| {
            portion.apply(&catalogue, &mut shards[shard]).map_err(|_| Stopped)
        };
        let mut dealer = Dealer::new(SHARDS, &mut apply);
        for group in 0..200 {
            dealer.deal(1 + group * 100, &group_of_a_hundred(&catalogue, group)).unwrap();
        }
        dealer.finish().unwrap();
        assert_eq!(shards.iter().map(Shard::entities).sum::<u64>(), 20_000);
        assert!(shards.iter().all(|shard| shard.entities() > 5_000));
    }

    #[test]
    fn a_shard_that_takes_no_more_ends_the_dealing() {
        let catalogue = catalogue();
        let mut refuse = |_: usize, _: Portion| Err(Stopped);
        let mut dealer = Dealer::new(SHARDS, &mut refuse);
        dealer.deal(1, &group_of_a_hundred(&catalogue, 0)).unwrap();
        assert_eq!(dealer.finish(), Err(Stopped));
    }
}
