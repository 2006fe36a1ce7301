//! Which connections a run has, and which requests are due on them when.

use super::{Background, Load};
use crate::arrivals::Spacing;
use crate::workload::Workload;

/// Which connections there are, and which requests are due on them when.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Counts of connections: each group has its own.
    pub groups: Vec<usize>,
    /// Empty: a closed loop on the connections of the first group.
    pub lanes: Vec<LanePlan>,
}

/// The schedule of one kind of request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LanePlan {
    /// Index of the workload's request.
    pub request: usize,
    /// All threads together.
    pub rate_per_s: f64,
    /// How arrivals are spaced.
    pub spacing: Spacing,
    /// Whose connections it takes.
    pub group: usize,
}

impl Schedule {
    /// Of requests that share connections and a rate, and a background with its own.
    pub(super) fn of(load: &Load, workload: &Workload) -> Self {
        let mut schedule = Self { groups: vec![load.connections], lanes: Vec::new() };
        let Some((rate, spacing)) = load.rate else { return schedule };
        for (request, share) in workload.shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            schedule.lanes.push(LanePlan { request, rate_per_s: rate * share, spacing, group: 0 });
        }
        if let Some(Background { rate_per_s, connections, .. }) = load.background {
            let (request, spacing) = (workload.foreground(), Spacing::Constant);
            schedule.groups.push(connections);
            schedule.lanes.push(LanePlan { request, rate_per_s, spacing, group: 1 });
        }
        schedule
    }
}
