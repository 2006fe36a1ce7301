//! CONFIG GET, SET, RESETSTAT.

use windrow_protocol::command::SubcommandId;
use windrow_protocol::glob::{self, PATTERN_BYTES_MAX, PatternTooLong};
use windrow_protocol::reply;

use super::{Call, Flow, acl, is};
use crate::config::{FIXED, SETTINGS};
use crate::logging;

/// Most patterns of a CONFIG GET.
const PATTERNS_MAX: usize = 128;

pub(super) fn config(call: &mut Call<'_>) -> Flow {
    match call.subcommand {
        Some(SubcommandId::ConfigGet) => get(call),
        Some(SubcommandId::ConfigSet) => set(call),
        Some(SubcommandId::ConfigResetstat) => {
            for shard in &call.shared().shards {
                shard.numbers.reset();
            }
            call.shared().acl.log.reset_counts();
            call.ok()
        }
        Some(other) => unreachable!("{other:?} is no subcommand of CONFIG"),
        None => unreachable!("CONFIG has a subcommand"),
    }
}

/// `CONFIG GET pattern [pattern ...]`
fn get(call: &mut Call<'_>) -> Flow {
    let config = call.shared().config();
    let patterns = call.request.skip(2);
    if patterns.len() > PATTERNS_MAX {
        let count = patterns.len();
        return call
            .error(format_args!("ERR too many patterns: {count}, at most {PATTERNS_MAX} in one request"));
    }
    let bytes: usize = patterns.iter().map(<[u8]>::len).sum();
    // Together: each is matched with each name.
    if bytes > PATTERN_BYTES_MAX {
        return call.error(format_args!("ERR {}", PatternTooLong { bytes }));
    }
    let fits =
        |name: &str| patterns.iter().any(|pattern| glob::matches_ignoring_case(pattern, name.as_bytes()));
    let mut found: Vec<(&str, String)> = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| fits(setting.name)) {
        // Redis' clients read sizes as plain numbers.
        let text = (setting.get)(&config);
        let text = match setting.name {
            "maxmemory" => config.maxmemory_bytes.to_string(),
            _ => text,
        };
        found.push((setting.name, text));
    }
    found.extend(
        FIXED.iter().filter(|(name, _)| fits(name)).map(|(name, value)| (*name, (*value).to_owned())),
    );
    let proto = call.session.proto;
    let out = call.out();
    reply::map(out, proto, found.len());
    for (name, value) in found {
        reply::bulk(out, name.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
    Flow::Done
}

/// `CONFIG SET name value [name value ...]`: all of them, or, on an error, none.
fn set(call: &mut Call<'_>) -> Flow {
    let operands = call.request.skip(2);
    if operands.len() % 2 == 1 {
        return call.error(format_args!("ERR wrong number of arguments for 'config|set' command"));
    }
    let mut users_version = None;
    let changed = call.shared().change_config(|config| {
        for at in (0..operands.len()).step_by(2) {
            let name = String::from_utf8_lossy(operands.at(at)).to_ascii_lowercase();
            let problem = |reason: &str| {
                format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}")
            };
            let value =
                std::str::from_utf8(operands.at(at + 1)).map_err(|_| problem("the value is not UTF-8"))?;
            let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
                if FIXED.iter().any(|(fixed, _)| *fixed == name) {
                    return Err(problem("can't set immutable config"));
                }
                return Err(format!("Unknown option or number of arguments for CONFIG SET - '{name}'"));
            };
            if !setting.runtime {
                return Err(problem("can't set immutable config"));
            }
            (setting.set)(config, value).map_err(|reason| problem(&reason))?;
        }
        config.validate()?;
        if operands.iter().step_by(2).any(|name| is(name, "requirepass")) {
            let changed = call.shared().acl.change(|users| users.set_requirepass(&config.requirepass));
            users_version = Some(changed.map_err(|error| error.to_string())?.1);
        }
        Ok(())
    });
    if let Err(reason) = changed {
        return call.error(format_args!("ERR {reason}"));
    }
    logging::set_level(&call.shared().config().loglevel);
    call.shared().wake_all();
    // The connection's next command sees the change.
    call.core.refresh_config();
    match users_version {
        // While the server is loading, nobody could say when all shards go by it; they do so with their next ticks.
        Some(version) if call.core.is_serving() => acl::await_users(call, version, reply::OK.to_vec()),
        _ => call.ok(),
    }
}
