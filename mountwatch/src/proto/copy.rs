//! The index as a copy. Keys of the index can be addresses of the kernel, which are nobody's business:
//! a copy has ranks in their place, which keep every order.

use super::mount::{as_of, coverage_of, to_coverage};
use super::operation::{operation_of, to_operation};
use super::status::{holder_of, to_holder};
use super::{Malformed, v1};
use crate::maps::Sorted;
use crate::model::{
    Coverage, DETACHED, DentryKey, Device, Dialect, Holders, Mount, MountAttributes, MountId,
    MountKey, Namespace, NamespaceId, NamespaceInode, NamespaceKey, OperationId, PeerGroupId,
    Provenance, Revision, SuperBlock, SuperFlags, SuperKey, UniqueMountId,
};
use crate::render::{Secrets, redacted};
use crate::state::{Assembly, Dentry, Snapshot, Tables};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

/// Objects in one message: some 200 KB.
const CHUNK: usize = 2_000;

/// Numbers from 1 on, in the order of the keys.
#[derive(Debug)]
struct Ranks<K>(HashMap<K, u64>);

impl<K: Copy + Ord + Hash> Ranks<K> {
    fn new(keys: impl IntoIterator<Item = K>) -> Self {
        let mut keys: Vec<K> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Self(keys.into_iter().zip(1..).collect())
    }

    fn of(&self, key: K) -> u64 {
        self.0.get(&key).copied().unwrap_or(0)
    }
}

/// What is copied.
struct Part<'a> {
    tables: &'a Tables,
    namespaces: Vec<&'a Arc<Namespace>>,
    mounts: Vec<Mount>,
    dentries: Vec<(DentryKey, &'a Arc<Dentry>)>,
    supers: Vec<&'a Arc<SuperBlock>>,
}

impl<'a> Part<'a> {
    /// Everything, or what belongs to one namespace.
    fn of(tables: &'a Tables, only: Option<NamespaceKey>) -> Self {
        let is_in = |namespace| only.is_none_or(|only| only == namespace);
        let mut mounts = Vec::new();
        for mount in tables.mounts().filter(|mount| is_in(mount.namespace)) {
            // Those at one place in their order, all of them with the first.
            match tables.all_mounted_at(mount.parent, mount.mountpoint) {
                stack if mount.is_detached_root() || !stack.contains(&mount.key) => {
                    mounts.push(Mount::clone(mount));
                }
                stack if stack.first() == Some(&mount.key) => {
                    let stack = stack.iter().filter_map(|key| tables.mount(*key));
                    mounts.extend(stack.map(|mount| Mount::clone(mount)));
                }
                _ => {}
            }
        }
        mounts.retain(|mount| is_in(mount.namespace));
        let mut part = Self {
            tables,
            namespaces: tables.namespaces().filter(|known| is_in(known.key)).collect(),
            dentries: Vec::new(),
            supers: Vec::new(),
            mounts,
        };
        part.find_dentries();
        let used: HashSet<SuperKey> = part.mounts.iter().map(|mount| mount.super_block).collect();
        part.supers = tables.super_blocks().filter(|known| used.contains(&known.key)).collect();
        if only.is_some() {
            part.add_masters();
        }
        part
    }

    /// The dentries of the mounts and all above them.
    fn find_dentries(&mut self) {
        let mut seen = HashSet::new();
        for mount in &self.mounts {
            for mut key in [mount.root, mount.mountpoint] {
                while seen.insert(key) {
                    let Some(dentry) = self.tables.dentry(key) else { break };
                    self.dentries.push((key, dentry));
                    key = dentry.parent;
                }
            }
        }
    }

    /// Of the peer groups above: one member each, of which nothing is told but that it is one.
    fn add_masters(&mut self) {
        let masters: HashSet<_> = self.mounts.iter().filter_map(|mount| mount.master).collect();
        let mut seen = HashSet::new();
        for mut group in masters {
            while seen.insert(group) {
                let Some(member) = self.tables.group_members(group).next() else { break };
                let is_told = self.tables.group_members(group).any(|member| {
                    self.namespaces.iter().any(|known| known.key == member.namespace)
                });
                if !is_told {
                    self.mounts.push(Mount {
                        parent: member.key,
                        namespace: DETACHED,
                        super_block: SuperKey(0),
                        root: DentryKey(0),
                        mountpoint: DentryKey(0),
                        id: MountId(0),
                        parent_id: MountId(0),
                        unique_id: None,
                        device: Device(0),
                        attributes: MountAttributes::empty(),
                        unbindable: false,
                        source: [].into(),
                        is_namespace_root: false,
                        provenance: Provenance::default(),
                        ..Mount::clone(member)
                    });
                }
                let Some(above) = member.master else { break };
                group = above;
            }
        }
    }
}

/// The messages of a copy. `only`: the one namespace that the caller may see.
pub(crate) fn chunks(
    snapshot: &Snapshot,
    only: Option<NamespaceKey>,
    head: &v1::CopyResponse,
    secrets: Secrets,
) -> Vec<v1::CopyResponse> {
    let part = Part::of(snapshot, only);
    let mounts = Ranks::new(part.mounts.iter().flat_map(|mount| [mount.key, mount.parent]));
    let used = part.mounts.iter().flat_map(|mount| [mount.root, mount.mountpoint]);
    let dentries = Ranks::new(
        used.chain(part.dentries.iter().flat_map(|(key, dentry)| [*key, dentry.parent])),
    );
    let supers = Ranks::new(part.mounts.iter().map(|mount| mount.super_block));
    let namespaces = Ranks::new(part.namespaces.iter().map(|known| known.key));

    let mut first = head.clone();
    first.namespaces.extend(part.namespaces.iter().map(|known| v1::CopiedNamespace {
        key: namespaces.of(known.key),
        inode: known.inode.0,
        id: known.id.map(|id| id.0),
        coverage: Some(to_coverage(&known.coverage)),
    }));
    first.super_blocks.extend(part.supers.iter().map(|known| v1::CopiedSuperBlock {
        key: supers.of(known.key),
        device_major: known.device.major(),
        device_minor: known.device.minor(),
        magic: known.magic,
        flags: known.flags.bits(),
        fs_type: known.fs_type.to_vec(),
        options: known.options.as_deref().map(|options| secrets.options(options)),
    }));
    let mut messages = vec![first];
    messages.extend(part.dentries.chunks(CHUNK).map(|some| {
        v1::CopyResponse {
            dentries: some
                .iter()
                .map(|(key, dentry)| v1::CopiedDentry {
                    key: dentries.of(*key),
                    parent: dentries.of(dentry.parent),
                    name: dentry.name.to_vec(),
                    is_deleted: dentry.is_deleted,
                    is_literal: dentry.is_literal,
                    is_unknown: !dentry.is_known,
                })
                .collect(),
            ..v1::CopyResponse::default()
        }
    }));
    messages.extend(part.mounts.chunks(CHUNK).map(|some| {
        v1::CopyResponse {
            mounts: some
                .iter()
                .map(|mount| v1::CopiedMount {
                    key: mounts.of(mount.key),
                    parent: mounts.of(mount.parent),
                    // That of detached trees has no rank.
                    namespace: namespaces.of(mount.namespace),
                    super_block: supers.of(mount.super_block),
                    root: dentries.of(mount.root),
                    mountpoint: dentries.of(mount.mountpoint),
                    id: mount.id.0,
                    parent_id: mount.parent_id.0,
                    unique_id: mount.unique_id.map(|id| id.0),
                    device_major: mount.device.major(),
                    device_minor: mount.device.minor(),
                    attributes: mount.attributes.bits(),
                    peer_group: mount.peer_group.map(|group| group.0),
                    master: mount.master.map(|group| group.0),
                    unbindable: mount.unbindable,
                    source: secrets.source(&mount.source),
                    is_namespace_root: mount.is_namespace_root,
                    created_by: mount.provenance.created_by.map_or(0, OperationId::get),
                    changed_by: mount.provenance.changed_by.map_or(0, OperationId::get),
                    copied_from: mount.provenance.original(),
                })
                .collect(),
            ..v1::CopyResponse::default()
        }
    }));
    let made = part.mounts.iter().map(|mount| mount.provenance);
    let ids: BTreeSet<_> = made.flat_map(|made| [made.created_by, made.changed_by]).collect();
    let operations = ids.into_iter().flatten().filter_map(|id| snapshot.operation(id));
    // What was done from another namespace names paths of that one.
    let only = only.map(|only| snapshot.namespace(only).map(|known| known.inode));
    let operations: Vec<_> = operations
        .filter(|done| only.is_none_or(|only| done.surroundings.mount_namespace == only))
        .collect();
    messages.extend(operations.chunks(CHUNK).map(|some| {
        let hidden = some.iter().map(|done| to_operation(&redacted(done, secrets), 0));
        v1::CopyResponse { operations: hidden.collect(), ..v1::CopyResponse::default() }
    }));
    messages
}

/// The first message of a copy, as far as the tables do not say it.
pub(crate) fn head(
    snapshot: &Snapshot,
    only: Option<NamespaceKey>,
    instance: u64,
    backend: &str,
    holders: &Holders,
) -> v1::CopyResponse {
    let known = only.and_then(|only| snapshot.namespace(only));
    let coverage = known.map_or(snapshot.coverage(), |known| &known.coverage);
    let holders = holders.iter().map(|(inode, holder)| v1::CopiedHolder {
        namespace: inode.0,
        holder: Some(to_holder(holder)),
    });
    v1::CopyResponse {
        as_of: Some(as_of(instance, snapshot.revision(), coverage)),
        backend: backend.to_owned(),
        escapes_hash: snapshot.dialect().escapes_hash,
        is_whole: only.is_none(),
        holders: holders.collect(),
        ..v1::CopyResponse::default()
    }
}

/// A copy that is being taken.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    assembly: Assembly,
    head: Option<(Revision, Coverage)>,
    pub(crate) backend: String,
    pub(crate) is_whole: bool,
    pub(crate) holders: Holders,
}

impl Copied {
    /// Takes a message.
    pub(crate) fn take(&mut self, message: v1::CopyResponse) -> Result<(), Malformed> {
        if let Some(as_of) = message.as_of {
            let revision = as_of.position.ok_or(Malformed("position"))?.revision;
            self.head = Some((Revision(revision), coverage_of(as_of.coverage)?));
            self.assembly = Assembly::new(Dialect { escapes_hash: message.escapes_hash });
            self.backend = message.backend;
            self.is_whole = message.is_whole;
        }
        for known in message.namespaces {
            self.assembly.namespace(Namespace {
                key: NamespaceKey(known.key),
                inode: NamespaceInode(known.inode),
                id: known.id.map(NamespaceId),
                root: None,
                coverage: coverage_of(known.coverage)?,
                mounts: Sorted::default(),
            });
        }
        for known in message.super_blocks {
            self.assembly.super_block(SuperBlock {
                key: SuperKey(known.key),
                device: Device::new(known.device_major, known.device_minor),
                magic: known.magic,
                flags: SuperFlags::from_bits_retain(known.flags),
                fs_type: known.fs_type.into(),
                options: known.options.map(Into::into),
                mounts: 0,
                shown_by: None,
            });
        }
        for dentry in message.dentries {
            let mut known = Dentry::default();
            known.parent = DentryKey(dentry.parent);
            known.name = dentry.name.into();
            known.is_deleted = dentry.is_deleted;
            known.is_literal = dentry.is_literal;
            known.is_known = !dentry.is_unknown;
            self.assembly.dentry(DentryKey(dentry.key), known);
        }
        for mount in message.mounts {
            self.assembly.mount(mount_of(mount));
        }
        for done in message.operations {
            self.assembly.operation(operation_of(done)?);
        }
        for known in message.holders {
            let holder = known.holder.ok_or(Malformed("holder"))?;
            self.holders.insert(NamespaceInode(known.namespace), holder_of(holder));
        }
        Ok(())
    }

    /// The copy, once every message was taken.
    pub(crate) fn finish(self) -> Result<Snapshot, Malformed> {
        let (revision, coverage) = self.head.ok_or(Malformed("as_of"))?;
        Ok(self.assembly.finish(revision, coverage))
    }
}

fn mount_of(mount: v1::CopiedMount) -> Mount {
    Mount {
        key: MountKey(mount.key),
        parent: MountKey(mount.parent),
        namespace: NamespaceKey(mount.namespace),
        super_block: SuperKey(mount.super_block),
        root: DentryKey(mount.root),
        mountpoint: DentryKey(mount.mountpoint),
        id: MountId(mount.id),
        parent_id: MountId(mount.parent_id),
        unique_id: mount.unique_id.map(UniqueMountId),
        device: Device::new(mount.device_major, mount.device_minor),
        attributes: MountAttributes::from_bits_retain(mount.attributes),
        peer_group: mount.peer_group.map(PeerGroupId),
        master: mount.master.map(PeerGroupId),
        unbindable: mount.unbindable,
        source: mount.source.into(),
        is_namespace_root: mount.is_namespace_root,
        provenance: Provenance::new(
            OperationId::new(mount.created_by),
            OperationId::new(mount.changed_by),
            mount.copied_from,
        ),
    }
}
