//! A connection that reads while others write: what it was shown is a state that was, and under `always` one that stays.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::entity::{FEATURES, Row, State};
use super::findings::Findings;
use super::writer::{Begun, KINDS, entity_name};
use crate::resp::{Conn, Reply};

/// Rows of one read.
const ROWS: usize = 6;
/// The newest entities of a kind are those that are written to.
const NEWEST: usize = 5;
/// Reads are here to look, not to load.
const PAUSE: Duration = Duration::from_micros(300);

/// A reader, and the last state that it was shown of each entity.
#[derive(Debug)]
pub struct Reader {
    random: StdRng,
    begun: Arc<[Begun]>,
    /// By name.
    pub shown: HashMap<String, State>,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that failed, or showed half an event.
    pub findings: Findings,
}

impl Reader {
    /// Of the entities of all writers.
    pub fn new(seed: u64, begun: Arc<[Begun]>) -> Reader {
        let random = StdRng::seed_from_u64(seed ^ 0x7ead);
        Reader { random, begun, shown: HashMap::new(), reads: 0, findings: Findings::default() }
    }

    /// Reads until told to stop, or until the connection breaks. Once `is_over` is set, what is shown is not kept any more.
    pub fn run(&mut self, addr: SocketAddr, stop: &AtomicBool, is_over: &AtomicBool) {
        let Ok(mut conn) = Conn::open(addr) else { return };
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
            let names = self.names();
            if names.is_empty() {
                continue;
            }
            let command = format!("WINDOW.MGET {} {} load {FEATURES}", names.len(), names.join(" "));
            let args: Vec<&[u8]> = command.split_whitespace().map(str::as_bytes).collect();
            let Ok(reply) = conn.try_args(&args) else { return };
            let is_over = is_over.load(Ordering::SeqCst);
            let Reply::Array(rows) = &reply else {
                self.findings.wrong_answer(format!("{command} was answered {reply:?}"));
                continue;
            };
            self.reads += 1;
            for (name, row) in names.into_iter().zip(rows) {
                match Row::read(row) {
                    Some(row) if row.is_whole() && is_over => {}
                    Some(row) if row.is_whole() => {
                        self.shown.insert(name, row.state());
                    }
                    Some(row) => {
                        self.findings.half_applied += 1;
                        self.findings.note(format!("a read of {name} showed {row:?}"));
                    }
                    // The stream was altered between the command and its row: said, and no state.
                    None if row.error().is_some_and(|text| text.starts_with("TRYAGAIN")) => {}
                    None => self.findings.wrong_answer(format!("a read of {name} was answered {row:?}")),
                }
            }
        }
    }

    fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..ROWS {
            let writer = self.random.random_range(0..self.begun.len());
            let kind = KINDS[self.random.random_range(0..KINDS.len())];
            let begun = self.begun[writer][kind as usize].load(Ordering::Acquire);
            if begun > 0 {
                let number = self.random.random_range(begun.saturating_sub(NEWEST)..begun);
                names.push(entity_name(writer, kind, number));
            }
        }
        names
    }
}
