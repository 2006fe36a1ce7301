//! Every target over its seeds and over some thousand mutations of them.
//!
//! A failure prints the seed of the random numbers; `WINDROW_FUZZ_SEED=<seed>` repeats the same mutations.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::path::Path;

use windrow_fuzz::{TARGETS, Target};

const MUTATIONS: usize = 50_000;
const INPUT_BYTES_MAX: usize = 2048;

/// Pieces that requests and replies are made of.
const TOKENS: [&[u8]; 22] = [
    b"\r\n",
    b"*1\r\n",
    b"*2\r\n",
    b"$1\r\n",
    b"$0\r\n\r\n",
    b"$10\r\n",
    b"*",
    b"$",
    b"-1",
    b"+",
    b"0",
    b"9",
    b"99999999999",
    b"\"",
    b"'",
    b"\\x4",
    b"\\",
    b" ",
    b"\0",
    b"COMMAND",
    b"DOCS",
    b"%",
];

#[test]
fn request_keeps_its_promises() {
    run("request");
}

#[test]
fn inline_keeps_its_promises() {
    run("inline");
}

#[test]
fn reply_keeps_its_promises() {
    run("reply");
}

#[test]
fn every_target_has_seeds_and_a_binary() {
    for (name, _) in TARGETS {
        assert!(seeds(name).len() >= 5, "{name}");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(root.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name}");
    }
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")).expect("seeds/");
    assert_eq!(folders.count(), TARGETS.len(), "a folder of seeds without a target");
}

fn run(name: &'static str) {
    let &(_, body): &Target = TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    let seeds = seeds(name);
    let seed = match std::env::var("WINDROW_FUZZ_SEED") {
        Ok(text) => text.parse().expect("WINDROW_FUZZ_SEED is a number"),
        Err(_) => RandomState::new().hash_one(name),
    };
    let mut random = Random(seed);
    let mutations = (0..MUTATIONS).map(|_| mutate(&mut random, &seeds));
    for input in seeds.iter().cloned().chain(mutations) {
        let report = OnPanic { name, seed, input: &input };
        body(&input);
        drop(report);
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort(); // the same mutations on every machine
    paths
        .iter()
        .map(|path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect()
}

/// One to four changes to one of the seeds.
fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(12)).min(input.len());
        match random.below(7) {
            0 if at < input.len() => input[at] = random.below(256) as u8,
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 => drop(input.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            3 => drop(input.splice(at..end, TOKENS[random.below(TOKENS.len())].iter().copied())),
            4 => drop(input.drain(at..end)),
            5 => {
                let piece = input[at..end].repeat(1 + random.below(3));
                input.splice(at..at, piece);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Says how to repeat a failure.
struct OnPanic<'a> {
    name: &'static str,
    seed: u64,
    input: &'a [u8],
}

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "target {}, WINDROW_FUZZ_SEED={}, input: {}",
                self.name,
                self.seed,
                self.input.escape_ascii()
            );
        }
    }
}
