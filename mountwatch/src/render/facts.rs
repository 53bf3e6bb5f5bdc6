//! What an event line says, before it is text or JSON.

use super::{Secrets, View, column};
use crate::model::{
    Change, Coverage, DentryKey, Device, Mount, MountAttributes, MountKey, NamespaceInode,
    NamespaceKey, Operation, Revision, SuperFlags,
};
use crate::query::Viewpoint;
use crate::state::{Published, Tables};
use hashbrown::HashMap;
use std::sync::Arc;

/// One line of `watch`.
#[derive(Clone, Copy, Debug)]
pub struct Happening<'a> {
    /// When, wall clock in nanoseconds since 1970.
    pub wall_ns: u64,
    /// What.
    pub what: What<'a>,
    /// The revision that shows it first.
    pub revision: Revision,
    /// What that revision is worth.
    pub coverage: &'a Coverage,
}

/// What a line of `watch` is about.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A mount that is there at the start.
    Present(&'a Mount),
    /// Everything that is there at the start was said; changes follow.
    Synced,
    /// Changes were lost; why. What is there is said anew.
    Lost(&'a str),
    /// The coverage is another one.
    Coverage,
    /// A change.
    Change(&'a Change),
    /// An operation is over.
    Operation(&'a Operation),
}

impl<'a> What<'a> {
    /// What a published step has to say, in its order. `before`: the coverage before it.
    pub fn of_step(published: &'a Published, before: &Coverage) -> impl Iterator<Item = Self> {
        let transaction = &published.transaction;
        let changes = transaction.changes.iter().map(What::Change);
        let operations = transaction.operations.iter().map(|done| What::Operation(done));
        let has_another = before != published.snapshot.coverage();
        changes.chain(operations).chain(has_another.then_some(What::Coverage))
    }

    /// When, CLOCK_MONOTONIC in nanoseconds; 0: not known.
    pub fn ktime_ns(self) -> u64 {
        match self {
            Self::Change(change) => change.ktime_ns,
            Self::Operation(done) => done.begin_ktime_ns,
            Self::Present(_) | Self::Synced | Self::Lost(_) | Self::Coverage => 0,
        }
    }

    /// The word for it in every output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Present(_) => "present",
            Self::Synced => "synced",
            Self::Lost(_) => "lost",
            Self::Coverage => "coverage",
            Self::Change(change) => change.kind.word(),
            Self::Operation(_) => "operation",
        }
    }
}

/// One state of the index with the paths in it: lines about the same state share the work.
#[derive(Debug)]
pub struct Scene<'a> {
    tables: &'a Tables,
    secrets: Secrets,
    views: HashMap<NamespaceKey, Option<Viewpoint>>,
    paths: HashMap<MountKey, Arc<[u8]>>,
}

impl<'a> Scene<'a> {
    /// Begins with these tables.
    pub fn new(tables: &'a Tables, secrets: Secrets) -> Self {
        Self { tables, secrets, views: HashMap::new(), paths: HashMap::new() }
    }

    /// Computes the paths of a whole namespace in one go, for whoever will ask for all of them.
    pub fn learn(&mut self, namespace: NamespaceKey) {
        if let Some(view) = self.view(namespace) {
            let listed = self.tables.list(view);
            self.paths.extend(listed.into_iter().map(|listed| (listed.mount.key, listed.path)));
        }
    }

    pub(super) fn secrets(&self) -> Secrets {
        self.secrets
    }

    /// The mountpoint as seen from the root of the mount's namespace.
    fn mountpoint(&mut self, mount: &Mount) -> Option<Vec<u8>> {
        if let Some(path) = self.paths.get(&mount.key) {
            return Some(path.to_vec());
        }
        let view = self.view(mount.namespace)?;
        self.tables.path_of(mount.key, view)
    }

    fn view(&mut self, namespace: NamespaceKey) -> Option<Viewpoint> {
        let tables = self.tables;
        *self.views.entry(namespace).or_insert_with(|| tables.viewpoint_of_namespace(namespace))
    }

    /// The path of a dentry in its file system.
    pub(super) fn path_in_fs(&self, dentry: DentryKey) -> Option<Vec<u8>> {
        path_below(self.tables, dentry, None)
    }

    pub(super) fn is_deleted(&self, dentry: DentryKey) -> bool {
        self.tables.dentry(dentry).is_some_and(|known| known.is_deleted)
    }

    pub(super) fn namespace_inode(&self, key: NamespaceKey) -> Option<NamespaceInode> {
        Some(self.tables.namespace(key)?.inode)
    }

    pub(super) fn namespace_id(&self, key: NamespaceKey) -> Option<u64> {
        self.tables.namespace(key)?.id.map(|id| id.0)
    }
}

/// What a line says of a mount. Names, sources and paths are bytes as the kernel has them; secrets
/// are hidden already, where that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Inode of its mount namespace.
    pub ns: Option<NamespaceInode>,
    /// ID of that, never reused.
    pub ns_id: Option<u64>,
    /// Mount ID.
    pub id: u32,
    /// Unique mount ID.
    pub unique_id: Option<u64>,
    /// Mount ID of the parent.
    pub parent: u32,
    /// Unique mount ID of the parent.
    pub parent_unique_id: Option<u64>,
    /// As seen from the root of its namespace; `None` if no path leads there.
    pub mountpoint: Option<Vec<u8>>,
    /// Below the root of the parent.
    pub mountpoint_in_parent: Option<Vec<u8>>,
    /// What is shown of the file system.
    pub root: Option<Vec<u8>>,
    /// Type with its subtype.
    pub fs_type: Option<Vec<u8>>,
    /// What was mounted.
    pub source: Vec<u8>,
    /// Attributes of the mount, as flags and as text.
    pub attributes: MountAttributes,
    /// The text of that.
    pub options: String,
    /// Flags of the super block.
    pub super_flags: SuperFlags,
    /// All options of the super block; `None`: the file system was not asked yet.
    pub fs_options: Option<Vec<u8>>,
    /// Device of the super block.
    pub device: Device,
    /// In the words of mount_namespaces(7).
    pub propagation: &'static str,
    /// `shared:N`.
    pub shared: Option<u32>,
    /// `master:N`.
    pub master: Option<u32>,
    /// `unbindable`.
    pub unbindable: bool,
}

impl Facts {
    /// Of a mount, as it is in a scene.
    pub fn of(scene: &mut Scene<'_>, mount: &Mount) -> Self {
        let tables = scene.tables;
        let namespace = tables.namespace(mount.namespace);
        let super_block = tables.super_block(mount.super_block);
        let parent = tables.mount(mount.parent);
        let from = Viewpoint { namespace: mount.namespace, mount: mount.key, dentry: mount.root };
        let view = View::new(tables, from, scene.secrets);
        Self {
            ns: namespace.map(|known| known.inode),
            ns_id: namespace.and_then(|known| known.id).map(|id| id.0),
            id: mount.id.0,
            unique_id: mount.unique_id.map(|id| id.0),
            parent: mount.parent_id.0,
            parent_unique_id: parent.and_then(|known| known.unique_id).map(|id| id.0),
            mountpoint: scene.mountpoint(mount),
            mountpoint_in_parent: mountpoint_in_parent(tables, mount),
            root: column::root(tables, mount),
            fs_type: super_block.map(|known| known.fs_type.to_vec()),
            source: scene.secrets.source(&mount.source),
            attributes: mount.attributes,
            options: mount.attributes.to_string(),
            super_flags: super_block.map(|known| known.flags).unwrap_or_default(),
            fs_options: super_block
                .is_some_and(|known| known.options.is_some())
                .then(|| column::fs_options(view, mount)),
            device: mount.device,
            propagation: mount.propagation(),
            shared: mount.peer_group.map(|group| group.0),
            master: mount.master.map(|group| group.0),
            unbindable: mount.unbindable,
        }
    }
}

/// Where a mount sits, below the root of its parent.
pub(crate) fn mountpoint_in_parent(tables: &Tables, mount: &Mount) -> Option<Vec<u8>> {
    let parent = tables.mount(mount.parent).map(|parent| parent.root);
    path_below(tables, mount.mountpoint, parent)
}

/// The path of a dentry below another one, or below the root of its file system.
fn path_below(tables: &Tables, dentry: DentryKey, root: Option<DentryKey>) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    let mut at = dentry;
    for _ in 0..=tables.dentry_count() {
        let known = tables.dentry(at).filter(|known| known.is_known)?;
        if Some(at) == root || known.parent == at {
            break;
        }
        names.push(&known.name);
        at = known.parent;
    }
    if names.is_empty() {
        return Some(b"/".to_vec());
    }
    Some(names.iter().rev().flat_map(|name| [&b"/"[..], &name[..]]).flatten().copied().collect())
}
