//! What was told: by it a look finds out what changed, and a notification which namespace it is
//! about and which other mounts it concerns.

use crate::maps::{Sorted, Trie};
use crate::model::{
    Bytes, DentryKey, Device, MountAttributes, MountEvent, MountId, MountKey, NamespaceEvent,
    NamespaceKey, PeerGroupId, SuperEvent, SuperFlags,
};
use hashbrown::HashMap;

/// The first of all keys, for the begin of a range.
const FIRST: MountKey = MountKey(0);
const LAST: MountKey = MountKey(u64::MAX);

/// A mount namespace that is marked.
#[derive(Clone, Debug)]
pub(super) struct Marked {
    /// As it was told.
    pub(super) event: NamespaceEvent,
    /// `mnt_namespace.root`.
    pub(super) root: MountKey,
}

/// What was told of a mount, as far as it can change or something is found by it: the index has the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) parent: MountKey,
    pub(super) namespace: Option<NamespaceKey>,
    pub(super) root: DentryKey,
    pub(super) mountpoint: DentryKey,
    pub(super) peer_group: Option<PeerGroupId>,
    pub(super) master: Option<PeerGroupId>,
    pub(super) attributes: MountAttributes,
    pub(super) super_flags: SuperFlags,
    pub(super) unbindable: bool,
    is_namespace_root: bool,
    device: Device,
    parent_id: MountId,
    source: Bytes,
}

impl Told {
    fn of(event: &MountEvent) -> Self {
        Self {
            parent: event.parent,
            namespace: event.namespace,
            root: event.root,
            mountpoint: event.mountpoint,
            peer_group: event.peer_group,
            master: event.master,
            attributes: event.attributes,
            super_flags: event.super_flags,
            unbindable: event.unbindable,
            is_namespace_root: event.is_namespace_root,
            device: event.device,
            parent_id: event.parent_id,
            source: Bytes::clone(&event.source),
        }
    }
}

/// Mounts, namespaces and super blocks as they were told last.
#[derive(Debug, Default)]
pub(super) struct Table {
    mounts: Trie<MountKey, Told>,
    places: Sorted<(MountKey, DentryKey, MountKey)>,
    /// Mounts by their roots and by their mountpoints.
    resting: Sorted<(DentryKey, MountKey)>,
    members: Sorted<(NamespaceKey, MountKey)>,
    slaves: Sorted<(PeerGroupId, MountKey)>,
    showing: Sorted<(Device, MountKey)>,
    supers: HashMap<Device, SuperEvent>,
    namespaces: HashMap<NamespaceKey, Marked>,
    /// The same in the order in which they were found: the order of birth, mostly.
    order: Vec<NamespaceKey>,
}

impl Table {
    pub(super) fn mount(&self, key: MountKey) -> Option<&Told> {
        self.mounts.get(key)
    }

    /// Puts a mount. Gives what was known of it, and whether that was something else.
    pub(super) fn put_mount(&mut self, event: &MountEvent) -> (Option<Told>, bool) {
        let (key, told) = (event.key, Told::of(event));
        if self.mounts.get(key) == Some(&told) {
            return (Some(told), false);
        }
        let before = self.unlink(key);
        self.places.insert((told.parent, told.mountpoint, key));
        self.resting.insert((told.root, key));
        self.resting.insert((told.mountpoint, key));
        if let Some(namespace) = told.namespace {
            self.members.insert((namespace, key));
        }
        if let Some(master) = told.master {
            self.slaves.insert((master, key));
        }
        self.showing.insert((told.device, key));
        self.mounts.insert(key, told);
        (before, true)
    }

    /// Takes a mount out, with its super block if no other mount shows it: the next super block
    /// of that device is another one, and the index forgets the options at the same moment.
    pub(super) fn take_mount(&mut self, key: MountKey) -> Option<Told> {
        let told = self.unlink(key)?;
        if self.first_showing(told.device).is_none() {
            self.supers.remove(&told.device);
        }
        Some(told)
    }

    fn unlink(&mut self, key: MountKey) -> Option<Told> {
        let told = self.mounts.remove(key)?;
        self.places.remove((told.parent, told.mountpoint, key));
        self.resting.remove((told.root, key));
        self.resting.remove((told.mountpoint, key));
        if let Some(namespace) = told.namespace {
            self.members.remove((namespace, key));
        }
        if let Some(master) = told.master {
            self.slaves.remove((master, key));
        }
        self.showing.remove((told.device, key));
        Some(told)
    }

    /// A mount's source, as the same bytes that were told before: all copies of a mount have one.
    pub(super) fn source(&self, key: MountKey, device: Device, source: &[u8]) -> Bytes {
        let told = self.mount(key).or_else(|| self.mount(self.first_showing(device)?));
        let same = told.map(|told| &told.source).filter(|known| known[..] == *source);
        same.map_or_else(|| source.into(), Bytes::clone)
    }

    fn first_showing(&self, device: Device) -> Option<MountKey> {
        self.showing.range((device, FIRST)..=(device, LAST)).next().map(|(_, key)| key)
    }

    /// The mounts that sit on this one.
    pub(super) fn children(&self, key: MountKey) -> Vec<MountKey> {
        self.places
            .range((key, DentryKey(0), FIRST)..=(key, DentryKey(u64::MAX), LAST))
            .map(|(_, _, child)| child)
            .filter(|child| *child != key)
            .collect()
    }

    /// The mounts that sit on this one, on those, and so on.
    pub(super) fn below(&self, key: MountKey) -> Vec<MountKey> {
        let mut below = self.children(key);
        let mut at = 0;
        while let Some(next) = below.get(at).copied() {
            // A state that looks were taken of at different times may have a circle.
            let children = self.children(next);
            below.extend(children.into_iter().filter(|child| *child != key));
            at += 1;
            if at > self.mounts.len() {
                break;
            }
        }
        below
    }

    /// The mounts that were told to sit at one place: more than one while they are stacked anew.
    pub(super) fn at(&self, parent: MountKey, mountpoint: DentryKey) -> Vec<MountKey> {
        self.places
            .range((parent, mountpoint, FIRST)..=(parent, mountpoint, LAST))
            .map(|(_, _, mount)| mount)
            .collect()
    }

    /// The mounts whose root or mountpoint is one of these dentries.
    pub(super) fn resting_on(&self, dentries: &[DentryKey]) -> Vec<MountKey> {
        let on = |dentry: &DentryKey| {
            let all = (*dentry, FIRST)..=(*dentry, LAST);
            self.resting.range(all).map(|(_, mount)| mount)
        };
        dentries.iter().flat_map(on).collect()
    }

    /// The mounts of a namespace.
    pub(super) fn members(&self, namespace: NamespaceKey) -> Vec<MountKey> {
        self.members.range((namespace, FIRST)..=(namespace, LAST)).map(|(_, mount)| mount).collect()
    }

    /// The slaves of a peer group.
    pub(super) fn slaves(&self, group: PeerGroupId) -> Vec<MountKey> {
        self.slaves.range((group, FIRST)..=(group, LAST)).map(|(_, mount)| mount).collect()
    }

    /// Puts a super block and gives what was known of it.
    pub(super) fn put_super(&mut self, event: &SuperEvent) -> Option<SuperEvent> {
        self.supers.insert(event.device, event.clone())
    }

    /// One mount of each super block.
    pub(super) fn one_of_each_super(&self) -> Vec<MountKey> {
        self.supers.keys().filter_map(|device| self.first_showing(*device)).collect()
    }

    pub(super) fn namespace(&self, key: NamespaceKey) -> Option<&Marked> {
        self.namespaces.get(&key)
    }

    /// Namespaces in the order in which they were found.
    pub(super) fn namespaces(&self) -> &[NamespaceKey] {
        &self.order
    }

    pub(super) fn put_namespace(&mut self, marked: Marked) {
        let key = marked.event.key;
        if self.namespaces.insert(key, marked).is_none() {
            self.order.push(key);
        }
    }

    pub(super) fn take_namespace(&mut self, key: NamespaceKey) -> Option<Marked> {
        self.order.retain(|known| *known != key);
        self.namespaces.remove(&key)
    }
}

/// Positions of a list from one outwards: it, its neighbours, theirs. Copies that propagation makes
/// go to namespaces in the order of their birth, forwards or backwards, so that the next one is
/// mostly beside the last.
pub(super) fn outwards(length: usize, from: usize) -> impl Iterator<Item = usize> {
    (0..=length.max(from)).flat_map(move |distance| {
        let after = from.checked_add(distance).filter(|at| *at < length);
        let before = from.checked_sub(distance).filter(|at| *at < length && distance != 0);
        [after, before].into_iter().flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_moved_mount_is_found_at_its_new_place_alone() {
        let mut table = Table::default();
        let at = |parent, mountpoint| MountEvent {
            key: MountKey(3),
            parent: MountKey(parent),
            mountpoint: DentryKey(mountpoint),
            namespace: Some(NamespaceKey(1)),
            master: Some(PeerGroupId(7)),
            ..MountEvent::default()
        };
        assert!(table.put_mount(&at(1, 5)).0.is_none());
        assert!(!table.put_mount(&at(1, 5)).1, "nothing new");
        assert!(table.put_mount(&at(2, 6)).0.is_some());
        assert!(table.children(MountKey(1)).is_empty());
        assert_eq!(table.children(MountKey(2)), [MountKey(3)]);
        table.put_mount(&MountEvent {
            key: MountKey(4),
            parent: MountKey(3),
            ..MountEvent::default()
        });
        assert_eq!(table.below(MountKey(2)), [MountKey(3), MountKey(4)]);
        assert_eq!(table.at(MountKey(2), DentryKey(6)), [MountKey(3)]);
        assert_eq!(table.members(NamespaceKey(1)), [MountKey(3)]);
        assert_eq!(table.slaves(PeerGroupId(7)), [MountKey(3)]);
        assert_eq!(table.resting_on(&[DentryKey(6)]), [MountKey(3)]);
        assert!(table.resting_on(&[DentryKey(5)]).is_empty());
        table.take_mount(MountKey(3));
        assert!(table.slaves(PeerGroupId(7)).is_empty());
        assert!(table.members(NamespaceKey(1)).is_empty());
    }

    proptest! {
        #[test]
        fn outwards_is_each_position_once(length in 0usize..20, from in 0usize..25) {
            let mut positions: Vec<_> = outwards(length, from).collect();
            if from < length {
                prop_assert_eq!(positions.first(), Some(&from));
            }
            positions.sort_unstable();
            prop_assert_eq!(positions, (0..length).collect::<Vec<_>>());
        }
    }
}
