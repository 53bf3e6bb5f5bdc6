//! The back end for kernels that refuse programs on their own functions: mount notifications of
//! fanotify(7) (6.15), statmount(2) of what they name, and tracepoints of system calls.
//!
//! | what changes | who says so | what is looked at |
//! |---|---|---|
//! | a mount is attached, moved or detached | a notification | that mount; after a move all below it |
//! | copies by propagation | a notification each, in their own namespaces | each |
//! | a mount slides below or above another one | nobody | those at the same place, those on top |
//! | a peer group dies and its slaves get another master | nobody | the slaves |
//! | attributes or propagation of mounts | a call that returned | those that a walk in the kernel met changed |
//! | the same in another namespace than the caller's | a call with a path that may lead there | all others, if none of the caller's changed |
//! | flags or options of a super block | a call that returned, an umount that notified nothing | one mount of each super block |
//! | a name on the way to a mountpoint or a root | a call that returned, by a hash of the name | the mounts that rest on it |
//! | a namespace is born | a call that returned, a fork | that namespace |
//! | a namespace dies | the notification that its root mount left | nothing |
//!
//! A mount that came and went before it could be looked at is told by the call that made it
//! (`Glimpsed`).
//!
//! Order and freshness: a record is in the ring, and a notification in the queue, before the system
//! call that caused it returns. Marks come before lists, so that nothing falls between them. So
//! after [`Notify::drain`] the events tell at least everything that had returned before it.
//!
//! What it costs: a look is some 5 microseconds with all that follows. A mount costs three of them,
//! a umount none, a change of attributes one or two for each mount that changed (`looks` counts
//! them), and the caller 0.2 to 0.3 microseconds for each mount of its namespace. A copy by
//! propagation costs a search for its namespace: the ones beside the last are asked first.

mod asked;
mod births;
mod callers;
pub(super) mod dentries;
mod effect;
mod follow;
mod limits;
mod look;
mod order;
mod queue;
mod table;
mod tell;

use super::host;
use super::load::{Calls, LoadConfig, LoadError, operation_of};
use super::namespaces;
use super::ring::Ring;
use super::sys;
use crate::maps::Room as _;
use crate::model::{DentryKey, Event, MountKey, NamespaceInode, Origin};
use crate::wire::call::{CallReader, is_end};
use crate::wire::record::{self, Record};
pub use limits::NotifyError;
pub use look::{LookError, options_of};

use asked::Asked;
use callers::{Callers, Made};
use follow::Glimpse;
use hashbrown::HashMap;
use mountwatch_common::record::CallRecord;
use mountwatch_common::{counter, hook};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use tell::{Tell, Teller};

/// How long a call waits to be told for the end of what it made and nobody saw.
const UNTOLD_MAX_NS: u64 = 1_000_000_000;

/// How long a spare is waited for, and how often it is looked for.
const SPARE_PATIENCE: Duration = Duration::from_millis(20);
const SPARE_TICK: Duration = Duration::from_millis(1);
/// For how long it is not asked whether programs were skipped, if nobody asks for anything.
const SKIPS_UNREAD_MAX_NS: u64 = 10_000_000;

/// How the back end `notify` is started.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    /// Size of the ring buffer for system calls, in bytes.
    pub ring_bytes: u32,
    /// Whether the programs write diagnostics.
    pub kernel_log: bool,
    /// The process whose descendants are told apart.
    pub descendants_of: Option<u32>,
    /// Whether the queue holds no more than `fs.fanotify.max_queued_events`; for tests.
    pub bounded_queue: bool,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            ring_bytes: mountwatch_common::limits::RING_BYTES,
            kernel_log: false,
            descendants_of: None,
            bounded_queue: false,
        }
    }
}

/// What one drain gave besides events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Notifications were lost, or it came to no end of what changed: everything needs a scan.
    pub lost: bool,
    /// Namespaces that are new and that the events tell as a whole: they need no scan.
    pub listed: Vec<NamespaceInode>,
    /// Bytes that were in the ring buffer when it began.
    pub ring_used_bytes: u64,
}

/// The back end `notify` at work.
#[derive(Debug)]
pub struct Notify {
    // Dropped in this order: the programs leave first, so that the ring is not filled for nobody.
    calls: Calls,
    ring: Ring,
    queue: File,
    /// What the queue is read into.
    buffer: Vec<u8>,
    callers: Callers,
    reader: CallReader,
    is_followed: bool,
    /// Calls that ended, with the time: told when everything is told that they notified.
    ended: Vec<(u64, Event)>,
    teller: Teller,
    notifications: u64,
    overflows: u64,
    undecoded: u64,
    births_skipped: u64,
    /// Skipped programs whose spares have not run, and those without a spare.
    skips_left: u64,
    skips_lost: u64,
    /// Records that found no room or were not understood, and what they lack.
    untold: u64,
    /// How often everything was looked at because a call was not seen.
    unseen: u64,
    /// Drains that came to no end of what changed while it was looked at.
    unsettled: u64,
    /// When the last drain began.
    drained_ns: u64,
    /// When it was asked last how often programs were skipped.
    skips_read_ns: u64,
    /// Mounts that came and were gone when they were looked at.
    glimpses: HashMap<MountKey, Glimpse>,
    /// Mounts that may have changed, of calls that have not ended yet.
    glances: Vec<(u32, MountKey)>,
    /// Calls of umount(2) of this drain: thread, begin, end.
    umounts: Vec<(u32, u64, u64)>,
    /// A call of umount(2) that unmounted nothing.
    own_root: Option<Made>,
}

impl Notify {
    /// Starts, and marks every mount namespace. Nothing is told yet: [`Self::scan`] does that.
    pub fn start(config: &NotifyConfig) -> Result<Self, NotifyError> {
        let queue = sys::fanotify_mounts(config.bounded_queue).map_err(limits::explain)?;
        let mut calls = Calls::load(&LoadConfig {
            ring_bytes: config.ring_bytes,
            kernel_log: config.kernel_log,
            descendants_of: config.descendants_of,
            ..LoadConfig::default()
        })?;
        let ring = calls.take_ring().ok_or(LoadError::Incomplete("ring buffer"))?;
        let mut notify = Self {
            calls,
            ring,
            queue,
            buffer: Vec::new(),
            callers: Callers::new(config.descendants_of),
            reader: CallReader::default(),
            is_followed: false,
            ended: Vec::new(),
            teller: Teller::default(),
            notifications: 0,
            overflows: 0,
            undecoded: 0,
            births_skipped: 0,
            skips_left: 0,
            skips_lost: 0,
            untold: 0,
            unseen: 0,
            unsettled: 0,
            drained_ns: 0,
            skips_read_ns: 0,
            glimpses: HashMap::new(),
            glances: Vec::new(),
            umounts: Vec::new(),
            own_root: None,
        };
        let mut result = Ok(());
        namespaces::each(|found| {
            result = notify.mark(&found);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result?;
        // Calls that were under way came without a begin. What they did is seen by the first scan.
        notify.calls.read_skips();
        notify.is_unseen();
        Ok(notify)
    }

    /// Takes everything that was there when the call began, and tells it. If nobody asked, a program
    /// that was skipped may be noticed some milliseconds later.
    pub fn drain(&mut self, is_asked: bool, out: &mut Vec<Event>) -> Result<Drained, NotifyError> {
        let now_ns = host::monotonic_ns();
        let reads_skips =
            is_asked || now_ns.saturating_sub(self.skips_read_ns) > SKIPS_UNREAD_MAX_NS;
        let (begin, unsettled) = (out.len(), self.unsettled);
        let mut drained = Drained::default();
        self.callers.begin_drain(self.drained_ns);
        // The queue first: the begin of a call is in the ring before what it notifies is in the queue.
        let mut notifications = Vec::new();
        queue::read_all(&self.queue, &mut self.buffer, &mut notifications)
            .map_err(NotifyError::Read)?;
        let mut asked = self.take_records();
        drained.ring_used_bytes = asked.ring_used_bytes;
        for birth in asked.births {
            self.born(birth, out, &mut drained)?;
        }
        for made in asked.hidden {
            self.search_born(made, out, &mut drained)?;
        }
        self.umounts = asked.umounts;
        drained.lost |= self.notified(&notifications, now_ns, out)?;
        self.silently_changed(&asked.attributes, &asked.names, out)?;
        if let Some(caller) = asked.super_blocks.take().or_else(|| self.own_root.take()) {
            self.super_blocks_changed(caller, out)?;
        }
        self.own_root = None;
        self.settle(now_ns, out)?;
        if reads_skips {
            self.skips_read_ns = now_ns;
            self.calls.read_skips();
        }
        if self.is_unseen() {
            self.look_at_everything(now_ns, out, &mut drained)?;
        }
        // What a call notified before it returned was in the queue when that was read, or something of
        // its thread's next call would not be. What came and went unseen is told with its end.
        let waits = self.untold_calls();
        let latest = order::latest_calls(out.get(begin..).unwrap_or_default());
        let is_over = |(ktime_ns, event): &mut (u64, Event)| {
            let call = order::call_of(event);
            let is_whole = *ktime_ns < now_ns || latest.get(&call.0) > Some(&call.1);
            is_whole && (!waits.contains(&call) || *ktime_ns + UNTOLD_MAX_NS < now_ns)
        };
        let ended = self.ended.extract_if(.., is_over).map(|(_, event)| event).collect();
        order::put_ends(out, begin, ended);
        self.ended.give_back();
        self.glimpses.give_back();
        drained.lost |= self.unsettled > unsettled;
        if drained.lost {
            log::warn!("something was lost, everything is scanned again: {:?}", self.counters());
        }
        self.drained_ns = now_ns;
        Ok(drained)
    }

    /// The ring up to where it was. A slot that is reserved and not yet submitted blocks those
    /// behind it: its program runs on another CPU and is waited for.
    fn take_records(&mut self) -> Asked {
        let mut asked = Asked { glances: std::mem::take(&mut self.glances), ..Asked::default() };
        let goal = self.ring.produced();
        asked.ring_used_bytes = goal.saturating_sub(self.ring.consumed());
        while self.ring.consumed() < goal {
            let Some(decoded) = self.ring.next().map(|bytes| record::decode(&bytes)) else {
                std::thread::yield_now();
                continue;
            };
            match decoded {
                Ok(Record::Call(call)) => {
                    self.take_call(&call);
                    asked.called(&call, &mut self.callers, &self.teller.table);
                }
                Ok(Record::Event(Event::NamespaceBorn(origin, event))) => {
                    asked.born(origin, &event);
                }
                Ok(Record::Event(_)) => {}
                Ok(Record::Component(component)) => self.reader.take_component(component),
                Ok(Record::Argument(record, text)) => {
                    self.reader.take_text(&record, text.clone());
                    self.callers.take_text(&record, text);
                }
                Ok(Record::Glance(glance)) => asked.glanced(&glance),
                Err(error) => {
                    log::error!("a record was not understood: {error}");
                    self.undecoded += 1;
                }
            }
        }
        self.glances = std::mem::take(&mut asked.glances);
        asked
    }

    /// Says whether somebody follows operations: then those that fail are told too.
    pub fn set_followed(&mut self, is_followed: bool) {
        self.is_followed = is_followed;
        if let Err(error) = self.calls.set_followed(is_followed) {
            log::warn!("operations that fail are told without what they were given: {error}");
        }
    }

    /// A call that ended is an operation, whatever it returned.
    fn take_call(&mut self, record: &CallRecord) {
        let call = operation_of(record);
        if let (true, Some(call)) = (is_end(record), call)
            // One that failed changed nothing: it is told to those who follow, for its own sake.
            && (record.ret >= 0 || self.is_followed)
        {
            self.ended.push((record.header.ktime_ns, self.reader.ended(record, call)));
        }
    }

    /// The index does not need a dentry any more: it will be told again, by another key, when a
    /// mount needs it. To be called before the next [`Self::drain`] or [`Self::scan`].
    pub fn forget(&mut self, key: DentryKey) {
        if let Some(bit) = self.teller.dentries.forget(key) {
            self.calls.watch_names(bit, false);
        }
    }

    /// Descriptors that become readable when there is something to drain.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.queue.as_fd(), self.ring.as_fd()]
    }

    /// What is attached, as hook, function and kind.
    pub fn attached(&self) -> Vec<(String, String, String)> {
        let queue = ("notify".to_owned(), "fanotify".to_owned(), "FAN_MARK_MNTNS".to_owned());
        let calls = self.calls.attached().iter();
        std::iter::once(queue)
            .chain(calls.map(|name| ("call".to_owned(), name.clone(), "tracepoint".to_owned())))
            .collect()
    }

    /// How often single mounts were looked at.
    pub fn looks(&self) -> u64 {
        self.teller.look.looks()
    }

    /// Counters for `status`.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let losses = self.calls.losses();
        let lost = |index: u32| {
            usize::try_from(index).ok().and_then(|at| losses.counters.get(at).copied()).unwrap_or(0)
        };
        vec![
            ("records_lost", lost(counter::RECORDS_LOST)),
            ("reads_failed", lost(counter::READS_FAILED)),
            ("operations_missed", lost(counter::OPERATIONS_MISSED)),
            ("recursion_misses", self.calls.skips().recursion_misses),
            ("calls_unseen", self.unseen),
            ("skips_spared", lost(counter::SKIPS_SPARED)),
            ("records_undecoded", self.undecoded),
            ("drains_unsettled", self.unsettled),
            ("notifications", self.notifications),
            ("notifications_lost", self.overflows),
            ("looks", self.looks()),
            ("short_lived", self.teller.counters.short_lived),
            ("unreachable", self.teller.counters.unreachable),
        ]
    }

    /// Whether a call was not seen, or not all of it: the kernel skipped a program and its spare, or
    /// there was no room for a record. A program is skipped a moment before its spare runs: that is
    /// waited for.
    fn is_unseen(&mut self) -> bool {
        let mut losses = self.calls.skips();
        let mut patience = SPARE_PATIENCE;
        while losses.skips_left() > self.skips_left && !patience.is_zero() {
            std::thread::sleep(SPARE_TICK);
            patience = patience.saturating_sub(SPARE_TICK);
            self.calls.read_skips();
            losses = self.calls.skips();
        }
        // What is left may be made good later: then it is too early for the next one.
        let is_skipped =
            losses.skips_left() > self.skips_left || losses.skips_lost > self.skips_lost;
        let births = self.calls.births_skipped();
        let counted = self.calls.losses();
        let untold = counted.placed() + counted.counter(counter::LOSSES_UNPLACED) + self.undecoded;
        let is_more = births > self.births_skipped || untold > self.untold;
        self.skips_left = losses.skips_left();
        self.skips_lost = losses.skips_lost;
        self.births_skipped = births;
        self.untold = untold;
        is_skipped || is_more
    }

    /// What a call may have done that was not seen: anything but what is notified. Nothing is lost
    /// by that, since all of it is looked at before anybody is told.
    fn look_at_everything(
        &mut self,
        now_ns: u64,
        out: &mut Vec<Event>,
        drained: &mut Drained,
    ) -> Result<(), NotifyError> {
        self.unseen += 1;
        self.search_born(Made::outside(0, now_ns), out, drained)?;
        // Nobody knows whose change it is; a scan is nobody's.
        let origin = Origin { scan: true, ..origin_of_none(hook::NOTIFY) };
        for namespace in self.teller.table.namespaces().to_vec() {
            let keys = self.teller.table.members(namespace);
            self.teller.tell(&keys, namespace, Tell::Changes, origin, out)?;
        }
        self.teller.follow_up(origin, out)?;
        self.settle(now_ns, out)
    }

    /// What it cannot see, one sentence each.
    pub fn blind(&self) -> Vec<String> {
        let mut sentences: Vec<_> =
            limits::BLIND.iter().map(|sentence| (*sentence).to_owned()).collect();
        if self.teller.counters.unreachable > 0 {
            sentences.push(limits::UNREACHABLE.to_owned());
        }
        sentences
    }
}

fn origin_of_none(hook: hook::Hook) -> Origin {
    Origin { hook, ktime_ns: host::monotonic_ns(), ..Origin::NOBODY }
}
