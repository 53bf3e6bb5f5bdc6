//! Paths, and what a task may do. `fs/namei.c`.

use super::kernel::{Den, Kernel, Mnt, Path, Result, User};
use rustix::io::Errno;

const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4_096;

impl Kernel {
    pub(super) fn ns_capable(&self, task: &str, user: User) -> bool {
        let own = self.task(task).user_ns;
        let mut at = user;
        loop {
            if at == own {
                return true;
            }
            if at == User(0) {
                return false;
            }
            at = self.users[at.0];
        }
    }

    pub(super) fn may_mount(&self, task: &str) -> bool {
        self.ns_capable(task, self[self.task(task).ns].user_ns)
    }

    pub(super) fn follow_mounts(&self, path: Path) -> Path {
        let mut path = path;
        while let Some(mnt) = self.lookup_mnt(path.mnt, path.dentry) {
            path = Path { mnt, dentry: self[mnt].mnt_root };
        }
        path
    }

    fn step(&self, path: Path, name: &[u8]) -> Result<Path> {
        if !self[path.dentry].is_dir {
            return Err(Errno::NOTDIR);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if name == b"." {
            return Ok(path);
        }
        let dentry = self[path.dentry].children.get(name).copied().ok_or(Errno::NOENT)?;
        Ok(self.follow_mounts(Path { mnt: path.mnt, dentry }))
    }

    /// What a path names, with what is mounted there.
    pub(super) fn user_path(&self, task: &str, text: &[u8]) -> Result<Path> {
        if text.len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let mut path = self.task(task).root;
        for name in text.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            path = self.step(path, name)?;
        }
        Ok(path)
    }

    /// The directory that a path's last name is in, and that name.
    pub(super) fn user_parent<'a>(&self, task: &str, text: &'a [u8]) -> Result<(Path, &'a [u8])> {
        if text.len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let mut names: Vec<&[u8]> =
            text.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let last = names.pop().ok_or(Errno::EXIST)?;
        let mut path = self.task(task).root;
        for name in names {
            path = self.step(path, name)?;
        }
        if !self[path.dentry].is_dir {
            return Err(Errno::NOTDIR);
        }
        if last.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        Ok((path, last))
    }

    /// Whether something is mounted on a dentry in this namespace.
    pub(super) fn is_local_mountpoint(&self, task: &str, dentry: Den) -> bool {
        let ns = self.task(task).ns;
        self[ns]
            .mounts
            .values()
            .any(|mnt| self[*mnt].mnt_mountpoint == dentry && self[*mnt].mnt_parent != *mnt)
    }

    /// The names from a dentry up to another one, the nearest to the top first.
    pub(super) fn names_between(&self, dentry: Den, top: Den) -> Vec<&[u8]> {
        let mut names = Vec::new();
        let mut at = dentry;
        while at != top && self[at].d_parent != at {
            names.push(&self[at].d_name[..]);
            at = self[at].d_parent;
        }
        names.reverse();
        names
    }

    /// Something other than umount(2) used this mount.
    pub(super) fn clear_expiry_marks(&mut self) {
        let marked: Vec<Mnt> = self
            .all_mounts()
            .filter(|(_, mount)| mount.mnt_expiry_mark)
            .map(|(key, _)| key)
            .collect();
        for mnt in marked {
            self[mnt].mnt_expiry_mark = false;
        }
    }
}
