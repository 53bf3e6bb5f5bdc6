//! Descriptors: detached trees and namespaces that they keep.

use super::copy::{CL_COPY_MNT_NS_FILE, CL_COPY_UNBINDABLE, CL_SLAVE};
use super::kernel::{
    File, FileKey, Kernel, MNT_LOCKED, MNT_RELATIME, Mnt, Ns, Open, Path, Result, SB_RDONLY,
};
use super::umount::Umount;
use crate::command::{Bytes, Tree};
use rustix::io::Errno;

impl Kernel {
    pub(super) fn open(&mut self, task: &str, name: &str, open: Open) {
        let file = FileKey(self.key());
        self.files.insert(file, File { open, count: 1 });
        if let Some(before) = self.task_mut(task).held.insert(name.to_owned(), file) {
            self.fput(before);
        }
    }

    pub(super) fn held(&self, task: &str, name: &str) -> Option<FileKey> {
        self.task(task).held.get(name).copied()
    }

    /// The last descriptor of a detached tree takes the tree along.
    pub(super) fn fput(&mut self, file: FileKey) {
        let Some(known) = self.files.get_mut(&file) else { return };
        known.count -= 1;
        if known.count > 0 {
            return;
        }
        let open = known.open;
        self.files.remove(&file);
        if let Open::Path { path, needs_unmount: true } = open
            && self.is_anon_root(path.mnt)
        {
            self.emptied_ns = self[path.mnt].mnt_ns;
            self.umount_tree(path.mnt, Umount { connected: true, ..Umount::default() });
            self.namespace_unlock();
        }
    }

    pub(super) fn take(&mut self, task: &str, name: &str, from: &str) -> Result<()> {
        let file = self.held(from, name).ok_or(Errno::BADF)?;
        if let Some(known) = self.files.get_mut(&file) {
            known.count += 1;
        }
        if let Some(before) = self.task_mut(task).held.insert(name.to_owned(), file) {
            self.fput(before);
        }
        Ok(())
    }

    fn anonymous(&mut self, task: &str) -> Ns {
        let ns = self.task(task).ns;
        let user = self[ns].user_ns;
        self.alloc_mnt_ns(user, true)
    }

    /// open_tree(2). What it opens is to be held by the caller.
    pub(super) fn sys_open_tree(
        &mut self,
        task: &str,
        path: Path,
        tree: Tree,
        recurse: bool,
    ) -> Result<Open> {
        match tree {
            Tree::Attached if recurse => Err(Errno::INVAL),
            Tree::Attached => Ok(Open::Path { path, needs_unmount: false }),
            Tree::Clone if !self.may_mount(task) => Err(Errno::PERM),
            Tree::Clone => {
                let result = self.open_detached_copy(task, path, recurse);
                self.namespace_unlock();
                result
            }
            Tree::Namespace => {
                let result = self.create_new_namespace(task, path, recurse, false);
                self.namespace_unlock();
                result.map(Open::Namespace)
            }
        }
    }

    fn open_detached_copy(&mut self, task: &str, path: Path, recurse: bool) -> Result<Open> {
        let ns = self.anonymous(task);
        if let Some(source) = self[path.mnt].mnt_ns {
            let is_anon = self[source].is_anon;
            self[ns].seq_origin =
                if is_anon { self[source].seq_origin } else { self[source].ns_id };
        }
        match self.loopback_copy(task, path, recurse, CL_COPY_MNT_NS_FILE) {
            Ok(mnt) => {
                for each in self.tree(mnt) {
                    self.mnt_add_to_ns(ns, each);
                }
                self[ns].root = Some(mnt);
                let path = Path { mnt, dentry: path.dentry };
                Ok(Open::Path { path, needs_unmount: true })
            }
            Err(error) => {
                self.emptied_ns = Some(ns);
                Err(error)
            }
        }
    }

    /// A namespace that no task is in: a copy on top of a copy of the root of all.
    fn create_new_namespace(
        &mut self,
        task: &str,
        path: Path,
        recurse: bool,
        is_new: bool,
    ) -> Result<Ns> {
        if !self[path.dentry].is_dir {
            return Err(Errno::NOTDIR);
        }
        let (own, user) = (self.task(task).ns, self.task(task).user_ns);
        if !self.ns_capable(task, user) {
            return Err(Errno::PERM);
        }
        let is_foreign = user != self[own].user_ns;
        let flags = if is_foreign { CL_SLAVE | CL_COPY_UNBINDABLE } else { 0 };
        let old_root = self[own].root.expect("the caller's namespace has a root");
        let dentry = self[old_root].mnt_root;
        let ns = self.alloc_mnt_ns(user, false);
        let root = self.clone_mnt(old_root, dentry, flags);
        let mut at = old_root;
        let mut is_locked = false;
        while let Some(over) = self[at].overmount {
            is_locked |= self[over].mnt_flags & MNT_LOCKED != 0;
            at = over;
        }
        let copy = if is_new {
            Ok(self.clone_mnt(path.mnt, path.dentry, flags))
        } else if is_foreign && !recurse && self.has_children(path) {
            Err(Errno::INVAL)
        } else {
            self.loopback_copy(task, path, recurse, flags)
        };
        let copy = match copy {
            Ok(copy) => copy,
            Err(error) => {
                self.emptied_ns = Some(ns);
                self.umount_tree(root, Umount::default());
                return Err(error);
            }
        };
        if is_locked {
            self[copy].mnt_flags |= MNT_LOCKED;
        }
        self.attach_mnt(copy, root, dentry);
        if is_foreign {
            self.lock_mnt_tree(root);
        }
        for each in self.tree(root) {
            self.mnt_add_to_ns(ns, each);
        }
        self[ns].root = Some(root);
        self.hook_namespace_born(ns);
        Ok(ns)
    }

    fn has_children(&self, path: Path) -> bool {
        let children = &self[path.mnt].mnt_mounts;
        children.iter().any(|child| self.is_subdir(self[*child].mnt_mountpoint, path.dentry))
    }

    /// fsopen(2), fsconfig(2), fsmount(2).
    pub(super) fn sys_fsmount(
        &mut self,
        task: &str,
        fs_type: &str,
        parameters: &[Bytes],
        as_namespace: bool,
    ) -> Result<Open> {
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        let source = parameters.iter().find_map(|word| word.strip_prefix(b"source="));
        let source = source.unwrap_or(b"none").to_vec();
        let is_readonly = parameters.iter().any(|word| word == b"ro");
        let rest: Vec<Bytes> =
            parameters.iter().filter(|word| *word != b"ro" && *word != b"rw").cloned().collect();
        let sb_flags = if is_readonly { SB_RDONLY } else { 0 };
        let sb = self.get_tree(task, fs_type, sb_flags, &rest)?;
        let root = self[sb].s_root;
        let mnt = self.setup_mnt(root, &source);
        self[mnt].mnt_flags = MNT_RELATIME;
        let path = Path { mnt, dentry: root };
        if as_namespace {
            let result = self.create_new_namespace(task, path, false, true);
            self.namespace_unlock();
            self.drop_unattached(mnt);
            return result.map(Open::Namespace);
        }
        let ns = self.anonymous(task);
        self[ns].root = Some(mnt);
        self.mnt_add_to_ns(ns, mnt);
        Ok(Open::Path { path, needs_unmount: true })
    }

    pub(super) fn sys_move_mount(
        &mut self,
        task: &str,
        from: Path,
        to: Path,
        (beneath, set_group): (bool, bool),
    ) -> Result<()> {
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        self.hooks.stash = self.hooks.is_attached.then_some(to.mnt);
        let result = if set_group {
            self.do_set_group(task, from, to)
        } else {
            self.do_move_mount(task, from, to, beneath)
        };
        self.namespace_unlock();
        self.hooks.stash = None;
        result
    }

    /// The kernel's own mount of nsfs, and the dentry of a namespace on it.
    pub(super) fn nsfs_path(&mut self, kind: &str, ino: u64) -> Path {
        let mnt: Mnt = self.internal["nsfs"];
        let known = self
            .all_dentries()
            .find(|(_, dentry)| dentry.nsfs.as_deref() == Some(kind) && dentry.ino == ino)
            .map(|(key, _)| key);
        let dentry = known.unwrap_or_else(|| {
            let sb = self[mnt].mnt_sb;
            let dentry = self.alloc_dentry(sb, None, b"", false);
            self[dentry].nsfs = Some(kind.to_owned());
            self[dentry].ino = ino;
            dentry
        });
        Path { mnt, dentry }
    }
}
