//! What a run has found: counts for the table, and the first cases in full.

use std::time::Instant;

/// Cases that are kept in full: the first ones tell, the rest follow from them.
const NOTES_MAX: usize = 4;

/// What was found against the promises, and what was within them.
#[derive(Debug, Default)]
pub struct Findings {
    /// Operations promised to be there, or shown, that are not.
    pub lost: u64,
    /// Events that count more than once, or again after they were deleted.
    pub doubled: u64,
    /// Entities in a state that no prefix of their operations explains.
    pub half_applied: u64,
    /// Answers that the fault does not explain: an unknown error, a read that fails, a server that does not start.
    pub wrong_answers: u64,
    /// Acknowledged operations that a power cut took back, as the mode allows.
    pub taken_back: u64,
    /// When the first of these was acknowledged.
    pub oldest_taken_back: Option<Instant>,
    /// When the first and the last of the lost ones were acknowledged.
    pub lost_between: Option<(Instant, Instant)>,
    notes: Vec<String>,
}

impl Findings {
    /// All that is against the promises.
    pub fn total(&self) -> u64 {
        self.lost + self.doubled + self.half_applied + self.wrong_answers
    }

    /// Keeps a case for the reader.
    pub fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        }
    }

    /// Keeps what explains the cases, before them.
    pub fn note_first(&mut self, note: String) {
        self.notes.insert(0, note);
    }

    /// An answer that the fault does not explain.
    pub fn wrong_answer(&mut self, note: String) {
        self.wrong_answers += 1;
        self.note(note);
    }

    /// An acknowledged operation is gone, against the promise.
    pub fn note_lost(&mut self, acknowledged: Instant) {
        self.lost += 1;
        let (first, last) = self.lost_between.unwrap_or((acknowledged, acknowledged));
        self.lost_between = Some((first.min(acknowledged), last.max(acknowledged)));
    }

    /// An acknowledged operation is gone, as the mode allows.
    pub fn note_taken_back(&mut self, acknowledged: Instant) {
        self.taken_back += 1;
        self.oldest_taken_back =
            Some(self.oldest_taken_back.map_or(acknowledged, |oldest| oldest.min(acknowledged)));
    }

    /// Adds what another has found; its cases with where they were found.
    pub fn add(&mut self, other: Findings, place: &str) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.half_applied += other.half_applied;
        self.wrong_answers += other.wrong_answers;
        self.taken_back += other.taken_back;
        self.oldest_taken_back = match (self.oldest_taken_back, other.oldest_taken_back) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.lost_between = match (self.lost_between, other.lost_between) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (a, b) => a.or(b),
        };
        for note in other.notes {
            self.note(format!("{place}: {note}"));
        }
    }

    /// The cases that were kept.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
