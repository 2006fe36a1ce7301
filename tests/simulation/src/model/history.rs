//! Every operation that was decided, in the order of decisions; where each stands in which log; what was promised of it.

use std::collections::BTreeMap;
use std::fmt;

use super::page::{Decision, Page};

/// Epoch and shard.
pub type LogId = (u32, u16);

/// An operation's place: log, and number in it from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The log.
    pub log: LogId,
    /// The operation.
    pub ops: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.log.0, self.log.1, self.ops)
    }
}

/// What ended a server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It stopped by itself.
    Stop,
    /// The process ended; the page cache is still there.
    Process,
    /// The power went.
    Power,
}

#[derive(Debug, Clone)]
struct Entry {
    stream: u32,
    decision: Decision,
    place: Place,
    /// The server's clock when it was decided.
    now_ms: i64,
}

/// What was promised of a log: operations up to these come back.
#[derive(Debug, Clone, Copy, Default)]
struct Promised {
    /// After the end of the process.
    process: u64,
    /// After a power loss.
    power: u64,
    /// The last write that was acknowledged.
    acknowledged: u64,
}

/// What a log had come to when its server's life ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogAtEnd {
    /// Operations whose write had returned.
    pub written: u64,
    /// Operations that were synced.
    pub durable: u64,
}

/// All decisions that were not taken back, and what they add up to.
#[derive(Debug, Default)]
pub struct History {
    entries: Vec<Entry>,
    page: Page,
    promised: BTreeMap<LogId, Promised>,
}

impl History {
    /// What all decisions add up to.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All decisions, each with its stream, by where they stand.
    pub fn by_place(&self) -> BTreeMap<Place, (u32, &Decision)> {
        self.entries.iter().map(|entry| (entry.place, (entry.stream, &entry.decision))).collect()
    }

    /// An operation was decided.
    pub fn decide(&mut self, stream: u32, decision: Decision, place: Place, now_ms: i64) {
        self.page.add(stream, &decision, place);
        self.entries.push(Entry { stream, decision, place, now_ms });
    }

    /// A client was told of an operation that was written.
    pub fn promise_written(&mut self, place: Place) {
        let promised = self.promised.entry(place.log).or_default();
        promised.process = promised.process.max(place.ops);
        promised.acknowledged = promised.acknowledged.max(place.ops);
    }

    /// A client was shown what no power loss may take back.
    pub fn promise_durable(&mut self, place: Place) {
        let promised = self.promised.entry(place.log).or_default();
        promised.power = promised.power.max(place.ops);
    }

    /// Judges where the logs of an epoch ended, by what was promised.
    ///
    /// # Errors
    /// A promise that was broken.
    pub fn judge_ends(
        &self,
        epoch: u32,
        ending: Ending,
        logs: &[LogAtEnd],
        found: &[u64],
        lag_max_ms: Option<i64>,
    ) -> Result<(), String> {
        for (shard, (log, &found)) in logs.iter().zip(found).enumerate() {
            let id = (epoch, shard as u16);
            let promised = self.promised.get(&id).copied().unwrap_or_default();
            let decided = self.entries.iter().filter(|entry| entry.place.log == id);
            let decided = decided.map(|entry| entry.place.ops).max().unwrap_or(0);
            let least = match ending {
                Ending::Power => promised.power.max(log.durable),
                Ending::Process | Ending::Stop => promised.process.max(log.written),
            };
            if found < least || found > decided {
                return Err(format!(
                    "log {epoch}.{shard} came back with {found} operations after {ending:?}: at least {least} must, at most {decided} \
                     can ({promised:?}, {log:?})"
                ));
            }
            if let Some(lag_max_ms) = lag_max_ms.filter(|_| ending == Ending::Power) {
                self.judge_lag(id, found, promised.acknowledged, lag_max_ms)?;
            }
        }
        Ok(())
    }

    /// Under everysec: what was acknowledged and is lost was written within a second.
    fn judge_lag(&self, id: LogId, found: u64, acknowledged: u64, lag_max_ms: i64) -> Result<(), String> {
        let lost = self
            .entries
            .iter()
            .filter(|entry| entry.place.log == id && (found + 1..=acknowledged).contains(&entry.place.ops));
        let times: Vec<i64> = lost.map(|entry| entry.now_ms).collect();
        let span = times.iter().max().zip(times.iter().min()).map_or(0, |(last, first)| last - first);
        if span > lag_max_ms {
            return Err(format!(
                "log {id:?} lost acknowledged writes of {span} ms, from operation {found} to {acknowledged}"
            ));
        }
        Ok(())
    }

    /// From now on the logs of an epoch end there, for good. Gives how many operations are gone.
    pub fn settle(&mut self, epoch: u32, found: &[u64]) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| {
            let (log_epoch, shard) = entry.place.log;
            log_epoch != epoch || entry.place.ops <= found.get(usize::from(shard)).copied().unwrap_or(0)
        });
        self.promised.clear();
        self.page = Page::default();
        for entry in &self.entries {
            self.page.add(entry.stream, &entry.decision, entry.place);
        }
        before - self.entries.len()
    }
}
