//! What the real binary promises, end to end. One file per kind of promise; most run with one shard and with four.

mod backfill;
mod bad_input;
mod clients;
mod commits;
mod crash;
mod demo;
mod duplicates;
mod durability;
mod entities;
mod faults;
mod images;
mod instructions;
mod late_and_skewed;
mod lifecycle;
mod load;
mod load_generator;
mod log_tool;
mod model;
mod ordering;
mod peers;
mod readme;
mod settings;
mod streams;
mod windows;
