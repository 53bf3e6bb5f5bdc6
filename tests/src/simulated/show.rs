//! `/proc/PID/mountinfo` of the simulated kernel: the oracle, which shares no code with `render`.

use super::kernel::{
    Den, Kernel, MNT_NOATIME, MNT_NODEV, MNT_NODIRATIME, MNT_NOEXEC, MNT_NOSUID, MNT_NOSYMFOLLOW,
    MNT_READONLY, MNT_RELATIME, Mnt, Ns, Path, SB_DIRSYNC, SB_LAZYTIME, SB_RDONLY, SB_SYNCHRONOUS,
};
use std::io::Write as _;

/// `show_mnt_opts`.
const MOUNT_WORDS: [(u32, &[u8]); 7] = [
    (MNT_NOSUID, b",nosuid"),
    (MNT_NODEV, b",nodev"),
    (MNT_NOEXEC, b",noexec"),
    (MNT_NOATIME, b",noatime"),
    (MNT_NODIRATIME, b",nodiratime"),
    (MNT_RELATIME, b",relatime"),
    (MNT_NOSYMFOLLOW, b",nosymfollow"),
];

/// `show_sb_opts`.
const SUPER_WORDS: [(u32, &[u8]); 3] =
    [(SB_SYNCHRONOUS, b",sync"), (SB_DIRSYNC, b",dirsync"), (SB_LAZYTIME, b",lazytime")];

impl Kernel {
    /// The file as a task with this root directory reads it.
    pub(super) fn mountinfo(&self, ns: Ns, root: Path) -> Vec<u8> {
        let mut out = Vec::new();
        for mnt in self[ns].mounts.values() {
            self.show_mountinfo(&mut out, *mnt, root);
        }
        out
    }

    fn show_mountinfo(&self, out: &mut Vec<u8>, mnt: Mnt, root: Path) {
        let mount = &self[mnt];
        let sb = &self[mount.mnt_sb];
        let Some(mountpoint) = self.path_from(mnt, root) else { return };
        let parent = self[mount.mnt_parent].mnt_id;
        let (major, minor) = (sb.s_dev >> 20, sb.s_dev & 0xf_ffff);
        let head = format!("{} {parent} {major}:{minor} ", mount.mnt_id);
        out.extend_from_slice(head.as_bytes());
        self.show_root(out, mount.mnt_root);
        out.push(b' ');
        escape(out, &mountpoint, b" \t\n\\");
        let is_readonly = mount.mnt_flags & MNT_READONLY != 0;
        out.extend_from_slice(if is_readonly { b" ro" } else { b" rw" });
        words(out, mount.mnt_flags, &MOUNT_WORDS);
        if mount.is_idmapped {
            out.extend_from_slice(b",idmapped");
        }
        self.show_propagation(out, mnt, root);
        out.extend_from_slice(b" - ");
        escape(out, sb.fs_type.as_bytes(), b" \t\n\\#");
        out.push(b' ');
        escape(out, &mount.mnt_devname, b" \t\n\\#");
        out.extend_from_slice(if sb.s_flags & SB_RDONLY != 0 { b" ro" } else { b" rw" });
        words(out, sb.s_flags, &SUPER_WORDS);
        let options = self.show_options(mount.mnt_sb);
        if !options.is_empty() {
            out.push(b',');
            out.extend_from_slice(&options);
        }
        out.push(b'\n');
    }

    /// The options as the file system writes them.
    pub(super) fn show_options(&self, sb: super::kernel::Sb) -> Vec<u8> {
        let options = self[sb].options.iter().map(|(key, value)| format!("{key}={value}"));
        options.collect::<Vec<_>>().join(",").into_bytes()
    }

    fn show_propagation(&self, out: &mut Vec<u8>, mnt: Mnt, root: Path) {
        let mount = &self[mnt];
        if mount.is_shared {
            let _ = write!(out, " shared:{}", mount.mnt_group_id);
        }
        if let (Some(master), Some(ns)) = (mount.mnt_master, mount.mnt_ns) {
            let master = self[master].mnt_group_id;
            let _ = write!(out, " master:{master}");
            let dominating = self.get_dominating_id(mnt, ns, root);
            if dominating != 0 && dominating != master {
                let _ = write!(out, " propagate_from:{dominating}");
            }
        }
        if mount.is_unbindable {
            out.extend_from_slice(b" unbindable");
        }
    }

    fn show_root(&self, out: &mut Vec<u8>, dentry: Den) {
        let known = &self[dentry];
        if let Some(kind) = &known.nsfs {
            let _ = write!(out, "{kind}:[{}]", known.ino);
            return;
        }
        let mut path = join(&self.names_between(dentry, dentry_root(self, dentry)));
        if known.is_deleted {
            path.extend_from_slice(b"//deleted");
        }
        escape(out, &path, b" \t\n\\");
    }

    /// The path of a mount from a root directory; `None` if that does not reach it.
    fn path_from(&self, mnt: Mnt, root: Path) -> Option<Vec<u8>> {
        let (mut at, mut dentry) = (mnt, self[mnt].mnt_root);
        let mut names: Vec<&[u8]> = Vec::new();
        loop {
            if at == root.mnt && dentry == root.dentry {
                names.reverse();
                return Some(join(&names));
            }
            if dentry == self[at].mnt_root {
                if !self.mnt_has_parent(at) {
                    return None;
                }
                dentry = self[at].mnt_mountpoint;
                at = self[at].mnt_parent;
                continue;
            }
            let parent = self[dentry].d_parent;
            if parent == dentry {
                return None;
            }
            names.push(&self[dentry].d_name);
            dentry = parent;
        }
    }
}

fn dentry_root(kernel: &Kernel, dentry: Den) -> Den {
    let mut at = dentry;
    while kernel[at].d_parent != at {
        at = kernel[at].d_parent;
    }
    at
}

fn join(names: &[&[u8]]) -> Vec<u8> {
    if names.is_empty() {
        return b"/".to_vec();
    }
    names.iter().flat_map(|name| [&b"/"[..], name].concat()).collect()
}

fn words(out: &mut Vec<u8>, flags: u32, words: &[(u32, &[u8])]) {
    for (flag, word) in words {
        if flags & flag != 0 {
            out.extend_from_slice(word);
        }
    }
}

fn escape(out: &mut Vec<u8>, text: &[u8], these: &[u8]) {
    for byte in text {
        if these.contains(byte) {
            let _ = write!(out, "\\{byte:03o}");
        } else {
            out.push(*byte);
        }
    }
}
