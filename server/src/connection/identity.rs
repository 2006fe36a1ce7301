//! Who a connection speaks for.

use std::sync::Arc;

use crate::acl::{User, Users};

/// The user of a connection, and whether it has logged in.
pub(crate) struct Identity {
    user: Arc<User>,
    is_authenticated: bool,
    /// It has logged in as a user who may do everything: the one thing that a command looks at.
    may_everything: bool,
    /// So many keys of the command at hand are known to be allowed.
    pub(crate) keys_known: usize,
}

impl Identity {
    /// Of a new connection, which need not log in where the default user is open.
    pub(crate) fn new(users: &Users) -> Self {
        let user = Arc::clone(users.default_user());
        let is_authenticated = user.is_open();
        Self::of(user, is_authenticated)
    }

    fn of(user: Arc<User>, is_authenticated: bool) -> Self {
        let may_everything = is_authenticated && user.is_unlimited();
        Self { user, is_authenticated, may_everything, keys_known: 0 }
    }

    /// Logs in.
    pub(crate) fn become_user(&mut self, user: Arc<User>) {
        *self = Self::of(user, true);
    }

    /// Goes on with changed users. False: its own is not among them any more.
    pub(crate) fn adopt(&mut self, users: &Users) -> bool {
        let Some(user) = users.get(self.user.name().as_bytes()).filter(|user| user.id() == self.user.id())
        else {
            return false;
        };
        // Who has logged in stays so, whatever becomes of passwords; who has not need not any more where the default user is open.
        let is_authenticated = self.is_authenticated || user.is_open();
        *self = Self::of(Arc::clone(user), is_authenticated);
        true
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
        assert!(identity.adopt(&users) && identity.is_authenticated() && identity.may_everything());
        users.remove([&b"bob"[..]].into_iter()).unwrap();
        set(&mut users, "bob", "on +@all allkeys");
        assert!(!identity.adopt(&users));
    }

    #[test]
    fn who_waits_to_log_in_need_not_once_the_default_user_is_open() {
        let mut users = Users::new("secret");
        let mut identity = Identity::new(&users);
        assert!(identity.adopt(&users) && !identity.is_authenticated() && !identity.may_everything());
        users.set_requirepass("").unwrap();
        assert!(identity.adopt(&users) && identity.is_authenticated() && identity.may_everything());
        users.set_requirepass("again").unwrap();
        assert!(identity.adopt(&users) && identity.is_authenticated(), "who is in stays in");
    }

    #[test]
    fn what_is_known_of_keys_ends_with_the_rules_that_it_was_known_by() {
        let users = Users::new("");
        let mut identity = Identity::new(&users);
        identity.keys_known = 7;
        assert!(identity.adopt(&users));
        assert_eq!(identity.keys_known, 0);
    }
}
