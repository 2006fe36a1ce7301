//! Which shard an entity belongs to: the hash slots of Redis Cluster.

/// Hash slots, as in Redis Cluster.
pub const SLOTS: u16 = 16_384;

/// Slots are dealt to shards by the group: what is kept for a group (see [`crate::dedup`]) is one shard's, however many there are.
pub const SLOT_GROUPS: usize = 256;

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, not reflected (Redis Cluster specification, appendix A).
const CRC16: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The entity's hash slot. Where the entity has a non-empty hash tag, `{…}` behind its first `{`, only that is hashed.
pub fn hash_slot(entity: &[u8]) -> u16 {
    let tag = entity.iter().position(|&byte| byte == b'{').and_then(|open| {
        let behind = &entity[open + 1..];
        let close = behind.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &behind[..close])
    });
    crc16(tag.unwrap_or(entity)) % SLOTS
}

/// The group of a slot: 64 neighbours.
pub fn group_of(slot: u16) -> u8 {
    debug_assert!(slot < SLOTS, "slot {slot} of {SLOTS}");
    (slot / (SLOTS / SLOT_GROUPS as u16)) as u8
}

/// The shard that owns a slot: ranges of whole groups in order, as equal as can be.
pub fn shard_of(slot: u16, shards: usize) -> usize {
    assert!(slot < SLOTS && shards > 0, "slot {slot} of {SLOTS}, {shards} shards");
    usize::from(group_of(slot)) * shards / SLOT_GROUPS
}

#[cfg(test)]
mod tests {
    use super::{SLOT_GROUPS, SLOTS, crc16, group_of, hash_slot, shard_of};

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // The check value of CRC-16/XMODEM, and the examples of the Redis Cluster specification.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(hash_slot(b"foo"), 12_182);
        assert_eq!(hash_slot(b"{user1000}.following"), hash_slot(b"{user1000}.followers"));
        assert_eq!(hash_slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS, "an empty tag is none");
        assert_eq!(hash_slot(b"foo{{bar}}zap"), hash_slot(b"{bar"));
        assert_eq!(hash_slot(b"foo{bar}{zap}"), hash_slot(b"bar"));
    }

    #[test]
    fn a_group_of_slots_is_never_divided_between_shards() {
        assert_eq!((group_of(0), group_of(63), group_of(64), group_of(SLOTS - 1)), (0, 0, 1, 255));
        for shards in [1, 2, 3, 5, 7, 48, 64] {
            for slot in 0..SLOTS {
                let first = u16::from(group_of(slot)) * 64;
                assert_eq!(shard_of(slot, shards), shard_of(first, shards), "slot {slot} of {shards} shards");
            }
        }
    }

    #[test]
    fn every_shard_owns_slots_and_every_slot_a_shard() {
        for shards in [1, 2, 3, 4, 7, 64] {
            let mut owned = vec![0u32; shards];
            for slot in 0..SLOTS {
                owned[shard_of(slot, shards)] += 1;
            }
            let (even, group) = ((SLOT_GROUPS / shards) as u32, u32::from(SLOTS) / SLOT_GROUPS as u32);
            assert!(
                owned.iter().all(|&slots| slots == even * group || slots == (even + 1) * group),
                "{owned:?}"
            );
        }
    }
}
