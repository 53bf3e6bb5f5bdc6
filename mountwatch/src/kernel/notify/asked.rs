//! What the records of one drain ask for.

use super::calls::{Callers, tid_of};
use super::table::Table;
use crate::model::{NamespaceEvent, NamespaceInode, NamespaceKey, Origin};
use mountwatch_common::record::CallRecord;

/// What the records of one drain ask for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Namespaces that are not known.
    pub(super) births: Vec<Birth>,
    /// Threads that made a namespace which they are not in.
    pub(super) hidden: Vec<(u32, u64)>,
    /// Calls that changed attributes.
    pub(super) attributes: Vec<(NamespaceKey, u32, u64)>,
    /// The last call that changed a super block.
    pub(super) super_blocks: Option<(u32, u64)>,
}

/// A namespace that may be new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    /// Its ID, 0 where the kernel has none.
    pub(super) id: u64,
    pub(super) inode: NamespaceInode,
    /// A thread that is in it.
    pub(super) task: u32,
    /// The thread that made it.
    pub(super) maker: u32,
    pub(super) ktime_ns: u64,
}

impl Asked {
    /// A process was born in a new namespace.
    pub(super) fn born(&mut self, origin: Origin, event: &NamespaceEvent) {
        self.births.push(Birth {
            id: event.id.map_or(0, |id| id.0),
            inode: event.inode,
            task: event.task.unwrap_or(origin.tid),
            maker: origin.tid,
            ktime_ns: origin.ktime_ns,
        });
    }

    /// A system call began or returned.
    pub(super) fn called(&mut self, call: &CallRecord, callers: &mut Callers, table: &Table) {
        let tid = tid_of(call);
        let ktime_ns = call.header.ktime_ns;
        let effect = callers.take(call);
        let key = NamespaceKey(call.ns_id);
        if call.ns_id != 0 && table.namespace(key).is_none() {
            self.births.push(Birth {
                id: call.ns_id,
                inode: NamespaceInode(call.ns_inum),
                task: tid,
                maker: tid,
                ktime_ns,
            });
        }
        if effect.namespace {
            self.hidden.push((tid, ktime_ns));
        }
        if effect.attributes {
            self.attributes.push((key, tid, ktime_ns));
        }
        if effect.super_blocks {
            self.super_blocks = Some((tid, ktime_ns));
        }
    }
}
