//! How what was left behind is taken away: commands that can be pasted into a shell.

use super::order::Turn;
use crate::model::{Bytes, Holder, Holders, Mount, MountKey, NamespaceInode, NamespaceKey};
use crate::query::Viewpoint;
use crate::state::Tables;
use hashbrown::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// How a mount is unmounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// By umount(8) of a path.
    Path {
        /// Where that is to be run.
        entrance: Entrance,
        /// The path there.
        path: Vec<u8>,
    },
    /// It goes as another mount is unmounted, which comes before it.
    With(MountKey),
    /// No path leads to it.
    Unreachable,
    /// Nobody is known who holds its namespace, so nothing leads into that.
    NoEntrance,
}

/// The way into a mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// It is that of whoever asks.
    Own,
    /// A thread that is in it.
    Thread(u32),
    /// A descriptor of a process.
    Descriptor {
        /// The process.
        pid: u32,
        /// The number of the descriptor.
        fd: u32,
    },
    /// A mount of nsfs in the namespace of whoever asks, by its path there.
    Mount(Vec<u8>),
}

/// What keeps a mount namespace alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// Processes that are in it.
    Processes {
        /// The lowest process ID of them.
        pid: u32,
        /// `comm` of that one.
        comm: Bytes,
        /// How many there are.
        count: u32,
    },
    /// A descriptor.
    Descriptor {
        /// The process that has it.
        pid: u32,
        /// Its number; `None` if that is not known.
        fd: Option<u32>,
    },
    /// A mount of nsfs, by its path in the namespace of whoever asks.
    Mount(Vec<u8>),
    /// Nothing that is known.
    Unknown,
}

impl Unmount {
    /// The line for a shell, if there is one.
    pub fn command(&self) -> Option<String> {
        let Self::Path { entrance, path } = self else { return None };
        // A command substitution takes newlines at the end away.
        let path = if path.ends_with(b"\n") { [path, &b"/."[..]].concat() } else { path.clone() };
        Some(format!("{}umount {}", entrance.command(), quoted(&path)))
    }
}

impl Entrance {
    fn command(&self) -> String {
        match self {
            Self::Own => String::new(),
            Self::Thread(tid) => format!("nsenter --mount=/proc/{tid}/ns/mnt "),
            Self::Descriptor { pid, fd } => format!("nsenter --mount=/proc/{pid}/fd/{fd} "),
            Self::Mount(path) => format!("nsenter --mount={} ", quoted(path)),
        }
    }
}

/// A text as one word of a POSIX shell that is safe on a terminal too.
pub fn quoted(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%=".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        Ok(text)
            if text.chars().all(|char| char.is_alphanumeric() || (' '..='~').contains(&char)) =>
        {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let mut line = String::from("\"$(printf '");
            for (at, byte) in bytes.iter().enumerate() {
                match byte {
                    b'%' => line.push_str("%%"),
                    // At the start it would be an option.
                    byte if is_plain(byte) && (at > 0 || *byte != b'-') => {
                        line.push(char::from(*byte));
                    }
                    // Writing to a `String` cannot fail.
                    byte => drop(write!(line, "\\{byte:03o}")),
                }
            }
            line + "')\""
        }
    }
}

/// What has to be known of the rest of the host.
pub(super) struct Around<'a> {
    tables: &'a Tables,
    from: Viewpoint,
    holders: &'a Holders,
    left: HashSet<MountKey>,
    /// Paths of mounts of nsfs in the own namespace.
    bound: HashMap<NamespaceInode, Vec<u8>>,
}

impl<'a> Around<'a> {
    pub(super) fn new(
        tables: &'a Tables,
        from: Viewpoint,
        holders: &'a Holders,
        left: &[Arc<Mount>],
    ) -> Self {
        let left = left.iter().map(|mount| mount.key).collect();
        Self { tables, from, holders, left, bound: bound(tables, from) }
    }

    /// The mountpoint as seen from the own root directory, or from that of the mount's namespace.
    pub(super) fn path(&self, mount: &Mount) -> Option<Vec<u8>> {
        self.tables.path_of(mount.key, self.view(mount.namespace)?)
    }

    fn view(&self, namespace: NamespaceKey) -> Option<Viewpoint> {
        if namespace == self.from.namespace {
            return Some(self.from);
        }
        self.tables.viewpoint_of_namespace(namespace)
    }

    /// Mounts on this one that were not left behind.
    pub(super) fn foreign_children(&self, mount: MountKey) -> usize {
        self.tables.children(mount).filter(|child| !self.left.contains(&child.key)).count()
    }

    pub(super) fn unmount(&self, turn: &Turn, path: Option<&[u8]>) -> Unmount {
        if let Some(key) = turn.goes_with {
            return Unmount::With(key);
        }
        let mount = &turn.mount;
        let Some(path) = path.filter(|path| self.leads_to(path, mount)) else {
            return Unmount::Unreachable;
        };
        match self.entrance(mount.namespace) {
            Some(entrance) => Unmount::Path { entrance, path: path.to_vec() },
            None => Unmount::NoEntrance,
        }
    }

    /// Whether a path ends on a mount, as soon as those before it are gone.
    fn leads_to(&self, path: &[u8], mount: &Mount) -> bool {
        let covering = self.view(mount.namespace).and_then(|from| self.tables.covering(path, from));
        covering.is_some_and(|end| {
            end.is_mountpoint && (end.mount.key == mount.key || self.left.contains(&end.mount.key))
        })
    }

    fn entrance(&self, namespace: NamespaceKey) -> Option<Entrance> {
        if namespace == self.from.namespace {
            return Some(Entrance::Own);
        }
        let inode = self.tables.namespace(namespace)?.inode;
        match self.holders.get(&inode) {
            Some(Holder { tid: Some(tid), .. }) => return Some(Entrance::Thread(*tid)),
            Some(Holder { descriptor_of: Some(pid), descriptor: Some(fd), .. }) => {
                return Some(Entrance::Descriptor { pid: *pid, fd: *fd });
            }
            _ => {}
        }
        self.bound.get(&inode).map(|path| Entrance::Mount(path.clone()))
    }

    /// What keeps a namespace alive.
    pub(super) fn release(&self, inode: NamespaceInode) -> Release {
        match (self.holders.get(&inode), self.bound.get(&inode)) {
            (Some(Holder { pid: Some(pid), comm, processes, .. }), _) => {
                Release::Processes { pid: *pid, comm: comm.clone(), count: *processes }
            }
            (Some(Holder { descriptor_of: Some(pid), descriptor, .. }), _) => {
                Release::Descriptor { pid: *pid, fd: *descriptor }
            }
            (_, Some(path)) => Release::Mount(path.clone()),
            _ => Release::Unknown,
        }
    }
}

/// The mounts of nsfs in a namespace that show mount namespaces.
fn bound(tables: &Tables, from: Viewpoint) -> HashMap<NamespaceInode, Vec<u8>> {
    let Some(namespace) = tables.namespace(from.namespace) else { return HashMap::new() };
    let mounts = namespace.keys().filter_map(|key| tables.mount(key));
    mounts
        .filter_map(|mount| {
            Some((tables.shown_namespace(mount)?, tables.path_of(mount.key, from)?))
        })
        .collect()
}
