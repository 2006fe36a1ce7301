//! Load generator for Windrow and for Redis doing the same work.
//!
//! The generator shares a machine with the server it measures, so its hot path is built to be cheap: commands
//! are copied from templates whose variable parts have fixed width, replies are compared with the expected
//! bytes before anything is parsed, and nothing is allocated per request.

pub mod acceptance;
mod advice;
pub mod arrivals;
pub mod cli;
pub mod compare;
pub mod contender;
pub mod control;
pub mod cpu;
pub mod entities;
pub mod error;
pub mod interrupt;
pub mod measure;
pub mod models;
pub mod null;
pub mod open_files;
pub mod output;
pub mod progress;
pub mod replies;
pub mod report;
pub mod run;
pub mod scenario;
pub mod server_process;
pub mod spread;
pub mod sweep;
pub mod targets;
pub mod template;
pub mod turns;
pub mod worker;
pub mod workload;
pub mod workload_file;
