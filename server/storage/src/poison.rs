//! The process-wide switch that a failed log write or sync throws. After a failed sync the kernel may have dropped the pages and
//! report success the next time: a retry that "succeeds" lies. So nothing resets it but a restart.

use std::sync::{Arc, OnceLock};

use crate::StorageError;

/// Shared by all logs and the manifest of a data directory. Cheap to clone and to ask.
#[derive(Debug, Clone, Default)]
pub struct Poison {
    reason: Arc<OnceLock<String>>,
}

impl Poison {
    /// The first failure, if there was one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// An error once anything has failed.
    pub fn check(&self) -> Result<(), StorageError> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(StorageError::Poisoned { reason: reason.to_owned() }),
        }
    }

    /// Throws the switch for good and gives the error to return; only the first reason is kept.
    pub fn poison(&self, reason: &str) -> StorageError {
        let kept = self.reason.get_or_init(|| reason.to_owned());
        StorageError::Poisoned { reason: kept.clone() }
    }
}
