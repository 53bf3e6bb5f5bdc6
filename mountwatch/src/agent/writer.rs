//! The writer: the one thread that changes the index.

use super::handle::{Shared, Subscription};
use super::losses::Lost;
use super::options;
use super::source::{self, Backend, Refused, SourceError, StartError, Started, Target};
use super::steps;
use super::{Config, Status};
use crate::kernel::gauge::Gauge;
use crate::kernel::poll::Why;
use crate::kernel::sys_wait;
use crate::model::{Event, SyscallCost};
use crate::state::{Need, Published, Snapshot, State};
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// What a handle can ask for.
#[derive(Debug)]
pub(super) enum Command {
    Now(SyncSender<Arc<Snapshot>>),
    Subscribe(SyncSender<(Arc<Snapshot>, Subscription)>),
    Status(SyncSender<Status>),
    Rescan(SyncSender<()>),
    Stop,
}

/// Published steps that a subscriber may be behind, before its changes are dropped.
const SUBSCRIBER_STEPS_MAX: usize = 8_192;
/// How long a change may be open before it counts as never ended. A transaction is as long as the
/// kernel holds `namespace_sem`, which is microseconds to, at the worst, seconds.
const OPEN_MAX: Duration = Duration::from_secs(3);
/// The same while it is being told.
const OPEN_TOLD_MAX: Duration = Duration::from_secs(30);
/// The same when something was lost: most likely the end of that change.
const OPEN_AFTER_LOSS_MAX: Duration = Duration::from_millis(100);
/// How often everything is looked after without a reason: losses that no record tells of.
const TICK: Duration = Duration::from_millis(250);
/// Rounds of scans in a row that end in another need, before the next one waits for a tick.
const SCANS_IN_A_ROW_MAX: u32 = 8;

pub(super) struct Writer {
    source: Box<dyn Backend>,
    state: State,
    shared: Arc<Shared>,
    subscribers: Vec<(mpsc::Sender<Arc<Published>>, Arc<AtomicBool>)>,
    refused: Vec<String>,
    open_since: Option<std::time::Instant>,
    numbers: Numbers,
    ring_bytes: u32,
    cost: Option<SyscallCost>,
    /// Ends of changes that found no room in the ring, as far as that is dealt with.
    commits_lost: u64,
    /// The event at which the core is to panic, once.
    panic: Rc<Cell<Option<u64>>>,
}

/// Counters of the shell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    pub(super) rescans: u64,
    pub(super) rereads: u64,
    pub(super) looks: u64,
    pub(super) lag_us_max: u64,
    pub(super) ring_used_bytes_max: u64,
    /// When a mountinfo was read for what file systems change by themselves.
    pub(super) read_at: Option<std::time::Instant>,
    /// When single mounts were looked at last for what file systems change by themselves.
    pub(super) looked_at: Option<std::time::Instant>,
    /// A look at one mount gave its options once, so this kernel gives them.
    pub(super) can_look: bool,
}

/// Runs until told to stop, or until the handles are gone.
pub(super) fn run(
    config: &Config,
    mut commands: mpsc::UnboundedReceiver<Command>,
    ready: &SyncSender<Result<Arc<Shared>, StartError>>,
) {
    prefer(config.nice);
    let mut writer = match Writer::start(config) {
        Ok(writer) => writer,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(Arc::clone(&writer.shared)));
    let end = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(writer.serve(&mut commands)),
        Err(error) => format!("no event loop: {error}"),
    };
    *writer.shared.end.write().unwrap_or_else(PoisonError::into_inner) = end;
}

/// Gives this thread precedence. Without the right to that it works as well, as long as somebody lets
/// it.
fn prefer(nice: i32) {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice) {
        log::debug!("the nice value {nice} is not to be had: {error}");
    }
}

impl Writer {
    fn start(config: &Config) -> Result<Self, StartError> {
        let Started { source, refused, cost } = source::start(config)?;
        let mut state = State::new(source.blind());
        if source.is_polling() {
            state.set_polling();
        }
        state.set_dialect(source.dialect());
        state.set_blind_to_calls(!source.unattributed().is_empty());
        let shared = Arc::new(Shared {
            latest: RwLock::new(Arc::new(state.snapshot())),
            end: RwLock::new(String::new()),
            turns: AtomicU64::new(0),
            gauge: source.gauge(),
            settled: RwLock::new(None),
        });
        let mut writer = Self {
            source,
            state,
            shared,
            subscribers: Vec::new(),
            refused: refused.iter().map(Refused::to_string).collect(),
            open_since: None,
            numbers: Numbers::default(),
            ring_bytes: config.ring_bytes,
            cost,
            commits_lost: 0,
            panic: Rc::default(),
        };
        let seeded = writer.scan_all().and_then(|()| writer.step(Why::Asked));
        seeded.map_err(|error| StartError::Seed(Box::new(error)))?;
        writer.numbers.rescans = 0;
        writer.source.seeded();
        let events = writer.state.counters().events;
        writer.panic.set(config.faults.panic_at.map(|at| at + events));
        Ok(writer)
    }

    async fn serve(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> String {
        let wakers: Result<Vec<_>, _> =
            self.source.descriptors().into_iter().map(sys_wait::readable).collect();
        let wakers = match wakers {
            Ok(wakers) => wakers,
            Err(error) => return format!("the event loop refused a descriptor: {error}"),
        };
        let mut tick = tokio::time::interval(TICK);
        loop {
            self.shared.turns.fetch_add(1, Ordering::Relaxed);
            let (command, why) = tokio::select! {
                command = commands.recv() => (Some(command.unwrap_or(Command::Stop)), Why::Asked),
                () = any_readable(&wakers) => (None, Why::Woken),
                _ = tick.tick() => {
                    self.source.flush_log();
                    (None, Why::Tick)
                }
            };
            if matches!(command, Some(Command::Stop)) {
                return "it was told to stop".into();
            }
            if let Err(error) = self.step(why) {
                log::error!("the back end failed: {error}");
                // The answer that may follow must not look newer, or surer, than it is.
                self.state.abandon_open();
                if let Some(published) = self.state.publish() {
                    self.show(published);
                }
            }
            if let Some(command) = command {
                self.answer(command);
            }
        }
    }

    fn answer(&mut self, command: Command) {
        match command {
            Command::Now(answer) => {
                let _ = answer.send(self.latest());
            }
            Command::Subscribe(answer) => {
                let (sender, receiver) = mpsc::channel(SUBSCRIBER_STEPS_MAX);
                let lagged = Arc::new(AtomicBool::new(false));
                self.subscribers.push((sender, Arc::clone(&lagged)));
                self.source.set_followed(true);
                let _ = answer.send((self.latest(), Subscription { receiver, lagged }));
            }
            Command::Status(answer) => {
                let _ = answer.send(self.status());
            }
            Command::Rescan(answer) => {
                if let Err(error) = self.rescan().and_then(|()| self.step(Why::Asked)) {
                    log::error!("a scan of everything failed: {error}");
                }
                let _ = answer.send(());
            }
            Command::Stop => {}
        }
    }

    /// Takes what is there, applies it, does what the core asks for, publishes. When it returns,
    /// everything that happened before it began is published, or the coverage says that it is not.
    fn step(&mut self, why: Why) -> Result<(), SourceError> {
        let reading = self.shared.gauge.as_ref().map(Gauge::read);
        self.drain(why)?;
        // Who reads everything again reads this too.
        if !self.source.is_polling() {
            options::refresh(self);
        }
        for round in 0.. {
            self.settle_open()?;
            options::look_up(self);
            if let Some(published) = self.state.publish() {
                self.show(published);
            }
            let needs = self.state.take_needs();
            if needs.is_empty() {
                self.shared.settle(reading);
                return Ok(());
            }
            if round >= SCANS_IN_A_ROW_MAX {
                // It stays stale, and says so; the next tick tries again.
                for need in needs {
                    self.state.ask_again(need);
                }
                return Ok(());
            }
            self.serve_needs(needs)?;
        }
        Ok(())
    }

    fn serve_needs(&mut self, needs: Vec<Need>) -> Result<(), SourceError> {
        if needs.contains(&Need::Trim) {
            let dropped = self.state.trim();
            self.source.forget(&dropped);
            return self.rescan();
        }
        if needs.contains(&Need::ScanAll) {
            return self.rescan();
        }
        for need in needs {
            if let Need::Scan(inode) = need {
                self.scan_one(Target::Namespace(inode))?;
            }
        }
        Ok(())
    }

    fn rescan(&mut self) -> Result<(), SourceError> {
        self.source.raise_epoch()?;
        self.state.reread_all_options();
        self.scan_all()
    }

    fn drain(&mut self, why: Why) -> Result<(), SourceError> {
        let mark = self.state.begin_scan();
        let mut events = Vec::new();
        let drained = self.source.drain(why, &mut events)?;
        let used_max = &mut self.numbers.ring_used_bytes_max;
        *used_max = drained.ring_used_bytes.max(*used_max);
        if let Some(blind) = drained.blind {
            self.state.set_blind(blind);
        }
        self.apply(events, &drained.lost);
        for inode in drained.listed {
            self.state.end_scan(mark, inode);
        }
        Ok(())
    }

    /// Applies what a drain gave, and measures how long it was on its way.
    fn apply(&mut self, events: Vec<Event>, lost: &Lost) {
        if let Some(ktime_ns) = events.first().map(steps::ktime_of)
            && ktime_ns > 0
        {
            let lag_ns = crate::kernel::host::monotonic_ns().saturating_sub(ktime_ns);
            self.numbers.lag_us_max = self.numbers.lag_us_max.max(lag_ns / 1_000);
        }
        let room = self.room();
        let steps = steps::apply(&mut self.state, events, lost, &self.panic, room);
        for step in steps {
            self.show(step);
        }
    }

    /// How many changes are wanted one by one.
    pub(super) fn room(&self) -> usize {
        if self.subscribers.is_empty() { 0 } else { steps::STEPS_MAX }
    }

    /// A change that is open is about to end: its COMMIT comes before its system call returns.
    fn settle_open(&mut self) -> Result<(), SourceError> {
        if !self.state.is_open() {
            self.open_since = None;
            // Those up to now belong to changes that are over: they excuse no later one.
            self.commits_lost = self.source.commits_lost();
            return Ok(());
        }
        let begin = *self.open_since.get_or_insert_with(std::time::Instant::now);
        let mut since = begin;
        let patience =
            |state: &State| if state.is_lossy() { OPEN_AFTER_LOSS_MAX } else { OPEN_MAX };
        while self.state.is_open() && since.elapsed() < patience(&self.state) {
            std::thread::sleep(Duration::from_micros(50));
            let events = self.state.counters().events;
            self.drain(Why::Asked)?;
            // A tree of thousands of mounts is told for seconds where the machine is slow.
            let is_told = self.state.counters().events > events && !self.state.is_lossy();
            if is_told && begin.elapsed() < OPEN_TOLD_MAX {
                since = std::time::Instant::now();
            }
        }
        let commits_lost = self.source.commits_lost();
        if self.state.is_open() && commits_lost > self.commits_lost {
            self.state.end_open();
        } else if self.state.is_open() {
            log::warn!("a change was begun and never ended; everything is scanned again");
            self.state.abandon_open();
        }
        self.commits_lost = commits_lost;
        self.open_since = None;
        Ok(())
    }

    /// Keeps a sentence for `status`.
    pub(super) fn note_refused(&mut self, sentence: &str, max: usize) {
        if !self.refused.iter().any(|known| known == sentence) && self.refused.len() < max {
            self.refused.push(sentence.to_owned());
        }
    }

    pub(super) fn show(&mut self, published: Published) {
        let published = Arc::new(published);
        *self.shared.latest.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::clone(&published.snapshot);
        let was_followed = !self.subscribers.is_empty();
        self.subscribers.retain(|(sender, lagged)| match sender.try_send(Arc::clone(&published)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                lagged.store(true, Ordering::Relaxed);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
        if self.subscribers.is_empty() && was_followed {
            self.source.set_followed(false);
        }
    }

    fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.latest.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn status(&self) -> Status {
        let latest = self.latest();
        let counters = self.state.counters();
        Status {
            backend: self.source.name(),
            coverage: latest.coverage().clone(),
            revision: latest.revision(),
            mounts: latest.attached_mounts() as u64,
            namespaces: latest.namespaces().count() as u64,
            records: counters.events,
            losses: counters.losses,
            rescans: self.numbers.rescans,
            rereads: self.numbers.rereads + self.source.rereads(),
            looks: self.numbers.looks + self.source.looks(),
            anomalies: counters.anomalies,
            lag_us_max: self.numbers.lag_us_max,
            attached: self.source.attached(),
            selftest: self.source.selftest().cloned(),
            refused: self.refused.clone(),
            unattributed: self.source.unattributed(),
            counters: self
                .source
                .counters()
                .into_iter()
                .map(|(name, n)| (name.into(), n))
                .collect(),
            cost: self.cost,
            ring_bytes: if self.source.is_polling() { 0 } else { u64::from(self.ring_bytes) },
            ring_used_bytes_max: self.numbers.ring_used_bytes_max,
            names: latest.dentry_count() as u64,
            kernel: crate::kernel::host::kernel_release(),
        }
    }

    pub(super) fn parts(&mut self) -> (&mut State, &mut Numbers) {
        (&mut self.state, &mut self.numbers)
    }

    pub(super) fn source(&self) -> &dyn Backend {
        &*self.source
    }

    /// The source apart from the rest, into which its scan calls back.
    pub(super) fn split(&mut self) -> (&mut dyn Backend, &mut State, Rc<Cell<Option<u64>>>) {
        (&mut *self.source, &mut self.state, Rc::clone(&self.panic))
    }
}

impl Drop for Writer {
    /// However it ends: nobody takes what is published for new any more.
    fn drop(&mut self) {
        self.shared.settle(None);
    }
}

/// Waits until one of the descriptors is readable. The readiness of all is cleared: a drain follows that
/// takes everything of each, and what comes later makes it ready again.
async fn any_readable(wakers: &[AsyncFd<OwnedFd>]) {
    std::future::poll_fn(|context| {
        let mut poll = Poll::Pending;
        for waker in wakers {
            if let Poll::Ready(guard) = waker.poll_read_ready(context) {
                if let Ok(mut guard) = guard {
                    guard.clear_ready();
                }
                poll = Poll::Ready(());
            }
        }
        poll
    })
    .await;
}
