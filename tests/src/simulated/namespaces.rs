//! Mount namespaces: copies, births, deaths; tasks that are in them; root directories.

use super::copy::{CL_COPY_UNBINDABLE, CL_SLAVE};
use super::kernel::{Kernel, MNT_LOCKED, MNT_RELATIME, Ns, Open, Path, Result, Task, User};
use super::umount::Umount;
use crate::command::{Propagation, Unshare};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// The task that keeps the first namespace.
pub(super) const HOST: &str = "host";

impl Kernel {
    /// A machine that has booted: an immutable root of all, a root file system on it, `/proc`, and
    /// the directory on which scenarios mount.
    pub(crate) fn boot(base: &[u8]) -> Self {
        let mut kernel = Self::empty();
        let user = User(0);
        let nullfs = kernel.alloc_super("nullfs", user);
        let root = kernel[nullfs].s_root;
        let nullfs = kernel.setup_mnt(root, b"none");
        kernel[nullfs].mnt_flags = MNT_RELATIME;
        let rootfs = kernel.alloc_super("rootfs", user);
        let rootfs_root = kernel[rootfs].s_root;
        let rootfs_mnt = kernel.setup_mnt(rootfs_root, b"none");
        kernel[rootfs_mnt].mnt_flags = MNT_RELATIME;
        let ns = kernel.alloc_mnt_ns(user, false);
        kernel.attach_mnt(rootfs_mnt, nullfs, root);
        for mnt in [nullfs, rootfs_mnt] {
            kernel.mnt_add_to_ns(ns, mnt);
        }
        kernel[ns].root = Some(nullfs);
        let nsfs = kernel.alloc_super("nsfs", user);
        kernel[nsfs].is_kept = true;
        let nsfs_root = kernel[nsfs].s_root;
        let internal = kernel.setup_mnt(nsfs_root, b"nsfs");
        kernel.internal.insert("nsfs".to_owned(), internal);
        let root = Path { mnt: rootfs_mnt, dentry: rootfs_root };
        let host = Task {
            pid: 1,
            tid: 1,
            ns,
            root,
            user_ns: user,
            base: Vec::new(),
            held: BTreeMap::new(),
        };
        kernel.tasks.insert(HOST.to_owned(), host);
        let mut made = Vec::new();
        for name in base.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            made.push(b'/');
            made.extend_from_slice(name);
            let _exists = kernel.sys_mkdir(HOST, &made);
        }
        kernel
    }

    /// A new process, where the first one is.
    pub(super) fn fork(&mut self, name: &str) {
        self.next_tid += 1;
        let task = Task {
            pid: self.next_tid,
            tid: self.next_tid,
            held: BTreeMap::new(),
            ..self.task(HOST).clone()
        };
        self.tasks.insert(name.to_owned(), task);
    }

    /// A new thread of a process.
    pub(super) fn spawn_thread(&mut self, name: &str, of: &str) {
        self.next_tid += 1;
        let task = Task { tid: self.next_tid, held: BTreeMap::new(), ..self.task(of).clone() };
        self.tasks.insert(name.to_owned(), task);
    }

    pub(super) fn exit(&mut self, name: &str) {
        let Some(task) = self.tasks.remove(name) else { return };
        for file in task.held.into_values() {
            self.fput(file);
        }
        self.reap();
    }

    /// Whether something keeps a namespace: a task, a descriptor, a mount of its file.
    fn is_kept(&self, ns: Ns) -> bool {
        let inum = u64::from(self[ns].inum);
        self.tasks.values().any(|task| task.ns == ns)
            || self.files.values().any(|file| file.open == Open::Namespace(ns))
            || self.all_mounts().any(|(_, mount)| {
                let root = &self[mount.mnt_root];
                root.nsfs.as_deref() == Some("mnt") && root.ino == inum
            })
    }

    /// `put_mnt_ns` of one that nothing keeps. `false`: there is none.
    pub(super) fn put_unused_namespace(&mut self) -> bool {
        let unused = self
            .all_namespaces()
            .filter(|(_, namespace)| !namespace.is_anon)
            .map(|(key, _)| key)
            .find(|key| !self.is_kept(*key));
        let Some(ns) = unused else { return false };
        self.emptied_ns = Some(ns);
        if let Some(root) = self[ns].root {
            self.umount_tree(root, Umount::default());
        }
        self.namespace_unlock();
        true
    }

    fn copy_mnt_ns(&mut self, task: &str, user: User, is_empty: bool) -> Result<()> {
        let ns = self.task(task).ns;
        let old = self[ns].root.expect("a namespace with a task has a root");
        let new_ns = self.alloc_mnt_ns(user, false);
        let mut flags = if is_empty { 0 } else { CL_COPY_UNBINDABLE };
        if user != self[ns].user_ns {
            flags |= CL_SLAVE;
        }
        let dentry = self[old].mnt_root;
        let new = if is_empty {
            self.clone_mnt(old, dentry, flags)
        } else {
            match self.copy_tree(old, dentry, flags) {
                Ok(new) => new,
                Err(error) => {
                    self.emptied_ns = Some(new_ns);
                    self.namespace_unlock();
                    return Err(error);
                }
            }
        };
        if user != self[ns].user_ns {
            self.lock_mnt_tree(new);
        }
        self[new_ns].root = Some(new);
        let root = self.task(task).root;
        let mut new_root = Path { mnt: new, dentry };
        if !is_empty {
            new_root = root;
            let copied = self.tree(new);
            let mut copies = copied.iter();
            let mut skipped = Vec::new();
            for old in self.tree(old) {
                let is_file = self[self[old].mnt_root].nsfs.as_deref() == Some("mnt");
                if is_file || skipped.contains(&self[old].mnt_parent) {
                    skipped.push(old);
                    continue;
                }
                if let Some(copy) = copies.next()
                    && old == root.mnt
                {
                    new_root.mnt = *copy;
                }
            }
        }
        for mnt in self.tree(new) {
            self.mnt_add_to_ns(new_ns, mnt);
        }
        let task = self.task_mut(task);
        task.root = new_root;
        task.ns = new_ns;
        task.user_ns = user;
        self.hook_namespace_born(new_ns);
        self.namespace_unlock();
        Ok(())
    }

    fn make_root(&mut self, task: &str, to: Propagation) -> Result<()> {
        let root = self.task(task).root;
        let result = self.do_change_type(task, root, to, true);
        self.namespace_unlock();
        result
    }

    pub(super) fn sys_unshare(&mut self, task: &str, how: Unshare) -> Result<()> {
        let user = self.task(task).user_ns;
        if how == Unshare::User {
            if self.is_chrooted(task) {
                return Err(Errno::PERM);
            }
            let new = User(self.users.len());
            self.users.push(user);
            return self.copy_mnt_ns(task, new, false);
        }
        if !self.ns_capable(task, user) {
            return Err(Errno::PERM);
        }
        self.copy_mnt_ns(task, user, how == Unshare::Empty)?;
        match how {
            Unshare::Slave => self.make_root(task, Propagation::Slave),
            Unshare::Private => self.make_root(task, Propagation::Private),
            Unshare::Empty => {
                self.task_mut(task).base.clear();
                Ok(())
            }
            Unshare::Peer | Unshare::User => Ok(()),
        }
    }

    /// What `/` is to whoever enters a namespace.
    pub(super) fn root_of(&self, ns: Ns) -> Option<Path> {
        let root = self[ns].root?;
        Some(self.follow_mounts(Path { mnt: root, dentry: self[root].mnt_root }))
    }

    fn is_chrooted(&self, task: &str) -> bool {
        let task = self.task(task);
        self.root_of(task.ns) != Some(task.root)
    }

    pub(super) fn sys_setns(&mut self, task: &str, ns: Ns) -> Result<()> {
        if self[ns].is_anon {
            return Err(Errno::INVAL);
        }
        let user = self.task(task).user_ns;
        if !self.ns_capable(task, self[ns].user_ns) || !self.ns_capable(task, user) {
            return Err(Errno::PERM);
        }
        let root = self.root_of(ns).ok_or(Errno::INVAL)?;
        let task = self.task_mut(task);
        task.ns = ns;
        task.root = root;
        Ok(())
    }

    pub(super) fn sys_chroot(&mut self, task: &str, path: Path) -> Result<()> {
        if !self[path.dentry].is_dir {
            return Err(Errno::NOTDIR);
        }
        let task = self.task_mut(task);
        task.root = path;
        task.base.clear();
        Ok(())
    }

    pub(super) fn sys_switch_root(&mut self, task: &str, at: &[u8]) -> Result<()> {
        let path = self.user_path(task, at)?;
        if !self[path.dentry].is_dir {
            return Err(Errno::NOTDIR);
        }
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        let root = self.task(task).root;
        let result = self.do_move_mount(task, path, root, false);
        self.namespace_unlock();
        result?;
        self.sys_chroot(task, path)
    }

    pub(super) fn sys_pivot_root(&mut self, task: &str, new: &[u8], old: &[u8]) -> Result<()> {
        let new = self.user_path(task, new)?;
        let old = self.user_path(task, old)?;
        if !self[new.dentry].is_dir || !self[old.dentry].is_dir {
            return Err(Errno::NOTDIR);
        }
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        let root = self.task(task).root;
        let result = self.path_pivot_root(task, root, new, old);
        self.namespace_unlock();
        if result.is_ok() {
            for task in self.tasks.values_mut().filter(|task| task.root == root) {
                task.root = new;
            }
            self.task_mut(task).base.clear();
        }
        result
    }

    fn path_pivot_root(&mut self, task: &str, root: Path, new: Path, old: Path) -> Result<()> {
        let ns = Some(self.task(task).ns);
        let place = self.lock_mount(old, false)?;
        let (new_mnt, root_mnt) = (new.mnt, root.mnt);
        let (ex_parent, root_parent) = (self[new_mnt].mnt_parent, self[root_mnt].mnt_parent);
        if [place.mnt, ex_parent, root_parent].iter().any(|mnt| self[*mnt].is_shared)
            || self[root_mnt].mnt_ns != ns
            || self[new_mnt].mnt_ns != ns
            || self[new_mnt].mnt_flags & MNT_LOCKED != 0
        {
            return Err(Errno::INVAL);
        }
        if self[new.dentry].is_deleted {
            return Err(Errno::NOENT);
        }
        if new_mnt == root_mnt || place.mnt == root_mnt {
            return Err(Errno::BUSY);
        }
        if root.dentry != self[root_mnt].mnt_root
            || !self.mnt_has_parent(root_mnt)
            || new.dentry != self[new_mnt].mnt_root
            || !self.mnt_has_parent(new_mnt)
            || !self.is_path_reachable(place.mnt, place.dentry, new)
            || !self.is_path_reachable(new_mnt, new.dentry, root)
        {
            return Err(Errno::INVAL);
        }
        self.umount_mnt(new_mnt);
        if self[root_mnt].mnt_flags & MNT_LOCKED != 0 {
            self[new_mnt].mnt_flags |= MNT_LOCKED;
            self[root_mnt].mnt_flags &= !MNT_LOCKED;
        }
        let at = self[root_mnt].mnt_mountpoint;
        self.attach_mnt(new_mnt, root_parent, at);
        self.umount_mnt(root_mnt);
        self.attach_mnt(root_mnt, place.mnt, place.dentry);
        Ok(())
    }
}
