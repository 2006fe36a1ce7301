//! A damaged image, met while serving: nobody can go on without the chunk, and the image before with the log behind it has everything.
//! So the process executes itself anew, with the arguments it was started with, as after a crash.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Somebody should listen for so long after the start.
const LISTENER_WAIT: Duration = Duration::from_secs(5);

/// How a thread that met the damage says so to whoever can start the server anew.
#[derive(Debug, Default)]
pub(crate) struct Anew {
    listener: Mutex<Option<Sender<String>>>,
}

impl Anew {
    /// Takes note of who listens.
    pub(crate) fn listen(&self) -> Receiver<String> {
        let (sender, receiver) = channel();
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
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
        listener.as_ref().is_some_and(|listener| listener.send(reason.to_owned()).is_ok())
    }
}

/// The server cannot go on, and starting anew would not help: the process ends.
pub(crate) fn end(reason: &str) -> ! {
    tracing::error!("{reason}: the server ends");
    std::process::exit(1);
}

/// Executes this program anew with the same arguments. What it has open is closed; what it has written is in the system's hands.
///
/// Call it on a thread that is neither pinned nor of lower priority: the new process inherits both.
pub fn execute() -> ! {
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).exec();
    tracing::error!("cannot execute the server anew: {error}: start it again by hand");
    std::process::exit(1);
}
