//! The snapshot thread: sleeps until an image is due or asked for, and sees to it that one is written.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use windrow_protocol::reply;

use super::saving::{EndWith, NewestImage, SaveRequest};
use super::tries::Tries;
use super::write::{self, Loans};
use crate::admin::Asker;
use crate::shard::Message;
use crate::shared::Shared;
use crate::timing::LatencyEvent;

/// How often it looks whether an image is due, or the server ends.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs until the server ends.
pub(crate) fn run(shared: &Arc<Shared>, requests: &Receiver<SaveRequest>, mut loans: Loans) {
    let mut tries = Tries::new(Instant::now());
    while !shared.ending.is_requested() {
        let request = match requests.recv_timeout(LOOK_EVERY) {
            Ok(request) => request,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                if !tries.may_try(now) || !is_due(shared, &tries, now) || !shared.saving.try_begin() {
                    continue;
                }
                SaveRequest::Background
            }
        };
        let outcome = match request {
            SaveRequest::Background => write_one(shared, &mut loans),
            SaveRequest::Foreground(asker) => {
                shared.saving.hurry();
                let outcome = write_one(shared, &mut loans);
                answer(shared, asker, outcome.as_ref().err());
                outcome
            }
            SaveRequest::End { end, is_one_running } => {
                if !is_one_running {
                    write_last(shared, &mut loans, end);
                }
                shared.end_now();
                return;
            }
        };
        tries.note(outcome.is_ok(), Instant::now());
    }
}

/// Whether the settings ask for an image now.
fn is_due(shared: &Shared, tries: &Tries, now: Instant) -> bool {
    let config = shared.config();
    if config.save_s == 0 || shared.log_failure().is_some() {
        return false;
    }
    let unsaved = shared.unsaved_changes();
    // What a start needs reaches back to the second newest image, so it may take two to set log free.
    if shared.saving.is_log_full() && (unsaved > 0 || !shared.saving.is_repeated()) {
        return true;
    }
    let by_time = tries.is_old(Duration::from_secs(config.save_s), now);
    let by_operations = config.save_operations > 0 && unsaved >= config.save_operations;
    unsaved > 0 && (by_time || by_operations)
}

/// Writes an image; the turn is this thread's, and is given back.
fn write_one(shared: &Arc<Shared>, loans: &mut Loans) -> Result<(), String> {
    let outcome = write::write_image(shared, loans);
    match &outcome {
        Ok((entry, _)) => tracing::info!(
            "image {} is on disk: {} records, {} bytes, {:.1} s",
            entry.image,
            entry.records,
            entry.bytes,
            shared.saving.progress.running_ms() as f64 / 1000.0
        ),
        Err(reason) if shared.ending.is_requested() => {
            tracing::info!("an image was not finished before the end: {reason}");
        }
        Err(reason) => tracing::error!("no image was written: {reason}"),
    }
    let done = outcome.as_ref().map(drop).map_err(String::clone);
    let took = Duration::from_millis(shared.saving.progress.running_ms());
    shared.note_latency(LatencyEvent::Snapshot, took);
    shared.saving.finish(outcome.map(|(entry, images)| (NewestImage::of(&entry), images)));
    done
}

/// The image that a server ends with.
fn write_last(shared: &Arc<Shared>, loans: &mut Loans, end: EndWith) {
    let is_wanted = match end {
        EndWith::ImageIfChanged => shared.config().save_s > 0,
        EndWith::Image => true,
        EndWith::Nothing => false,
    };
    if is_wanted && shared.unsaved_changes() > 0 && shared.saving.try_begin() {
        shared.saving.hurry();
        // What went wrong was logged; nothing is lost by it.
        let _ = write_one(shared, loans);
    }
}

fn answer(shared: &Shared, asker: Asker, failure: Option<&String>) {
    let mut bytes = Vec::new();
    match failure {
        None => bytes.extend_from_slice(reply::OK),
        Some(reason) => reply::error(&mut bytes, &format!("ERR no image was written: {reason}")),
    }
    shared.shards[asker.shard].send(Message::Answered { connection: asker.connection, reply: bytes });
}
