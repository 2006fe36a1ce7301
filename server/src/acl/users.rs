//! All users, as one shard sees them between two ticks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::store::AclError;
use super::user::User;

/// The user that connections begin as.
pub(crate) const DEFAULT_USER: &str = "default";
/// Most users.
pub(super) const USERS_MAX: usize = 4096;
/// Longest name of a user.
pub(super) const NAME_BYTES_MAX: usize = 256;
/// Most rules of one ACL SETUSER, or of a line of the file.
pub(super) const RULES_MAX: usize = 1024;

/// Most bytes of all users but the default one as the lines of a file: what ACL LIST replies, and ACL SAVE writes.
pub(super) const USERS_BYTES_MAX: usize = 16 << 20;

/// All users; the default one is always among them.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    /// Counts changes.
    pub(crate) version: u64,
    next_id: u64,
    by_name: BTreeMap<Box<str>, Arc<User>>,
    /// Of those that [`USERS_BYTES_MAX`] is about.
    bytes: usize,
}

impl Users {
    /// The default user alone, who may do everything, with this password; an empty one: with none.
    pub(crate) fn new(requirepass: &str) -> Self {
        let mut users = Self { version: 0, next_id: 0, by_name: BTreeMap::new(), bytes: 0 };
        let rules: [&[u8]; 4] = [b"on", b"~*", b"&*", b"+@all"];
        users.set(DEFAULT_USER.as_bytes(), rules).expect("these are rules");
        users.set_requirepass(requirepass).expect("`Config::validate` has checked its length");
        users
    }

    /// The user of this name.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(std::str::from_utf8(name).ok()?)
    }

    /// The user that connections begin as.
    pub(crate) fn default_user(&self) -> &Arc<User> {
        &self.by_name[DEFAULT_USER]
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.by_name.values()
    }

    /// Makes or changes a user: all rules, or on an error none.
    pub(crate) fn set<'a>(
        &mut self,
        name: &[u8],
        rules: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), AclError> {
        let name = check_name(name)?;
        let present = self.by_name.get(name);
        let other_bytes = self.bytes - present.map_or(0, |user| counted_bytes(user));
        let mut user = match present {
            Some(user) => User::clone(user),
            None if self.by_name.len() >= USERS_MAX => return Err(AclError::TooManyUsers),
            None => {
                self.next_id += 1;
                User::new(self.next_id, name)
            }
        };
        apply_all(&mut user, rules)?;
        let bytes = other_bytes + counted_bytes(&user);
        if bytes > USERS_BYTES_MAX {
            return Err(AclError::TooManyBytes);
        }
        self.bytes = bytes;
        self.by_name.insert(name.into(), Arc::new(user));
        Ok(())
    }

    /// Removes users; gives how many there were.
    pub(crate) fn remove<'a>(
        &mut self,
        names: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<usize, AclError> {
        if names.clone().any(|name| name == DEFAULT_USER.as_bytes()) {
            return Err(AclError::DefaultStays);
        }
        let before = self.by_name.len();
        for name in names {
            if let Ok(name) = std::str::from_utf8(name) {
                let removed = self.by_name.remove(name);
                self.bytes -= removed.map_or(0, |user| counted_bytes(&user));
            }
        }
        Ok(before - self.by_name.len())
    }

    /// The setting `requirepass`: the default user has this password and no other; empty: needs none.
    pub(crate) fn set_requirepass(&mut self, requirepass: &str) -> Result<(), AclError> {
        let password = match requirepass {
            "" => "nopass".to_owned(),
            password => format!(">{password}"),
        };
        self.set(DEFAULT_USER.as_bytes(), [b"resetpass", password.as_bytes()])
    }

    /// Puts others in their place. Who is the same in both is one user; who is not is another, but for the default user.
    pub(crate) fn replace(&mut self, others: &Users) {
        let mut by_name = BTreeMap::new();
        for other in others.iter() {
            let present = self.by_name.get(other.name());
            let user = match present {
                Some(present) if present.to_string() == other.to_string() => Arc::clone(present),
                _ => {
                    let mut user = User::clone(other);
                    user.id = match present {
                        Some(present) if present.name() == DEFAULT_USER => present.id(),
                        _ => {
                            self.next_id += 1;
                            self.next_id
                        }
                    };
                    Arc::new(user)
                }
            };
            by_name.insert(other.name().into(), user);
        }
        self.by_name = by_name;
        self.bytes = others.bytes;
    }
}

/// Bytes of a user's line. The default user is always there and has bounds of its own; were it counted, whether a file fits would
/// depend on where in it that user stands.
fn counted_bytes(user: &User) -> usize {
    if user.name() == DEFAULT_USER { 0 } else { user.to_string().len() + 1 }
}

/// Applies rules in their order. After an error the user is changed halfway.
fn apply_all<'a>(user: &mut User, rules: impl IntoIterator<Item = &'a [u8]>) -> Result<(), AclError> {
    for (index, rule) in rules.into_iter().enumerate() {
        if index >= RULES_MAX {
            return Err(AclError::TooManyRules);
        }
        user.apply(rule).map_err(|error| AclError::rule(rule, error))?;
    }
    Ok(())
}

/// A name is text without white space, so that it can stand in a file and in CLIENT LIST.
fn check_name(name: &[u8]) -> Result<&str, AclError> {
    let name = std::str::from_utf8(name).map_err(|_| AclError::BadName)?;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(AclError::BadName);
    }
    if name.len() > NAME_BYTES_MAX { Err(AclError::LongName) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::PasswordHash;

    fn set(users: &mut Users, name: &str, rules: &str) -> Result<(), AclError> {
        users.set(name.as_bytes(), rules.split(' ').map(str::as_bytes))
    }

    fn lines(users: &Users) -> Vec<String> {
        users.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_user_may_do_everything_with_the_password_that_is_required() {
        assert_eq!(lines(&Users::new("")), ["user default on nopass ~* &* +@all"]);
        let mut users = Users::new("secret");
        assert!(users.default_user().accepts(&PasswordHash::of(b"secret")));
        assert!(!users.default_user().accepts(&PasswordHash::of(b"")) && !users.default_user().is_open());
        assert!(users.default_user().is_unlimited());
        set(&mut users, "default", ">another -flushall").unwrap();
        users.set_requirepass("").unwrap();
        assert_eq!(
            lines(&users),
            ["user default on nopass ~* &* +@all -flushall"],
            "it is only about passwords"
        );
    }

    #[test]
    fn a_user_is_changed_by_all_rules_or_by_none() {
        let mut users = Users::new("");
        set(&mut users, "bob", "on +ping ~a").unwrap();
        let error = set(&mut users, "bob", "off -ping +nosuch").unwrap_err().to_string();
        let expected = "Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL";
        assert_eq!(error, expected);
        set(&mut users, "carol", "on nonsense").unwrap_err();
        assert_eq!(lines(&users)[..1], ["user bob on ~a resetchannels -@all +ping"]);
        assert_eq!(users.iter().len(), 2, "a user that a wrong rule would have made is not there");
    }

    #[test]
    fn a_user_that_comes_after_one_of_its_name_is_another() {
        let mut users = Users::new("");
        set(&mut users, "bob", "on").unwrap();
        let first = users.get(b"bob").unwrap().id();
        set(&mut users, "bob", "+ping").unwrap();
        assert_eq!(users.get(b"bob").unwrap().id(), first);
        assert_eq!(users.remove([&b"bob"[..], b"nobody", b"bob"].into_iter()).unwrap(), 1);
        set(&mut users, "bob", "on").unwrap();
        assert_ne!(users.get(b"bob").unwrap().id(), first);
    }

    #[test]
    fn the_default_user_cannot_be_removed() {
        let mut users = Users::new("");
        set(&mut users, "bob", "on").unwrap();
        let error = users.remove([&b"bob"[..], b"default"].into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "The 'default' user cannot be removed");
        assert!(users.get(b"bob").is_some(), "nobody is removed then");
    }

    #[test]
    fn names_and_numbers_are_bounded() {
        let mut users = Users::new("");
        for name in ["", "a b", "a\tb", "a\0b", "\u{a0}", &"n".repeat(NAME_BYTES_MAX + 1)] {
            set(&mut users, name, "on").unwrap_err();
        }
        assert!(matches!(users.set(b"\xFF", []), Err(AclError::BadName)));
        assert!(matches!(users.set(b"a", [&b"on"[..]; RULES_MAX + 1]), Err(AclError::TooManyRules)));
        for index in 1..USERS_MAX {
            users.set(format!("u{index}").as_bytes(), []).unwrap();
        }
        assert!(matches!(users.set(b"one_more", []), Err(AclError::TooManyUsers)));
        users.set(b"u1", [&b"on"[..]]).unwrap();
    }

    #[test]
    fn of_users_that_are_replaced_only_the_same_stay_who_they_were() {
        let (mut users, mut others) = (Users::new(""), Users::new("x"));
        for name in ["same", "changed", "gone"] {
            set(&mut users, name, "on +ping").unwrap();
        }
        set(&mut others, "changed", "on +echo").unwrap();
        set(&mut others, "new", "on").unwrap();
        set(&mut others, "same", "on +ping").unwrap();
        let before = users.clone();
        users.replace(&others);
        assert_eq!(lines(&users), lines(&others));
        let id = |users: &Users, name: &str| users.get(name.as_bytes()).unwrap().id();
        assert_eq!(id(&users, "same"), id(&before, "same"));
        assert_eq!(id(&users, "default"), id(&before, "default"));
        let mut ids: Vec<u64> = users.iter().chain(before.iter()).map(|user| user.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6, "default, same, changed before and after, gone, new");
    }
}
