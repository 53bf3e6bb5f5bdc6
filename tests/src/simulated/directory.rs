//! Directory entries: what changes the names that mounts pin.

use super::kernel::{Den, Kernel, Path, Result};
use rustix::io::Errno;

impl Kernel {
    fn want_write(&self, path: Path) -> Result<()> {
        if self.is_readonly(path.mnt) { Err(Errno::ROFS) } else { Ok(()) }
    }

    /// File systems of the kernel's own take no new names.
    fn may_create(&self, directory: Den) -> Result<()> {
        if self[directory].is_deleted {
            return Err(Errno::NOENT);
        }
        let fs_type = &self[self[directory].d_sb].fs_type;
        if fs_type == "tmpfs" || fs_type == "rootfs" { Ok(()) } else { Err(Errno::PERM) }
    }

    pub(super) fn sys_mkdir(&mut self, task: &str, text: &[u8]) -> Result<()> {
        let (path, name) = self.user_parent(task, text)?;
        if self[path.dentry].children.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.want_write(path)?;
        self.may_create(path.dentry)?;
        let sb = self[path.dentry].d_sb;
        self.alloc_dentry(sb, Some(path.dentry), name, true);
        Ok(())
    }

    /// open(2) for writing with O_CREAT.
    pub(super) fn sys_touch(&mut self, task: &str, text: &[u8]) -> Result<()> {
        let (path, name) = self.user_parent(task, text)?;
        let Some(found) = self[path.dentry].children.get(name).copied() else {
            self.want_write(path)?;
            self.may_create(path.dentry)?;
            let sb = self[path.dentry].d_sb;
            self.alloc_dentry(sb, Some(path.dentry), name, false);
            return Ok(());
        };
        let found = self.follow_mounts(Path { mnt: path.mnt, dentry: found });
        if self[found.dentry].is_dir {
            return Err(Errno::ISDIR);
        }
        self.want_write(found)
    }

    fn may_delete(&self, dentry: Den, is_dir: bool) -> Result<()> {
        match (is_dir, self[dentry].is_dir) {
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            _ => Ok(()),
        }
    }

    pub(super) fn sys_remove(&mut self, task: &str, text: &[u8], is_dir: bool) -> Result<()> {
        let (path, name) = self.user_parent(task, text)?;
        self.want_write(path)?;
        let dentry = self[path.dentry].children.get(name).copied().ok_or(Errno::NOENT)?;
        self.may_delete(dentry, is_dir)?;
        if self.is_local_mountpoint(task, dentry) {
            return Err(Errno::BUSY);
        }
        if !self[dentry].children.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.detach_mounts(dentry);
        self.d_delete(dentry);
        self.hook_delete(dentry);
        Ok(())
    }

    fn d_delete(&mut self, dentry: Den) {
        self.unlink_name(dentry);
        self[dentry].is_deleted = true;
    }

    fn unlink_name(&mut self, dentry: Den) {
        let (parent, name) = (self[dentry].d_parent, self[dentry].d_name.clone());
        if self[parent].children.get(&name) == Some(&dentry) {
            self[parent].children.remove(&name);
        }
    }

    fn put_name(&mut self, dentry: Den, parent: Den, name: Vec<u8>) {
        self[parent].children.insert(name.clone(), dentry);
        let dentry = &mut self[dentry];
        dentry.d_parent = parent;
        dentry.d_name = name;
    }

    pub(super) fn sys_rename(
        &mut self,
        task: &str,
        from: &[u8],
        to: &[u8],
        exchange: bool,
    ) -> Result<()> {
        let busy = |error| if error == Errno::EXIST { Errno::BUSY } else { error };
        let (old_path, old_name) = self.user_parent(task, from).map_err(busy)?;
        let (new_path, new_name) = self.user_parent(task, to).map_err(busy)?;
        if old_path.mnt != new_path.mnt {
            return Err(Errno::XDEV);
        }
        self.want_write(old_path)?;
        let (old_dir, new_dir) = (old_path.dentry, new_path.dentry);
        let old = self[old_dir].children.get(old_name).copied().ok_or(Errno::NOENT)?;
        let new = self[new_dir].children.get(new_name).copied();
        if exchange && new.is_none() {
            return Err(Errno::NOENT);
        }
        if old_dir != new_dir && self.is_subdir(new_dir, old) {
            return Err(Errno::INVAL);
        }
        if let Some(new) = new.filter(|new| old_dir != new_dir && self.is_subdir(old_dir, *new)) {
            debug_assert!(self[new].is_dir, "something is in it");
            return Err(if exchange { Errno::INVAL } else { Errno::NOTEMPTY });
        }
        self.vfs_rename(task, old, new, (new_dir, new_name), exchange)
    }

    fn vfs_rename(
        &mut self,
        task: &str,
        old: Den,
        new: Option<Den>,
        (new_dir, new_name): (Den, &[u8]),
        exchange: bool,
    ) -> Result<()> {
        if new == Some(old) {
            return Ok(());
        }
        match new {
            Some(new) if !exchange => self.may_delete(new, self[old].is_dir)?,
            Some(_) => {}
            None => self.may_create(new_dir)?,
        }
        if self.is_local_mountpoint(task, old)
            || new.is_some_and(|new| self.is_local_mountpoint(task, new))
        {
            return Err(Errno::BUSY);
        }
        let (old_dir, old_name) = (self[old].d_parent, self[old].d_name.clone());
        match new {
            Some(new) if exchange => {
                self.put_name(new, old_dir, old_name);
                self.put_name(old, new_dir, new_name.to_vec());
                self.hook_rename(old, Some(new));
            }
            Some(new) => {
                if !self[new].children.is_empty() {
                    return Err(Errno::NOTEMPTY);
                }
                self.detach_mounts(new);
                self.d_delete(new);
                self.unlink_name(old);
                self.put_name(old, new_dir, new_name.to_vec());
                self.hook_rename(old, Some(new));
            }
            None => {
                self.unlink_name(old);
                self.put_name(old, new_dir, new_name.to_vec());
                self.hook_rename(old, None);
            }
        }
        Ok(())
    }
}
