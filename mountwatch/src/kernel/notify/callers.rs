//! System calls of the mount family: who made a change, and what they were given.

use super::effect::{Class, Effect, effect};
use crate::kernel::descent;
use crate::maps::Room as _;
use crate::model::{Bytes, CommitEvent, Descent, Glimpsed, NamespaceKey, Origin, UniqueMountId};
use crate::wire::record;
use hashbrown::{HashMap, HashSet};
use mountwatch_common::hook;
use mountwatch_common::record::{ArgumentRecord, CallRecord, flag};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::{fs, io};

/// Threads that are remembered; the oldest half goes when there are more. Counted by nothing: of a
/// forgotten one `/proc` is asked.
const CALLERS_MAX: usize = 4_096;

/// Text arguments of a call, by index; `None`: it could not be read.
type Texts = Vec<(u32, Option<Bytes>)>;

/// A call that succeeded.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) call: CallRecord,
    pub(super) effect: Effect,
    texts: Texts,
    /// What the thread gave to fsopen(2) last.
    fs_type: Option<Bytes>,
}

/// One call of a thread that its notifications may belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) class: Class,
    /// When it began, which tells it from the thread's other calls.
    pub(super) begin_ktime_ns: u64,
    /// When it ended, or began if it has not.
    pub(super) ktime_ns: u64,
}

/// By which thread, when, and in which call of it a change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) tid: u32,
    pub(super) ktime_ns: u64,
    /// When the call began; 0 if none is known.
    pub(super) begin_ktime_ns: u64,
    /// The thread's descent, where a record of that time says that.
    pub(super) descent: Option<Descent>,
}

impl Made {
    /// By a call that a record is about.
    pub(super) fn by(call: &CallRecord) -> Self {
        let (ktime_ns, begin_ktime_ns) = (call.header.ktime_ns, call.header.begin_ktime_ns);
        let descent = Some(record::descent(call.header.flags));
        Self { tid: tid_of(call), ktime_ns, begin_ktime_ns, descent }
    }

    /// By a thread outside of any call that matters.
    pub(super) fn outside(tid: u32, ktime_ns: u64) -> Self {
        Self { tid, ktime_ns, begin_ktime_ns: 0, descent: None }
    }

    /// By a thread that made a process.
    pub(super) fn forked(origin: Origin) -> Self {
        let descent = Some(origin.descent);
        Self { descent, ..Self::outside(origin.tid, origin.ktime_ns) }
    }
}

/// The latest call of each thread, and all that ended lately.
#[derive(Debug, Default)]
pub(super) struct Callers {
    latest: HashMap<u32, CallRecord>,
    /// With the begin of the call that was given them.
    texts: HashMap<u32, (u64, Texts)>,
    fs_types: HashMap<u32, Bytes>,
    /// Calls that ended in this drain, by thread, and in the one before.
    finished: HashMap<u32, Vec<Rc<Finished>>>,
    before: HashMap<u32, Vec<Rc<Finished>>>,
    /// Those that notifications were found for, and calls that are open, by thread and begin.
    notified: HashSet<(u32, u64)>,
    /// When the last drain began.
    drained_ns: u64,
    /// The process whose descendants are told apart.
    ancestor: Option<u32>,
}

impl Callers {
    /// `ancestor`: the process whose descendants are told apart.
    pub(super) fn new(ancestor: Option<u32>) -> Self {
        Self { ancestor, ..Self::default() }
    }

    /// A drain begins; the one before began at `drained_ns`.
    pub(super) fn begin_drain(&mut self, drained_ns: u64) {
        self.before = std::mem::take(&mut self.finished);
        self.drained_ns = drained_ns;
        let (before, latest) = (&self.before, &self.latest);
        self.notified.retain(|(tid, begin_ktime_ns)| {
            let is_it = |call: &CallRecord| call.header.begin_ktime_ns == *begin_ktime_ns;
            latest.get(tid).is_some_and(is_it)
                || before.get(tid).is_some_and(|calls| begun_at(calls, *begin_ktime_ns).is_some())
        });
        self.notified.give_back();
    }

    /// A notification belongs to a call.
    pub(super) fn set_notified(&mut self, tid: u32, begin_ktime_ns: u64) {
        self.notified.insert((tid, begin_ktime_ns));
    }

    /// Whether a notification was found that belongs to a call.
    pub(super) fn is_notified(&self, tid: u32, begin_ktime_ns: u64) -> bool {
        self.notified.contains(&(tid, begin_ktime_ns))
    }

    /// Takes a text that the call about to return was given.
    pub(super) fn take_text(&mut self, record: &ArgumentRecord, text: Option<Bytes>) {
        let begin_ktime_ns = record.header.begin_ktime_ns;
        let (of, texts) = self.texts.entry(thread(record.header.pid_tgid)).or_default();
        if *of != begin_ktime_ns {
            // What is left is of a call whose end was lost, and the begin of this one may be untold.
            (*of, *texts) = (begin_ktime_ns, Vec::new());
        }
        texts.push((record.index, text));
    }

    /// Takes one record. Gives the call if it ended well.
    pub(super) fn take(&mut self, call: &CallRecord) -> Option<Rc<Finished>> {
        let tid = tid_of(call);
        if self.latest.len() >= CALLERS_MAX {
            self.forget_oldest();
        }
        self.latest.insert(tid, *call);
        if call.header.flags & flag::EXIT == 0 {
            // What is left is of a call whose end was lost.
            self.texts.remove(&tid);
            return None;
        }
        let texts = self.texts.remove(&tid);
        let texts =
            texts.filter(|(begin_ktime_ns, _)| *begin_ktime_ns == call.header.begin_ktime_ns);
        let texts = texts.map_or_else(Vec::new, |(_, texts)| texts);
        if call.ret < 0 {
            return None;
        }
        let effect = effect(call.call, call.args);
        let mut fs_type = None;
        if i64::from(call.call) == libc::SYS_fsopen
            && let Some((_, Some(text))) = texts.first()
        {
            self.fs_types.insert(tid, text.clone());
        } else if effect.class == Class::AttachOrMove {
            fs_type = self.fs_types.get(&tid).cloned();
        }
        let finished = Rc::new(Finished { call: *call, effect, texts, fs_type });
        self.finished.entry(tid).or_default().push(Rc::clone(&finished));
        Some(finished)
    }

    fn forget_oldest(&mut self) {
        let mut times: Vec<_> = self.latest.values().map(|call| call.header.ktime_ns).collect();
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied().unwrap_or(0);
        self.latest.retain(|_, call| call.header.ktime_ns > middle);
        self.texts.retain(|tid, _| self.latest.contains_key(tid));
        self.fs_types.retain(|tid, _| self.latest.contains_key(tid));
    }

    /// The latest call of a thread.
    pub(super) fn latest(&self, tid: u32) -> Option<&CallRecord> {
        self.latest.get(&tid)
    }

    /// The calls of a thread that ended in this drain, or in the one before and were not notified
    /// there, and the one that it is in.
    pub(super) fn candidates(&self, tid: u32) -> Vec<Candidate> {
        let of = |calls: &HashMap<u32, Vec<Rc<Finished>>>| calls.get(&tid).cloned();
        let before = of(&self.before).into_iter().flatten();
        let before =
            before.filter(|finished| !self.is_notified(tid, finished.call.header.begin_ktime_ns));
        let ended =
            before.chain(of(&self.finished).into_iter().flatten()).map(|finished| Candidate {
                class: finished.effect.class,
                begin_ktime_ns: finished.call.header.begin_ktime_ns,
                ktime_ns: finished.call.header.ktime_ns,
            });
        let open = self.latest(tid).filter(|call| call.header.flags & flag::EXIT == 0);
        let open = open.map(|call| Candidate {
            class: effect(call.call, call.args).class,
            begin_ktime_ns: call.header.begin_ktime_ns,
            ktime_ns: call.header.ktime_ns,
        });
        ended.chain(open).collect()
    }

    /// What is known of a mount that nobody saw, by the call that made it.
    pub(super) fn glimpsed(&self, id: UniqueMountId, tid: u32, begin_ktime_ns: u64) -> Glimpsed {
        let calls = [&self.finished, &self.before];
        let finished =
            calls.into_iter().find_map(|calls| begun_at(calls.get(&tid)?, begin_ktime_ns));
        finished.map_or_else(
            || Glimpsed { unique_id: Some(id), ..Glimpsed::default() },
            |finished| finished.glimpsed(id),
        )
    }

    /// Where a change comes from.
    pub(super) fn origin(&self, made: Made) -> Origin {
        let Made { tid, ktime_ns, begin_ktime_ns, .. } = made;
        let pid = self.latest(tid).map_or_else(|| process_of(tid).unwrap_or(tid), pid_of);
        let descent = made.descent.unwrap_or_else(|| self.descent(tid));
        Origin { hook: hook::NOTIFY, ktime_ns, pid, tid, begin_ktime_ns, descent, ..Origin::NOBODY }
    }

    /// A call says from whom its thread descends. A thread that made none lately is looked at.
    fn descent(&self, tid: u32) -> Descent {
        let Some(ancestor) = self.ancestor else { return Descent::No };
        let latest = self.latest(tid);
        let of_call = latest.map(|call| record::descent(call.header.flags));
        if latest.is_some_and(|call| self.is_of_now(call)) {
            return of_call.unwrap_or_default();
        }
        descent::of_task(tid, ancestor).or(of_call).unwrap_or(Descent::Unknown)
    }

    /// It has not ended, or ended in this drain.
    fn is_of_now(&self, call: &CallRecord) -> bool {
        call.header.flags & flag::EXIT == 0 || call.header.ktime_ns >= self.drained_ns
    }

    /// The end of a thread's change.
    pub(super) fn commit(&self, tid: u32) -> CommitEvent {
        let latest = self.latest(tid);
        let is_of_now = latest.is_some_and(|call| self.is_of_now(call));
        let of_call = latest.map(|call| CommitEvent {
            comm: record::until_zero(&call.comm).into(),
            cgroup_id: call.cgroup_id,
            uid: call.uid,
        });
        // A thread that made no call lately may be another program by now.
        let now = if is_of_now { None } else { of_task(tid) };
        now.or(of_call).unwrap_or(CommitEvent { comm: Bytes::from(&b""[..]), cgroup_id: 0, uid: 0 })
    }
}

impl Finished {
    fn text(&self, index: u32) -> Option<&Bytes> {
        let found = self.texts.iter().find(|(at, _)| *at == index);
        found.and_then(|(_, text)| text.as_ref())
    }

    fn glimpsed(&self, id: UniqueMountId) -> Glimpsed {
        let is_mount = i64::from(self.call.call) == libc::SYS_mount;
        let of_mount = |index| self.text(index).filter(|_| is_mount).cloned();
        Glimpsed {
            unique_id: Some(id),
            namespace: (self.call.ns_id != 0).then_some(NamespaceKey(self.call.ns_id)),
            target: self.text(if is_mount { 1 } else { 3 }).cloned(),
            source: of_mount(0),
            fs_type: of_mount(2).or_else(|| self.fs_type.clone()),
        }
    }

    /// Whether a call that may change another namespace's mounts has a path that may lead there:
    /// through `/proc`, or a descriptor, or the working directory.
    pub(super) fn may_be_elsewhere(&self) -> bool {
        if self.call.header.flags & flag::FOREIGN_ROOT != 0 {
            return true;
        }
        let is_inside = |text: &Bytes| {
            text.starts_with(b"/") && !text.windows(4).any(|window| window == b"proc")
        };
        i64::from(self.call.call) != libc::SYS_mount || !self.text(1).is_some_and(is_inside)
    }
}

/// The call of a thread that began at some time. They are in the order in which they ended, which
/// for one thread is that in which they began: thousands of them may come in one drain.
fn begun_at(calls: &[Rc<Finished>], begin_ktime_ns: u64) -> Option<&Rc<Finished>> {
    let at = calls.binary_search_by_key(&begin_ktime_ns, |one| one.call.header.begin_ktime_ns);
    calls.get(at.ok()?)
}

/// A task as it is now.
fn of_task(tid: u32) -> Option<CommitEvent> {
    let comm = fs::read(format!("/proc/{tid}/comm")).ok()?;
    let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
    let uid = fs::metadata(format!("/proc/{tid}")).map_or(0, |metadata| metadata.uid());
    Some(CommitEvent { comm: Bytes::from(comm), cgroup_id: 0, uid })
}

/// The process of a thread that made no call of the mount family: it unmounted by closing or by
/// ending, or it ended long ago.
fn process_of(tid: u32) -> io::Result<u32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("no Tgid"))
}

/// The thread of a call.
pub(super) fn tid_of(call: &CallRecord) -> u32 {
    thread(call.header.pid_tgid)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is the thread")]
fn thread(pid_tgid: u64) -> u32 {
    pid_tgid as u32
}

fn pid_of(call: &CallRecord) -> u32 {
    (call.header.pid_tgid >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn call(number: i64, is_exit: bool) -> CallRecord {
        let mut call = CallRecord::new_zeroed();
        call.header.flags = if is_exit { flag::EXIT } else { 0 };
        call.header.pid_tgid = (7 << 32) | 8;
        call.header.ktime_ns = 10;
        call.header.begin_ktime_ns = 5;
        call.call = u32::try_from(number).unwrap();
        call.comm[..2].copy_from_slice(b"sh");
        call.ns_id = 3;
        call
    }

    fn text(callers: &mut Callers, index: u32, text: &[u8]) {
        text_of(callers, 5, index, text);
    }

    fn text_of(callers: &mut Callers, begin_ktime_ns: u64, index: u32, text: &[u8]) {
        let mut record = ArgumentRecord::new_zeroed();
        record.header.pid_tgid = (7 << 32) | 8;
        record.header.begin_ktime_ns = begin_ktime_ns;
        record.index = index;
        callers.take_text(&record, Some(text.into()));
    }

    #[test]
    fn a_call_ends_with_its_texts() {
        let mut callers = Callers::default();
        callers.begin_drain(1);
        assert!(callers.take(&call(libc::SYS_mount, false)).is_none());
        assert_eq!(callers.candidates(8).len(), 1, "it is open");
        for (index, given) in [(0, &b"none"[..]), (1, b"/mnt"), (2, b"tmpfs")] {
            text(&mut callers, index, given);
        }
        let finished = callers.take(&call(libc::SYS_mount, true)).expect("it ended well");
        assert_eq!(finished.effect.class, Class::Attach);
        assert_eq!(callers.candidates(8).len(), 1, "it ended");
        let glimpsed = callers.glimpsed(UniqueMountId(9), 8, 5);
        assert_eq!(glimpsed.target.as_deref(), Some(&b"/mnt"[..]));
        assert_eq!(glimpsed.source.as_deref(), Some(&b"none"[..]));
        assert_eq!(glimpsed.fs_type.as_deref(), Some(&b"tmpfs"[..]));
        assert_eq!(glimpsed.namespace, Some(NamespaceKey(3)));
        assert_eq!(&callers.commit(8).comm[..], b"sh");
        let origin = callers.origin(Made::outside(8, 1));
        assert_eq!((origin.pid, origin.tid), (7, 8));
    }

    #[test]
    fn texts_of_a_call_whose_end_was_lost_are_not_those_of_the_next() {
        let mut callers = Callers::default();
        text(&mut callers, 1, b"/old");
        callers.take(&call(libc::SYS_mount, false));
        text(&mut callers, 1, b"/new");
        callers.take(&call(libc::SYS_mount, true));
        let glimpsed = callers.glimpsed(UniqueMountId(9), 8, 5);
        assert_eq!(glimpsed.target.as_deref(), Some(&b"/new"[..]));
    }

    #[test]
    fn a_call_whose_begin_was_not_told_has_its_own_texts() {
        let mut callers = Callers::default();
        text_of(&mut callers, 4, 1, b"/old");
        text(&mut callers, 1, b"/new");
        callers.take(&call(libc::SYS_mount, true));
        assert_eq!(callers.glimpsed(UniqueMountId(9), 8, 5).target.as_deref(), Some(&b"/new"[..]));
        text_of(&mut callers, 6, 1, b"/older");
        let finished = callers.take(&call(libc::SYS_mount, true)).expect("it ended well");
        assert_eq!(finished.text(1), None);
    }

    #[test]
    fn a_call_that_failed_did_nothing() {
        let mut callers = Callers::default();
        let mut failed = call(libc::SYS_mount, true);
        failed.ret = -22;
        text(&mut callers, 1, b"/mnt");
        assert!(callers.take(&failed).is_none());
        assert!(callers.texts.is_empty());
    }

    #[test]
    fn a_path_may_lead_elsewhere() {
        let elsewhere = |path: Option<&[u8]>, flags| {
            let mut callers = Callers::default();
            if let Some(path) = path {
                text(&mut callers, 1, path);
            }
            let mut record = call(libc::SYS_mount, true);
            record.header.flags |= flags;
            callers.take(&record).unwrap().may_be_elsewhere()
        };
        assert!(!elsewhere(Some(b"/mnt"), 0));
        assert!(elsewhere(Some(b"/proc/7/root/mnt"), 0));
        assert!(elsewhere(Some(b"mnt"), 0));
        assert!(elsewhere(None, 0));
        assert!(elsewhere(Some(b"/mnt"), flag::FOREIGN_ROOT));
    }

    #[test]
    fn old_callers_are_forgotten() {
        let mut callers = Callers::default();
        for tid in 0..10_000 {
            let mut call = call(libc::SYS_mount, false);
            call.header.pid_tgid = tid;
            call.header.ktime_ns = tid;
            callers.take(&call);
        }
        assert!(callers.latest.len() <= CALLERS_MAX);
        assert!(callers.latest(9_999).is_some());
    }
}
