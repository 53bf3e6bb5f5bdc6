//! Namespaces: marked, listed, and found when they are born.

use super::asked::Birth;
use super::callers::Made;
use super::{Drained, Notify, NotifyError, origin_of_none};
use crate::kernel::namespaces::{self, FoundNamespace, NamespacesError};
use crate::kernel::{sys, task};
use crate::model::{Event, NamespaceEvent, NamespaceId, NamespaceInode, NamespaceKey, Origin};
use mountwatch_common::hook;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

impl Notify {
    pub(super) fn mark(&self, found: &FoundNamespace) -> Result<(), NotifyError> {
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
        let begin_ns = origin.ktime_ns;
        let mut listed = Vec::new();
        if let Some(inode) = inode {
            let task = self.task_of(inode);
            let Some(fd) = namespaces::open(inode, task)? else {
                return Ok(listed);
            };
            let id = sys::namespace_id(fd.as_fd()).map_err(NamespacesError::Ask)?;
            let found = FoundNamespace { fd, inode, id: id.map(NamespaceId), task };
            if self.mark_and_list(found, origin, out)? {
                listed.push(inode);
            }
        } else {
            self.glimpses.clear();
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
        self.settle(begin_ns, out)?;
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
        let mut is_there = self.teller.list(&event, None, origin, out)?;
        if !is_there {
            // Of a namespace without a mount on its root (7.1) the kernel answers from inside alone.
            let teller = &mut self.teller;
            let listed = task::inside(found.fd.as_fd(), |root| {
                teller.look.is_inside = true;
                let listed = teller.list(&event, Some(root), origin, out);
                teller.look.is_inside = false;
                listed
            });
            match listed {
                Ok(listed) => is_there = listed?,
                Err(error) => {
                    log::debug!("mount namespace {} is not entered: {error}", found.inode);
                }
            }
        }
        // Not before: so long as it is open it lives, and its end will be notified.
        drop(found);
        Ok(is_there)
    }

    /// A namespace that is not known yet. It may be gone by now, which is no error.
    pub(super) fn born(
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
            Some(FoundNamespace {
                fd,
                inode: birth.inode,
                id: id.map(NamespaceId),
                task: Some(birth.task),
            })
        } else {
            namespaces::open_by_id(NamespaceId(birth.id), Some(birth.task))?
        };
        let Some(found) = found else { return Ok(()) };
        self.tell_born(found, birth.made, out, drained)
    }

    fn tell_born(
        &mut self,
        found: FoundNamespace,
        made: Made,
        out: &mut Vec<Event>,
        drained: &mut Drained,
    ) -> Result<(), NotifyError> {
        let inode = found.inode;
        let origin = Origin { hook: hook::CALL, ..self.callers.origin(made) };
        let begin = out.len();
        if self.mark_and_list(found, origin, out)? {
            drained.listed.push(inode);
        }
        self.commit(origin, begin, out)
    }

    /// A call made a namespace that has no process, so that only the kernel's list has it.
    pub(super) fn search_born(
        &mut self,
        made: Made,
        out: &mut Vec<Event>,
        drained: &mut Drained,
    ) -> Result<(), NotifyError> {
        let mut result = Ok(());
        namespaces::each(|found| {
            let is_known = found
                .id
                .is_some_and(|id| self.teller.table.namespace(NamespaceKey(id.0)).is_some());
            if !is_known {
                result = self.tell_born(found, made, out, drained);
            }
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result
    }
}
