//! What outlives a server: clients, the model, clocks, and the chance of a history.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::client::{Client, STREAMS};
use crate::clock::Clocks;
use crate::coverage::{Coverage, Tried};
use crate::dice::{Dice, Subject};
use crate::model::stream::KINDS;
use crate::model::{History, Streams};
use crate::plan::Plan;
use crate::trace::Trace;

/// Something that must not happen.
pub type Broken = String;

/// When histories begin.
const START_MS: i64 = 1_700_000_000_123;

/// What outlives a server.
pub struct World {
    /// The shape of the history.
    pub plan: Plan,
    /// What was decided, and what it adds up to.
    pub history: History,
    /// Streams by version of the catalogue: those that a server wrote or tried to write.
    pub versions: BTreeMap<u64, Streams>,
    /// The version that was acknowledged last.
    pub acknowledged_version: u64,
    /// The largest event time that each stream with CLOCK EVENT ever received.
    pub clocks_received: BTreeMap<u32, i64>,
    /// The clocks.
    pub clocks: Clocks,
    /// The clients.
    pub clients: Vec<Client>,
    /// Number of the latest event.
    pub event_number: u64,
    /// Number of the latest command.
    pub command_number: u64,
    /// What was tried.
    pub coverage: Coverage,
    /// Steps so far.
    pub step: u64,
    /// Chance, by subject.
    pub schedule: Dice,
    /// Chance of the clients.
    pub asking: Dice,
    /// Chance of faults.
    pub faults: Dice,
    /// Chance of messages.
    pub links: Dice,
    /// Chance of the clock.
    pub setting: Dice,
    /// Chance of snapshots.
    pub snapshots: Dice,
    /// Chance of what clients ask that not every history has.
    pub asking_extras: Dice,
    /// Chance of `maxmemory`.
    pub memory: Dice,
    trace: Trace,
}

impl World {
    /// The beginning of a history.
    pub fn new(plan: Plan, trace: Trace) -> World {
        let seed = plan.seed;
        let mut asking = Dice::new(seed, Subject::Clients);
        let clients = (0..plan.clients as u64).map(|number| Client::new(number, &mut asking)).collect();
        World {
            plan,
            history: History::default(),
            versions: BTreeMap::from([(0, Rc::new(BTreeMap::new()))]),
            acknowledged_version: 0,
            clocks_received: BTreeMap::new(),
            clocks: Clocks::new(START_MS),
            clients,
            event_number: 0,
            command_number: 0,
            coverage: Coverage::default(),
            step: 0,
            schedule: Dice::new(seed, Subject::Schedule),
            asking,
            faults: Dice::new(seed, Subject::Faults),
            links: Dice::new(seed, Subject::Links),
            setting: Dice::new(seed, Subject::Clock),
            snapshots: Dice::new(seed, Subject::Snapshots),
            asking_extras: Dice::new(seed, Subject::Asking),
            memory: Dice::new(seed, Subject::Memory),
            trace,
        }
    }

    /// Tells what happens.
    pub fn say(&self, what: fmt::Arguments<'_>) {
        self.trace.say(self.step, what);
    }

    /// Once more.
    pub fn note(&mut self, what: Tried) {
        self.coverage.note(what);
    }

    /// The streams at a version of the catalogue.
    pub fn streams(&self, version: u64) -> Result<Streams, Broken> {
        let streams = self.versions.get(&version);
        streams.cloned().ok_or_else(|| format!("nobody made version {version} of the catalogue"))
    }

    /// Names and kinds of the streams at a version, for clients to choose from.
    pub fn live_streams(&self, version: u64) -> Vec<(&'static str, usize)> {
        let Some(streams) = self.versions.get(&version) else { return Vec::new() };
        let kind_of = |kind| KINDS.iter().position(|known| std::ptr::eq(known, kind)).unwrap_or(0);
        let mut live: Vec<(&'static str, usize)> =
            streams.values().map(|stream| (stream.name, kind_of(stream.kind))).collect();
        live.sort_unstable();
        live.retain(|(name, _)| STREAMS.contains(name));
        live
    }
}

/// The name of an entity; some share a hash slot by their tag.
pub fn entity_name(entity: usize) -> Vec<u8> {
    if entity % 3 == 2 {
        format!("{{tag}}:{entity}").into_bytes()
    } else {
        format!("user:{entity}").into_bytes()
    }
}

/// The name of a source.
pub fn source_name(source: u64) -> String {
    format!("source:{source}")
}
