//! What is kept of a password: its SHA-256.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest, Sha256};

/// Hexadecimal digits of a hash.
pub(super) const HASH_DIGITS: usize = 64;

/// The SHA-256 of a password. Equality is asked by [`PasswordHash::is`], which tells nothing by the time it takes.
#[derive(Clone, Copy)]
pub(crate) struct PasswordHash([u8; 32]);

impl PasswordHash {
    /// The hash of this password.
    pub(crate) fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// Reads exactly 64 hexadecimal digits in lower case.
    pub(super) fn from_hex(digits: &[u8]) -> Option<Self> {
        if digits.len() != HASH_DIGITS {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }

    /// The digits.
    pub(crate) fn digits(&self) -> [u8; HASH_DIGITS] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; HASH_DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        digits
    }

    /// Whether both are of the same password, in a time that does not tell where they differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let difference =
            self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
        difference == 0
    }
}

/// The digits.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).expect("digits are ASCII"))
    }
}

/// Not the digits: they are worth something to whoever reads a log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one-block example of FIPS 180-4.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_hash_is_sha_256_and_reads_back() {
        let hash = PasswordHash::of(b"abc");
        assert_eq!(hash.to_string(), ABC);
        assert!(PasswordHash::from_hex(ABC.as_bytes()).unwrap().is(&hash));
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }

    #[test]
    fn only_the_same_password_has_the_same_hash() {
        let hash = PasswordHash::of(b"secret");
        assert!(hash.is(&PasswordHash::of(b"secret")));
        for wrong in [&b""[..], b"secre", b"secret ", b"Secret", b"secretsecret"] {
            assert!(!hash.is(&PasswordHash::of(wrong)));
        }
    }

    #[test]
    fn nothing_but_64_digits_in_lower_case_is_a_hash() {
        for wrong in ["", "abc", &ABC[1..], &format!("{ABC}0"), &ABC.to_uppercase(), &ABC.replace('b', "g")] {
            assert!(PasswordHash::from_hex(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
