//! System calls of the mount family: who made a change, and what changes without a notification.

use crate::model::{Bytes, CommitEvent, Origin};
use crate::wire::record;
use hashbrown::HashMap;
use mountwatch_common::hook;
use mountwatch_common::record::{CallRecord, flag};
use std::os::unix::fs::MetadataExt;
use std::{fs, io};

/// Threads that are remembered; the oldest half goes when there are more. Counted by nothing: of a
/// forgotten one `/proc` is asked.
const CALLERS_MAX: usize = 4_096;

const MS_REMOUNT: u64 = 1 << 5;
const MS_BIND: u64 = 1 << 12;
const MS_PROPAGATION: u64 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
/// An old caller may put this into the upper half of the flags of mount(2).
const MS_MAGIC: u64 = 0xc0ed_0000;
const MS_MAGIC_MASK: u64 = 0xffff_0000;
const MOVE_MOUNT_SET_GROUP: u64 = 0x100;
const OPEN_TREE_CLONE: u64 = 1 << 0;
const OPEN_TREE_NAMESPACE: u64 = 1 << 1;
const FSMOUNT_NAMESPACE: u64 = 1 << 1;
const FSCONFIG_CMD_RECONFIGURE: u64 = 7;
/// `open_tree_attr(2)`, since 6.15, on all architectures.
const SYS_OPEN_TREE_ATTR: i64 = 467;

/// What a call that returned did and no notification says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// Attributes or propagation of mounts, of the caller's namespace as a rule.
    pub(super) attributes: bool,
    /// Flags or options of a super block.
    pub(super) super_blocks: bool,
    /// It made a namespace that it is not in itself.
    pub(super) namespace: bool,
}

/// The latest call of each thread.
#[derive(Debug, Default)]
pub(super) struct Callers {
    latest: HashMap<u32, CallRecord>,
}

impl Callers {
    /// Takes one record, and says what the call did if it returned.
    pub(super) fn take(&mut self, call: &CallRecord) -> Effect {
        let tid = tid_of(call);
        let is_exit = call.header.flags & flag::EXIT != 0;
        let mut args = call.args;
        if is_exit
            && let Some(begin) = self.latest.get(&tid)
            && begin.call == call.call
        {
            args = begin.args;
        }
        let effect =
            if is_exit && call.ret >= 0 { effect(call.call, args) } else { Effect::default() };
        if self.latest.len() >= CALLERS_MAX {
            self.forget_oldest();
        }
        self.latest.insert(tid, CallRecord { args, ..*call });
        effect
    }

    fn forget_oldest(&mut self) {
        let mut times: Vec<_> = self.latest.values().map(|call| call.header.ktime_ns).collect();
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied().unwrap_or(0);
        self.latest.retain(|_, call| call.header.ktime_ns > middle);
    }

    /// The latest call of a thread.
    pub(super) fn latest(&self, tid: u32) -> Option<&CallRecord> {
        self.latest.get(&tid)
    }

    /// Where a change comes from that a thread made.
    pub(super) fn origin(&self, tid: u32, ktime_ns: u64) -> Origin {
        let pid = self.latest(tid).map_or_else(|| process_of(tid).unwrap_or(tid), pid_of);
        Origin { hook: hook::NOTIFY, in_transaction: false, scan: false, ktime_ns, pid, tid }
    }

    /// The end of a thread's change.
    pub(super) fn commit(&self, tid: u32) -> CommitEvent {
        if let Some(call) = self.latest(tid) {
            return CommitEvent {
                comm: record::until_zero(&call.comm).into(),
                cgroup_id: 0,
                uid: call.uid,
            };
        }
        let comm = fs::read(format!("/proc/{tid}/comm")).unwrap_or_default();
        let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
        let uid = fs::metadata(format!("/proc/{tid}")).map_or(0, |metadata| metadata.uid());
        CommitEvent { comm: Bytes::from(comm), cgroup_id: 0, uid }
    }
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
#[expect(clippy::cast_possible_truncation, reason = "the lower half is the thread")]
pub(super) fn tid_of(call: &CallRecord) -> u32 {
    call.header.pid_tgid as u32
}

fn pid_of(call: &CallRecord) -> u32 {
    (call.header.pid_tgid >> 32) as u32
}

/// What a call does if it succeeds.
fn effect(call: u32, args: [u64; 6]) -> Effect {
    let call = i64::from(call);
    let [_, second, third, fourth, fifth, _] = args;
    let attributes = Effect { attributes: true, ..Effect::default() };
    let namespace = Effect { namespace: true, ..Effect::default() };
    match call {
        libc::SYS_mount => of_mount(fourth),
        libc::SYS_mount_setattr => attributes,
        SYS_OPEN_TREE_ATTR if third & OPEN_TREE_CLONE == 0 => attributes,
        libc::SYS_move_mount if fifth & MOVE_MOUNT_SET_GROUP != 0 => attributes,
        libc::SYS_fsconfig if second == FSCONFIG_CMD_RECONFIGURE => {
            Effect { super_blocks: true, ..Effect::default() }
        }
        libc::SYS_open_tree | SYS_OPEN_TREE_ATTR if third & OPEN_TREE_NAMESPACE != 0 => namespace,
        libc::SYS_fsmount if second & FSMOUNT_NAMESPACE != 0 => namespace,
        _ => Effect::default(),
    }
}

/// mount(2) is five calls in one: the order of the questions is the kernel's (`path_mount`).
fn of_mount(flags: u64) -> Effect {
    let flags = if flags & MS_MAGIC_MASK == MS_MAGIC { flags & !MS_MAGIC_MASK } else { flags };
    let is_remount = flags & MS_REMOUNT != 0;
    let is_bind = flags & MS_BIND != 0;
    Effect {
        attributes: is_remount || (!is_bind && flags & MS_PROPAGATION != 0),
        super_blocks: is_remount && !is_bind,
        namespace: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn call(number: i64, args: [u64; 6], is_exit: bool) -> CallRecord {
        let mut call = CallRecord::new_zeroed();
        call.header.flags = if is_exit { flag::EXIT } else { 0 };
        call.header.pid_tgid = (7 << 32) | 8;
        call.call = u32::try_from(number).unwrap();
        call.args = args;
        call.comm[..2].copy_from_slice(b"sh");
        call
    }

    #[test]
    fn flags_of_mount_say_what_it_does() {
        let effect = |flags| {
            let effect = effect(u32::try_from(libc::SYS_mount).unwrap(), [0, 0, 0, flags, 0, 0]);
            (effect.attributes, effect.super_blocks)
        };
        assert_eq!(effect(0), (false, false));
        assert_eq!(effect(MS_MAGIC), (false, false));
        assert_eq!(effect(MS_BIND), (false, false));
        assert_eq!(effect(MS_REMOUNT | MS_BIND), (true, false));
        assert_eq!(effect(MS_REMOUNT | MS_MAGIC), (true, true));
        assert_eq!(effect(1 << 18), (true, false));
    }

    #[test]
    fn the_arguments_are_those_of_the_begin() {
        let mut callers = Callers::default();
        let begin = call(libc::SYS_mount, [0, 0, 0, MS_REMOUNT | MS_BIND, 0, 0], false);
        assert_eq!(callers.take(&begin), Effect::default());
        let end = call(libc::SYS_mount, [0; 6], true);
        assert!(callers.take(&end).attributes);
        let mut failed = end;
        failed.ret = -22;
        assert_eq!(callers.take(&failed), Effect::default());
        assert_eq!(&callers.commit(8).comm[..], b"sh");
        let origin = callers.origin(8, 1);
        assert_eq!((origin.pid, origin.tid), (7, 8));
    }

    #[test]
    fn old_callers_are_forgotten() {
        let mut callers = Callers::default();
        for tid in 0..10_000 {
            let mut call = call(libc::SYS_mount, [0; 6], false);
            call.header.pid_tgid = tid;
            call.header.ktime_ns = tid;
            callers.take(&call);
        }
        assert!(callers.latest.len() <= CALLERS_MAX);
        assert!(callers.latest(9_999).is_some());
    }
}
