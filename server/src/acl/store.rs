//! The newest users. A shard compares versions once a tick, and takes over what is new; who changes users waits until all have.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::log::DenialLog;
use super::rule::RuleError;
use super::users::{NAME_BYTES_MAX, RULES_MAX, USERS_BYTES_MAX, USERS_MAX, Users};

/// So much of a rule is repeated in an error.
const SHOWN_BYTES_MAX: usize = 128;

/// Why users were not changed, in Redis' words where it has some.
#[derive(Debug)]
pub(crate) enum AclError {
    Rule {
        /// The beginning of the rule.
        rule: String,
        error: RuleError,
    },
    BadName,
    LongName,
    TooManyRules,
    TooManyUsers,
    TooManyBytes,
    DefaultStays,
    /// What is wrong with the file: where, and what.
    File(String),
}

impl AclError {
    pub(super) fn rule(rule: &[u8], error: RuleError) -> Self {
        let rule = match rule {
            // What is behind the sign is a password, or its hash, or may have one in it: it is in no error, so in no log.
            [sign @ (b'>' | b'<' | b'#' | b'!' | b'('), _, ..] => format!("{}...", char::from(*sign)),
            _ => String::from_utf8_lossy(&rule[..rule.len().min(SHOWN_BYTES_MAX)]).into_owned(),
        };
        Self::Rule { rule, error }
    }
}

impl fmt::Display for AclError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { rule, error } => write!(f, "Error in ACL SETUSER modifier '{rule}': {error}"),
            Self::BadName => f.write_str("Usernames can't contain spaces or null characters"),
            Self::LongName => write!(f, "Usernames have at most {NAME_BYTES_MAX} bytes"),
            Self::TooManyRules => write!(f, "More than {RULES_MAX} rules at once"),
            Self::TooManyUsers => write!(f, "There are {USERS_MAX} users, and no more are possible"),
            Self::TooManyBytes => write!(
                f,
                "All users together would have more than {USERS_BYTES_MAX} bytes as ACL LIST shows them: remove some, or give them \
                 fewer and shorter patterns"
            ),
            Self::DefaultStays => f.write_str("The 'default' user cannot be removed"),
            Self::File(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for AclError {}

/// The users of a server, and what they were denied.
#[derive(Debug)]
pub(crate) struct AclStore {
    users: Mutex<Arc<Users>>,
    version: AtomicU64,
    pub(crate) log: DenialLog,
}

impl AclStore {
    pub(crate) fn new(users: Users) -> Self {
        let version = AtomicU64::new(users.version);
        Self { users: Mutex::new(Arc::new(users)), version, log: DenialLog::default() }
    }

    /// The newest users.
    pub(crate) fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Their version.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Changes users if `change` succeeds on a copy of them. Gives what it gave, and the version from which on shards go by it.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Users) -> Result<T, AclError>,
    ) -> Result<(T, u64), AclError> {
        let mut present = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Users::clone(&present);
        let outcome = change(&mut changed)?;
        changed.version += 1;
        let version = changed.version;
        *present = Arc::new(changed);
        self.version.store(version, Ordering::Release);
        Ok((outcome, version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_fails_leaves_users_and_version() {
        let store = AclStore::new(Users::new(""));
        let ((), version) = store.change(|users| users.set(b"bob", [&b"on"[..]])).unwrap();
        assert_eq!((version, store.version(), store.users().version), (1, 1, 1));
        store.change(|users| users.set(b"carol", [&b"nonsense"[..]])).unwrap_err();
        assert_eq!((store.version(), store.users().iter().len()), (1, 2));
    }
}
