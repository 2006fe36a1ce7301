//! Promises of the whole server, kept in process on disks in memory.

mod acl;
mod backfill;
mod catalogue;
mod clients;
mod durability;
mod entities;
mod flush;
mod harness;
mod images;
mod latency;
mod order;
mod pending;
mod reads;
mod redis;
mod slowlog;
mod top;
mod typed_client;
