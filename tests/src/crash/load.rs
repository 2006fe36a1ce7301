//! A crew of connections that write, read and change streams, and the ledger that they keep over all restarts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::changes::Changer;
use super::entity::{Entity, FEATURES, Promise, Row, State, Step};
use super::findings::Findings;
use super::shown::Reader;
use super::writer::{Begun, Counts, Writer};
use crate::resp::{Conn, Reply};

/// Connections that write.
const WRITERS: usize = 4;
/// Entities of one look at the ledger.
const ROWS: usize = 200;
/// Under `everysec` this is what a power cut may take back of what was acknowledged to one connection before its last answer.
const EVERYSEC_MS: u64 = 1000;
/// A reply may be read later than it was sent.
const READ_LATE_MS: u64 = 250;

/// What a restart must bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// Every acknowledged operation.
    Acknowledged,
    /// Every acknowledged operation, and every state that a read has shown.
    Shown,
    /// Of each connection, what was acknowledged more than a second before its last acknowledgement.
    UpToLastSecond,
    /// Some prefix of each entity's operations.
    AnyPrefix,
}

/// The connections' parts of the ledger, while no load runs.
#[derive(Debug)]
pub struct Crew {
    writers: Vec<Writer>,
    reader: Reader,
    changer: Changer,
}

impl Crew {
    /// For a new, empty server.
    pub fn new(seed: u64) -> Crew {
        let begun: Arc<[Begun]> = (0..WRITERS).map(|_| Begun::default()).collect();
        let writers = (0..WRITERS).map(|place| Writer::new(place, seed, Arc::clone(&begun))).collect();
        Crew { writers, reader: Reader::new(seed, begun), changer: Changer::new(seed) }
    }

    /// Sets them to work.
    pub fn start(self, addr: SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::new(AtomicBool::new(false));
        let Crew { writers, mut reader, mut changer } = self;
        let writers = writers
            .into_iter()
            .map(|mut writer| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    writer.run(addr, &stop);
                    writer
                })
            })
            .collect();
        let reader = {
            let (stop, is_over) = (Arc::clone(&stop), Arc::clone(&is_over));
            std::thread::spawn(move || {
                reader.run(addr, &stop, &is_over);
                reader
            })
        };
        let changer = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                changer.run(addr, &stop);
                changer
            })
        };
        Load { stop, is_over, writers, reader, changer }
    }

    /// Sends again what is undecided until nothing is.
    pub fn settle(&mut self, addr: SocketAddr, findings: &mut Findings) {
        for writer in &mut self.writers {
            if let Err(error) = writer.settle(addr) {
                findings.wrong_answer(format!("events could not be sent again: {error}"));
            }
        }
    }

    /// Compares what is there with the ledger; from then on what is there is the truth.
    pub fn judge(&mut self, conn: &mut Conn, survives: Survives, findings: &mut Findings) {
        for writer in &mut self.writers {
            findings.add(std::mem::take(&mut writer.findings), "while writing");
            let promise = match survives {
                Survives::Acknowledged | Survives::Shown => Promise::All,
                Survives::AnyPrefix => Promise::Nothing,
                Survives::UpToLastSecond => {
                    let age = Duration::from_millis(EVERYSEC_MS + READ_LATE_MS);
                    writer
                        .last_acknowledged
                        .and_then(|last| last.checked_sub(age))
                        .map_or(Promise::Nothing, Promise::Before)
                }
            };
            let mut entities: Vec<&mut Entity> = writer.entities_mut().collect();
            for chunk in entities.chunks_mut(ROWS) {
                judge_rows(
                    conn,
                    chunk,
                    promise,
                    |name| self.reader.shown.get(name).copied(),
                    survives,
                    findings,
                );
            }
        }
        findings.add(std::mem::take(&mut self.reader.findings), "while reading");
        self.reader.shown.clear();
        findings.add(std::mem::take(&mut self.changer.findings), "while changing streams");
        self.changer.judge(conn, findings);
    }

    /// Reads all entities, so that what the server has yet to fetch of them is fetched. Fails when it restarts itself over it.
    pub fn touch(&mut self, addr: SocketAddr) -> io::Result<()> {
        let mut conn = Conn::open(addr)?;
        for writer in &mut self.writers {
            let names: Vec<&str> = writer.entities_mut().map(|entity| entity.name()).collect();
            for chunk in names.chunks(ROWS) {
                let command = format!("WINDOW.MGET {} {} load count:all", chunk.len(), chunk.join(" "));
                let args: Vec<&[u8]> = command.split_whitespace().map(str::as_bytes).collect();
                if let Reply::Error(text) = conn.try_args(&args)? {
                    return Err(io::Error::other(text));
                }
            }
        }
        Ok(())
    }

    /// FLUSHALL was sent: all that is there goes.
    pub fn flushed(&mut self, is_acknowledged: bool) {
        for writer in &mut self.writers {
            for entity in writer.entities_mut() {
                entity.send(Step::Delete);
                if is_acknowledged {
                    entity.acknowledge(Step::Delete, Instant::now());
                }
            }
        }
    }

    /// What the writers have come to, all together.
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for Writer { counts, .. } in &self.writers {
            all.acknowledged += counts.acknowledged;
            all.refused += counts.refused;
            all.unknown += counts.unknown;
            all.retried += counts.retried;
        }
        all.acknowledged += self.changer.acknowledged;
        all
    }

    /// Reads that were answered.
    pub fn reads(&self) -> u64 {
        self.reader.reads
    }

    /// Snapshots that were acknowledged.
    pub fn snapshots(&self) -> u64 {
        self.changer.snapshots
    }

    /// When a writer was last acknowledged something.
    pub fn last_acknowledged(&self) -> Option<Instant> {
        self.writers.iter().filter_map(|writer| writer.last_acknowledged).max()
    }
}

fn judge_rows(
    conn: &mut Conn,
    entities: &mut [&mut Entity],
    promise: Promise,
    shown: impl Fn(&str) -> Option<State>,
    survives: Survives,
    findings: &mut Findings,
) {
    let names: Vec<&str> = entities.iter().map(|entity| entity.name()).collect();
    let command = format!("WINDOW.MGET {} {} load {FEATURES}", names.len(), names.join(" "));
    let args: Vec<&[u8]> = command.split_whitespace().map(str::as_bytes).collect();
    let rows = match conn.try_args(&args) {
        Ok(Reply::Array(rows)) if rows.len() == entities.len() => rows,
        other => return findings.wrong_answer(format!("{command} was answered {other:?}")),
    };
    for (entity, row) in entities.iter_mut().zip(&rows) {
        let shown = if survives == Survives::Shown { shown(entity.name()) } else { None };
        match Row::read(row) {
            Some(row) => entity.judge(&row, promise, shown, findings),
            None => findings.wrong_answer(format!("{} was answered {row:?}", entity.name())),
        }
    }
}

/// A crew at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Writer>>,
    reader: JoinHandle<Reader>,
    changer: JoinHandle<Changer>,
}

impl Load {
    /// From now on what reads show is not held against the server: its log may have failed.
    pub fn is_over(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Whether a connection has ended by itself, which nobody but a dying server makes it do.
    pub fn has_lost_one(&self) -> bool {
        self.writers.iter().any(JoinHandle::is_finished)
            || self.reader.is_finished()
            || self.changer.is_finished()
    }

    /// Stops them all; the ledger.
    ///
    /// # Panics
    /// When one of them did.
    pub fn finish(self) -> Crew {
        self.stop.store(true, Ordering::Relaxed);
        let writers =
            self.writers.into_iter().map(|writer| writer.join().expect("a writer does not panic")).collect();
        Crew {
            writers,
            reader: self.reader.join().expect("a reader does not panic"),
            changer: self.changer.join().expect("a changer does not panic"),
        }
    }
}
