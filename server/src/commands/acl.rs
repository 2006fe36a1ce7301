//! ACL and its subcommands.

use std::fmt::Write;
use std::sync::Arc;

use windrow_protocol::command::{self, COMMANDS, Category, CommandError, SubcommandId};
use windrow_protocol::reply;
use windrow_window::timestamp::parse_int;

use super::stream::{ask_admin, asker};
use super::{Call, Flow, is, shown};
use crate::acl::{AclError, Denied, KeyCheck, LogEntry, Users, is_category_of_redis};
use crate::admin::AdminMessage;

/// Entries of ACL LOG where no count is given.
const ENTRIES_DEFAULT: usize = 10;
/// Random bits of ACL GENPASS where their number is not given, and most of them.
const BITS_DEFAULT: usize = 256;
const BITS_MAX: usize = 4096;
/// Key patterns that ACL DRYRUN looks at.
const DRYRUN_COST_MAX: usize = 1 << 20;
/// What ACL HELP replies.
const HELP: &[&str] = &[
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users, and close their connections.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
    "HELP",
    "    Prints this help.",
];

pub(super) fn acl(call: &mut Call<'_>) -> Flow {
    match call.subcommand {
        Some(SubcommandId::AclWhoami) => {
            let user = Arc::clone(call.session.identity.user());
            reply::bulk(call.out(), user.name().as_bytes());
            Flow::Done
        }
        Some(SubcommandId::AclUsers) => {
            write_all(call, |users| users.iter().map(|user| user.name().to_owned()).collect())
        }
        Some(SubcommandId::AclList) => {
            write_all(call, |users| users.iter().map(ToString::to_string).collect())
        }
        Some(SubcommandId::AclGetuser) => get_user(call),
        Some(SubcommandId::AclSetuser) => set_user(call),
        Some(SubcommandId::AclDeluser) => del_user(call),
        Some(SubcommandId::AclCat) => cat(call),
        Some(SubcommandId::AclGenpass) => genpass(call),
        Some(SubcommandId::AclDryrun) => dry_run(call),
        Some(SubcommandId::AclLog) => log(call),
        Some(SubcommandId::AclLoad) => file(call, |asker| AdminMessage::LoadUsers { asker }),
        Some(SubcommandId::AclSave) => file(call, |asker| AdminMessage::SaveUsers { asker }),
        Some(SubcommandId::AclHelp) => {
            let out = call.out();
            reply::array(out, HELP.len());
            HELP.iter().for_each(|line| reply::simple(out, line));
            Flow::Done
        }
        Some(other) => unreachable!("{other:?} is no subcommand of ACL"),
        None => unreachable!("ACL has a subcommand"),
    }
}

fn write_all(call: &mut Call<'_>, texts: impl FnOnce(&Users) -> Vec<String>) -> Flow {
    let texts = texts(&call.shared().acl.users());
    let out = call.out();
    reply::array(out, texts.len());
    texts.iter().for_each(|text| reply::bulk(out, text.as_bytes()));
    Flow::Done
}

/// `ACL GETUSER <username>`: a map, or null.
fn get_user(call: &mut Call<'_>) -> Flow {
    let users = call.shared().acl.users();
    let (user, proto) = (users.get(call.request.at(2)), call.session.proto);
    let out = call.out();
    let Some(user) = user else {
        reply::null(out, proto);
        return Flow::Done;
    };
    reply::map(out, proto, 6);
    reply::bulk(out, b"flags");
    reply::set(out, proto, user.flags().count());
    user.flags().for_each(|flag| reply::bulk(out, flag.as_bytes()));
    reply::bulk(out, b"passwords");
    reply::array(out, user.passwords().len());
    user.passwords().iter().for_each(|password| reply::bulk(out, &password.digits()));
    for (name, text) in
        [("commands", user.commands_text()), ("keys", user.keys_text()), ("channels", user.channels_text())]
    {
        reply::bulk(out, name.as_bytes());
        reply::bulk(out, text.as_bytes());
    }
    reply::bulk(out, b"selectors");
    reply::array(out, 0);
    Flow::Done
}

/// `ACL SETUSER <username> [<rule> ...]`
fn set_user(call: &mut Call<'_>) -> Flow {
    let (name, rules) = (call.request.at(2), call.request.skip(3));
    let changed = call.shared().acl.change(|users| users.set(name, rules.iter()));
    settle(call, changed.map(|((), version)| (version, reply::OK.to_vec())))
}

/// `ACL DELUSER <username> [...]`: how many there were.
fn del_user(call: &mut Call<'_>) -> Flow {
    let names = call.request.skip(2);
    let changed = call.shared().acl.change(|users| users.remove(names.iter()));
    settle(
        call,
        changed.map(|(count, version)| {
            let mut bytes = Vec::new();
            reply::integer(&mut bytes, count as i64);
            (version, bytes)
        }),
    )
}

/// Replies once every shard goes by a version of the users.
fn settle(call: &mut Call<'_>, changed: Result<(u64, Vec<u8>), AclError>) -> Flow {
    match changed {
        Ok((version, reply)) => await_users(call, version, reply),
        Err(error) => call.error(format_args!("ERR {error}")),
    }
}

/// Replies once every shard goes by a version of the users.
pub(super) fn await_users(call: &mut Call<'_>, version: u64, reply: Vec<u8>) -> Flow {
    call.shared().wake_all();
    let asker = asker(call);
    ask_admin(call, AdminMessage::AwaitUsers { version, reply, asker })
}

/// ACL LOAD and SAVE, where there is a file.
fn file(call: &mut Call<'_>, message: impl FnOnce(crate::admin::Asker) -> AdminMessage) -> Flow {
    if call.core.config.aclfile.is_none() {
        return call.error(format_args!(
            "ERR This Windrow instance is not configured to use an ACL file. You may want to start it with the setting aclfile; \
             until then, users made by ACL SETUSER end with the server."
        ));
    }
    let asker = asker(call);
    ask_admin(call, message(asker))
}

/// `ACL CAT [<category>]`
fn cat(call: &mut Call<'_>) -> Flow {
    let names: Vec<&str> = match call.request.get(2) {
        _ if call.request.len() > 3 => return wrong_arity(call, "acl|cat"),
        None => Category::ALL.iter().map(|category| &category.name()[1..]).collect(),
        Some(name) => match Category::from_name(name) {
            Some(category) => COMMANDS
                .iter()
                .flat_map(|command| {
                    let subs = command.subcommands.iter().map(|sub| (sub.name, sub.categories));
                    std::iter::once((command.name, command.categories)).chain(subs)
                })
                .filter(|(_, categories)| categories.has(category))
                .map(|(name, _)| name)
                .collect(),
            None if is_category_of_redis(name) => Vec::new(),
            None => return call.error(format_args!("ERR Unknown category '{}'", shown(name))),
        },
    };
    let out = call.out();
    reply::array(out, names.len());
    names.iter().for_each(|name| reply::bulk(out, name.as_bytes()));
    Flow::Done
}

fn wrong_arity(call: &mut Call<'_>, name: &'static str) -> Flow {
    call.error(format_args!("ERR {}", CommandError::WrongArity { name }))
}

/// `ACL GENPASS [<bits>]`: four of them a digit.
fn genpass(call: &mut Call<'_>) -> Flow {
    let bits = match call.request.get(2) {
        _ if call.request.len() > 3 => return wrong_arity(call, "acl|genpass"),
        None => Some(BITS_DEFAULT),
        Some(bits) => parse_int(bits).and_then(|bits| usize::try_from(bits).ok()),
    };
    let Some(bits) = bits.filter(|bits| (1..=BITS_MAX).contains(bits)) else {
        return call.error(format_args!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to {BITS_MAX}"
        ));
    };
    let digits = bits.div_ceil(4);
    let mut random = vec![0; digits.div_ceil(2)];
    if let Err(error) = getrandom::fill(&mut random) {
        return call.error(format_args!("ERR the system gives no random numbers: {error}"));
    }
    let mut password = String::with_capacity(2 * random.len());
    for byte in random {
        let _ = write!(password, "{byte:02x}");
    }
    reply::bulk(call.out(), &password.as_bytes()[..digits]);
    Flow::Done
}

/// `ACL DRYRUN <username> <command> [<arg> ...]`
fn dry_run(call: &mut Call<'_>) -> Flow {
    let users = call.shared().acl.users();
    let name = call.request.at(2);
    let Some(user) = users.get(name) else {
        return call.error(format_args!("ERR User '{}' not found", shown(name)));
    };
    let request = call.request.skip(3);
    let resolved = match command::resolve(request) {
        Ok(resolved) => resolved,
        Err(error @ CommandError::WrongArity { .. }) => return call.error(format_args!("ERR {error}")),
        Err(_) => return call.error(format_args!("ERR Command '{}' not found", shown(request.at(0)))),
    };
    let denied = if user.may(&resolved) {
        match user.check_keys(&resolved, request, 0, DRYRUN_COST_MAX) {
            KeyCheck::Allowed => None,
            KeyCheck::Denied(denied) => Some(denied),
            KeyCheck::Unfinished { keys } => {
                return call
                    .error(format_args!("ERR too many keys for a dry run: the first {keys} are allowed"));
            }
            KeyCheck::NotFound(error) => return call.error(format_args!("ERR {error}")),
        }
    } else {
        Some(Denied::Command)
    };
    match denied {
        None => call.ok(),
        // Whoever asks this may see every user's patterns: here the key is named.
        Some(Denied::Key(key)) => {
            let text = format!("User {} has no permissions to access the '{}' key", user.name(), shown(key));
            reply::bulk(call.out(), text.as_bytes());
            Flow::Done
        }
        Some(denied) => {
            reply::bulk(call.out(), denied.text(user, &resolved).as_bytes());
            Flow::Done
        }
    }
}

/// `ACL LOG [<count> | RESET]`
fn log(call: &mut Call<'_>) -> Flow {
    let count = match call.request.get(2) {
        _ if call.request.len() > 3 => return wrong_arity(call, "acl|log"),
        None => ENTRIES_DEFAULT,
        Some(word) if is(word, "RESET") => {
            call.shared().acl.log.reset();
            return call.ok();
        }
        Some(word) => match parse_int(word).and_then(|count| usize::try_from(count).ok()) {
            Some(count) => count,
            None => return call.error(format_args!("ERR value is not an integer or out of range")),
        },
    };
    let entries = call.shared().acl.log.newest(count);
    let (proto, now_ms) = (call.session.proto, call.core.now_ms);
    let out = call.out();
    reply::array(out, entries.len());
    for entry in &entries {
        let LogEntry { id, count, reason, object, user, client, created_ms, updated_ms } = entry;
        reply::map(out, proto, 10);
        reply::bulk(out, b"count");
        reply::integer(out, *count as i64);
        for (name, text) in [
            ("reason", reason.name().as_bytes()),
            ("context", b"toplevel"),
            ("object", object),
            ("username", user),
        ] {
            reply::bulk(out, name.as_bytes());
            reply::bulk(out, text);
        }
        reply::bulk(out, b"age-seconds");
        reply::double(out, proto, (now_ms - created_ms).max(0) as f64 / 1000.0);
        reply::bulk(out, b"client-info");
        reply::bulk(out, client.as_bytes());
        for (name, number) in [
            ("entry-id", *id as i64),
            ("timestamp-created", *created_ms),
            ("timestamp-last-updated", *updated_ms),
        ] {
            reply::bulk(out, name.as_bytes());
            reply::integer(out, number);
        }
    }
    Flow::Done
}
