//! CPU time and memory of a process from `/proc`, and pinning to cores.

use crate::error::BenchError;
use crate::measure::ProcessUse;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::path::Path;

/// User and system time so far, and resident memory now.
///
/// # Errors
///
/// There is no such process, or its `/proc` entry reads unlike proc(5).
pub fn process_use(pid: u32) -> Result<ProcessUse, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path)
        .map_err(BenchError::io(format!("look at process {pid}, if there is one ({path})")))?;
    parse_stat(&stat, clock_ticks_per_second(), page_size() as u64)
        .ok_or_else(|| BenchError::Server(format!("{path} is not in the form of proc(5): {stat:?}")))
}

/// Fields 14, 15 and 24 of proc(5). The name in parentheses may itself hold spaces and parentheses.
fn parse_stat(stat: &str, ticks_per_s: u64, page_bytes: u64) -> Option<ProcessUse> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)?;
    #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^53")]
    let cpu_s = ticks as f64 / ticks_per_s as f64;
    Some(ProcessUse { cpu_s, rss_bytes: number(24)? * page_bytes })
}

/// Resident memory now, to the page: walks the page tables, where [`process_use`] reads a counter that the kernel
/// keeps in parts and adds up now and then.
///
/// # Errors
///
/// There is no such process, or it is another user's.
pub fn resident_bytes(pid: u32) -> Result<u64, BenchError> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(BenchError::io(format!("read {path}")))?;
    parse_resident(&text)
        .ok_or_else(|| BenchError::Server(format!("{path} is not in the form of proc(5): {text:?}")))
}

fn parse_resident(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The cores that the calling thread may use, ascending. To be asked before the generator leaves the servers' core: from then on
/// that looks like a core that is not there.
///
/// # Errors
///
/// The system does not say.
pub fn allowed() -> Result<Vec<usize>, BenchError> {
    let set = sched_getaffinity(None).map_err(|error| pin_error(error.into()))?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Binds the calling thread, and the processes and threads it starts from now on, to one core.
///
/// # Errors
///
/// The core does not exist or is not allowed.
pub fn pin(core: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    if core < CpuSet::MAX_CPU {
        set.set(core);
        if apply(&set).is_ok() {
            return Ok(());
        }
    }
    // Asked only now: what the calling thread was bound to before is no limit for it.
    let allowed: Vec<String> = allowed()?.iter().map(usize::to_string).collect();
    Err(BenchError::Settings(format!(
        "this process cannot be bound to core {core}; it runs on core {}",
        allowed.join(", ")
    )))
}

/// Binds the calling thread to all cores it may use now except one.
///
/// # Errors
///
/// There is no other core.
pub fn pin_away_from(core: usize) -> Result<(), BenchError> {
    let mut set = sched_getaffinity(None).map_err(|error| pin_error(error.into()))?;
    set.unset(core);
    apply(&set)
}

fn apply(set: &CpuSet) -> Result<(), BenchError> {
    sched_setaffinity(None, set).map_err(|error| pin_error(error.into()))
}

fn pin_error(source: std::io::Error) -> BenchError {
    BenchError::Io { what: "bind to cores".to_owned(), source }
}

/// Has the system write what it holds back of a file, and forget what it keeps of it in memory.
///
/// # Errors
///
/// The file cannot be opened or synced.
pub fn forget_cached(path: &Path) -> Result<(), BenchError> {
    let doing = |what: &str| BenchError::io(format!("{what} {}", path.display()));
    let file = fs::File::open(path).map_err(doing("open"))?;
    file.sync_all().map_err(doing("sync"))?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .map_err(|error| doing("forget the cached pages of")(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_name_with_parentheses() {
        let stat =
            "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 1 0 12345 1000000 77 184467";
        let found = parse_stat(stat, 100, 4096).unwrap();
        assert!((found.cpu_s - 4.0).abs() < 1e-9);
        assert_eq!(found.rss_bytes, 77 * 4096);
        assert!(parse_stat("42 (short) S 1", 100, 4096).is_none());
    }

    #[test]
    fn resident_memory_is_read_in_kilobytes() {
        let rollup = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:    1216 kB\nPss:     200 kB\n";
        assert_eq!(parse_resident(rollup), Some(1216 * 1024));
        assert_eq!(parse_resident("Pss: 200 kB\n"), None);
    }

    #[test]
    fn only_cores_that_are_allowed_can_be_bound_to() {
        let allowed = allowed().unwrap();
        assert!(!allowed.is_empty());
        let other = CpuSet::MAX_CPU - 1;
        let error = pin(other).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot be bound to core {other}")), "{error}");
        assert!(pin(usize::MAX).is_err());
    }

    #[test]
    fn this_process_can_be_read() {
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
        assert!(process_use(std::process::id()).unwrap().rss_bytes > 0);
        assert!(process_use(u32::MAX).is_err());
    }
}
