//! What the records of one drain ask for.

use super::callers::{Callers, Made, tid_of};
use super::effect::Class;
use super::table::Table;
use crate::kernel::load::call_table;
use crate::model::{MountKey, NamespaceEvent, NamespaceInode, NamespaceKey, Origin};
use mountwatch_common::record::{CallRecord, GlanceRecord, flag};

/// What the records of one drain ask for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Namespaces that are not known.
    pub(super) births: Vec<Birth>,
    /// Threads that made a namespace which they are not in.
    pub(super) hidden: Vec<Made>,
    /// Calls that changed attributes.
    pub(super) attributes: Vec<Attributes>,
    /// The last call that changed a super block.
    pub(super) super_blocks: Option<Made>,
    /// Calls that renamed or deleted names.
    pub(super) names: Vec<Names>,
    /// Calls of umount(2), with their begins.
    pub(super) umounts: Vec<(u32, u64, u64)>,
    /// Mounts that may have changed, of calls that have not ended yet, by thread: for the next drain.
    pub(super) glances: Vec<(u32, MountKey)>,
    /// Bytes that were in the ring buffer.
    pub(super) ring_used_bytes: u64,
}

/// A namespace that may be new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    /// Its ID, 0 where the kernel has none.
    pub(super) id: u64,
    pub(super) inode: NamespaceInode,
    /// A thread that is in it.
    pub(super) task: u32,
    /// By whom it was made.
    pub(super) made: Made,
}

/// A call that changed attributes.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub(super) namespace: NamespaceKey,
    pub(super) made: Made,
    /// The mounts that were not as they were told.
    pub(super) mounts: Vec<MountKey>,
    /// There may be more of them in the namespace.
    pub(super) is_astray: bool,
    /// There may be some in other namespaces.
    pub(super) is_elsewhere: bool,
}

/// A call that renamed or deleted a name.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Hashes of the names it was given, 0 for one that is not known.
    pub(super) hashes: Vec<u64>,
    pub(super) tid: u32,
    pub(super) ktime_ns: u64,
}

impl Asked {
    /// A process was born in a new namespace.
    pub(super) fn born(&mut self, origin: Origin, event: &NamespaceEvent) {
        self.births.push(Birth {
            id: event.id.map_or(0, |id| id.0),
            inode: event.inode,
            task: event.task.unwrap_or(origin.tid),
            made: Made::forked(origin),
        });
    }

    /// A mount is not as it was told.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the thread")]
    pub(super) fn glanced(&mut self, glance: &GlanceRecord) {
        self.glances.push((glance.header.pid_tgid as u32, MountKey(glance.unique_id)));
    }

    /// A system call began or returned.
    pub(super) fn called(&mut self, call: &CallRecord, callers: &mut Callers, table: &Table) {
        let tid = tid_of(call);
        let ktime_ns = call.header.ktime_ns;
        // Who renamed something may be gone by now: the record says who it was.
        let finished = callers.take(call);
        if let Some(count) = call_table::names_of(i64::from(call.call)) {
            let hashes = call.args.get(..count).unwrap_or_default().to_vec();
            self.names.push(Names { hashes, tid, ktime_ns });
            return;
        }
        let key = NamespaceKey(call.ns_id);
        let is_maker = finished.is_some() && i64::from(call.call) == libc::SYS_unshare;
        if call.ns_id != 0 && table.namespace(key).is_none() {
            self.births.push(Birth {
                id: call.ns_id,
                inode: NamespaceInode(call.ns_inum),
                task: tid,
                made: if is_maker { Made::by(call) } else { Made::outside(tid, ktime_ns) },
            });
        }
        let mut mounts = Vec::new();
        if call.header.flags & flag::EXIT != 0 {
            let of_thread = self.glances.extract_if(.., |(other, _)| *other == tid);
            mounts.extend(of_thread.map(|(_, mount)| mount));
        }
        let effect = finished.as_ref().map(|finished| finished.effect).unwrap_or_default();
        // A call that failed may have changed a part.
        let is_astray = call.header.flags & flag::ASTRAY != 0;
        if effect.attributes || !mounts.is_empty() || is_astray {
            self.attributes.push(Attributes {
                namespace: key,
                made: Made::by(call),
                mounts,
                is_astray,
                is_elsewhere: effect.elsewhere
                    && finished.as_ref().is_some_and(|finished| finished.may_be_elsewhere()),
            });
        }
        if effect.namespace {
            self.hidden.push(Made::by(call));
        }
        if effect.super_blocks {
            self.super_blocks = Some(Made::by(call));
        }
        if effect.class == Class::Detach {
            self.umounts.push((tid, call.header.begin_ktime_ns, ktime_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn who_renames_is_known_by_the_call() {
        let mut call = CallRecord::new_zeroed();
        call.header.flags = flag::EXIT;
        // No such process: the number is above what the kernel gives.
        call.header.pid_tgid = (u64::from(u32::MAX) << 32) | u64::from(u32::MAX - 1);
        call.header.ktime_ns = 9;
        call.call = u32::try_from(libc::SYS_renameat2).unwrap();
        call.args = [5, 6, 7, 0, 0, 0];
        call.comm[..2].copy_from_slice(b"mv");
        let (mut asked, mut callers) = (Asked::default(), Callers::default());
        asked.called(&call, &mut callers, &Table::default());
        let names = asked.names.first().expect("a call about names");
        assert_eq!((&names.hashes[..], names.tid), (&[5, 6][..], u32::MAX - 1));
        assert_eq!(callers.origin(Made::outside(names.tid, names.ktime_ns)).pid, u32::MAX);
        assert_eq!(&callers.commit(names.tid).comm[..], b"mv");
        assert!(asked.attributes.is_empty() && asked.births.is_empty());
    }
}
