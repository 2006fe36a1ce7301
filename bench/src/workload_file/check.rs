//! What makes no sense in a workload file, refused with its place.

use super::{CommandName, RequestPlan, WorkloadFile, unused};
use crate::error::BenchError;

/// Most kinds of requests, streams, and spaces of names.
const ITEMS_MAX: usize = 64;

/// Most rows of one request.
const ROWS_MAX: usize = 100_000;

impl WorkloadFile {
    /// Refuses the first thing that makes no sense.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let complain = |text: String| Err(BenchError::Settings(text));
        if self.request.is_empty() {
            return complain("there is no [[request]]: nothing would be sent".to_owned());
        }
        for (what, count) in [
            ("[[request]]", self.request.len()),
            ("[[stream]]", self.stream.len()),
            ("[names]", self.names.len()),
        ] {
            if count > ITEMS_MAX {
                return complain(format!("{count} of {what}; there are at most {ITEMS_MAX}"));
            }
        }
        let with_rate = self.request.iter().filter(|request| request.rate.is_some()).count();
        if with_rate != 0 && with_rate != self.request.len() {
            return complain(
                "either every [[request]] has a rate (open loop), or none (closed loop)".to_owned(),
            );
        }
        for fill in &self.fill {
            if fill.requests.is_none_or(|requests| requests == 0) || fill.rate.is_some() {
                return complain(format!(
                    "fill {}: it has a count of requests, and no rate: it goes as fast as the server answers",
                    fill.name
                ));
            }
        }
        if let Some(request) = self.request.iter().find(|request| request.requests.is_some()) {
            return complain(format!("request {}: only a [[fill]] has a count of requests", request.name));
        }
        if let Some(memory) = &self.memory {
            self.space(&memory.names, "memory")?;
        }
        for request in self.request.iter().chain(&self.fill) {
            let RequestPlan { name, rate, share, connections, rows, duplicate_share, command, .. } = request;
            let is_amount = |number: &f64| number.is_finite() && *number > 0.0;
            if rate.is_some() && share.is_some() {
                return complain(format!("request {name}: rate is for an open loop, share for a closed one"));
            }
            if !rate.iter().chain(share).all(is_amount) {
                return complain(format!("request {name}: a rate or share is above 0"));
            }
            if rate.is_none() && connections.is_some() {
                return complain(format!(
                    "request {name}: only an open loop (rate) has connections of its own"
                ));
            }
            if !(1..=ROWS_MAX).contains(rows) {
                return complain(format!("request {name}: {rows} rows; there are 1 to {ROWS_MAX}"));
            }
            let names = self.names.get(&request.entities).map_or(0, |space| space.count);
            if !request.repeats && *rows as u64 > names / 2 {
                return complain(format!(
                    "request {name}: {rows} different ones of {names} {}: without repeats, at most half of them",
                    request.entities
                ));
            }
            if !(0.0..1.0).contains(duplicate_share) {
                return complain(format!("request {name}: duplicate_share is from 0 to below 1"));
            }
            let is_read = matches!(command, CommandName::Get | CommandName::Mget | CommandName::Top);
            if is_read && (!request.values.is_empty() || request.id || *duplicate_share > 0.0) {
                return complain(format!("request {name}: a read has no values, ids or duplicates"));
            }
            let has_read_words = !request.features.is_empty() || !request.options.is_empty();
            if !is_read && has_read_words {
                return complain(format!("request {name}: an event has no features or options"));
            }
            if *command == CommandName::Top && request.features.len() != 1 {
                return complain(format!("request {name}: top is by one feature"));
            }
            self.space(&request.entities, name)?;
        }
        if let Some(request) = self.request.iter().find(|request| request.order.is_some()) {
            return complain(format!("request {}: only a [[fill]] has an order", request.name));
        }
        unused::refuse(self)?;
        self.load()?;
        self.schedule()?;
        self.workload(&self.request)?;
        self.workload(&self.fill)?;
        Ok(())
    }
}
