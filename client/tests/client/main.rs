//! The client against a scripted server: what goes over the wire, what comes of replies, breaks and bounds.

mod batching;
mod connection;
mod pipelining;
mod scripted;
mod streams;
mod typed;
