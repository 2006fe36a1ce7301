//! Sources: who sends events in the order of sequence numbers, and how far each has come.

use super::SourceSeq;

/// Most sources that one stream's group of hash slots can have.
pub(crate) const SOURCES_MAX: usize = 4096;

/// The largest sequence number.
pub const SEQ_MAX: u64 = u64::MAX - 1;

const NONE: u64 = u64::MAX;

/// Room for so many sources is made at first.
pub(super) const FIRST_SOURCES: usize = 4;

/// Bytes of the room that is made at first.
pub(super) const FIRST_BYTES: usize = FIRST_SOURCES * size_of::<Source>();

/// How far a source has come.
#[derive(Clone, Copy, Debug)]
struct Source {
    fingerprint: u64,
    /// Sequence numbers below this one are counted, or were passed over.
    next: u64,
    /// The lowest sequence number that was refused and may be sent again; [`NONE`] if there is none.
    undecided: u64,
}

/// What is known of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is this one's turn.
    Now,
    /// It is not above the last one counted.
    Counted,
    /// A lower one must come first.
    After(u64),
    /// There are too many sources to take a new one.
    Full,
}

/// The sources of a stream's group of hash slots, by their fingerprints in ascending order.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    fn find(&self, fingerprint: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&fingerprint, |source| source.fingerprint)
    }

    pub(super) fn judge(&self, fingerprint: u64, seq: u64) -> Turn {
        match self.find(fingerprint) {
            Err(_) if self.0.len() >= SOURCES_MAX => Turn::Full,
            Err(_) => Turn::Now,
            Ok(at) if seq < self.0[at].next => Turn::Counted,
            Ok(at) if seq > self.0[at].undecided => Turn::After(self.0[at].undecided),
            Ok(_) => Turn::Now,
        }
    }

    /// The source; a new one if there is none yet, whatever the bound: a log has no more sources than it was written with.
    fn entry(&mut self, fingerprint: u64) -> &mut Source {
        let at = self.find(fingerprint).unwrap_or_else(|at| {
            self.0.insert(at, Source { fingerprint, next: 0, undecided: NONE });
            at
        });
        &mut self.0[at]
    }

    /// The event was counted.
    pub(super) fn counted(&mut self, fingerprint: u64, seq: u64) {
        debug_assert!(seq <= SEQ_MAX);
        let source = self.entry(fingerprint);
        source.next = source.next.max(seq + 1);
        if source.undecided < source.next {
            source.undecided = NONE;
        }
    }

    /// The event was refused and may come again: those above it wait.
    pub(super) fn refused(&mut self, fingerprint: u64, seq: u64) {
        if self.judge(fingerprint, seq) == Turn::Now {
            self.entry(fingerprint).undecided = seq;
        }
    }

    /// The event was judged and not counted: those above it need not wait for it.
    pub(super) fn passed(&mut self, fingerprint: u64, seq: u64) {
        if let Ok(at) = self.find(fingerprint)
            && self.0[at].undecided == seq
        {
            self.0[at].undecided = NONE;
        }
    }

    /// Each source that an event of was counted, by its fingerprint, and the sequence number after the last one counted. What is undecided
    /// is not in it: that is a matter of the connections that are waiting, and no log tells when it was decided otherwise.
    pub(super) fn counted_so_far(&self) -> impl Iterator<Item = SourceSeq> {
        let counted = self.0.iter().filter(|source| source.next > 0);
        counted.map(|source| SourceSeq { source: source.fingerprint, seq: source.next - 1 })
    }

    /// How many bytes room for the source takes at most.
    pub(super) fn growth_bytes(&self, fingerprint: u64) -> usize {
        let is_new = self.find(fingerprint).is_err();
        if is_new && self.0.len() == self.0.capacity() {
            (2 * self.0.capacity()).max(FIRST_SOURCES) * size_of::<Source>()
        } else {
            0
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Source>()
    }
}

#[cfg(test)]
mod tests {
    use super::{SOURCES_MAX, Sources, Turn};

    #[test]
    fn what_is_not_above_the_last_one_counted_is_a_duplicate_and_gaps_are_allowed() {
        let mut sources = Sources::default();
        assert_eq!(sources.judge(7, 0), Turn::Now, "a source may begin at 0");
        sources.counted(7, 0);
        assert_eq!((sources.judge(7, 0), sources.judge(7, 1)), (Turn::Counted, Turn::Now));
        sources.counted(7, 10);
        assert_eq!((sources.judge(7, 10), sources.judge(7, 5)), (Turn::Counted, Turn::Counted));
        assert_eq!(
            (sources.judge(7, 11), sources.judge(8, 3)),
            (Turn::Now, Turn::Now),
            "others begin anywhere"
        );
    }

    #[test]
    fn after_a_refusal_higher_numbers_wait_until_that_one_is_decided() {
        for is_counted in [true, false] {
            let mut sources = Sources::default();
            sources.counted(7, 4);
            sources.refused(7, 6);
            assert_eq!(sources.judge(7, 7), Turn::After(6));
            // What waits is not decided, and changes nothing.
            sources.refused(7, 7);
            sources.passed(7, 7);
            assert_eq!((sources.judge(7, 7), sources.judge(7, 6)), (Turn::After(6), Turn::Now));
            assert_eq!(sources.judge(7, 4), Turn::Counted);
            // One between is its turn, and when refused the first to wait for.
            sources.refused(7, 5);
            assert_eq!((sources.judge(7, 6), sources.judge(7, 5)), (Turn::After(5), Turn::Now));
            if is_counted {
                sources.counted(7, 5);
                assert_eq!((sources.judge(7, 6), sources.judge(7, 5)), (Turn::Now, Turn::Counted));
            } else {
                sources.passed(7, 5);
                assert_eq!((sources.judge(7, 6), sources.judge(7, 5)), (Turn::Now, Turn::Now));
            }
        }
    }

    #[test]
    fn a_duplicate_that_is_refused_makes_nobody_wait() {
        let mut sources = Sources::default();
        sources.counted(7, 4);
        sources.refused(7, 3);
        assert_eq!(sources.judge(7, 5), Turn::Now);
    }

    #[test]
    fn one_source_too_many_is_refused_and_those_known_go_on() {
        let mut sources = Sources::default();
        for source in 0..SOURCES_MAX as u64 {
            assert_eq!(sources.judge(source, 1), Turn::Now);
            sources.counted(source, 1);
        }
        assert_eq!(sources.judge(u64::MAX, 1), Turn::Full);
        sources.refused(u64::MAX, 1);
        assert_eq!((sources.len(), sources.judge(5, 2)), (SOURCES_MAX, Turn::Now));
    }

    #[test]
    fn the_room_for_a_new_source_is_told_before_it_is_taken() {
        let mut sources = Sources::default();
        for fingerprint in 0..1_000 {
            let (before, growth) = (sources.bytes(), sources.growth_bytes(fingerprint));
            sources.counted(fingerprint, 1);
            assert!(sources.bytes() <= before + growth, "{fingerprint}: {before} and {growth}");
            assert_eq!(sources.growth_bytes(fingerprint), 0, "it is known");
        }
    }
}
