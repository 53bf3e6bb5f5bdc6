//! The back end for kernels that refuse programs on their own functions: mount notifications of
//! fanotify(7) (6.15), statmount(2) of what they name, and tracepoints of system calls.
//!
//! | what changes | who says so | what is looked at |
//! |---|---|---|
//! | a mount is attached, moved or detached | a notification | that mount; after a move all below it |
//! | copies by propagation | a notification each, in their own namespaces | each |
//! | a mount slides below or above another one | nobody | those at the same place, those on top |
//! | a peer group dies and its slaves get another master | nobody | the slaves |
//! | attributes or propagation of mounts | a call that returned | the mounts of the caller's namespace; of all others if none of them changed |
//! | flags or options of a super block | a call that returned | one mount of each super block |
//! | a namespace is born | a call that returned, a fork | that namespace |
//! | a namespace dies | the notification that its root mount left | nothing |
//!
//! Order and freshness: a record is in the ring, and a notification in the queue, before the system
//! call that caused it returns. Marks come before lists, so that nothing falls between them. So
//! after [`Notify::drain`] the events tell at least everything that had returned before it.
//!
//! What it costs: a look is some 5 microseconds with all that follows. A mount costs three of them,
//! a umount none, a change of attributes one for each mount of the caller's namespace (`looks`
//! counts them). A copy by propagation costs a search for its namespace: the ones beside the last
//! are asked first.

mod asked;
mod calls;
mod dentries;
mod limits;
mod look;
mod queue;
mod table;
mod tell;

use super::host;
use super::load::{Calls, LoadConfig, LoadError};
use super::namespaces::{self, FoundNamespace, NamespacesError};
use super::ring::Ring;
use super::sys;
use crate::model::{
    DentryKey, Event, MountKey, NamespaceEvent, NamespaceId, NamespaceInode, NamespaceKey, Origin,
};
use crate::wire::record::{self, Record};
pub use limits::NotifyError;
pub use look::{LookError, options_of};

use asked::{Asked, Birth};
use calls::Callers;
use hashbrown::HashSet;
use mountwatch_common::{counter, hook};
use queue::Notification;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use tell::{Tell, Teller};

/// How the back end `notify` is started.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    /// Size of the ring buffer for system calls, in bytes.
    pub ring_bytes: u32,
    /// Whether the programs write diagnostics.
    pub kernel_log: bool,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self { ring_bytes: mountwatch_common::limits::RING_BYTES, kernel_log: false }
    }
}

/// What one drain gave besides events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Notifications or records were lost: everything needs a scan.
    pub lost: bool,
    /// Namespaces that are new and that the events tell as a whole: they need no scan.
    pub listed: Vec<NamespaceInode>,
}

/// The back end `notify` at work.
#[derive(Debug)]
pub struct Notify {
    // Dropped in this order: the programs leave first, so that the ring is not filled for nobody.
    calls: Calls,
    ring: Ring,
    queue: File,
    callers: Callers,
    teller: Teller,
    notifications: u64,
    overflows: u64,
    undecoded: u64,
    losses: u64,
    /// When the last drain began.
    drained_ns: u64,
}

impl Notify {
    /// Starts, and marks every mount namespace. Nothing is told yet: [`Self::scan`] does that.
    pub fn start(config: &NotifyConfig) -> Result<Self, NotifyError> {
        let queue = sys::fanotify_mounts().map_err(limits::explain)?;
        let mut calls = Calls::load(&LoadConfig {
            ring_bytes: config.ring_bytes,
            kernel_log: config.kernel_log,
            ..LoadConfig::default()
        })?;
        let ring = calls.take_ring().ok_or(LoadError::Incomplete("ring buffer"))?;
        let notify = Self {
            calls,
            ring,
            queue,
            callers: Callers::default(),
            teller: Teller::default(),
            notifications: 0,
            overflows: 0,
            undecoded: 0,
            losses: 0,
            drained_ns: 0,
        };
        let mut result = Ok(());
        namespaces::each(|found| {
            result = notify.mark(&found);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result?;
        Ok(notify)
    }

    fn mark(&self, found: &FoundNamespace) -> Result<(), NotifyError> {
        sys::fanotify_mark(&self.queue, found.fd.as_fd())
            .map_err(|io_error| NotifyError::Mark { inode: found.inode, io_error })
    }

    /// Lists one namespace, or all of them, and says which were found. All of them: everything is
    /// told anew, so that the index may start from nothing.
    pub fn scan(
        &mut self,
        inode: Option<NamespaceInode>,
        out: &mut Vec<Event>,
    ) -> Result<Vec<NamespaceInode>, NotifyError> {
        let origin = Origin { scan: true, ..origin_of_none(hook::SCAN) };
        let mut listed = Vec::new();
        if let Some(inode) = inode {
            let task = self.task_of(inode);
            let Some(fd) = namespaces::open(inode, task)? else {
                return Ok(listed);
            };
            let id = sys::namespace_id(fd.as_fd()).map_err(NamespacesError::Ask)?;
            let found = FoundNamespace { fd, inode, id: id.map(NamespaceId), task: None };
            if self.mark_and_list(found, origin, out)? {
                listed.push(inode);
            }
        } else {
            self.teller.dentries.tell_all(&mut |event| out.push(Event::Dentry(origin, event)));
            let mut result = Ok(());
            let mut all = Vec::new();
            // A namespace is listed while it is open, so that it cannot die in the middle.
            namespaces::each(|found| {
                let inode = found.inode;
                all.extend(found.id.map(|id| NamespaceKey(id.0)));
                match self.mark_and_list(found, origin, out) {
                    Ok(true) => listed.push(inode),
                    Ok(false) => {}
                    Err(error) => {
                        result = Err(error);
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            })?;
            result?;
            for key in self.teller.table.namespaces().to_vec() {
                if !all.contains(&key) {
                    self.teller.namespace_gone(key, origin, out);
                }
            }
        }
        self.teller.follow_up(origin, out)?;
        Ok(listed)
    }

    fn task_of(&self, inode: NamespaceInode) -> Option<u32> {
        let known = self.teller.table.namespaces().iter();
        known
            .filter_map(|key| self.teller.table.namespace(*key))
            .find(|marked| marked.event.inode == inode)
            .and_then(|marked| marked.event.task)
    }

    /// Mark first, then list: what happens between is in both. `false`: there is nothing to list.
    fn mark_and_list(
        &mut self,
        found: FoundNamespace,
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> Result<bool, NotifyError> {
        self.mark(&found)?;
        let Some(id) = found.id else { return Ok(false) };
        let event = NamespaceEvent {
            key: NamespaceKey(id.0),
            id: Some(id),
            inode: found.inode,
            is_anonymous: false,
            task: found.task,
        };
        let is_there = self.teller.list(&event, origin, out)?;
        // Not before: so long as it is open it lives, and its end will be notified.
        drop(found);
        Ok(is_there)
    }

    /// Takes everything that was there when the call began, and tells it.
    pub fn drain(&mut self, out: &mut Vec<Event>) -> Result<Drained, NotifyError> {
        let now_ns = host::monotonic_ns();
        let mut drained = Drained::default();
        let asked = self.take_records();
        let mut notifications = Vec::new();
        queue::read_all(&self.queue, &mut notifications).map_err(NotifyError::Read)?;
        for birth in asked.births {
            self.born(birth, out, &mut drained)?;
        }
        for (tid, ktime_ns) in asked.hidden {
            self.search_born(tid, ktime_ns, out, &mut drained)?;
        }
        drained.lost |= self.notified(&notifications, now_ns, out)?;
        self.attributes_changed(&asked.attributes, out)?;
        if let Some((tid, ktime_ns)) = asked.super_blocks {
            let origin = self.callers.origin(tid, ktime_ns);
            let keys = self.teller.table.one_of_each_super();
            let begin = out.len();
            self.teller.look_again(&keys, origin, out)?;
            self.commit(origin, begin, out)?;
        }
        let losses = self.count_losses();
        drained.lost |= losses > self.losses;
        self.losses = losses;
        self.drained_ns = now_ns;
        Ok(drained)
    }

    /// The ring up to where it was. A slot that is reserved and not yet submitted blocks those
    /// behind it: its program runs on another CPU and is waited for.
    fn take_records(&mut self) -> Asked {
        let mut asked = Asked::default();
        let goal = self.ring.produced();
        while self.ring.consumed() < goal {
            let Some(decoded) = self.ring.next().map(|bytes| record::decode(&bytes)) else {
                std::thread::yield_now();
                continue;
            };
            match decoded {
                Ok(Record::Call(call)) => {
                    asked.called(&call, &mut self.callers, &self.teller.table);
                }
                Ok(Record::Event(Event::NamespaceBorn(origin, event))) => {
                    asked.born(origin, &event);
                }
                Ok(Record::Event(_)) => {}
                Err(error) => {
                    log::error!("a record was not understood: {error}");
                    self.undecoded += 1;
                }
            }
        }
        asked
    }

    /// A namespace that is not known yet. It may be gone by now, which is no error.
    fn born(
        &mut self,
        birth: Birth,
        out: &mut Vec<Event>,
        drained: &mut Drained,
    ) -> Result<(), NotifyError> {
        log::trace!("{birth:?}");
        if self.teller.table.namespace(NamespaceKey(birth.id)).is_some() {
            return Ok(());
        }
        let found = if birth.id == 0 {
            let fd = namespaces::open(birth.inode, Some(birth.task))?;
            let Some(fd) = fd else { return Ok(()) };
            let id = sys::namespace_id(fd.as_fd()).map_err(NamespacesError::Ask)?;
            Some(FoundNamespace { fd, inode: birth.inode, id: id.map(NamespaceId), task: None })
        } else {
            namespaces::open_by_id(NamespaceId(birth.id), Some(birth.task))?
        };
        let Some(found) = found else { return Ok(()) };
        self.tell_born(found, birth.maker, birth.ktime_ns, out, drained)
    }

    fn tell_born(
        &mut self,
        found: FoundNamespace,
        maker: u32,
        ktime_ns: u64,
        out: &mut Vec<Event>,
        drained: &mut Drained,
    ) -> Result<(), NotifyError> {
        let inode = found.inode;
        let origin = Origin { hook: hook::CALL, ..self.callers.origin(maker, ktime_ns) };
        let begin = out.len();
        if self.mark_and_list(found, origin, out)? {
            drained.listed.push(inode);
        }
        self.commit(origin, begin, out)
    }

    /// A call made a namespace that has no process, so that only the kernel's list has it.
    fn search_born(
        &mut self,
        maker: u32,
        ktime_ns: u64,
        out: &mut Vec<Event>,
        drained: &mut Drained,
    ) -> Result<(), NotifyError> {
        let mut result = Ok(());
        namespaces::each(|found| {
            let is_known = found
                .id
                .is_some_and(|id| self.teller.table.namespace(NamespaceKey(id.0)).is_some());
            if !is_known {
                result = self.tell_born(found, maker, ktime_ns, out, drained);
            }
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result
    }

    /// Tells what the notifications name; `true` if some were lost.
    fn notified(
        &mut self,
        notifications: &[Notification],
        now_ns: u64,
        out: &mut Vec<Event>,
    ) -> Result<bool, NotifyError> {
        let mut lost = false;
        let mut change: Option<(Origin, usize)> = None;
        for notification in notifications {
            log::trace!("{notification:?}");
            let Notification::Mount { id, is_attached, is_detached, tid } = *notification else {
                self.overflows += 1;
                lost = true;
                continue;
            };
            self.notifications += 1;
            let (origin, _) = match change {
                Some(same) if same.0.tid == tid => same,
                other => {
                    if let Some((origin, begin)) = other {
                        self.commit(origin, begin, out)?;
                    }
                    // A notification has no time; a call that the thread made since the last
                    // drain has one.
                    let call = self.callers.latest(tid).map(|call| call.header.ktime_ns);
                    let ktime_ns = call.filter(|at| *at >= self.drained_ns).unwrap_or(now_ns);
                    *change.insert((self.callers.origin(tid, ktime_ns), out.len()))
                }
            };
            let key = MountKey(id.0);
            if is_attached {
                let hint = self.callers.latest(tid).map(|call| NamespaceKey(call.ns_id));
                self.teller.notified(key, hint, is_detached, origin, out)?;
            } else {
                // Not known: it left with its namespace, or was never seen.
                self.teller.gone(key, origin, out);
            }
        }
        if let Some((origin, begin)) = change {
            self.commit(origin, begin, out)?;
        }
        Ok(lost)
    }

    /// Calls that changed attributes say nothing of which mounts: those of the caller's namespace,
    /// but a path through `/proc/PID/root` or a descriptor may lead into another one.
    fn attributes_changed(
        &mut self,
        calls: &[(NamespaceKey, u32, u64)],
        out: &mut Vec<Event>,
    ) -> Result<(), NotifyError> {
        let mut looked = HashSet::new();
        let mut unexplained = None;
        for (namespace, tid, ktime_ns) in calls.iter().rev().copied() {
            // The last call of a namespace stands for those before it.
            if !looked.insert(namespace) {
                continue;
            }
            let origin = self.callers.origin(tid, ktime_ns);
            let begin = out.len();
            let keys = self.teller.table.members(namespace);
            let changed = self.teller.tell(&keys, namespace, Tell::Changes, origin, out)?;
            self.commit(origin, begin, out)?;
            if changed == 0 {
                unexplained = Some(origin);
            }
        }
        let Some(origin) = unexplained else { return Ok(()) };
        let begin = out.len();
        for namespace in self.teller.table.namespaces().to_vec() {
            if looked.insert(namespace) {
                let keys = self.teller.table.members(namespace);
                self.teller.tell(&keys, namespace, Tell::Changes, origin, out)?;
            }
        }
        self.commit(origin, begin, out)
    }

    /// The end of one thread's change, if it changed anything.
    fn commit(
        &mut self,
        origin: Origin,
        begin: usize,
        out: &mut Vec<Event>,
    ) -> Result<(), NotifyError> {
        self.teller.follow_up(origin, out)?;
        if out.len() > begin {
            out.push(Event::Commit(origin, self.callers.commit(origin.tid)));
        }
        Ok(())
    }

    /// The index does not need a dentry any more: it will be told again, by another key, when a
    /// mount needs it. To be called before the next [`Self::drain`] or [`Self::scan`].
    pub fn forget(&mut self, key: DentryKey) {
        self.teller.dentries.forget(key);
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

    /// Counters for `status`.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let losses = self.calls.losses();
        let lost = |index: u32| {
            usize::try_from(index).ok().and_then(|at| losses.counters.get(at).copied()).unwrap_or(0)
        };
        vec![
            ("records_lost", lost(counter::RECORDS_LOST)),
            ("reads_failed", lost(counter::READS_FAILED)),
            ("recursion_misses", losses.recursion_misses),
            ("records_undecoded", self.undecoded),
            ("notifications", self.notifications),
            ("notifications_lost", self.overflows),
            ("looks", self.teller.look.looks()),
            ("short_lived", self.teller.counters.short_lived),
            ("unreachable", self.teller.counters.unreachable),
        ]
    }

    fn count_losses(&self) -> u64 {
        let losses = self.calls.losses();
        let lost = usize::try_from(counter::RECORDS_LOST)
            .ok()
            .and_then(|at| losses.counters.get(at).copied())
            .unwrap_or(0);
        lost + losses.recursion_misses + self.undecoded
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
    Origin {
        hook,
        in_transaction: false,
        scan: false,
        ktime_ns: host::monotonic_ns(),
        pid: 0,
        tid: 0,
    }
}
