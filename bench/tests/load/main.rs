//! The generator against servers that misbehave on purpose: what is sent, what is counted, what is noticed.

mod accounting;
mod binary;
mod counting;
mod endings;
mod many_connections;
mod messages;
mod misbehaving;
mod outside_the_clock;
mod overload;
mod peers;
mod results;
mod stand_in;
mod started;
mod turns;
