//! Workloads as TOML files: streams, names, kinds of requests with their rates, and what makes a run of them acceptable. The files in
//! `bench/workloads` are the manual.
//!
//! | file | what lives there |
//! | --- | --- |
//! | `form` | what may stand in a file |
//! | `check`, `unused` | what makes no sense, and what would do nothing |
//! | `schedule` | connections, times, and what is due when |
//! | `requests` | the bytes of each kind of request |

mod check;
mod form;
mod requests;
mod schedule;
#[cfg(test)]
mod tests;
mod unused;

pub use form::{
    Accept, Arrival, CommandName, LoadPlan, MemoryBound, Names, RequestPlan, StreamDefinition, ValuePlan,
    WorkloadFile,
};

use crate::error::BenchError;
use std::path::Path;

/// Largest file.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl WorkloadFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no TOML, or describes no workload; the error says where.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let reading = || BenchError::io(format!("read {}", path.display()));
        let bytes = std::fs::metadata(path).map_err(reading())?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(BenchError::Settings(format!(
                "{} has {bytes} bytes; a workload file has at most {FILE_BYTES_MAX}",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(reading())?;
        Self::parse(&text).map_err(|error| BenchError::Settings(format!("{}: {error}", path.display())))
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// As [`WorkloadFile::read`].
    pub fn parse(text: &str) -> Result<Self, BenchError> {
        let file: Self = toml::from_str(text).map_err(|error| BenchError::Settings(error.to_string()))?;
        file.check()?;
        Ok(file)
    }

    /// Multiplies all rates.
    pub fn scale_rates(&mut self, factor: f64) {
        for rate in self.request.iter_mut().filter_map(|request| request.rate.as_mut()) {
            *rate *= factor;
        }
    }
}
