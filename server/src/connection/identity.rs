//! Who a connection speaks for.

use std::sync::Arc;

use crate::acl::{User, Users};

/// The user of a connection, and whether it has logged in.
pub(crate) struct Identity {
    user: Arc<User>,
    /// By a password, or by coming when none was needed: whatever becomes of passwords, it stays so.
    has_logged_in: bool,
    /// It has logged in, or need not now.
    is_authenticated: bool,
    /// It is authenticated as a user who may do everything: the one thing that a command looks at.
    may_everything: bool,
    /// So many keys of the command at hand are known to be allowed.
    pub(crate) keys_known: usize,
}

/// What changed users mean to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adopted {
    /// Nothing that it might was taken from it.
    Unharmed,
    /// What it has begun it may not be allowed any more.
    Limited,
    /// Its user is not among them.
    Gone,
}

impl Identity {
    /// Of a new connection, which need not log in where the default user is open.
    pub(crate) fn new(users: &Users) -> Self {
        let user = Arc::clone(users.default_user());
        let has_logged_in = user.is_open();
        Self::of(user, has_logged_in)
    }

    fn of(user: Arc<User>, has_logged_in: bool) -> Self {
        let is_authenticated = has_logged_in || user.is_open();
        let may_everything = is_authenticated && user.is_unlimited();
        Self { user, has_logged_in, is_authenticated, may_everything, keys_known: 0 }
    }

    /// Logs in.
    pub(crate) fn become_user(&mut self, user: Arc<User>) {
        *self = Self::of(user, true);
    }

    /// Goes on with changed users.
    pub(crate) fn adopt(&mut self, users: &Users) -> Adopted {
        let Some(user) = users.get(self.user.name().as_bytes()).filter(|user| user.id() == self.user.id())
        else {
            return Adopted::Gone;
        };
        // A change of others leaves what is known of the keys of its command.
        if Arc::ptr_eq(user, &self.user) {
            return Adopted::Unharmed;
        }
        let changed = Self::of(Arc::clone(user), self.has_logged_in);
        let before = std::mem::replace(self, changed);
        let may_as_before = self.is_authenticated && self.user.may_the_same_as(&before.user);
        if self.may_everything || may_as_before { Adopted::Unharmed } else { Adopted::Limited }
    }

    pub(crate) fn user(&self) -> &Arc<User> {
        &self.user
    }

    #[inline]
    pub(crate) fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    #[inline]
    pub(crate) fn may_everything(&self) -> bool {
        self.may_everything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(users: &mut Users, name: &str, rules: &str) {
        users.set(name.as_bytes(), rules.split(' ').map(str::as_bytes)).unwrap();
    }

    #[test]
    fn a_connection_does_not_become_who_came_after_its_user() {
        let mut users = Users::new("");
        set(&mut users, "bob", "on +ping");
        let mut identity = Identity::new(&users);
        identity.become_user(Arc::clone(users.get(b"bob").unwrap()));
        set(&mut users, "bob", "off +@all allkeys");
        assert_eq!(identity.adopt(&users), Adopted::Unharmed);
        assert!(identity.is_authenticated() && identity.may_everything());
        users.remove([&b"bob"[..]].into_iter()).unwrap();
        set(&mut users, "bob", "on +@all allkeys");
        assert_eq!(identity.adopt(&users), Adopted::Gone);
    }

    #[test]
    fn who_never_logged_in_is_in_as_long_as_nobody_need_and_who_did_stays_in() {
        let mut users = Users::new("secret");
        let (mut waiting, mut logged_in) = (Identity::new(&users), Identity::new(&users));
        logged_in.become_user(Arc::clone(users.default_user()));
        assert!(!waiting.is_authenticated() && !waiting.may_everything() && logged_in.may_everything());
        users.set_requirepass("").unwrap();
        let mut came_in = Identity::new(&users);
        assert_eq!(waiting.adopt(&users), Adopted::Unharmed);
        logged_in.adopt(&users);
        assert!(waiting.is_authenticated() && waiting.may_everything());
        users.set_requirepass("again").unwrap();
        assert_eq!(waiting.adopt(&users), Adopted::Limited);
        assert!(!waiting.is_authenticated() && !waiting.may_everything());
        for identity in [&mut logged_in, &mut came_in] {
            assert_eq!(identity.adopt(&users), Adopted::Unharmed);
            assert!(identity.is_authenticated() && identity.may_everything());
        }
    }

    #[test]
    fn only_other_commands_or_keys_harm_what_has_begun() {
        let mut users = Users::new("");
        set(&mut users, "bob", "on >x ~a +ping");
        let mut identity = Identity::new(&users);
        identity.become_user(Arc::clone(users.get(b"bob").unwrap()));
        for (rules, expected) in [
            ("off >y &news", Adopted::Unharmed),
            ("+echo -echo", Adopted::Unharmed),
            ("-ping", Adopted::Limited),
            ("resetkeys %R~a", Adopted::Limited),
            ("+@all allkeys", Adopted::Unharmed),
            ("-flushall", Adopted::Limited),
        ] {
            set(&mut users, "bob", rules);
            assert_eq!(identity.adopt(&users), expected, "{rules}");
        }
    }

    #[test]
    fn what_is_known_of_keys_ends_with_the_rules_that_it_was_known_by() {
        let mut users = Users::new("");
        let mut identity = Identity::new(&users);
        identity.keys_known = 7;
        set(&mut users, "bob", "on");
        identity.adopt(&users);
        assert_eq!(identity.keys_known, 7, "nobody's rules but another's were changed");
        set(&mut users, "default", "resetkeys ~a");
        identity.adopt(&users);
        assert_eq!(identity.keys_known, 0);
    }
}
