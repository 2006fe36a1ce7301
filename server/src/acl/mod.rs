//! Users, and what they may do. The command is `commands::acl`; here is what it changes and what every command is held against.
//!
//! | file | what it is |
//! | --- | --- |
//! | `user` | a user: passwords, commands, keys; what it denies |
//! | `rule` | one rule of ACL SETUSER, applied to a user |
//! | `command_rules` | which commands a user may execute |
//! | `key_patterns` | which entities |
//! | `password` | all that is kept of a password |
//! | `users` | all users, as a shard sees them |
//! | `file` | users as the lines of an ACL file |
//! | `log` | what was denied lately |
//! | `store` | the newest users, from which every shard takes them over |
//!
//! Users are immutable: a change makes others, which every shard takes over at the beginning of its next tick, together with all its
//! connections. So a command looks at one flag of its connection, and at the user only where that flag says that it is limited.

mod command_rules;
mod file;
mod key_patterns;
mod log;
mod password;
mod rule;
mod store;
mod user;
mod users;

pub(crate) use command_rules::is_category_of_redis;
pub(crate) use file::{read as read_file, write as write_file};
pub(crate) use log::{LogEntry, Reason};
pub(crate) use password::PasswordHash;
pub(crate) use store::{AclError, AclStore};
pub(crate) use user::{Denied, KeyCheck, User};
pub(crate) use users::{DEFAULT_USER, Users};
