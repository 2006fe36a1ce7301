//! Fingerprints of ids and sources: 64 bits, keyed by the secret of the data directory, so that nobody can choose ones that
//! collide, or that crowd one table.
//!
//! Of n ids that are remembered, a new one is taken for one of them with probability n / 2⁶⁴: 10⁻¹¹ for 200 million.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::catalogue::StreamId;
use crate::record::HashKey;

/// Keeps the three uses of the key apart.
const OF_IDS: u64 = 0x6964;
const OF_SOURCES: u64 = 0x0073_6f75_7263_6573;

impl HashKey {
    /// The fingerprint of an event's id, which is the entity's own in this stream. Never 0.
    pub fn id_fingerprint(&self, stream: StreamId, entity: &[u8], id: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0] ^ OF_IDS, self.0[1] ^ u64::from(stream.0));
        // With its length first, an entity and an id are no other entity and id.
        hasher.write(&(entity.len() as u64).to_le_bytes());
        hasher.write(entity);
        hasher.write(id);
        hasher.finish().max(1)
    }

    /// The fingerprint of a source's name.
    pub fn source_fingerprint(&self, source: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.0[0] ^ OF_SOURCES, self.0[1]).hash(source)
    }
}

#[cfg(test)]
mod tests {
    use super::{HashKey, StreamId};

    #[test]
    fn stream_entity_id_and_key_each_matter() {
        let key = HashKey([1, 2]);
        let of = |stream, entity: &str, id: &str| {
            key.id_fingerprint(StreamId(stream), entity.as_bytes(), id.as_bytes())
        };
        let fingerprints =
            [of(0, "ab", "c"), of(0, "a", "bc"), of(0, "abc", ""), of(1, "ab", "c"), of(0, "ab", "d")];
        for (index, fingerprint) in fingerprints.iter().enumerate() {
            assert!(!fingerprints[..index].contains(fingerprint), "{index}");
        }
        assert_eq!(of(0, "ab", "c"), fingerprints[0]);
        assert_ne!(HashKey([1, 3]).id_fingerprint(StreamId(0), b"ab", b"c"), fingerprints[0]);
        assert_ne!(key.source_fingerprint(b"a"), key.source_fingerprint(b"b"));
    }
}
