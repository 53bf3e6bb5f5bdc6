//! The freshness barrier for many at once: questions that wait together share one drain.

use crate::agent::{Tracker, TrackerError};
use crate::state::Snapshot;
use std::io;
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

type Answer = Result<Arc<Snapshot>, TrackerError>;

/// Asks the tracker in a thread of its own, since that waits.
#[derive(Debug)]
pub(super) struct Barrier(mpsc::Sender<oneshot::Sender<Answer>>);

impl Barrier {
    pub(super) fn start(tracker: Arc<Tracker>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<oneshot::Sender<Answer>>();
        std::thread::Builder::new().name("barrier".into()).spawn(move || {
            while let Ok(first) = receiver.recv() {
                // Whoever asked before the drain begins is answered by it.
                let all: Vec<_> = std::iter::once(first).chain(receiver.try_iter()).collect();
                let snapshot = tracker.now();
                for answer in all {
                    // A caller may have gone away.
                    let _ = answer.send(snapshot.clone());
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// A snapshot that shows everything that happened before this call.
    pub(super) async fn now(&self) -> Answer {
        let ended = || TrackerError::Ended(String::from("the agent ends"));
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}
