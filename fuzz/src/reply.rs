//! A reply.

use std::collections::{BTreeMap, BTreeSet};

use crate::replies::{Value, assert_reads_back};

/// Collections lie in one another at most so deep.
const DEPTH_MAX: u32 = 6;

/// Makes a value of any kind of the bytes, writes it in both versions of the protocol, and reads it back with
/// `redis-protocol`.
///
/// Input: a letter for the kind (see `value`), then what that kind needs; a length is one byte; where the bytes end,
/// all is zero.
pub fn reply(data: &[u8]) {
    let mut bytes = Bytes(data);
    let is_push = bytes.next() == b'>';
    let value = bytes.value(DEPTH_MAX);
    assert_reads_back(&if is_push { Value::Push(vec![value, bytes.value(DEPTH_MAX)]) } else { value });
}

/// What is left of the input.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.next()))
    }

    fn text(&mut self) -> Vec<u8> {
        let len = usize::from(self.next()).min(self.0.len());
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        text.to_vec()
    }

    /// Texts are repeated, so that a short input makes one that exceeds the bound of an error.
    fn line(&mut self) -> String {
        let times = usize::from(self.next() % 16);
        String::from_utf8_lossy(&self.text()).repeat(times)
    }

    /// A count of things that each take input: never more than there is.
    fn count(&mut self) -> usize {
        usize::from(self.next()).min(self.0.len())
    }

    fn value(&mut self, depth_left: u32) -> Value {
        match self.next() {
            b'+' => Value::Simple(self.line()),
            b'-' => Value::Error(self.line()),
            b':' => Value::Integer(self.number() as i64),
            b'i' => Value::Integer(i64::from(self.next())),
            b',' => Value::Double(f64::from_bits(self.number())),
            b'd' => Value::Double(self.number() as i64 as f64 / 100.0),
            b'$' => Value::Bulk(self.text()),
            b'=' => Value::Verbatim(self.text()),
            b'#' => Value::Boolean(self.next() % 2 == 1),
            b'0' => Value::NullArray,
            b'~' => {
                let numbers: BTreeSet<i64> = (0..self.count()).map(|_| self.number() as i64).collect();
                Value::Set(numbers.into_iter().collect())
            }
            b'*' if depth_left > 0 => {
                Value::Array((0..self.count()).map(|_| self.value(depth_left - 1)).collect())
            }
            b'%' if depth_left > 0 => {
                let pairs: BTreeMap<_, _> =
                    (0..self.count()).map(|_| (self.text(), self.value(depth_left - 1))).collect();
                Value::Map(pairs)
            }
            _ => Value::Null,
        }
    }
}
