//! An index made from the text of mountinfo(5): by those who have no back end and ask the kernel once,
//! and by [`fake`](crate::fake) for tests.
//!
//! What the text does not say is made up: a namespace has the inode that is given and no ID, and
//! unique mount IDs count the lines, in the order in which they are given: a line further down is a
//! younger mount.

use crate::model::{
    Bytes, Coverage, DentryEvent, DentryKey, Device, Event, MountEvent, MountId, MountKey,
    NamespaceEvent, NamespaceInode, NamespaceKey, Origin, PeerGroupId, Revision, SuperEvent,
    SuperKey, UniqueMountId,
};
use crate::query::{SnapshotView, Viewpoint};
use crate::state::{Snapshot, State};
use crate::wire::mountinfo::{self, Line, MountinfoError};
use hashbrown::{HashMap, HashSet};
use mountwatch_common::hook;
use std::sync::Arc;
use thiserror::Error;

const SCAN: Origin =
    Origin { hook: hook::SCAN, in_transaction: false, scan: true, ..Origin::NOBODY };

/// The first unique mount ID of the kernel is the one after this.
const UNIQUE_ID_BASE: u64 = 1 << 31;

/// Why a text makes no index.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// A line that is none.
    #[error("line {line} of namespace {namespace}: {error}")]
    Line {
        /// Of which namespace.
        namespace: u32,
        /// Which line, from 1.
        line: usize,
        /// Why.
        #[source]
        error: MountinfoError,
    },
    /// On a host a mount ID is used once.
    #[error("mount ID {0} stands on two lines; give each mount of the host an ID of its own")]
    SameId(u32),
    /// The same inode was given twice.
    #[error("namespace {0} was given twice")]
    SameNamespace(u32),
    /// An inode that was not given.
    #[error("namespace {0} was not given")]
    NoNamespace(u32),
}

/// An index under construction.
#[derive(Debug, Default)]
pub struct Index {
    events: Vec<Event>,
    names: HashMap<(Device, Vec<u8>), DentryKey>,
    mounts: HashSet<u32>,
    supers: HashSet<Device>,
    lines: u64,
    views: HashMap<u32, Viewpoint>,
}

/// What a mount needs to know of the one that it sits on.
struct Place {
    device: Device,
    /// Path of its root in its file system.
    root: Vec<u8>,
    /// Where it is, as a path of the namespace.
    path: Vec<u8>,
}

impl Index {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mount namespace with the mounts that a text in the form of mountinfo(5) tells.
    pub fn namespace(mut self, inode: u32, text: impl AsRef<[u8]>) -> Result<Self, TextError> {
        if self.views.contains_key(&inode) {
            return Err(TextError::SameNamespace(inode));
        }
        let mut lines = Vec::new();
        for (number, line) in text.as_ref().split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let parsed = mountinfo::parse(line).map_err(|error| TextError::Line {
                namespace: inode,
                line: number + 1,
                error,
            })?;
            if !self.mounts.insert(parsed.id) {
                return Err(TextError::SameId(parsed.id));
            }
            lines.push(parsed);
        }
        self.events.push(Event::NamespaceBorn(
            SCAN,
            NamespaceEvent {
                key: key_of(inode),
                id: None,
                inode: NamespaceInode(inode),
                is_anonymous: false,
                task: None,
            },
        ));
        self.put_lines(inode, &lines);
        Ok(self)
    }

    /// The index, complete, at revision 1.
    pub fn snapshot(self) -> Arc<Snapshot> {
        let mut state = State::new(Vec::new());
        let mark = state.begin_scan();
        for event in self.events {
            state.apply(event);
        }
        let inodes: Vec<_> = self.views.keys().map(|inode| NamespaceInode(*inode)).collect();
        for inode in &inodes {
            state.end_scan(mark, *inode);
        }
        state.end_scan_of_all(mark, &inodes);
        match state.publish() {
            Some(published) => published.snapshot,
            None => {
                Arc::new(Snapshot::new(state.tables().clone(), Revision(1), Coverage::Complete))
            }
        }
    }

    /// What a process sees whose mountinfo was given for this namespace.
    pub fn view(self, inode: u32) -> Result<SnapshotView, TextError> {
        let from = self.viewpoint(inode)?;
        Ok(SnapshotView::new(self.snapshot(), from))
    }

    /// From where the mountinfo of this namespace was seen.
    pub fn viewpoint(&self, inode: u32) -> Result<Viewpoint, TextError> {
        self.views.get(&inode).copied().ok_or(TextError::NoNamespace(inode))
    }

    fn put_lines(&mut self, inode: u32, lines: &[Line]) {
        let mut places: HashMap<u32, Place> = HashMap::new();
        for line in lines {
            let place = Place {
                device: line.device,
                root: live(&line.root).to_vec(),
                path: line.mountpoint.clone(),
            };
            places.insert(line.id, place);
        }
        // The root directory of whoever read the text: a mount's root, or a directory of a mount that
        // it cannot see, which is then made up.
        let is_root = |line: &Line| line.mountpoint == b"/" && is_outside(line, &places);
        let root = lines.iter().find(|line| is_root(line)).map(|line| line.id);
        let outside =
            lines.iter().find(|line| is_outside(line, &places)).map(|line| line.parent_id);
        let view = match (root, outside) {
            (Some(id), _) => {
                let place = places.get(&id);
                let root = place.map(|place| (place.device, place.root.clone()));
                let (device, root) = root.unwrap_or_default();
                let dentry = self.dentry(device, &root, false);
                Viewpoint { namespace: key_of(inode), mount: MountKey(id.into()), dentry }
            }
            (None, Some(id)) => self.put_unseen(inode, id, &mut places),
            (None, None) => Viewpoint::nowhere(key_of(inode)),
        };
        self.views.insert(inode, view);
        for line in lines {
            self.put_line(inode, line, root == Some(line.id), &places);
        }
    }

    /// The mount on which the root directory lies, if that is not the root of a mount.
    fn put_unseen(&mut self, inode: u32, id: u32, places: &mut HashMap<u32, Place>) -> Viewpoint {
        // A device of its own for each: majors end at 4095.
        let device = Device(u32::MAX - u32::try_from(self.views.len()).unwrap_or(0));
        let root = b"/root".to_vec();
        let dentry = self.dentry(device, &root, false);
        let top = self.dentry(device, b"/", false);
        self.events.push(Event::Mount(
            SCAN,
            Box::new(MountEvent {
                key: MountKey(id.into()),
                parent: MountKey(id.into()),
                namespace: Some(key_of(inode)),
                namespace_inode: NamespaceInode(inode),
                super_block: SuperKey(device.0.into()),
                root: top,
                mountpoint: top,
                id: MountId(id),
                parent_id: MountId(id),
                device,
                is_namespace_root: true,
                ..MountEvent::default()
            }),
        ));
        places.insert(id, Place { device, root, path: b"/".to_vec() });
        Viewpoint { namespace: key_of(inode), mount: MountKey(id.into()), dentry }
    }

    fn put_line(&mut self, inode: u32, line: &Line, is_root: bool, places: &HashMap<u32, Place>) {
        self.put_super(line);
        let is_deleted = line.root.ends_with(DELETED);
        let root = self.dentry(line.device, live(&line.root), is_deleted);
        let parent = places.get(&line.parent_id).filter(|_| !is_root);
        let mountpoint = match parent {
            Some(parent) => {
                let path = below(&parent.root, &parent.path, &line.mountpoint);
                self.dentry(parent.device, &path, false)
            }
            None => root,
        };
        let parent = if parent.is_some() { line.parent_id } else { line.id };
        self.lines += 1;
        self.events.push(Event::Mount(
            SCAN,
            Box::new(MountEvent {
                key: MountKey(line.id.into()),
                parent: MountKey(parent.into()),
                namespace: Some(key_of(inode)),
                namespace_inode: NamespaceInode(inode),
                super_block: SuperKey(line.device.0.into()),
                root,
                mountpoint,
                id: MountId(line.id),
                parent_id: MountId(line.parent_id),
                unique_id: Some(UniqueMountId(UNIQUE_ID_BASE + self.lines)),
                device: line.device,
                super_flags: line.super_flags(),
                attributes: line.attributes(),
                peer_group: line.peer_group.map(PeerGroupId),
                master: line.master.map(PeerGroupId),
                unbindable: line.is_unbindable,
                source: Bytes::from(&line.source[..]),
                is_namespace_root: is_root,
                ..MountEvent::default()
            }),
        ));
    }

    fn put_super(&mut self, line: &Line) {
        if self.supers.insert(line.device) {
            self.events.push(Event::Super(
                SCAN,
                SuperEvent {
                    key: SuperKey(line.device.0.into()),
                    device: line.device,
                    magic: 0,
                    flags: line.super_flags(),
                    fs_type: Bytes::from(&line.fs_type[..]),
                    options_stale: false,
                    options: Some(Bytes::from(line.file_system_options())),
                },
            ));
        }
    }

    /// The dentry of a path in a file system, and those above it.
    fn dentry(&mut self, device: Device, path: &[u8], is_deleted: bool) -> DentryKey {
        let is_literal = !path.starts_with(b"/");
        let path = if path == b"/" { b"" } else { path };
        if let Some(known) = self.names.get(&(device, path.to_vec())) {
            return *known;
        }
        let cut = path.iter().rposition(|byte| *byte == b'/').filter(|_| !is_literal);
        let above = cut.and_then(|at| path.get(..at));
        let parent = above.map(|above| {
            let above = if above.is_empty() { b"/" } else { above };
            self.dentry(device, above, false)
        });
        let key = DentryKey(u64::try_from(self.names.len()).unwrap_or(u64::MAX) + 1);
        self.names.insert((device, path.to_vec()), key);
        let name = cut.and_then(|at| path.get(at + 1..)).unwrap_or(path);
        self.events.push(Event::Dentry(
            SCAN,
            DentryEvent {
                key,
                parent: parent.unwrap_or(key),
                name: Bytes::from(name),
                is_deleted,
                is_literal: is_literal && !path.is_empty(),
            },
        ));
        key
    }
}

/// What the kernel puts after the root of a mount whose directory is deleted.
const DELETED: &[u8] = b"//deleted";

fn live(root: &[u8]) -> &[u8] {
    root.strip_suffix(DELETED).unwrap_or(root)
}

fn is_outside(line: &Line, places: &HashMap<u32, Place>) -> bool {
    line.parent_id == line.id || !places.contains_key(&line.parent_id)
}

fn key_of(inode: u32) -> NamespaceKey {
    // 0 is that of detached trees.
    NamespaceKey(u64::from(inode) | 1 << 32)
}

/// A mountpoint as a path of the parent's file system.
fn below(parent_root: &[u8], parent_path: &[u8], path: &[u8]) -> Vec<u8> {
    let parent_path = parent_path.strip_suffix(b"/").unwrap_or(parent_path);
    let rest = path.strip_prefix(parent_path).unwrap_or(path);
    let root = parent_root.strip_suffix(b"/").unwrap_or(parent_root);
    let path = [root, rest].concat();
    if path.is_empty() { b"/".to_vec() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::mountinfo;
    use proptest::prelude::*;

    /// A host's table, as a kernel wrote it: stacks, a bind of a file, an nsfs mount, deleted roots,
    /// escapes, options of file systems, propagation of all kinds.
    const TEXT: &str = "\
21 21 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
22 21 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:2 master:1 - proc proc rw
23 21 0:30 / /a\\040b\\134c rw - tmpfs wi\\043th\\011tab rw,lazytime,size=64k
24 23 0:31 /sub /a\\040b\\134c/on ro,noatime,nodiratime,nosymfollow unbindable - tmpfs x ro,sync
25 21 254:0 /etc/hosts /etc/hosts rw,idmapped master:3 - ext4 /dev/vda rw,errors=remount-ro
26 21 0:4 net:[4026531840] /run/netns rw - nsfs nsfs rw
27 21 254:0 /gone//deleted /here rw - ext4 /dev/vda rw,errors=remount-ro
";

    #[test]
    fn what_goes_in_comes_out() {
        let view = Index::new().namespace(5, TEXT).unwrap().view(5).unwrap();
        let out = mountinfo(view.snapshot(), view.viewpoint());
        assert_eq!(String::from_utf8(out).unwrap(), TEXT);
        assert_eq!(view.coverage(), &Coverage::Complete);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let index = || Index::new().namespace(5, "1 0 0:1 / / rw - a b rw\n").unwrap();
        let line = index().namespace(6, "\n2 1 x").unwrap_err();
        assert_eq!(
            line.to_string(),
            "line 2 of namespace 6: a line of mountinfo has no number for its device"
        );
        assert_eq!(index().namespace(5, "").unwrap_err(), TextError::SameNamespace(5));
        let twice = index().namespace(6, "1 0 0:1 / / rw - a b rw\n");
        assert_eq!(twice.unwrap_err(), TextError::SameId(1));
        assert_eq!(index().view(7).unwrap_err(), TextError::NoNamespace(7));
    }

    #[test]
    fn a_reader_in_a_directory_sees_the_same_lines() {
        let text = "30 9 0:20 / /proc rw - proc proc rw\n31 30 0:31 / /proc/x rw - tmpfs x rw\n";
        let view = Index::new().namespace(5, text).unwrap().view(5).unwrap();
        let out = mountinfo(view.snapshot(), view.viewpoint());
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    fn any_table() -> impl Strategy<Value = String> {
        let path = "(/[ab]){0,3}|/|x:\\[1\\]|/a//deleted";
        let line =
            (1u32..6, 0u32..6, 0u32..3, path, path).prop_map(|(id, parent, minor, root, path)| {
                format!("{id} {parent} 0:{minor} {root} {path} rw - t s rw")
            });
        prop::collection::vec(line, 0..6).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn any_text_makes_an_index_or_an_error(text in any_table(), noise: Vec<u8>) {
            let _ = Index::new().namespace(5, &noise);
            if let Ok(index) = Index::new().namespace(5, &text) {
                let view = index.view(5).unwrap();
                prop_assert!(view.snapshot().list(view.viewpoint()).len() <= text.lines().count());
            }
        }
    }
}
