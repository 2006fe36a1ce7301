//! A connection that changes streams and asks for snapshots while others write.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::findings::Findings;
use crate::resp::{Conn, Reply};

/// Features that come and go on the stream of the load.
const FEATURES: [&str; 3] = ["max(bits)", "min(twin)", "quantile(bits,0.5)"];
/// Streams that come and go.
const STREAMS: [&str; 3] = ["side0", "side1", "side2"];
/// Longest pause between two changes.
const PAUSE_MS_MAX: u64 = 30;

/// What is known of a thing that comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    There,
    Gone,
    /// Its last change was not answered.
    Either,
}

/// The changer and its ledger.
#[derive(Debug)]
pub struct Changer {
    random: StdRng,
    things: BTreeMap<&'static str, Known>,
    /// Changes that were acknowledged.
    pub acknowledged: u64,
    /// Snapshots that were acknowledged; they may be in the making when the fault comes.
    pub snapshots: u64,
    /// What no fault explains.
    pub findings: Findings,
}

impl Changer {
    /// Of a server without any of the things.
    pub fn new(seed: u64) -> Changer {
        let things = FEATURES.iter().chain(&STREAMS).map(|name| (*name, Known::Gone)).collect();
        let random = StdRng::seed_from_u64(seed ^ 0xa17e4);
        Changer { random, things, acknowledged: 0, snapshots: 0, findings: Findings::default() }
    }

    /// Changes until told to stop, or until the connection breaks.
    pub fn run(&mut self, addr: SocketAddr, stop: &AtomicBool) {
        let Ok(mut conn) = Conn::open(addr) else { return };
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(self.random.random_range(0..PAUSE_MS_MAX)));
            let answered = if self.random.random_ratio(1, 3) {
                self.snapshot(&mut conn)
            } else {
                self.change(&mut conn)
            };
            if !answered {
                return;
            }
        }
    }

    /// False when the connection broke.
    fn change(&mut self, conn: &mut Conn) -> bool {
        let place = self.random.random_range(0..FEATURES.len() + STREAMS.len());
        let is_feature = place < FEATURES.len();
        let name = if is_feature { FEATURES[place] } else { STREAMS[place - FEATURES.len()] };
        let before = self.things[name];
        let after = match before {
            Known::There => Known::Gone,
            Known::Gone => Known::There,
            Known::Either => return true,
        };
        let command = match (is_feature, after) {
            (true, Known::There) => format!("STREAM.ALTER load ADD AGGREGATE {name}:1h"),
            (true, _) => format!("STREAM.ALTER load DROP AGGREGATE {name}"),
            (false, Known::There) => format!("STREAM.CREATE {name} WINDOWS 1h all AGGREGATE count"),
            (false, _) => format!("STREAM.DROP {name}"),
        };
        self.things.insert(name, Known::Either);
        let args: Vec<&[u8]> = command.split_whitespace().map(str::as_bytes).collect();
        match conn.try_args(&args) {
            Ok(Reply::Simple(_)) => {
                self.things.insert(name, after);
                self.acknowledged += 1;
            }
            // Not made, or not known to be made.
            Ok(Reply::Error(text)) if text.starts_with("MISCONF") => {}
            Ok(other) => {
                self.things.insert(name, before);
                self.findings.wrong_answer(format!("{command} was answered {other:?}"));
            }
            Err(_) => return false,
        }
        true
    }

    /// False when the connection broke.
    fn snapshot(&mut self, conn: &mut Conn) -> bool {
        match conn.try_args(&[b"BGSAVE"]) {
            Ok(Reply::Simple(_)) => self.snapshots += 1,
            // One is in the making, the disk is full or has failed, or this server takes none.
            Ok(Reply::Error(_)) => {}
            Ok(other) => self.findings.wrong_answer(format!("BGSAVE was answered {other:?}")),
            Err(_) => return false,
        }
        true
    }

    /// Looks what a restart has made of the things; from then on that is the truth. A change is durable when it is acknowledged, in every
    /// mode.
    pub fn judge(&mut self, conn: &mut Conn, findings: &mut Findings) {
        let streams: Vec<String> = match conn.try_args(&[b"STREAM.LIST"]) {
            Ok(Reply::Array(names)) => names.iter().map(Reply::text).collect(),
            other => return findings.wrong_answer(format!("STREAM.LIST was answered {other:?}")),
        };
        for (name, known) in &mut self.things {
            let is_there = if STREAMS.contains(name) {
                streams.iter().any(|stream| stream == name)
            } else {
                let feature = format!("{name}:1h");
                let reply = conn.try_args(&[b"WINDOW.GET", b"nobody", b"load", feature.as_bytes()]);
                matches!(reply, Ok(Reply::Array(_)))
            };
            let found = if is_there { Known::There } else { Known::Gone };
            if *known != Known::Either && *known != found {
                findings.lost += 1;
                findings.note(format!("{name} was acknowledged as {known:?}, but is {found:?}"));
            }
            *known = found;
        }
    }
}
