//! What a feature evaluates to.

/// The value of one feature of one entity.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing to say: an average over no values.
    Null,
    /// A count, a number of milliseconds, or an aggregate of an INT field.
    Int(i64),
    /// An aggregate of a FLOAT field, an average or a rate.
    Float(f64),
    /// A value of a STRING field.
    Bytes(Box<[u8]>),
    /// Several values, or pairs of a value and its count.
    List(Vec<Value>),
}
