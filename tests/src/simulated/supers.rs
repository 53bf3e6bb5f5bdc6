//! Super blocks, their options, and attributes of mounts.

use super::kernel::{
    Kernel, MNT_ATIME_MASK, MNT_LOCK_ATIME, MNT_LOCK_NODEV, MNT_LOCK_NOEXEC, MNT_LOCK_NOSUID,
    MNT_LOCK_READONLY, MNT_NOATIME, MNT_NODEV, MNT_NODIRATIME, MNT_NOEXEC, MNT_NOSUID,
    MNT_NOSYMFOLLOW, MNT_READONLY, MNT_RELATIME, MNT_USER_SETTABLE_MASK, Mnt, Path, Result,
    SB_DIRSYNC, SB_LAZYTIME, SB_RDONLY, SB_SYNCHRONOUS, Sb, User,
};
use crate::command::{Attributes, Bytes, Propagation};
use crate::flags;
use mountwatch_common::hook::Hook;
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// `MS_RMT_MASK`: what a remount sets.
const MS_RMT_MASK: u32 = SB_RDONLY | SB_SYNCHRONOUS | SB_LAZYTIME;
/// File systems of which there is one instance.
const SINGLE: [&str; 2] = ["proc", "cgroup2"];

/// What mount_setattr(2) does to each mount.
#[derive(Clone, Copy, Debug)]
struct MountKattr {
    attr_set: u32,
    attr_clr: u32,
    propagation: Option<Propagation>,
    userns: Option<User>,
}

impl Kernel {
    pub(super) fn has_fs_type(name: &str) -> bool {
        name == "tmpfs" || SINGLE.contains(&name)
    }

    /// `vfs_get_tree`: a super block with these options.
    pub(super) fn get_tree(
        &mut self,
        task: &str,
        fs_type: &str,
        sb_flags: u32,
        data: &[Bytes],
    ) -> Result<Sb> {
        if !Self::has_fs_type(fs_type) {
            return Err(Errno::NODEV);
        }
        let options = parse_options(data)?;
        if SINGLE.contains(&fs_type) {
            let known = self.all_supers().find(|(_, sb)| sb.fs_type == fs_type);
            if let Some((key, _)) = known {
                return Ok(key);
            }
        }
        let user = self.task(task).user_ns;
        let sb = self.alloc_super(fs_type, user);
        self[sb].s_flags = sb_flags;
        self[sb].options.extend(options);
        if SINGLE.contains(&fs_type) {
            self[sb].is_kept = true;
            self.fill_single(sb);
        }
        Ok(sb)
    }

    /// What a scenario looks for in `/proc`.
    fn fill_single(&mut self, sb: Sb) {
        if self[sb].fs_type == "proc" {
            let root = self[sb].s_root;
            let sys = self.alloc_dentry(sb, Some(root), b"sys", true);
            let kernel = self.alloc_dentry(sb, Some(sys), b"kernel", true);
            self.alloc_dentry(sb, Some(kernel), b"osrelease", false);
        }
    }

    pub(super) fn sys_mount(
        &mut self,
        task: &str,
        (fs_type, source): (&str, &[u8]),
        (ms, data): (MountFlags, &[Bytes]),
        at: &[u8],
    ) -> Result<()> {
        let path = self.user_path(task, at)?;
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        let mnt_flags = mnt_flags_of(ms);
        let sb = self.get_tree(task, fs_type, sb_flags_of(ms), data)?;
        let root = self[sb].s_root;
        let mnt = self.setup_mnt(root, source);
        let result = self.do_add_mount(task, mnt, path, mnt_flags);
        if result.is_err() {
            self.drop_unattached(mnt);
        }
        self.namespace_unlock();
        result
    }

    pub(super) fn sys_remount(
        &mut self,
        task: &str,
        is_bind: bool,
        (ms, data): (MountFlags, &[Bytes]),
        at: &[u8],
    ) -> Result<()> {
        let path = self.user_path(task, at)?;
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        let mnt = path.mnt;
        let mut mnt_flags = mnt_flags_of(ms);
        let atime = MountFlags::NOATIME
            | MountFlags::NODIRATIME
            | MountFlags::RELATIME
            | MountFlags::STRICTATIME;
        if !ms.intersects(atime) {
            mnt_flags &= !MNT_ATIME_MASK;
            mnt_flags |= self[mnt].mnt_flags & MNT_ATIME_MASK;
        }
        if self[mnt].mnt_ns != Some(self.task(task).ns) || path.dentry != self[mnt].mnt_root {
            return Err(Errno::INVAL);
        }
        if !self.can_change_locked_flags(mnt, mnt_flags) {
            return Err(Errno::PERM);
        }
        let result = if is_bind {
            self.set_mount_attributes(mnt, mnt_flags);
            Ok(())
        } else {
            self.do_remount_super(task, mnt, sb_flags_of(ms), data).inspect(|()| {
                self.set_mount_attributes(mnt, mnt_flags);
            })
        };
        self.hook_remount(mnt);
        result
    }

    fn set_mount_attributes(&mut self, mnt: Mnt, mnt_flags: u32) {
        let mount = &mut self[mnt];
        mount.mnt_flags = (mount.mnt_flags & !MNT_USER_SETTABLE_MASK) | mnt_flags;
    }

    fn do_remount_super(
        &mut self,
        task: &str,
        mnt: Mnt,
        sb_flags: u32,
        data: &[Bytes],
    ) -> Result<()> {
        let options = parse_options(data)?;
        let sb = self[mnt].mnt_sb;
        if !self.ns_capable(task, self[sb].s_user_ns) {
            return Err(Errno::PERM);
        }
        let super_block = &mut self[sb];
        super_block.s_flags = (super_block.s_flags & !MS_RMT_MASK) | (sb_flags & MS_RMT_MASK);
        super_block.options.extend(options);
        self.hook_reconfigure(sb);
        Ok(())
    }

    pub(super) fn sys_fspick(&mut self, task: &str, path: Path, data: &[Bytes]) -> Result<()> {
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        if path.dentry != self[path.mnt].mnt_root {
            return Err(Errno::INVAL);
        }
        let sb = self[path.mnt].mnt_sb;
        let (mut flags, mut rest) = (self[sb].s_flags, Vec::new());
        for word in data {
            match &word[..] {
                b"ro" => flags |= SB_RDONLY,
                b"rw" => flags &= !SB_RDONLY,
                _ => rest.push(word.clone()),
            }
        }
        let options = parse_options(&rest)?;
        if !self.ns_capable(task, self[sb].s_user_ns) {
            return Err(Errno::PERM);
        }
        self[sb].s_flags = flags;
        self[sb].options.extend(options);
        self.hook_reconfigure(sb);
        Ok(())
    }

    fn can_change_locked_flags(&self, mnt: Mnt, mnt_flags: u32) -> bool {
        let flags = self[mnt].mnt_flags;
        let keeps = |lock: u32, flag: u32| flags & lock == 0 || mnt_flags & flag != 0;
        let keeps_atime =
            flags & MNT_LOCK_ATIME == 0 || flags & MNT_ATIME_MASK == mnt_flags & MNT_ATIME_MASK;
        keeps(MNT_LOCK_READONLY, MNT_READONLY)
            && keeps(MNT_LOCK_NODEV, MNT_NODEV)
            && keeps(MNT_LOCK_NOSUID, MNT_NOSUID)
            && keeps(MNT_LOCK_NOEXEC, MNT_NOEXEC)
            && keeps_atime
    }

    /// mount_setattr(2) and the second half of open_tree_attr(2), at a path that was looked up.
    pub(super) fn sys_setattr(
        &mut self,
        task: &str,
        path: Result<Path>,
        attributes: &Attributes,
        recurse: bool,
    ) -> Result<()> {
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        let kattr = self.kattr(task, attributes)?;
        let path = path?;
        if path.dentry != self[path.mnt].mnt_root {
            return Err(Errno::INVAL);
        }
        let result = self.do_mount_setattr(task, path.mnt, kattr, recurse);
        self.namespace_unlock();
        result
    }

    pub(super) fn setattr_returned(&mut self, task: &str, hook: Hook) {
        let ns = self.task(task).ns;
        self.hook_setattr(ns, hook);
    }

    fn kattr(&self, task: &str, attributes: &Attributes) -> Result<MountKattr> {
        let (mut set, mut clear) = (0, 0);
        for (names, is_set) in [(&attributes.set, true), (&attributes.clear, false)] {
            for name in names {
                let (value, group) = flags::attribute(name).ok_or(Errno::INVAL)?;
                clear |= group;
                *(if is_set { &mut set } else { &mut clear }) |= value;
            }
        }
        let mut kattr = MountKattr {
            attr_set: mnt_flags_of_attr(set),
            attr_clr: mnt_flags_of_attr(clear),
            propagation: attributes.propagation,
            userns: None,
        };
        if clear & ATTR_ATIME != 0 {
            kattr.attr_clr |= MNT_RELATIME | MNT_NOATIME;
            kattr.attr_set |= match set & ATTR_ATIME {
                0 => MNT_RELATIME,
                0x10 => MNT_NOATIME,
                _ => 0,
            };
        }
        if let Some(other) = &attributes.idmap_of {
            let user = self.task(other).user_ns;
            if user == User(0) || !self.ns_capable(task, user) {
                return Err(Errno::PERM);
            }
            kattr.userns = Some(user);
        }
        Ok(kattr)
    }

    fn do_mount_setattr(
        &mut self,
        task: &str,
        mnt: Mnt,
        kattr: MountKattr,
        recurse: bool,
    ) -> Result<()> {
        if !self.is_anon_root(mnt) && self[mnt].mnt_ns != Some(self.task(task).ns) {
            return Err(Errno::INVAL);
        }
        if kattr.propagation == Some(Propagation::Shared) {
            self.invent_group_ids(mnt, recurse);
        }
        let mounts = if recurse { self.tree(mnt) } else { vec![mnt] };
        let new_flags = |flags: u32| (flags & !kattr.attr_clr) | kattr.attr_set;
        for each in &mounts {
            let flags = new_flags(self[*each].mnt_flags);
            let result = if self.can_change_locked_flags(*each, flags) {
                self.can_idmap_mount(*each, kattr)
            } else {
                Err(Errno::PERM)
            };
            if let Err(error) = result {
                if kattr.propagation.is_some() {
                    self.cleanup_group_ids(mnt);
                }
                return Err(error);
            }
        }
        for each in mounts {
            self[each].mnt_flags = new_flags(self[each].mnt_flags);
            self[each].is_idmapped |= kattr.userns.is_some();
            if let Some(propagation) = kattr.propagation {
                self.change_mnt_propagation(each, propagation);
            }
        }
        Ok(())
    }

    fn can_idmap_mount(&self, mnt: Mnt, kattr: MountKattr) -> Result<()> {
        let Some(user) = kattr.userns else { return Ok(()) };
        let sb = &self[self[mnt].mnt_sb];
        if user == sb.s_user_ns || sb.fs_type != "tmpfs" {
            return Err(Errno::INVAL);
        }
        if self[mnt].is_idmapped {
            return Err(Errno::PERM);
        }
        let is_anon = self[mnt].mnt_ns.is_some_and(|ns| self[ns].is_anon);
        if is_anon { Ok(()) } else { Err(Errno::INVAL) }
    }
}

const ATTR_ATIME: u64 = 0x70;

fn mnt_flags_of_attr(attr: u64) -> u32 {
    const BITS: [(u64, u32); 6] = [
        (0x01, MNT_READONLY),
        (0x02, MNT_NOSUID),
        (0x04, MNT_NODEV),
        (0x08, MNT_NOEXEC),
        (0x80, MNT_NODIRATIME),
        (0x20_0000, MNT_NOSYMFOLLOW),
    ];
    BITS.iter().filter(|(bit, _)| attr & bit != 0).fold(0, |flags, (_, flag)| flags | flag)
}

fn mnt_flags_of(ms: MountFlags) -> u32 {
    const BITS: [(u32, u32); 7] = [
        (1, MNT_READONLY),
        (1 << 1, MNT_NOSUID),
        (1 << 2, MNT_NODEV),
        (1 << 3, MNT_NOEXEC),
        (1 << 8, MNT_NOSYMFOLLOW),
        (1 << 10, MNT_NOATIME),
        (1 << 11, MNT_NODIRATIME),
    ];
    let start = if ms.contains(MountFlags::NOATIME) { 0 } else { MNT_RELATIME };
    let mut flags = BITS
        .iter()
        .filter(|(bit, _)| ms.bits() & bit != 0)
        .fold(start, |flags, (_, flag)| flags | flag);
    if ms.contains(MountFlags::STRICTATIME) {
        flags &= !(MNT_RELATIME | MNT_NOATIME);
    }
    flags
}

fn sb_flags_of(ms: MountFlags) -> u32 {
    ms.bits() & (SB_RDONLY | SB_SYNCHRONOUS | SB_DIRSYNC | SB_LAZYTIME)
}

/// Options of tmpfs as `show_options` writes them.
fn parse_options(data: &[Bytes]) -> Result<Vec<(String, String)>> {
    data.iter()
        .filter_map(|option| {
            let text = String::from_utf8_lossy(option).into_owned();
            let (key, value) = text.split_once('=').unwrap_or((&text, ""));
            match key {
                "source" => None,
                "size" => {
                    Some(size_in_kib(value).map(|kib| ("size".to_owned(), format!("{kib}k"))))
                }
                "nr_inodes" | "mode" => {
                    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                    let option = (key.to_owned(), value.to_owned());
                    Some(if is_number { Ok(option) } else { Err(Errno::INVAL) })
                }
                _ => Some(Err(Errno::INVAL)),
            }
        })
        .collect()
}

fn size_in_kib(text: &str) -> Result<u64> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 1 << 10),
        Some(b'g') => (&text[..text.len() - 1], 1 << 20),
        _ => return Err(Errno::INVAL),
    };
    number.parse::<u64>().map(|number| number * unit).map_err(|_| Errno::INVAL)
}
