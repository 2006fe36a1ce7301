//! How a client connects, waits and bounds itself.

use crate::client::Client;
use crate::codec::Protocol;
use crate::error::Error;
use std::fmt;
use std::time::Duration;

/// Most commands that may wait for a reply, unless the builder says otherwise.
pub const MAX_IN_FLIGHT_DEFAULT: usize = 4096;

/// The most that [`ClientBuilder::max_in_flight`] accepts: what the server lets one connection pipeline.
pub const MAX_IN_FLIGHT_LIMIT: usize = 100_000;

/// Settings of a [`Client`]; made by [`Client::builder`].
#[derive(Clone)]
pub struct ClientBuilder {
    pub(crate) addr: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) client_name: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) backoff_initial: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) protocol: Protocol,
    pub(crate) retry_reads: bool,
}

impl ClientBuilder {
    pub(crate) fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            username: None,
            password: None,
            client_name: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            backoff_initial: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            max_in_flight: MAX_IN_FLIGHT_DEFAULT,
            protocol: Protocol::Resp3,
            retry_reads: false,
        }
    }

    /// The ACL user to authenticate as; `default` if only a password is given.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// The password; without one no AUTH is sent.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The name shown by `CLIENT LIST`.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    /// Longest time for a connection to stand, handshake included. Default 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Longest time for a command, from the call to its reply: waiting for its turn and for a reconnect are
    /// included. A connection on which nothing arrives for so long while replies are due is given up.
    /// Default 10 s.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Pause before the first try to reconnect, and the longest pause. Pauses double from one to the other;
    /// each is shortened at random by up to a half, so that many clients do not come back in step.
    /// Default 50 ms to 5 s.
    #[must_use]
    pub fn reconnect_backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.backoff_initial = initial;
        self.backoff_max = max;
        self
    }

    /// Most commands that may be queued or wait for their reply; the next one waits for room. Default 4096.
    #[must_use]
    pub fn max_in_flight(mut self, commands: usize) -> Self {
        self.max_in_flight = commands;
        self
    }

    /// The protocol version to ask for. Default RESP3.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Whether a read whose connection broke is sent once more on the next one. Events never are. Default no.
    #[must_use]
    pub fn retry_reads(mut self, retry: bool) -> Self {
        self.retry_reads = retry;
        self
    }

    /// Connects and shakes hands. Later breaks are mended in the background.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for settings out of range, [`Error::Connect`] and [`Error::Handshake`] when
    /// the first connection fails; it is not retried.
    pub async fn connect(self) -> Result<Client, Error> {
        self.check()?;
        Client::start(self).await
    }

    fn check(&self) -> Result<(), Error> {
        let complaint = if self.max_in_flight == 0 || self.max_in_flight > MAX_IN_FLIGHT_LIMIT {
            format!("max_in_flight is {}; it must be 1 to {MAX_IN_FLIGHT_LIMIT}", self.max_in_flight)
        } else if self.backoff_initial.is_zero() || self.backoff_initial > self.backoff_max {
            format!(
                "reconnect_backoff from {:?} to {:?}: the first pause must be above zero and at most the longest",
                self.backoff_initial, self.backoff_max
            )
        } else if self.connect_timeout.is_zero() || self.response_timeout.is_zero() {
            "a timeout of zero would fail every call".to_owned()
        } else if self.username.is_some() && self.password.is_none() {
            "a username needs a password".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::InvalidArgument(complaint))
    }
}

impl fmt::Debug for ClientBuilder {
    /// Everything but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("addr", &self.addr)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("client_name", &self.client_name)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("backoff_initial", &self.backoff_initial)
            .field("backoff_max", &self.backoff_max)
            .field("max_in_flight", &self.max_in_flight)
            .field("protocol", &self.protocol)
            .field("retry_reads", &self.retry_reads)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        let builder = || ClientBuilder::new("127.0.0.1:1");
        assert!(builder().check().is_ok());
        for bad in [
            builder().max_in_flight(0),
            builder().max_in_flight(MAX_IN_FLIGHT_LIMIT + 1),
            builder().reconnect_backoff(Duration::ZERO, Duration::from_secs(1)),
            builder().reconnect_backoff(Duration::from_secs(2), Duration::from_secs(1)),
            builder().response_timeout(Duration::ZERO),
            builder().username("risk"),
        ] {
            assert!(matches!(bad.check(), Err(Error::InvalidArgument(_))), "{bad:?}");
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        assert!(!format!("{:?}", ClientBuilder::new("x").password("hunter2")).contains("hunter2"));
    }
}
