//! What was told: by it a look finds out what changed, and a notification which namespace it is
//! about and which other mounts it concerns.

use crate::model::{
    DentryKey, Device, MountEvent, MountKey, NamespaceEvent, NamespaceKey, PeerGroupId, SuperEvent,
};
use hashbrown::HashMap;
use std::collections::BTreeSet;

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

/// Mounts, namespaces and super blocks as they were told last.
#[derive(Debug, Default)]
pub(super) struct Table {
    mounts: HashMap<MountKey, MountEvent>,
    places: BTreeSet<(MountKey, DentryKey, MountKey)>,
    /// Mounts by their roots and by their mountpoints.
    resting: BTreeSet<(DentryKey, MountKey)>,
    members: BTreeSet<(NamespaceKey, MountKey)>,
    slaves: BTreeSet<(PeerGroupId, MountKey)>,
    supers: HashMap<Device, (SuperEvent, BTreeSet<MountKey>)>,
    namespaces: HashMap<NamespaceKey, Marked>,
    /// The same in the order in which they were found: the order of birth, mostly.
    order: Vec<NamespaceKey>,
}

impl Table {
    pub(super) fn mount(&self, key: MountKey) -> Option<&MountEvent> {
        self.mounts.get(&key)
    }

    /// Puts a mount and gives what was known of it.
    pub(super) fn put_mount(&mut self, event: MountEvent) -> Option<MountEvent> {
        let before = self.unlink(event.key);
        let key = event.key;
        self.places.insert((event.parent, event.mountpoint, key));
        self.resting.extend([(event.root, key), (event.mountpoint, key)]);
        if let Some(namespace) = event.namespace {
            self.members.insert((namespace, key));
        }
        if let Some(master) = event.master {
            self.slaves.insert((master, key));
        }
        if let Some((_, mounts)) = self.supers.get_mut(&event.device) {
            mounts.insert(key);
        }
        self.mounts.insert(key, event);
        before
    }

    /// Takes a mount out, with its super block if no other mount shows it: the next super block
    /// of that device is another one, and the index forgets the options at the same moment.
    pub(super) fn take_mount(&mut self, key: MountKey) -> Option<MountEvent> {
        let event = self.unlink(key)?;
        if self.supers.get(&event.device).is_some_and(|(_, mounts)| mounts.is_empty()) {
            self.supers.remove(&event.device);
        }
        Some(event)
    }

    fn unlink(&mut self, key: MountKey) -> Option<MountEvent> {
        let event = self.mounts.remove(&key)?;
        self.places.remove(&(event.parent, event.mountpoint, key));
        self.resting.remove(&(event.root, key));
        self.resting.remove(&(event.mountpoint, key));
        if let Some(namespace) = event.namespace {
            self.members.remove(&(namespace, key));
        }
        if let Some(master) = event.master {
            self.slaves.remove(&(master, key));
        }
        if let Some((_, mounts)) = self.supers.get_mut(&event.device) {
            mounts.remove(&key);
        }
        Some(event)
    }

    /// The mounts that sit on this one.
    pub(super) fn children(&self, key: MountKey) -> Vec<MountKey> {
        self.places
            .range((key, DentryKey(0), FIRST)..=(key, DentryKey(u64::MAX), LAST))
            .map(|(_, _, child)| *child)
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
            .map(|(_, _, mount)| *mount)
            .collect()
    }

    /// The mounts whose root or mountpoint is one of these dentries.
    pub(super) fn resting_on(&self, dentries: &[DentryKey]) -> Vec<MountKey> {
        let on = |dentry: &DentryKey| {
            let all = (*dentry, FIRST)..=(*dentry, LAST);
            self.resting.range(all).map(|(_, mount)| *mount)
        };
        dentries.iter().flat_map(on).collect()
    }

    /// The mounts of a namespace.
    pub(super) fn members(&self, namespace: NamespaceKey) -> Vec<MountKey> {
        self.members
            .range((namespace, FIRST)..=(namespace, LAST))
            .map(|(_, mount)| *mount)
            .collect()
    }

    /// The slaves of a peer group.
    pub(super) fn slaves(&self, group: PeerGroupId) -> Vec<MountKey> {
        self.slaves.range((group, FIRST)..=(group, LAST)).map(|(_, mount)| *mount).collect()
    }

    /// Puts a super block and gives what was known of it.
    pub(super) fn put_super(&mut self, event: &SuperEvent) -> Option<SuperEvent> {
        if let Some((known, _)) = self.supers.get_mut(&event.device) {
            return Some(std::mem::replace(known, event.clone()));
        }
        self.supers.insert(event.device, (event.clone(), BTreeSet::new()));
        None
    }

    /// One mount of each super block.
    pub(super) fn one_of_each_super(&self) -> Vec<MountKey> {
        self.supers.values().filter_map(|(_, mounts)| mounts.first().copied()).collect()
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
        assert!(table.put_mount(at(1, 5)).is_none());
        assert!(table.put_mount(at(2, 6)).is_some());
        assert!(table.children(MountKey(1)).is_empty());
        assert_eq!(table.children(MountKey(2)), [MountKey(3)]);
        table.put_mount(MountEvent {
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
