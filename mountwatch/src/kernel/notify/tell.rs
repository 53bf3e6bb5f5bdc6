//! From a look at a mount to the events that tell it.

use super::dentries::{self, Dentries};
use super::look::{Look, LookError};
use super::table::{Marked, Table, Told, outwards};
use crate::model::{
    Bytes, DentryEvent, DentryKey, Event, MountEvent, MountId, MountKey, NamespaceEvent,
    NamespaceId, NamespaceInode, NamespaceKey, Origin, PeerGroupId, SuperEvent, SuperKey,
    UniqueMountId,
};
use crate::wire::statmount::Statmount;
use hashbrown::{HashMap, HashSet};
use mountwatch_common::hook;

/// How often a mount is looked at again that moves while it is looked at.
const TRIES: usize = 4;
/// Looks that are held at a time. One is some kilobyte, and a namespace may have a hundred thousand.
const LOOKS_MAX: usize = 1_024;

/// Counters of what the looks met.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Mounts that were gone when they were looked at for the first time.
    pub(super) short_lived: u64,
    /// Mounts whose mountpoint cannot be reached from the root of their namespace.
    pub(super) unreachable: u64,
}

/// Looks, compares with what was told, and tells.
#[derive(Debug, Default)]
pub(super) struct Teller {
    pub(super) look: Look,
    pub(super) table: Table,
    pub(super) dentries: Dentries,
    pub(super) counters: Counters,
    /// Mounts whose mountpoint was renamed out of the tree that their parent shows, and those on
    /// them. A name that nobody knows may bring them back.
    pub(super) escaped: HashSet<MountKey>,
    /// Peer groups that a mount left: their slaves may have another master now.
    left: Vec<PeerGroupId>,
    /// Mounts that another one's change may have moved.
    again: Vec<MountKey>,
    /// Mounts whose attributes changed: what the kernel side told of them is old.
    pub(super) altered: Vec<MountKey>,
    /// Where the last mount of a namespace not known was found, in the table's order.
    cursor: usize,
}

/// Whether what did not change is told too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Changes,
    Everything,
}

/// Answers of one round of looks.
type Looks = HashMap<MountKey, Statmount>;

impl Teller {
    /// Lists a namespace that is marked. `root`: its root mount if that is known. `false`: it is
    /// gone, or nothing is on its root mount.
    pub(super) fn list(
        &mut self,
        event: &NamespaceEvent,
        root: Option<UniqueMountId>,
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> Result<bool, LookError> {
        let namespace = NamespaceId(event.key.0);
        let root = if root.is_some() { root } else { self.look.root(namespace)? };
        let Some(root) = root else { return Ok(false) };
        let Some(below) = self.look.below(root, namespace)? else { return Ok(false) };
        out.push(Event::NamespaceBorn(origin, event.clone()));
        self.table.put_namespace(Marked { event: event.clone(), root: MountKey(root.0) });
        let keys: Vec<_> = std::iter::once(root).chain(below).map(|id| MountKey(id.0)).collect();
        let listed: HashSet<_> = keys.iter().copied().collect();
        for gone in self.table.members(event.key) {
            if !listed.contains(&gone) {
                self.gone(gone, origin, out);
            }
        }
        self.tell(&keys, event.key, Tell::Everything, origin, out)?;
        Ok(true)
    }

    /// Looks at mounts of one namespace and tells them. Gives how many changed.
    pub(super) fn tell(
        &mut self,
        keys: &[MountKey],
        namespace: NamespaceKey,
        tell: Tell,
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> Result<usize, LookError> {
        let mut changed = 0;
        let mut looks = Looks::new();
        for part in keys.chunks(LOOKS_MAX) {
            looks.clear();
            for key in part {
                if let Some(found) = self.stat(*key, namespace)? {
                    looks.insert(*key, found);
                }
            }
            for key in part {
                let is_changed = match self.settle(*key, namespace, &mut looks, origin, out)? {
                    Some(event) => self.put(event, tell, origin, out),
                    None => self.gone(*key, origin, out),
                };
                changed += usize::from(is_changed);
            }
        }
        Ok(changed)
    }

    fn stat(
        &mut self,
        key: MountKey,
        namespace: NamespaceKey,
    ) -> Result<Option<Statmount>, LookError> {
        self.look.stat(UniqueMountId(key.0), NamespaceId(namespace.0))
    }

    /// A mount in the words of the model. It and its parent are looked at one after the other, and
    /// again if they do not fit together. `None`: it is gone.
    fn settle(
        &mut self,
        key: MountKey,
        namespace: NamespaceKey,
        looks: &mut Looks,
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> Result<Option<MountEvent>, LookError> {
        for _ in 0..TRIES {
            let Some(found) = looks.get(&key).cloned() else { return Ok(None) };
            let parent = MountKey(found.parent_unique_id);
            if !looks.contains_key(&parent)
                && let Some(found) = self.stat(parent, namespace)?
            {
                looks.insert(parent, found);
            }
            if let Some(above) = looks.get(&parent)
                && let Some(way) = way(&found, above)
            {
                let way = way.to_vec();
                let above = above.clone();
                if self.escaped.remove(&key) {
                    self.again.extend(self.table.children(key));
                }
                return Ok(Some(self.event(&found, &above, &way, namespace, origin, out)));
            }
            if found.mountpoint.is_none() && looks.contains_key(&parent) {
                break;
            }
            looks.remove(&parent);
            match self.stat(key, namespace)? {
                Some(found) => looks.insert(key, found),
                None => looks.remove(&key),
            };
        }
        let Some(found) = looks.get(&key).cloned() else { return Ok(None) };
        let above = looks.get(&MountKey(found.parent_unique_id)).unwrap_or(&found).clone();
        let mut event = self.event(&found, &above, b"", namespace, origin, out);
        if has_escaped(&found, &above) {
            // Wherever it is now, it is not below the root of its parent: neither is this.
            self.escape(key);
            let mut told = |event: DentryEvent| out.push(Event::Dentry(origin, event));
            event.mountpoint = self.dentries.root(above.device, b"/", &mut told);
            return Ok(Some(event));
        }
        if self.escaped.contains(&event.parent) {
            self.escape(key);
        } else {
            self.counters.unreachable += 1;
        }
        // What was known of its mountpoint is the best that there is.
        if let Some(known) = self.table.mount(key).filter(|known| known.parent == event.parent) {
            event.mountpoint = known.mountpoint;
        }
        Ok(Some(event))
    }

    fn escape(&mut self, key: MountKey) {
        if self.escaped.insert(key) {
            self.again.extend(self.table.children(key));
        }
    }

    fn event(
        &mut self,
        found: &Statmount,
        above: &Statmount,
        way: &[u8],
        namespace: NamespaceKey,
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> MountEvent {
        self.tell_super(found, origin, out);
        let mut told = |event: DentryEvent| out.push(Event::Dentry(origin, event));
        let root = found.root.as_deref().unwrap_or(b"/");
        let root = self.dentries.root(found.device, root, &mut told);
        let mountpoint = self.mountpoint(above, way, &mut told);
        let marked = self.table.namespace(namespace);
        MountEvent {
            key: MountKey(found.unique_id),
            parent: MountKey(found.parent_unique_id),
            namespace: Some(namespace),
            super_block: SuperKey(u64::from(found.device.0)),
            root,
            mountpoint,
            id: MountId(found.id),
            parent_id: MountId(found.parent_id),
            unique_id: Some(UniqueMountId(found.unique_id)),
            namespace_id: Some(NamespaceId(namespace.0)),
            namespace_inode: marked.map_or(NamespaceInode(0), |marked| marked.event.inode),
            is_anonymous: false,
            is_namespace_root: marked.is_some_and(|marked| marked.root.0 == found.unique_id),
            starts_subtree: false,
            device: found.device,
            super_flags: found.super_flags,
            attributes: found.attributes,
            peer_group: found.is_shared.then(|| group(found.peer_group)),
            master: found.is_slave.then(|| group(found.master)),
            unbindable: found.is_unbindable,
            source: self.table.source(
                MountKey(found.unique_id),
                found.device,
                found.source.as_deref().unwrap_or_default(),
            ),
            copied_from: None,
        }
    }

    fn mountpoint(
        &mut self,
        above: &Statmount,
        way: &[u8],
        told: &mut impl FnMut(DentryEvent),
    ) -> DentryKey {
        let root = above.root.as_deref().unwrap_or(b"/");
        let root = self.dentries.root(above.device, root, told);
        self.dentries.below(root, way, told)
    }

    fn tell_super(&mut self, found: &Statmount, origin: Origin, out: &mut Vec<Event>) {
        let fs_type = found.fs_type.as_deref().unwrap_or_default();
        let mut event = SuperEvent {
            key: SuperKey(u64::from(found.device.0)),
            device: found.device,
            magic: found.magic,
            flags: found.super_flags,
            fs_type: match found.fs_subtype.as_deref() {
                Some(subtype) if !subtype.is_empty() => [fs_type, b".", subtype].concat().into(),
                _ => fs_type.into(),
            },
            options_stale: false,
            options: Some(Bytes::from(found.options.as_deref().unwrap_or_default())),
        };
        let known = self.table.put_super(&event);
        if known.as_ref() == Some(&event) && !origin.scan {
            return;
        }
        let mut origin = origin;
        if let Some(known) = known
            && known != event
        {
            event.options_stale = known.options != event.options;
            origin.hook = hook::RECONFIGURE;
        }
        out.push(Event::Super(origin, event));
    }

    /// Takes a mount into the table and tells it if that says something new.
    fn put(&mut self, event: MountEvent, tell: Tell, origin: Origin, out: &mut Vec<Event>) -> bool {
        let (before, is_new) = self.table.put_mount(&event);
        if let (Some(before), true) = (&before, is_new) {
            self.left.extend(before.peer_group.filter(|_| before.peer_group != event.peer_group));
            if !has_attributes(before, &event) {
                self.altered.push(event.key);
            }
        }
        if is_new && before.as_ref().is_none_or(|before| !is_at_same_place(before, &event)) {
            // It may have slid below one that was there, or on top.
            let others = self.table.at(event.parent, event.mountpoint);
            self.again.extend(others.into_iter().filter(|other| *other != event.key));
        }
        if is_new || tell == Tell::Everything {
            out.push(Event::Mount(origin, Box::new(event)));
        }
        is_new
    }

    /// A mount left. `false`: it was never told.
    pub(super) fn gone(&mut self, key: MountKey, origin: Origin, out: &mut Vec<Event>) -> bool {
        self.escaped.remove(&key);
        let Some(before) = self.table.take_mount(key) else { return false };
        self.left.extend(before.peer_group);
        // Mounts on top of it may have slid down; those that left with it say so themselves.
        self.again.extend(self.table.children(key));
        let namespace = before.namespace;
        let event = MountEvent { key, master: before.master, ..MountEvent::default() };
        out.push(Event::MountGone(origin, Box::new(event)));
        if let Some(namespace) = namespace
            && self.table.namespace(namespace).is_some_and(|marked| marked.root == key)
        {
            self.namespace_gone(namespace, origin, out);
        }
        true
    }

    /// A namespace died: its root mount left, which it does at no other time.
    pub(super) fn namespace_gone(
        &mut self,
        key: NamespaceKey,
        origin: Origin,
        out: &mut Vec<Event>,
    ) {
        let Some(marked) = self.table.take_namespace(key) else { return };
        for mount in self.table.members(key) {
            self.gone(mount, origin, out);
        }
        out.push(Event::NamespaceGone(origin, marked.event));
    }

    /// Looks at a mount of which only the ID is known. `hint`: the namespace of the thread that
    /// changed it. `false`: it is gone, and was never told.
    pub(super) fn notified(
        &mut self,
        key: MountKey,
        hint: Option<NamespaceKey>,
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> Result<bool, LookError> {
        let Some(namespace) = self.namespace_of(key, hint)? else {
            return Ok(self.gone(key, origin, out));
        };
        self.tell(&[key], namespace, Tell::Changes, origin, out)?;
        // It may have gone between the two looks.
        Ok(self.table.mount(key).is_some())
    }

    /// The namespace of a mount, which a notification does not say.
    fn namespace_of(
        &mut self,
        key: MountKey,
        hint: Option<NamespaceKey>,
    ) -> Result<Option<NamespaceKey>, LookError> {
        let known = self.table.mount(key).and_then(|mount| mount.namespace);
        let id = UniqueMountId(key.0);
        let hint = hint.filter(|hint| known.is_none() && self.table.namespace(*hint).is_some());
        for likely in [known, hint].into_iter().flatten() {
            if self.look.is_in(id, NamespaceId(likely.0))? {
                return Ok(Some(likely));
            }
        }
        if known.is_some() {
            // A mount never goes from one namespace to another.
            return Ok(None);
        }
        let order = self.table.namespaces();
        for at in outwards(order.len(), self.cursor) {
            if let Some(key) = order.get(at)
                && self.look.is_in(id, NamespaceId(key.0))?
            {
                self.cursor = at;
                return Ok(Some(*key));
            }
        }
        Ok(None)
    }

    /// Looks at the mounts that a change may have changed without a word.
    pub(super) fn follow_up(
        &mut self,
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> Result<(), LookError> {
        // Each round rests on a change that the one before found, so that it comes to an end.
        loop {
            let mut keys = std::mem::take(&mut self.again);
            for group in std::mem::take(&mut self.left) {
                keys.extend(self.table.slaves(group));
            }
            if keys.is_empty() {
                return Ok(());
            }
            keys.sort_unstable();
            keys.dedup();
            self.look_again(&keys, origin, out)?;
        }
    }

    /// Looks at mounts that are known. Gives how many changed.
    pub(super) fn look_again(
        &mut self,
        keys: &[MountKey],
        origin: Origin,
        out: &mut Vec<Event>,
    ) -> Result<usize, LookError> {
        let mut by_namespace: HashMap<NamespaceKey, Vec<MountKey>> = HashMap::new();
        for key in keys {
            if let Some(namespace) = self.table.mount(*key).and_then(|mount| mount.namespace) {
                by_namespace.entry(namespace).or_default().push(*key);
            }
        }
        let mut changed = 0;
        for (namespace, keys) in by_namespace {
            changed += self.tell(&keys, namespace, Tell::Changes, origin, out)?;
        }
        Ok(changed)
    }
}

/// The way from the root of the parent to the mountpoint. `None`: not known, or the two looks do
/// not fit together.
fn way<'a>(found: &'a Statmount, above: &Statmount) -> Option<&'a [u8]> {
    if found.unique_id == above.unique_id {
        return Some(b"");
    }
    match (&above.mountpoint, &found.mountpoint) {
        (Some(above), Some(point)) => dentries::relative(above, point),
        // The root mount of a namespace has no path, but what covers it is the root of all paths.
        (None, Some(point)) if point == b"/" => Some(b""),
        _ => None,
    }
}

/// Whether nothing is different of what changes without a notification.
fn has_attributes(before: &Told, event: &MountEvent) -> bool {
    (before.peer_group, before.master, before.unbindable)
        == (event.peer_group, event.master, event.unbindable)
        && (before.attributes, before.super_flags) == (event.attributes, event.super_flags)
}

/// The directory on which it is mounted was renamed out of the tree that its parent shows: no path
/// leads to it, and mountinfo leaves it out.
fn has_escaped(found: &Statmount, above: &Statmount) -> bool {
    let shows_a_part = above.root.as_deref().is_some_and(|root| root != b"/");
    found.mountpoint.is_none() && above.mountpoint.is_some() && shows_a_part
}

fn is_at_same_place(before: &Told, event: &MountEvent) -> bool {
    (before.parent, before.mountpoint) == (event.parent, event.mountpoint)
}

/// The kernel gives it in 64 bits and has it in 32.
fn group(id: u64) -> PeerGroupId {
    PeerGroupId(u32::try_from(id).unwrap_or(0))
}
