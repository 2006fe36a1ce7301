//! A damaged image, met while serving: nobody can go on without the chunk, and the image before with the log behind it has everything.
//! So the process executes itself anew, with the arguments it was started with, as after a crash; one that was asked to end ends.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Somebody should listen for so long after the start.
const LISTENER_WAIT: Duration = Duration::from_secs(5);

/// An image that nobody can go on without is damaged, and was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostImage {
    /// What is wrong with it.
    pub reason: String,
    /// The server had been asked to end.
    pub is_ending: bool,
}

/// How a thread that met the damage says so to whoever can start the server anew.
#[derive(Debug, Default)]
pub(crate) struct Anew {
    listener: Mutex<Option<Sender<LostImage>>>,
    is_ending: AtomicBool,
}

impl Anew {
    /// Takes note of who listens.
    pub(crate) fn listen(&self) -> Receiver<LostImage> {
        let (sender, receiver) = channel();
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// The server was asked to end: it is not to start again.
    pub(crate) fn note_end(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    /// The server cannot go on. The listener starts it anew; without one the process ends.
    pub(crate) fn cannot_go_on(&self, reason: &str) -> ! {
        let began = Instant::now();
        // The listener may be on its way when a start meets the damage.
        while !self.say(reason) {
            if began.elapsed() > LISTENER_WAIT {
                end(reason);
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Until the process is another.
        loop {
            thread::park();
        }
    }

    fn say(&self, reason: &str) -> bool {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = LostImage { reason: reason.to_owned(), is_ending: self.is_ending.load(Ordering::Acquire) };
        listener.as_ref().is_some_and(|listener| listener.send(lost).is_ok())
    }
}

/// The server cannot go on, and starting anew would not help: the process ends.
pub(crate) fn end(reason: &str) -> ! {
    tracing::error!("{reason}: the server ends");
    std::process::exit(1);
}

/// Executes this program anew with the same arguments; or ends the process, if that was asked of it. What it has open is closed; what it has written is in the system's hands.
///
/// Call it on a thread that is neither pinned nor of lower priority: the new process inherits both.
pub fn after(lost: &LostImage) -> ! {
    let LostImage { reason, is_ending } = lost;
    if *is_ending {
        // A failure, since the last sync of the log is left out, as in a crash.
        end(&format!("{reason}; the next start takes an older image and the log"));
    }
    tracing::error!("{reason}; the server starts anew, from an older image and the log");
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).exec();
    tracing::error!("cannot execute the server anew: {error}: start it again by hand");
    std::process::exit(1);
}
