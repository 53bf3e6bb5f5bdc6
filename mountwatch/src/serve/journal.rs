//! The journal: what happened lately, for watchers that follow at their own pace or come back.
//!
//! It is written by one thread for all watchers, from the first one on. Each watcher reads it from a
//! position of its own, so the journal is the bounded queue of all of them: who is further behind than
//! it reaches has to start again.

use super::limits::{self, Counters, count};
use crate::agent::{Subscription, Tracker};
use crate::kernel::host;
use crate::model::Coverage;
use crate::proto::event::{kind_of, to_what};
use crate::proto::v1::WatchResponse;
use crate::proto::v1::event::Kind;
use crate::proto::v1::watch_response::What;
use crate::render::{Happening, Said, Saying, Scene, Secrets, What as Told};
use crate::state::{Published, Snapshot};
use prost::Message;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Instant;
use tokio::sync::{oneshot, watch};

/// What a step costs besides its messages.
const STEP_BYTES: usize = 256;
/// What two states of the index cost that are kept for a rename.
const STATES_BYTES: usize = 64 << 10;
/// Steps that a watcher is given at once.
const STEPS: usize = 64;

/// One message about a step.
#[derive(Debug)]
pub(super) struct Entry {
    /// A `WatchResponse` as it is sent, but for the position and the coverage: it takes a fifth of the
    /// room of its fields.
    encoded: Box<[u8]>,
    /// `None`: it is no change of a mount but an operation, or the coverage changed.
    pub(super) kind: Option<Kind>,
    pub(super) is_operation: bool,
}

impl Entry {
    fn new(what: What, kind: Option<Kind>) -> Self {
        let is_operation = matches!(what, What::Operation(_));
        let message = WatchResponse { what: Some(what), ..WatchResponse::default() };
        Self { encoded: message.encode_to_vec().into_boxed_slice(), kind, is_operation }
    }

    /// The message.
    pub(super) fn what(&self) -> Option<What> {
        let message = WatchResponse::decode(&*self.encoded);
        message.expect("what was encoded here can be decoded").what
    }

    fn bytes(&self) -> usize {
        self.encoded.len() + size_of::<Self>()
    }
}

/// One revision of which there is something to be told.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) revision: u64,
    pub(super) coverage: Arc<Coverage>,
    pub(super) entries: Vec<Entry>,
    /// Before and after it, if something was renamed: whom that concerns is found out by both.
    pub(super) states: Option<(Arc<Snapshot>, Arc<Snapshot>)>,
    bytes: usize,
}

/// How far a watcher is: a revision, and how many messages of it were told (`None`: all).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) revision: u64,
    pub(super) told: Option<u32>,
}

/// Why a watcher cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// What follows its place is not kept any more, or was never written.
    Compacted,
    /// The journal was too slow.
    Lost,
}

#[derive(Debug, Default)]
struct Log {
    steps: VecDeque<Arc<Step>>,
    bytes: usize,
    /// That of the last step: it rarely changes, and may be many sentences.
    coverage: Arc<Coverage>,
    /// Everything after this revision is in `steps`.
    begin: u64,
    /// Everything up to this revision is.
    end: u64,
    /// The journal lost what was before `begin`, it did not drop it.
    was_lost: bool,
    is_active: bool,
    watchers: usize,
    idle_since: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    log: Mutex<Log>,
    grown: watch::Sender<u64>,
    wanted: mpsc::Sender<oneshot::Sender<()>>,
    counters: Arc<Counters>,
    secrets: Secrets,
}

/// A watcher: the journal is written while there is one.
#[derive(Debug)]
pub(super) struct Reader(Arc<Journal>);

impl Reader {
    /// Tells of each growth.
    pub(super) fn growth(&self) -> watch::Receiver<u64> {
        self.0.grown.subscribe()
    }

    /// Some steps after a place, and how far the journal is. The first step may be one of which
    /// something was told already.
    pub(super) fn after(&self, place: Place) -> Result<(Vec<Arc<Step>>, u64), Gap> {
        self.0.after(place)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut log = self.0.log();
        log.watchers -= 1;
        if log.watchers == 0 {
            log.idle_since = Some(Instant::now());
        }
    }
}

impl Journal {
    pub(super) fn start(
        tracker: &Arc<Tracker>,
        counters: &Arc<Counters>,
        secrets: Secrets,
    ) -> io::Result<Arc<Self>> {
        let (wanted, wishes) = mpsc::channel();
        let journal = Arc::new(Self {
            log: Mutex::default(),
            grown: watch::Sender::new(0),
            wanted,
            counters: Arc::clone(counters),
            secrets,
        });
        // Who waits for the tracker's end must not wait for us.
        let (tracker, ours) = (Arc::downgrade(tracker), Arc::downgrade(&journal));
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || serve(&tracker, &ours, &wishes))?;
        Ok(journal)
    }

    /// Begins to write, if nobody wanted it before. What is published after the return is told.
    pub(super) async fn reader(self: &Arc<Self>) -> Option<Reader> {
        let is_active = {
            let mut log = self.log();
            log.watchers += 1;
            log.is_active
        };
        let reader = Reader(Arc::clone(self));
        if !is_active {
            let (done, begun) = oneshot::channel();
            self.wanted.send(done).ok()?;
            begun.await.ok()?;
        }
        Some(reader)
    }

    fn after(&self, place: Place) -> Result<(Vec<Arc<Step>>, u64), Gap> {
        let log = self.log();
        // The step itself is needed if it was not told to its end.
        let whole =
            if place.told.is_some() { place.revision.saturating_sub(1) } else { place.revision };
        if whole < log.begin || !log.is_active {
            return Err(if log.was_lost { Gap::Lost } else { Gap::Compacted });
        }
        let first = log.steps.partition_point(|step| step.revision <= whole);
        Ok((log.steps.range(first..).take(STEPS).cloned().collect(), log.end))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing before this revision is known.
    fn begin(&self, revision: u64, was_lost: bool) {
        let mut log = self.log();
        log.steps.clear();
        (log.bytes, log.begin, log.end) = (0, revision, revision);
        (log.was_lost, log.is_active) = (was_lost, true);
        drop(log);
        self.grown.send_replace(revision);
    }

    fn write(&self, before: &Arc<Snapshot>, published: &Published) {
        let step = self.step(before, published);
        let mut log = self.log();
        log.end = published.snapshot.revision().0;
        if !step.entries.is_empty() {
            log.bytes += step.bytes;
            log.steps.push_back(Arc::new(step));
        }
        while log.bytes > limits::JOURNAL_BYTES_MAX {
            let Some(oldest) = log.steps.pop_front() else { break };
            log.bytes -= oldest.bytes;
            log.begin = oldest.revision;
            log.was_lost = false;
        }
        self.counters.journal_bytes.store(log.bytes as u64, Ordering::Relaxed);
        let end = log.end;
        drop(log);
        self.grown.send_replace(end);
    }

    fn step(&self, old: &Arc<Snapshot>, published: &Published) -> Step {
        let new = &published.snapshot;
        let clock = host::clock();
        let mut before = Scene::new(old, self.secrets);
        let mut now = Scene::new(new, self.secrets);
        let (revision, coverage) = (new.revision(), new.coverage());
        let entry = |what: Told<'_>| {
            let wall_ns = clock.wall_ns(what.ktime_ns());
            let happening = Happening { wall_ns, what, revision, coverage };
            let said = Said::of(&happening, &mut before, &mut now);
            let kind = match &said.what {
                Saying::Change(change) => Some(kind_of(&change.kind)),
                _ => None,
            };
            Entry::new(to_what(&said, wall_ns), kind)
        };
        let entries: Vec<_> = Told::of_step(published, old.coverage()).map(entry).collect();
        let has_renames = entries.iter().any(|entry| entry.kind == Some(Kind::Rename));
        let states = has_renames.then(|| (Arc::clone(old), Arc::clone(new)));
        let of_states = if states.is_some() { STATES_BYTES } else { 0 };
        let bytes = STEP_BYTES + of_states + entries.iter().map(Entry::bytes).sum::<usize>();
        Step { revision: revision.0, coverage: self.shared(coverage), entries, states, bytes }
    }

    /// The same as that of the step before, if it is equal.
    fn shared(&self, coverage: &Coverage) -> Arc<Coverage> {
        let mut log = self.log();
        if *log.coverage != *coverage {
            log.coverage = Arc::new(coverage.clone());
        }
        Arc::clone(&log.coverage)
    }

    /// Whether nobody has read for long; then nothing is written until somebody wants it again.
    fn rests(&self) -> bool {
        let mut log = self.log();
        let is_idle = log.watchers == 0
            && log.idle_since.is_some_and(|since| since.elapsed() > limits::JOURNAL_IDLE_MAX);
        if is_idle {
            *log = Log::default();
            self.counters.journal_bytes.store(0, Ordering::Relaxed);
        }
        is_idle
    }
}

/// The thread: waits until somebody watches, then writes until nobody has for long.
fn serve(
    tracker: &Weak<Tracker>,
    journal: &Weak<Journal>,
    wishes: &mpsc::Receiver<oneshot::Sender<()>>,
) {
    while let Ok(wish) = wishes.recv() {
        let (Some(writer), Some(journal)) = (tracker.upgrade(), journal.upgrade()) else { return };
        let Ok((before, changes)) = writer.subscribe() else { return };
        drop(writer);
        journal.begin(before.revision().0, false);
        let _ = wish.send(());
        follow(tracker, &journal, wishes, (before, changes));
    }
}

fn follow(
    tracker: &Weak<Tracker>,
    journal: &Journal,
    wishes: &mpsc::Receiver<oneshot::Sender<()>>,
    subscribed: (Arc<Snapshot>, Subscription),
) {
    let (mut before, mut changes) = subscribed;
    while let Some(change) = changes.recv_blocking() {
        for wish in wishes.try_iter() {
            // Two came at the same time.
            let _ = wish.send(());
        }
        if let Ok(published) = change {
            journal.write(&before, &published);
            before = Arc::clone(&published.snapshot);
        } else {
            count(&journal.counters.lost);
            log::warn!("the journal was too slow: its watchers have to start again");
            let again = tracker.upgrade().map(|tracker| tracker.subscribe());
            let Some(Ok(subscribed)) = again else { return };
            (before, changes) = subscribed;
            journal.begin(before.revision().0, true);
        }
        if journal.rests() {
            return;
        }
    }
}
