//! A load whose every event leaves a mark of its own, so that a lost or a doubled one shows.
//!
//! Event k of an entity adds 2^k to `sum(bits)`: after any crash, the sum says which events were counted and the
//! count says that none was counted twice.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use windrow_tests::resp::{Conn, Reply, encode_words};

/// Bits of an i64 sum that cannot overflow.
const EVENTS_PER_ENTITY: u32 = 60;
/// Events of one pipeline; every other pipeline is one MADD.
const EVENTS_PER_PIPELINE: u32 = 20;

pub const STREAM: &str =
    "STREAM.CREATE load FIELDS bits INT WINDOWS 1h@1m all AGGREGATE count:all:1h sum(bits):all:1h";

/// What one entity was sent: bit sets.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub entity: String,
    pub sent: i64,
    pub acknowledged: i64,
}

impl Sent {
    /// The reply to one event.
    fn note(&mut self, reply: &Reply, bit: i64) {
        match reply.error() {
            // Refused before it was applied: as if never sent.
            Some(error) if error.starts_with("MISCONF ") => self.sent &= !bit,
            _ => {
                assert_eq!(*reply, Reply::Simple("OK".into()));
                self.acknowledged |= bit;
            }
        }
    }
}

/// Connections that write until they are told to stop, or the server dies.
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
    ledger: Arc<Mutex<Vec<Sent>>>,
}

impl Load {
    /// Starts `connections` writers; `name` makes their entities unlike those of other loads.
    pub fn start(addr: SocketAddr, connections: usize, name: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let ledger = Arc::new(Mutex::new(Vec::new()));
        let writers = (0..connections)
            .map(|place| {
                let (stop, ledger, name) = (stop.clone(), ledger.clone(), format!("{name}-{place}"));
                std::thread::spawn(move || write(addr, &name, &stop, &ledger))
            })
            .collect();
        Load { stop, writers, ledger }
    }

    /// Waits until so many entities were acknowledged in full.
    ///
    /// # Panics
    /// When a writer ends before: its own panic says why.
    pub fn wait_for(&self, entities: usize) {
        while self.ledger.lock().expect("no writer panicked").len() < entities {
            assert!(self.writers.iter().all(|writer| !writer.is_finished()), "a writer ended early");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops the writers; what they sent, and what was acknowledged.
    pub fn finish(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.join().expect("a writer ends without a panic");
        }
        self.ledger.lock().expect("no writer panicked").clone()
    }
}

fn write(addr: SocketAddr, name: &str, stop: &AtomicBool, ledger: &Mutex<Vec<Sent>>) {
    let Ok(mut conn) = Conn::open(addr) else { return };
    for number in 0.. {
        let mut sent = Sent { entity: format!("{name}-{number}"), ..Sent::default() };
        let complete = write_entity(&mut conn, &mut sent);
        ledger.lock().expect("no writer panicked").push(sent);
        if !complete || stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Sends the events of one entity; false when the connection broke.
fn write_entity(conn: &mut Conn, sent: &mut Sent) -> bool {
    for (round, first) in (0..EVENTS_PER_ENTITY).step_by(EVENTS_PER_PIPELINE as usize).enumerate() {
        let bits: Vec<i64> = (first..first + EVENTS_PER_PIPELINE).map(|bit| 1 << bit).collect();
        sent.sent |= bits.iter().sum::<i64>();
        let as_one_command = round % 2 == 1;
        let pipeline: Vec<u8> = if as_one_command {
            let rows: String = bits.iter().map(|bit| format!(" {} * {bit}", sent.entity)).collect();
            encode_words(&format!("EVENT.MADD load FIELDS 1 bits EVENTS{rows}"))
        } else {
            bits.iter()
                .flat_map(|bit| encode_words(&format!("EVENT.ADD {} load * bits {bit}", sent.entity)))
                .collect()
        };
        if conn.send(&pipeline).is_err() {
            return false;
        }
        if as_one_command {
            let Ok(reply) = conn.read() else { return false };
            if reply.error().is_some() {
                bits.iter().for_each(|bit| sent.note(&reply, *bit));
                continue;
            }
            for (reply, bit) in reply.into_elements().iter().zip(&bits) {
                sent.note(reply, *bit);
            }
        } else {
            for bit in bits {
                let Ok(reply) = conn.read() else { return false };
                sent.note(&reply, bit);
            }
        }
    }
    true
}

/// Every acknowledged event counted exactly once, every other at most once, in every window.
pub fn assert_counted_once(conn: &mut Conn, ledger: &[Sent], context: &str) {
    assert!(!ledger.is_empty(), "{context}: nothing was sent");
    for chunk in ledger.chunks(200) {
        let entities: Vec<&str> = chunk.iter().map(|sent| sent.entity.as_str()).collect();
        let features = "count:all sum(bits):all count:1h sum(bits):1h";
        let rows = conn.cmd(&format!("WINDOW.MGET {} {} load {features}", chunk.len(), entities.join(" ")));
        for (sent, row) in chunk.iter().zip(rows.into_elements()) {
            let row: Vec<i64> = row.into_elements().iter().map(Reply::int).collect();
            for (count, bits) in [(row[0], row[1]), (row[2], row[3])] {
                let what = format!("{context}: {sent:x?} reads as {count} events, bits {bits:x}");
                assert_eq!(i64::from(bits.count_ones()), count, "counted twice: {what}");
                assert_eq!(sent.acknowledged & !bits, 0, "acknowledged and lost: {what}");
                assert_eq!(bits & !sent.sent, 0, "never sent: {what}");
            }
        }
    }
}
