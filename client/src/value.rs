//! Values as they come back, and rows of features.

use crate::error::{Error, ServerError};
use bytes::Bytes;
use std::ops::Index;
use std::sync::Arc;

/// Longest piece of a reply shown in an error message.
const SHOWN_BYTES_MAX: usize = 120;

/// A reply of the server, RESP2 and RESP3 alike.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value: an `avg` of nothing, a missing name.
    Null,
    /// A RESP3 boolean.
    Bool(bool),
    /// An integer: counts, timestamps, sums of INT fields.
    Int(i64),
    /// A floating point number. (Under RESP2 floats come as [`Value::Bytes`]; [`Value::as_f64`] reads both.)
    Float(f64),
    /// A string: simple, bulk, verbatim or a big number.
    Bytes(Bytes),
    /// A list (RESP3 sets and pushes too).
    Array(Vec<Value>),
    /// A map, in the order sent.
    Map(Vec<(Value, Value)>),
    /// An error, where it stands inside an array: one event of an `EVENT.MADD` that was refused.
    Error(ServerError),
}

impl Value {
    /// True for [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The number as a float: a float, an integer (rounded to the nearest f64), or RESP2's text form of a float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            #[expect(clippy::cast_precision_loss, reason = "documented: rounded to the nearest f64")]
            Self::Int(value) => Some(*value as f64),
            Self::Bytes(_) => self.as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// The text, if it is a string of UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a text key, if this is a map (RESP3) or a flat list of pairs (RESP2).
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(pairs) => {
                pairs.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
            }
            Self::Array(items) => {
                items.chunks_exact(2).find(|pair| pair[0].as_str() == Some(key)).map(|pair| &pair[1])
            }
            _ => None,
        }
    }

    pub(crate) fn into_pairs(self) -> Result<Vec<(Value, Value)>, Error> {
        match self {
            Self::Map(pairs) => Ok(pairs),
            Self::Array(items) if items.len() % 2 == 0 => {
                let mut items = items.into_iter();
                Ok(std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect())
            }
            other => Err(other.unexpected("a map")),
        }
    }

    pub(crate) fn into_array(self) -> Result<Vec<Value>, Error> {
        match self {
            Self::Array(items) => Ok(items),
            other => Err(other.unexpected("an array")),
        }
    }

    pub(crate) fn into_text(self) -> Result<String, Error> {
        match self.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.unexpected("a text")),
        }
    }

    pub(crate) fn unexpected(&self, expected: &'static str) -> Error {
        let mut got = format!("{self:?}");
        if got.len() > SHOWN_BYTES_MAX {
            let end = (0..=SHOWN_BYTES_MAX).rev().find(|&at| got.is_char_boundary(at)).unwrap_or(0);
            got.truncate(end);
            got.push('…');
        }
        Error::UnexpectedReply { expected, got }
    }
}

/// The features of one entity at one instant, in the order asked for (or declared).
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    names: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(names: Arc<[String]>, values: Vec<Value>) -> Result<Self, Error> {
        if names.len() != values.len() {
            return Err(Value::Array(values).unexpected("one value for each feature asked for"));
        }
        Ok(Self { names, values })
    }

    /// The value of a feature, as named in the request (or by the server, when none were named).
    pub fn get(&self, feature: &str) -> Option<&Value> {
        let at = self.names.iter().position(|name| name == feature)?;
        self.values.get(at)
    }

    /// The integer of a feature; `None` if it is not in the row, null, or no integer.
    pub fn int(&self, feature: &str) -> Option<i64> {
        self.get(feature)?.as_i64()
    }

    /// The number of a feature; `None` if it is not in the row, null, or no number.
    pub fn float(&self, feature: &str) -> Option<f64> {
        self.get(feature)?.as_f64()
    }

    /// The list of a feature such as `topk(merchant,3):7d`.
    pub fn array(&self, feature: &str) -> Option<&[Value]> {
        self.get(feature)?.as_array()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// Values in order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Count of features.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True without features.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl Index<usize> for Row {
    type Output = Value;

    fn index(&self, at: usize) -> &Value {
        &self.values[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Value {
        Value::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn numbers_read_alike_from_resp2_and_resp3() {
        assert_eq!(Value::Float(12.5).as_f64(), Some(12.5));
        assert_eq!(text("12.5").as_f64(), Some(12.5));
        assert_eq!(Value::Int(3).as_f64(), Some(3.0));
        assert_eq!(text("merchant").as_f64(), None);
        assert_eq!(Value::Null.as_f64(), None);
    }

    #[test]
    fn a_map_reads_alike_from_resp2_and_resp3() {
        let map = Value::Map(vec![(text("a"), Value::Int(1)), (text("b"), Value::Int(2))]);
        let flat = Value::Array(vec![text("a"), Value::Int(1), text("b"), Value::Int(2)]);
        assert_eq!(map.get("b"), Some(&Value::Int(2)));
        assert_eq!(flat.get("b"), Some(&Value::Int(2)));
        assert_eq!(map.into_pairs().unwrap(), flat.into_pairs().unwrap());
        assert!(Value::Array(vec![text("odd")]).into_pairs().is_err());
    }

    #[test]
    fn a_row_needs_a_value_for_each_name() {
        let names: Arc<[String]> = ["count:5m".to_owned(), "avg(amount):5m".to_owned()].into();
        let row = Row::new(names.clone(), vec![Value::Int(2), Value::Null]).unwrap();
        assert_eq!((row.int("count:5m"), row.float("avg(amount):5m")), (Some(2), None));
        assert!(row[1].is_null());
        assert!(Row::new(names, vec![Value::Int(2)]).is_err());
    }

    #[test]
    fn a_long_unexpected_reply_is_shortened_in_the_message() {
        let error = Value::Bytes(Bytes::from("é".repeat(1000))).unexpected("a map");
        assert!(error.to_string().len() < 200);
    }
}
