//! The generator against servers that misbehave on purpose: what is sent, what is counted, what is noticed.

mod accounting;
mod binary;
mod misbehaving;
